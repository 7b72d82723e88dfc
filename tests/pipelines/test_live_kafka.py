"""The live pipeline on a real broker: rows are committed once, whoever is killed and whenever."""

import contextlib
import signal
import time
from pathlib import Path

import pytest

from infra.kafka.broker import Broker
from moodstream.pipelines.cli import run
from moodstream.pipelines.commands.verify import EXIT_MISSING
from moodstream.sinks.cluster import Cluster, Topics
from moodstream.sinks.land import Lander
from moodstream.sinks.read import Lake
from moodstream.transforms.errors import UsageError
from tests.support import kill_run
from tests.support.kafka_topics import Committed, make_topics
from tests.support.live_worker import FENCED
from tests.support.workers import Worker, send_call

KafkaProducer = pytest.importorskip("kafka").KafkaProducer


def test_kills_lose_double_and_change_nothing(broker: Broker) -> None:
    report = kill_run.run(broker, "few", streams=8, seconds=12, kills=5, seed=3)
    assert (report.lost, report.doubled, report.changed) == (0, 0, 0)
    assert report.rows > 300
    assert report.in_transaction >= 2


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
