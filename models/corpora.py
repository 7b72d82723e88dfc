"""Labelled recordings, whatever corpus they come from, as one Polars frame; folds; sound to train on.

Conventions: a row is a stretch of one file with its labels. `end_ms` null means to the end of the file.
`group` is what must not lie in training and test at once (speaker, artist, song, series), `corpus` has the
labels of one way of judging. What a corpus does not label is null: valence, arousal and dominance are in
[-1, 1], `emotion` is a word of `models.base.EMOTIONS`, `quadrant` one of `models.base.QUADRANTS`, `moods` the
share of listeners for each word of `MOODS`, `valence_curve` and `arousal_curve` one value a bar (vgmidi) or
each half second from `start_ms` on (emomusic).

Source of each corpus, its licence and its faults: the SOURCE.md in its folder.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import polars as pl
import soxr

from moodstream.models.base import EMOTIONS, QUADRANTS, RATE_HZ, Float

MOODS = (  # the nine scales of GEMS as Emotify names them
    "amazement",
    "solemnity",
    "tenderness",
    "nostalgia",
    "calmness",
    "power",
    "joyful_activation",
    "tension",
    "sadness",
)
_COLUMNS: dict[str, type[pl.DataType] | pl.DataType] = {
    "file": pl.String,
    "start_ms": pl.Int64,
    "end_ms": pl.Int64,
    "channel": pl.Int64,  # null: the mean of all channels
    "group": pl.String,
    "corpus": pl.String,
    "valence": pl.Float64,
    "arousal": pl.Float64,
    "dominance": pl.Float64,
    "valence_std": pl.Float64,  # between raters
    "arousal_std": pl.Float64,
    "dominance_std": pl.Float64,
    "emotion": pl.String,
    "quadrant": pl.String,
    "moods": pl.List(pl.Float64),
    "valence_curve": pl.List(pl.Float64),
    "arousal_curve": pl.List(pl.Float64),
}
SCHEMA = pl.Schema(_COLUMNS)
_SONG_EMOTIONS = {"angry": "anger", "fearful": "fear", "happy": "happiness", "sad": "sadness"}


class DataError(ValueError):
    """The data that someone brought, or what he asks of it, is wrong."""


def data_folder(folder: str | os.PathLike[str] | None = None) -> Path:
    """The folder of the corpora: `folder`, else MOODSTREAM_DATA, else `../shared/data` beside the repository.

    Raises:
        FileNotFoundError: it is not there.
    """
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(folder or os.environ.get("MOODSTREAM_DATA") or default).resolve()
    if not path.is_dir():
        raise FileNotFoundError(f"no folder of corpora at {path}: set MOODSTREAM_DATA or pass --data")
    return path


def read_corpus(name: str, data: str | os.PathLike[str] | None = None) -> pl.DataFrame:
    """The rows of one corpus, with the columns of `SCHEMA`, sorted by file.

    Args:
        name: one of `CORPORA`.
        data: see `data_folder`.

    Raises:
        ValueError: no reader has this name.
        FileNotFoundError: the corpus is not in the folder.
    """
    if name not in CORPORA:
        raise ValueError(f"corpus is {name!r}, known are {', '.join(CORPORA)}")
    place, reader = CORPORA[name]
    folder = data_folder(data) / place
    labels = pl.read_csv(folder / "labels.csv", infer_schema_length=None)
    return conform(reader(labels, folder).with_columns(corpus=pl.lit(name)), folder)


def read_corpora(names: Sequence[str], data: str | os.PathLike[str] | None = None) -> pl.DataFrame:
    """The rows of several corpora, one below the other (see `read_corpus`)."""
    return pl.concat([read_corpus(name, data) for name in names])


def read_folder(folder: str | os.PathLike[str]) -> pl.DataFrame:
    """The user's own recordings: every csv in `folder` with `file` and any other columns of `SCHEMA`.

    Paths are relative to the csv. `corpus` is the csv's name unless given, `group` the file unless given.

    Raises:
        FileNotFoundError: no csv there, or a file it names is missing.
        DataError: no label column, an unknown column, or a value out of its range.
    """
    tables = sorted(Path(folder).glob("*.csv"))
    if not tables:
        raise FileNotFoundError(f"no .csv in {folder}")
    frames = []
    for table in tables:
        rows = pl.read_csv(table, infer_schema_length=None, schema_overrides={"group": pl.String})
        if unknown := set(rows.columns) - set(SCHEMA.names()):
            raise DataError(f"{table.name} has unknown columns {sorted(unknown)}, known are {SCHEMA.names()}")
        if not {"valence", "arousal", "dominance", "emotion", "quadrant"} & set(rows.columns):
            raise DataError(f"{table.name} has no label: valence, arousal, dominance, emotion or quadrant")
        named = {} if "corpus" in rows.columns else {"corpus": pl.lit(table.stem)}
        frames.append(conform(rows.with_columns(**named), table.parent))
    return pl.concat(frames)


def conform(rows: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Rows with exactly the columns of `SCHEMA`, files as paths below `folder`, everything in its range.

    Raises:
        FileNotFoundError: a file is missing.
        DataError: a value out of its range; the message carries it.
    """
    defaults = {"start_ms": pl.lit(0), "group": pl.col("file")}
    rows = rows.with_columns(
        **{
            name: defaults.get(name, pl.lit(None)).cast(dtype)
            for name, dtype in SCHEMA.items()
            if name not in rows.columns
        }
    )
    rows = rows.select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items()).with_columns(
        pl.col("group").fill_null(pl.col("file")),
        pl.col("file").map_elements(lambda name: str(folder / name), pl.String),
        pl.col("start_ms").fill_null(0),
    )
    for name in rows["file"].unique():
        if not Path(name).is_file():
            raise FileNotFoundError(f"labels name a file that is not there: {name}")
    for name, allowed in (("emotion", EMOTIONS), ("quadrant", QUADRANTS)):
        if wrong := set(rows[name].drop_nulls()) - set(allowed):
            raise DataError(f"{name} is {sorted(wrong)[0]!r}, allowed are {', '.join(allowed)}")
    for name in ("valence", "arousal", "dominance"):
        if (outside := rows.filter(pl.col(name).abs() > 1)[name]).len():
            raise DataError(f"{name} is {outside[0]}, allowed are -1..1")
    if (backward := rows.filter(pl.col("end_ms") <= pl.col("start_ms"))).height:
        raise DataError(f"{backward['file'][0]}: end_ms is {backward['end_ms'][0]}, not after start_ms")
    return rows.sort("file", "start_ms", maintain_order=True)


