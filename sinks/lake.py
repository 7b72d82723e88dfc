"""The default store: a folder of Delta Lake tables, written by many processes, read without a server.

What counts, and why no table is partitioned, is said in `sinks/layout.py`. Many media go into one append,
since it costs some 10 ms a table however small. Writers need no lock: an append that meets another comes
after it.
"""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
from deltalake import DeltaTable, Schema, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from moodstream.sinks.base import Sink, WriteRows
from moodstream.sinks.layout import STORED, Batch, Done, done
from moodstream.transforms.elements import Commit
from moodstream.transforms.errors import StoreError, UsageError

__all__ = ["LakeSink", "WriteLake", "done"]

T = TypeVar("T")
ROW_GROUP = 1 << 14  # rows: what the reader of one track decodes
_CONFIGURATION: dict[str, str | None] = {
    "delta.dataSkippingStatsColumns": "media_id,take,write_id",
    "delta.appendOnly": "false",
}
_RETRIES = 20
_UNFIT = re.compile(r"[\[\]\\]|%[0-9A-Fa-f]{2}")  # deltalake takes these for parts of a URL


def writer_properties() -> WriterProperties:
    return WriterProperties(compression="ZSTD", compression_level=3, max_row_group_size=ROW_GROUP)


def patiently(attempt: Callable[[], T], doing: str) -> T:
    """Call until it succeeds or fails for another reason than that a writer beside us was faster.

    Raises:
        StoreError: The store refused, or writers stood in each other's way twenty times in a row.
    """
    for tries in range(_RETRIES):
        try:
            return attempt()
        except CommitFailedError as error:
            reason: Exception = error
            time.sleep(0.01 * (1 + tries))
        except (OSError, DeltaError) as error:
            raise StoreError(f"cannot {doing}: {error}") from error
    raise StoreError(f"cannot {doing}: other writers were faster {_RETRIES} times: {reason}") from reason


def create(path: Path, table: str) -> DeltaTable:
    """One Delta table of the lake at `path`, made if it does not exist, with the columns of this version.

    Safe when many call it at once.
    """
    folder = path / table

    def attempt() -> DeltaTable:
        if not DeltaTable.is_deltatable(str(folder)):
            DeltaTable.create(folder, STORED[table], mode="ignore", configuration=_CONFIGURATION)
        delta = DeltaTable(folder)
        there = {column.name for column in delta.schema().fields}
        wanted = Schema.from_arrow(STORED[table]).fields
        if missing := [column for column in wanted if column.name not in there]:
            delta.alter.add_columns(missing)  # a lake of an older version: null in its rows
        return delta

    return patiently(attempt, f"create the lake {path}")


def append(path: Path, table: str, rows: pa.Table) -> None:
    """Add rows, all of them or none, to one table.

    Raises:
        StoreError: The disk is full or read-only, or the table is gone.
    """

    def attempt() -> None:
        write_deltalake(path / table, rows, mode="append", writer_properties=writer_properties())

    patiently(attempt, f"write to the lake {path}")


class LakeSink(Sink):
    """Appends commits to the Delta tables in the folder `path`, the media rows last."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._batch = Batch()

    def open(self) -> None:
        if _UNFIT.search(str(self.path.resolve())):
            raise UsageError(f"Delta Lake cannot use [ ] \\ or % and two digits in a path: {self.path}")
        for table in STORED:
            create(self.path, table)
        probe = self.path / "media" / f".probe-{time.time_ns()}"
        try:
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise StoreError(f"cannot write to the lake {self.path}: {error}") from error

    def write(self, commit: Commit) -> None:
        self._batch.add(commit)

    def flush(self) -> None:
        for table, rows in self._batch.take().items():
            try:
                append(self.path, table, rows)
            except StoreError:
                self._batch.clear()
                raise

    def discard(self) -> None:
        self._batch.clear()

    def done(self) -> Done:
        return done(self.path)


class WriteLake(WriteRows):
    """Writes commits into the lake at `path`: PCollection[Commit] -> PCollection[Written]."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(LakeSink(path))
