"""Erases media from the topics of results and snapshots, as far as Kafka can.

A record of a topic cannot be taken out. What there is:

* a *tombstone*, a record with the same key and no value. Readers of ours drop what they hold of the media
  (the live board), or pass over it; a store that mirrors the topic deletes the row. Where the topic is
  compacted, Kafka removes all earlier records of the key when it next cleans the partition, and the tombstone
  itself after `delete.retention.ms`. It never cleans the segment that is being written, and begins another
  one when something comes: where nothing does, `forget_topics` given again writes a record about nothing.
* the topic's *retention*: where it is not compacted, tombstones erase nothing, and records go when they are
  older than `retention.ms` (7 days unless set otherwise), a segment at a time.

Result topics are made without compaction (`sinks/kafka.plan`): alerts are told once, by their first record,
which compaction may remove before somebody who was away has read it. Who wants it quicker turns it on
(`compact=True`). Topics of snapshots are always compacted.

A stream that is open has a snapshot, and its process has it in memory: it would write on, and again. So the
snapshot of an open stream stays, and is told, unless the caller says that no process runs any more. What a
closed one leaves, a marker for the next take, goes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from moodstream.sinks.cluster import Cluster, Topics, import_kafka
from moodstream.sinks.forget import Looked
from moodstream.sinks.layout import TABLES
from moodstream.transforms.errors import StoreError

if TYPE_CHECKING:
    from kafka import KafkaAdminClient, KafkaConsumer

_POLL_MS = 300
_POLICY, _RETENTION, _LAG, _GONE = (
    "cleanup.policy",
    "retention.ms",
    "max.compaction.lag.ms",
    "delete.retention.ms",
)
_NOTHING = b'[""]'  # a key that no row has
_COMPACTED = {_POLICY: "compact,delete", _LAG: "60000", "min.cleanable.dirty.ratio": "0.01"}


@dataclass
class Found:
    """What a topic holds of some media.

    Args:
        name: of the topic.
        is_snapshot: whether its keys are media ids, not those of rows.
        records: with a value, that can still be read.
        searched: records that were read.
        places: partitions with records of the media that have a value.
        last: by partition and key, the value of the last record; of rows only whether there is one.
        settings: how it is cleaned.
    """

    name: str
    is_snapshot: bool
    records: int = 0
    searched: int = 0
    places: set[int] = field(default_factory=set)
    last: dict[tuple[int, bytes], bytes | None] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def is_compacted(self) -> bool:
        return "compact" in self.settings.get(_POLICY, "")

    @property
    def when(self) -> str:
        """When what is erased will be gone."""
        if self.is_compacted:
            lag = _days(self.settings.get(_LAG))
            after = f", {lag} after" if lag else ""
            return f"compacted: gone when Kafka cleans the partition{after}; give the command again then"
        kept = _days(self.settings.get(_RETENTION)) or "no time set: for ever"
        return f"not compacted: gone by retention, {kept}; or with --compact-topics"


def forget_topics(
    cluster: Cluster,
    topics: Topics,
    media_ids: set[str],
    *,
    stopped: bool = False,
    compact: bool = False,
    opened: Callable[[bytes], bool] = bool,
) -> int:
    """Write tombstones for every key of these media in the topics of results, and for snapshots.

    Args:
        stopped: no live process runs: snapshots of open streams go, too.
        compact: have result topics compacted from now on.
        opened: whether a snapshot is that of an open stream.

    Returns:
        How many tombstones were written; none where there is nothing more to do.

    Raises:
        StoreError: Kafka cannot be reached or refuses.
    """
    kafka = import_kafka()
    written = 0
    with _speaking(cluster):
        for found in _find(cluster, topics, media_ids):
            if compact and not found.is_snapshot and found.settings and not found.is_compacted:
                _compact(cluster, found.name)
            kept = opened if found.is_snapshot and not stopped else (lambda _: False)
            keys = [at for at, value in found.last.items() if value is not None and not kept(value)]
            moves = [] if keys or not found.is_compacted else [(number, _NOTHING) for number in found.places]
            if keys or moves:
                producer = kafka.KafkaProducer(**cluster.settings(), acks="all")
                sent = [
                    producer.send(found.name, None, key=key, partition=number)
                    for number, key in (*keys, *moves)
                ]
                producer.flush()
                for one in sent:
                    one.get(0)
                producer.close()
                written += len(keys)
    return written


def look_topics(cluster: Cluster, topics: Topics, media_ids: set[str]) -> Iterator[Looked]:
    """Read every record of every topic of results and snapshots for these media.

    Raises:
        StoreError: Kafka cannot be reached or refuses.
    """
    with _speaking(cluster):
        for found in _find(cluster, topics, media_ids):
            searched, why = f"topic with {found.searched:,} records", found.when
            alive = sum(value is not None for value in found.last.values())
            if alive:
                why = (
                    "the stream is open, its process writes on"
                    if found.is_snapshot
                    else f"{alive} came since"
                )
                why += ": give the command again when it is over"
            yield Looked(found.name, searched, found.records, why if found.records else "")


def is_open(
    cluster: Cluster, topics: Topics, media_ids: set[str], opened: Callable[[bytes], bool] = bool
) -> bool:
    """Whether streams of these media are being analysed, or wait for a process to go on with them.

    Raises:
        StoreError: Kafka cannot be reached or refuses.
    """
    with _speaking(cluster):
        found = _find(cluster, topics, media_ids, only_snapshots=True)
        return any(value is not None and opened(value) for one in found for value in one.last.values())


@contextmanager
def _speaking(cluster: Cluster) -> Iterator[None]:
    kafka = import_kafka()
    try:
        yield
    except kafka.errors.KafkaError as error:
        raise StoreError(f"Kafka at {cluster.bootstrap}: {error}") from error


def _find(
    cluster: Cluster, topics: Topics, media_ids: set[str], *, only_snapshots: bool = False
) -> Iterator[Found]:
    """Look through the topics; uncommitted and aborted records too."""
    kafka = import_kafka()
    admin = kafka.KafkaAdminClient(**cluster.settings())
    reader = kafka.KafkaConsumer(
        **cluster.settings(), isolation_level="read_uncommitted", enable_auto_commit=False
    )
    try:
        there = sorted(reader.topics())
        wanted = [] if only_snapshots else [topics.of(table) for table in TABLES if topics.of(table) in there]
        wanted += [name for name in there if name.startswith(topics.snapshots(""))]
        for name in wanted:
            found = Found(name, name.startswith(topics.snapshots("")), settings=_settings(admin, name))
            _read(reader, found, media_ids)
            yield found
    finally:
        reader.close()
        admin.close()


def _read(reader: "KafkaConsumer", found: Found, media_ids: set[str]) -> None:
    from kafka import TopicPartition

    places = [TopicPartition(found.name, number) for number in reader.partitions_for_topic(found.name) or ()]
    reader.assign(places)
    reader.seek_to_beginning(*places)
    ends = reader.end_offsets(places)
    while any(reader.position(place) < ends[place] for place in places):
        for place, records in reader.poll(_POLL_MS).items():
            for record in records:
                found.searched += 1
                key = record.key or b""
                if (key.decode(errors="replace") if found.is_snapshot else _media_of(key)) in media_ids:
                    if record.value is not None:
                        found.records += 1
                        found.places.add(place.partition)
                    value = record.value if found.is_snapshot or record.value is None else b"row"
                    found.last[place.partition, key] = value


def _media_of(key: bytes) -> str:
    """The media id in the key of a row, a JSON list that begins with it."""
    try:
        told = orjson.loads(key)
    except orjson.JSONDecodeError:
        return ""
    return str(told[0]) if isinstance(told, list) and told else ""


def _settings(admin: "KafkaAdminClient", topic: str) -> dict[str, str]:
    """How a topic is cleaned; nothing where we may not ask."""
    from kafka.admin import ConfigResource, ConfigResourceType

    kafka = import_kafka()
    try:
        asked = [ConfigResource(ConfigResourceType.TOPIC, topic)]
        return _flat(admin.describe_configs(asked, config_filter="all"))
    except kafka.errors.TopicAuthorizationFailedError:
        return {}


def _flat(told: Any) -> dict[str, str]:
    """Names and values of what `describe_configs` gives for one topic."""
    while isinstance(told, dict) and _POLICY not in told:
        if len(told) != 1:
            return {}
        (told,) = told.values()
    return {
        str(name): str(value.get("value") if isinstance(value, dict) else value)
        for name, value in (told or {}).items()
    }


def _compact(cluster: Cluster, topic: str) -> None:
    from kafka.admin import ConfigResource, ConfigResourceType

    admin = import_kafka().KafkaAdminClient(**cluster.settings())
    try:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=dict(_COMPACTED))])
    finally:
        admin.close()


def _days(ms: str | None) -> str:
    """Milliseconds in words; nothing for what is no limit.

    Example:
        >>> _days("604800000"), _days("60000"), _days("-1")
        ('7 days', '1 minutes', '')
    """
    if ms is None or not ms.isdigit() or int(ms) >= 1 << 62:
        return ""
    for unit, size in (("days", 86_400_000), ("hours", 3_600_000), ("minutes", 60_000), ("seconds", 1000)):
        if int(ms) >= size:
            return f"{int(ms) / size:g} {unit}"
    return f"{ms} ms"