def assign_folds(
    rows: pl.DataFrame, count: int, seed: int, label: str | None = None
) -> npt.NDArray[np.int64]:
    """A fold for every row, [n] in 0..count-1: no group in two folds, shares of `label` as even as can be.

    Groups are dealt out largest first (ties in an order drawn from `seed`), each to the fold where it adds
    least to the squared shares of the labels; the idea of scikit-learn's StratifiedGroupKFold.

    Raises:
        DataError: fewer groups than folds, or fewer than 2 folds.
    """
    groups, of_row = np.unique(rows["group"].to_numpy(), return_inverse=True)
    if not 2 <= count <= len(groups):
        raise DataError(f"count is {count}, allowed are 2..{len(groups)} (the number of groups)")
    values = rows[label].fill_null("").to_numpy() if label else np.zeros(len(rows))
    classes, of_label = np.unique(values, return_inverse=True)
    held = np.zeros((len(groups), len(classes)))
    np.add.at(held, (of_row, of_label), 1)
    weight = 1 / held.sum(0)
    order = np.random.default_rng(seed).permutation(len(groups))
    order = order[np.argsort(-held[order].sum(1), kind="stable")]
    filled = np.zeros((count, len(classes)))
    fold_of = np.zeros(len(groups), np.int64)
    for group in order:
        cost = (((filled + held[group]) * weight) ** 2 - (filled * weight) ** 2).sum(1)
        fold_of[group] = min(range(count), key=lambda fold: (cost[fold], filled[fold].sum(), fold))
        filled[fold_of[group]] += held[group]
    return fold_of[of_row]


