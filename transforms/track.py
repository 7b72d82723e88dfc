"""Track: one channel and modality of a media, from what its cells hold to curve, episode and summary rows.

`tell` takes what many tracks are told at once: what treats each cell by itself (fusing, columns of rows) is
done for all of them together, since a call of numpy or Arrow costs more than the arithmetic of one cell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from moodstream.models.base import EMOTIONS, QUADRANTS, STEP_MS, Estimates, Float
from moodstream.transforms.curve import CurveBlock, Mask, SpanInfo, Stretch, curves_table, select
from moodstream.transforms.diarize import EpisodeSegmenter, Run, settings_for
from moodstream.transforms.elements import Alert, Episode, Summary
from moodstream.transforms.engine import Engine
from moodstream.transforms.fuse import fuse, fuse_scores, precision_weights
from moodstream.transforms.learned import JOINED, Said
from moodstream.transforms.series import episode_row
from moodstream.transforms.summarize import Summarizer
from moodstream.transforms.tables import to_table
from moodstream.transforms.talk import Talk
from moodstream.transforms.watch import Watch, alert_rows
from moodstream.transforms.words import felt_words

Rows = dict[str, list[pa.Table]]
_Row = TypeVar("_Row", Episode, Alert)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LABELS = {"speech": EMOTIONS, "music": QUADRANTS, "symbolic": QUADRANTS, "fused": (*EMOTIONS, *QUADRANTS)}


@dataclass(frozen=True, slots=True)
class Heard:
    """What is known of n cells before any emotion."""

    start: int
    activity: npt.NDArray[np.int8]  # [n], index into ACTIVITIES
    loudness: Float  # [n] LUFS, NaN where there is none
    reasons: npt.NDArray[np.object_]  # [n] why there would be no estimate


@dataclass(frozen=True, slots=True)
class By:
    """Whose models speak, and what rows have in common from there on."""

    engine: Engine
    info: SpanInfo


Sources = Mapping[str, tuple[Estimates, Mask]]  # by modality, what its model says and where that counts


def merge(rows: Rows, more: Rows) -> None:
    """Append the tables of `more` to `rows`."""
    for name, tables in more.items():
        rows.setdefault(name, []).extend(tables)


class Track:
    """The curve, episodes and summary of one channel and modality.

    Args:
        info: what its rows have in common.
        engine: for the models' priors.
        sparse: keep only cells with an estimate.
        revise: give the rows of running episodes too, as they are known; each replaces the one before.
        watch: what looks for alerts in its cells.
    """

    def __init__(
        self,
        info: SpanInfo,
        engine: Engine,
        *,
        sparse: bool = False,
        revise: bool = False,
        watch: Watch | None = None,
    ) -> None:
        self.info, self.engine, self.sparse, self.revise = info, engine, sparse, revise
        self.watch = watch
        self.labels = LABELS[info.modality]
        self.segmenter = EpisodeSegmenter(self.labels, settings_for(info.modality, engine.listens))
        self.summarizer = Summarizer(self.labels)
        self.estimated_cells = 0
        self._felt = np.zeros(0)  # sums over cells of the share of listeners that would feel each mood
        self._felt_cells = 0

    def push(self, heard: Heard, sources: Sources) -> Rows:
        """The next n cells: what is heard, and by modality what its model says and where that counts."""
        return tell([Part(self, heard, sources)])

    def take(self, block: CurveBlock, sources: Sources) -> tuple[list[Episode], list[Alert]]:
        """The next n cells, fused; the episodes and alerts that they bring."""
        self.estimated_cells += int(np.count_nonzero(block.estimated))
        self._feel(sources)
        runs = self._diarize(block, sources)
        self.summarizer.push(block.mean, block.activity, block.loudness, block.scores)
        episodes = self._episodes(runs, (block.start + len(block)) * STEP_MS)
        if self.watch is None:
            return episodes, []
        return episodes, self.watch.push(self.info, block, is_main=not self.sparse)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on elsewhere, as plain Python and numpy."""
        return {
            "segmenter": self.segmenter.state(),
            "summarizer": self.summarizer.state(),
            "estimated_cells": self.estimated_cells,
            "felt": self._felt.copy(),
            "felt_cells": self._felt_cells,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()` of a track of the same channel and modality."""
        self.segmenter.restore(state["segmenter"])
        self.summarizer.restore(state["summarizer"])
        self.estimated_cells = state["estimated_cells"]
        self._felt, self._felt_cells = state["felt"].copy(), state["felt_cells"]

    def flush(self, duration_ms: int, talk: Talk | None = None, more: dict[str, Any] | None = None) -> Rows:
        """The media ended: the last episodes, and the summary.

        Args:
            duration_ms: how long the media is.
            talk: how this side of a call talked; None for everything else.
            more: further columns of the summary.
        """
        told = self._episodes(self.segmenter.flush(), duration_ms)
        rows: Rows = {"episode": [to_table("episode", told)]} if told else {}
        if self.estimated_cells or not self.sparse:
            columns = self.info.columns() | self.summarizer.finish(talk) | self._moods() | (more or {})
            merge(
                rows, {"summary": [to_table("summary", [Summary(start_ms=0, end_ms=duration_ms, **columns)])]}
            )
        return rows

    def _diarize(self, block: CurveBlock, sources: Mapping[str, tuple[Estimates, Mask]]) -> list[Run]:
        """Speech by a model that listens for changes, if there is one; all else by what the curve says."""
        valence, arousal = block.mean[:, 0], block.mean[:, 1]
        turns = sources["speech"][0].turns if tuple(sources) == ("speech",) else None
        if turns is None or self.info.modality != "speech":
            return self.segmenter.push(block.scores, block.estimated, valence, arousal)
        return self.segmenter.push(turns.scores, block.estimated, valence, arousal, turns.change)

    def _feel(self, sources: Mapping[str, tuple[Estimates, Mask]]) -> None:
        for estimates, counts in sources.values():
            if estimates.moods is not None and counts.any():
                total = estimates.moods[counts].sum(0, dtype=np.float64)
                self._felt = self._felt + total if self._felt_cells else total
                self._felt_cells += int(counts.sum())

    def _moods(self) -> dict[str, list[str]]:
        """What music makes people feel, where a model with moods was heard: it says more than the plane."""
        if not self._felt_cells or 2 * self._felt_cells < self.estimated_cells:  # mostly something else
            return {}
        shape = self.engine.cards["music"].shape
        shares = (self._felt / self._felt_cells).tolist()
        return {"moods": felt_words(dict(zip(shape["moods"], shares, strict=True)), shape["mood_shares"])}

    def _episodes(self, runs: list[Run], duration_ms: int) -> list[Episode]:
        if not runs:
            return []
        self.summarizer.add_episodes(runs)
        columns = self.info.columns()
        return [episode_row(columns, run, duration_ms) for run in runs if run.is_final or self.revise]


@dataclass(frozen=True, slots=True)
class Part:
    """Cells that a track is told."""

    track: Track
    heard: Heard
    sources: Sources
    is_final: bool = True  # else they are as they look now, and the track goes on as if nobody had asked
    revision: int = 0  # of their rows
    began_ms: int | None = None  # UTC of the media's position 0, for live rows
    by: By | None = None  # where others speak than those that the track knows

    @property
    def engine(self) -> Engine:
        return self.track.engine if self.by is None else self.by.engine

    @property
    def info(self) -> SpanInfo:
        return self.track.info if self.by is None else self.by.info

    def when(self, start_ms: int) -> datetime | None:
        """UTC of a position of the media."""
        return None if self.began_ms is None else _EPOCH + timedelta(milliseconds=self.began_ms + start_ms)


def tell(parts: Sequence[Part]) -> Rows:
    """Tell tracks their next cells; the rows that come of all this. A track's own cells are in order."""
    groups: dict[tuple[object, ...], list[Part]] = {}
    for part in sorted(parts, key=_is_other):  # who takes over speaks after who was there before
        key = _is_other(part), id(part.engine), part.track.labels, *part.sources
        groups.setdefault(key, []).append(part)
    rows: Rows = {}
    episodes: list[Episode] = []
    alerts: list[Alert] = []
    for group in groups.values():
        block = _fused(group)
        lengths = [len(part.heard.activity) for part in group]
        cells = np.concatenate(
            [part.heard.start + np.arange(n) for part, n in zip(group, lengths, strict=True)]
        )
        stretches = [
            Stretch(part.info, n, part.track.sparse, part.revision, part.is_final, part.began_ms)
            for part, n in zip(group, lengths, strict=True)
        ]
        table = curves_table(stretches, cells, block)
        if len(table):
            merge(rows, {"curve": [table]})
        at = 0
        for part, n in zip(group, lengths, strict=True):
            if part.is_final:
                part.track.info, part.track.engine = part.info, part.engine
                own = select(block, slice(at, at + n), part.heard.start)
                found, rung = part.track.take(own, part.sources)
                episodes += [_timed(part, one) for one in found]
                alerts += [_timed(part, one) for one in rung]
            at += n
    merge(rows, {"episode": [to_table("episode", episodes)]} if episodes else {})
    merge(rows, alert_rows(alerts))
    return rows


def _is_other(part: Part) -> bool:
    return part.by is not None


def _timed(part: Part, row: _Row) -> _Row:
    return row if part.began_ms is None else replace(row, event_time=part.when(row.start_ms))


def _fused(parts: Sequence[Part]) -> CurveBlock:
    """The cells of parts with the same sources, one after the other, fused."""
    first = parts[0]
    engine, labels = first.engine, first.track.labels
    n = sum(len(part.heard.activity) for part in parts)
    mean = np.full((n, 3), np.nan, np.float32)
    std, scores = mean.copy(), np.zeros((n, len(labels)), np.float32)
    took_part = np.zeros((n, len(first.sources)), bool)
    if first.sources:
        said = {modality: _said(parts, modality) for modality in first.sources}
        took_part = np.stack([np.isfinite(one.mean).any(1) for one in said.values()], 1)
        if engine.joining and all(modality in said for modality in JOINED):
            music, symbolic = JOINED
            said[music] = engine.joining[1].join(said[music], said.pop(symbolic))
        pairs = [(one.mean, one.std) for one in said.values()]
        fused = fuse(pairs, [engine.prior(modality) for modality in said])
        mean, std = fused.mean, fused.std
        vocabularies = [LABELS[modality] for modality in said]
        says = [one.scores for one in said.values()]
        pooled, names = says[0], vocabularies[0]
        if len(said) > 1:
            pooled, names = fuse_scores(says, vocabularies, precision_weights(pairs))
        scores[:, [labels.index(name) for name in names]] = np.nan_to_num(pooled)
    estimated = np.asarray(took_part.any(axis=1))
    reasons = np.concatenate([part.heard.reasons for part in parts])
    reasons[reasons == None] = "unknown"  # noqa: E711  (elementwise)
    reasons[estimated] = None
    return CurveBlock(
        start=first.heard.start,
        mean=mean,
        std=std,
        scores=scores,
        labels=labels,
        estimated=estimated,
        activity=np.concatenate([part.heard.activity for part in parts]),
        loudness=np.concatenate([part.heard.loudness for part in parts]),
        reasons=reasons,
        took_part=took_part,
        modalities=tuple(first.sources),
    )


def _said(parts: Sequence[Part], modality: str) -> Said:
    """What one model says of all these cells; NaN where it does not count."""
    says = [part.sources[modality] for part in parts]
    keep = np.concatenate([counts for _, counts in says])[:, None]
    columns = zip(*((of.mean, of.std, of.scores) for of, _ in says), strict=True)
    return Said(*(np.where(keep, np.concatenate(column), np.nan) for column in columns))
