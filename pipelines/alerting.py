"""Alerting: committed alerts, each handed on at least once.

One consumer group reads the topic of alerts, `read_committed`: what a live run took back (an aborted
transaction) is never told. A position is committed after its alert was taken, so whoever is killed leaves
the alert to whoever comes next; several processes of a group share the partitions. An alert is handed on when
it opens (revision 0), not again when its span is complete.
"""

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moodstream.sinks.cluster import Cluster, Topics, import_kafka, partition_of
from moodstream.sinks.jsonrows import to_json
from moodstream.sinks.webhook import RefusedError
from moodstream.transforms.elements import SCHEMA_VERSION, DeadLetter
from moodstream.transforms.errors import StoreError, UsageError
from moodstream.transforms.tables import to_table

if TYPE_CHECKING:
    from kafka import KafkaConsumer, TopicPartition

_POLL_MS = 300
_SETTLE_S = 15.0
_PATIENT_S = 2.0
_log = logging.getLogger(__name__)
Pause = Callable[[float], bool]
Deliver = Callable[[Mapping[str, Any], Pause], bool]


@dataclass(frozen=True)
class AlertConfig:
    """Which alerts are handed on, and in whose name."""

    cluster: Cluster
    topics: Topics = field(default_factory=Topics)
    group: str = "moodstream.alerts"
    from_start: bool = True  # where the group has no position yet: all alerts that are kept, or from now on
    once: bool = False  # end when all are told


@dataclass
class Told:
    """What became of them."""

    delivered: int = 0
    refused: int = 0


def _joined() -> Any:
    """A listener that notes when the group said (again) who reads which partitions."""
    from kafka import ConsumerRebalanceListener

    class Joined(ConsumerRebalanceListener):  # type: ignore[misc]  # it ships no types
        again = False

        def on_partitions_revoked(self, revoked: Any) -> None:
            pass

        def on_partitions_assigned(self, assigned: Any) -> None:
            self.again = True

    return Joined()


