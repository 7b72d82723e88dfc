"""Makes a lake small again: few files, sorted by media, without the rows that count for nobody any more.

Safe beside running writers and readers, by three rules:

* a row goes only if its write is older than the retention and has not counted since: so neither rows whose
  media row is still to come, nor rows that a reader who just read the media table is about to read;
* files are swapped in one Delta commit, the old ones removed and the new one added. Appends pass beside it;
  of two compactions of the same table at the same time one gives up, and what it did before stays good;
* replaced files stay on disk for the retention, for readers who have already listed them.
"""

import json
import math
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction

from moodstream.sinks.lake import ROW_GROUP
from moodstream.sinks.layout import STORED, TABLES, WRITE_ID, file_spans, read, write_id_at
from moodstream.transforms.errors import StoreError, UsageError
from moodstream.transforms.tables import KEYS

FULL_ROWS = 1_000_000  # rows of a file that is big enough; also what is held in memory at once, some 0.6 GiB
GUARD = "moodstream-compact"


@dataclass(frozen=True)
class Compaction:
    """What one table was, and is."""

    table: str
    files_before: int
    files_after: int
    rows_removed: int


def compact(path: str | Path, retention_hours: float = 24.0) -> list[Compaction]:
    """Merge small files, drop what no longer counts, and delete files that nobody reads any more.

    Args:
        retention_hours: how old something must be to go. No writer may take longer than this from taking in
            the first row of a media to flushing its media row, and no reader longer for one query. 0 is for a
            lake that nobody else uses right now.

    Raises:
        UsageError: There is no Delta lake at `path`.
        StoreError: The disk is full or read-only, or another compaction is running.
    """
    folder = Path(path)
    if not (folder / "media" / "_delta_log").is_dir():
        raise UsageError(f"{path} is not a Delta lake; only those can be compacted")
    cutoff = write_id_at(time.time() - 3600 * retention_hours)
    kept = _kept(folder, cutoff)
    try:
        return [_compact_table(folder, table, kept, cutoff, retention_hours) for table in TABLES]
    except CommitFailedError as error:
        raise StoreError(f"another compaction of {path} is running: {error}") from error
    except (OSError, DeltaError, pa.ArrowInvalid) as error:
        raise StoreError(f"cannot compact {path}: {error}") from error


def _kept(folder: Path, cutoff: int) -> pa.Array:
    """The writes older than the cutoff that must stay: those that count now, or did at the cutoff."""
    order = ["media_id", "take", "analyzed_at", "analysis_id", WRITE_ID]
    media = read(folder, "media", order).sort(order)
    then = media.filter(pl.col(WRITE_ID) < cutoff)
    dead = read(folder, "dead_letter", ["media_id", "take", "analysis_id", WRITE_ID])
    ids = [_newest(rows)[WRITE_ID] for rows in (media, then)]
    # dead letters count by analysis: see layout.py
    both = pl.concat([dead, media.select(dead.columns)]).sort(WRITE_ID)
    for rows in (both, both.filter(pl.col(WRITE_ID) < cutoff)):
        ids.append(dead.join(_newest(rows), on=["media_id", "take", "analysis_id"], how="semi")[WRITE_ID])
    return pl.concat(ids).unique().to_arrow()


def _newest(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.unique(["media_id", "take"], keep="last", maintain_order=True)


def _compact_table(folder: Path, table: str, kept: pa.Array, cutoff: int, hours: float) -> Compaction:
    delta = DeltaTable(folder / table)
    before = file_spans(delta)
    removed, after = 0, len(before)
    for group in _groups(folder / table, before, kept, cutoff):
        removed_here, made = _rewrite(folder / table, table, group, kept, cutoff)
        removed += removed_here
        after += made - len(group)
    delta = DeltaTable(folder / table)
    delta.create_checkpoint()
    delta.cleanup_metadata()
    # `full` also finds files that a killed writer left without ever naming them in the log
    delta.vacuum(max(0, math.ceil(hours)), dry_run=False, enforce_retention_duration=False, full=hours >= 1)
    return Compaction(table, len(before), after, removed)


def _groups(folder: Path, spans: pl.DataFrame, kept: pa.Array, cutoff: int) -> list[list[str]]:
    """Files to be rewritten together: neighbours in time that are small, or any with rows to drop."""
    groups: list[list[str]] = []
    pending: list[str] = []
    rows, dirty = 0, False

    def close() -> None:
        nonlocal pending, rows, dirty
        if len(pending) > 1 or dirty:
            groups.append(pending)
        pending, rows, dirty = [], 0, False

    for name, first, _, count in spans.sort("first").iter_rows():
        drops = first < cutoff and bool(pc.any(_garbage(_ids(folder / name), kept, cutoff)).as_py())
        if count >= FULL_ROWS // 2 and not drops:
            close()
            continue
        if rows + count > FULL_ROWS:
            close()
        pending.append(name)
        rows, dirty = rows + count, dirty or drops
    close()
    return groups


def _ids(file: Path) -> pa.ChunkedArray:
    return pq.read_table(file, columns=[WRITE_ID], partitioning=None).column(WRITE_ID)


def _garbage(ids: pa.ChunkedArray, kept: pa.Array, cutoff: int) -> pa.ChunkedArray:
    return pc.and_(pc.less(ids, cutoff), pc.invert(pc.is_in(ids, value_set=kept)))


def _rewrite(folder: Path, table: str, names: list[str], kept: pa.Array, cutoff: int) -> tuple[int, int]:
    """Swap files for one without garbage, sorted by key. Returns rows dropped and files made (0 or 1)."""
    delta = DeltaTable(folder)
    listed = file_spans(delta).filter(pl.col("name").is_in(names))
    if len(listed) != len(names):
        raise CommitFailedError("its files have changed")
    old = pa.concat_tables(
        pq.read_table(folder / name, schema=STORED[table], partitioning=None) for name in sorted(names)
    )
    rows = old.filter(pc.invert(_garbage(old.column(WRITE_ID), kept, cutoff)))
    rows = rows.take(pc.sort_indices(rows, sort_keys=[(column, "ascending") for column in KEYS[table]]))
    now_ms = time.time_ns() // 1_000_000
    actions: list[AddAction | RemoveAction] = [
        RemoveAction(name, False, now_ms, (folder / name).stat().st_size, {}) for name in names
    ]
    new = folder / f"part-{uuid.uuid4()}-compacted.zstd.parquet"
    if len(rows):
        pq.write_table(rows, new, row_group_size=ROW_GROUP, compression="zstd")
        actions.append(AddAction(new.name, new.stat().st_size, {}, now_ms, False, statistics(rows)))
    # deltalake does not compare the removals of concurrent commits, but it does compare their transactions
    guard = CommitProperties(app_transactions=[Transaction(GUARD, delta.version())], max_commit_retries=100)
    try:
        delta.create_write_transaction(actions, "append", STORED[table], commit_properties=guard)
    except (OSError, DeltaError):
        new.unlink(missing_ok=True)
        raise
    return len(old) - len(rows), int(len(rows) > 0)


def statistics(rows: pa.Table) -> str:
    """What a file says of its rows in the log of a Delta table."""
    columns = ("media_id", "take", WRITE_ID)
    bounds = {name: pc.min_max(rows.column(name)).as_py() for name in columns}
    return json.dumps(
        {
            "numRecords": len(rows),
            "minValues": {name: bound["min"] for name, bound in bounds.items()},
            "maxValues": {name: bound["max"] for name, bound in bounds.items()},
            "nullCount": dict.fromkeys(columns, 0),
        }
    )
