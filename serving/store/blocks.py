"""One track's curve as a block of bytes that is read without being parsed.

A block is a *head* (JSON: how many rows, and where each column lies) and a *body* (numbers, one column after
the other). What is the same in all rows stands in the head; so do the words of a column that has few, its
rows being one byte each; columns of nulls take no room. `pack` and `Block.to_arrow` are inverse to each
other: no number changes.

Conventions: rows are sorted by `start_ms`; floats are float32, NaN where a row has null.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from moodstream.transforms.tables import SCHEMAS

Floats = npt.NDArray[np.float32]
SCHEMA: pa.Schema = SCHEMAS["curve"]
KEY = ("media_id", "take", "channel", "modality")  # what the block is found by: not in it
_SCORES = "emotion_scores"
_NULL = np.iinfo(np.int64).min
_JOINT = "\x1f"
_CONST, _STEPS, _WORDS, _FLOATS, _INTS = "const", "steps", "words", "floats", "ints"


def pack(rows: pa.Table) -> Iterator[tuple[tuple[Any, ...], bytes, bytes]]:
    """Blocks of the tracks in rows of the table `curve`, in any order.

    Yields:
        The track's key (`KEY`), its head and its body.
    """
    if not len(rows):
        return
    rows = rows.combine_chunks()
    keys = [_codes(rows[name]) for name in KEY]
    order = np.lexsort((rows["start_ms"].to_numpy(), *(codes for codes, _ in reversed(keys))))
    if np.any(np.diff(order) != 1):
        rows = rows.take(pa.array(order)).combine_chunks()
        keys = [(codes[order], words) for codes, words in keys]
    changes = np.any([np.diff(codes) != 0 for codes, _ in keys], axis=0)
    edges = [0, *(np.flatnonzero(changes) + 1).tolist(), len(rows)]
    columns = {name: _column(rows[name]) for name in SCHEMA.names if name not in KEY}
    for first, last in itertools.pairwise(edges):
        body = _Body()
        placed = {name: _place(body, column, first, last) for name, column in columns.items()}
        head = orjson.dumps({"rows": last - first, "columns": placed})
        yield tuple(words[codes[first]] for codes, words in keys), head, bytes(body.content)


def _codes(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int32], list[Any]]:
    """Values as places in a list, -1 for null."""
    coded = column.combine_chunks().dictionary_encode()
    codes = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int32)
    return codes, coded.dictionary.to_pylist()


def _column(column: pa.ChunkedArray) -> tuple[str, Any]:
    """A column of many tracks, ready to be cut: its kind, and arrays as long as the rows."""
    kind = column.type
    if pa.types.is_floating(kind):
        return _FLOATS, column.to_numpy(zero_copy_only=False).astype(np.float32)
    if pa.types.is_map(kind):
        return _SCORES, _maps(column.combine_chunks())
    if pa.types.is_list(kind):
        return _WORDS, _codes(pc.binary_join(column, _JOINT))
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.int64())
    if pa.types.is_integer(column.type) or pa.types.is_boolean(kind):
        filled = pc.fill_null(column.cast(pa.int64()), _NULL)
        return _INTS, filled.to_numpy(zero_copy_only=False)
    return _WORDS, _codes(column)


def _maps(column: pa.MapArray) -> tuple[Any, ...]:
    """Maps as: where each row's pairs begin, the keys' codes, their words, the values."""
    keys, words = _codes(pa.chunked_array([column.keys]))
    return column.offsets.to_numpy(), keys, words, column.items.to_numpy(zero_copy_only=False)


class _Body:
    """Bytes that grow; every column begins at a multiple of eight."""

    def __init__(self) -> None:
        self.content = bytearray()

    def add(self, values: npt.NDArray[Any]) -> int:
        at = len(self.content)
        self.content += values.tobytes()
        self.content += b"\0" * (-len(self.content) % 8)
        return at


def _place(body: _Body, column: tuple[str, Any], first: int, last: int) -> list[Any]:
    """Put the rows of one track into the body; returns how to find them."""
    kind, values = column
    if kind == _FLOATS:
        here = values[first:last]
        return [_CONST, None] if np.isnan(here).all() else [_FLOATS, body.add(here)]
    if kind == _SCORES:
        labels, matrix = _score_matrix(values, first, last)
        return [_SCORES, labels, body.add(matrix)] if labels else [_CONST, None]
    if kind == _INTS:
        here = values[first:last]
        if (here == here[0]).all():
            return [_CONST, None if here[0] == _NULL else int(here[0])]
        steps = np.diff(here)
        if (steps == steps[0]).all():
            return [_STEPS, int(here[0]), int(steps[0])]
        return [_INTS, body.add(here)]
    codes, words = values
    used, places = np.unique(codes[first:last], return_inverse=True)
    labels = [None if code < 0 else words[code] for code in used]
    if len(labels) == 1:
        return [_CONST, labels[0]]
    return [_WORDS, labels, body.add(places.astype(np.uint8 if len(labels) < 256 else np.uint32))]


def _score_matrix(maps: tuple[Any, ...], first: int, last: int) -> tuple[list[Any], Floats]:
    """The scores of one track: their labels, and [labels, rows] with NaN where a row has none."""
    offsets, keys, words, items = maps
    counts = np.diff(offsets[first : last + 1])
    begin, end = offsets[first], offsets[last]
    mine, scores = keys[begin:end], items[begin:end]
    used = list(dict.fromkeys(mine.tolist()))
    place = {code: i for i, code in enumerate(used)}
    matrix = np.full((len(used), last - first), np.nan, np.float32)
    rows = np.repeat(np.arange(last - first), counts)
    lookup = np.zeros(len(words), np.int64)
    for code, i in place.items():
        lookup[code] = i
    matrix[lookup[mine], rows] = scores
    return [words[code] for code in used], matrix


class Block:
    """A track's curve as it was packed, or a stretch of it."""

    def __init__(self, head: bytes, body: bytes) -> None:
        told = orjson.loads(head)
        self._columns: dict[str, list[Any]] = told["columns"]
        self._body = body
        self._all: int = told["rows"]
        self._first, self._last = 0, self._all

    def __len__(self) -> int:
        return self._last - self._first

    def between(self, from_ms: int | None, to_ms: int | None) -> "Block":
        """Only the rows that have a part in `[from_ms, to_ms)`; narrows this block, and returns it."""
        starts, ends = self.numbers("start_ms"), self.numbers("end_ms")
        if from_ms is not None:
            self._first += int(np.searchsorted(ends, from_ms, "right"))
        if to_ms is not None:
            self._last = max(self._first, self._last - int((starts >= to_ms).sum()))
        return self

    def constant(self, name: str) -> Any:
        """What a column says in its first row: enough for those that are the same in all."""
        kind, *where = self._columns[name]
        return where[0] if kind == _CONST else self.values(name)[0] if len(self) else None

    def floats(self, name: str) -> Floats | None:
        """A column of numbers, NaN for null; None where all are."""
        kind, *where = self._columns[name]
        if kind == _CONST:
            return None
        return np.frombuffer(self._body, np.float32, self._all, where[0])[self._first : self._last]

    def numbers(self, name: str) -> npt.NDArray[np.int64]:
        """A column of integers; the smallest there is for null."""
        kind, *where = self._columns[name]
        if kind == _CONST:
            return np.full(len(self), _NULL if where[0] is None else where[0], np.int64)
        if kind == _STEPS:
            return where[0] + where[1] * np.arange(self._first, self._last, dtype=np.int64)
        return np.frombuffer(self._body, np.int64, self._all, where[0])[self._first : self._last]

    def words(self, name: str) -> tuple[list[Any], npt.NDArray[np.integer[Any]]]:
        """A column of words: which there are, and each row's place among them."""
        kind, *where = self._columns[name]
        if kind == _CONST:
            return [where[0]], np.zeros(len(self), np.uint8)
        labels, at = where
        dtype = np.uint8 if len(labels) < 256 else np.uint32
        codes: npt.NDArray[Any] = np.frombuffer(self._body, dtype, self._all, at)
        return labels, codes[self._first : self._last]

    def values(self, name: str) -> list[Any]:
        """A column of words or integers as a list."""
        if self._columns[name][0] in (_STEPS, _INTS):
            return [None if n == _NULL else n for n in self.numbers(name).tolist()]
        labels, codes = self.words(name)
        return [labels[code] for code in codes.tolist()]

    def scores(self) -> tuple[list[str], Floats]:
        """The scores: labels, and [labels, rows] with NaN where a row has none."""
        kind, *where = self._columns[_SCORES]
        if kind == _CONST:
            return [], np.empty((0, len(self)), np.float32)
        labels, at = where
        matrix = np.frombuffer(self._body, np.float32, len(labels) * self._all, at)
        return labels, matrix.reshape(len(labels), self._all)[:, self._first : self._last]

    def to_arrow(self, media_id: str, take: int, channel: str, modality: str) -> pa.Table:
        """The rows as they were, with the schema of the table `curve`."""
        given = dict(zip(KEY, (media_id, take, channel, modality), strict=True))
        columns = []
        for field in SCHEMA:
            if field.name in given:
                columns.append(pa.repeat(pa.scalar(given[field.name], field.type), len(self)))
            else:
                columns.append(self._arrow(field))
        return pa.table(columns, schema=SCHEMA)

    def _arrow(self, field: pa.Field) -> pa.Array:
        kind = field.type
        if pa.types.is_floating(kind):
            values = self.floats(field.name)
            return pa.nulls(len(self), kind) if values is None else pa.array(values, kind, from_pandas=True)
        if pa.types.is_map(kind):
            labels, matrix = self.scores()
            rows = [
                [(label, score) for label, score in zip(labels, row, strict=True) if score == score] or None
                for row in matrix.T.tolist()
            ]
            return pa.array(rows if labels else [None] * len(self), kind)
        if pa.types.is_list(kind):
            split = [None if v is None else v.split(_JOINT) if v else [] for v in self.values(field.name)]
            return pa.array(split, kind)
        if pa.types.is_timestamp(kind):
            return pa.array(self.values(field.name), pa.int64()).cast(kind)
        if pa.types.is_boolean(kind):
            return pa.array(self.values(field.name), pa.int64()).cast(pa.bool_())
        return pa.array(self.values(field.name), kind)
