"""Diarize: stretches of one emotion (episodes) from the label probabilities of the cells.

A semi-Markov smoother: the sequence of labels that explains the cells best, where every change of label costs
`switch_cost`, less where the sound changes, and every stretch lasts at least `shortest_cells` estimated
cells (`models.paths`, as the cells arrive). Only cells with an estimate take part; a pause of up to
`bridge_cells` is bridged, a longer one ends the episode.

Conventions: cells are half seconds counted from the start of the media; episodes are half-open
`[start_cell, end_cell)` and numbered from 0 in each channel and modality.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from moodstream.models.base import Float
from moodstream.models.paths import JOINED

_NEVER = float("-inf")
_Node = tuple[int, int]  # a run of a path: the cell it starts at, its label
_Top = tuple[
    float, int, tuple[float, ...]
]  # the best path at a cell: its value, its label; all `totals` there


@dataclass(frozen=True, slots=True)
class DiarizeSettings:
    """How readily the label changes. Costs and evidence are in nats (natural logarithms of probabilities)."""

    shortest_cells: int = 4  # the shortest episode, unless a whole stretch of sound is shorter
    switch_cost: float = 4.0  # a change pays when the evidence for the new label adds up to twice this
    floor: float = 0.02  # probabilities count as at least this, so that one cell cannot force a change
    change_weight: float = 1.0  # of the log-odds that the sound changes: taken off `switch_cost`
    bridge_cells: int = 3  # pauses up to this long do not end an episode
    lag_cells: int = 120  # the past is settled at the latest after this many estimated cells
    report_cells: int = 10  # how often, in cells of the media, settled and running episodes are reported

    def __post_init__(self) -> None:
        if not 1 <= self.shortest_cells < self.lag_cells:
            raise ValueError(f"shortest_cells {self.shortest_cells}, expected 1 to lag_cells - 1")
        if not 0 < self.floor < 0.5:
            raise ValueError(f"floor {self.floor}, expected between 0 and 0.5")
        if min(self.switch_cost, self.bridge_cells, self.change_weight) < 0 or self.report_cells < 1:
            raise ValueError(f"negative cost or count in {self}")


# Measured on joined recordings (infra/tune_diarization.py). LISTENED is for speech that a diarization model
# has listened to: it knows where the sound changes, so a change may cost less. The others have the scores of
# the curve alone, whose windows of seconds smear what changes.
SPEECH = DiarizeSettings()
LISTENED = DiarizeSettings(
    shortest_cells=JOINED.shortest_cells,
    switch_cost=JOINED.switch_cost,
    floor=JOINED.floor,
    change_weight=JOINED.change_weight,
)
MUSIC = DiarizeSettings(shortest_cells=6, switch_cost=8.0)


def settings_for(modality: str, listens: bool = False) -> DiarizeSettings:
    """The tuned settings of a modality: speech changes within a sentence, music within a phrase.

    Args:
        listens: whether a diarization model listens to speech.
    """
    if modality == "speech":
        return LISTENED if listens else SPEECH
    return MUSIC


@dataclass(frozen=True, slots=True)
class Run:
    """One episode as it is known now; a later `Run` with the same number replaces it."""

    episode: int
    start_cell: int
    end_cell: int  # exclusive
    label: str
    confidence: float  # mean probability of the label over the estimated cells
    valence_mean: float
    arousal_mean: float
    revision: int  # counts the reports of this episode from 0
    is_final: bool


@dataclass(slots=True)
class _Stretch:
    """The smoother's memory within one stretch of sound; times are estimated cells counted from its start.

    `cells`, `prices`, `starts`, `tops` and `sums` keep the cells from `first` on; the settled are dropped.
    """

    totals: list[float]  # per label, evidence of all cells so far
    gain: list[float]  # per label, what its best path has more than `totals`
    start: list[int]  # per label, where the last run of its best path started
    count: int = 0  # cells so far
    settled: int = 0  # where the first run that is not settled starts
    reported: int = 0  # `count` at the last report
    first: int = 0
    cells: list[int] = field(default_factory=list)  # cell of the media
    prices: list[float] = field(default_factory=list)  # what a change of label just before each cell costs
    starts: list[tuple[int, ...]] = field(default_factory=list)  # `start` after each cell
    tops: list[_Top] = field(default_factory=list)
    sums: list[npt.NDArray[np.float64]] = field(default_factory=list)  # scores, valence, arousal so far
    base: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))  # the sums before `settled`
    since: int = 0  # cell of the media at `settled`

    def parent(self, node: _Node) -> _Node:
        """The run before a run on the best path into it."""
        at = node[0] - 1 - self.first
        label = self.tops[at][1]
        return self.starts[at][label], label

    def settle(self, end: int) -> None:
        """The run up to `end` is settled: the next one starts there."""
        self.base = self.sums[end - 1 - self.first]
        self.settled = end
        if end < self.count:
            self.since = self.cells[end - self.first]

    def drop_before(self, cell: int) -> None:
        """Forget the cells before `cell`."""
        excess = cell - self.first
        if excess > 0:
            for column in (self.cells, self.prices, self.starts, self.tops, self.sums):
                del column[:excess]
            self.first = cell

    def state(self, shortest: int) -> dict[str, Any]:
        """All of it in few arrays; of the totals, those that a path of at least `shortest` still asks for."""
        top, label, totals = zip(*self.tops, strict=True)
        steps = np.diff(self.sums, axis=0)  # what was added: single precision holds it without loss
        return {
            "counts": [self.count, self.settled, self.reported, self.first, self.since],
            "totals": np.array(self.totals),
            "gain": np.array(self.gain),
            "start": np.array(self.start, np.int32),
            "cells": np.array(self.cells, np.int32),
            "prices": np.array(self.prices),
            "starts": np.array(self.starts, np.int32),
            "top": np.array(top),
            "top_label": np.array(label, np.int8),
            "top_totals": np.array(totals[-shortest:]),
            "sum": self.sums[0].copy(),
            "steps": steps.astype(np.float32),
            "base": self.base.copy(),
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Self:
        """The stretch that `state` is of."""
        count, settled, reported, first, since = state["counts"]
        known = [tuple(row) for row in state["top_totals"].tolist()]
        totals = [()] * (len(state["top"]) - len(known)) + known
        sums = [state["sum"]]
        for step in state["steps"].astype(np.float64):
            sums.append(sums[-1] + step)
        return cls(
            totals=state["totals"].tolist(),
            gain=state["gain"].tolist(),
            start=state["start"].tolist(),
            count=count,
            settled=settled,
            reported=reported,
            first=first,
            cells=state["cells"].tolist(),
            prices=state["prices"].tolist(),
            starts=[tuple(row) for row in state["starts"].tolist()],
            tops=list(zip(state["top"].tolist(), state["top_label"].tolist(), totals, strict=True)),
            sums=sums,
            base=state["base"],
            since=since,
        )


class EpisodeSegmenter:
    """Episodes of one channel and modality as its cells arrive: the same ones however they are cut.

    Exact (the best path over the whole stretch of sound) as long as the competing paths agree about what is
    older than `lag_cells`, which they nearly always do within seconds; where they do not, the path that leads
    at that moment is kept. Memory is bounded by the lag. Reports depend on the position in the media only.

    Example:
        >>> scores = np.repeat([[0.9, 0.1], [0.1, 0.9]], 8, axis=0).astype(np.float32)
        >>> segmenter = EpisodeSegmenter(("calm", "anger"), DiarizeSettings())
        >>> runs = segmenter.push(scores, np.ones(16, bool), scores[:, 0], scores[:, 1]) + segmenter.flush()
        >>> [(run.label, run.start_cell, run.end_cell) for run in runs if run.is_final]
        [('calm', 0, 8), ('anger', 8, 16)]
    """

    def __init__(
        self, labels: Sequence[str], settings: DiarizeSettings = SPEECH, first_cell: int = 0
    ) -> None:
        if not labels:
            raise ValueError("0 labels, expected at least 1")
        self.labels = tuple(labels)
        self.settings = settings
        self._cell = first_cell  # next cell of the media
        self._pause = 0  # cells without an estimate since the last one with
        self._change = _NEVER  # the most that the sound changed in them
        self._episode = 0
        self._revision = 0
        self._stretch: _Stretch | None = None

    def push(
        self,
        scores: Float,
        estimated: npt.NDArray[np.bool_],
        valence: Float,
        arousal: Float,
        change: Float | None = None,
    ) -> list[Run]:
        """Take the next n cells.

        Args:
            scores: [n, K] probabilities of the labels; ignored where `estimated` is false.
            estimated: [n] whether there is an estimate.
            valence: [n] in [-1, 1].
            arousal: [n] in [-1, 1].
            change: [n] log-odds that the label changes between the cell before and this one; 0 when None.

        Returns:
            Episodes settled or revised by these cells, in the order in which that happened.

        Raises:
            ValueError: The arrays do not fit each other or the labels.
        """
        n = len(estimated)
        changes = np.zeros(n) if change is None else change.astype(np.float64)
        if scores.shape != (n, len(self.labels)) or not len(valence) == len(arousal) == len(changes) == n:
            raise ValueError(f"scores of shape {scores.shape}, expected {(n, len(self.labels))}")
        rows = np.column_stack([scores, valence, arousal]).astype(np.float64)
        if not (np.isfinite(rows[estimated]).all() and np.isfinite(changes).all()):
            raise ValueError(
                "an estimated cell without scores, valence or arousal, or a change that is no number"
            )
        evidence = np.log(np.maximum(scores, self.settings.floor).astype(np.float64))
        runs: list[Run] = []
        step = self.settings.report_cells
        for here, row, known, turn in zip(
            evidence.tolist(), rows, estimated.tolist(), changes.tolist(), strict=True
        ):
            self._change = max(self._change, turn)
            if known:
                self._advance(here, row, self._change)
                self._pause, self._change = 0, _NEVER
            elif self._stretch is not None:
                self._pause += 1
                if self._pause > self.settings.bridge_cells:
                    runs += self._finish()
            self._cell += 1
            if self._cell % step == 0 and self._stretch is not None:
                runs += self._report(self._stretch)
        return runs

    def flush(self) -> list[Run]:
        """The media ended: the episodes that are still open."""
        return self._finish()

    def state(self) -> dict[str, Any]:
        """Everything needed to go on elsewhere, as plain Python and numpy."""
        stretch = self._stretch
        return {
            "cell": self._cell,
            "pause": self._pause,
            "change": self._change,
            "episode": self._episode,
            "revision": self._revision,
            "stretch": stretch and stretch.state(self.settings.shortest_cells),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()` of a segmenter with the same labels and settings."""
        self._cell, self._pause, self._change = state["cell"], state["pause"], state["change"]
        self._episode, self._revision = state["episode"], state["revision"]
        stretch = state["stretch"]
        self._stretch = stretch and _Stretch.restored(stretch)

    def _advance(self, evidence: list[float], row: npt.NDArray[np.float64], change: float) -> None:
        """One estimated cell further: the best path into every label.

        With T the running evidence of a label, a path that entered it at s has gained
        (best path into another label at s - 1) - cost - T(s - 1), whatever comes after: so the best entry so
        far is a running maximum, and the minimum duration only delays when an entry joins it.
        """
        size, shortest = len(self.labels), self.settings.shortest_cells
        if self._stretch is None:
            self._stretch = _Stretch(
                [0.0] * size, [0.0] * size, [0] * size, base=np.zeros(size + 2), since=self._cell
            )
        now = self._stretch
        totals, gain, start = now.totals, now.gain, now.start
        now.prices.append(max(self.settings.switch_cost - self.settings.change_weight * change, 0.0))
        entry = now.count - shortest  # the run that now reaches the minimum began after this cell
        best, best_label = _NEVER, 0
        if entry >= 0:
            top, top_label, before = now.tops[entry - now.first]
            top -= now.prices[entry + 1 - now.first]
        for label in range(size):
            total = totals[label] = totals[label] + evidence[label]
            # Only the best path is worth leaving: as no price is below 0, its own label had better stay.
            if entry >= 0 and label != top_label and top - before[label] > gain[label]:
                gain[label] = top - before[label]
                start[label] = entry + 1
            value = total + gain[label]
            if value > best:
                best, best_label = value, label
        if now.count < shortest - 1:  # too short to leave again
            best = _NEVER
        now.tops.append((best, best_label, tuple(totals)))
        now.starts.append(tuple(start))
        now.cells.append(self._cell)
        now.sums.append((now.sums[-1] if now.sums else now.base) + row)
        now.count += 1

    def _report(self, now: _Stretch) -> list[Run]:
        """Settle what all competing paths agree on, then tell how the running episode stands."""
        if now.count == now.reported:
            return []
        now.reported = now.count
        oldest = now.count - self.settings.lag_cells
        common, disputed = self._agree(now, self._paths(now))
        if any(node[0] <= oldest for node in disputed):
            self._decide(now, oldest)
            common, _ = self._agree(now, self._paths(now))
        runs = self._settle(now, self._trace(now, common)[:-1]) if common else []
        now.drop_before(oldest)
        first = self._trace(now, self._leader(now))[0]
        runs.append(self._run(now, first, is_final=False))
        self._revision += 1
        return runs

    def _finish(self) -> list[Run]:
        """Settle the best path of the stretch and end it."""
        if self._stretch is None:
            return []
        now, self._stretch, self._pause = self._stretch, None, 0
        return self._settle(now, self._trace(now, self._leader(now)))

    def _leader(self, now: _Stretch) -> _Node:
        """The last run of the path that is best so far."""
        values = [total + gain for total, gain in zip(now.totals, now.gain, strict=True)]
        label = values.index(max(values))
        return now.start[label], label

    def _paths(self, now: _Stretch) -> dict[tuple[int, int], _Node]:
        """The last run of every path that may still win, by (cell, label) where it stands."""
        paths = {
            (now.count - 1, label): (now.start[label], label)
            for label in range(len(self.labels))
            if now.gain[label] > _NEVER
        }
        for cell in range(max(now.count - self.settings.shortest_cells, now.first), now.count):
            top, label, _ = now.tops[cell - now.first]
            if top > _NEVER:
                paths[cell, label] = (now.starts[cell - now.first][label], label)
        return paths

    def _agree(self, now: _Stretch, paths: dict[tuple[int, int], _Node]) -> tuple[_Node | None, set[_Node]]:
        """The last run that all paths share (None if there is none), and those on which they differ."""
        nodes = set(paths.values())
        disputed: set[_Node] = set()
        while len(nodes) > 1:
            latest = max(nodes)
            if latest[0] == now.settled:
                return None, disputed | nodes
            disputed.add(latest)
            nodes.remove(latest)
            nodes.add(now.parent(latest))
        return nodes.pop(), disputed

    def _decide(self, now: _Stretch, cell: int) -> None:
        """Keep only the paths that agree with the leading one about `cell`."""

        def at_cell(node: _Node) -> _Node:
            while node[0] > cell:
                node = now.parent(node)
            return node

        kept = at_cell(self._leader(now))
        for (at, label), node in self._paths(now).items():
            if at_cell(node) != kept:
                if at == now.count - 1:
                    now.gain[label] = _NEVER
                _, best_label, totals = now.tops[at - now.first]
                if label == best_label:
                    now.tops[at - now.first] = (_NEVER, best_label, totals)

    def _trace(self, now: _Stretch, node: _Node) -> list[tuple[int, int]]:
        """The runs of a path that are not settled, oldest first, as (end, label); the last ends now."""
        runs = [(now.count, node[1])]
        while node[0] > now.settled:
            parent = now.parent(node)
            runs.append((node[0], parent[1]))
            node = parent
        return runs[::-1]

    def _settle(self, now: _Stretch, ends: list[tuple[int, int]]) -> list[Run]:
        runs = []
        for end, label in ends:
            runs.append(self._run(now, (end, label), is_final=True))
            now.settle(end)
            self._episode += 1
            self._revision = 0
        return runs

    def _run(self, now: _Stretch, end_label: tuple[int, int], is_final: bool) -> Run:
        """The first run that is not settled, as it stands."""
        end, label = end_label
        means = (now.sums[end - 1 - now.first] - now.base) / (end - now.settled)
        return Run(
            episode=self._episode,
            start_cell=now.since,
            end_cell=now.cells[end - 1 - now.first] + 1,
            label=self.labels[label],
            confidence=float(means[label]),
            valence_mean=float(means[-2]),
            arousal_mean=float(means[-1]),
            revision=self._revision,
            is_final=is_final,
        )
