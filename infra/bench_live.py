"""How many calls one core carries live: a real broker, a real worker, rows as consumers see them.

    make bench-live                          a short run: doubling until it is too much
    make bench-live LIVE_ARGS=--full         5 minutes a level
    python infra/bench_live.py --calls 200   one level
    python infra/bench_live.py --music mp3 --calls 60

Calls have two sides of 8 kHz, both speaking all the time, emotions on for both. Latency counts from the
broker's stamp of the packet that completes a provisional row (half a second of look-ahead included in what
completes it) to that row at a `read_committed` consumer; *sound* counts from the cell's last sample at the
sender's, so it holds the look-ahead, what the codec keeps back and the wait for the packet. The worker has a
core of its own where there are two; broker, load and consumer share the others. What else runs on the
machine shows in the figures.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from infra import bench_live_load as loads  # noqa: E402
from infra import processor  # noqa: E402
from moodstream.pipelines.packing import CODECS  # noqa: E402
from moodstream.sinks.cluster import partition_of  # noqa: E402

TOPIC, GROUP = "bench.packets", "bench"
WARM_S = 12.0
PROFILE_S = 12.0  # after what is measured: whoever samples a process stops it again and again
P95_MS = 150.0  # what is wanted of 200 calls
STAGES = (  # the innermost frame whose file matches says what a sample is
    ("serialisation", r"sinks/jsonrows|transforms/state\.py"),
    ("Kafka out", r"sinks/kafka|kafka/producer"),
    ("Kafka in", r"kafka/consumer|source_kafka|transforms/packets"),
    ("features", r"models/(features|pooling)"),
    ("models", r"models/"),
    ("curve", r"transforms/(track|curve|diarize|summarize|fuse|tables|series|watch|line|learned)"),
    ("decode", r"transforms/(inlet|order|streamed|codec|coded|resample|loudness|channels)"),
    ("session", r"transforms/"),
    ("Kafka, both ways", r"/kafka/"),
    ("Beam", r"apache_beam|grpc"),
)


@dataclass(frozen=True)
class Level:
    """What a number of calls came to."""

    calls: int
    packet_ms: int
    seconds: float
    music: str  # its codec; empty for calls
    sound_to_row_ms: float  # median, from a cell's last sample at the sender's
    p50_ms: float
    p95_ms: float
    p99_ms: float
    missing: int  # rows that did not come in time
    first_third_ms: float  # medians: does it keep up?
    last_third_ms: float
    cpu: float  # cores of the worker
    us_a_packet: float
    rss_mib: float
    stages_us: dict[str, float]

    @property
    def is_flat(self) -> bool:
        return not self.missing and self.last_third_ms < 1.5 * self.first_third_ms + 30


class Worker:
    """A process of `moodstream live`, as `--worker` below runs it."""

    def __init__(self, bootstrap: str, model: str, core: int | None) -> None:
        command = [sys.executable, str(Path(__file__)), "--worker", bootstrap, "--model", model]
        pin = [] if core is None or not shutil.which("taskset") else ["taskset", "-c", str(core)]
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  (as long as the process)
        self.process = subprocess.Popen([*pin, *command], cwd=ROOT, stderr=self.log)

    def cpu_s(self) -> float:
        """Processor seconds until now, all threads."""
        return processor.cpu_s(self.process.pid)

    def rss_mib(self) -> float:
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0

    def sample(self, seconds: float) -> dict[str, float]:
        """Share of the processor time by stage, by py-spy; nothing where it is not installed.

        What waits for the network may look busy to py-spy, so each thread counts by its processor time.
        """
        tool = shutil.which("py-spy") or shutil.which(str(Path(sys.executable).with_name("py-spy")))
        if tool is None:
            return {}
        before = self._threads_s()
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "raw")
            command = [tool, "record", "-p", str(self.process.pid), "-d", str(int(seconds)), "-r", "150"]
            subprocess.run([*command, "-t", "-f", "raw", "-o", str(out)], capture_output=True, check=False)
            lines = out.read_text().splitlines() if out.exists() else []
        spent = {thread: s - before.get(thread, 0.0) for thread, s in self._threads_s().items()}
        counts: dict[int, Counter[str]] = defaultdict(Counter)
        for line in lines:
            stack, _, number = line.rpartition(" ")
            if thread := re.match(r"thread \((\d+)\)", stack):
                counts[int(thread[1])][_stage(stack)] += int(number)
        shares: dict[str, float] = defaultdict(float)
        for thread_id, stages in counts.items():
            for name, count in stages.items():
                shares[name] += spent.get(thread_id, 0.0) * count / stages.total()
        total = sum(shares.values()) or 1.0
        return {name: s / total for name, s in sorted(shares.items(), key=lambda each: -each[1])}

    def _threads_s(self) -> dict[int, float]:
        """Processor seconds until now by thread."""
        stats = Path(f"/proc/{self.process.pid}/task").glob("*/stat")
        return {int(stat.parent.name): processor.spent_s(processor.fields_of(stat)) for stat in stats}

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _stage(stack: str) -> str:
    for frame in reversed(stack.split(";")):
        for name, pattern in STAGES:
            if re.search(pattern, frame):
                return name
    return "other"


def level(
    bootstrap: str, worker: Worker, calls: int, packet_ms: int, seconds: float, music: str = ""
) -> Level:
    """Run so many streams and measure."""
    name = f"b{calls}-{packet_ms}-{int(time.time())}"
    length_s = WARM_S + seconds + PROFILE_S
    load = loads.Load(name, calls, packet_ms, length_s, TOPIC, "moodstream.curve", music)
    seen: dict[str, Any] = {}

    def during() -> None:
        time.sleep(WARM_S + 3)  # the processes start, too
        before, at = worker.cpu_s(), time.time()
        time.sleep(seconds)
        seen["cpu"] = (worker.cpu_s() - before) / (time.time() - at)
        seen["rss"] = worker.rss_mib()
        seen["stages"] = worker.sample(PROFILE_S - 5)

    sent, came = loads.run(bootstrap, load, during)
    first, last = (int(at_s * 1000) // loads.CELL_MS for at_s in (WARM_S, WARM_S + seconds))
    cells = np.arange(first, last - 2)
    complete = np.take_along_axis(sent.stamps, sent.completing(cells), 1)
    late_ms = (came[:, :, cells] - complete[None]) * 1000
    there = came[:, :, cells] > 0
    began = sent.stamps[:, :1] - sent.due_ms[:, :1] / 1000
    heard_ms = (came[:, :, cells] - began) * 1000 - (cells + 1) * loads.CELL_MS
    third = len(cells) // 3
    per_s = calls * 1000 / packet_ms
    us = seen["cpu"] / per_s * 1e6
    p50, p95, p99 = np.percentile(late_ms[there], (50, 95, 99)) if there.any() else [np.inf] * 3
    return Level(
        calls=calls,
        packet_ms=packet_ms,
        seconds=seconds,
        music=music,
        sound_to_row_ms=_median(heard_ms, there),
        p50_ms=float(p50),
        p95_ms=float(p95),
        p99_ms=float(p99),
        missing=int((~there).sum()),
        first_third_ms=_median(late_ms[:, :, :third], there[:, :, :third]),
        last_third_ms=_median(late_ms[:, :, -third:], there[:, :, -third:]),
        cpu=seen["cpu"],
        us_a_packet=us,
        rss_mib=seen["rss"],
        stages_us={stage: share * us for stage, share in seen["stages"].items()},
    )


def _median(values: Any, there: Any) -> float:
    return float(np.median(values[there])) if there.any() else float("inf")


@dataclass(frozen=True)
class Backlog:
    """How a call that was sent at once was worked off."""

    hours: int
    seconds: (
        float  # from the start of the sender's process to the call's summary; infinite if it did not come
    )
    hourly_mib: list[float]  # median memory of the worker in the last quarter of each hour of sound


def catch_up(bootstrap: str, worker: Worker, hours: int) -> Backlog:
    """Send one call of so many hours as fast as it goes, and watch."""
    from kafka import KafkaConsumer, TopicPartition

    load = loads.Load(f"backlog-{int(time.time())}", 1, 500, hours * 3600, TOPIC, "moodstream.curve")
    media_id = load.media_id(0)
    seen: list[tuple[float, float]] = []  # hours of sound that are done, memory
    with (
        KafkaConsumer(bootstrap_servers=bootstrap, group_id=GROUP) as group,
        loads.rows_from_now(bootstrap, "moodstream.media") as consumer,
    ):
        packets = TopicPartition(TOPIC, partition_of(media_id, len(group.partitions_for_topic(TOPIC))))
        start = consumer.end_offsets([packets])[packets]
        began, seconds = time.time(), float("inf")
        with loads.sending(bootstrap, load):
            while seconds == float("inf") and time.time() < began + 600 * hours:
                found = consumer.poll(100).values()
                if any(media_id.encode() in record.key for records in found for record in records):
                    seconds = time.time() - began
                done = max(0, (group.committed(packets) or 0) - start)
                seen.append((done * load.packet_ms / 3_600_000, worker.rss_mib()))
    at, mib = np.array(seen).T
    quarters = [(at > hour + 0.75) & (at <= hour + 1) for hour in range(hours)]
    return Backlog(hours, seconds, [float(np.median(mib[each])) for each in quarters])


def idle_streams(count: int) -> float:
    """MiB that so many streams cost that have sent a second of sound and are silent now."""
    code = f"from infra.bench_live_load import idle; print(idle({count}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


@contextmanager
def running(model: str) -> Iterator[tuple[str, Worker]]:
    """A broker with all topics and a worker that is ready."""
    from infra.kafka.broker import Broker
    from moodstream.sinks.cluster import Cluster, Topics
    from moodstream.sinks.kafka import create_topics, plan

    cores = sorted(os.sched_getaffinity(0))
    with Broker() as broker:
        create_topics(Cluster(broker.bootstrap), plan(Cluster(broker.bootstrap), TOPIC, GROUP, Topics(), 4))
        worker = Worker(broker.bootstrap, model, cores[-1] if len(cores) > 1 else None)
        if len(cores) > 1:
            os.sched_setaffinity(0, cores[:-1])
        try:
            _wait(broker.bootstrap, worker)
            yield broker.bootstrap, worker
        finally:
            worker.stop()
            os.sched_setaffinity(0, cores)


def _wait(bootstrap: str, worker: Worker) -> None:
    """Until the worker has claimed its partitions.

    Raises:
        RuntimeError: it ended instead; the message holds what it said last.
    """
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=GROUP)
    while consumer.committed(TopicPartition(TOPIC, 0)) is None:
        if worker.process.poll() is not None:
            worker.log.seek(0)
            raise RuntimeError(f"the worker ended: {worker.log.read()[-2000:].decode()}")
        time.sleep(0.5)
    consumer.close()


def work(bootstrap: str, model: str) -> None:
    """The worker's process."""
    from moodstream.pipelines.live import LiveConfig, run
    from moodstream.sinks.cluster import Cluster
    from moodstream.transforms.engine import Engine
    from moodstream.transforms.session import Settings

    settings = Settings(emotions_for="all", responsible="bench", speech_model=model)
    run(LiveConfig(Cluster(bootstrap), TOPIC, GROUP, settings=settings), Engine(speech=model))


