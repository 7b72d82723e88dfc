"""The store: what handlers ask about the lake. It answers from the cache and keeps that up with the lake.

A thread looks every second whether the lake has changed (one `stat`), and brings the cache up to it while the
old state goes on being served. What is asked for and not yet there is fetched at once, on its own.

Conventions: any thread may call; a call sees one state of the cache. Rows come redacted, as JSON or blocks.
"""

import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import IO, Any

import orjson
import pyarrow as pa
from deltalake.exceptions import DeltaError

from moodstream.serving.config import ServeConfig
from moodstream.serving.store.blocks import Block
from moodstream.serving.store.cache import DOC_SLOTS, DOCS, TRACKS, Cache
from moodstream.serving.store.filling import Filler
from moodstream.serving.store.listing import Listing, ListPage, Totals, listing, with_sparkline
from moodstream.sinks.layout import check
from moodstream.transforms.errors import MoodstreamError, UsageError

LOOK_S = 1.0  # how often the thread looks
REST = (
    4  # so many times as long as a fill took, it rests: at most a fifth of a core goes into a lake that grows
)
_FAILURES = (OSError, DeltaError, pa.ArrowException, sqlite3.Error, MoodstreamError)
_log = logging.getLogger(__name__)


class NotThereError(UsageError):
    """The lake has no such media, take, channel or modality."""


@dataclass(frozen=True)
class State:
    """How far the cache is.

    Args:
        ready: whether it holds what the lake did when the last fill began.
        done: media put in by the fill under way, or the last one.
        total: that it has to put in.
        filling: whether one is under way.
        error: why the last one failed, "" if it did not.
    """

    ready: bool = False
    done: int = 0
    total: int = 0
    filling: bool = False
    error: str = ""


@dataclass(frozen=True)
class Track:
    """One channel and modality of a media."""

    channel: str
    modality: str
    best: bool
    block: Block


@dataclass(frozen=True)
class Found:
    """One media and take: which number the cache gave it, and what lists say of it."""

    number: int
    media_id: str
    take: int
    kind: str
    duration_ms: int
    version: str


class Store:
    """Args: config: which lake, where the cache lies, whose emotions may leave.

    Raises:
        UsageError: there is no lake, or no place for the cache.
    """

    def __init__(self, config: ServeConfig) -> None:
        check(config.lake)
        self.config = config
        self._cache = Cache(config)
        self._filler = Filler(config, self._cache)
        self._totals = Totals()
        self._state = State(ready=bool(self._cache.meta()["whole"]))
        self._stop, self._seen = threading.Event(), 0
        self._lead: IO[bytes] | None = None
        self._thread = threading.Thread(target=self._follow, name="store", daemon=True)
        self._first = threading.Event()

    def start(self) -> None:
        """Begin to follow the lake."""
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._lead is not None:
            self._lead.close()
        self._cache.close()

    @property
    def state(self) -> State:
        return self._state

    @property
    def alive(self) -> bool:
        """False where only a restart helps."""
        return self._thread.is_alive()

    def wait(self, timeout_s: float) -> bool:
        """Wait until the first look at the lake is over; returns whether the store is ready then."""
        self._first.wait(timeout_s)
        return self._state.ready

    @property
    def version(self) -> str:
        """Changes whenever anything that is served does."""
        with self._cache.reading() as connection:
            return _version(connection)

    # ------------------------------------------------------------ what handlers ask

    def page(self, asked: Listing) -> ListPage:
        """A list of media.

        Raises:
            UsageError: see `listing`.
        """
        with self._cache.reading() as connection:
            return listing(connection, _version(connection), asked, self._totals)

    def items(self, keys: Iterable[tuple[str, int]], sparkline: bool = False) -> list[dict[str, Any] | None]:
        """What lists say of some media, in this order; None for those that are not there."""
        query = "SELECT item, sparkline FROM media JOIN item USING (id) WHERE media_id = ? AND take = ?"
        found: list[dict[str, Any] | None] = []
        with self._cache.reading() as connection:
            for key in keys:
                row = connection.execute(query, key).fetchone()
                text = None if row is None else with_sparkline(row[0], row[1] if sparkline else None)
                found.append(None if text is None else orjson.loads(text))
        return found

    @contextmanager
    def media(self, media_id: str, take: int | None = None) -> Iterator["Opened"]:
        """One media, its last take if none is named, as it is now.

        Raises:
            NotThereError: the lake has none such.
        """
        with self._cache.reading() as connection:
            found = _find(connection, media_id, take)
            if found is not None:
                yield Opened(connection, found)
                return
        if self._behind() and self._fetch(media_id):
            with self._cache.reading() as connection:
                found = _find(connection, media_id, take)
                if found is not None:
                    yield Opened(connection, found)
                    return
        which = "" if take is None else f" take {take} of"
        raise NotThereError(f"the lake has no{which or ' media'} {media_id[:200]!r}")

    def alerts(self, limit: int, after: tuple[str, int, int] | None = None) -> list[tuple[Any, ...]]:
        """Alerts of all media, newest first: (at, media's number, number, media_id, row as JSON)."""
        where = "" if after is None else "WHERE (at, media, number) < (?, ?, ?)"
        query = f"""SELECT at, media, number, media_id, row FROM alert {where}
            ORDER BY at DESC, media DESC, number DESC LIMIT ?"""
        with self._cache.reading() as connection:
            return connection.execute(query, (*(after or ()), limit)).fetchall()

    # ------------------------------------------------------------ following the lake

    def _behind(self) -> bool:
        return self._state.filling or not self._state.ready or self._stamp() != self._seen

    def _fetch(self, media_id: str) -> bool:
        try:
            return self._filler.fetch(media_id)
        except FileNotFoundError:  # compacted away under us
            return self._filler.fetch(media_id)

    def _stamp(self) -> int:
        """Changes when somebody writes to the lake."""
        log = self.config.lake / "media" / "_delta_log"
        try:
            return (log if log.is_dir() else log.parent).stat().st_mtime_ns
        except FileNotFoundError:
            return -1

    def _follow(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)  # of this thread alone
        while not self._stop.is_set():
            began = time.monotonic()
            if self._leads() and (self._stamp() != self._seen or self._state.error):
                self._catch_up()
            elif self._lead is None:  # another process fills the cache; this one reads it
                self._state = replace(self._state, ready=bool(self._cache.meta()["whole"]))
            self._first.set()
            self._stop.wait(max(LOOK_S, REST * (time.monotonic() - began)))

    def _leads(self) -> bool:
        """Whether this process is the one that fills the cache."""
        if self._lead is None:
            file = self._cache.path.with_suffix(".fill").open("ab")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                return False
            self._lead = file
        return True

    def _catch_up(self) -> None:
        stamp, began = self._stamp(), time.monotonic()
        try:
            check(self.config.lake)
            changes = self._filler.changes()
            total = len(changes.fresh)
            self._state = replace(self._state, filling=True, done=0, total=total)
            if self._filler.fill(changes, self._progress, self._stop):
                self._cache.mark_whole()
                self._seen = stamp
                self._state = replace(self._state, ready=True, error="")
                if total or changes.gone:
                    spent = time.monotonic() - began
                    _log.info("%d media new, %d gone, in %.1f s", total, len(changes.gone), spent)
        except _FAILURES as error:
            _log.warning("the lake cannot be read: %s", error)
            self._state = replace(self._state, error=str(error))
        finally:
            self._state = replace(self._state, filling=False)

    def _progress(self, done: int) -> None:
        self._state = replace(self._state, done=done)


