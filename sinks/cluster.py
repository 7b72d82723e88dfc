"""Where Kafka is and what the topics are called: what every reader and writer of them needs, and no more.

Conventions: the settings of the connection are those of kafka-python (`security_protocol`, `sasl_mechanism`,
`ssl_cafile`, ...).
"""

import zlib
from dataclasses import dataclass
from typing import Any

from moodstream.transforms.errors import optional


def import_kafka() -> Any:
    """The package kafka.

    Raises:
        MissingExtraError: it is not installed.
    """
    return optional("kafka", "kafka-python", "kafka")


@dataclass(frozen=True)
class Cluster:
    """Where Kafka is, and how to talk to it."""

    bootstrap: str  # host:port, several with commas
    options: tuple[tuple[str, Any], ...] = ()  # further settings of kafka-python's clients

    def settings(self) -> dict[str, Any]:
        return {"bootstrap_servers": self.bootstrap.split(","), **dict(self.options)}


@dataclass(frozen=True)
class Topics:
    """What the topics of results and snapshots are called."""

    prefix: str = "moodstream."

    def of(self, table: str) -> str:
        return self.prefix + table

    def snapshots(self, group: str) -> str:
        return f"{self.prefix}snapshots.{group}"


def partition_of(media_id: str, partitions: int) -> int:
    """The partition of a media's rows."""
    return zlib.crc32(media_id.encode()) % partitions
