"""How rows lie in a folder, be it Delta Lake or plain Parquet, and which of them count.

Rows are only ever appended. A media analysed again gets new rows beside the old ones, a killed writer leaves
rows that nobody finishes, a bundle that Beam retries comes twice. So every stored row carries, besides the
columns of `transforms.tables`, the number of its *write*, `write_id`: drawn anew for each analysis that
a sink takes in, growing with time. The media row is written after all other rows of its write, and

    a row counts if its write is that of the counted media row of its (media_id, take):
    the newest by `analyzed_at`, then `analysis_id`, then `write_id`.

One media row appears in one atomic append, so a media's rows come, and are replaced, as a whole; all else
is invisible until `compact` removes it. Dead letters may come without a media row, when nothing could be
decoded. Those of the newest analysis of (media_id, take) count, newest by `write_id` over dead letters and
media rows, each `reference` once: a failed new analysis shows its dead letters beside the old rows, a good
one hides them.

No table is partitioned. A million tracks are some 25 GB of curve, which Delta's own advice is to leave
whole, and a hash bucket would cut each append into as many files, each to be opened for one track. Since
`write_id` grows with time, the range in each file's statistics is narrow: who knows the media row opens the
one file that holds its rows, compacted or not, and within a file the rows of a media lie together.
"""

import secrets
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable

from moodstream.transforms.elements import Commit
from moodstream.transforms.errors import UsageError
from moodstream.transforms.tables import SCHEMAS

WRITE_ID = "write_id"
# in the order of writing, media last
TABLES = ("curve", "episode", "summary", "alert", "dead_letter", "media")
STORED: dict[str, pa.Schema] = {
    name: SCHEMAS[name].append(pa.field(WRITE_ID, pa.int64(), nullable=False)) for name in TABLES
}
Done = dict[tuple[str, int], tuple[str, Mapping[str, str], str]]
_EPOCH_US = 1_704_067_200_000_000  # 2024-01-01: 50 bits of microseconds last until 2059
_LOW_BITS = 13


