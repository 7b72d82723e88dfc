"""Which store a user means: a Delta Lake folder, `parquet:DIR` or `postgresql://…`."""

from moodstream.sinks.base import Sink
from moodstream.transforms.errors import UsageError


def open_sink(out: str) -> Sink:
    """The sink that `out` names, not opened yet.

    Raises:
        UsageError: nothing is named.
        MissingExtraError: the store needs a package that is not installed.
    """
    if not out:
        raise UsageError("say where the rows go: --out LAKE (a folder), parquet:DIR or postgresql://…")
    if out.startswith(("postgresql://", "postgres://")):
        from moodstream.sinks.postgres import PostgresSink

        return PostgresSink(out)
    if out.startswith("parquet:"):
        from moodstream.sinks.parquet import ParquetSink

        return ParquetSink(out.removeprefix("parquet:"))
    from moodstream.sinks.lake import LakeSink

    return LakeSink(out)
