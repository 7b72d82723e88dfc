"""The cache on disk: one SQLite file, its tables sorted by key, its pages mapped into memory.

    media   one narrow row a media and take: what lists are filtered and sorted by
    item    its entry in a list and its sparkline, as JSON
    doc     its rows of the tables media, summary, episode and alert, as JSON
    track   one row a channel and modality: its curve as a block (`blocks.py`)
    alert   all alerts, newest first

Readers see the last commit (write-ahead log), whatever is being written; each thread has a connection of
its own. What the cache was made with stands in its name: another format, or another answer to whose emotions
may leave, is another file, made anew. Nothing in it is worth a backup.
"""

import fcntl
import hashlib
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from moodstream.serving.access import redaction
from moodstream.serving.config import ServeConfig
from moodstream.serving.deadline import StoppedError, check, on_stop
from moodstream.transforms.errors import StoreError, UsageError

FORMAT = 1  # of what is in the file; raise it when that changes
DOCS = ("media", "summary", "episode", "alert")
TRACKS, DOC_SLOTS = 4096, 8  # ids of a media's tracks and docs lie together: media id times these
_MAPPED_BYTES = 1 << 34
_CACHED_KIB = 4_000  # of a connection's own, beside what is mapped
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS media (
    id INTEGER PRIMARY KEY, media_id TEXT NOT NULL, take INTEGER NOT NULL, write_id INTEGER NOT NULL,
    kind TEXT, duration_ms INTEGER, analyzed_at TEXT, emotion TEXT, quadrant TEXT,
    valence_mean REAL, arousal_mean REAL, words TEXT, UNIQUE (media_id, take));
CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, item BLOB, sparkline BLOB);
CREATE TABLE IF NOT EXISTS doc (id INTEGER PRIMARY KEY, rows BLOB);
CREATE TABLE IF NOT EXISTS track (
    id INTEGER PRIMARY KEY, channel TEXT, modality TEXT, best INTEGER, head BLOB, body BLOB);
