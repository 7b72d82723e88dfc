"""Kills a live process again and again, and compares what is committed with an undisturbed run.

    python -m tests.support.kill_run --streams 50 --kills 30 --seed 1

Six streams of ten are PCM, three are coded (MP3, AAC, Opus, TS, mp4 and WebM in turn), one is notes. With
`--models real` the shipped models hear them, not fake ones. Half of the kills come at a random time from
outside (`kill -9`), the others from inside, at the moments of a transaction in turn. Everything follows from
the seed but when exactly an outer kill hits.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from kafka import KafkaProducer

from infra.kafka.broker import Broker
from moodstream.transforms.elements import Packet
from tests.support.coded_media import KINDS, coded
from tests.support.kafka_topics import Committed, make_topics, send, sorted_rows
from tests.support.media_files import sound
from tests.support.packets import cut, difference, l16

ROOT = Path(__file__).resolve().parents[2]
MIDI = ROOT / "demo/songs/empty_house.mid"
RATE_HZ = 8_000
INSIDE = ("sent", "committed", "ready", "begun")
PACKET_MS = 500
CODED = ("mp3", "ogg", "aac", "webm", "mp4", "ts_film")


@dataclass(frozen=True)
class Report:
    """What a run with kills came to."""

    rows: int
    lost: int
    doubled: int
    changed: int
    kills: int
    in_transaction: int  # kills that hit an open transaction
    refused: int  # dead letters: there is nothing bad in it

    def __str__(self) -> str:
        return (
            f"{self.rows} rows: {self.lost} lost, {self.doubled} doubled, {self.changed} changed; "
            f"{self.kills} kills, {self.in_transaction} in an open transaction; {self.refused} dead letters"
        )


def packets_of(streams: int, seconds: float, seed: int) -> list[Packet]:
    """The packets of all streams in the order of their sending, a few of them swapped or doubled."""
    draw = random.Random(seed)
    lanes = []
    for number in range(streams):
        channels = 1 + number % 2
        role = "agent,customer" if channels == 2 else ""
        if number % 10 in (2, 5, 8):
            kind = CODED[number // 3 % len(CODED)]
            data, content_type = coded(kind, seconds), KINDS[kind][0]
            size = round(len(data) * PACKET_MS / seconds / 1000)
            lanes.append(
                list(cut(f"{kind}{number}", data, content_type, [size] * 400, size * 1000 // PACKET_MS))
            )
            continue
        if number % 10 == 9:
            midi = MIDI.read_bytes()
            lanes.append(list(cut(f"tune{number}", midi, "audio/midi", [300], len(midi), part="midi")))
            continue
        data = l16(sound(seconds * draw.uniform(0.6, 1), RATE_HZ, channels, number))
        size = RATE_HZ * 2 * channels * PACKET_MS // 1000
        kind = f"audio/L16;rate={RATE_HZ};channels={channels}"
        lanes.append(list(cut(f"call{number}", data, kind, [size] * 400, size * 2, role=role)))
    sent = [
        (at + draw.uniform(0, 1.2), number, packet)
        for number, lane in enumerate(lanes)
        for at, packet in enumerate(lane)
    ]
    sent += [each for each in sent if draw.random() < 0.03]
    return [packet for _, _, packet in sorted(sent, key=lambda each: (each[0], each[1]))]


def run(
    broker: Broker, name: str, streams: int, seconds: float, kills: int, seed: int, models: str = "fake"
) -> Report:
    """Send, kill, restart, until all is committed; then the same packets without kills, and compare."""
    topic, killed, calm = f"{name}.packets", f"{name}.killed", f"{name}.calm"
    make_topics(broker.bootstrap, topic, [killed, calm])
    packets = packets_of(streams, seconds, seed)
    both = {"LIVE_WORKER_MODELS": models, "LIVE_WORKER_IDLE_MS": "3600000"}  # however slow this machine is
    media = len({packet.media_id for packet in packets})
    with tempfile.TemporaryDirectory() as hand:
        env = both | {"LIVE_WORKER_HAND": hand}
        hits = _disturbed(broker.bootstrap, topic, killed, packets, kills, seed, env)
        with _Worker(broker.bootstrap, topic, killed, env=env):
            found = sorted_rows(Committed(broker.bootstrap, killed).wait(media, 300))
    with _Worker(broker.bootstrap, topic, calm, env=both):
        wanted = sorted_rows(Committed(broker.bootstrap, calm).wait(media, 300))
    lost = doubled = changed = count = 0
    for table, rows in wanted.items():
        count += len(rows)
        have, want = (Counter(_key(row) for row in some) for some in (found[table], rows))
        lost += (want - have).total()
        doubled += (have - want).total()
        for word, some in (("lost", want - have), ("doubled", have - want)):
            for key in list(some)[:5]:
                print(f"{word} {table} {key}", file=sys.stderr)
        theirs = {_key(row): row for row in found[table]}
        for row in rows:
            changes = difference(theirs[_key(row)], row) if _key(row) in theirs else ""
            if changes:
                changed += 1
                print(f"changed {table} {_key(row)}: {changes}", file=sys.stderr)
    return Report(count, lost, doubled, changed, kills, hits, len(found["dead_letter"]))


def _key(row: dict[str, object]) -> tuple[object, ...]:
    names = ("media_id", "take", "channel", "modality", "start_ms", "episode", "reference", "revision")
    return tuple(row.get(name) for name in names)


class _Worker:
    """A live process."""

    def __init__(self, bootstrap: str, topic: str, group: str, *more: str, env: dict[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._moment = Path(self._folder.name, "moment")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.live_worker", bootstrap, topic, group, *more],
            cwd=ROOT,
            env=os.environ | env | {"LIVE_WORKER_MOMENT": str(self._moment)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @property
    def moment(self) -> str:
        """The last moment of a transaction it told of; empty before the first."""
        return self._moment.read_text() if self._moment.exists() else ""

    def end(self, wait_s: float) -> None:
        """Wait for its end; where there was too little to do to get to the moment, kill it now."""
        try:
            self.process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        self._folder.cleanup()


def _disturbed(
    bootstrap: str, topic: str, group: str, packets: list[Packet], kills: int, seed: int, env: dict[str, str]
) -> int:
    """Send a portion to each of so many processes and kill it meanwhile; how many hit an open transaction."""
    draw, hits = random.Random(seed), 0
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    borders = [len(packets) * number // (kills + 1) for number in range(kills + 2)]
    for number in range(kills):
        inside = number % 2 == 0
        more = (INSIDE[number // 2 % len(INSIDE)], str(draw.randint(1, 4))) if inside else ()
        portion = packets[borders[number] : borders[number + 1]]
        with _Worker(bootstrap, topic, group, *more, env=env) as worker:
            while not worker.moment:  # it is not at work yet
                time.sleep(0.02)
            doom = threading.Timer(draw.uniform(0.2, 1.2), worker.process.kill)
            if not inside:
                doom.start()
            for packet in portion:
                send(producer, topic, packet)
                time.sleep(1.2 / len(portion))
            producer.flush()
            worker.end(10)
            hits += worker.moment in ("begun", "sent", "ready")
    for packet in packets[borders[kills] :]:
        send(producer, topic, packet)
    producer.close()
    return hits


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=150)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--models", choices=["fake", "real"], default="fake")
    asked = parser.parse_args()
    with Broker() as broker:
        report = run(broker, "kills", asked.streams, asked.seconds, asked.kills, asked.seed, asked.models)
    print(report)
    return int(bool(report.lost or report.doubled or report.changed or report.refused))


if __name__ == "__main__":
    sys.exit(main())
