"""A connection to PostgreSQL that is made when it is needed, and errors as ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from moodstream.transforms.errors import StoreError, optional

if TYPE_CHECKING:
    import psycopg

_LOCK = 0x6D6F6F64  # "mood": the first of the two numbers of our advisory locks


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class Database:
    """One database; pickles without its connection.

    Args:
        dsn: as libpq takes it, e.g. postgresql://user@host/database; passwords better in ~/.pgpass.
    """

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._connection: psycopg.Connection[Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_connection": None}

    @contextmanager
    def transaction(self, failure: str) -> "Iterator[psycopg.Cursor[Any]]":
        """One transaction: all of the block or nothing.

        Args:
            failure: what an error's message begins with.

        Raises:
            MissingExtraError: psycopg is not installed. StoreError: the database refused.
        """
        psycopg = optional("psycopg", "psycopg", "postgres")
        try:
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(self.dsn, autocommit=True)
            with self._connection.transaction(), self._connection.cursor() as run:
                yield run
        except psycopg.Error as error:
            self.close()
            raise StoreError(f"{failure}: {error}") from error

    def execute(self, statement: str, failure: str) -> None:
        """A statement that cannot be part of a transaction, such as VACUUM.

        Raises:
            StoreError: the database refused.
        """
        import psycopg

        with self.transaction(failure):
            pass  # there is a connection, which commits by itself
        try:
            if self._connection is not None:
                self._connection.execute(statement)
        except psycopg.Error as error:
            self.close()
            raise StoreError(f"{failure}: {error}") from error

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def lock_schema(run: "psycopg.Cursor[Any]", schema: str) -> None:
    """Until the transaction's end, be the only one of ours who writes into a schema."""
    run.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (_LOCK, schema))