CREATE TABLE IF NOT EXISTS alert (
    at TEXT, media INTEGER, number INTEGER, media_id TEXT, take INTEGER, row BLOB,
    PRIMARY KEY (at, media, number)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS alert_of_media ON alert (media);
"""


@dataclass(frozen=True)
class Entry:
    """What is kept of one media and take."""

    columns: dict[str, Any]  # of the table media, without id
    item: bytes
    sparkline: bytes
    docs: dict[str, bytes]  # of DOCS: a JSON list of rows
    tracks: list[tuple[str, str, bool, bytes, bytes]]  # channel, modality, is it the best; head, body
    alerts: list[tuple[str, bytes]]  # when, and its row as JSON


def stamp(config: ServeConfig) -> str:
    """What a cache was made with, in its name: the format, the rules of redaction, whose emotions leave."""
    rules = Path(redaction.__file__).read_bytes()
    made = repr((FORMAT, hashlib.sha256(rules).hexdigest(), config.emotions_for))
    return hashlib.sha256(made.encode()).hexdigest()[:12]


class Cache:
    """The file, for many readers and one writer.

    Args:
        config: where it lies and what it may hold.

    Raises:
        UsageError: it cannot be made there.
    """

    def __init__(self, config: ServeConfig) -> None:
        self.folder = config.cache_folder
        self.path = self.folder / f"lake-{stamp(config)}.sqlite"
        self._own = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._writer = self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise UsageError(
                f"cannot keep a cache at {self.folder}: {error}; --cache DIR puts it elsewhere"
            ) from error

    def _prepare(self) -> sqlite3.Connection:
        self._used = _hold(self.path, fcntl.LOCK_SH)
        for other in self.folder.glob("lake-*.sqlite"):  # made by another version, or with another answer
            _remove_unused(other)
        try:
            return self._made()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # the disk, not the content
                raise
            _unlink(self.path)
            return self._made()

    def _made(self) -> sqlite3.Connection:
        connection = self._connect()
        connection.execute("PRAGMA page_size = 8192")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = ON")  # what was forgotten is overwritten
        connection.executescript(_SCHEMA)
        given = {"name": secrets.token_hex(4), "generation": 0, "whole": 0}
        connection.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", given.items())
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=30, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        connection.execute(f"PRAGMA mmap_size = {_MAPPED_BYTES}")
        connection.execute(f"PRAGMA cache_size = -{_CACHED_KIB}")
        with self._lock:
            self._all.append(connection)
        return connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one state all the while; queries end when the work is stopped.

        Raises:
            StoppedError: it was.
            StoreError: the file cannot be read.
        """
        connection: sqlite3.Connection | None = getattr(self._own, "connection", None)
        try:
            if connection is None:
                connection = self._own.connection = self._connect()
                connection.execute("PRAGMA query_only = ON")
            with on_stop(connection.interrupt):
                connection.execute("BEGIN")
                try:
                    yield connection
                finally:
                    connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorname", "") == "SQLITE_INTERRUPT":
                raise StoppedError from error
            raise StoreError(f"cannot read the cache {self.path}: {error}") from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The writer's connection in a transaction that makes a new version; nobody else writes meanwhile."""
        with self._writing:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("UPDATE meta SET value = value + 1 WHERE name = 'generation'")
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")

    def put(self, entries: Iterable[Entry], gone: Iterable[tuple[str, int]] = ()) -> None:
        """Add media, in place of what was there about them, and take others out: all at once."""
        with self.writing() as connection:
            for key in gone:
                _remove(connection, *key)
            for entry in entries:
                _remove(connection, entry.columns["media_id"], entry.columns["take"])
                _insert(connection, entry)

    def mark_whole(self) -> None:
        """It holds all that the lake did when this fill began."""
        if not self.meta()["whole"]:
            with self.writing() as connection:
                connection.execute("UPDATE meta SET value = 1 WHERE name = 'whole'")

    def tidy(self) -> None:
        """Leave nothing in the log, so that what was taken out is on no page of any file."""
        with self._writing, closing(self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")) as cursor:
            cursor.fetchall()

    def meta(self) -> dict[str, Any]:
        with self.reading() as connection:
            return dict(connection.execute("SELECT name, value FROM meta"))

    def known(self) -> dict[tuple[str, int], int]:
        """The write of each media and take that is in it."""
        with self.reading() as connection:
            rows = connection.execute("SELECT media_id, take, write_id FROM media")
            return {(media_id, take): write_id for media_id, take, write_id in rows}

    def close(self) -> None:
        with self._lock:
            for connection in self._all:
                connection.close()
            self._all.clear()
        self._used.close()


def _hold(path: Path, how: int) -> IO[bytes]:
    """Lock a cache against those who remove what nobody uses.

    Raises:
        BlockingIOError: somebody else uses it, and `how` says not to wait.
    """
    file = path.with_suffix(".lock").open("ab")
    try:
        fcntl.flock(file, how)
    except OSError:
        file.close()
        raise
    return file


def _remove_unused(path: Path) -> None:
    """Remove a cache unless somebody uses it, as this service does its own."""
    try:
        with _hold(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
            _unlink(path)
            for end in (".lock", ".fill"):
                path.with_suffix(end).unlink(missing_ok=True)
    except BlockingIOError:
        return


def _unlink(path: Path) -> None:
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)


def _remove(connection: sqlite3.Connection, media_id: str, take: int) -> None:
    found = connection.execute("SELECT id FROM media WHERE media_id = ? AND take = ?", (media_id, take))
    row = found.fetchone()
    if row is None:
        return
    (number,) = row
    for table, each in (("media", 1), ("item", 1), ("doc", DOC_SLOTS), ("track", TRACKS)):
        first = number * each
        connection.execute(f"DELETE FROM {table} WHERE id BETWEEN ? AND ?", (first, first + each - 1))
    connection.execute("DELETE FROM alert WHERE media = ?", (number,))


def _insert(connection: sqlite3.Connection, entry: Entry) -> None:
    names = ", ".join(entry.columns)
    marks = ", ".join("?" * len(entry.columns))
    added = connection.execute(f"INSERT INTO media ({names}) VALUES ({marks})", tuple(entry.columns.values()))
    number = added.lastrowid
    if number is None:
        raise StoreError("the cache gave no number to a media")
    connection.execute("INSERT INTO item VALUES (?, ?, ?)", (number, entry.item, entry.sparkline))
    docs = ((number * DOC_SLOTS + DOCS.index(name), rows) for name, rows in entry.docs.items())
    connection.executemany("INSERT INTO doc VALUES (?, ?)", docs)
    tracks = ((number * TRACKS + i, *track) for i, track in enumerate(entry.tracks[:TRACKS]))
    connection.executemany("INSERT INTO track VALUES (?, ?, ?, ?, ?, ?)", tracks)
    media_id, take = entry.columns["media_id"], entry.columns["take"]
    alerts = ((at, number, i, media_id, take, row) for i, (at, row) in enumerate(entry.alerts))
    connection.executemany("INSERT INTO alert VALUES (?, ?, ?, ?, ?, ?)", alerts)


def fetched(rows: Iterable[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    """Rows of a query, looking now and then whether anybody still waits for them."""
    for i, row in enumerate(rows):
        if i % 256 == 0:
            check()
        yield row


def forget(folder: Path, media_id: str) -> int:
    """Take a media out of the caches in a folder, whether a service runs on them or not.

    Returns:
        How many takes of it were there.

    Raises:
        StoreError: a cache cannot be written.
    """
    found = 0
    for path in sorted(folder.glob("lake-*.sqlite")):
        try:
            with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
                connection.execute("PRAGMA secure_delete = ON")
                connection.execute("BEGIN IMMEDIATE")
                takes = connection.execute(
                    "SELECT take FROM media WHERE media_id = ?", (media_id,)
                ).fetchall()
                for (take,) in takes:
                    _remove(connection, media_id, take)
                connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'generation'")
                connection.execute("COMMIT")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                found += len(takes)
        except sqlite3.Error as error:
            raise StoreError(f"cannot forget {media_id!r} in {path}: {error}") from error
    return found
