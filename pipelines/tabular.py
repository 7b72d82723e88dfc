"""Arrow tables for people and programs: on the terminal, as CSV, JSON or Parquet.

JSON is a list of objects; maps become objects, NaN and missing values null, times ISO 8601. CSV holds nested
values as JSON. A table that is wider than the terminal is printed a row a block, a column a line.
"""

import csv
import io
import json
import math
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from moodstream.transforms.errors import UsageError

_SUFFIXES = {".csv": "csv", ".json": "json", ".parquet": "parquet", ".txt": "table"}
_PRINTED = 1_000  # rows on a terminal


def by_suffix(file: str | None) -> str | None:
    """The format that a file's name asks for, if it does."""
    return _SUFFIXES.get(Path(file).suffix.lower()) if file else None


def write(rows: pa.Table, form: str, file: str | None = None) -> None:
    """Write a table to a file or to standard output.

    Args:
        rows: any Arrow table.
        form: table, csv, json or parquet.
        file: where to; standard output if None.

    Raises:
        UsageError: the file cannot be written, or Parquet would go to a terminal.
    """
    if form == "parquet" and file is None and sys.stdout.isatty():
        raise UsageError("Parquet is not for the terminal: add --out FILE")
    if form == "table" and file is None:
        _print(rows)
        return
    try:
        if form == "parquet":
            buffer = io.BytesIO()
            pq.write_table(rows, buffer, compression="zstd")
            _put(buffer.getvalue(), file)
        else:
            text = {"csv": _csv, "json": _json, "table": _text}[form](rows)
            _put(text.encode("utf-8", "surrogateescape"), file)
    except OSError as error:
        if file is None:
            raise
        raise UsageError(f"cannot write {file!r}: {error.strerror}") from error


def _put(data: bytes, file: str | None) -> None:
    if file is not None:
        Path(file).write_bytes(data)
    else:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def plain(value: Any, kind: pa.DataType) -> Any:
    """A value as JSON has it."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if pa.types.is_map(kind):
        return {str(name): plain(inner, kind.item_type) for name, inner in value}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [plain(inner, kind.value_type) for inner in value]
    if pa.types.is_struct(kind):
        return {part.name: plain(value[part.name], part.type) for part in kind}
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if pa.types.is_float32(kind):
        return float(f"{value:.7g}")
    return value if isinstance(value, (str, int, float, bool)) else str(value)


def _objects(rows: pa.Table) -> list[dict[str, Any]]:
    names = rows.column_names
    columns = [[plain(value, column.type) for value in column.to_pylist()] for column in rows.columns]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _json(rows: pa.Table) -> str:
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in _objects(rows))
    return f"[\n{lines}\n]\n" if lines else "[]\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)


def _csv(rows: pa.Table) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(rows.column_names)
    writer.writerows([_cell(value) for value in row.values()] for row in _objects(rows))
    return out.getvalue()


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, dict):
        best = sorted(value.items(), key=lambda pair: -(pair[1] if isinstance(pair[1], (int, float)) else 0))
        return " ".join(f"{name}={_shown(inner)}" for name, inner in best)
    if isinstance(value, list):
        return " ".join(map(_shown, value))
    return "" if value is None else "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(value))


def _text(rows: pa.Table, width: int | None = None) -> str:
    """The table in columns, or, where those are wider than `width`, a line a column."""
    names = rows.column_names
    cells = [[_shown(value) for value in row.values()] for row in _objects(rows)]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)] if names else []
    if width is not None and sum(widths) + 2 * len(widths) > width and len(names) > 1:
        longest = max(map(len, names))
        blocks = []
        for i, row in enumerate(cells):
            lines = [f"{name:>{longest}}  {cell}" for name, cell in zip(names, row, strict=True) if cell]
            blocks.append("\n".join([f"── row {i + 1}", *lines]))
        return "\n".join(blocks) + f"\n{_count(rows)}\n"
    numbers = [
        pa.types.is_floating(column.type) or pa.types.is_integer(column.type) for column in rows.columns
    ]

    def line(row: list[str]) -> str:
        parts = zip(row, widths, numbers, strict=True)
        return "  ".join(cell.rjust(w) if number else cell.ljust(w) for cell, w, number in parts).rstrip()

    body = [line(names), "  ".join("─" * w for w in widths), *map(line, cells)]
    return "\n".join(body) + f"\n{_count(rows)}\n"


def _count(rows: pa.Table) -> str:
    return f"({len(rows):,} row{'' if len(rows) == 1 else 's'})"


def _print(rows: pa.Table) -> None:
    import shutil

    tty = sys.stdout.isatty()
    shown = rows.slice(0, _PRINTED) if tty else rows
    text = _text(shown, shutil.get_terminal_size().columns if tty else None)
    sys.stdout.write(text.encode("utf-8", "replace").decode())
    if len(shown) < len(rows):
        print(f"the first of {len(rows):,} rows; --out FILE or --format csv gives all")
