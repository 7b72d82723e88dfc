"""Land: result topics into a lake, each row once.

The position of each partition of a topic is kept in the very Delta commit that holds its rows (an application
transaction): after a crash, what is in the lake says where to go on. Only final rows land.

What counts in a lake is said in `sinks/layout.py`: a media is there when its media row is. So in each round
media rows are read first and written last: everything that was committed with or before them is read in
between. All rows of one analysis carry one `write_id`, made of when the stream began and a hash, so that any
process gives them the same.

Conventions: one `Lander` a lake and prefix; a second one is noticed and refused.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from moodstream.sinks.jsonrows import from_json
from moodstream.sinks.kafka import Cluster, Topics, import_kafka
from moodstream.sinks.lake import LakeSink, create, patiently, writer_properties
from moodstream.sinks.layout import STORED, TABLES, WRITE_ID, write_id_at
from moodstream.transforms.errors import StoreError, UsageError

if TYPE_CHECKING:
    from kafka import KafkaConsumer, TopicPartition

MOST_ROWS = 200_000  # in memory at once
_POLL_MS = 200
_HASHED = 1000 << 13  # one millisecond, in write ids


class Lander:
    """Reads the topics of results and appends to a lake.

    Args:
        cluster: where Kafka is.
        lake: the folder of the lake; made if it does not exist.
        topics: what the topics are called.

    Raises:
        UsageError: no such topics. StoreError: Kafka or the lake refuses.
    """

    def __init__(self, cluster: Cluster, lake: str | Path, topics: Topics | None = None) -> None:
        self.topics, self.path = topics or Topics(), Path(lake)
        LakeSink(self.path).open()
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
        self._landed: dict[TopicPartition, int] = {}  # where each partition stands in the lake
        for table, places in self._places.items():
            delta = create(self.path, table)
            for place in places:
                stored = delta.transaction_version(self._name(place))
                self._landed[place] = stored or 0
                if stored is None:
                    consumer.seek_to_beginning(place)
                else:
                    consumer.seek(place, stored)
        return consumer

    def round(self) -> dict[str, int]:
        """Land everything that is committed now; how many rows of each table.

        Raises:
            StoreError: Kafka or the lake refuses; the next round begins where the lake is.
            UsageError: another process lands the same topics there.
        """
        try:
            landed: dict[str, int] = {}
            media = list(self._read("media"))
            for table in TABLES:
                if table != "media":
                    for values in self._read(table):
                        landed[table] = landed.get(table, 0) + self._append(table, values)
            for values in media:
                landed["media"] = landed.get("media", 0) + self._append("media", values)
        except self._kafka.errors.KafkaError as error:
            raise StoreError(f"Kafka: {error}") from error
        return {table: count for table, count in landed.items() if count}

    def close(self) -> None:
        self._consumer.close()

    # ------------------------------------------------------------ reading

    def _read(self, table: str) -> Iterator[list[bytes]]:
        """The rows of a table until where its partitions end now, in portions that fit into memory."""
        places = self._places[table]
        others = [place for place in self._landed if place not in places]
        self._consumer.pause(*others)
        self._consumer.resume(*places)
        ends = self._consumer.end_offsets(places)
        values: list[bytes] = []
        while any(self._consumer.position(place) < ends[place] for place in places):
            for records in self._consumer.poll(_POLL_MS).values():
                values += [record.value for record in records]
            if len(values) >= MOST_ROWS:
                yield values
                values = []
        if values:
            yield values

    # ------------------------------------------------------------ writing

    def _append(self, table: str, values: list[bytes]) -> int:
        rows = from_json(table, values)
        if "is_final" in rows.column_names:
            rows = rows.filter(rows["is_final"])
        if not len(rows):
            return 0  # where it stands is kept with the next rows
        stamps = pa.array([write_id_of(analysis) for analysis in rows["analysis_id"].to_pylist()], pa.int64())
        rows = rows.append_column(STORED[table].field(WRITE_ID), stamps)
        rows = rows.take(pc.sort_indices(rows[WRITE_ID]))
        positions = {place: self._consumer.position(place) for place in self._places[table]}
        marks = [Transaction(self._name(place), position) for place, position in positions.items()]

        def attempt() -> None:
            delta = DeltaTable(self.path / table)
            for place in positions:
                if (delta.transaction_version(self._name(place)) or 0) != self._landed[place]:
                    raise UsageError(f"another process lands {place.topic} in {self.path}")
            write_deltalake(
                delta,
                rows,
                mode="append",
                writer_properties=writer_properties(),
                commit_properties=CommitProperties(app_transactions=marks, max_commit_retries=0),
            )

        patiently(attempt, f"write to the lake {self.path}")
        self._landed |= positions
        return len(rows)

    def _name(self, place: Any) -> str:
        return f"moodstream.land/{place.topic}/{place.partition}"


def write_id_of(analysis_id: str) -> int:
    """The write that the rows of a live analysis (`topic/partition/offset@ms`) belong to.

    Raises:
        ValueError: not the id of a live analysis.
    """
    _, at, stamp = analysis_id.rpartition("@")
    if not at or not stamp.isdigit():
        raise ValueError(f"{analysis_id!r} is not the id of a live analysis")
    return write_id_at(int(stamp) / 1000) + zlib.crc32(analysis_id.encode()) % _HASHED
