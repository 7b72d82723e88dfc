"""A call from end to end: sides as parts, rules, alerts on a real broker, a webhook; kill -9 in between."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.kafka.broker import Broker
from moodstream.pipelines.alerting import AlertConfig, Alerting, Told
from moodstream.pipelines.cli import run
from moodstream.pipelines.rule_file import read_rules
from moodstream.pipelines.tailing import line_of
from moodstream.sinks.cluster import Cluster, Topics
from moodstream.sinks.webhook import Webhook
from moodstream.transforms.elements import Clip, Media, Packet, Part
from moodstream.transforms.session import Session, Settings
from moodstream.transforms.track import Rows, merge
from tests.support.fake_engine import FakeEngine
from tests.support.hook_server import HookServer
from tests.support.kafka_topics import Committed, make_topics, send
from tests.support.packets import difference, listed
from tests.transforms.test_partition import RATE_HZ, heard
from tests.transforms.test_sides import packets_of

KafkaProducer = pytest.importorskip("kafka").KafkaProducer
ROOT = Path(__file__).resolve().parents[2]
GROUP = "desk"
RULES = """\
rules:
- {name: silent, value: non_talk, for_s: 0.5, every_s: 0}
- {name: over, value: overlap, for_s: 0.5, every_s: 0}
- {name: low, value: valence, below: 0.4, for_s: 1, on: customer, every_s: 0}
- {name: end, value: arousal, above: 0, part: last quarter, on: customer, severity: critical}
"""
LIVE = """\
import sys
from dataclasses import replace
from moodstream.pipelines.live import run_once, stopping
from moodstream.pipelines.rule_file import read_rules
from moodstream.transforms.session import Settings
from tests.support.fake_engine import FakeEngine
from tests.support.live_worker import config_of
bootstrap, group, rules = sys.argv[1:]
config = config_of(bootstrap, f"{group}.packets", group)
with stopping():
    run_once(replace(config, settings=Settings(rules=read_rules(rules))), engine=FakeEngine())
"""


@contextmanager
def live(broker: Broker, rules: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", LIVE, broker.bootstrap, GROUP, str(rules)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_call_rings_as_batch_would(
    broker: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    make_topics(broker.bootstrap, f"{GROUP}.packets", [GROUP])
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
    samples = heard(9.3, 2, 3)
    packets = [packet for pair in zip(*packets_of(samples, [4_000] * 60), strict=True) for packet in pair]

    def say(some: list[Packet]) -> None:
        for packet in some:
            send(producer, f"{GROUP}.packets", packet)
        producer.flush()

    committed = Committed(broker.bootstrap, GROUP)
    with live(broker, rules) as first:
        say(packets[:40])
        end = time.monotonic() + 240
        while not committed.rows["alert"]:
            committed.read()
            assert time.monotonic() < end
        first.send_signal(signal.SIGKILL)
        first.wait()
    with live(broker, rules):
        say(packets[40:])
        rows = committed.wait(1, 240)

    session, wanted = (
        Session(
            Media("call", (Part("x", "audio"),), roles=("agent", "customer"), split=True),
            "run",
            FakeEngine(),
            Settings(rules=read_rules(rules)),
        ),
        Rows(),
    )
    merge(wanted, session.push(Clip(0, RATE_HZ, samples)))
    merge(wanted, session.flush())
    own = ("revision", "is_final", "event_time", "analysis_id")

    def told(found: list[dict[str, object]]) -> list[dict[str, object]]:
        kept = [{k: v for k, v in row.items() if k not in own} for row in found if row["is_final"]]
        return sorted(
            kept, key=lambda row: (str(row["rule"]), str(row["channel"]), int(str(row["start_ms"])))
        )

    assert difference(told(rows["alert"]), told(listed(wanted, "alert"))) == ""
    assert {row["rule"] for row in rows["alert"]} == {"silent", "over", "low", "end"}
    opened = [row for row in rows["alert"] if row["revision"] == 0]
    assert len({(row["rule"], row["channel"], row["start_ms"]) for row in opened}) == len(opened)
    line = line_of("alert", opened[0])
    assert "◆ WARNING" in line
    assert "held" in line

    with HookServer() as hook:
        hook.script = [503]
        config = AlertConfig(Cluster(broker.bootstrap), Topics(f"{GROUP}."), "desk.hook", once=True)
        deliver = Webhook(hook.url, first_pause_s=0.05).deliver
        assert Alerting(config, deliver, lambda: False).run() == Told(delivered=len(opened))
        assert len(hook.taken) == len(set(hook.taken)) == len(opened)

    settings = tmp_path / "live.yaml"
    settings.write_text(
        f"bootstrap: {broker.bootstrap}\nin: {GROUP}.packets\ngroup: {GROUP}\nout_prefix: {GROUP}.\n"
        f"land: {{to: {tmp_path / 'lake'}}}\n{RULES}"
    )
    capsys.readouterr()
    assert run(["verify", "--config", str(settings)]) == 0
    said = capsys.readouterr().out
    for words in (
        f"right   read {GROUP}.packets",
        f"right   write {GROUP}.alert",
        "warning: non_talk for 0.5 s",
        "store ",
        "cleanup.policy=compact",
    ):
        assert words in said
    assert "MISSING" not in said
    assert run(["land", "--config", str(settings), "--once"]) == 0
    assert run(["show", str(tmp_path / "lake"), "call"]) == 0
    assert "low" in capsys.readouterr().out
    assert run(["query", str(tmp_path / "lake"), "--format", "json", "SELECT rule FROM alert"]) == 0
    landed = json.loads(capsys.readouterr().out)
    assert len(landed) == len(told(rows["alert"]))
