"""ReadPackets: the records of a topic of packets, as polls, for ever.

A reader of Beam's `UnboundedSource` that never says "no data": each element is one `Poll`, everything that
one look at the broker brought, or nothing at all, as a heartbeat. So a bundle lasts as long as the runner is
told to let it (short ones leak and burn, on FnApiRunner), and the steps fused behind the source work off a
poll as one.

The source commits nothing. Where it starts is what the last commit left (`Recovery`), not what the runner
remembers: a reader that is built anew, for whatever reason, begins with a recovery, and its first poll
carries what was found.

A runner that makes bundles short, and builds the reader anew in each (Flink), gets one that goes on with the
same connection and streams (`keep`), if they are in this process, everything that was given is worked off,
and the runner's checkpoint is the one that was left. Otherwise the new reader begins with a recovery. So what
a runner keeps in its checkpoints is only a name and a number: where to go on is said by the last commit.

Several processes share a topic either by named partitions, or as members of one consumer group (`members`):
then Kafka says who reads what, and whenever that changes, each of them begins anew with its own partitions.
The group keeps no offsets.

Conventions: `stop()` ends all readers of this process after the poll they are at, and with them the pipeline.
"""

import logging
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import apache_beam as beam
from apache_beam.coders import Coder, PickleCoder
from apache_beam.io.unbounded_source import (
    CheckpointMark,
    ReadFromUnboundedSource,
    UnboundedReader,
    UnboundedSource,
)
from apache_beam.pvalue import PBegin, PCollection
from apache_beam.utils.timestamp import MAX_TIMESTAMP, Timestamp

from moodstream.transforms.elements import Poll, Record, Recovered
from moodstream.transforms.errors import StoreError, optional
from moodstream.transforms.partition import start_of

POLL_MS = 100  # without a record, until the pipeline hears of it
FETCH_MS = 500  # without a record, until the broker answers; it answers at once when there is one
PACE_MS = 40  # between two polls with records, at least: a few packets at a time cost twice as much
MAX_RECORDS = 500  # in one poll: what is worked off in one commit
_TOPIC_S = 1.0  # between two looks for a topic that does not exist yet
_SESSION_MS = 10_000  # a member of a group that is silent for so long has lost its partitions
_CREATE_TIME = 0  # as the protocol calls it
_SKEW_MS = 5_000  # by how much this clock may be ahead of the broker's
_log = logging.getLogger(__name__)
_stopped = threading.Event()


def stop() -> None:
    """Let every reader of this process end after its current poll."""
    _stopped.set()


def resume() -> None:
    """Readers that start from now on go on until the next `stop`."""
    _stopped.clear()


class Recovery(Protocol):
    """Who knows what the last commit left."""

    def recover(self, partitions: Sequence[int]) -> tuple[Recovered, ...]:
        """Take over these partitions, and say how they stand."""


@contextmanager
def _kafka_errors() -> Iterator[None]:
    """What Kafka raises as errors of ours.

    Raises:
        MissingExtraError: kafka-python is not installed. StoreError: Kafka fails.
    """
    refused = optional("kafka.errors", "kafka-python", "kafka").KafkaError
    try:
        yield
    except refused as error:
        raise StoreError(f"Kafka: {error}") from error


@dataclass(frozen=True)
class _Mark(CheckpointMark):
    """Which reader it was, and after how many polls: no position, that is said by the last commit."""

    lane: str
    polls: int


_KEPT: dict[str, "_Feed"] = {}  # of this process, across bundles


def _stamp(record: Any) -> int:
    """When a record came, ms since 1970.

    Where the topic lets senders say it (`CreateTime`), one of them may be far in the future, and everything
    that waits by this clock would be given up: so it cannot be later than now.
    """
    stamp_ms = max(int(record.timestamp), 0)
    if record.timestamp_type == _CREATE_TIME:
        stamp_ms = min(stamp_ms, int(time.time() * 1000) + _SKEW_MS)
    return stamp_ms


