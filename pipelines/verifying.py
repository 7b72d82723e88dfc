"""Verifying: what a live run needs, looked at before it starts."""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moodstream.sinks.cluster import Cluster, Topics, import_kafka
from moodstream.sinks.kafka import TopicPlan, create_topics, missing_topics, plan
from moodstream.transforms.errors import StoreError, UsageError
from moodstream.transforms.rules import Rule

_HARMLESS = ("max.message.bytes", "segment.bytes", "min.cleanable.dirty.ratio", "max.compaction.lag.ms")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    kind: str  # rule, model, topic, right, store
    name: str
    state: str
    is_missing: bool = False


def rules(given: Iterable[Rule]) -> Iterator[Finding]:
    """Each rule in words; what is wrong with one was said when the file was read."""
    for rule in given:
        yield Finding("rule", rule.name, f"{rule.severity}: {rule}; every {rule.every_s:g} s at most")


def models(releases: str = "", speech: str = "speech") -> Iterator[Finding]:
    """The models that new streams get.

    Args:
        releases: a folder of releases of models; empty: the installed ones.
        speech: the name of the model that judges speech.
    """
    from moodstream.transforms.engine import Engine
    from moodstream.transforms.shelf import CURRENT, Releases

    engine = Engine(speech=speech)
    if releases:
        folder = Path(releases)
        try:
            engine = Releases(folder, speech).newest
        except UsageError as error:
            yield Finding("models", releases, f"MISSING: {error}", is_missing=True)
            return
        yield Finding("models", releases, f"{(folder / CURRENT).read_text().strip()} is current, and works")
    for name, version in engine.versions().items():
        yield Finding("model", name, version)


def kafka(
    cluster: Cluster, topic: str, group: str, topics: Topics, new_partitions: int, *, create: bool
) -> Iterator[Finding]:
    """Topics, their settings, and whether we may read and write them.

    Raises:
        StoreError: Kafka cannot be reached.
    """
    library = import_kafka()
    try:
        wanted = plan(cluster, topic, group, topics, new_partitions)
        missing = missing_topics(cluster, wanted)
        if create and missing:
            create_topics(cluster, missing)
        for one in wanted:
            said = " ".join(f"{key}={value}" for key, value in one.settings.items())
            state = ("created" if create else "MISSING") if one in missing else _unlike(cluster, one)
            yield Finding(
                "topic",
                one.name,
                f"{one.partitions} partitions  {state}  {said}".rstrip(),
                is_missing=state.startswith("NOT") or state == "MISSING",
            )
        if create or not missing:
            yield from _rights(cluster, topic, group, [one.name for one in wanted])
    except library.errors.KafkaError as error:
        raise StoreError(f"Kafka at {cluster.bootstrap}: {error}") from error


def _unlike(cluster: Cluster, wanted: TopicPlan) -> str:
    """`ok`, or what is different about a topic that is there."""
    kafka = import_kafka()
    from kafka.admin import ConfigResource, ConfigResourceType

    if not wanted.settings:
        return "ok"
    admin = kafka.KafkaAdminClient(**cluster.settings())
    try:
        there = _settings(admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, wanted.name)]))
    except kafka.errors.KafkaError:
        return "ok (its settings are hidden)"
    finally:
        admin.close()
    important = {name: value for name, value in wanted.settings.items() if name not in _HARMLESS}
    unlike = [
        f"{name}={there[name]}" for name in important if there.get(name, "") not in ("", important[name])
    ]
    return f"NOT as it must be: {' '.join(unlike)}" if unlike else "ok"


def _settings(described: Any) -> dict[str, str]:
    """Names and values of what `describe_configs` gives, whichever shape it has."""
    if isinstance(described, dict):
        (inner,) = described.values() if len(described) == 1 else ({},)
        while isinstance(inner, dict) and len(inner) == 1 and isinstance(next(iter(inner.values())), dict):
            inner = next(iter(inner.values()))
        return {
            str(name): str(value.get("value", value) if isinstance(value, dict) else value)
            for name, value in inner.items()
        }
    found = {}
    for answer in described:
        for resource in answer.resources:
            for name, value, *_ in resource[4]:
                found[name] = str(value)
    return found


def _rights(cluster: Cluster, topic: str, group: str, names: Sequence[str]) -> Iterator[Finding]:
    """Whether packets can be read and results written: tried in a transaction that is taken back."""
    library = import_kafka()
    from kafka import TopicPartition

    try:
        reader = library.KafkaConsumer(**cluster.settings(), group_id=group, enable_auto_commit=False)
        try:
            place = TopicPartition(topic, 0)
            reader.assign([place])
            reader.committed(place)
            reader.end_offsets([place])
        finally:
            reader.close()
        yield Finding("right", f"read {topic}", "ok")
    except library.errors.KafkaError as error:
        yield Finding("right", f"read {topic}", f"MISSING: {error}", is_missing=True)
    producer = library.KafkaProducer(
        **cluster.settings(), acks="all", transactional_id=f"verify.{group}.{uuid.uuid4().hex}"
    )
    try:
        producer.init_transactions()
        for name in names:
            if name == topic:
                continue
            try:
                producer.begin_transaction()
                producer.send(name, None, key=b"moodstream verify", partition=0).get(30)
                yield Finding("right", f"write {name}", "ok")
            except library.errors.KafkaError as error:
                yield Finding("right", f"write {name}", f"MISSING: {error}", is_missing=True)
            finally:
                producer.abort_transaction()
    except library.errors.KafkaError as error:
        yield Finding("right", "transactions", f"MISSING: {error}", is_missing=True)
    finally:
        producer.close()


def store(to: str) -> Iterator[Finding]:
    """The store that results land in: whether it can be written and has the columns of this version."""
    from moodstream.sinks.stores import open_store

    try:
        sink = open_store(to)
        sink.open()
        sink.close()
        yield Finding("store", to, "ok")
    except (StoreError, UsageError) as error:
        yield Finding("store", to, f"MISSING: {error}", is_missing=True)