class Alerting:
    """Hands committed alerts on.

    Args:
        config: which ones.
        deliver: hands one on, and says whether it was taken; False where all is to end meanwhile.
        stopped: whether all is to end.
    """

    def __init__(self, config: AlertConfig, deliver: Deliver, stopped: Callable[[], bool]) -> None:
        self.config, self.deliver, self.stopped = config, deliver, stopped
        self.told = Told()
        self._kafka = import_kafka()
        self._topic = config.topics.of("alert")

    def run(self) -> Told:
        """Until stopped.

        Raises:
            UsageError: there is no such topic.
            StoreError: Kafka fails, or the receiver cannot be reached; what was taken is committed.
        """
        try:
            self._consumer = self._connect()
            try:
                while not self.stopped():
                    found = self._consumer.poll(_POLL_MS)
                    for place, records in found.items():
                        self._take(place, records)
                    if self.config.once and not found and self._at_end():
                        break
            finally:
                self._consumer.close()
        except self._kafka.errors.KafkaError as error:
            raise StoreError(f"Kafka at {self.config.cluster.bootstrap}: {error}") from error
        return self.told

    def _connect(self) -> "KafkaConsumer":
        consumer = self._kafka.KafkaConsumer(
            **self.config.cluster.settings(),
            group_id=self.config.group,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest" if self.config.from_start else "latest",
        )
        if not consumer.partitions_for_topic(self._topic):
            consumer.close()
            raise UsageError(f"there is no topic {self._topic}: `moodstream verify --create` makes it")
        self._joined = _joined()
        consumer.subscribe([self._topic], listener=self._joined)
        return consumer

    def _at_end(self) -> bool:
        places = self._consumer.assignment()
        ends = self._consumer.end_offsets(list(places)) if places else {}
        return bool(places) and all(self._consumer.position(place) >= ends[place] for place in places)

    def _take(self, place: "TopicPartition", records: Iterable[Any]) -> None:
        self._joined.again = False
        last = None
        for record in records:
            if self.stopped() or place not in self._consumer.assignment():
                return  # whoever has it now begins at what was committed
            row = self._read(record)
            last = record.offset + 1
            if row is not None and row["revision"] == 0:
                if not self._hand_on(record, row):
                    return
                self._commit(place, last)
                if self._joined.again:  # what comes next is read again, from what was committed
                    return
                last = None
        if last is not None:
            self._commit(place, last)

    def _read(self, record: Any) -> dict[str, Any] | None:
        if record.value is None:
            return None  # it was forgotten
        try:
            row = json.loads(record.value)
            if {"analysis_id", "revision", "media_id", "rule", "start_ms"} <= row.keys():
                return dict(row)
        except (ValueError, TypeError, AttributeError):
            pass
        _log.error("%s/%d/%d is no alert", record.topic, record.partition, record.offset)
        return None

    def _hand_on(self, record: Any, row: Mapping[str, Any]) -> bool:
        try:
            if not self.deliver(row, self._pause):
                return False
            self.told.delivered += 1
        except RefusedError as error:
            self.told.refused += 1
            _log.error("alert %s of %r is refused: %s", row["rule"], row["media_id"], error)
            self._bury(record, row, error)
        return True

    def _pause(self, seconds: float) -> bool:
        """Wait without losing the group: it wants to hear of us, but no records may come meanwhile."""
        end = time.monotonic() + seconds
        while not self.stopped() and time.monotonic() < end:
            self._stay(min(_POLL_MS, int(1000 * seconds) + 1))
        self._consumer.resume(*self._consumer.assignment())
        return not self.stopped()

    def _stay(self, milliseconds: int) -> None:
        """Let the group hear of us."""
        self._consumer.pause(*self._consumer.assignment())
        for place, records in self._consumer.poll(milliseconds).items():
            self._consumer.seek(place, records[0].offset)  # partitions that came to us just now

    def _commit(self, place: "TopicPartition", offset: int) -> None:
        """Commit a position, once the group has settled if it is about to say anew who reads what."""
        errors = self._kafka.errors
        end, patient = time.monotonic() + _SETTLE_S, time.monotonic() + _PATIENT_S
        while True:
            try:
                self._consumer.commit({place: self._kafka.OffsetAndMetadata(offset, "", -1)})
                break
            except (errors.CommitFailedError, errors.RebalanceInProgressError):
                if time.monotonic() > patient:  # a join that a short poll cut off never ends by itself
                    self._consumer.unsubscribe()
                    self._consumer.subscribe([self._topic], listener=self._joined)
                    patient = end
                self._stay(_POLL_MS)
                mine = self._consumer.assignment()  # empty while the group settles
                if (mine and place not in mine) or time.monotonic() > end:
                    _log.warning("%s went to another process; its last alert may be told twice", place)
                    break
        self._consumer.resume(*self._consumer.assignment())
        if self._joined.again and place in self._consumer.assignment():
            self._consumer.seek(place, offset)

    def _bury(self, record: Any, row: Mapping[str, Any], error: RefusedError) -> None:
        """An alert that nobody takes, as a dead letter of its media."""
        topic = self.config.topics.of("dead_letter")
        letter = DeadLetter(
            media_id=row["media_id"],
            take=row["take"],
            schema_version=SCHEMA_VERSION,
            analysis_id=row["analysis_id"],
            reference=f"{record.topic}/{record.partition}/{record.offset}",
            source=row["rule"],
            stage="webhook",
            error="refused",
            message=str(error),
        )
        producer = self._kafka.KafkaProducer(**self.config.cluster.settings(), acks="all")
        partitions = len(producer.partitions_for(topic))
        for key, media_id, value in to_json("dead_letter", to_table("dead_letter", [letter])):
            producer.send(topic, value, key=key, partition=partition_of(media_id, partitions)).get(30)
        producer.close()