class PacketSource(UnboundedSource):
    """A topic of packets.

    Args:
        settings: of the connection, as kafka-python calls them.
        topic: which one; one that does not exist yet is waited for.
        recovery: asked where to start.
        partitions: which ones; all if none are named.
        members: the consumer group that shares the topic; empty where nobody else reads these partitions.
        keep: readers outlive bundles; for runners that build them anew in each.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        topic: str,
        recovery: Recovery,
        partitions: Sequence[int] = (),
        members: str = "",
        keep: bool = False,
    ) -> None:
        self.settings, self.topic, self.recovery = settings, topic, recovery
        self.partitions, self.members, self.keep = tuple(partitions), members, keep

    def split(self, desired_num_splits: int, options: Any = None) -> Iterable[UnboundedSource]:
        return [self]  # one lane: all its partitions share the networks' batches and the transactions

    def create_reader(self, options: Any, checkpoint_mark: CheckpointMark | None) -> UnboundedReader:
        kept = _KEPT.get(self.name)
        if kept is not None and not (kept.settled and kept.mark == checkpoint_mark):
            kept.leave()
            kept = None
        return _Reader(kept or _Feed(self))

    @property
    def name(self) -> str:
        return f"{self.settings['bootstrap_servers']} {self.topic} {self.partitions} {self.members}"

    def get_checkpoint_mark_coder(self) -> Coder:
        return PickleCoder()


class _Reader(UnboundedReader):
    """What a runner holds for a bundle, or for longer; the last one that was made has the feed."""

    def __init__(self, feed: "_Feed") -> None:
        self.feed, feed.reader = feed, self

    def start(self) -> bool:
        return self._step()

    def advance(self) -> bool:
        return self._step()

    def _step(self) -> bool:
        """To the next poll; False when it is to end.

        Raises:
            StoreError: Kafka fails, or a newer reader has the feed.
        """
        if self.feed.reader is not self:
            raise StoreError(f"another reader of this process goes on with {self.feed.source.topic}")
        return self.feed.step()

    def get_current(self) -> Poll:
        return self.feed.poll

    def get_current_timestamp(self) -> Timestamp:
        return Timestamp.now()

    def get_watermark(self) -> Timestamp:
        return MAX_TIMESTAMP if _stopped.is_set() else Timestamp.now()

    def get_checkpoint_mark(self) -> CheckpointMark:
        if self.feed.reader is self:
            self.feed.settled = True  # it is asked for when the steps behind it are done
        return self.feed.mark

    def close(self) -> None:
        feed = self.feed
        kept = feed.source.keep and feed.settled and not _stopped.is_set()
        if feed.reader is self and not kept:
            feed.leave()


class _Feed:
    """A connection to Kafka and where it stands."""

    def __init__(self, source: PacketSource) -> None:
        self.source = source
        self.reader: _Reader | None = None
        self.lane = uuid.uuid4().hex
        self.poll = Poll(self.lane, source.topic)
        self.next_s = 0.0  # by the monotonic clock: when to look for records again
        self.consumer: Any = None
        self.places: dict[int, Any] = {}
        self.polls = 0
        self.settled = True  # whether everything that was given is worked off
        self.given: list[int] | None = None  # what the group has given and was not begun with yet
        if source.keep:
            _KEPT[source.name] = self

    @property
    def mark(self) -> _Mark:
        return _Mark(self.lane, self.polls)

    def step(self) -> bool:
        """To the next poll; False when it is to end.

        Raises:
            StoreError: Kafka fails.
        """
        if self.consumer is not None and _stopped.is_set():
            return False
        self.settled = False
        with _kafka_errors():
            if not (self._start() if self.consumer is None else self._advance()):
                return False
        self.polls += 1
        return True

    def leave(self) -> None:
        """Let go of the connection."""
        if self.consumer is not None:
            self.consumer.close()
        if _KEPT.get(self.source.name) is self:
            del _KEPT[self.source.name]

    def _start(self) -> bool:
        from kafka import KafkaConsumer

        source = self.source
        self.consumer = KafkaConsumer(
            **source.settings,
            **(_membership(source.members) if source.members else {}),
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # where retention was faster than this process
            isolation_level="read_committed",
            fetch_max_wait_ms=FETCH_MS,
            max_partition_fetch_bytes=4 << 20,
        )
        partitions = self._partitions()
        if not partitions:
            return False
        if source.members:
            self.consumer.subscribe([source.topic], listener=_listener(self))
            self._begin([])
        else:
            self._begin(partitions)
        return True

    def _begin(self, partitions: list[int]) -> None:
        """Take these partitions over, from where they stand; the poll says so."""
        from kafka import TopicPartition

        self.lane = uuid.uuid4().hex
        self.places = {number: TopicPartition(self.source.topic, number) for number in partitions}
        recovered = self.source.recovery.recover(partitions) if partitions else ()
        if not self.source.members:
            self.consumer.assign(list(self.places.values()))
        for one in recovered:
            self.consumer.seek(self.places[one.partition], start_of(one)[0])
        _log.info("reading %s, partitions %s", self.source.topic, partitions or "none yet")
        self.poll = Poll(self.lane, self.source.topic, recovered=recovered)

    def _partitions(self) -> list[int]:
        """Those to read, once the topic is there; none if stopped before."""
        while not _stopped.is_set():
            there = self.consumer.partitions_for_topic(self.source.topic) or set()
            wanted = set(self.source.partitions) or there
            if there and wanted <= there:
                return sorted(wanted)
            _stopped.wait(_TOPIC_S)
        return []

    def _advance(self) -> bool:
        records: list[Record] = []
        time.sleep(max(0.0, self.next_s - time.monotonic()))
        polled = self.consumer.poll(POLL_MS, max_records=MAX_RECORDS)
        if self.given is not None:  # everything before is committed; what came with it is read again
            given, self.given = self.given, None
            self._begin(given)
            return True
        for found in polled.values():
            records += [
                Record(r.topic, r.partition, r.offset, _stamp(r), r.key, r.value, tuple(r.headers or ()))
                for r in found
            ]
        self.next_s = time.monotonic() + PACE_MS / 1000 if records else 0.0
        lag = self._lag()
        idle_ms = 0 if records or lag != 0 else int(time.time() * 1000) - _SKEW_MS
        self.poll = Poll(self.lane, self.source.topic, tuple(records), idle_ms=idle_ms, lag=lag or 0)
        return True

    def _lag(self) -> int | None:
        """How many records were not read yet; None before the broker has told of every partition."""
        ends = [
            (self.consumer.position(place), self.consumer.highwater(place)) for place in self.places.values()
        ]
        if any(end is None for _, end in ends):
            return None
        return sum(max(0, end - position) for position, end in ends)


def _membership(group: str) -> dict[str, Any]:
    """The settings of a member of a consumer group: neighbouring partitions stay together."""
    from kafka.coordinator.assignors.range import RangePartitionAssignor

    return {
        "group_id": group,
        "partition_assignment_strategy": [RangePartitionAssignor],
        "session_timeout_ms": _SESSION_MS,
        "heartbeat_interval_ms": _SESSION_MS // 5,
    }


def _listener(feed: _Feed) -> Any:
    """Notes, in a thread of kafka-python, what the group gives: nothing between taking and giving."""
    from kafka import ConsumerRebalanceListener

    class Listener(ConsumerRebalanceListener):  # type: ignore[misc]
        def on_partitions_revoked(self, revoked: Any) -> None:
            feed.given = []

        def on_partitions_assigned(self, assigned: Any) -> None:
            feed.given = sorted(place.partition for place in assigned)

    return Listener()


@beam.typehints.with_output_types(Poll)
class ReadPackets(beam.PTransform[PBegin, PCollection[Poll]]):
    """The polls of a topic: PBegin -> PCollection[Poll].

    Args:
        source: which topic.
        bundle_s: how long a bundle lasts: long on FnApiRunner; on Flink a checkpoint waits for it.
    """

    def __init__(self, source: PacketSource, bundle_s: float = 60.0) -> None:
        super().__init__()
        self.source, self.bundle_s = source, bundle_s

    def expand(self, root: PBegin) -> PCollection[Poll]:
        read = ReadFromUnboundedSource(
            self.source,
            poll_interval=0.05,
            max_records_per_bundle=1 << 40,
            max_read_time_seconds=self.bundle_s,
        )
        polls: PCollection[Poll] = root | "read packets" >> read
        return polls
