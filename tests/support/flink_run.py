"""The live pipeline on a real Flink cluster whose task manager is killed, and what is committed then.

    python -m tests.support.flink_run --calls 8 --seconds 60 --kills 2

Job manager, task manager, job server and broker are processes of their own; the Python workers live in the
process that sent the job. What is committed is compared with what one call alone gives.
"""

import argparse
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from kafka import KafkaProducer

from infra.flink.cluster import Cluster
from infra.flink.job_server import JobServer
from infra.kafka.broker import Broker
from tests.support.kafka_topics import Committed, make_topics, send
from tests.support.workers import Worker, call

STREAMING = (
    "--streaming",
    "--checkpointing_interval=2000",
    "--max_bundle_size=50",
    "--max_bundle_time_mills=50",
)


@dataclass(frozen=True)
class Report:
    """What a run came to."""

    rows: int
    lost: int
    doubled: int
    kills: int
    restored: int  # how often Flink went on from a checkpoint
    checkpoints: int
    latency_s: tuple[float, float]  # median and 95 % of provisional rows sent before the first kill

    def __str__(self) -> str:
        p50, p95 = self.latency_s
        return (
            f"{self.rows} rows: {self.lost} lost, {self.doubled} doubled; {self.kills} kills, "
            f"{self.restored} times restored from a checkpoint, {self.checkpoints} checkpoints; "
            f"from packet to provisional row {1000 * p50:.0f} ms (median), {1000 * p95:.0f} ms (95 %)"
        )


@contextmanager
def _followed(committed: Committed, media: int) -> Iterator[dict[tuple[str, int], float]]:
    """Reads what is committed while inside, and until so many media are over; when provisional rows came."""
    came: dict[tuple[str, int], float] = {}
    failed = threading.Event()

    def follow() -> None:
        seen = 0
        end = time.monotonic() + 150
        while len(committed.rows["media"]) < media and time.monotonic() < end and not failed.is_set():
            committed.read()
            rows = committed.rows["curve"]
            for row in rows[seen:]:
                if not row["is_final"]:
                    came[row["media_id"], row["start_ms"] // 500] = time.time()
            seen = len(rows)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield came
    except BaseException:
        failed.set()
        raise
    finally:
        thread.join()


def run(broker: Broker, name: str, calls: int, seconds: float, kills: int, pace: float = 1.0) -> Report:
    """Send calls, kill the task manager so many times meanwhile, and look at what is committed.

    Args:
        pace: seconds of media a second.
    """
    topic, steps = f"{name}.packets", [call(f"call{number}", seconds) for number in range(calls)]
    make_topics(broker.bootstrap, topic, [name])
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
    sent: dict[tuple[str, int], float] = {}
    with Cluster() as cluster, JobServer(cluster.address) as server:
        options = (*server.options(), *STREAMING)
        with Worker(broker.bootstrap, topic, name, "flink", *options):
            cluster.wait_for(lambda job: job.completed >= 1)
            committed = Committed(broker.bootstrap, name)
            with _followed(committed, calls) as came:
                count, first_kill = len(steps[0]), None
                for at in range(count):
                    for packets in steps:
                        sent[packets[at].media_id, at] = time.time()
                        send(producer, topic, packets[at])
                    producer.flush()
                    if (at + 1) * (kills + 1) // count > at * (kills + 1) // count and at + 1 < count:
                        first_kill = first_kill or time.time()
                        restored = cluster.checkpoints().restored
                        cluster.kill_worker()
                        cluster.start_worker()
                        cluster.wait_for(lambda job, before=restored: job.restored > before)
                    time.sleep(0.5 / pace)
            job = cluster.checkpoints()
    waits = [
        came[place] - then
        for place, then in sent.items()
        if place in came and (first_kill is None or came[place] < first_kill)
    ]
    p50, p95 = np.percentile(waits, [50, 95]) if waits else (float("nan"), float("nan"))
    rows = [(table, row) for table in ("curve", "episode", "summary") for row in committed.rows[table]]
    keys = ("channel", "modality", "start_ms", "episode", "revision")
    by_media = {packets[0].media_id: Counter[tuple[object, ...]]() for packets in steps}
    for table, row in rows:
        by_media[row["media_id"]][table, *(row.get(key) for key in keys)] += 1
    wanted = set().union(*by_media.values())  # all calls sound the same
    lost = sum(len(wanted - found.keys()) for found in by_media.values())
    doubled = sum(found.total() - len(found) for found in by_media.values())
    return Report(len(rows), lost, doubled, kills, job.restored, job.completed, (float(p50), float(p95)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--kills", type=int, default=2)
    asked = parser.parse_args()
    with Broker() as broker:
        report = run(broker, "flink", asked.calls, asked.seconds, asked.kills)
    print(report)
    return int(bool(report.lost or report.doubled or report.restored < asked.kills))


if __name__ == "__main__":
    sys.exit(main())
