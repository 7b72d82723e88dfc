"""Arcs: the curve of a track, in one byte a half second, and what is read from it.

    curve ─▶ Cells (one byte a half second) ─▶ points (an arc: means over even shares of the track)

Conventions: a *cell* is half a second. Curves of many tracks lie one after the other (ragged): `at` [n + 1]
says where each begins. Valence and arousal lie in [-1, 1], NaN where there is no estimate; as stored they are
whole numbers, `UNIT` of them to 1. Shares are of the whole track: 0 is its start, 1 its end.

A byte holds two steps, of valence and of arousal, from what the reader has to the new value: one of 15 sizes
each (`STEPS`), so what a step misses the next one makes good; 255 says that there is no estimate. Estimates
look at several seconds of sound, so they move little in half a second: the error is some .005.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
Int8 = npt.NDArray[np.int8]
Int64 = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

UNIT = 127
FINE = 256 * UNIT
UNKNOWN = 255
STEPS = np.array([0, 1, 2, 5, 10, 20, 40, 80, -1, -2, -5, -10, -20, -40, -80], np.int16)
_NEAREST = (
    np.abs(np.arange(-2 * UNIT, 2 * UNIT + 1)[:, None] - STEPS[None, :]).argmin(axis=1).astype(np.uint8)
)
_STEP_OF = np.append(STEPS, 0)
STEP_VALENCE, STEP_AROUSAL = (
    np.where(np.arange(256) == UNKNOWN, 0, _STEP_OF[places]).astype(np.int16)
    for places in (np.arange(256) >> 4, np.arange(256) & 15)
)
_ENCODED_AT_ONCE = 1 << 22  # cells


@dataclass(frozen=True, eq=False)
class Cells:
    """Curves of n tracks as stored."""

    at: Int64  # [n + 1]
    codes: Bytes  # [at[-1]] a byte a half second
    first: Int8  # [n, 2] the first estimate, 0 where there is none

    def __len__(self) -> int:
        return len(self.at) - 1

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> "Cells":
        """Some of the tracks, in the order asked for."""
        begin = self.at[rows]
        at = starts(self.at[rows + 1] - begin)
        return Cells(
            at, self.codes[np.arange(at[-1]) + np.repeat(begin - at[:-1], np.diff(at))], self.first[rows]
        )


def join(parts: Sequence[Cells]) -> Cells:
    """Curves one after the other."""
    return Cells(
        starts(np.concatenate([np.zeros(0, np.int64), *(np.diff(part.at) for part in parts)])),
        np.concatenate([np.zeros(0, np.uint8), *(part.codes for part in parts)]),
        np.concatenate([np.zeros((0, 2), np.int8), *(part.first for part in parts)]),
    )


def starts(lengths: npt.NDArray[Any]) -> Int64:
    """Where each of several stretches begins, and where the last one ends. [n + 1]

    Example:
        >>> starts(np.array([2, 3])).tolist()
        [0, 2, 5]
    """
    at = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=at[1:])
    return at


def encode(at: Int64, curve: Float) -> Cells:
    """Curves as they are stored.

    Args:
        at: [n + 1] where each track begins.
        curve: [cells, 2] valence and arousal; NaN in either is no estimate.
    """
    known: npt.NDArray[np.bool_] = np.asarray(np.isfinite(curve).all(axis=1))
    values = np.where(known[:, None], np.rint(np.clip(curve, -1, 1) * UNIT), 0).astype(np.int16)
    first = np.zeros((len(at) - 1, 2), np.int8)
    owner = np.repeat(np.arange(len(at) - 1), np.diff(at))[known]
    row = np.flatnonzero(np.diff(owner, prepend=-1))
    first[owner[row]] = values[np.flatnonzero(known)[row]]
    codes = np.full(len(known), UNKNOWN, np.uint8)
    order = np.argsort(-np.diff(at), kind="stable")  # longest first: those that go on are always in front
    begin = 0
    while begin < len(order):
        longest = max(1, int(at[order[begin] + 1] - at[order[begin]]))
        rows = order[begin : begin + max(1, _ENCODED_AT_ONCE // longest)]
        _encode(at, values, known, first, rows, codes)
        begin += len(rows)
    return Cells(np.asarray(at, np.int64), codes, first)


def _encode(
    at: Int64,
    values: npt.NDArray[np.int16],
    known: npt.NDArray[np.bool_],
    first: Int8,
    rows: Int64,
    out: Bytes,
) -> None:
    """Code some tracks, longest first, a cell of all of them at a time."""
    begin, lengths = at[rows], at[rows + 1] - at[rows]
    reader = first[rows].astype(np.int16)  # what a reader has so far
    going = len(rows)
    for cell in range(int(lengths[0]) if going else 0):
        while going and lengths[going - 1] <= cell:
            going -= 1
        places = begin[:going] + cell
        there = known[places]
        place = _NEAREST[values[places] - reader[:going] + 2 * UNIT]
        place[~there] = 0
        reader[:going] += STEPS[place]
        out[places[there]] = (place[:, 0] << 4 | place[:, 1])[there]


def decode(cells: Cells) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.bool_]]:
    """The stored curves: [2, cells] valence and arousal in `UNIT`s, and [cells] where there is an estimate.

    Without an estimate the last value stays.
    """
    values = np.empty((2, len(cells.codes)), np.int16)
    lengths = np.diff(cells.at)
    some = lengths > 0
    begin = cells.at[:-1][some]
    for dimension, steps in enumerate((STEP_VALENCE, STEP_AROUSAL)):
        step = steps[cells.codes]
        walked = np.cumsum(step, dtype=np.int16, out=values[dimension])  # may run over, and back again
        offset = cells.first[some, dimension] - (walked[begin] - step[begin])
        walked += np.repeat(offset, lengths[some])
    return values, cells.codes != UNKNOWN


def filled(cells: Cells) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """The curves without gaps: [2, cells] in `FINE`ths of 1, and [cells] where there is an estimate.

    Straight lines lead over gaps, the ends are level. A track without any estimate is 0 throughout. Whole
    numbers, so that what is added up of them does not hang on what lies beside it.
    """
    values, known = decode(cells)
    curve = values.astype(np.int32) * (FINE // UNIT)
    if known.all():
        return curve, known
    if not known.any():
        return np.zeros_like(curve), known
    owner = np.repeat(np.arange(len(cells)), np.diff(cells.at))
    counted = np.bincount(owner[known], minlength=len(cells))
    curve[:, (counted == 0)[owner]] = 0
    some = np.flatnonzero(counted)
    places = np.flatnonzero(known)
    ends = starts(counted[some])
    x = np.concatenate([places, cells.at[some], cells.at[some + 1] - 1])
    order = np.argsort(x, kind="stable")
    gaps = np.flatnonzero(~known & (counted > 0)[owner])
    for dimension in curve:
        y = dimension[places]
        y = np.concatenate([y, y[ends[:-1]], y[ends[1:] - 1]])
        dimension[gaps] = np.rint(np.interp(gaps, x[order], y[order]))
    return curve, known


def points(at: Int64, curve: npt.NDArray[np.int32], count: int) -> Float:
    """Arcs: means of curves over even shares of their tracks.

    Args:
        at: [n + 1] where each track begins; none is empty.
        curve: [2, cells] without gaps, in `FINE`ths of 1.
        count: how many points.

    Returns:
        [2, count, n] in [-1, 1]; one point of all tracks lies together.
    """
    lengths = np.diff(at)
    edges = np.arange(count + 1)[:, None] * lengths / count  # [count + 1, n] in cells from the track's start
    whole = np.minimum(edges.astype(np.int64), lengths - 1)
    part = edges - whole
    places = at[:-1] + whole
    arcs = np.empty((2, count, len(lengths)), np.float32)
    for dimension, line in enumerate(curve):
        area = np.zeros(len(line) + 1, np.int64)
        np.cumsum(line, out=area[1:])
        integral = area[places] - area[at[:-1]] + part * line[places]
        arcs[dimension] = np.diff(integral, axis=0) * (count / FINE / lengths)
    return arcs


def levels(at: Int64, curve: npt.NDArray[np.int32]) -> Float:
    """The means of curves. [2, n] from [2, cells] in `FINE`ths of 1"""
    area = np.stack([starts(line) for line in curve])
    found: Float = ((area[:, at[1:]] - area[:, at[:-1]]) / np.diff(at) / FINE).astype(np.float32)
    return found