def line(found: Level) -> str:
    verdict = (
        "holds"
        if found.p95_ms < P95_MS and found.is_flat
        else ("keeps up" if found.is_flat else "falls behind")
    )
    return (
        f"{found.calls:5d} {found.packet_ms:6d} {found.p50_ms:8.0f} {found.p95_ms:8.0f} {found.p99_ms:8.0f} "
        f"{found.sound_to_row_ms:8.0f} {found.cpu:7.2f} {found.us_a_packet:8.0f} {found.rss_mib:7.0f}  "
        f"{verdict}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, help="only this many; else doubling from 25")
    parser.add_argument("--packet-ms", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--full", action="store_true", help="5 minutes a level")
    parser.add_argument("--model", default="speech", choices=("speech", "small"))
    parser.add_argument(
        "--music", default="", choices=("", *CODECS), metavar="CODEC", help="music at 44.1 kHz, not calls"
    )
    parser.add_argument("--hours", type=int, default=1, help="of the call that is sent at once")
    parser.add_argument("--only-levels", action="store_true", help="no backlog, no idle streams")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--worker", metavar="BOOTSTRAP", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        work(asked.worker, asked.model)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that broker and worker end with it
    seconds = 300.0 if asked.full else asked.seconds
    found: dict[str, Any] = {"model": asked.model, "levels": []}
    with running(asked.model) as (bootstrap, worker):
        before, at = worker.cpu_s(), time.time()
        time.sleep(10)
        found["idle_cpu"] = (worker.cpu_s() - before) / (time.time() - at)
        print(f"idle worker: {found['idle_cpu']:.1%} of a core, {worker.rss_mib():.0f} MiB")
        if not asked.only_levels:  # first: a level that falls behind leaves much to do
            backlog = catch_up(bootstrap, worker, asked.hours)
            found["backlog"] = asdict(backlog)
            print(f"a call of {asked.hours} h, sent at once: worked off after {backlog.seconds:.1f} s")
            print("        MiB by the hour of its sound:", *(f"{mib:.0f}" for mib in backlog.hourly_mib))
        print("calls packet   p50 ms   p95 ms   p99 ms    sound   cores us/packet     MiB")
        calls, sustained = asked.calls or 25, 0
        while True:
            one = level(bootstrap, worker, calls, asked.packet_ms, seconds, asked.music)
            found["levels"].append(asdict(one))
            print(line(one), flush=True)
            for stage, us in one.stages_us.items():
                print(f"        {stage:18s} {us:6.0f} us a packet")
            sustained = calls if one.is_flat else sustained
            if asked.calls or not one.is_flat or calls >= 1600:
                break
            calls *= 2
        found["sustained_calls"] = sustained
        print(f"largest number tried that keeps up: {sustained}")
    if not asked.only_levels:
        found["idle_streams_mib"] = idle_streams(5_000)
        print(f"5,000 idle streams: {found['idle_streams_mib']:.0f} MiB")
    if asked.json:
        Path(asked.json).write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