class WriteIds:
    """Numbers that grow with time: microseconds since 2024, then 13 bits that tell processes apart."""

    def __init__(self) -> None:
        self._low = secrets.randbits(_LOW_BITS)
        self._last_us = 0

    def __call__(self) -> int:
        self._last_us = max(self._last_us + 1, time.time_ns() // 1000 - _EPOCH_US)
        return self._last_us << _LOW_BITS | self._low


def write_id_at(unix_s: float) -> int:
    """The smallest number that a write at this time can have."""
    return max(0, int(unix_s * 1e6) - _EPOCH_US) << _LOW_BITS


class Batch:
    """Commits on their way into a folder: rows with their write, concatenated by table."""

    def __init__(self) -> None:
        self._ids = WriteIds()
        self._open: dict[tuple[str, int, str], int] = {}  # analyses whose media row has not come yet
        self._tables: dict[str, list[pa.Table]] = {name: [] for name in TABLES}

    def add(self, commit: Commit) -> None:
        """Take a commit's rows.

        Raises:
            ValueError: A table that does not exist, or rows of another schema.
        """
        for name, rows in commit.rows.items():
            if name not in STORED:
                raise ValueError(f"no table is called {name!r}; there are {', '.join(TABLES)}")
            if not rows.schema.equals(SCHEMAS[name]):
                raise ValueError(
                    f"rows of {name} for {commit.media_id!r} have another schema:\n{rows.schema}"
                )
        filled = {name: rows for name, rows in commit.rows.items() if len(rows)}
        if not filled:
            return
        analysis_id = next(iter(filled.values())).column("analysis_id")[0].as_py()
        key = (commit.media_id, commit.take, analysis_id)
        write_id = self._open[key] if key in self._open else self._ids()
        for name, rows in filled.items():
            stamp = pa.repeat(pa.scalar(write_id, pa.int64()), len(rows))
            self._tables[name].append(rows.append_column(STORED[name].field(WRITE_ID), stamp))
        if "media" in filled or filled.keys() == {"dead_letter"}:
            self._open.pop(key, None)
        else:
            self._open[key] = write_id

    def take(self) -> dict[str, pa.Table]:
        """The rows since the last call, in the order of writing; tables without rows are left out."""
        tables = {name: pa.concat_tables(parts) for name, parts in self._tables.items() if parts}
        self._tables = {name: [] for name in TABLES}
        return tables

    def clear(self) -> None:
        """Forget everything, unfinished analyses too: they will come again from their start."""
        self._open.clear()
        self._tables = {name: [] for name in TABLES}


def _span_of(name: str) -> tuple[int, int]:
    first, last = name.split(".")[0].split("-")[:2]
    return int(first), int(last)


def file_spans(delta: DeltaTable) -> pl.DataFrame:
    """The files of a Delta table: name, first and last write in it, rows."""
    found = pl.DataFrame(pa.table(delta.get_add_actions(flatten=True)))
    if found.is_empty():
        return pl.DataFrame(schema={"name": pl.String, "first": pl.Int64, "last": pl.Int64, "rows": pl.Int64})
    return found.select(
        name="path",
        first=f"min.{WRITE_ID}",
        last=f"max.{WRITE_ID}",
        rows=pl.col("num_records").cast(pl.Int64),
    )


def files(
    path: Path,
    table: str,
    write_ids: tuple[int, int] | None = None,
    opened: dict[str, DeltaTable] | None = None,
) -> list[str]:
    """The Parquet files of one table as it is now.

    Args:
        write_ids: leave out files whose writes all lie outside this closed range.
        opened: Delta tables by name, kept for the next call, which then reads only what is new in their logs.

    Raises:
        UsageError: There is no lake and no folder of Parquet files at `path`.
    """
    folder = path / table
    spans: Iterable[tuple[str, int, int]]
    if (folder / "_delta_log").is_dir():
        opened = {} if opened is None else opened
        if table in opened:
            opened[table].update_incremental()
        else:
            opened[table] = DeltaTable(folder)
        spans = file_spans(opened[table]).select("name", "first", "last").iter_rows()
    elif folder.is_dir():
        names = sorted(file.name for file in folder.glob("*.parquet"))
        spans = ((name, *_span_of(name)) for name in names)
    else:
        check(path)
        return []
    low, high = write_ids or (0, 1 << 63)
    return [str(folder / name) for name, first, last in spans if first <= high and last >= low]


def check(path: Path) -> None:
    """See that something can be read at `path`.

    Raises:
        UsageError: There is no lake and no folder of Parquet files.
    """
    if not any((path / name).is_dir() for name in TABLES):
        raise UsageError(f"{path} is not a lake: write one with `moodstream analyze PATH... --out {path}`")


def read(path: Path, table: str, columns: list[str] | None = None) -> pl.DataFrame:
    """All rows of one table, counted or not."""
    sources = files(path, table)
    return scan(sources, table).select(columns or pl.all()).collect()


def scan(sources: list[str], table: str) -> pl.LazyFrame:
    """Rows of files of one table; columns that files of an older version lack are null."""
    empty = pl.DataFrame(STORED[table].empty_table())
    if not sources:
        return empty.lazy()
    return pl.scan_parquet(sources, glob=False, schema=empty.schema, missing_columns="insert")


def counted(path: Path, columns: list[str] | None = None) -> pl.DataFrame:
    """The media rows that count, one a (media_id, take), with their `write_id`."""
    order = ["media_id", "take", "analyzed_at", "analysis_id", WRITE_ID]
    wanted = None if columns is None else list(dict.fromkeys([*order, *columns]))
    rows = read(path, "media", wanted).sort(order)
    return rows.unique(["media_id", "take"], keep="last", maintain_order=True)


def done(path: str | Path) -> Done:
    """What is in the lake: (media_id, take) to (content_hash, models, settings). Reads the media table only.

    Empty where no lake is yet.
    """
    if not any((Path(path) / name).is_dir() for name in TABLES):
        return {}
    rows = counted(Path(path), ["content_hash", "models", "settings"])
    known: Done = {}
    for row in rows.to_arrow().select(["media_id", "take", "content_hash", "models", "settings"]).to_pylist():
        known[row["media_id"], row["take"]] = (row["content_hash"], dict(row["models"]), row["settings"])
    return known
