"""Which store a name means: a PostgreSQL address, a folder of Parquet files, or, by default, a lake."""

from pathlib import Path

from moodstream.sinks.base import Sink
from moodstream.sinks.lake import LakeSink
from moodstream.sinks.parquet import ParquetSink
from moodstream.sinks.postgres import PostgresSink
from moodstream.transforms.errors import UsageError


def open_store(out: str | Path) -> Sink:
    """The sink for `--out`: `postgresql://...`, `parquet:FOLDER`, or the folder of a lake. Nothing is
    opened yet.

    Raises:
        UsageError: An address of a kind that no sink knows.

    Example:
        >>> type(open_store("parquet:/tmp/rows")).__name__
        'ParquetSink'
    """
    name = str(out)
    if name.startswith(("postgresql://", "postgres://")):
        return PostgresSink(name)
    if name.startswith("parquet:"):
        return ParquetSink(name.removeprefix("parquet:"))
    if "://" in name:
        raise UsageError(f"a store must be a local folder or a PostgreSQL address, not {name}")
    return LakeSink(out)
