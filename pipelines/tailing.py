"""Tailing: committed rows of live streams as lines of text."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import click

from moodstream.pipelines.commands.analyze import printable
from moodstream.sinks.cluster import Cluster, Topics, import_kafka
from moodstream.sinks.layout import TABLES
from moodstream.transforms.errors import StoreError, UsageError
from moodstream.transforms.watch import evidence_words

_POLL_MS = 200
COLOURS = {"info": "cyan", "warning": "yellow", "critical": "red"}
_WIDTH = 21  # of a curve's drawing


def follow(
    cluster: Cluster,
    topics: Topics,
    stopped: Callable[[], bool],
    *,
    media: str | None = None,
    final: bool = False,
    tables: Sequence[str] = TABLES,
) -> Iterator[str]:
    """A line for each row that is committed from now on.

    Raises:
        UsageError: there are no such topics. StoreError: Kafka failed.
    """
    kafka = import_kafka()
    try:
        consumer = kafka.KafkaConsumer(
            **cluster.settings(),
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="latest",
        )
        by_topic = {topics.of(table): table for table in tables}
        numbers = {topic: consumer.partitions_for_topic(topic) or () for topic in by_topic}
        places = [kafka.TopicPartition(topic, number) for topic in by_topic for number in numbers[topic]]
        if not places:
            raise UsageError(
                f"there are no topics {topics.prefix}...: `moodstream verify --create` makes them"
            )
        consumer.assign(places)
        while not stopped():
            for place, records in consumer.poll(_POLL_MS).items():
                for record in records:
                    if record.value is None:
                        continue  # its row was forgotten
                    table, row = by_topic[place.topic], json.loads(record.value)
                    is_told = row.get("is_final", True) or not final or table == "alert"
                    if is_told and (media is None or row["media_id"] == media):
                        yield line_of(table, row)
        consumer.close()
    except kafka.errors.KafkaError as error:
        raise StoreError(f"Kafka at {cluster.bootstrap}: {error}") from error


def line_of(table: str, row: Mapping[str, Any]) -> str:
    """One row as a line.

    Example:
        >>> line_of("media", {"media_id": "m", "kind": "call", "duration_ms": 61_500})
        'm                        over: call, 61.5 s'
    """
    name = f"{printable(row['media_id'])[-24:]:<24}"
    if table == "dead_letter":
        return f"{name} dead letter: {row['stage']}/{row['error']}, {printable(row['reference'])}"
    if table == "media":
        return f"{name} over: {row['kind']}, {row['duration_ms'] / 1000:.1f} s"
    if table == "alert":
        return _alert(name, row)
    where = f"{name} {row['channel']:<9.9} {row['modality']:<8} {row['start_ms'] / 1000:8.1f} s"
    mark = " " if row["is_final"] else "~"
    if table == "curve":
        says = f"{row['activity']:<12} {row['reason'] or _drawn(row)}"
    elif table == "episode":
        says = (
            f"{'episode':<12} {row['emotion']} until {row['end_ms'] / 1000:.1f} s ({row['confidence']:.0%})"
        )
    else:
        says = f"{'summary':<12} {row['emotion']}, {row['profile']}, {row['dynamics']}"
    return f"{where}{mark}{says}"


def _alert(name: str, row: Mapping[str, Any]) -> str:
    """An alert: when it opens and when it is over, its span, and what it rests on."""
    mark = "◆" if row["revision"] == 0 else "◇"
    span = f"{row['start_ms'] / 1000:8.1f} to {row['end_ms'] / 1000:.1f} s"
    said = f"{mark} {row['severity'].upper()} {printable(row['rule'])}"
    text = f"{name} {printable(row['channel']):<9.9} {'ALERT':<8} {span}  {said}: "
    text += f"{row['value']:.2f} ({printable(evidence_words(row['evidence']))})"
    return click.style(text, fg=COLOURS.get(row["severity"], "magenta"), bold=row["revision"] == 0)


def _drawn(row: Mapping[str, Any]) -> str:
    """Valence and arousal as numbers, and as marks on a line from -1 to 1."""
    line = [" "] * _WIDTH
    line[_WIDTH // 2] = "|"
    for mark, name in (("v", "valence"), ("a", "arousal")):
        line[round((row[name] + 1) / 2 * (_WIDTH - 1))] = mark
    return f"v {row['valence']:+.2f} a {row['arousal']:+.2f} [{''.join(line)}]"
