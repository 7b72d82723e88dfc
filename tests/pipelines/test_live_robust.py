"""A live run on a real broker that comes late, restarts, is shared, or wants to know who is there."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.kafka.broker import PASSWORD, Broker, missing
from moodstream.pipelines.cli import run
from moodstream.pipelines.kafka_options import cluster_of
from moodstream.sinks.cluster import Topics, partition_of
from moodstream.sinks.kafka import KafkaSink
from moodstream.transforms.elements import Packet
from tests.support.kafka_topics import Committed, check_whole, make_topics, send
from tests.support.workers import ROOT, Worker, call, is_ready, scraped, send_call, until

KafkaProducer = pytest.importorskip("kafka").KafkaProducer
PACKETS = "moodstream_packets_total"


def turns(calls: list[list[Packet]]) -> Iterator[Packet]:
    """The packets of calls that run side by side."""
    for together in zip(*calls, strict=True):
        yield from together


def test_a_topic_that_comes_later_is_waited_for(broker: Broker) -> None:
    with Worker(broker.bootstrap, "late.packets", "late", "patient") as worker:
        port = worker.first_line()
        time.sleep(1)
        assert not is_ready(port)
        make_topics(broker.bootstrap, "late.packets", ["late"])
        until(lambda: is_ready(port))
        send_call(KafkaProducer(bootstrap_servers=broker.bootstrap), "late.packets", "call")
        check_whole(Committed(broker.bootstrap, "late").wait(1), 1)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(30) == 0


def test_a_broker_that_restarts_in_mid_call_is_waited_for(broker: Broker) -> None:
    make_topics(broker.bootstrap, "back.packets", ["back"])
    packets = list(turns([call(f"call{number}", 8) for number in range(3)]))
    with Worker(broker.bootstrap, "back.packets", "back", "patient") as worker:
        port = worker.first_line()
        for half in (packets[: len(packets) // 2], packets[len(packets) // 2 :]):
            producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
            for packet in half:
                send(producer, "back.packets", packet)
            producer.close()
            if half[0] is packets[0]:
                until(lambda: is_ready(port) and scraped(port)[PACKETS] > 10)
                broker.stop()
                time.sleep(2)
                broker.start()
        check_whole(Committed(broker.bootstrap, "back").wait(3), 3)
        until(lambda: is_ready(port))
        found = scraped(port)
        assert found['moodstream_rows_total{table="media"}'] == 3
        assert found[PACKETS] == found["moodstream_latency_seconds_count"] == len(packets)
        assert (found["moodstream_streams_open"], found["moodstream_lag_packets"]) == (0, 0)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(30) == 0


def test_processes_share_a_topic_by_partitions(broker: Broker) -> None:
    make_topics(broker.bootstrap, "parts.packets", ["parts"])
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
    with (
        Worker(broker.bootstrap, "parts.packets", "parts", "patient", "0") as one,
        Worker(broker.bootstrap, "parts.packets", "parts", "patient", "1") as other,
    ):
        ports = [one.first_line(), other.first_line()]
        packets = list(turns([call(f"call{number}") for number in range(6)]))
        for packet in packets:
            send(producer, "parts.packets", packet)
        producer.flush()
        check_whole(Committed(broker.bootstrap, "parts").wait(6), 6)
        until(lambda: sum(scraped(port)[PACKETS] for port in ports) == len(packets))
        assert min(scraped(port)[PACKETS] for port in ports) > 0


def test_members_of_a_group_share_a_topic_and_never_write_for_one_another(broker: Broker) -> None:
    make_topics(broker.bootstrap, "share.packets", ["share"], 4)
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
    names = {partition_of(name, 4): name for name in (f"call{number}" for number in range(40))}
    calls = len(names)
    feed = turns([call(name, 80) for name in names.values()])

    def talk() -> None:
        """The next half second of all calls."""
        for _, packet in zip(range(calls), feed, strict=False):
            send(producer, "share.packets", packet, 4)
        producer.flush()
        time.sleep(0.25)

    def talk_until(port: str, least: float) -> None:
        end = time.monotonic() + 40
        while scraped(port)[PACKETS] < least:
            assert time.monotonic() < end
            talk()

    with Worker(broker.bootstrap, "share.packets", "share", "patient", "share") as one:
        first = one.first_line()
        until(lambda: is_ready(first))
        talk_until(first, 4)
        with Worker(broker.bootstrap, "share.packets", "share", "patient", "share") as other:
            second = other.first_line()
            talk_until(second, 2)
            talk_until(first, scraped(first)[PACKETS] + 2)  # both are at work

            one.process.send_signal(signal.SIGSTOP)  # it knows nothing of the time that goes by
            before = scraped(second)[PACKETS]
            end = time.monotonic() + 8
            while time.monotonic() < end:
                talk()
            assert scraped(second)[PACKETS] > before
            one.process.send_signal(signal.SIGCONT)
            talk_until(first, scraped(first)[PACKETS] + 2)  # it has come back as a member

            other.process.send_signal(signal.SIGTERM)
            assert other.process.wait(30) == 0
        for packet in feed:
            send(producer, "share.packets", packet, 4)
        producer.flush()
        check_whole(Committed(broker.bootstrap, "share").wait(calls), calls)
        one.process.send_signal(signal.SIGTERM)
        assert one.process.wait(30) == 0


def test_tls_and_a_password(tmp_path: Path) -> None:
    lacking = missing()
    if lacking is not None:
        pytest.skip(lacking)
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    with Broker(secure=True) as broker:
        settings = ["security_protocol=SASL_SSL", "sasl_mechanism=PLAIN", "sasl_plain_username=moodstream"]
        settings += [f"ssl_cafile={broker.certificate}"]
        known = [*settings, f"sasl_plain_password=@{tmp_path / 'password'}"]

        def at(settings: list[str]) -> list[str]:
            return ["--bootstrap", broker.bootstrap, *(w for one in settings for w in ("--kafka", one))]

        named = ["--in", "packets", "--group", "tls", "--new-partitions", "1"]
        assert run(["verify", *at(known), *named, "--create"]) == 0
        song = str(ROOT / "demo/songs/empty_house.mid")
        assert run(["replay", song, *at(known), "--topic", "packets", "--speed", "max"]) == 0
        assert run(["land", *at(known), "--to", str(tmp_path / "lake"), "--once"]) == 0
        sink = KafkaSink(cluster_of(broker.bootstrap, tuple(known)), "packets", "tls", Topics())
        assert sink.recover([0])[0].committed == 0  # transactions, too
        wrong = [*settings, "sasl_plain_password=guessed", "bootstrap_timeout_ms=2000"]
        assert run(["verify", *at(wrong), *named]) == 1
