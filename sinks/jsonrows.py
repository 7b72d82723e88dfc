"""Rows as JSON, one object a row, and back: what the result topics carry.

Conventions: names are the columns' own; floats are rounded to six places, times are ISO 8601 in UTC, maps are
objects. What `to_json` wrote, `from_json` gives as a table of the same schema.
"""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import pyarrow as pa

from moodstream.transforms.tables import KEYS, SCHEMAS


def to_json(name: str, table: pa.Table) -> Iterator[tuple[bytes, str, bytes]]:
    """For each row of a table: its key as a JSON list, its media id, and itself."""
    maps = [field.name for field in table.schema if pa.types.is_map(field.type)]
    floats = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    times = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    for row in table.to_pylist():
        for column in floats:
            if row[column] is not None:
                row[column] = round(row[column], 6)
        for column in maps:
            if row[column] is not None:
                row[column] = {name: _rounded(value) for name, value in row[column]}
        for column in times:
            if row[column] is not None:
                row[column] = row[column].isoformat()
        key = json.dumps([row[column] for column in KEYS[name]], separators=(",", ":"))
        yield key.encode(), row["media_id"], json.dumps(row, separators=(",", ":")).encode()


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
        row: dict[str, Any] = json.loads(value)
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


def _rounded(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value
