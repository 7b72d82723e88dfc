"""What tests do with topics: make them, send packets, read what is committed."""

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from moodstream.sinks.cluster import partition_of
from moodstream.sinks.kafka import create_topics, plan
from moodstream.transforms.elements import Packet
from moodstream.transforms.packets import headers_of
from moodstream.transforms.tables import KEYS
from tests.support.live_worker import config_of


def make_topics(bootstrap: str, topic: str, groups: Iterable[str], partitions: int = 2) -> None:
    """The packets' topic, and results and snapshots of each group."""
    with closing(KafkaConsumer(bootstrap_servers=bootstrap)) as consumer:
        for group in groups:
            config = config_of(bootstrap, topic, group)
            wanted = plan(config.cluster, topic, group, config.topics, partitions)
            there = consumer.topics()
            create_topics(config.cluster, [one for one in wanted if one.name not in there])


def send(producer: KafkaProducer, topic: str, packet: Packet, partitions: int = 2) -> None:
    headers = headers_of(packet, "test:", int(time.time() * 1000))
    place = partition_of(packet.media_id, partitions)
    producer.send(topic, packet.data, key=packet.media_id.encode(), headers=headers, partition=place)


class Committed:
    """Reads the committed rows of a group, for ever from where it was."""

    def __init__(self, bootstrap: str, group: str) -> None:
        self.bootstrap, self.prefix = bootstrap, f"{group}."
        self.consumer = KafkaConsumer(
            bootstrap_servers=bootstrap, isolation_level="read_committed", auto_offset_reset="earliest"
        )
        self.places = [
            TopicPartition(self.prefix + table, number)
            for table in KEYS
            for number in self.consumer.partitions_for_topic(self.prefix + table) or ()
        ]
        self.consumer.assign(self.places)
        self.consumer.seek_to_beginning(*self.places)
        self.rows: dict[str, list[dict[str, Any]]] = {table: [] for table in KEYS}

    def read(self) -> int:
        """Take what is there; how many rows came."""
        count = 0
        for place, records in self.consumer.poll(300).items():
            table = place.topic.removeprefix(self.prefix)
            self.rows[table] += [json.loads(record.value) for record in records]
            count += len(records)
        return count

    def _ends(self) -> Mapping[TopicPartition, int]:
        """Where the topics end, with what is committed but not marked so everywhere yet."""
        with closing(KafkaConsumer(bootstrap_servers=self.bootstrap)) as other:
            return other.end_offsets(self.places)

    def wait(self, media: int, seconds: float = 90) -> Mapping[str, list[dict[str, Any]]]:
        """Read until so many media are over."""
        end = time.monotonic() + seconds
        while len(self.rows["media"]) < media:
            self.read()
            if time.monotonic() > end:
                raise TimeoutError(f"{len(self.rows['media'])} of {media} media after {seconds} s")
        ends = self._ends()
        while any(self.consumer.position(place) < ends[place] for place in self.places):
            self.read()
        return self.rows


def sorted_rows(rows: Mapping[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """By table, in the order of key and revision."""
    return {
        name: sorted(
            rows[name], key=lambda row: [str(row.get(c)).rjust(9) for c in (*KEYS[name], "revision")]
        )
        for name in KEYS
    }


def check_whole(rows: Mapping[str, list[dict[str, Any]]], media: int) -> None:
    """Every call has all its rows, each once, and (all sound the same) those of the first one."""
    assert len(rows["media"]) == media
    own: dict[str, list[tuple[Any, ...]]] = {}
    for table in ("curve", "episode", "summary"):
        for row in rows[table]:
            key = (
                table,
                row["channel"],
                row["modality"],
                row["start_ms"],
                row.get("episode"),
                row["revision"],
            )
            own.setdefault(row["media_id"], []).append((*key, row.get("valence"), row.get("valence_mean")))
    wanted = Counter(own[rows["media"][0]["media_id"]])
    assert max(wanted.values()) == 1
    assert {media_id: Counter(found) == wanted for media_id, found in own.items()} == dict.fromkeys(own, True)
    assert len(own) == media
