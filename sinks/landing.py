"""Landings: stores that take rows from Kafka, each once, by keeping the reader's position beside them.

A position is written in the very commit, or transaction, that holds the rows it stands for. So what is in the
store always says where to go on, whatever was killed and when.
"""

from collections.abc import Iterable, Mapping

import pyarrow as pa

from moodstream.transforms.errors import UsageError


class Landing:
    """A store that knows how far it has got. The calls: `open`, any number of `append`, `close`.

    Positions go by name: one for each partition of a topic.
    """

    def open(self, names: Iterable[str]) -> dict[str, int]:
        """Connect, create what does not exist yet, and say how far these positions have got.

        Returns:
            What is known; a name that is not in it has not begun.

        Raises:
            StoreError: the store cannot be used.
        """
        raise NotImplementedError

    def append(
        self, table: str, rows: pa.Table, before: Mapping[str, int | None], after: Mapping[str, int]
    ) -> None:
        """Store rows and the positions after them, all or nothing.

        Args:
            before: the positions as this reader knows them, None where it has none yet.
            after: the same ones when these rows are in.

        Raises:
            UsageError: the store's positions are others: another process lands there.
            StoreError: the store refuses; nothing was stored.
        """
        raise NotImplementedError

    def allowed(self, rows: pa.Table) -> pa.Table:
        """Rows without those of media that were forgotten (`sinks/forgotten.py`).

        Raises:
            StoreError: it cannot be told.
        """
        return rows

    def close(self) -> None:
        """Let go of connections; must not fail."""

    def _at(self, moment: str) -> None:
        """Called where a process may die (`begun`, `written`, `committed`), for tests that end it there."""


def check_positions(before: Mapping[str, int | None], stored: Mapping[str, int | None]) -> None:
    """See that nobody else lands in the same store.

    Raises:
        UsageError: the store has got elsewhere meanwhile.
    """
    for name, position in before.items():
        if stored.get(name) != position:
            raise UsageError(
                f"another process lands there too: {name} is at {stored.get(name)}, not at {position}"
            )
