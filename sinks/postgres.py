"""Rows into PostgreSQL, for those who have one: a table each, keyed, one analysis a media.

A flush is one transaction: the rows go into staging tables by COPY, what an older analysis left of these
media is deleted, and the new rows are upserted by key. So readers see a media's rows replaced as a whole.
An analysis older than the one stored (by `analyzed_at`, then `analysis_id`) changes nothing. Flushes of
several writers come one after another. Commits without a media row wait in memory until it comes.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from moodstream.sinks.base import Sink, WriteRows
from moodstream.sinks.copytext import to_csv
from moodstream.sinks.database import Database, lock_schema, quote
from moodstream.sinks.layout import TABLES, Done
from moodstream.transforms.elements import Commit
from moodstream.transforms.errors import StoreError
from moodstream.transforms.tables import KEYS, SCHEMAS

if TYPE_CHECKING:
    import psycopg

Key = tuple[str, int]
_TYPES: dict[pa.DataType, str] = {
    pa.string(): "text",
    pa.int64(): "bigint",
    pa.float32(): "real",
    pa.bool_(): "boolean",
    pa.timestamp("us", tz="UTC"): "timestamptz",
}


def column_type(kind: pa.DataType) -> str:
    """The PostgreSQL type of an Arrow type: maps become jsonb, lists become arrays.

    Example:
        >>> column_type(pa.list_(pa.string()))
        'text[]'
    """
    if pa.types.is_map(kind):
        return "jsonb"
    if pa.types.is_list(kind):
        return f"{_TYPES[kind.value_type]}[]"
    return _TYPES[kind]


def ddl(schema: str) -> Iterator[str]:
    """The statements that create what does not exist yet; they may run any number of times."""
    yield f"CREATE SCHEMA IF NOT EXISTS {quote(schema)}"
    for table in TABLES:
        columns = ", ".join(
            f"{quote(f.name)} {column_type(f.type)}{'' if f.nullable else ' NOT NULL'}"
            for f in SCHEMAS[table]
        )
        key = ", ".join(map(quote, KEYS[table]))
        yield f"CREATE TABLE IF NOT EXISTS {quote(schema)}.{quote(table)} ({columns}, PRIMARY KEY ({key}))"
        yield from new_columns(schema, table, table)


def new_columns(schema: str, name: str, table: str) -> Iterator[str]:
    """Gives a table that an older version made the columns that came since; those may always be null."""
    columns = [f"{quote(f.name)} {column_type(f.type)}" for f in SCHEMAS[table] if f.nullable]
    if columns:
        adds = ", ".join(f"ADD COLUMN IF NOT EXISTS {column}" for column in columns)
        yield f"ALTER TABLE {quote(schema)}.{quote(name)} {adds}"


@dataclass
class _Analysis:
    """All rows of one media and take."""

    order: tuple[datetime, str] | None = None  # None until the media row comes
    rows: dict[str, list[pa.Table]] = field(default_factory=dict)

    def add(self, commit: Commit) -> None:
        for name, rows in commit.rows.items():
            if len(rows):
                self.rows.setdefault(name, []).append(rows)
        media = commit.rows.get("media")
        if media is not None and len(media):
            row = media.slice(0, 1).to_pylist()[0]
            self.order = row["analyzed_at"], row["analysis_id"]


class PostgresSink(Sink):
    """Writes into the tables of one schema of a database.

    Args:
        dsn: as libpq takes it, e.g. postgresql://user@host/database; passwords better in ~/.pgpass.
        schema: created if it does not exist.
    """

    def __init__(self, dsn: str, schema: str = "moodstream") -> None:
        self.database, self.schema = Database(dsn), schema
        self.discard()

    def discard(self) -> None:
        self._open: dict[tuple[str, int, str], _Analysis] = {}
        self._done: dict[Key, _Analysis] = {}
        self._dead: dict[Key, pa.Table] = {}  # of media of which nothing could be analysed

    def open(self) -> None:
        with self._transaction("cannot use the database") as run:
            lock_schema(run, self.schema)
            for statement in ddl(self.schema):
                run.execute(statement)

    def write(self, commit: Commit) -> None:
        filled = {name: rows for name, rows in commit.rows.items() if len(rows)}
        if not filled:
            return
        key = (commit.media_id, commit.take)
        analysis_id = next(iter(filled.values())).column("analysis_id")[0].as_py()
        analysis = self._open.pop((*key, analysis_id), None)
        if analysis is None and filled.keys() == {"dead_letter"}:
            self._dead[key] = filled["dead_letter"]
            return
        analysis = analysis or _Analysis()
        analysis.add(commit)
        if analysis.order is None:
            self._open[(*key, analysis_id)] = analysis
            return
        self._dead.pop(key, None)
        before = self._done.get(key)
        if before is None or before.order is None or analysis.order >= before.order:
            self._done[key] = analysis

    def flush(self) -> None:
        done, dead, self._done, self._dead = self._done, self._dead, {}, {}
        if not done and not dead:
            return
        with self._transaction("the database refused the rows") as run:
            lock_schema(run, self.schema)
            for key, order in self._stored(run, done):
                if (done[key].order or order) < order:
                    del done[key]
            for table in TABLES:
                parts = [part for analysis in done.values() for part in analysis.rows.get(table, ())]
                if table == "dead_letter":
                    parts += dead.values()
                    self._replace(run, table, [*done, *dead], parts)
                else:
                    self._replace(run, table, done, parts)

    def close(self) -> None:
        self.database.close()

    def done(self) -> Done:
        query = f"SELECT media_id, take, content_hash, models, settings FROM {quote(self.schema)}.media"
        with self._transaction("cannot read the database") as run:
            if run.execute("SELECT to_regclass(%s)", (f"{quote(self.schema)}.media",)).fetchone() == (None,):
                return {}
            rows = run.execute(query).fetchall()
        return {
            (media_id, take): (content, models, settings)
            for media_id, take, content, models, settings in rows
        }

    def _stored(
        self, run: "psycopg.Cursor[Any]", keys: Iterable[Key]
    ) -> list[tuple[Key, tuple[datetime, str]]]:
        query = (
            f"SELECT media_id, take, analyzed_at, analysis_id FROM {quote(self.schema)}.media "
            "WHERE (media_id, take) IN (SELECT * FROM unnest(%s::text[], %s::bigint[]))"
        )
        rows = run.execute(query, _unzip(keys)).fetchall()
        return [((media_id, take), (at, analysis)) for media_id, take, at, analysis in rows]

    def _replace(
        self, run: "psycopg.Cursor[Any]", table: str, keys: Iterable[Key], parts: list[pa.Table]
    ) -> None:
        """What is stored of these media becomes exactly the given rows."""
        target = f"{quote(self.schema)}.{quote(table)}"
        staging = quote(f"staging_{table}")
        names = SCHEMAS[table].names
        columns = ", ".join(map(quote, names))
        run.execute(f"CREATE TEMP TABLE {staging} (LIKE {target}) ON COMMIT DROP")
        for part in parts:
            with run.copy(f"COPY {staging} ({columns}) FROM STDIN (FORMAT csv)") as copy:
                copy.write(to_csv(part))
        matches = " AND ".join(f"n.{quote(name)} = o.{quote(name)}" for name in KEYS[table])
        run.execute(
            f"DELETE FROM {target} o USING unnest(%s::text[], %s::bigint[]) k (media_id, take) "
            "WHERE o.media_id = k.media_id AND o.take = k.take "
            f"AND NOT EXISTS (SELECT FROM {staging} n WHERE {matches})",
            _unzip(keys),
        )
        key = ", ".join(map(quote, KEYS[table]))
        distinct = f"DISTINCT ON ({key})" if table == "dead_letter" else ""  # a file may fail twice
        updates = ", ".join(f"{quote(n)} = excluded.{quote(n)}" for n in names if n not in KEYS[table])
        run.execute(
            f"INSERT INTO {target} ({columns}) SELECT {distinct} {columns} FROM {staging} "
            f"ON CONFLICT ({key}) DO UPDATE SET {updates}"
        )

    @contextmanager
    def _transaction(self, failure: str) -> "Iterator[psycopg.Cursor[Any]]":
        try:
            with self.database.transaction(failure) as run:
                yield run
        except StoreError:
            self.discard()
            raise


def _unzip(keys: Iterable[Key]) -> tuple[list[str], list[int]]:
    listed = list(keys)
    return [media_id for media_id, _ in listed], [take for _, take in listed]


class WritePostgres(WriteRows):
    """Writes commits into PostgreSQL: PCollection[Commit] -> PCollection[Written]."""

    def __init__(self, dsn: str, schema: str = "moodstream") -> None:
        super().__init__(PostgresSink(dsn, schema))