class Opened:
    """One media as a call sees it."""

    def __init__(self, connection: sqlite3.Connection, found: Found) -> None:
        self._connection, self.found = connection, found

    def rows(self, table: str) -> bytes:
        """Its rows of the table media, summary, episode or alert: a JSON list."""
        query = "SELECT rows FROM doc WHERE id = ?"
        place = self.found.number * DOC_SLOTS + DOCS.index(table)
        row = self._connection.execute(query, (place,)).fetchone()
        return b"[]" if row is None else bytes(row[0])

    def item(self, sparkline: bool = False) -> bytes:
        """What lists say of it, as JSON."""
        query = "SELECT item, sparkline FROM item WHERE id = ?"
        item, line = self._connection.execute(query, (self.found.number,)).fetchone()
        return with_sparkline(item, line if sparkline else None)

    def tracks(self, channel: str | None = None, modality: str | None = None) -> list[Track]:
        """Its curves by channel: one a channel, the best there is, unless a modality is named.

        Raises:
            NotThereError: it has no such channel or modality.
        """
        first = self.found.number * TRACKS
        query = """SELECT channel, modality, best, head, body FROM track
            WHERE id BETWEEN ? AND ? AND (? IS NULL OR channel = ?)
            AND CASE WHEN ? IS NULL THEN best ELSE modality = ? END ORDER BY channel"""
        asked = (first, first + TRACKS - 1, channel, channel, modality, modality)
        rows = self._connection.execute(query, asked).fetchall()
        if not rows and (channel, modality) != (None, None):
            there = self._connection.execute(
                "SELECT channel, modality FROM track WHERE id BETWEEN ? AND ?", asked[:2]
            )
            listed = ", ".join(f"{name} ({how})" for name, how in there) or "none"
            raise NotThereError(f"no such channel or modality; there are {listed}")
        return [Track(name, how, bool(best), Block(head, body)) for name, how, best, head, body in rows]


def _version(connection: sqlite3.Connection) -> str:
    told = dict(connection.execute("SELECT name, value FROM meta"))
    return f"{told['name']}-{told['generation']}"


def _find(connection: sqlite3.Connection, media_id: str, take: int | None) -> Found | None:
    which = "" if take is None else "AND take = ?"
    row = connection.execute(
        f"""SELECT id, media_id, take, kind, duration_ms FROM media WHERE media_id = ? {which}
        ORDER BY take DESC LIMIT 1""",
        (media_id,) if take is None else (media_id, take),
    ).fetchone()
    if row is None:
        return None
    number, name, which_take, kind, duration_ms = row
    return Found(number, name, which_take, kind, duration_ms, _version(connection))
