"""Brings the cache up to what the lake holds: reads what is new in bundles, redacts it, puts it in.

This is where rows enter the service, so this is where redaction happens (`access/redaction.py`): what may not
leave is in no file that handlers can read.
"""

import bisect
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable

from moodstream.serving.access.redaction import redact
from moodstream.serving.config import ServeConfig
from moodstream.serving.store.cache import Cache, Entry
from moodstream.serving.store.entries import entries
from moodstream.sinks.layout import STORED, WRITE_ID, counted, file_spans, files
from moodstream.transforms.errors import UsageError

BUNDLE, BUNDLE_MS = 512, 24 * 3_600_000  # how many media, and how long, are read at once
PUT = 64  # and put in: who fetches waits for no more
_IN_KEY_ORDER = "-compacted."  # in the names of files whose rows lie by key; others lie by write
_READ = ("media", "summary", "episode", "alert", "curve")


@dataclass(frozen=True)
class Write:
    """Which write holds a take of a media."""

    media_id: str
    take: int
    write_id: int
    duration_ms: int = 0


@dataclass
class Changes:
    """What the lake has that the cache has not, and the other way round."""

    fresh: list[Write] = field(default_factory=list)
    gone: list[tuple[str, int]] = field(default_factory=list)


class Filler:
    """Reads one lake into one cache: one thread fills, any others fetch what they cannot wait for.

    Args:
        config: which lake, and whose emotions may leave.
        cache: where to.
    """

    def __init__(self, config: ServeConfig, cache: Cache) -> None:
        self._config, self._cache, self._lake = config, cache, config.lake
        self._opened: dict[str, DeltaTable] = {}  # of the thread that fills
        self._fetching: dict[str, DeltaTable] = {}  # of those that fetch, one at a time
        self._lock = threading.Lock()

    def changes(self) -> Changes:
        """Compare the lake as it is now with the cache.

        Raises:
            UsageError: there is no lake any more.
        """
        if not (self._lake / "media").is_dir():
            raise UsageError(f"{self._lake} has lost its table of media")
        known, found = self._cache.known(), Changes()
        for write in _writes(counted(self._lake, ["duration_ms"])):
            if known.pop((write.media_id, write.take), None) != write.write_id:
                found.fresh.append(write)
        found.gone = list(known)
        return found

    def fill(self, changes: Changes, progress: Callable[[int], None], stop: threading.Event) -> bool:
        """Put the changes in, bundle by bundle; each is seen as soon as it is in.

        Args:
            progress: told how many media are in.
            stop: looked at between bundles.

        Returns:
            Whether it came to the end.
        """
        if changes.gone:
            self._cache.put([], changes.gone)
            self._cache.tidy()
        done = 0
        for bundle in self._bundles(changes.fresh):
            if stop.is_set():
                return False
            made = self._entries(bundle, self._opened)
            for first in range(0, len(made), PUT):
                self._cache.put(made[first : first + PUT])
            done += len(bundle)
            progress(done)
        return True

    def fetch(self, media_id: str) -> bool:
        """Put one media in that is in the lake but not yet in the cache.

        Returns:
            Whether the lake has it.
        """
        with self._lock:
            rows = self._rows("media", media_id, self._fetching)
            newest = rows.sort("analyzed_at", "analysis_id", WRITE_ID).unique(["take"], keep="last")
            bundle = list(_writes(newest))
            self._cache.put(self._entries(bundle, self._fetching))
        return bool(bundle)

    def _rows(self, table: str, media_id: str, tables: dict[str, DeltaTable]) -> pl.DataFrame:
        found = dataset(files(self._lake, table, None, tables), table)
        return pl.DataFrame(found.to_table(filter=ds.field("media_id") == media_id))

    def _bundles(self, fresh: list[Write]) -> Iterator[list[Write]]:
        """Writes whose rows lie together: by file of the curve, and as they lie in it."""
        spans = _last_writes(self._lake, self._opened)

        def place(write: Write) -> tuple[int, str, int]:
            file = bisect.bisect_left(spans, (write.write_id, ""))
            by_key = file < len(spans) and _IN_KEY_ORDER in spans[file][1]
            return file, write.media_id if by_key else "", write.take if by_key else write.write_id

        bundle: list[Write] = []
        length_ms = 0
        for write in sorted(fresh, key=place):
            if bundle and (len(bundle) >= BUNDLE or length_ms + write.duration_ms > BUNDLE_MS):
                yield bundle
                bundle, length_ms = [], 0
            bundle.append(write)
            length_ms += write.duration_ms
        if bundle:
            yield bundle

    def _entries(self, bundle: list[Write], opened: dict[str, DeltaTable]) -> list[Entry]:
        if not bundle:
            return []
        tables = {name: self._read(name, bundle, opened) for name in _READ}
        media = tables["media"].select(["media_id", "kind"]).to_pylist()
        calls = {row["media_id"] for row in media if row["kind"] == "call"}
        redacted = {name: redact(name, rows, self._config, calls) for name, rows in tables.items()}
        return list(entries(redacted))

    def _read(self, table: str, bundle: list[Write], opened: dict[str, DeltaTable]) -> pa.Table:
        """The rows of some writes. Bounds first, so that files and groups of rows are passed over."""
        ids = sorted(write.write_id for write in bundle)
        names = sorted(write.media_id for write in bundle)
        media_id, write_id = ds.field("media_id"), ds.field(WRITE_ID)
        wanted = (write_id >= ids[0]) & (write_id <= ids[-1])
        wanted &= (media_id >= names[0]) & (media_id <= names[-1]) & write_id.isin(ids)
        found = dataset(files(self._lake, table, (ids[0], ids[-1]), opened), table)
        return found.to_table(filter=wanted)


def dataset(sources: list[str], table: str) -> ds.Dataset:
    """Files of one table; columns that files of an older version lack are null."""
    schema = pa.schema([column.with_nullable(True) for column in STORED[table]])
    if not sources:
        return ds.dataset(schema.empty_table())
    return ds.dataset(sources, schema=schema, format="parquet")


def _writes(rows: pl.DataFrame) -> Iterator[Write]:
    return (Write(*row) for row in rows.select("media_id", "take", WRITE_ID, "duration_ms").iter_rows())


def _last_writes(lake: Path, opened: dict[str, DeltaTable]) -> list[tuple[int, str]]:
    """The last write in each file of the curve, and its name, in order; none in a folder of Parquet files."""
    files(lake, "curve", None, opened)
    if "curve" not in opened:
        return []
    return sorted(file_spans(opened["curve"]).select("last", "name").iter_rows())
