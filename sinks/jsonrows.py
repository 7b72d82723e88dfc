"""Rows as JSON, one object a row, and back: what the result topics carry.

Conventions: names are the columns' own; floats are rounded to six places, times are ISO 8601 in UTC, maps are
objects. What `to_json` wrote, `from_json` gives as a table of the same schema.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from moodstream.transforms.tables import KEYS, SCHEMAS

_PLACES = 6


def to_json(name: str, table: pa.Table) -> Iterator[tuple[bytes, str, bytes]]:
    """For each row of a table: its key as a JSON list, its media id, and itself."""
    names = table.schema.names
    columns = {column: _values(table[column]) for column in names}
    keys = map(orjson.dumps, zip(*(columns[column] for column in KEYS[name]), strict=True))
    values = (orjson.dumps(dict(zip(names, row, strict=True))) for row in zip(*columns.values(), strict=True))
    return zip(keys, columns["media_id"], values, strict=True)


def _values(column: pa.ChunkedArray) -> list[Any]:
    """A column as what its JSON is made of; nulls as None, or as NaN, which is null in JSON too."""
    if pa.types.is_floating(column.type):
        return _rounded(column).tolist()
    if pa.types.is_map(column.type):
        return [found for chunk in column.chunks for found in _objects(chunk)]
    found: list[Any] = column.to_pylist()
    return found


def _rounded(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.float64]:
    return np.round(column.to_numpy(zero_copy_only=False).astype(np.float64), _PLACES)


def _objects(maps: pa.MapArray) -> Iterator[dict[str, Any] | None]:
    """The maps of an array as dictionaries."""
    if not len(maps):
        return
    offsets = maps.offsets.to_numpy().tolist()
    first, last = offsets[0], offsets[-1]
    names = maps.keys.slice(first, last - first).to_pylist()
    items = maps.items.slice(first, last - first)
    values = _rounded(items).tolist() if pa.types.is_floating(items.type) else items.to_pylist()
    known = maps.is_valid().to_pylist()
    for at, end, there in zip(offsets, offsets[1:], known, strict=False):
        here = slice(at - first, end - first)
        yield dict(zip(names[here], values[here], strict=True)) if there else None


def from_json(name: str, values: Iterable[bytes]) -> pa.Table:
    """Rows of one table.

    Raises:
        ValueError: something that is not a row of this table.
    """
    schema = SCHEMAS[name]
    maps = [field.name for field in schema if pa.types.is_map(field.type)]
    times = [field.name for field in schema if pa.types.is_timestamp(field.type)]
    rows = []
    for value in values:
        row: dict[str, Any] = orjson.loads(value)
        for column in schema:
            if column.nullable:
                row.setdefault(column.name, None)  # rows of an older version lack the newest columns
        if row.keys() != set(schema.names):
            raise ValueError(f"a row of {name} with columns {sorted(row.keys() ^ set(schema.names))}")
        for column in maps:
            row[column] = row[column] if row[column] is None else list(row[column].items())
        for column in times:
            row[column] = row[column] if row[column] is None else datetime.fromisoformat(row[column])
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=schema)
