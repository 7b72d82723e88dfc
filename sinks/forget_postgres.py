"""Erases media from a PostgreSQL database: the rows of all tables, those that wait to land, too.

What PostgreSQL deletes stays in its pages until they are cleaned: VACUUM lets them be overwritten, VACUUM
FULL writes the tables anew, while nobody else can use them. Write-ahead log, replicas and backups are the
database's: what they keep and for how long is set there.
"""

import time
from collections.abc import Iterable, Iterator

from moodstream.sinks.database import Database, lock_schema, quote
from moodstream.sinks.forget import Looked
from moodstream.sinks.forgotten import digest
from moodstream.sinks.land_postgres import FORGOTTEN, WAITING
from moodstream.sinks.layout import TABLES
from moodstream.transforms.errors import UsageError

ORDER = ("media", *(table for table in TABLES if table != "media"), *(f"landing_{name}" for name in WAITING))


class PostgresForgetting:
    """One schema of a database.

    Args:
        dsn: as libpq takes it.
        schema: which one.
    """

    def __init__(self, dsn: str, schema: str = "moodstream") -> None:
        self.database, self.schema = Database(dsn), schema

    def forget(self, media_ids: Iterable[str], *, full: bool = False) -> int:
        """Erase media, all or nothing, and clean the tables.

        Args:
            full: write the tables anew; nobody can read them meanwhile.

        Returns:
            How many rows went.

        Raises:
            UsageError: no tables of ours are there. StoreError: the database refused.
        """
        names, erased = sorted(set(media_ids)), 0
        tables = self._tables()
        with self.database.transaction("cannot forget") as run:
            lock_schema(run, self.schema)
            if FORGOTTEN in tables:
                now_ms = time.time_ns() // 1_000_000
                run.executemany(
                    f"INSERT INTO {self._name(FORGOTTEN)} VALUES (%s, %s) "
                    "ON CONFLICT (digest) DO UPDATE SET at_ms = excluded.at_ms",
                    [(digest(name), now_ms) for name in names],
                )
            for table in ORDER:
                if table in tables:
                    run.execute(f"DELETE FROM {self._name(table)} WHERE media_id = ANY(%s)", (names,))
                    erased += max(0, run.rowcount)
        for table in ORDER:
            if table in tables:
                self.database.execute(
                    f"VACUUM {'(FULL) ' if full else ''}{self._name(table)}", "cannot clean"
                )
        return erased

    def look(self, media_ids: Iterable[str]) -> Iterator[Looked]:
        """Ask every table for rows of these media."""
        names, tables = sorted(set(media_ids)), self._tables()
        for table in ORDER:
            if table in tables:
                with self.database.transaction("cannot read the database") as run:
                    counts = "count(*), count(*) FILTER (WHERE media_id = ANY(%s))"
                    query = f"SELECT {counts} FROM {self._name(table)}"
                    every, left = run.execute(query, (names,)).fetchone() or (0, 0)
                why = "a writer is at work: give the command again when it has ended" if left else ""
                yield Looked(table, f"{every:,} rows", left, why)

    def older_than(self, days: float) -> list[str]:
        """Media that were last analysed before; dead letters without media have no time, and stay."""
        self._tables()
        with self.database.transaction("cannot read the database") as run:
            query = (
                f"SELECT media_id FROM {self._name('media')} GROUP BY media_id "
                "HAVING max(analyzed_at) < now() - make_interval(secs => %s) ORDER BY media_id"
            )
            return [name for (name,) in run.execute(query, (days * 86_400,)).fetchall()]

    def close(self) -> None:
        self.database.close()

    def _tables(self) -> set[str]:
        with self.database.transaction("cannot use the database") as run:
            query = "SELECT tablename FROM pg_tables WHERE schemaname = %s"
            found = {name for (name,) in run.execute(query, (self.schema,)).fetchall()}
        if "media" not in found:
            raise UsageError(f"the database has no tables of moodstream in its schema {self.schema}")
        return found

    def _name(self, table: str) -> str:
        return f"{quote(self.schema)}.{quote(table)}"
