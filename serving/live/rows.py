"""Rows on their way to the board: as many of their columns as are shown, and nothing that may not leave."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
import pyarrow as pa

from moodstream.serving.access.redaction import Judging, redact
from moodstream.sinks.jsonrows import from_json, to_json
from moodstream.transforms.tables import SCHEMAS

_SHOWN = (  # columns of the curve
    *("media_id", "take", "channel", "role", "modality", "start_ms", "end_ms", "revision", "is_final"),
    *("emotions_for", "valence", "valence_std", "arousal", "arousal_std"),
    *("activity", "loudness_lufs", "reason"),
)
_CURVE = pa.schema([SCHEMAS["curve"].field(name) for name in _SHOWN])
_NEEDED = ("media_id", "take", "channel", "start_ms", "end_ms", "revision")


def read(table: str, values: Iterable[bytes], judging: Judging) -> list[dict[str, Any]]:
    """Records of a result topic.

    Raises:
        ValueError, TypeError, pa.ArrowException: something that is no row of this table.
    """
    values = list(values)
    if table != "curve":
        objects(values)
        return shown(table, from_json(table, values), judging)
    rows = pa.Table.from_pylist(objects(values), schema=_CURVE)  # most rows are these, and few columns matter
    found = shown(table, rows, judging)
    if any(row[name] is None for row in found for name in _NEEDED):
        raise ValueError("a row without its key, end or revision")
    return found


def shown(table: str, rows: pa.Table, judging: Judging) -> list[dict[str, Any]]:
    """Rows of a table as the board takes them."""
    if table == "curve":
        found: list[dict[str, Any]] = redact(table, rows.select(_SHOWN), judging).to_pylist()
        return found
    return [orjson.loads(value) for _, _, value in to_json(table, redact(table, rows, judging))]


def objects(values: Iterable[bytes]) -> list[Mapping[str, Any]]:
    """JSON objects.

    Raises:
        ValueError: something else.
    """
    found = [orjson.loads(value) for value in values]
    if not all(isinstance(row, dict) for row in found):
        raise ValueError("a record that is no object")
    return found
