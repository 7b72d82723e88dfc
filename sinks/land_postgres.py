"""Landing in PostgreSQL: rows and the positions they stand for in one transaction.

Rows of a stream that still runs wait in tables of their own, `landing_curve` and so on, on disk and across
restarts. In the transaction that brings the media row they move to the tables that readers know, and what an
older analysis left of the media goes: readers see a media whole, or as it was before. An analysis older than
the one stored (by `analyzed_at`, then `analysis_id`) is dropped. Dead letters are there at once.

The tables are those of `sinks/postgres.py`, which writes into them in batch.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from moodstream.sinks.copytext import to_csv
from moodstream.sinks.database import Database, lock_schema, quote
from moodstream.sinks.forgotten import without
from moodstream.sinks.landing import Landing, check_positions
from moodstream.sinks.layout import TABLES
from moodstream.sinks.postgres import ddl, new_columns
from moodstream.transforms.tables import KEYS, SCHEMAS

if TYPE_CHECKING:
    import psycopg

FORGOTTEN = "landing_forgotten"
WAITING = tuple(table for table in TABLES if table not in ("media", "dead_letter"))


class PostgresLanding(Landing):
    """Writes into the tables of one schema of a database; made if they do not exist.

    Args:
        dsn: as libpq takes it, e.g. postgresql://user@host/database; passwords better in ~/.pgpass.
        schema: which one.
    """

    def __init__(self, dsn: str, schema: str = "moodstream") -> None:
        self.database, self.schema = Database(dsn), schema

    def open(self, names: Iterable[str]) -> dict[str, int]:
        with self.database.transaction("cannot use the database") as run:
            lock_schema(run, self.schema)
            for statement in (*ddl(self.schema), *self._ddl()):
                run.execute(statement)
            return self._positions(run, names)

    def append(
        self, table: str, rows: pa.Table, before: Mapping[str, int | None], after: Mapping[str, int]
    ) -> None:
        with self.database.transaction("the database refused the rows") as run:
            lock_schema(run, self.schema)
            check_positions(before, self._positions(run, before))
            self._at("begun")
            if table == "media":
                self._put_media(run, rows)
            elif table == "dead_letter":
                self._put_letters(run, rows)
            else:
                self._copy(run, f"landing_{table}", table, rows)
                self._move(run, table, rows["analysis_id"].unique().to_pylist())  # its media row was faster
            run.executemany(
                f"INSERT INTO {self._name('landing_position')} VALUES (%s, %s) "
                "ON CONFLICT (name) DO UPDATE SET position = excluded.position",
                list(after.items()),
            )
            self._at("written")
        self._at("committed")

    def allowed(self, rows: pa.Table) -> pa.Table:
        with self.database.transaction("cannot read what was forgotten") as run:
            marks = run.execute(f"SELECT digest, at_ms FROM {self._name(FORGOTTEN)}").fetchall()
        return without(rows, dict(marks))

    def close(self) -> None:
        self.database.close()

    # ------------------------------------------------------------ tables

    def _name(self, table: str) -> str:
        return f"{quote(self.schema)}.{quote(table)}"

    def _ddl(self) -> Iterator[str]:
        position = self._name("landing_position")
        yield f"CREATE TABLE IF NOT EXISTS {position} (name text PRIMARY KEY, position bigint NOT NULL)"
        forgotten = self._name(FORGOTTEN)
        yield f"CREATE TABLE IF NOT EXISTS {forgotten} (digest text PRIMARY KEY, at_ms bigint NOT NULL)"
        for table in WAITING:
            waiting, index = self._name(f"landing_{table}"), quote(f"landing_{table}_analysis")
            yield f"CREATE TABLE IF NOT EXISTS {waiting} (LIKE {self._name(table)})"
            yield from new_columns(self.schema, f"landing_{table}", table)
            yield f"CREATE INDEX IF NOT EXISTS {index} ON {waiting} (analysis_id)"

    def _positions(self, run: "psycopg.Cursor[Any]", names: Iterable[str]) -> dict[str, int]:
        query = f"SELECT name, position FROM {self._name('landing_position')} WHERE name = ANY(%s)"
        return dict(run.execute(query, (list(names),)).fetchall())

    def _copy(self, run: "psycopg.Cursor[Any]", target: str, table: str, rows: pa.Table) -> None:
        with run.copy(f"COPY {self._name(target)} ({_columns(table)}) FROM STDIN (FORMAT csv)") as copy:
            copy.write(to_csv(rows))

    # ------------------------------------------------------------ rows

    def _move(self, run: "psycopg.Cursor[Any]", table: str, analyses: list[str]) -> None:
        """What waits of these analyses goes where readers see it, if their media row is there."""
        run.execute(
            f"WITH moved AS (DELETE FROM {self._name(f'landing_{table}')} l USING {self._name('media')} m "
            "WHERE l.analysis_id = ANY(%s) AND m.media_id = l.media_id AND m.take = l.take "
            "AND m.analysis_id = l.analysis_id RETURNING l.*) "
            + self._upsert(table, "moved", "revision DESC"),
            (analyses,),
        )

    def _put_media(self, run: "psycopg.Cursor[Any]", rows: pa.Table) -> None:
        newest: dict[tuple[str, int], tuple[Any, str]] = {}
        for row in rows.select(["media_id", "take", "analyzed_at", "analysis_id"]).to_pylist():
            key, order = (row["media_id"], row["take"]), (row["analyzed_at"], row["analysis_id"])
            newest[key] = max(newest.get(key, order), order)
        media_ids, takes = [media_id for media_id, _ in newest], [take for _, take in newest]
        stored = run.execute(
            f"SELECT media_id, take, analyzed_at, analysis_id FROM {self._name('media')} "
            "WHERE (media_id, take) IN (SELECT * FROM unnest(%s::text[], %s::bigint[]))",
            (media_ids, takes),
        ).fetchall()
        for media_id, take, at, analysis in stored:
            if newest[media_id, take] < (at, analysis):
                del newest[media_id, take]
        chosen = [analysis for _, analysis in newest.values()]
        counts = pa.array([one in set(chosen) for one in rows["analysis_id"].to_pylist()], pa.bool_())
        every = rows["analysis_id"].to_pylist()
        for table in WAITING:
            run.execute(
                f"DELETE FROM {self._name(f'landing_{table}')} "
                "WHERE analysis_id = ANY(%s) AND NOT analysis_id = ANY(%s)",
                (every, chosen),
            )
        for table in (*WAITING, "dead_letter"):
            run.execute(
                f"DELETE FROM {self._name(table)} o USING unnest(%s::text[], %s::bigint[], %s::text[]) "
                "k (media_id, take, analysis_id) WHERE o.media_id = k.media_id AND o.take = k.take "
                "AND o.analysis_id <> k.analysis_id",
                ([m for m, _ in newest], [t for _, t in newest], chosen),
            )
        self._stage(run, "media", rows.filter(counts))
        for table in WAITING:
            self._move(run, table, chosen)

    def _put_letters(self, run: "psycopg.Cursor[Any]", rows: pa.Table) -> None:
        self._stage(run, "dead_letter", rows)

    def _stage(self, run: "psycopg.Cursor[Any]", table: str, rows: pa.Table) -> None:
        """Rows by their key, the last one of each counting."""
        staging = quote(f"staging_{table}")
        run.execute(f"CREATE TEMP TABLE {staging} (LIKE {self._name(table)}, at bigserial) ON COMMIT DROP")
        with run.copy(f"COPY {staging} ({_columns(table)}) FROM STDIN (FORMAT csv)") as copy:
            copy.write(to_csv(rows))
        run.execute(self._upsert(table, staging, "at DESC"))

    def _upsert(self, table: str, source: str, order: str) -> str:
        key = ", ".join(map(quote, KEYS[table]))
        names = [name for name in SCHEMAS[table].names if name not in KEYS[table]]
        updates = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in names)
        return (
            f"INSERT INTO {self._name(table)} ({_columns(table)}) "
            f"SELECT DISTINCT ON ({key}) {_columns(table)} FROM {source} ORDER BY {key}, {order} "
            f"ON CONFLICT ({key}) DO UPDATE SET {updates}"
        )


def _columns(table: str) -> str:
    return ", ".join(map(quote, SCHEMAS[table].names))
