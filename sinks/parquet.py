"""A plain folder of Parquet files, for those who want no table format: `FOLDER/curve/*.parquet`, ...

Files are written beside their place and renamed into it, the media rows last, so the rule of
`sinks/layout.py` holds here too, and `sinks/read.py` reads it. Other programs see all rows, also those that
no longer count: they join on `media_id, take, write_id` with the newest media row.
"""

import os
import secrets
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from moodstream.sinks.base import Sink, WriteRows
from moodstream.sinks.lake import ROW_GROUP
from moodstream.sinks.layout import TABLES, WRITE_ID, Batch, Done, done
from moodstream.transforms.elements import Commit
from moodstream.transforms.errors import StoreError


class ParquetSink(Sink):
    """Writes one file a table and flush into the folder `path`."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._batch = Batch()

    def open(self) -> None:
        try:
            for table in TABLES:
                (self.path / table).mkdir(parents=True, exist_ok=True)
            probe = self.path / "media" / f".{secrets.token_hex(8)}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise StoreError(f"cannot write to {self.path}: {error}") from error

    def write(self, commit: Commit) -> None:
        self._batch.add(commit)

    def flush(self) -> None:
        for table, rows in self._batch.take().items():
            try:
                write_file(self.path / table, rows)
            except (OSError, pa.ArrowException) as error:
                self._batch.clear()
                raise StoreError(f"cannot write to {self.path}: {error}") from error

    def discard(self) -> None:
        self._batch.clear()

    def done(self) -> Done:
        return done(self.path)


def write_file(folder: Path, rows: pa.Table) -> Path:
    """Write a file named after the range of its writes; it appears complete or not at all."""
    span = pc.min_max(rows.column(WRITE_ID))
    name = f"{span['min'].as_py()}-{span['max'].as_py()}-{secrets.token_hex(8)}.parquet"
    hidden = folder / f".{name}.part"
    try:
        pq.write_table(rows, hidden, row_group_size=ROW_GROUP, compression="zstd")
        with hidden.open("rb+") as file:
            os.fsync(file.fileno())
        return hidden.rename(folder / name)
    finally:
        hidden.unlink(missing_ok=True)


class WriteParquet(WriteRows):
    """Writes commits into a folder of Parquet files: PCollection[Commit] -> PCollection[Written]."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(ParquetSink(path))
