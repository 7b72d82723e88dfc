"""The live pipeline on a real broker: rows are committed once, whoever is killed and whenever."""

import contextlib
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.kafka.broker import Broker
from moodstream.pipelines.cli import run
from moodstream.pipelines.commands.verify import EXIT_MISSING
from moodstream.sinks.kafka import Cluster, Topics
from moodstream.sinks.land import Lander
from moodstream.sinks.read import Lake
from moodstream.transforms.errors import UsageError
from tests.support import kill_run
from tests.support.kafka_topics import Committed, make_topics, send
from tests.support.live_worker import FENCED
from tests.support.media_files import sound
from tests.support.packets import cut, l16

KafkaProducer = pytest.importorskip("kafka").KafkaProducer


def test_kills_lose_double_and_change_nothing(broker: Broker) -> None:
    report = kill_run.run(broker, "few", streams=8, seconds=12, kills=5, seed=3)
    assert (report.lost, report.doubled, report.changed) == (0, 0, 0)
    assert report.rows > 300
    assert report.in_transaction >= 2


class Worker:
    """A live process with fake models."""

    def __init__(self, bootstrap: str, topic: str, group: str, *more: str) -> None:
        command = [sys.executable, "-m", "tests.support.live_worker", bootstrap, topic, group, *more]
        self.process = subprocess.Popen(
            command, cwd=kill_run.ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )

    def first_line(self) -> str:
        """What it says first: it is about to work."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def send_call(producer: KafkaProducer, topic: str, media_id: str, seconds: float = 3) -> None:
    data = l16(sound(seconds, 8_000, 1, 7))
    for packet in cut(media_id, data, "audio/L16;rate=8000", [8_000] * 20, 16_000):
        send(producer, topic, packet)
    producer.flush()


def test_who_starts_takes_over_and_sigterm_ends_after_the_commit(broker: Broker, tmp_path: Path) -> None:
    make_topics(broker.bootstrap, "over.packets", ["over"])
    producer, committed = KafkaProducer(bootstrap_servers=broker.bootstrap), None
    with Worker(broker.bootstrap, "over.packets", "over") as first:
        send_call(producer, "over.packets", "one")
        committed = Committed(broker.bootstrap, "over")
        committed.wait(1)
        with Worker(broker.bootstrap, "over.packets", "over") as second:
            media, end = 1, time.monotonic() + 120
            while first.process.poll() is None:  # it notices with its next commit
                media += 1
                send_call(producer, "over.packets", f"more{media}", 1)
                committed.wait(media)
                time.sleep(0.5)
                assert time.monotonic() < end
            assert first.process.returncode == FENCED
            second.process.send_signal(signal.SIGTERM)
            assert second.process.wait(30) == 0
    assert len({row["media_id"] for row in committed.rows["media"]}) == media
    assert len(committed.rows["media"]) == media

    # everything lands once, also by a lander that begins anew
    lake, cluster, topics = tmp_path / "lake", Cluster(broker.bootstrap), Topics("over.")
    with contextlib.closing(Lander(cluster, lake, topics)) as lander:
        assert lander.round()["media"] == media
        assert lander.round() == {}
    send_call(producer, "over.packets", "late")
    with Worker(broker.bootstrap, "over.packets", "over"):
        committed.wait(media + 1)
    with contextlib.closing(Lander(cluster, lake, topics)) as lander:
        other = Lander(cluster, lake, topics)
        landed = lander.round()
        assert landed["media"] == 1
        with pytest.raises(UsageError, match="another process"):
            other.round()
        other.close()
    stored = {name: Lake(lake).sql(f"SELECT * FROM {name}").to_pylist() for name in ("media", "curve")}
    assert len(stored["media"]) == media + 1
    final = [row for row in committed.rows["curve"] if row["is_final"]]
    assert len(stored["curve"]) == len(final) > 0
    assert {row["media_id"] for row in stored["curve"]} == {row["media_id"] for row in final}


def test_the_commands_say_what_is_missing_and_make_it(
    broker: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ["--bootstrap", broker.bootstrap]
    named = [*at, "--in", "cli.packets", "--group", "cli", "--out-prefix", "cli."]
    assert run(["verify", *named]) == EXIT_MISSING
    assert "cli.snapshots.cli" in capsys.readouterr().out
    call = str(kill_run.ROOT / "demo/calls/parcel.flac")
    assert run(["replay", call, *at, "--topic", "cli.packets"]) == 2
    assert run(["land", *at, "--to", str(tmp_path / "lake"), "--out-prefix", "cli."]) == 2
    assert run(["verify", *named, "--create", "--new-partitions", "1"]) == 0
    assert run(["verify", *named]) == 0
    roles = ["--roles", "agent,customer"]
    assert run(["replay", call, *at, *roles, "--topic", "cli.packets", "--speed", "max"]) == 0
    assert "1 media, 76 packets" in capsys.readouterr().out
    assert run(["land", *at, "--to", str(tmp_path / "lake"), "--out-prefix", "cli.", "--once"]) == 0
    assert run(["replay", call, *at, "--topic", "cli.packets", "--speed", "0"]) == 2


def scraped(port: str) -> dict[str, float]:
    """The measures of a process, by name with labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


def is_ready(port: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError:
        return False


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_broker_that_restarts_is_waited_for(broker: Broker) -> None:
    make_topics(broker.bootstrap, "back.packets", ["back"])
    with Worker(broker.bootstrap, "back.packets", "back", "patient") as worker:
        port = worker.first_line()
        for media in (1, 2):
            producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
            send_call(producer, "back.packets", f"call{media}")
            rows = Committed(broker.bootstrap, "back").wait(media)
            producer.close()
            if media == 1:
                broker.stop()
                time.sleep(2)
                broker.start()
        assert sorted(row["media_id"] for row in rows["media"]) == ["call1", "call2"]
        until(lambda: is_ready(port))
        found = scraped(port)
        assert found['moodstream_rows_total{table="media"}'] == 2
        assert found["moodstream_packets_total"] == found["moodstream_latency_seconds_count"] == 14
        assert (found["moodstream_streams_open"], found["moodstream_lag_packets"]) == (0, 0)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(30) == 0
