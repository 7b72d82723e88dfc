"""What every sink is, and the one step that writes into it.

A new sink is one small module: a class derived from `Sink` with `write` and `flush`, and a transform of three
lines derived from `WriteRows`.

Conventions: a commit holds everything of one media, or one step of it; the commit that holds the `media` row
is the last one of its analysis. All commits of one analysis go through one sink, in order.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from weakref import WeakValueDictionary

import apache_beam as beam
from apache_beam.pvalue import PCollection
from apache_beam.utils.windowed_value import WindowedValue

from moodstream.transforms.elements import Commit


class Sink:
    """Where commits go. A sink that has not been opened holds plain settings and can be pickled.

    The calls come in this order: `open`, any number of `write` and `flush`, `close`; `discard` before a
    retry. Every method raises `StoreError` when the store refuses; the run then stops, what was flushed
    before stays, and what was not is written again by the next run.
    """

    def open(self) -> None:
        """Connect, and create what does not exist yet.

        Called in each worker before the first write, and once before a run to see whether it can work. Fails
        when nothing could be written, before any work is done.
        """

    def write(self, commit: Commit) -> None:
        """Take a commit. A batch sink keeps it in memory until `flush`; readers see nothing of it before.

        Must accept the same commit twice and show its rows once. A failure means that neither this commit nor
        anything else that was not flushed is in the store.
        """
        raise NotImplementedError

    def flush(self) -> None:
        """Make everything written so far durable, and visible where its media row has come.

        Called every few seconds of work and at the end of a bundle. A failure means that the writes since the
        last flush may or may not be in the store, but no reader sees half a media; nothing stays buffered.
        """

    def discard(self) -> None:
        """Forget what was written and not flushed, because it will be written again."""

    def done(self) -> Mapping[tuple[str, int], tuple[str, Mapping[str, str], str]]:
        """What is stored: (media_id, take) to (content_hash, models, settings), for skipping it.

        Called before a run. A sink that cannot tell says nothing is.
        """
        return {}

    def close(self) -> None:
        """Let go of connections. Called once at the end, also after a failure, so it must not fail."""


class MemorySink(Sink, list[Commit]):
    """A sink that is a list of commits, for tests.

    Copies of it, which Beam makes, all lead back to the one list as long as they live in the same process.
    """

    _known: ClassVar[WeakValueDictionary[int, "MemorySink"]] = WeakValueDictionary()

    def __init__(self, commits: Iterable[Commit] = ()) -> None:
        super().__init__(commits)
        self._pending: list[Commit] = []
        self._known[id(self)] = self

    def __reduce__(self) -> tuple[Any, ...]:
        return _recall, (id(self),)

    def write(self, commit: Commit) -> None:
        self._pending.append(commit)

    def flush(self) -> None:
        self.extend(self._pending)
        self._pending.clear()

    def discard(self) -> None:
        self._pending.clear()


def _recall(key: int) -> MemorySink:
    return MemorySink._known[key]


@dataclass(frozen=True)
class Written:
    """What a sink has safely stored of one commit."""

    media_id: str
    take: int
    rows: Mapping[str, int]  # by table
    letters: tuple[Mapping[str, Any], ...]  # its dead letters
    duration_ms: int  # of the media; 0 unless the commit held its media row

    @classmethod
    def of(cls, commit: Commit) -> "Written":
        rows = {name: len(table) for name, table in commit.rows.items()}
        media = commit.rows.get("media")
        duration_ms = sum(media.column("duration_ms").to_pylist()) if media is not None else 0
        letters = tuple(commit.rows["dead_letter"].to_pylist()) if "dead_letter" in rows else ()
        return cls(commit.media_id, commit.take, rows, letters, duration_ms)


@beam.typehints.with_input_types(Commit)
@beam.typehints.with_output_types(Written)
class _Write(beam.DoFn):
    def __init__(self, sink: Sink, max_rows: int, max_bytes: int, max_seconds: float) -> None:
        self.sink = sink
        self.max_rows, self.max_bytes, self.max_seconds = max_rows, max_bytes, max_seconds

    def setup(self) -> None:
        self.sink.open()

    def start_bundle(self) -> None:
        self.sink.discard()
        self._begin()

    def _begin(self) -> None:
        self.pending: list[WindowedValue] = []
        self.rows = self.bytes = 0
        self.since = time.monotonic()

    def process(
        self, commit: Commit, timestamp: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[WindowedValue]:
        self.sink.write(commit)
        self.pending.append(WindowedValue(Written.of(commit), timestamp, (window,)))
        self.rows += sum(len(table) for table in commit.rows.values())
        self.bytes += sum(table.nbytes for table in commit.rows.values())
        waited = time.monotonic() - self.since
        if self.rows >= self.max_rows or self.bytes >= self.max_bytes or waited >= self.max_seconds:
            yield from self._flush()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        yield from self._flush()

    def _flush(self) -> list[WindowedValue]:
        if self.pending:
            self.sink.flush()
        done = self.pending
        self._begin()
        return done

    def teardown(self) -> None:
        self.sink.close()


@beam.typehints.with_input_types(Commit)
@beam.typehints.with_output_types(Written)
class WriteRows(beam.PTransform[PCollection[Commit], PCollection[Written]]):
    """Writes commits into a sink and says what is safely there: PCollection[Commit] -> PCollection[Written].

    The sink is flushed at the end of each bundle and, within it, after so many rows, bytes or seconds of
    work, whichever comes first: a killed run loses no more than that.
    """

    def __init__(
        self, sink: Sink, max_rows: int = 250_000, max_bytes: int = 32 << 20, max_seconds: float = 30.0
    ) -> None:
        super().__init__()
        self.sink = sink
        self.limits = (max_rows, max_bytes, max_seconds)

    def expand(self, commits: PCollection[Commit]) -> PCollection[Written]:
        write = beam.ParDo(_Write(self.sink, *self.limits))
        written: PCollection[Written] = commits | "write rows" >> write
        return written
