"""Landing in a lake: positions are Delta's application transactions, in the commits that hold the rows.

Rows of one analysis carry one `write_id`, made of when the stream began and a hash, so that any process gives
them the same. What counts in a lake is said in `sinks/layout.py`: a media is there when its media row is.
"""

import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from moodstream.sinks.forgotten import Marks, without
from moodstream.sinks.lake import LakeSink, create, patiently, writer_properties
from moodstream.sinks.landing import Landing, check_positions
from moodstream.sinks.layout import STORED, TABLES, WRITE_ID, write_id_at

_HASHED = 1000 << 13  # one millisecond, in write ids


class LakeLanding(Landing):
    """Appends to the Delta tables in the folder `path`; made if it does not exist."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._marks = Marks(self.path)

    def open(self, names: Iterable[str]) -> dict[str, int]:
        LakeSink(self.path).open()
        deltas = [create(self.path, table) for table in TABLES]
        found = {}
        for name in names:
            for delta in deltas:  # in the one of its own table
                position = delta.transaction_version(name)
                if position is not None:
                    found[name] = position
        return found

    def allowed(self, rows: pa.Table) -> pa.Table:
        return without(rows, self._marks.read())

    def append(
        self, table: str, rows: pa.Table, before: Mapping[str, int | None], after: Mapping[str, int]
    ) -> None:
        stamps = pa.array([write_id_of(analysis) for analysis in rows["analysis_id"].to_pylist()], pa.int64())
        rows = rows.append_column(STORED[table].field(WRITE_ID), stamps)
        rows = rows.take(pc.sort_indices(rows[WRITE_ID]))
        marks = [Transaction(name, position) for name, position in after.items()]

        def attempt() -> None:
            delta = DeltaTable(self.path / table)
            check_positions(before, {name: delta.transaction_version(name) for name in before})
            self._at("begun")
            write_deltalake(
                delta,
                rows,
                mode="append",
                writer_properties=writer_properties(),
                commit_properties=CommitProperties(app_transactions=marks, max_commit_retries=0),
            )

        patiently(attempt, f"write to the lake {self.path}")
        self._at("committed")


def write_id_of(analysis_id: str) -> int:
    """The write that the rows of a live analysis (`topic/partition/offset@ms`) belong to.

    Raises:
        ValueError: not the id of a live analysis.
    """
    _, at, stamp = analysis_id.rpartition("@")
    if not at or not stamp.isdigit():
        raise ValueError(f"{analysis_id!r} is not the id of a live analysis")
    return write_id_at(int(stamp) / 1000) + zlib.crc32(analysis_id.encode()) % _HASHED
