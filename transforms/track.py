"""Track: one channel and modality of a media, from what its cells hold to curve, episode and summary rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from moodstream.models.base import EMOTIONS, QUADRANTS, STEP_MS, Estimates, Float
from moodstream.transforms.curve import CurveBlock, Mask, SpanInfo, curve_table
from moodstream.transforms.diarize import EpisodeSegmenter, Run, settings_for
from moodstream.transforms.elements import Summary
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
LABELS = {"speech": EMOTIONS, "music": QUADRANTS, "symbolic": QUADRANTS, "fused": (*EMOTIONS, *QUADRANTS)}


@dataclass(frozen=True, slots=True)
class Heard:
    """What is known of n cells before any emotion."""

    start: int
    activity: npt.NDArray[np.int8]  # [n], index into ACTIVITIES
    loudness: Float  # [n] LUFS, NaN where there is none
    reasons: npt.NDArray[np.object_]  # [n] why there would be no estimate


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

    def push(self, heard: Heard, sources: Mapping[str, tuple[Estimates, Mask]]) -> Rows:
        """The next n cells: what is heard, and by modality what its model says and where that counts."""
        block = self._fuse(heard, sources)
        self.estimated_cells += int(block.estimated.sum())
        self._feel(sources)
        runs = self._diarize(block, sources)
        self.summarizer.push(block.mean, block.activity, block.loudness, block.scores)
        rows = self._episodes(runs, (block.start + len(block)) * STEP_MS)
        if not self.sparse or block.estimated.any():
            rows["curve"] = [curve_table(self.info, block, sparse=self.sparse)]
        if self.watch is not None:
            merge(rows, alert_rows(self.watch.push(self.info, block, is_main=not self.sparse)))
        return rows

    def peek(self, heard: Heard, sources: Mapping[str, tuple[Estimates, Mask]]) -> Rows:
        """Curve rows of cells as they look now; the track goes on as if nobody had asked."""
        block = self._fuse(heard, sources)
        if self.sparse and not block.estimated.any():
            return {}
        return {"curve": [curve_table(self.info, block, sparse=self.sparse)]}

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
        rows = self._episodes(self.segmenter.flush(), duration_ms)
        if self.estimated_cells or not self.sparse:
            columns = self.info.columns() | self.summarizer.finish(talk) | self._moods() | (more or {})
            merge(
                rows, {"summary": [to_table("summary", [Summary(start_ms=0, end_ms=duration_ms, **columns)])]}
            )
        return rows

    def _fuse(self, heard: Heard, sources: Mapping[str, tuple[Estimates, Mask]]) -> CurveBlock:
        n = len(heard.activity)
        mean = np.full((n, 3), np.nan, np.float32)
        std, scores = mean.copy(), np.zeros((n, len(self.labels)), np.float32)
        took_part = np.zeros((n, len(sources)), bool)
        if sources:
            said = {modality: _masked(estimates, counts) for modality, (estimates, counts) in sources.items()}
            took_part = np.stack([np.isfinite(one.mean).any(1) for one in said.values()], 1)
            if self.engine.joining and all(modality in said for modality in JOINED):
                music, symbolic = JOINED
                said[music] = self.engine.joining[1].join(said[music], said.pop(symbolic))
            pairs = [(one.mean, one.std) for one in said.values()]
            fused = fuse(pairs, [self.engine.prior(modality) for modality in said])
            mean, std = fused.mean, fused.std
            vocabularies = [LABELS[modality] for modality in said]
            says = [one.scores for one in said.values()]
            pooled, names = says[0], vocabularies[0]
            if len(said) > 1:
                pooled, names = fuse_scores(says, vocabularies, precision_weights(pairs))
            scores[:, [self.labels.index(name) for name in names]] = np.nan_to_num(pooled)
        estimated = np.asarray(took_part.any(axis=1))
        reasons = np.array([reason or "unknown" for reason in heard.reasons], object)
        reasons[estimated] = None
        return CurveBlock(
            start=heard.start,
            mean=mean,
            std=std,
            scores=scores,
            labels=self.labels,
            estimated=estimated,
            activity=heard.activity,
            loudness=heard.loudness,
            reasons=reasons,
            took_part=took_part,
            modalities=tuple(sources),
        )

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

    def _episodes(self, runs: list[Run], duration_ms: int) -> Rows:
        self.summarizer.add_episodes(runs)
        columns = self.info.columns()
        told = [episode_row(columns, run, duration_ms) for run in runs if run.is_final or self.revise]
        return {"episode": [to_table("episode", told)]} if told else {}


def _masked(estimates: Estimates, counts: Mask) -> Said:
    keep = counts[:, None]
    return Said(*(np.where(keep, of, np.nan) for of in (estimates.mean, estimates.std, estimates.scores)))
