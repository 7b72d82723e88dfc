"""Which store a name means: a PostgreSQL address, a folder of Parquet files, or, by default, a lake."""

from pathlib import Path

from moodstream.sinks.base import Sink
from moodstream.sinks.lake import LakeSink
from moodstream.sinks.parquet import ParquetSink
from moodstream.sinks.postgres import PostgresSink


def open_store(out: str | Path) -> Sink:
    """The sink for `--out`: `postgresql://...`, `parquet:FOLDER`, or the folder of a lake. Nothing is
    opened yet.

    Example:
        >>> type(open_store("parquet:/tmp/rows")).__name__
        'ParquetSink'
    """
    name = str(out)
    if name.startswith(("postgresql://", "postgres://")):
        return PostgresSink(name)
    if name.startswith("parquet:"):
        return ParquetSink(name.removeprefix("parquet:"))
    return LakeSink(out)
