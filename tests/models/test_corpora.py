"""Readers, folds and sound: against hand-made folders, and the real corpora where they are."""

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile

from moodstream.models import corpora

REAL = Path(os.environ.get("MOODSTREAM_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
needs_data = pytest.mark.skipif(not REAL.is_dir(), reason=f"no corpora at {REAL} (MOODSTREAM_DATA)")


def write_clip(path: Path, seconds: float = 1.0, rate_hz: int = 16_000, channels: int = 1) -> None:
    time_s = np.arange(int(seconds * rate_hz)) / rate_hz
    wave = 0.5 * np.sin(2 * np.pi * 440 * time_s)
    soundfile.write(path, np.stack([wave * (1 - i) for i in range(channels)], 1), rate_hz)


def write_folder(folder: Path, header: str, *lines: str) -> Path:
    for name in ("a.wav", "b.wav"):
        write_clip(folder / name)
    (folder / "mine.csv").write_text("\n".join((header, *lines)) + "\n")
    return folder


class TestReadFolder:
    def test_gives_every_column_and_the_defaults(self, tmp_path: Path) -> None:
        rows = corpora.read_folder(
            write_folder(tmp_path, "file,valence,emotion", "b.wav,0.25,fear", "a.wav,,")
        )
        assert rows.schema == corpora.SCHEMA
        assert rows["file"].to_list() == [str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]
        assert rows["valence"].to_list() == [None, 0.25]
        assert rows["emotion"].to_list() == [None, "fear"]
        assert rows["group"].to_list() == ["a.wav", "b.wav"]
        assert rows["corpus"].to_list() == ["mine", "mine"]
        assert rows["start_ms"].to_list() == [0, 0]

    def test_a_number_as_group_stays_a_name(self, tmp_path: Path) -> None:
        rows = corpora.read_folder(write_folder(tmp_path, "file,group,arousal", "a.wav,01,0", "b.wav,1,0"))
        assert rows["group"].to_list() == ["01", "1"]

    @pytest.mark.parametrize(
        ("header", "line", "message"),
        [
            ("file,valence", "a.wav,1.5", "valence is 1.5"),
            ("file,emotion", "a.wav,angry", "emotion is 'angry'"),
            ("file,quadrant", "a.wav,Q5", "quadrant is 'Q5'"),
            ("file,valence,start_ms,end_ms", "a.wav,0,500,500", "end_ms is 500"),
            ("file,valence,mood", "a.wav,0,good", "unknown columns"),
            ("file,group", "a.wav,x", "no label"),
        ],
    )
    def test_says_what_is_wrong(self, tmp_path: Path, header: str, line: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            corpora.read_folder(write_folder(tmp_path, header, line))

    def test_missing_file_and_missing_table(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"no \.csv"):
            corpora.read_folder(tmp_path)
        with pytest.raises(FileNotFoundError, match=r"c\.wav"):
            corpora.read_folder(write_folder(tmp_path, "file,valence", "c.wav,0"))


class TestAssignFolds:
    @staticmethod
    def rows(seed: int = 0) -> pl.DataFrame:
        draw = np.random.default_rng(seed)
        group = draw.integers(0, 30, 300)
        return pl.DataFrame(
            {"group": [f"g{i}" for i in group], "quadrant": draw.choice(["Q1", "Q2"], 300, p=[0.8, 0.2])}
        )

    def test_no_group_in_two_folds_and_shares_even(self) -> None:
        rows = self.rows()
        fold = corpora.assign_folds(rows, 5, seed=3, label="quadrant")
        assert set(fold) == set(range(5))
        frame = rows.with_columns(fold=fold)
        assert frame.group_by("group").agg(pl.col("fold").n_unique())["fold"].max() == 1
        counts = frame.group_by("fold", "quadrant").len()
        for label in ("Q1", "Q2"):
            share = counts.filter(quadrant=label)["len"].to_numpy() / (rows["quadrant"] == label).sum()
            assert share.max() < 0.27
            assert share.min() > 0.13

    def test_seed_decides(self) -> None:
        rows = self.rows()
        first = corpora.assign_folds(rows, 5, seed=1)
        assert np.array_equal(first, corpora.assign_folds(rows, 5, seed=1))
        assert not np.array_equal(first, corpora.assign_folds(rows, 5, seed=2))

    @pytest.mark.parametrize("count", [1, 31])
    def test_impossible_count(self, count: int) -> None:
        with pytest.raises(ValueError, match=f"count is {count}"):
            corpora.assign_folds(self.rows(), count, seed=0)


class TestReadSound:
    def test_resamples_cuts_and_mixes(self, tmp_path: Path) -> None:
        write_clip(tmp_path / "a.wav", seconds=2, rate_hz=44_100, channels=2)  # the right channel is silent
        whole = corpora.read_sound(tmp_path / "a.wav")
        assert whole.shape == (32_000,)
        assert whole.dtype == np.float32
        middle = slice(4_000, 28_000)
        sine = 0.5 * np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000)
        assert np.abs(whole - sine / 2)[middle].max() < 1e-3
        assert np.abs(corpora.read_sound(tmp_path / "a.wav", channel=0) - sine)[middle].max() < 1e-3
        cut = corpora.read_sound(tmp_path / "a.wav", start_ms=500, end_ms=1_500)
        assert cut.shape == (16_000,)
        assert np.abs(cut - whole[8_000:24_000])[4_000:12_000].max() < 1e-3

    def test_what_cannot_be_read(self, tmp_path: Path) -> None:
        (tmp_path / "a.wav").write_text("not sound")
        with pytest.raises(ValueError, match="cannot be read as sound"):
            corpora.read_sound(tmp_path / "a.wav")
        write_clip(tmp_path / "b.wav")
        with pytest.raises(ValueError, match="channel is 1"):
            corpora.read_sound(tmp_path / "b.wav", channel=1)


def test_unknown_corpus_and_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="corpus is 'iemocap'"):
        corpora.read_corpus("iemocap", tmp_path)
    with pytest.raises(FileNotFoundError, match="MOODSTREAM_DATA"):
        corpora.data_folder(tmp_path / "nowhere")


@needs_data
@pytest.mark.parametrize(
    ("name", "rows", "groups", "label"),
    [
        ("ravdess", 1440, 24, "emotion"),
        ("emodb", 535, 10, "emotion"),
        ("ased", 269, 65, "emotion"),
        ("urdu", 400, 29, "emotion"),
        ("tava", 288, 18, "dominance"),
        ("callcentre", 130, 6, "end_ms"),
        ("ami_mini", 66, 16, "end_ms"),
        ("ravdess_song", 276, 23, "emotion"),
        ("4qaed", 203, 179, "quadrant"),
        ("emotify", 400, 400, "moods"),
        ("emomusic", 10, 6, "valence_curve"),
        ("midi_audio_pairs", 20, 20, "quadrant"),
        ("emopia", 1078, 387, "quadrant"),
        ("vgmidi", 162, 12, "arousal_curve"),
    ],
)
def test_real_corpora(name: str, rows: int, groups: int, label: str) -> None:
    frame = corpora.read_corpus(name, REAL)
    assert frame.schema == corpora.SCHEMA
    assert frame.height == rows
    assert frame["group"].null_count() == 0
    assert frame["group"].n_unique() == groups
    assert frame[label].null_count() == (2 if name == "callcentre" else 0)


@needs_data
def test_singers_are_the_actors_of_the_speech_corpus() -> None:
    speech, song = (corpora.read_corpus(name, REAL) for name in ("ravdess", "ravdess_song"))
    assert set(song["group"]) <= set(speech["group"])


@needs_data
def test_every_emodb_clip_ends_at_two_seconds_as_some_were_cut_there() -> None:
    assert set(corpora.read_corpus("emodb", REAL)["end_ms"]) == {2000}
