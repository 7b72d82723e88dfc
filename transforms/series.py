"""Series: the rows of a curve as arrays on the grid again, and the episodes and summaries they give.

The same steps that a session drives while it listens, over rows that are already there: other settings, or a
curve that somebody else made.

Conventions: a table holds `curve` rows of any number of media, in any order; cells are half seconds from the
start of the media. Where a modality has no row, activity and loudness come from the most complete modality of
the same channel.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from moodstream.models.base import ACTIVITIES, DIMENSIONS, HAS_SPEECH, STEP_MS, Float
from moodstream.transforms.diarize import DiarizeSettings, EpisodeSegmenter, Run, settings_for
from moodstream.transforms.elements import Episode, Span, Summary
from moodstream.transforms.fuse import in_order
from moodstream.transforms.summarize import Summarizer
from moodstream.transforms.talk import measure_talk

_SHARED = [column.name for column in fields(Span) if column.name not in ("start_ms", "end_ms")]
_OTHER = ACTIVITIES.index("other")


@dataclass(frozen=True, slots=True)
class Series:
    """The curve of one channel and modality of one media, n cells from its start."""

    shared: dict[str, Any]  # what all its rows say: media_id, channel, model, ...
    labels: tuple[str, ...]
    mean: Float  # [n, 3], NaN where there is no estimate
    scores: Float  # [n, K]
    activity: npt.NDArray[np.int8]  # [n], index into ACTIVITIES
    loudness: Float  # [n], NaN where unknown

    @property
    def estimated(self) -> npt.NDArray[np.bool_]:
        """[n], whether valence and arousal are known."""
        known: npt.NDArray[np.bool_] = np.all(np.isfinite(self.mean[:, :2]), axis=1)
        return known

    @property
    def end_ms(self) -> int:
        return len(self.mean) * STEP_MS


def read_series(curve: pa.Table) -> Iterator[list[Series]]:
    """The curves of each media (and take) in a table of `curve` rows, sorted by channel and modality."""
    for rows in _split(curve, ["media_id", "take"]):
        n = pc.max(rows["end_ms"]).as_py() // STEP_MS
        media: list[Series] = []
        for channel in _split(rows, ["channel"]):
            parts = _split(channel, ["modality"])
            activity, loudness = _background(max(parts, key=len), n)
            media += [_series(part, n, activity, loudness) for part in parts]
        yield media


def find_episodes(series: Series, settings: DiarizeSettings | None = None) -> list[Run]:
    """The final episodes of one curve, with the settings of its modality unless others are given."""
    if not series.labels:
        return []
    segmenter = EpisodeSegmenter(series.labels, settings or settings_for(series.shared["modality"]))
    runs = segmenter.push(series.scores, series.estimated, series.mean[:, 0], series.mean[:, 1])
    return [run for run in runs + segmenter.flush() if run.is_final]


def episode_rows(series: Series, runs: list[Run]) -> list[Episode]:
    """Episodes as rows of the `episode` table."""
    return [episode_row(series.shared, run, series.end_ms) for run in runs]


def episode_row(shared: Mapping[str, Any], run: Run, duration_ms: int) -> Episode:
    """A run as a row; the last cell may reach beyond the end of the media, the episode does not."""
    return Episode(
        **{**shared, "revision": run.revision, "is_final": run.is_final},
        start_ms=run.start_cell * STEP_MS,
        end_ms=min(run.end_cell * STEP_MS, duration_ms),
        episode=run.episode,
        emotion=run.label,
        confidence=run.confidence,
        valence_mean=run.valence_mean,
        arousal_mean=run.arousal_mean,
    )


def summary_rows(media: list[Series], settings: DiarizeSettings | None = None) -> list[Summary]:
    """One row of the `summary` table for each channel and modality; several channels count as a call."""
    talking = {series.shared["channel"]: HAS_SPEECH[series.activity] for series in media}
    talk = measure_talk(talking) if len(talking) > 1 else {}
    rows = []
    for series in media:
        summarizer = Summarizer(series.labels)
        summarizer.push(series.mean, series.activity, series.loudness, series.scores)
        summarizer.add_episodes(find_episodes(series, settings))
        columns = series.shared | summarizer.finish(talk.get(series.shared["channel"]))
        rows.append(Summary(start_ms=0, end_ms=series.end_ms, **columns))
    return rows


def _split(table: pa.Table, by: list[str]) -> list[pa.Table]:
    groups = table.select(by).group_by(by).aggregate([]).sort_by([(name, "ascending") for name in by])
    parts = []
    for group in groups.to_pylist():
        keep = np.ones(len(table), bool)
        for name, value in group.items():
            keep &= pc.equal(table[name], value).to_numpy(zero_copy_only=False)
        parts.append(table.filter(pa.array(keep)))
    return parts


def _cells(table: pa.Table) -> npt.NDArray[np.int64]:
    cells: npt.NDArray[np.int64] = table["start_ms"].to_numpy() // STEP_MS
    return cells


def _numbers(table: pa.Table, name: str) -> Float:
    return np.asarray(table[name].to_numpy(), np.float32)


def _background(table: pa.Table, n: int) -> tuple[npt.NDArray[np.int8], Float]:
    activity = np.full(n, _OTHER, np.int8)
    activity[_cells(table)] = pc.index_in(table["activity"], pa.array(ACTIVITIES)).to_numpy()
    loudness = np.full(n, np.nan, np.float32)
    loudness[_cells(table)] = _numbers(table, "loudness_lufs")
    return activity, loudness


def _series(table: pa.Table, n: int, activity: npt.NDArray[np.int8], loudness: Float) -> Series:
    cells = _cells(table)
    mean = np.full((n, len(DIMENSIONS)), np.nan, np.float32)
    for index, name in enumerate(DIMENSIONS):
        mean[cells, index] = _numbers(table, name)
    # Flattened by hand: a Python dict for each half second would cost more than everything else here.
    maps = table["emotion_scores"].combine_chunks()
    known = pc.is_valid(maps).to_numpy(zero_copy_only=False)
    offsets = maps.offsets.to_numpy()
    names = maps.keys.slice(offsets[0], offsets[-1] - offsets[0])
    labels = in_order(set(pc.unique(names).to_pylist()))
    rows = np.repeat(cells, np.diff(offsets))
    scores = np.zeros((n, len(labels)), np.float32)
    columns = pc.index_in(names, pa.array(labels, pa.string())).to_numpy(zero_copy_only=False)
    scores[rows, columns.astype(np.int64)] = maps.items.to_numpy(zero_copy_only=False)[
        offsets[0] : offsets[-1]
    ]
    scores[cells[~known]] = 0
    there = set(table.column_names)  # rows of an older version lack the newest columns
    shared = {name: table[name][0].as_py() for name in _SHARED if name in there}
    return Series(shared, labels, mean, scores, activity, loudness)
