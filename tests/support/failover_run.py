"""Kills brokers of a cluster under a live process, one after the other, and counts what is committed.

    python -m tests.support.failover_run --calls 20 --kills 3

Three brokers keep copies of everything. Calls that all sound the same are sent; in between, the broker that
leads the packets' first partition is killed (`kill -9`) and, once another one leads, comes back. So in turn
the leaders of packets, results, offsets and transactions are gone. In the end each call must have all its
rows, each once.
"""

import argparse
import itertools
import os
import sys
import time

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from infra.kafka.cluster import KafkaCluster
from tests.support.kafka_topics import Committed, check_whole, make_topics, send
from tests.support.workers import Worker, call, is_ready, scraped, until

TOPIC, GROUP = "failover.packets", "failover"
RESTARTS = "moodstream_restarts_total"


def leader(bootstrap: str) -> tuple[int, set[int]]:
    """Who leads the first partition of the packets, and who has all of it; 0 while nobody can say."""
    try:
        admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        try:
            (topic,) = admin.describe_topics([TOPIC])
        finally:
            admin.close()
    except KafkaError:
        return 0, set()
    first = next(one for one in topic["partitions"] if one["partition_index"] == 0)
    return first["leader_id"], set(first["isr_nodes"])


def is_done(bootstrap: str) -> bool:
    """Whether the group has committed all packets that are there."""
    try:
        reader = KafkaConsumer(bootstrap_servers=bootstrap, group_id=GROUP, enable_auto_commit=False)
        try:
            places = [TopicPartition(TOPIC, number) for number in reader.partitions_for_topic(TOPIC) or ()]
            ends = reader.end_offsets(places)
            return bool(places) and all((reader.committed(place) or 0) >= ends[place] for place in places)
        finally:
            reader.close()
    except KafkaError:
        return False


def run(calls: int, kills: int, seconds: float = 30) -> dict[str, float]:
    """Send, kill, go on; what the process measured in the end.

    Raises:
        AssertionError: a row is lost, doubled or changed.
    """
    began = time.monotonic()
    os.environ["LIVE_WORKER_IDLE_MS"] = "3600000"  # a stream is not over because its broker is away
    with KafkaCluster() as cluster:
        print(f"three brokers after {time.monotonic() - began:.1f} s", flush=True)
        make_topics(cluster.bootstrap, TOPIC, [GROUP])
        producer = KafkaProducer(bootstrap_servers=cluster.bootstrap, acks="all")
        lanes = [call(f"call{number}", seconds) for number in range(calls)]
        packets = [packet for together in zip(*lanes, strict=True) for packet in together]
        borders = [len(packets) * part // (kills + 1) for part in range(kills + 2)]
        with Worker(cluster.bootstrap, TOPIC, GROUP, "patient") as worker:
            port = worker.first_line()
            until(lambda: is_ready(port))
            for part, (begin, end) in enumerate(itertools.pairwise(borders)):
                portion = packets[begin:end]
                for at, packet in enumerate(portion):
                    send(producer, TOPIC, packet)
                    if part < kills and at == len(portion) // 2:  # packets are on their way in both
                        dead = leader(cluster.bootstrap)[0]
                        cluster.node(dead).kill()
                        print(f"killed broker {dead}", flush=True)
                producer.flush()
                until(lambda: is_done(cluster.bootstrap), 120)
                if part < kills:
                    print(f"went on with {leader(cluster.bootstrap)[0]} as leader", flush=True)
                    cluster.node(dead).start()
                    until(lambda: len(leader(cluster.bootstrap)[1]) == len(cluster.brokers), 120)
            check_whole(Committed(cluster.bootstrap, GROUP).wait(calls), calls)
            return scraped(port)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--kills", type=int, default=3)
    asked = parser.parse_args()
    found = run(asked.calls, asked.kills)
    rows = int(sum(count for name, count in found.items() if name.startswith("moodstream_rows_total")))
    print(f"{rows} rows of {asked.calls} calls, each once; begun anew {int(found[RESTARTS])} times")
    return 0


if __name__ == "__main__":
    sys.exit(main())
