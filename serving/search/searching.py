"""One search: from all tracks to the few that are looked at exactly.

Conventions: a place is the number of an entry, counted through all shards; ties are broken by the hash of the
media id, so that an answer does not hang on the order in which tracks came into the index.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moodstream.serving.search.arc_rank import ArcRank, arc_of, drawn
from moodstream.serving.search.arcs import UNIT, Float, Int64, join
from moodstream.serving.search.curve_ranks import MovedRank, NearRank, QuadrantRank, RiseRank
from moodstream.serving.search.entries import Entries, key_of
from moodstream.serving.search.filters import Mask, passing
from moodstream.serving.search.questions import (
    Arc,
    InQuadrant,
    Like,
    MovedBy,
    Near,
    NotIndexedError,
    Question,
    Rises,
    What,
)
from moodstream.serving.search.rank import NOTHING, Few, Rank

ROUGH, CLOSER, MIDDLING = 10_000, 700, 140  # arcs: tracks that go on from each look to the next
AT_ONCE = 1000  # arcs, exactly: tracks between two looks at whether any further one can be better
CURVES = 1000  # other questions: tracks that go on to the exact look
_MOST_CELLS, _MOST_TRACKS = 2_000_000, 300  # looked at exactly at once


@dataclass(frozen=True)
class Hit:
    """An entry that was found."""

    value: float  # what it is ranked by, the lower the better
    shard: int
    row: int


class Search:
    """A question, put to some shards.

    Args:
        all_sides: whether agents' channels may be found.
        between: called between two stretches of work; what it raises ends the search.

    Raises:
        NotIndexedError: the track that others shall be like is not in them, or its curve is too empty.
    """

    def __init__(
        self,
        shards: Sequence[Entries],
        question: Question,
        all_sides: bool = False,
        between: Callable[[], object] = lambda: None,
    ) -> None:
        self._shards = shards
        self._question = question
        self._all_sides = all_sides
        self._between = between
        self._at = np.cumsum([0, *map(len, shards)])
        self.rank = rank_of(question.what, self._arc)

    def quickly(self) -> list[Hit]:
        """The best, as far as rough looks can tell who may be among them; in order."""
        wanted = self._question.offset + self._question.limit
        rough = np.full(self._at[-1], NOTHING, np.float32)
        for number, entries in enumerate(self._shards):
            self._between()
            allowed = self._allowed(entries)
            if allowed.any():
                values = self.rank.rough(entries)
                values[~allowed] = NOTHING
                rough[self._at[number] : self._at[number + 1]] = values
        if not isinstance(self.rank, ArcRank):
            return self._exact(self._first(rough, max(CURVES, 3 * wanted)))
        places = self._first(rough, max(ROUGH, 20 * wanted))
        some = max(CLOSER, 4 * wanted)
        if len(places) > some:
            places = self._first(self.rank.closer(self._bins(places)), some, places)
        few = max(MIDDLING, 2 * wanted)
        if len(places) > few:
            middling = [self.rank.middling(self._few(part)) for part in self._parts(places)]
            places = self._first(np.concatenate(middling), few, places)
        return self._exact(places)

    def exactly(self) -> list[Hit]:
        """The best of all, in order, by looking at every track that could be among them."""
        if not self._shards:
            return []
        allowed = np.concatenate([self._allowed(entries) for entries in self._shards])
        places = np.flatnonzero(allowed)
        if not isinstance(self.rank, ArcRank):
            return self._exact(places)
        comparable = np.concatenate([entries.arrays["comparable"] for entries in self._shards])
        places = places[comparable[places]]
        floor = np.concatenate(
            [self.rank.floor(self._bins(some)) for some in np.array_split(places, max(1, len(places) >> 14))]
        )
        wanted = self._question.offset + self._question.limit
        hits = self.quickly()[:wanted]  # all that may still come must be better than the last of them
        known = np.array([self._at[hit.shard] + hit.row for hit in hits], np.int64)
        other = ~np.isin(places, known)
        places, floor = places[other], floor[other]
        order = np.argsort(floor, kind="stable")
        for begin in range(0, len(order), AT_ONCE):
            some = order[begin : begin + AT_ONCE]
            most = hits[wanted - 1].value if len(hits) >= wanted else float(NOTHING)
            if floor[some[0]] > most:
                break
            hits = self._sorted([*hits, *self._exact(np.sort(places[some]), most)])[:wanted]
        return hits

    def _allowed(self, entries: Entries) -> Mask:
        mask = passing(entries, self._question.filters)
        if not self._all_sides:
            mask &= ~entries.arrays["withheld"]
        what = self._question.what
        if isinstance(what, Like):
            mask &= entries.arrays["key"] != key_of(what.media)
        return mask

    def _arc(self, what: Like) -> Float:
        """The arc of the track that others shall be like."""
        key = np.uint64(key_of(what.media))
        found = []
        for number, entries in enumerate(self._shards):
            for row in np.flatnonzero(entries.arrays["key"] == key).tolist():
                codes, names = entries.words["channel"]
                channel, take = names[codes[row]], int(entries.arrays["take"][row])
                mine = what.take in (None, take) and what.channel in (None, channel)
                if mine and (self._all_sides or not entries.arrays["withheld"][row]):
                    order = (-take, channel not in ("customer", "mix"), channel or "")
                    found.append((order, number, row))
        if not found:
            side = f" channel {what.channel!r}" if what.channel else ""
            raise NotIndexedError(
                f"{what.media!r}{side} is not in the index: `moodstream index LAKE` adds what is new"
            )
        _, number, row = min(found)
        if not self._shards[number].arrays["comparable"][row]:
            raise NotIndexedError(f"{what.media!r} has too few estimates to compare its arc")
        return arc_of(self._shards[number], row)

    def _first(self, values: Float, count: int, places: Int64 | None = None) -> Int64:
        """The places of the lowest values, growing; of what is infinite, none.

        Args:
            places: growing, whose values these are; all places if None.
        """
        if len(values) > count:
            most = np.partition(values, count - 1)[count - 1]
            better = np.flatnonzero(values < most)
            level = np.flatnonzero(values == most) if most < NOTHING else better[:0]
            if places is not None:
                better, level = places[better], places[level]
            if len(better) + len(level) > count:
                level = level[np.argsort(self._keys(level), kind="stable")[: count - len(better)]]
            return np.sort(np.concatenate([better, level]))
        finite = np.flatnonzero(values < NOTHING)
        return finite if places is None else places[finite]

    def _by_shard(self, places: Int64) -> Iterator[tuple[int, Int64]]:
        """Growing places as (shard, rows)."""
        edges = np.searchsorted(places, self._at)
        for number in range(len(self._shards)):
            if edges[number] < edges[number + 1]:
                yield number, places[edges[number] : edges[number + 1]] - self._at[number]

    def _keys(self, places: Int64) -> npt.NDArray[np.uint64]:
        found = [self._shards[number].arrays["key"][rows] for number, rows in self._by_shard(places)]
        return np.concatenate([np.zeros(0, np.uint64), *found])

    def _bins(self, places: Int64) -> Float:
        """[64, n] in [-1, 1]."""
        found = [self._shards[number].arrays["bins"][:, rows] for number, rows in self._by_shard(places)]
        if not found:
            return np.zeros((64, 0), np.float32)
        bins: Float = np.divide(np.concatenate(found, axis=1), UNIT, dtype=np.float32)
        return bins

    def _exact(self, places: Int64, most: float = float(NOTHING)) -> list[Hit]:
        """Look at some tracks exactly: those that qualify and are not above `most`, in order."""
        hits: list[Hit] = []
        for some in self._parts(places):
            values = self.rank.exact(self._few(some), most)
            shards = np.searchsorted(self._at, some, "right") - 1
            rows = some - self._at[shards]
            fits = values < NOTHING
            found = zip(values[fits].tolist(), shards[fits].tolist(), rows[fits].tolist(), strict=True)
            hits += [Hit(*one) for one in found]
        return self._sorted(hits)

    def _parts(self, places: Int64) -> Iterator[Int64]:
        """Growing places in stretches whose curves fit into memory."""
        lengths = [np.diff(self._shards[number].cells.at)[rows] for number, rows in self._by_shard(places)]
        cells = np.cumsum(np.concatenate([np.zeros(0, np.int64), *lengths]))
        begin = 0
        while begin < len(places):
            self._between()
            before = cells[begin - 1] if begin else 0
            end = int(np.searchsorted(cells, before + _MOST_CELLS, "right"))
            end = min(max(end, begin + 1), begin + _MOST_TRACKS)
            yield places[begin:end]
            begin = end

    def _few(self, places: Int64) -> Few:
        """What is looked at exactly."""
        parts = [(self._shards[number], rows) for number, rows in self._by_shard(places)]
        return Few(
            join([entries.cells.take(rows) for entries, rows in parts]),
            np.concatenate([entries.arrays["comparable"][rows] for entries, rows in parts]),
            np.concatenate([entries.arrays["quadrants"][:, rows] for entries, rows in parts], axis=1),
        )

    def _sorted(self, hits: list[Hit]) -> list[Hit]:
        def order(hit: Hit) -> tuple[float, int, int, str]:
            entries = self._shards[hit.shard]
            codes, names = entries.words["channel"]
            key, take = int(entries.arrays["key"][hit.row]), int(entries.arrays["take"][hit.row])
            return hit.value, key, take, names[codes[hit.row]] or ""

        return sorted(hits, key=order)


def rank_of(what: What, arc: Callable[[Like], Float]) -> Rank:
    """The rank of a question.

    Args:
        arc: finds the arc of a track. [2, POINTS]
    """
    match what:
        case Like():
            return ArcRank(arc(what), what.level == "removed")
        case Arc():
            return ArcRank(drawn(what), what.level == "removed")
        case Rises():
            return RiseRank(what)
        case Near():
            return NearRank(what)
        case MovedBy():
            return MovedRank(what)
        case InQuadrant():
            return QuadrantRank(what)
