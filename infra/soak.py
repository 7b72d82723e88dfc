"""A long live run, watched: does memory stay flat, does nothing pile up, what does it cost when nobody talks?

    python -m infra.soak --calls 20 --hours 2

starts a broker and `moodstream live` on it, measures the idle process, then lets so many two-sided calls run
side by side, each over after some minutes and followed by the next. Every minute it prints what the process
tells of itself. In the end it compares memory after a quarter of the time with memory at the end, and exits 1
where that has grown by more than 5 % or packets pile up.

Needs Java and Maven (for the broker), and room for 16 kB a second and call in the temporary folder.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from infra import java, processor
from infra.kafka.broker import Broker
from moodstream.sinks.cluster import Cluster, Topics, partition_of
from moodstream.sinks.kafka import create_topics, plan
from moodstream.transforms.elements import Packet
from moodstream.transforms.packets import headers_of

ROOT = Path(__file__).resolve().parent.parent
CALL = ROOT / "demo/calls/parcel.flac"
PACKET_MS, RATE_HZ, PARTITIONS = 500, 8_000, 4
MOST_GROWTH, IDLE_SHARE, MOST_LAG = 1.05, 0.03, 1_000


@dataclass(frozen=True)
class Look:
    """The process at one moment."""

    at_s: float
    memory_mib: float
    cpu: float  # share of a core since the look before
    streams: float
    lag: float
    packets: float
    p95_s: float  # since the look before


class Watched:
    """A process and what it tells of itself."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.process, self.port = process, port
        self.began = time.monotonic()
        self._before = (self.began, self.cpu_s(), dict[float, float]())

    def cpu_s(self) -> float:
        return processor.cpu_s(self.process.pid)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            if self.process.poll() is not None:
                raise
            return False

    def look(self) -> Look:
        """What has happened since the look before."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
        told = {name: float(value) for name, value in lines}
        marks = {
            float(found[1]): value
            for name, value in told.items()
            if (found := re.fullmatch(r'moodstream_latency_seconds_bucket{le="(.+)"}', name))
        }
        now, cpu_s = time.monotonic(), self.cpu_s()
        then, cpu_then, marks_then = self._before
        self._before = (now, cpu_s, marks)
        fresh = {mark: value - marks_then.get(mark, 0) for mark, value in marks.items()}
        all_ = max(fresh.values(), default=0)
        return Look(
            round(now - self.began, 1),
            round(told["process_resident_memory_bytes"] / (1 << 20), 1),
            round((cpu_s - cpu_then) / (now - then), 4),
            told["moodstream_streams_open"],
            told["moodstream_lag_packets"],
            told["moodstream_packets_total"],
            min((mark for mark, value in fresh.items() if all_ and value >= 0.95 * all_), default=0.0),
        )


def packets_of(call: Path) -> list[bytes]:
    """A call as packets of 8 kHz L16, both sides."""
    samples, rate_hz = soundfile.read(call, dtype="int16", always_2d=True)
    step = max(1, rate_hz // RATE_HZ)
    narrow = np.ascontiguousarray(samples[::step, :2]).astype(">i2").tobytes()
    size = RATE_HZ * PACKET_MS // 1000 * 2 * min(2, samples.shape[1])
    return [narrow[at : at + size] for at in range(0, len(narrow) - size, size)]


class Line:
    """One after the other, calls of some length; the first one may be shorter."""

    def __init__(self, name: str, sound: list[bytes], length: int, first: int) -> None:
        self.name, self.sound, self.length = name, sound, length
        self.number, self.seq, self.last = 0, 0, max(first, 1)

    def next(self) -> Packet:
        """Half a second."""
        packet = Packet(
            f"{self.name}/{self.number}",
            self.seq,
            self.sound[self.seq % len(self.sound)],
            f"audio/L16;rate={RATE_HZ};channels=2",
            self.seq * PACKET_MS,
            role="agent,customer",
            final=self.seq + 1 == self.last,
        )
        self.seq += 1
        if packet.final:
            self.number, self.seq, self.last = self.number + 1, 0, self.length
        return packet


def talk(bootstrap: str, watched: Watched, calls: int, seconds: float, call_s: float) -> list[Look]:
    """Let calls run side by side; a look a minute."""
    from kafka import KafkaProducer

    sound, looks, began = packets_of(CALL), [], time.monotonic()
    length = int(call_s * 1000 / PACKET_MS)
    lines = [Line(f"soak/{n}", sound, length, length * (n + 1) // calls) for n in range(calls)]
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    for at in range(1, int(seconds * 1000 / PACKET_MS) + 1):
        for packet in (line.next() for line in lines):
            producer.send(
                "packets",
                packet.data,
                key=packet.media_id.encode(),
                headers=headers_of(packet, "soak:", int(time.time() * 1000)),
                partition=partition_of(packet.media_id, PARTITIONS),
            )
        producer.flush()
        if at * PACKET_MS % 60_000 == 0:
            looks.append(watched.look())
            print(json.dumps(asdict(looks[-1])), flush=True)
        time.sleep(max(0.0, began + at * PACKET_MS / 1000 - time.monotonic()))
    producer.close()
    return looks


def main(arguments: list[str] | None = None) -> int:
    """Run it.

    Returns:
        0 where everything stayed flat, 1 otherwise.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--call-minutes", type=float, default=5.0)
    parser.add_argument("--idle-s", type=float, default=30.0)
    asked = parser.parse_args(arguments)
    with Broker() as broker, tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(broker.bootstrap)
        create_topics(cluster, plan(cluster, "packets", "moodstream", Topics(), PARTITIONS))
        (port,) = java.free_ports(1)
        command = [sys.executable, "-m", "moodstream.pipelines.cli", "live", "--bootstrap", broker.bootstrap]
        command += ["--in", "packets", "--metrics-port", str(port), "--state-dir", folder]
        process = subprocess.Popen(command)
        try:
            watched = Watched(process, port)
            while not watched.is_ready():
                time.sleep(0.5)
            return report(broker.bootstrap, watched, asked)
        finally:
            process.terminate()
            process.wait(60)


def report(bootstrap: str, watched: Watched, asked: Any) -> int:
    """Idle, then at work; says what came of it."""
    time.sleep(2)
    watched.look()
    time.sleep(asked.idle_s)
    idle = watched.look()
    wanted = f"wanted: under {100 * IDLE_SHARE:.0f}"
    print(f"idle: {100 * idle.cpu:.1f} % of a core ({wanted}), {idle.memory_mib} MiB", flush=True)
    good = idle.cpu < IDLE_SHARE
    looks = talk(bootstrap, watched, asked.calls, asked.hours * 3600, asked.call_minutes * 60)
    if len(looks) >= 4:
        quarter, last = looks[len(looks) // 4], looks[-1]
        growth = last.memory_mib / quarter.memory_mib
        print(f"memory: {quarter.memory_mib} MiB at a quarter, {last.memory_mib} at the end, {growth:.3f}")
        print(f"left to read at the end: {last.lag:.0f} packets; 95 % within {last.p95_s} s")
        good = good and growth < MOST_GROWTH and last.lag < MOST_LAG
    else:
        print("too short to say anything of memory: give it four minutes or more (--hours 0.07)")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
