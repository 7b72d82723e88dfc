"""Feed: one thread that reads the result topics and keeps the board.

It begins in the middle: at the start it goes back `BACK_S` in all topics (alerts: `ALERTS_BACK_S`, as one may
be open for long), so calls that run already are there with their last minute. After a failure it goes on
where it was, if that is not longer ago. Without a broker, or without topics, the service lives on: `why` says
what is missing, and the thread tries again.

Nothing enters the board that may not leave the service: rows are redacted as they are read.

Conventions: only committed rows count (`read_committed`), and no offset is ever committed.
"""

import logging
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa

from moodstream.serving.access.redaction import Judging
from moodstream.serving.live.board import TABLES, Board
from moodstream.serving.live.events import Events
from moodstream.serving.live.rows import read
from moodstream.sinks.cluster import Cluster, Topics, import_kafka

if TYPE_CHECKING:
    from kafka import KafkaConsumer, TopicPartition

BACK_S = 75.0  # more than the minute that is shown
ALERTS_BACK_S = 1_800.0
_POLL_MS = 200
_CONNECT_S = 3.0
_GOOD_S = 60.0  # a run of this length was a good one
_LOOK_S = 5.0  # between two looks whether the broker is still there
_PATIENCE_S = (0.5, 1, 2, 5, 10)  # between tries that fail, then the last one again and again
_MISSING_S = 10.0  # between two looks for topics that are not there
_log = logging.getLogger(__name__)


