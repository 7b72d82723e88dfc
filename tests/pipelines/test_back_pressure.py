"""A slow sink slows reading: what is not committed stays in Kafka, and memory stays flat."""

import signal
import time

import pytest

from infra.kafka.broker import Broker
from tests.support.kafka_topics import Committed, make_topics, send
from tests.support.media_files import sound
from tests.support.packets import cut, l16
from tests.support.workers import Worker, is_ready, scraped, until

KafkaProducer = pytest.importorskip("kafka").KafkaProducer
TOPIC, GROUP = "slow.packets", "slow"
PACKETS, LAG, MEMORY = "moodstream_packets_total", "moodstream_lag_packets", "process_resident_memory_bytes"
PACKET_BYTES, MEDIA, SECONDS = 64_000, 40, 160  # four seconds a packet, 100 MB in all


def test_a_slow_sink_slows_reading_and_nothing_piles_up(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVE_WORKER_IDLE_MS", "3600000")  # however slow this machine is
    make_topics(broker.bootstrap, TOPIC, [GROUP])
    data, size = l16(sound(SECONDS, 8_000, 1)), 16_000
    lanes = [
        list(cut(f"m{number}", data, "audio/L16;rate=8000", [PACKET_BYTES] * 400, size))
        for number in range(MEDIA)
    ]
    packets = [packet for together in zip(*lanes, strict=True) for packet in together]
    with Worker(broker.bootstrap, TOPIC, GROUP, "slow") as worker:
        port = worker.first_line()
        until(lambda: is_ready(port))
        producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
        for packet in packets:
            send(producer, TOPIC, packet)
        producer.flush()
        lags, memory = [], []
        end = time.monotonic() + 240
        while (found := scraped(port))[PACKETS] < len(packets):
            lags.append(found[LAG])
            memory.append(found[MEMORY])
            assert time.monotonic() < end
            time.sleep(0.3)
        assert max(lags) > len(packets) / 3  # it reads no faster than it commits
        quarter = memory[len(memory) // 4]
        assert max(memory) - quarter < len(packets) * PACKET_BYTES / 2  # the backlog is not in memory
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(30) == 0
    rows = Committed(broker.bootstrap, GROUP).wait(MEDIA)
    assert len(rows["media"]) == MEDIA
    assert not rows["dead_letter"]