def read_sound(
    file: str | os.PathLike[str], start_ms: int = 0, end_ms: int | None = None, channel: int | None = None
) -> Float:
    """Mono samples at 16 kHz, [n]: the mean of the channels, or one of them, resampled by soxr (HQ).

    Raises:
        ValueError: the file cannot be read as sound, or has no such channel.
    """
    try:
        with av.open(os.fspath(file)) as container:
            planar = av.AudioResampler("fltp")
            blocks = [
                block.to_ndarray()
                for frame in (*container.decode(audio=0), None)
                for block in planar.resample(frame)
            ]
            rate_hz = container.streams.audio[0].rate
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"{file} cannot be read as sound: {error}") from error
    samples = np.concatenate(blocks, 1) if blocks else np.zeros((1, 0), np.float32)
    if channel is not None and channel >= len(samples):
        raise ValueError(f"channel is {channel}, {file} has {len(samples)}")
    mono = samples.mean(0) if channel is None else samples[channel]
    mono = mono[start_ms * rate_hz // 1000 : None if end_ms is None else end_ms * rate_hz // 1000]
    return np.asarray(soxr.resample(mono, rate_hz, RATE_HZ), np.float32)


def _by_speaker(labels: pl.DataFrame, folder: Path) -> pl.DataFrame:
    return labels.select("file", "emotion", group="speaker")


def _emodb(labels: pl.DataFrame, folder: Path) -> pl.DataFrame:
    return _by_speaker(labels, folder).with_columns(end_ms=pl.lit(2000))  # 159 clips were cut there: cut all


def _tava(labels: pl.DataFrame, folder: Path) -> pl.DataFrame:
    return labels.rename({"speaker": "group"})  # its 16 affects are no emotion words of ours


def _turns(labels: pl.DataFrame, folder: Path) -> pl.DataFrame:
    return labels.select(
        "file",
        group="speaker",
        start_ms=(pl.col("start_s") * 1000).round(),
        end_ms=(pl.col("end_s") * 1000).round(),
        channel=pl.col("note").str.extract(r"channel=(\d+)").cast(pl.Int64),
    )


def _song(labels: pl.DataFrame, folder: Path) -> pl.DataFrame:
    group = pl.format("ravdess_{}", pl.col("actor").cast(pl.String).str.zfill(2))  # the actors of `ravdess`
    return labels.select("file", group=group, emotion=pl.col("emotion").replace(_SONG_EMOTIONS))


def _4qaed(labels: pl.DataFrame, folder: Path) -> pl.DataFrame:
    return labels.select("file", "quadrant", group="artist")


def _emotify(labels: pl.DataFrame, folder: Path) -> pl.DataFrame:
    return labels.select("file", moods=pl.concat_list(*MOODS))  # artists are not given: a track is a group


def _emomusic(labels: pl.DataFrame, folder: Path) -> pl.DataFrame:
    return labels.select(
        "file",
        group="artist",
        start_ms=pl.col("t_start_s") * 1000,
        valence=(pl.col("mean_valence") - 5) / 4,
        arousal=(pl.col("mean_arousal") - 5) / 4,
        valence_std=pl.col("std_valence") / 4,
        arousal_std=pl.col("std_arousal") / 4,
        valence_curve=_numbers("valence_dynamic"),
        arousal_curve=_numbers("arousal_dynamic"),
    )


def _numbers(name: str) -> pl.Expr:
    return pl.col(name).str.split(" ").cast(pl.List(pl.Float64))


def _pairs(labels: pl.DataFrame, folder: Path) -> pl.DataFrame:
    return labels.select(
        "quadrant", file="audio", group="upstream", valence="valence_mean", arousal="arousal_mean"
    )


def _emopia(labels: pl.DataFrame, folder: Path) -> pl.DataFrame:
    return labels.select("file", "quadrant", group="song_id")


def _vgmidi(labels: pl.DataFrame, folder: Path) -> pl.DataFrame:
    return labels.select(
        "quadrant",
        file="midi",
        group="series",
        valence="valence_mean",
        arousal="arousal_mean",
        valence_curve=_numbers("valence_median_per_bar"),
        arousal_curve=_numbers("arousal_median_per_bar"),
    )


CORPORA: dict[str, tuple[str, Callable[[pl.DataFrame, Path], pl.DataFrame]]] = {
    "ravdess": ("speech/ravdess", _by_speaker),
    "emodb": ("speech/emodb", _emodb),
    "ased": ("speech/ased", _by_speaker),
    "urdu": ("speech/urdu", _by_speaker),
    "tava": ("speech/tava", _tava),
    "callcentre": ("speech/callcentre", _turns),
    "ami_mini": ("speech/ami_mini", _turns),
    "ravdess_song": ("music/ravdess_song", _song),
    "4qaed": ("music/4qaed", _4qaed),
    "emotify": ("music/emotify", _emotify),
    "emomusic": ("music/emomusic", _emomusic),
    "midi_audio_pairs": ("music/midi_audio_pairs", _pairs),
    "emopia": ("music/emopia", _emopia),
    "vgmidi": ("music/vgmidi", _vgmidi),
}
