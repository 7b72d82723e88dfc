"""Line: one rule on one channel, value by value.

Conventions: values come once and in order, one a cell of half a second, NaN where there is none; spans are
half-open in cells. However they are cut into pushes, the rings are the same.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from moodstream.transforms.rules import Rule, in_cells

_LEAST_KNOWN = 0.5  # share of the cells of a mean that must have a value
_PRUNE_CELLS = 120  # how often what the end cannot need is forgotten
_NONE = -1


@dataclass(frozen=True, slots=True)
class Ring:
    """A rule that came true."""

    start_cell: int
    end_cell: int
    value: float  # mean of what fulfilled it; seconds for an absence
    worst: float  # the value farthest beyond the threshold
    worst_cell: int
    held: int  # cells that fulfilled it
    told_cell: int  # how far the media was when it rang
    revision: int = 0
    is_final: bool = True
    is_absence: bool = False


@dataclass(slots=True)
class _Run:
    """Cells that fulfil the rule, without one between that does not."""

    start: int
    last: int
    held: int
    total: float
    worst: float
    worst_cell: int
    rang: int = _NONE  # the cell at which it rang


class Line:
    """One rule on one channel.

    Args:
        rule: what is looked for.
        live: whether to tell a ring when it begins, too.

    Example:
        >>> line = Line(Rule("loud", "loudness_lufs", above=-20, for_s=1), live=False)
        >>> rings = line.push(0, [-30.0, -18, -16, math.nan, -40])
        >>> [(ring.start_cell, ring.end_cell, ring.value) for ring in rings]
        [(1, 3, -17.0)]
    """

    def __init__(self, rule: Rule, *, live: bool) -> None:
        self.rule, self.live = rule, live
        self._threshold, self._is_low = rule.threshold, rule.is_low
        self._at_close, self._over = rule.part.at_close, rule.over_s > 0
        self._low = in_cells(rule.part.from_s)
        self._stop = math.inf if rule.part.to_s is None else in_cells(rule.part.to_s)
        self._pause, self._every = in_cells(rule.pause_s), in_cells(rule.every_s)
        self._next = 0  # cell
        self._run: _Run | None = None
        self._known = 0  # cells of the part with a value
        self._longest = 0  # run of the part, in cells
        self._rung, self._last_rang = 0, _NONE
        self._is_over = False  # the part of an absence
        self._window: deque[float] = deque(maxlen=max(1, in_cells(rule.over_s)))
        self._kept: list[tuple[int, int, float]] = []  # for the end: cell, run (or none) and value of cells
        self._runs = 0

    def push(self, start: int, values: Sequence[float]) -> list[Ring]:
        """The values of the next cells."""
        if self._over:
            values = [self._mean(value) for value in values]
        self._next = start + len(values)
        if self._at_close:
            self._keep(start, values)
            return []
        rings: list[Ring] = []
        for cell, value in enumerate(values, start):
            if self._low <= cell < self._stop:
                if value != value:
                    if self._run is not None and cell - self._run.last > self._pause:
                        rings += self._end_run()
                    continue
                self._known += 1
                if (value < self._threshold) if self._is_low else (value > self._threshold):
                    self._grow(cell, value, rings)
                elif self._run is not None:
                    rings += self._end_run()
            elif cell >= self._stop and not self._is_over:
                rings += self._finish(int(self._stop), cell + 1)
        return rings

    def close(self, cells: int) -> list[Ring]:
        """The media is over after so many cells."""
        if self._at_close:
            return self._judge_kept(cells)
        return [] if self._is_over else self._finish(self.rule.part.cells(cells)[1], self._next)

    def sum_up(self, cells: int, value: float) -> list[Ring]:
        """A rule about the media as a whole: one value, NaN where there is none."""
        if math.isnan(value) or self.rule.holds(value) == self.rule.negate:
            return []
        return [Ring(0, cells, value, value, 0, cells, cells)]

    def state(self) -> dict[str, Any]:
        """Everything needed to go on elsewhere, as plain Python and numpy."""
        run = self._run
        return {
            "next": self._next,
            "run": None
            if run is None
            else [run.start, run.last, run.held, run.total, run.worst, run.worst_cell, run.rang],
            "known": self._known,
            "longest": self._longest,
            "rung": self._rung,
            "last_rang": self._last_rang,
            "is_over": self._is_over,
            "window": np.array(self._window),
            "cells": np.array([kept[:2] for kept in self._kept], np.int32).reshape(-1, 2),
            "values": np.array([kept[2] for kept in self._kept], np.float64),
            "runs": self._runs,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()` of the same rule."""
        self._next, self._known, self._longest = state["next"], state["known"], state["longest"]
        self._rung, self._last_rang, self._is_over = state["rung"], state["last_rang"], state["is_over"]
        self._run = None if state["run"] is None else _Run(*state["run"])
        self._window.extend(state["window"].tolist())
        self._kept = [
            (cell, run, value)
            for (cell, run), value in zip(state["cells"].tolist(), state["values"].tolist(), strict=True)
        ]
        self._runs = state["runs"]

    # ------------------------------------------------------------ while it goes on

    def _mean(self, value: float) -> float:
        """The mean of the window that ends with this value."""
        self._window.append(value)
        known = [each for each in self._window if not math.isnan(each)]
        if len(self._window) < (self._window.maxlen or 0) or len(known) < _LEAST_KNOWN * len(self._window):
            return math.nan
        return math.fsum(known) / len(known)

    def _grow(self, cell: int, value: float, rings: list[Ring]) -> None:
        """A cell that fulfils the rule."""
        run = self._run
        if run is None:
            run = self._run = _Run(cell, cell, 0, 0.0, value, cell)
        run.last, run.held, run.total = cell, run.held + 1, run.total + value
        if (value < run.worst) if self._is_low else (value > run.worst):
            run.worst, run.worst_cell = value, cell
        is_new = run.rang == _NONE and not self.rule.negate
        if is_new and run.held >= self.rule.cells and self._may_ring(cell):
            run.rang, self._last_rang, self._rung = cell, cell, self._rung + 1
            if self.live:
                rings.append(replace(_ring(run), revision=0, is_final=False))

    def _may_ring(self, cell: int) -> bool:
        rule = self.rule
        if rule.at_most is not None and self._rung >= rule.at_most:
            return False
        return self._last_rang == _NONE or cell - self._last_rang >= self._every

    def _end_run(self) -> list[Ring]:
        run, self._run = self._run, None
        if run is None:
            return []
        self._longest = max(self._longest, run.held)
        return [replace(_ring(run), revision=int(self.live))] if run.rang != _NONE else []

    def _finish(self, stop: int, told: int) -> list[Ring]:
        """The part is over: the run that still goes on, and whether what was to come did not."""
        self._is_over = True
        rings = self._end_run()
        return [*rings, *self._absence(self._low, stop, self._known, self._longest, max(stop, told))]

    def _absence(self, start: int, stop: int, known: int, longest: int, told: int) -> list[Ring]:
        need = self.rule.cells
        if not self.rule.negate or known < need or longest >= need or stop <= start:
            return []
        return [Ring(start, stop, longest / 2, 0.0, start, longest, told, is_absence=True)]

    # ------------------------------------------------------------ at the end

    def _keep(self, start: int, values: Sequence[float]) -> None:
        """Note the cells that may count in the end, each with its run."""
        for cell, value in enumerate(values, start):
            run = self._run
            if value != value:
                if run is not None and cell - run.last > self._pause:
                    self._run = None
            elif (value < self._threshold) if self._is_low else (value > self._threshold):
                if run is None:
                    self._runs += 1
                    run = self._run = _Run(cell, cell, 0, 0.0, value, cell)
                run.last = cell
                self._kept.append((cell, self._runs, value))
            else:
                self._run = None
                if self.rule.negate:
                    self._kept.append((cell, _NONE, value))
        if self._kept and self._next // _PRUNE_CELLS != start // _PRUNE_CELLS:
            earliest = self.rule.part.earliest(self._next)
            self._kept = [kept for kept in self._kept if kept[0] >= earliest]

    def _judge_kept(self, cells: int) -> list[Ring]:
        rule = self.rule
        low, high = rule.part.cells(cells)
        kept = [each for each in self._kept if low <= each[0] < high]
        runs: dict[int, list[tuple[int, float]]] = {}
        for cell, run, value in kept:
            if run != _NONE:
                runs.setdefault(run, []).append((cell, value))
        rings, longest = [], 0
        for own in runs.values():
            longest = max(longest, len(own))
            first, last = own[0][0], own[-1][0]
            if rule.negate or len(own) < rule.cells or not self._may_ring(first):
                continue
            self._last_rang, self._rung = first, self._rung + 1
            worst_cell, worst = (min if self._is_low else max)(own, key=lambda one: one[1])
            mean = math.fsum(value for _, value in own) / len(own)
            rings.append(Ring(first, last + 1, mean, worst, worst_cell, len(own), cells))
        return [*rings, *self._absence(low, high, len(kept), longest, cells)]


def _ring(run: _Run) -> Ring:
    told = max(run.rang, 0) + 1
    return Ring(run.start, run.last + 1, run.total / run.held, run.worst, run.worst_cell, run.held, told)
