"""Rows of some media in single Parquet files: whether there are any, and the file without them."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from moodstream.sinks.lake import ROW_GROUP

MEDIA_ID = "media_id"


def rows_of(file: Path, media_ids: pa.Array) -> int:
    """How many rows of these media are in a file, by reading what its statistics do not rule out.

    Raises:
        OSError: it cannot be read. pa.ArrowInvalid: it is no Parquet file.
    """
    found = 0
    with pq.ParquetFile(file) as opened:
        place = opened.schema_arrow.get_field_index(MEDIA_ID)
        if place < 0:
            return 0
        bounds = pc.min_max(media_ids)
        first, last = bounds["min"].as_py().encode(), bounds["max"].as_py().encode()
        for number in range(opened.num_row_groups):
            statistics = _statistics(opened, number)
            if statistics is not None and (last < statistics[0] or first > statistics[1]):
                continue
            names = opened.read_row_group(number, [MEDIA_ID]).column(0).cast(pa.string())
            found += pc.sum(pc.is_in(names, value_set=media_ids)).as_py() or 0
    return found


def _statistics(opened: pq.ParquetFile, group: int) -> tuple[bytes, bytes] | None:
    """The bounds of the media ids of a group of rows, in the order of their bytes; None if not known."""
    columns = opened.metadata.row_group(group)
    for number in range(columns.num_columns):
        column = columns.column(number)
        if column.path_in_schema == MEDIA_ID:
            told = column.statistics
            if told is None or not told.has_min_max or not len(told.min):
                return None
            return _bytes(told.min), _bytes(told.max) + b"\xff"  # a long one may have been cut
    return None


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def without(file: Path, media_ids: pa.Array, target: Path, schema: pa.Schema) -> int:
    """Write a file without the rows of some media; group by group, so that it may be of any size.

    Args:
        schema: what its rows have now; columns that an older version lacks become null.

    Returns:
        How many rows are left; with none, nothing is written.
    """
    left = 0
    with pq.ParquetFile(file) as opened:
        parts = _parts(opened, media_ids, schema)
        head = next(parts, None)
        if head is None:
            return 0
        try:
            with pq.ParquetWriter(target, schema, compression="zstd") as writer:
                for part in (head, *parts):
                    writer.write_table(part, row_group_size=ROW_GROUP)
                    left += len(part)
            with target.open("rb+") as written:
                os.fsync(written.fileno())
        except (OSError, pa.ArrowException):
            target.unlink(missing_ok=True)
            raise
    return left


def _parts(opened: pq.ParquetFile, media_ids: pa.Array, schema: pa.Schema) -> Iterator[pa.Table]:
    for batch in opened.iter_batches(ROW_GROUP * 8):
        rows = pa.Table.from_batches([batch])
        rows = rows.filter(pc.invert(pc.is_in(rows[MEDIA_ID], value_set=media_ids)))
        if len(rows):
            columns = [
                rows[column.name].cast(column.type)
                if column.name in rows.column_names
                else pa.nulls(len(rows), column.type)
                for column in schema
            ]
            yield pa.Table.from_arrays(columns, schema=schema)


def beside(file: Path) -> Path:
    """A hidden name that readers pass over."""
    return file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
