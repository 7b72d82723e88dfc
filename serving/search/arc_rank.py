"""Tracks ranked by how far their arcs are from one.

Conventions: arcs in [-1, 1], valence first; `bins` are [64, n], valence first.
"""

import numpy as np

from moodstream.serving.search import dtw
from moodstream.serving.search.arcs import UNIT, Cells, Float, filled, levels, points
from moodstream.serving.search.entries import BINS, TERMS, Entries, sketch_of
from moodstream.serving.search.questions import Arc
from moodstream.serving.search.rank import NOTHING, Few

MIDDLE = 120  # points of an arc at the look before the last one
POINTS = 480  # of an arc as it is compared: the half seconds of four minutes


def arc_of(entries: Entries, row: int) -> Float:
    """The arc of an entry as it is compared. [2, POINTS]"""
    return arcs_of(entries.cells.take(np.array([row])))[:, :, 0]


def arcs_of(cells: Cells, count: int = POINTS) -> Float:
    """The arcs of curves. [2, count, n]"""
    return points(cells.at, filled(cells)[0], count)


def drawn(arc: Arc) -> Float:
    """The arc through drawn points. [2, POINTS]"""
    share, valence, arousal = np.array(arc.points).T
    places = (np.arange(POINTS) + 0.5) / POINTS
    return np.stack([np.interp(places, share, valence), np.interp(places, share, arousal)]).astype(np.float32)


def fewer(arc: Float, count: int = BINS) -> Float:
    """Means over as many even parts. [2, count]"""
    return arc.reshape(2, count, -1).mean(axis=2)


class ArcRank:
    """By the distance of arcs (`dtw.distances`).

    Args:
        query: [2, POINTS].
        removed: whether the level of each dimension is taken away before.
    """

    def __init__(self, query: Float, removed: bool = False) -> None:
        self.removed = removed
        self.query = query - query.mean(axis=1, keepdims=True) if removed else query
        self.bins = fewer(self.query)
        self._sketch = sketch_of(self.bins[:, :, None])[:, 0]
        self._edges = dtw.envelope(self.query, dtw.band_of(POINTS))
        self._low, self._high = map(fewer, self._edges)

    def rough(self, entries: Entries) -> Float:
        sketch = entries.arrays["sketch"]
        found = np.zeros(len(entries), np.float32)
        apart = np.empty(len(entries), np.float32)
        for term, wanted in enumerate(self._sketch):
            if self.removed and term % TERMS == 0:
                continue
            np.subtract(sketch[term], np.float32(wanted * UNIT), out=apart)
            np.multiply(apart, apart, out=apart)
            np.add(found, apart, out=found)
        found[~entries.arrays["comparable"]] = NOTHING
        return found

    def closer(self, bins: Float) -> Float:
        """By the distance of the arcs' bins. [n] from [64, n]"""
        arcs = bins.reshape(2, BINS, -1)
        if self.removed:
            arcs = arcs - arcs.mean(axis=1, keepdims=True)
        return dtw.distances(self.bins, arcs)

    def middling(self, few: Few) -> Float:
        """By the distance of the arcs at `MIDDLE` points. [n]"""
        curve, _ = filled(few.cells)
        arcs = points(few.cells.at, curve, MIDDLE)
        if self.removed:
            arcs -= levels(few.cells.at, curve)[:, None]
        return dtw.distances(fewer(self.query, MIDDLE), arcs)

    def exact(self, few: Few, most: float = float(NOTHING)) -> Float:
        cells = few.cells
        curve, _ = filled(cells)
        arcs = points(cells.at, curve, POINTS)
        if self.removed:
            arcs -= levels(cells.at, curve)[:, None]
        low, high = (edge[:, :, None] for edge in self._edges)
        if most < NOTHING:
            beside = np.maximum(np.maximum(arcs - high, low - arcs), 0)
            near = np.flatnonzero((beside**2).sum(axis=(0, 1)) <= POINTS * most**2 * 1.001)
        else:
            near = np.arange(len(few.cells))
        found = np.full(len(few.cells), NOTHING, np.float32)
        found[near] = dtw.distances(self.query, arcs[:, :, near])
        found[~few.comparable] = NOTHING
        return found

    def floor(self, bins: Float) -> Float:
        """What no distance can be below: the bins' distance from the envelope of the query. [n] from [64, n]

        Half a 127th is taken off, by which bins may be rounded (a whole one without levels).

        Source: Zhu and Shasha, Warping indexes with envelope transforms, 2003.
        """
        arcs = bins.reshape(2, BINS, -1)
        if self.removed:
            arcs = arcs - arcs.mean(axis=1, keepdims=True)
        beside = np.maximum(arcs - self._high[:, :, None], self._low[:, :, None] - arcs)
        beside = np.maximum(beside - (1.01 if self.removed else 0.51) / UNIT, 0)
        found: Float = np.sqrt((beside**2).sum(axis=(0, 1)) / BINS)
        return found

    def why(self, value: float) -> str:
        return f"{value:.2f} away on average" + (", levels aside" if self.removed else "")
