"""Tracks ranked by what their curves do: rise, stay near a point, move away, keep to a quadrant.

Conventions: as in `entries.py`.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from moodstream.models.base import QUADRANTS, STEP_MS
from moodstream.serving.search.arcs import FINE, UNIT, Float, Int8, decode, filled, starts
from moodstream.serving.search.entries import BINS, Entries
from moodstream.serving.search.questions import NUMBERS, InQuadrant, MovedBy, Near, Rises
from moodstream.serving.search.rank import NOTHING, Few

STEP_S = STEP_MS / 1000
FEWEST_ESTIMATES = 10  # to which a line is fitted
BEGINNING = 10  # cells: where a track begins, and over how long it is looked at later
_HALF, _MOST = 63.5, 32_767  # bins at half their precision, whose squares fit into 16 bits
_SOFT = 0.08  # bins are means: near the edge of a circle they count in part


class RiseRank:
    """By how far the line fitted to a part of the curve goes up (or down)."""

    def __init__(self, asked: Rises) -> None:
        self.asked = asked
        self._sign = np.float32(-1 if asked.falls else 1)
        self._dimension = ("valence", "arousal").index(asked.dimension)

    def rough(self, entries: Entries) -> Float:
        edges = np.arange(BINS + 1) / BINS
        weight = np.clip(
            np.minimum(edges[1:], self.asked.end) - np.maximum(edges[:-1], self.asked.start), 0, None
        )
        middle = (np.maximum(edges[:-1], self.asked.start) + np.minimum(edges[1:], self.asked.end)) / 2
        away = middle - np.average(middle, weights=weight)
        slope = weight * away / (weight * away**2).sum()
        found = np.zeros(len(entries), np.float32)
        part = np.empty(len(entries), np.float32)
        for place in np.flatnonzero(weight):
            line = entries.arrays["bins"][self._dimension * BINS + place]
            np.multiply(line, np.float32(-self._sign * slope[place]), out=part)
            np.add(found, part, out=found)
        return found

    def exact(self, few: Few, most: float = float(NOTHING)) -> Float:
        cells = few.cells
        values, known = decode(cells)
        lengths = np.diff(cells.at)
        owner = np.repeat(np.arange(len(cells)), lengths)
        share = (np.arange(len(owner)) - cells.at[owner]) / lengths[owner]  # of the cell's start
        value = values[self._dimension] / UNIT
        inside = known & (share >= self.asked.start - 1e-9) & (share < self.asked.end - 1e-9)
        before = known & (share < self.asked.start - 1e-9)

        def total(
            which: npt.NDArray[np.bool_], of: npt.NDArray[np.float64] | None = None
        ) -> npt.NDArray[np.float64]:
            return np.bincount(owner[which], None if of is None else of[which], len(cells)).astype(np.float64)

        count, count_before = total(inside), total(before)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean_x, mean_y = total(inside, share) / count, total(inside, value) / count
            apart = share - mean_x[owner]
            rise = (
                total(inside, apart * value) / total(inside, apart**2) * (self.asked.end - self.asked.start)
            )
            higher = self._sign * (mean_y - total(before, value) / count_before) > 0
        fits = (count >= FEWEST_ESTIMATES) & (self._sign * rise > 0) & (higher | (count_before == 0))
        return np.where(fits, -self._sign * rise, NOTHING).astype(np.float32)

    def why(self, value: float) -> str:
        word = "falls" if self.asked.falls else "rises"
        part = f"{self.asked.start:.0%} to {self.asked.end:.0%}"
        return f"{self.asked.dimension} {word} by {-value:.2f} from {part} of the track"


class NearRank:
    """By how many seconds are near a point."""

    def __init__(self, asked: Near) -> None:
        self.asked = asked

    def rough(self, entries: Entries) -> Float:
        valence, arousal = np.rint(np.array([self.asked.valence, self.asked.arousal]) * _HALF).astype(np.int8)
        edges = [max(0.0, self.asked.radius + edge) * _HALF for edge in (-_SOFT, _SOFT)]
        inner, outer = (min(round(edge**2), _MOST) for edge in edges)
        scale = max(0, (outer * BINS).bit_length() - 15)  # so that all of them together fit into 16 bits
        inner, outer = inner >> scale, max(outer >> scale, (inner >> scale) + 1)
        found = np.zeros(len(entries), np.int16)
        for apart in _squares(entries.arrays["bins"], valence, arousal, range(BINS)):
            if scale:
                np.right_shift(apart, scale, out=apart)
            np.clip(apart, np.int16(inner), np.int16(outer), out=apart)  # far quicker than both halves
            np.add(found, apart, out=found)
        # minus the share of the track that is near
        near = (found.astype(np.float32) - BINS * outer) / np.float32(BINS * (outer - inner))
        seconds: Float = near * _number(entries, "duration_s") * _number(entries, "estimated_share")
        return seconds

    def exact(self, few: Few, most: float = float(NOTHING)) -> Float:
        cells = few.cells
        values, known = decode(cells)
        valence, arousal = values / np.float32(UNIT)
        square = (valence - np.float32(self.asked.valence)) ** 2 + (
            arousal - np.float32(self.asked.arousal)
        ) ** 2
        near = (square <= np.float32(self.asked.radius**2)) & known
        seconds = np.add.reduceat(near, cells.at[:-1], dtype=np.int32) * STEP_S
        return np.where(seconds >= self.asked.seconds, -seconds, NOTHING).astype(np.float32)

    def why(self, value: float) -> str:
        return (
            f"{-value:.0f} s within {self.asked.radius:g} of ({self.asked.valence:g}, {self.asked.arousal:g})"
        )


class MovedRank:
    """By how far the track has gone from where it began."""

    def __init__(self, asked: MovedBy) -> None:
        self.asked = asked

    def rough(self, entries: Entries) -> Float:
        bins = entries.arrays["bins"]
        step_s = _number(entries, "duration_s") / np.float32(BINS)
        last = np.clip(self.asked.second / np.maximum(step_s, 1e-3) - 0.5, 0, BINS).astype(np.int8)
        found = np.zeros(len(entries), np.int16)
        places = range(1, min(BINS, int(last.max(initial=0)) + 1))
        for place, apart in zip(places, _squares(bins, bins[0] >> 1, bins[BINS] >> 1, places), strict=True):
            np.multiply(apart, last >= place, out=apart)
            np.maximum(found, apart, out=found)
        return -found.astype(np.float32)

    def exact(self, few: Few, most: float = float(NOTHING)) -> Float:
        cells = few.cells
        curve, _ = filled(cells)
        lengths = np.diff(cells.at)
        owner = np.repeat(np.arange(len(cells)), lengths)
        place = np.arange(len(owner)) - cells.at[owner]
        looked = (place >= 2 * BEGINNING - 1) & (place < self.asked.second / STEP_S)
        square = np.zeros(len(owner))
        for line in curve:
            area = starts(line)
            begin = area[cells.at[:-1] + np.minimum(BEGINNING, lengths)] - area[cells.at[:-1]]
            ends = np.flatnonzero(looked)
            recent = area[ends + 1] - area[ends + 1 - BEGINNING]
            square[ends] += ((recent - begin[owner[ends]]) / (BEGINNING * FINE)) ** 2
        farthest = np.maximum.reduceat(square, cells.at[:-1]) if len(cells) else square
        return np.where(farthest > 0, -np.sqrt(farthest), NOTHING).astype(np.float32)

    def why(self, value: float) -> str:
        return f"{-value:.2f} away from its beginning by {self.asked.second:g} s"


class QuadrantRank:
    """By the share of the estimates in a quadrant, which is kept of every track."""

    def __init__(self, asked: InQuadrant) -> None:
        self.asked = asked
        self._place = QUADRANTS.index(asked.name)

    def rough(self, entries: Entries) -> Float:
        return self._value(entries.arrays["quadrants"][self._place])

    def exact(self, few: Few, most: float = float(NOTHING)) -> Float:
        return self._value(few.quadrants[self._place])

    def _value(self, share: npt.NDArray[np.uint16]) -> Float:
        enough = share >= round(self.asked.share * 65535)
        return np.where(enough & (share > 0), share / np.float32(-65535), NOTHING).astype(np.float32)

    def why(self, value: float) -> str:
        return f"in {self.asked.name} for {-value:.0%} of the estimated time"


def _squares(
    bins: Int8,
    valence: Int8 | np.int8,
    arousal: Int8 | np.int8,
    places: Iterable[int],
) -> Iterator[npt.NDArray[np.int16]]:
    """Squared distances of some bins from points, in halves of a 127th so that they fit into 16 bits. [n]

    What is given is overwritten by the next.
    """
    n = bins.shape[1]
    apart, along, half = np.empty(n, np.int16), np.empty(n, np.int16), np.empty(n, np.int8)
    for place in places:
        for row, point, square in ((place, valence, apart), (BINS + place, arousal, along)):
            np.right_shift(bins[row], 1, out=half)
            np.subtract(half, point, out=half)
            np.copyto(square, half)
            np.multiply(square, square, out=square)
        np.add(apart, along, out=apart)
        yield apart


def _number(entries: Entries, name: str) -> Float:
    found: Float = entries.arrays["numbers"][NUMBERS.index(name)]
    return found
