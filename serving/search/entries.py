"""Entries of the index: what is kept of each channel of each take of each media, as columns.

An entry costs some 300 bytes and a byte a half second. It belongs to a *write* of the lake
(`sinks/layout.py`): analysed again, a media has another one.

    write_id, key   whose it is: the write, and a hash of the media id (to find it, and to break ties)
    cells           the curve (`arcs.Cells`)
    bins            valence and arousal at 32 even shares: for looking at all tracks, and for sparklines
    sketch          the lowest 8 cosine terms of both: for finding arcs that are near
    quadrants       share of the estimates in each quadrant
    words, numbers  columns of the summary that can be filtered by
    media_id, tags, text   strings; `text` is what `q` looks in

Conventions: the last axis of every array is the track, so that one bin of all tracks lies together; `bins`
and `sketch` are in 127ths; numbers are NaN where unknown.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from moodstream.models.base import QUADRANTS
from moodstream.serving.search.arcs import (
    UNIT,
    Cells,
    Float,
    Int8,
    decode,
    encode,
    filled,
    join,
    points,
    starts,
)
from moodstream.serving.search.questions import NUMBERS, WORDS

BINS = 32
TERMS = 8
LEAST_KNOWN = 0.5  # share of an arc's bins that must have an estimate for it to be compared
TEXTS = ("media_id", "tags", "text")
Array = npt.NDArray[Any]
_MOST_CELLS_AT_ONCE = 1 << 22

# cosine transform, scaled so that the squares of all terms of an arc add up to its mean square
_COSINES = np.cos(np.pi / BINS * (np.arange(BINS) + 0.5) * np.arange(TERMS)[:, None]) / BINS
_COSINES[1:] *= np.sqrt(2)


@dataclass(frozen=True, eq=False)
class Entries:
    """n entries.

    Args:
        arrays: by name (see `shape_of`), the last axis is the entry.
        cells: the curves.
        words: by column, codes [n] and what they stand for.
        texts: by name, n strings.
    """

    arrays: Mapping[str, Array]
    cells: Cells
    words: Mapping[str, tuple[Array, tuple[str | None, ...]]]
    texts: Mapping[str, pa.Array]

    def __len__(self) -> int:
        return len(self.cells)

    @cached_property
    def searchable(self) -> Mapping[str, pl.Series]:
        """The strings as Polars looks for words in them, six times as quickly as Arrow."""
        return {name: pl.Series(name, texts) for name, texts in self.texts.items()}

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> "Entries":
        """Some of them, in the order asked for."""
        return Entries(
            {name: np.take(values, rows, axis=-1) for name, values in self.arrays.items()},
            self.cells.take(rows),
            {name: (codes[rows], names) for name, (codes, names) in self.words.items()},
            {name: texts.take(pa.array(rows)) for name, texts in self.texts.items()},
        )


def shape_of(name: str) -> tuple[tuple[int, ...], type[np.generic]]:
    """The axes before the last one, and the type, of an array of entries."""
    return _SHAPES[name]


_SHAPES: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
    "write_id": ((), np.int64),
    "key": ((), np.uint64),
    "take": ((), np.int32),
    "duration_ms": ((), np.int64),
    "withheld": ((), np.bool_),  # about somebody whose emotions do not leave by default
    "comparable": ((), np.bool_),  # enough estimates for an arc
    "known": ((), np.uint32),  # a bit a bin that has an estimate
    "bins": ((2 * BINS,), np.int8),
    "sketch": ((2 * TERMS,), np.int8),
    "quadrants": ((len(QUADRANTS),), np.uint16),  # in 65535ths
    "numbers": ((len(NUMBERS),), np.float32),
}


def key_of(media_id: str) -> int:
    """64 bits that stand for a media id.

    Example:
        >>> key_of("song.mp3") == key_of("song.mp3") != key_of("song.wav")
        True
    """
    digest = hashlib.blake2b(media_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def make(
    at: npt.NDArray[np.int64],
    curve: Float,
    *,
    write_id: Array,
    media_id: Sequence[str],
    take: Array,
    duration_ms: Array,
    tags: Sequence[Mapping[str, str]],
    words: Mapping[str, Sequence[str | None]],
    numbers: Mapping[str, Array],
    withheld: Array | None = None,
) -> Entries:
    """Entries from curves and what is known of them.

    Args:
        at: [n + 1] where each curve begins; none is empty.
        curve: [cells, 2] valence and arousal, NaN where there is no estimate.
        tags: of the files.
        words: columns of `WORDS`, None where there is nothing; missing ones are None throughout.
        numbers: columns of `NUMBERS` but `duration_s`, NaN where there is nothing; missing ones likewise.
        withheld: [n] whether it leaves only when the emotions of all were asked for; none if None.

    Raises:
        ValueError: a curve is empty.
    """
    n = len(at) - 1
    if n and np.diff(at).min() < 1:
        raise ValueError("a curve without a single half second")
    cells = encode(at, curve)
    bins, sketch, known = _bins(cells)
    columns = np.full((len(NUMBERS), n), np.nan, np.float32)
    for place, name in enumerate(NUMBERS):
        if name in numbers:
            columns[place] = numbers[name]
    columns[NUMBERS.index("duration_s")] = np.asarray(duration_ms) / 1000
    bits = (known.astype(np.uint32) << np.arange(BINS, dtype=np.uint32)[:, None]).sum(axis=0, dtype=np.uint32)
    arrays = {
        "write_id": np.asarray(write_id),
        "key": np.fromiter(map(key_of, media_id), np.uint64, n),
        "take": np.asarray(take),
        "duration_ms": np.asarray(duration_ms),
        "withheld": np.zeros(n, np.bool_) if withheld is None else withheld,
        "comparable": known.mean(axis=0) >= LEAST_KNOWN,
        "known": bits,
        "bins": bins,
        "sketch": sketch,
        "quadrants": _quadrants(at, curve),
        "numbers": columns,
    }
    texts = {
        "media_id": list(media_id),
        "tags": [_json(one) for one in tags],
        "text": [_searched(name, one) for name, one in zip(media_id, tags, strict=True)],
    }
    return Entries(
        {name: np.asarray(values, _SHAPES[name][1]) for name, values in arrays.items()},
        cells,
        {name: _coded(words.get(name) or [None] * n) for name in WORDS},
        {name: pa.array(values, pa.string()) for name, values in texts.items()},
    )


def concat(parts: Sequence[Entries]) -> Entries:
    """Entries one after the other; of nothing, no entries."""
    if not parts:
        nothing = {name: np.zeros((*shape, 0), kind) for name, (shape, kind) in _SHAPES.items()}
        cells = Cells(np.zeros(1, np.int64), np.zeros(0, np.uint8), np.zeros((0, 2), np.int8))
        none = {name: (np.zeros(0, np.uint8), ()) for name in WORDS}
        return Entries(nothing, cells, none, {name: pa.array([], pa.string()) for name in TEXTS})
    if len(parts) == 1:
        return parts[0]
    cells = join([part.cells for part in parts])
    words: dict[str, tuple[Array, tuple[str | None, ...]]] = {}
    for column in WORDS:
        names = tuple(dict.fromkeys(name for part in parts for name in part.words[column][1]))
        place = {name: code for code, name in enumerate(names)}
        codes = []
        for part in parts:
            old, meant = part.words[column]
            codes.append(np.array([place[name] for name in meant], np.min_scalar_type(len(names)))[old])
        words[column] = (np.concatenate(codes), names)
    return Entries(
        {name: np.concatenate([part.arrays[name] for part in parts], axis=-1) for name in _SHAPES},
        cells,
        words,
        {name: pa.concat_arrays([part.texts[name] for part in parts]) for name in TEXTS},
    )


def sketch_of(arcs: Float) -> Float:
    """The lowest cosine terms of arcs of `BINS` points: [2, BINS, n] to [2 * TERMS, n], valence first.

    The distance of two sketches is at most, and where arcs move slowly nearly, the RMS distance of the arcs.
    """
    terms = np.einsum("tb,dbn->dtn", _COSINES, arcs.astype(np.float64))
    found: Float = terms.reshape(2 * TERMS, -1).astype(np.float32)
    return found


def _bins(cells: Cells) -> tuple[Int8, Int8, npt.NDArray[np.bool_]]:
    """Bins, sketch, and [BINS, n] where bins have an estimate."""
    n = len(cells)
    bins = np.zeros((2 * BINS, n), np.int8)
    sketch = np.zeros((2 * TERMS, n), np.int8)
    known = np.zeros((BINS, n), np.bool_)
    begin = 0
    while begin < n:
        end = int(np.searchsorted(cells.at, cells.at[begin] + _MOST_CELLS_AT_ONCE, "right")) - 1
        end = min(max(end, begin + 1), n)
        some = cells.take(np.arange(begin, end))
        curve, there = filled(some)
        arcs = points(some.at, curve, BINS)
        bins[:, begin:end] = np.rint(arcs.reshape(2 * BINS, -1) * UNIT)
        sketch[:, begin:end] = np.rint(sketch_of(arcs) * UNIT)
        lengths = np.diff(some.at)
        edges = np.arange(BINS + 1)[:, None] * lengths  # in BINS-ths of a cell
        first, last = edges[:-1] // BINS, -(-edges[1:] // BINS)
        counted = starts(there)
        known[:, begin:end] = counted[some.at[:-1] + last] > counted[some.at[:-1] + first]
        begin = end
    return bins, sketch, known


def _quadrants(at: npt.NDArray[np.int64], curve: Float) -> npt.NDArray[np.uint16]:
    """[4, n] share of the estimates in each quadrant; zero counts as positive."""
    known = np.isfinite(curve).all(axis=1)
    valence, arousal = curve.T
    places = np.where(arousal >= 0, np.where(valence >= 0, 0, 1), np.where(valence >= 0, 3, 2))
    owner = np.repeat(np.arange(len(at) - 1) * len(QUADRANTS), np.diff(at))
    times = np.bincount((owner + places)[known], minlength=(len(at) - 1) * len(QUADRANTS))
    times = times.reshape(-1, len(QUADRANTS)).T
    return np.rint(times / np.maximum(times.sum(axis=0), 1) * 65535).astype(np.uint16)


def _coded(values: Sequence[str | None]) -> tuple[Array, tuple[str | None, ...]]:
    names = tuple(dict.fromkeys(values))
    place = {name: code for code, name in enumerate(names)}
    return np.array([place[value] for value in values], np.min_scalar_type(len(names))), names


def _json(tags: Mapping[str, str]) -> str:
    return json.dumps(dict(sorted(tags.items())), ensure_ascii=False, separators=(",", ":")) if tags else "{}"


def _searched(media_id: str, tags: Mapping[str, str]) -> str:
    return "\n".join((media_id, *tags.values())).casefold()


def decoded(entries: Entries, rows: Iterable[int]) -> Float:
    """The curves of some entries: [cells, 2], NaN where there is no estimate."""
    values, known = decode(entries.cells.take(np.fromiter(rows, np.int64)))
    return np.where(known, values.astype(np.float32) / UNIT, np.nan).T.astype(np.float32)
