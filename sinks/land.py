"""Land: result topics into a store, each row once.

The position of each partition of a topic is kept in the store, in the very commit that holds its rows: after
a crash, what is in the store says where to go on (`sinks/landing.py`). Only final rows land.

A media is there when its media row is. So in each round media rows are read first and written last:
everything that was committed with or before them is read in between.

Conventions: one `Lander` a store and prefix; a second one is noticed and refused.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moodstream.sinks.cluster import Cluster, Topics, import_kafka
from moodstream.sinks.jsonrows import from_json
from moodstream.sinks.land_lake import LakeLanding
from moodstream.sinks.land_postgres import PostgresLanding
from moodstream.sinks.landing import Landing
from moodstream.sinks.layout import TABLES
from moodstream.transforms.errors import StoreError, UsageError

if TYPE_CHECKING:
    from kafka import KafkaConsumer, TopicPartition

MOST_ROWS = 200_000  # in memory at once
_POLL_MS = 200


def open_landing(to: str | Path) -> Landing:
    """The landing for `--to`: `postgresql://...`, or the folder of a lake. Nothing is opened yet.

    Raises:
        UsageError: a store in which nothing can land.

    Example:
        >>> type(open_landing("lake")).__name__
        'LakeLanding'
    """
    name = str(to)
    if name.startswith(("postgresql://", "postgres://")):
        return PostgresLanding(name)
    if "://" in name or name.startswith("parquet:"):
        raise UsageError(f"rows land in a local folder (a lake) or a PostgreSQL address, not in {name}")
    return LakeLanding(name)


class Lander:
    """Reads the topics of results and appends to a store.

    Args:
        cluster: where Kafka is.
        to: the folder of a lake, a PostgreSQL address, or a landing.
        topics: what the topics are called.

    Raises:
        UsageError: no such topics. StoreError: Kafka or the store refuses.
    """

    def __init__(self, cluster: Cluster, to: str | Path | Landing, topics: Topics | None = None) -> None:
        self.topics = topics or Topics()
        self.landing = to if isinstance(to, Landing) else open_landing(to)
        self._kafka = import_kafka()
        try:
            self._consumer = self._connect(cluster)
        except self._kafka.errors.KafkaError as error:
            raise StoreError(f"Kafka at {cluster.bootstrap}: {error}") from error

    def _connect(self, cluster: Cluster) -> "KafkaConsumer":
        consumer = self._kafka.KafkaConsumer(
            **cluster.settings(),
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        self._places: dict[str, list[TopicPartition]] = {}
        for table in TABLES:
            topic = self.topics.of(table)
            numbers = consumer.partitions_for_topic(topic)
            if not numbers:
                raise UsageError(f"there is no topic {topic}: `moodstream verify --create` makes it")
            self._places[table] = [self._kafka.TopicPartition(topic, number) for number in sorted(numbers)]
        every = [place for places in self._places.values() for place in places]
        consumer.assign(every)
        self._landed: dict[str, int | None] = dict.fromkeys(map(_name, every))
        self._landed |= self.landing.open(self._landed)  # where each partition stands in the store
        for place in every:
            stored = self._landed[_name(place)]
            if stored is None:
                consumer.seek_to_beginning(place)
            else:
                consumer.seek(place, stored)
        return consumer

    def round(self) -> dict[str, int]:
        """Land everything that is committed now; how many rows of each table.

        Raises:
            StoreError: Kafka or the store refuses; begin with a new `Lander`, from where the store is.
            UsageError: another process lands the same topics there.
        """
        try:
            landed: dict[str, int] = {}
            media = list(self._read("media"))
            for table in TABLES:
                if table != "media":
                    for values, after in self._read(table):
                        landed[table] = landed.get(table, 0) + self._append(table, values, after)
            for values, after in media:
                landed["media"] = landed.get("media", 0) + self._append("media", values, after)
        except self._kafka.errors.KafkaError as error:
            raise StoreError(f"Kafka: {error}") from error
        return {table: count for table, count in landed.items() if count}

    def lag(self) -> int:
        """How many records of results were not read yet when Kafka was last asked."""
        ends = [(self._consumer.highwater(place), place) for place in self._every()]
        return sum(max(0, end - self._consumer.position(place)) for end, place in ends if end is not None)

    def close(self) -> None:
        self._consumer.close()
        self.landing.close()

    # ------------------------------------------------------------ reading

    def _every(self) -> "list[TopicPartition]":
        return [place for places in self._places.values() for place in places]

    def _read(self, table: str) -> Iterator[tuple[list[bytes], dict[str, int]]]:
        """The rows of a table until where its partitions end now, in portions that fit into memory, each with
        the positions after it.
        """
        places = self._places[table]
        self._consumer.pause(*(place for place in self._every() if place not in places))
        self._consumer.resume(*places)
        ends = self._consumer.end_offsets(places)
        values: list[bytes] = []
        while any(self._consumer.position(place) < ends[place] for place in places):
            for records in self._consumer.poll(_POLL_MS).values():
                values += [one.value for one in records if one.value is not None]  # else it was erased
            if len(values) >= MOST_ROWS:
                yield values, self._positions(places)
                values = []
        if values:
            yield values, self._positions(places)

    def _positions(self, places: "list[TopicPartition]") -> dict[str, int]:
        return {_name(place): self._consumer.position(place) for place in places}

    # ------------------------------------------------------------ writing

    def _append(self, table: str, values: list[bytes], after: dict[str, int]) -> int:
        rows = from_json(table, values)
        if "is_final" in rows.column_names:
            rows = rows.filter(rows["is_final"])
        rows = self.landing.allowed(rows)
        if not len(rows):
            return 0  # where it stands is kept with the next rows
        self.landing.append(table, rows, {name: self._landed[name] for name in after}, after)
        self._landed |= after
        return len(rows)


def _name(place: Any) -> str:
    return f"moodstream.land/{place.topic}/{place.partition}"
