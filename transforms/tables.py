"""The tables: their Arrow schemas derived from the row classes, and their keys."""

import types
from collections.abc import Iterable
from dataclasses import fields
from datetime import datetime
from typing import Any, get_args, get_origin, get_type_hints

import pyarrow as pa

from moodstream.transforms import elements

_SCALARS: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float32(),
    bool: pa.bool_(),
    datetime: pa.timestamp("us", tz="UTC"),
}


def _arrow_type(annotation: Any) -> pa.DataType:
    if isinstance(annotation, types.UnionType):  # Arrow's values may be null anyway
        (annotation,) = (option for option in get_args(annotation) if option is not type(None))
    if get_origin(annotation) is list:
        return pa.list_(_arrow_type(get_args(annotation)[0]))
    if get_origin(annotation) is dict:
        key, value = get_args(annotation)
        return pa.map_(_arrow_type(key), _arrow_type(value))
    return _SCALARS[annotation]


def schema_of(row_class: type[elements.Row]) -> pa.Schema:
    """The Arrow schema of a row class: one field an attribute, nullable where the type says `| None`.

    Example:
        >>> schema_of(elements.DeadLetter).field("stage").type
        DataType(string)
    """
    hints = get_type_hints(row_class)
    columns = []
    for column in fields(row_class):
        hint = hints[column.name]
        columns.append(pa.field(column.name, _arrow_type(hint), nullable=isinstance(hint, types.UnionType)))
    return pa.schema(columns)


ROWS: dict[str, type[elements.Row]] = {
    "curve": elements.CurvePoint,
    "episode": elements.Episode,
    "summary": elements.Summary,
    "alert": elements.Alert,
    "dead_letter": elements.DeadLetter,
    "media": elements.MediaRow,
}
SCHEMAS: dict[str, pa.Schema] = {name: schema_of(row) for name, row in ROWS.items()}
KEYS: dict[str, tuple[str, ...]] = {
    "curve": ("media_id", "take", "channel", "modality", "start_ms"),
    "episode": ("media_id", "take", "channel", "modality", "episode"),
    "summary": ("media_id", "take", "channel", "modality"),
    "alert": ("media_id", "take", "channel", "modality", "rule", "start_ms"),
    "dead_letter": ("media_id", "take", "reference"),
    "media": ("media_id", "take"),
}


def to_table(name: str, rows: Iterable[elements.Row]) -> pa.Table:
    """Rows of one table as Arrow."""
    return pa.Table.from_pylist([vars(row) for row in rows], schema=SCHEMAS[name])
