"""Kafka: commits as transactions, and what the last one left.

One topic a table (`moodstream.curve`, ...): one JSON record a row, its key the row's key, in the partition
that its media id says. The streams' snapshots go to a compacted topic with as many partitions as the packets'
topic has, each to the partition of its packets; an empty snapshot deletes the one before.

A commit is one transaction: rows, snapshots, and the offsets of the packets that they reach, with the remark
as the offset's metadata. Readers with `isolation_level=read_committed` see all of it or nothing.

Only one process writes for a partition of packets. Its `transactional.id` stands in the metadata, too. Who
starts (`recover`) first fences whoever wrote there before, then puts its own name there and reads where that
one got to: its writes fail from then on, and its process ends (or, as a member of a group, begins anew with
what the group gives it).

kafka-python waits without end for the answers to a transaction, and where the broker that coordinates it
dies, it may lose what it asked (3.0.12; `tests/support/failover_run.py` shows it). So a transaction runs in a
thread of its own: one that takes longer than Kafka itself would allow counts as failed, and the next start
fences what is left of it. While the broker makes one commit durable, the next one is worked out: `write`
returns when the commit *before* is safe, `flush` when all are.

Conventions: the settings of the connection are those of kafka-python (`security_protocol`, `sasl_mechanism`,
`ssl_cafile`, ...). The producer belongs to the process: copies of a sink in one process share it.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from moodstream.sinks.base import Sink
from moodstream.sinks.cluster import Cluster, Topics, import_kafka, partition_of
from moodstream.sinks.jsonrows import to_json
from moodstream.sinks.layout import TABLES
from moodstream.transforms.elements import Commit, Recovered
from moodstream.transforms.errors import StoreError, UsageError

if TYPE_CHECKING:
    from kafka import KafkaConsumer, KafkaProducer

_READ_MS = 500
_TRANSACTION_S = 30  # after which Kafka takes a transaction back
_PATIENCE_S = _TRANSACTION_S + 5.0
_ANSWER_S = 10  # that a broker may take; one that is dead is waited for as long


class FencedError(StoreError):
    """Another process took over."""


class KafkaSink(Sink):
    """Commits of live streams into Kafka, each one transaction.

    Args:
        cluster: where.
        topic: the packets' topic, whose offsets are committed.
        group: in whose name; results of two groups do not know of each other.
        topics: where results and snapshots go.
    """

    _producers: ClassVar[dict[str, "KafkaProducer"]] = {}  # of this process, by transactional id
    _under_way: ClassVar[dict[str, "_Attempt"]] = {}  # transactions of this process, by the same
    on_commit: ClassVar[list[Callable[[Commit, float], None]]] = []  # told of each, and the seconds it took

    def __init__(self, cluster: Cluster, topic: str, group: str, topics: Topics | None = None) -> None:
        self.cluster, self.topic, self.group = cluster, topic, group
        self.topics = topics or Topics()
        self._name = ""  # in whose name it wrote last

    # ------------------------------------------------------------ starting

    def recover(self, partitions: Sequence[int]) -> tuple[Recovered, ...]:
        """Take over these partitions of the packets' topic from whoever wrote for them before.

        Raises:
            FencedError: another process takes them over at this moment.
            StoreError: Kafka cannot be reached or refuses.
            UsageError: the topic of snapshots is missing or has another number of partitions.
        """
        kafka = import_kafka()
        try:
            self._take_over(self._id(partitions))
            reader = kafka.KafkaConsumer(
                **self.cluster.settings(),
                group_id=self.group,
                enable_auto_commit=False,
                isolation_level="read_committed",
            )
            try:
                fenced: set[str] = set()
                while others := self._writers(reader, partitions) - fenced - {self._id(partitions)}:
                    for other in others:
                        self._fence(other)
                    fenced |= others
                self._claim(reader, partitions)
                return self._left(reader, partitions)
            finally:
                reader.close()
        except (kafka.errors.ProducerFencedError, kafka.errors.InvalidProducerEpochError) as error:
            raise FencedError(f"another process of group {self.group} took over {self.topic}") from error
        except kafka.errors.KafkaError as error:
            raise StoreError(f"Kafka at {self.cluster.bootstrap}: {error}") from error

    def _id(self, partitions: Sequence[int]) -> str:
        """The transactional id of who writes for these partitions."""
        first, last = min(partitions), max(partitions)
        return f"{self.topics.prefix}{self.group}.{self.topic}.{first}-{last}"

    def _producer(self, name: str) -> "KafkaProducer":
        settings = {"request_timeout_ms": _ANSWER_S * 1000, **self.cluster.settings()}
        return import_kafka().KafkaProducer(
            **settings,
            transactional_id=name,
            acks="all",
            linger_ms=50,  # a commit goes at once; before it, many small requests would only cost time
            batch_size=256 << 10,
            max_request_size=16 << 20,
            transaction_timeout_ms=_TRANSACTION_S * 1000,
        )

    def _take_over(self, name: str) -> None:
        for old in [old for old in self._producers if self._overlap(old, name)]:
            if (attempt := self._under_way.pop(old, None)) is not None:
                attempt.join(_PATIENCE_S)  # whatever became of it: what is committed is read after this
            with contextlib.suppress(import_kafka().errors.KafkaError):  # it could not send what it had
                self._producers.pop(old).close(timeout=0)
        producer = self._producer(name)
        producer.init_transactions()
        self._producers[name] = producer

    @staticmethod
    def _overlap(one: str, other: str) -> bool:
        """Whether two transactional ids are for partitions in common."""
        (topic, _, here), (of, _, there) = one.rpartition("."), other.rpartition(".")
        first, last = map(int, here.split("-"))
        begin, end = map(int, there.split("-"))
        return topic == of and first <= end and begin <= last

    def _claim(self, reader: "KafkaConsumer", partitions: Sequence[int]) -> None:
        """Write down whose these partitions are now, before anything is read: the next one fences us."""
        from kafka import TopicPartition

        begin = reader.beginning_offsets([TopicPartition(self.topic, number) for number in partitions])
        committed = self._committed(reader, partitions)
        positions, remarks = {}, {}
        for number in partitions:
            start = begin[TopicPartition(self.topic, number)]
            offset, beside = committed.get(number, (start, {}))
            place = f"{self.topic}/{number}"
            positions[place], remarks[place] = offset, beside.get("remark", "")
        producer = self._producers[self._id(partitions)]
        claim = Commit("", 0, {}, positions=positions, remarks=remarks)
        _Attempt(lambda: self._transact(producer, claim)).result()

    def _fence(self, name: str) -> None:
        producer = self._producer(name)
        producer.init_transactions()
        producer.close(timeout=_ANSWER_S)

    def _committed(self, reader: "KafkaConsumer", partitions: Iterable[int]) -> dict[int, tuple[int, Any]]:
        """By partition the next offset and what stands beside it, where anything was committed."""
        from kafka import TopicPartition

        found = {}
        for number in partitions:
            left = reader.committed(TopicPartition(self.topic, number), metadata=True)
            if left is not None and left.offset >= 0:
                found[number] = (left.offset, json.loads(left.metadata or "{}"))
        return found

    def _writers(self, reader: "KafkaConsumer", partitions: Sequence[int]) -> set[str]:
        kept = self._committed(reader, partitions).values()
        return {beside["by"] for _, beside in kept if "by" in beside}

    def _left(self, reader: "KafkaConsumer", partitions: Sequence[int]) -> tuple[Recovered, ...]:
        from kafka import TopicPartition

        committed = self._committed(reader, partitions)
        begin = reader.beginning_offsets([TopicPartition(self.topic, number) for number in partitions])
        snapshots = self._snapshots(reader, partitions)
        found = []
        for number in partitions:
            start = begin[TopicPartition(self.topic, number)]
            offset, beside = committed.get(number, (start, {}))
            found.append(Recovered(number, offset, beside.get("remark", ""), snapshots[number]))
        return tuple(found)

    def _snapshots(self, reader: "KafkaConsumer", partitions: Sequence[int]) -> dict[int, dict[str, bytes]]:
        from kafka import TopicPartition

        topic = self.topics.snapshots(self.group)
        numbers = reader.partitions_for_topic(topic)
        wanted = reader.partitions_for_topic(self.topic)
        if not numbers or numbers != wanted:
            raise UsageError(
                f"topic {topic} must exist, compacted, with the {len(wanted or ())} partitions of "
                f"{self.topic}: `moodstream verify --create` makes it"
            )
        places = [TopicPartition(topic, number) for number in partitions]
        reader.assign(places)
        reader.seek_to_beginning(*places)
        ends = reader.end_offsets(places)
        found: dict[int, dict[str, bytes]] = {number: {} for number in partitions}
        while any(reader.position(place) < ends[place] for place in places):
            for place, records in reader.poll(_READ_MS).items():
                for record in records:
                    media_id = record.key.decode()
                    if record.value is None:
                        found[place.partition].pop(media_id, None)
                    else:
                        found[place.partition][media_id] = record.value
        return found

    # ------------------------------------------------------------ writing

    def write(self, commit: Commit) -> None:
        """Begin to make a commit durable, when the one before is; an empty one only waits for that.

        Raises:
            FencedError: another process writes for these partitions now.
            StoreError: anything else; nothing of the commit before is to be seen, and nothing of this one.
        """
        self.flush()
        if commit.positions:
            self._name = self._writer_of(commit)
            producer = self._producers[self._name]
            self._under_way[self._name] = _Attempt(lambda: self._commit(producer, commit))

    def flush(self) -> None:
        """Wait until what was written is durable. Raises what `write` does."""
        attempt = self._under_way.pop(self._name, None)
        if attempt is None:
            return
        kafka = import_kafka()
        try:
            attempt.result()
        except (kafka.errors.ProducerFencedError, kafka.errors.InvalidProducerEpochError) as error:
            raise FencedError(f"another process of group {self.group} took over {self.topic}") from error
        except kafka.errors.KafkaError as error:
            raise StoreError(f"Kafka at {self.cluster.bootstrap}: {error}") from error

    def _commit(self, producer: "KafkaProducer", commit: Commit) -> None:
        began_s = time.monotonic()
        self._transact(producer, commit, self._at)
        for tell in self.on_commit:
            tell(commit, time.monotonic() - began_s)

    def _transact(
        self, producer: "KafkaProducer", commit: Commit, at: Callable[[str], None] = lambda _: None
    ) -> None:
        producer.begin_transaction()
        at("begun")
        self._send(producer, commit)
        at("sent")
        self._send_offsets(producer, commit)
        at("ready")
        producer.commit_transaction()
        at("committed")

    def _at(self, moment: str) -> None:
        """Called between the parts of a transaction, for tests that end the process there."""

    def _writer_of(self, commit: Commit) -> str:
        """The transactional id of this process that a commit belongs to."""
        numbers = {int(place.rpartition("/")[2]) for place in commit.positions}
        for name in self._producers:
            first, last = map(int, name.rpartition(".")[2].split("-"))
            if name == self._id([first, last]) and numbers <= set(range(first, last + 1)):
                return name
        raise StoreError(f"nobody here writes for partitions {sorted(numbers)} of {self.topic}")

    def _send(self, producer: "KafkaProducer", commit: Commit) -> None:
        for table, rows in commit.rows.items():
            topic = self.topics.of(table)
            partitions = len(producer.partitions_for(topic))
            for key, media_id, value in to_json(table, rows):
                producer.send(topic, value, key=key, partition=partition_of(media_id, partitions))
        topic = self.topics.snapshots(self.group)
        for place, snapshot in commit.snapshots.items():
            number, _, media_id = place.partition("/")
            producer.send(topic, snapshot or None, key=media_id.encode(), partition=int(number))

    def _send_offsets(self, producer: "KafkaProducer", commit: Commit) -> None:
        from kafka import OffsetAndMetadata, TopicPartition

        name = next(name for name, one in self._producers.items() if one is producer)
        offsets = {}
        for place, offset in commit.positions.items():
            topic, _, number = place.rpartition("/")
            beside = json.dumps({"by": name, "remark": commit.remarks.get(place, "")})
            offsets[TopicPartition(topic, int(number))] = OffsetAndMetadata(offset, beside, -1)
        producer.send_offsets_to_transaction(offsets, self.group)

    def close(self) -> None:
        """The producers stay: they belong to the process."""


class _Attempt(threading.Thread):
    """Something that is done with Kafka in a thread of its own, and may never come back."""

    def __init__(self, do: Callable[[], None]) -> None:
        super().__init__(name="transaction", daemon=True)
        self._do = do
        self._error: Exception | None = RuntimeError("it ended before its end")
        self._until_s = time.monotonic() + _PATIENCE_S
        self.start()

    def run(self) -> None:
        kafka = import_kafka()
        try:
            self._do()
        except (kafka.errors.KafkaError, StoreError) as error:
            self._error = error
        else:
            self._error = None

    def result(self) -> None:
        """Wait until it is done.

        Raises:
            StoreError: it takes too long; it may still go on, so its producer must be fenced. And what it
                failed with.
        """
        self.join(max(0.0, self._until_s - time.monotonic()))
        if self.is_alive():
            raise StoreError(f"Kafka has not answered for {_PATIENCE_S:g} s")
        if self._error is not None:
            raise self._error


@dataclass(frozen=True)
class TopicPlan:
    """A topic that must be there."""

    name: str
    partitions: int
    settings: Mapping[str, str]


def plan(cluster: Cluster, topic: str, group: str, topics: Topics, partitions: int = 8) -> list[TopicPlan]:
    """The topics that a live pipeline needs; those that do not exist yet with so many partitions."""
    kafka = import_kafka()
    admin = kafka.KafkaAdminClient(**cluster.settings())
    try:
        there = {one["name"]: len(one["partitions"]) for one in admin.describe_topics() if one["partitions"]}
    finally:
        admin.close()
    packets = there.get(topic, partitions)
    compacted = {
        "cleanup.policy": "compact",
        "segment.bytes": str(64 << 20),
        "min.cleanable.dirty.ratio": "0.1",
        "max.compaction.lag.ms": "60000",
        "max.message.bytes": str(16 << 20),
    }
    stamped = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(16 << 20)}
    wanted = [TopicPlan(topic, packets, stamped)]
    wanted += [TopicPlan(topics.of(name), there.get(topics.of(name), partitions), {}) for name in TABLES]
    wanted.append(TopicPlan(topics.snapshots(group), packets, compacted))
    return wanted


def missing_topics(cluster: Cluster, wanted: Iterable[TopicPlan]) -> list[TopicPlan]:
    """Those that do not exist."""
    kafka = import_kafka()
    admin = kafka.KafkaAdminClient(**cluster.settings())
    try:
        there = set(admin.list_topics())
    finally:
        admin.close()
    return [one for one in wanted if one.name not in there]


def create_topics(cluster: Cluster, missing: Sequence[TopicPlan]) -> None:
    """Create topics, with the cluster's own replication, and wait until they are known."""
    kafka = import_kafka()
    from kafka.admin import NewTopic

    admin = kafka.KafkaAdminClient(**cluster.settings())
    try:
        admin.create_topics(
            [NewTopic(one.name, one.partitions, -1, topic_configs=dict(one.settings)) for one in missing]
        )
        while missing_topics(cluster, missing):
            time.sleep(0.1)
    finally:
        admin.close()