class Feed:
    """Rows of running calls.

    Args:
        cluster: where Kafka is.
        topics: what the topics of results are called.
        judging: whose emotions may leave the service.
        events: of the board that is to be filled.
    """

    def __init__(
        self, cluster: Cluster, topics: Topics, judging: Judging, events: Events | None = None
    ) -> None:
        self.cluster, self.topics, self.judging = cluster, topics, judging
        self.events = events or Events(Board())
        self.why = "it has not begun to read"  # why it is not ready; "" if it is
        self.rows = self.refused = self.restarts = 0
        self.lag = 0  # rows that are there and not read
        self._stop = threading.Event()
        self._positions: dict[TopicPartition, int] = {}
        self._thread = threading.Thread(target=self._run, name="live-feed", daemon=True)

    @property
    def ready(self) -> bool:
        return not self.why

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more; waits for the thread a little, which holds nothing that must be saved."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(2.0)

    def measures(self) -> dict[str, float]:
        """What operators want to know, by name."""
        events = self.events
        with events.lock:
            calls = len(events.board)
        return {
            "live_ready": float(self.ready),
            "live_calls": float(calls),
            "live_rows_total": float(self.rows),
            "live_rows_refused_total": float(self.refused),
            "live_lag_rows": float(self.lag),
            "live_restarts_total": float(self.restarts),
            "live_clients": float(events.clients),
            "live_events_sent_total": float(events.sent),
            "live_clients_dropped_total": float(events.dropped),
        }

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        try:
            self._keep_reading(import_kafka())
        finally:
            self.why = "it reads no more"

    def _keep_reading(self, kafka: Any) -> None:
        tries = 0
        while not self._stop.is_set():
            began_s = time.monotonic()
            try:
                if _answers(self.cluster.bootstrap):
                    self._read_on(kafka)
                else:
                    self._wait("nobody answers where Kafka should be")
            except kafka.errors.KafkaError as error:
                self._wait(f"Kafka refused: {type(error).__name__}", error)
                self.restarts += 1
            tries = 1 if time.monotonic() - began_s > _GOOD_S else tries + 1
            self._stop.wait(_PATIENCE_S[min(tries, len(_PATIENCE_S)) - 1])

    def _wait(self, why: str, error: Exception | str = "") -> None:
        """Not ready; everybody may ask why, so addresses and what Kafka said stand in the log only."""
        if why != self.why:
            _log.warning("live rows wait: %s (%s) %s", why, self.cluster.bootstrap, error)
        self.why = why

    def _read_on(self, kafka: Any) -> None:
        """Read until told to stop, or until it is worth a look whether missing topics have come."""
        with closing(_consumer(kafka, self.cluster)) as consumer:
            places = self._places(consumer, kafka.TopicPartition)
            missing = [self.topics.of(table) for table in TABLES if table not in set(places.values())]
            if self.topics.of("curve") in missing:
                self._wait(f"there is no topic {self.topics.of('curve')}")
                return
            consumer.assign(list(places))
            for place, offset in self._starts(consumer, places).items():
                consumer.seek(place, offset)
            ends = consumer.end_offsets(list(places))
            looked_s = began_s = time.monotonic()
            while not self._stop.is_set() and not (missing and time.monotonic() - began_s > _MISSING_S):
                self._take(places, consumer.poll(_POLL_MS))
                if ends and all(consumer.position(place) >= end for place, end in ends.items()):
                    ends = {}
                    self.why = ""
                    _log.info("live rows: %d calls run", len(self.events.board))
                if not ends and time.monotonic() - looked_s > _LOOK_S:
                    self._look(consumer, list(places), kafka)
                    looked_s = time.monotonic()

    def _places(self, consumer: "KafkaConsumer", place: Any) -> "dict[TopicPartition, str]":
        """The partitions of the topics that there are, with their tables."""
        there = consumer.topics()
        return {
            place(self.topics.of(table), number): table
            for table in TABLES
            if self.topics.of(table) in there
            for number in sorted(consumer.partitions_for_topic(self.topics.of(table)) or ())
        }

    def _starts(
        self, consumer: "KafkaConsumer", places: "Mapping[TopicPartition, str]"
    ) -> "dict[TopicPartition, int]":
        """Where to read on: where it was, but not longer ago than is of use."""
        now_ms = time.time() * 1000
        back = {
            place: int(now_ms - 1000 * (ALERTS_BACK_S if table == "alert" else BACK_S))
            for place, table in places.items()
        }
        ends = consumer.end_offsets(list(places))  # before: what comes between the two is read
        since = consumer.offsets_for_times(back)
        starts = {}
        for place in places:
            found = since.get(place)
            begin = ends[place] if found is None else found.offset
            starts[place] = max(begin, self._positions.get(place, 0))
        return starts

    def _look(self, consumer: "KafkaConsumer", places: "list[TopicPartition]", kafka: Any) -> None:
        """Whether the broker is there, and how far behind this is; it connects again by itself."""
        try:
            ends = consumer.end_offsets(places, timeout_ms=3_000)
        except kafka.errors.KafkaTimeoutError:
            self._wait("Kafka has gone silent")
            return
        self.lag = sum(max(0, end - consumer.position(place)) for place, end in ends.items())
        self.why = ""

    # ------------------------------------------------------------ rows

    def _take(self, places: "Mapping[TopicPartition, str]", polled: Mapping[Any, Any]) -> None:
        if not polled:
            return
        values: dict[str, list[bytes]] = {}
        newest_ms = 0
        for place, records in polled.items():
            values.setdefault(places[place], []).extend(one.value for one in records if one.value is not None)
            newest_ms = max(newest_ms, records[-1].timestamp)
            self._positions[place] = records[-1].offset + 1
        forgotten = {
            name
            for records in polled.values()
            for one in records
            if one.value is None and (name := _of(one.key))
        }
        found = {table: self.read(table, values[table]) for table in TABLES if table in values}
        age_s = max(0.0, time.time() - newest_ms / 1000)
        now_s = time.monotonic() - age_s
        with self.events.lock:
            for table, rows in found.items():
                self.events.board.put(table, rows, now_s)
        for media_id in forgotten:
            self.events.forget(media_id, now_s)
        self.events.stir()

    def read(self, table: str, values: Iterable[bytes]) -> list[dict[str, Any]]:
        """Records of one topic as rows that may leave the service; what is no row is counted and left out."""
        values = list(values)
        self.rows += len(values)
        try:
            return read(table, values, self.judging)
        except (ValueError, TypeError, pa.ArrowException):
            return [row for value in values for row in self._read_one(table, value)]

    def _read_one(self, table: str, value: bytes) -> list[dict[str, Any]]:
        try:
            return read(table, [value], self.judging)
        except (ValueError, TypeError, pa.ArrowException) as error:
            self.refused += 1
            _log.warning("not a row of %s: %s", table, error)
            return []


def _of(key: bytes | None) -> str:
    """Which media a record without a value, a tombstone, tells to forget."""
    try:
        told = orjson.loads(key or b"null")
    except orjson.JSONDecodeError:
        return ""
    return told[0] if isinstance(told, list) and told and isinstance(told[0], str) else ""


def _answers(bootstrap: str) -> bool:
    """Whether anybody listens there: a consumer that finds nobody leaves a thread behind that tries on."""
    for server in bootstrap.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
        except (OSError, ValueError):
            continue
        return True
    return False


def _consumer(kafka: Any, cluster: Cluster) -> "KafkaConsumer":
    """A reader of committed rows.

    Raises:
        KafkaError: the brokers do not answer as they should; nothing of it is left.
    """
    consumer: KafkaConsumer = kafka.KafkaConsumer.__new__(kafka.KafkaConsumer)
    try:
        consumer.__init__(
            **cluster.settings(),
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=2_000,
            bootstrap_timeout_ms=10_000,
        )
    except kafka.errors.KafkaError:
        if hasattr(consumer, "_client"):
            consumer._client.close()  # its thread would connect for ever
        raise
    return consumer
