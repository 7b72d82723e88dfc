"""Alerts from a real broker to a real HTTP server: each committed one, at least once, aborted ones never."""

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.kafka.broker import Broker
from moodstream.pipelines.alerting import AlertConfig, Alerting, Told
from moodstream.pipelines.cli import run
from moodstream.sinks.cluster import Cluster, Topics
from moodstream.sinks.kafka import TopicPlan, create_topics
from moodstream.sinks.webhook import Webhook
from moodstream.transforms.errors import StoreError, UsageError
from tests.sinks.test_webhook import ROW
from tests.support.hook_server import HookServer

kafka = pytest.importorskip("kafka")


@pytest.fixture
def hook() -> Iterator[HookServer]:
    with HookServer() as server:
        yield server


class Alerts:
    """A topic of alerts that transactions write to."""

    def __init__(self, broker: Broker, name: str) -> None:
        self.cluster, self.topics = Cluster(broker.bootstrap), Topics(f"{name}.")
        plans = [TopicPlan(self.topics.of(table), 2, {}) for table in ("alert", "dead_letter")]
        create_topics(self.cluster, plans)
        self.producer = kafka.KafkaProducer(**self.cluster.settings(), transactional_id=name, acks="all")
        self.producer.init_transactions()

    def write(self, *numbers: int, commit: bool = True, revision: int = 0) -> None:
        self.producer.begin_transaction()
        for number in numbers:
            row = json.dumps({**ROW, "rule": f"rule {number}", "revision": revision}).encode()
            self.producer.send(self.topics.of("alert"), row, partition=number % 2)
        if commit:
            self.producer.commit_transaction()
        else:
            self.producer.flush()
            self.producer.abort_transaction()

    def hand_on(self, webhook: Webhook, stopped: Any = lambda: False, **more: Any) -> Told:
        config = AlertConfig(self.cluster, self.topics, f"{self.topics.prefix}hook", once=True, **more)
        return Alerting(config, webhook.deliver, stopped).run()


def rules(hook: HookServer) -> list[str]:
    return sorted(json.loads(body)["data"]["rule"] for _, body in hook.seen)


def test_committed_alerts_ring_once_and_aborted_ones_never(broker: Broker, hook: HookServer) -> None:
    alerts, webhook = Alerts(broker, "ring"), Webhook(hook.url, timeout_s=5)
    alerts.write(1, 2, 3)
    alerts.write(4, 5, commit=False)
    alerts.write(1, revision=1)
    assert alerts.hand_on(webhook) == Told(delivered=3)
    assert rules(hook) == ["rule 1", "rule 2", "rule 3"]
    alerts.write(6)
    assert alerts.hand_on(webhook) == Told(delivered=1)  # goes on where it was
    assert rules(hook)[-1] == "rule 6"


def test_a_receiver_that_fails_hangs_and_stays_away(broker: Broker, hook: HookServer) -> None:
    alerts = Alerts(broker, "fail")
    webhook = Webhook(hook.url, timeout_s=0.5, tries=3, first_pause_s=0.1)
    alerts.write(2, 4, 6)
    hook.script = [503, 200, "hang", 200]
    assert alerts.hand_on(webhook) == Told(delivered=3)
    assert rules(hook) == ["rule 2", "rule 2", "rule 4", "rule 4", "rule 6"]
    assert len(set(hook.taken)) == len(hook.taken) == 3

    hook.stop()
    alerts.write(8)
    with pytest.raises(StoreError, match="no answer"):
        alerts.hand_on(webhook)
    hook.start()
    assert alerts.hand_on(webhook) == Told(delivered=1)  # nothing was acknowledged, nothing lost
    assert rules(hook)[-1] == "rule 8"


def test_who_ends_before_the_commit_leaves_it_to_the_next(broker: Broker, hook: HookServer) -> None:
    alerts, webhook = Alerts(broker, "again"), Webhook(hook.url)
    alerts.write(2, 4)

    def deliver(row: Mapping[str, Any], pause: Any) -> bool:
        assert webhook.deliver(row, pause)
        raise KeyboardInterrupt  # killed between delivery and commit

    config = AlertConfig(alerts.cluster, alerts.topics, "again.hook", once=True)
    with pytest.raises(KeyboardInterrupt):
        Alerting(config, deliver, lambda: False).run()
    assert alerts.hand_on(webhook) == Told(delivered=2)
    assert rules(hook) == ["rule 2", "rule 2", "rule 4"]
    assert len(hook.taken) - len(set(hook.taken)) == 1  # told twice, under one key


def test_what_is_refused_becomes_a_dead_letter(broker: Broker, hook: HookServer) -> None:
    alerts = Alerts(broker, "refuse")
    hook.script = [422, 200]
    alerts.write(2, 4)
    assert alerts.hand_on(Webhook(hook.url)) == Told(delivered=1, refused=1)
    reader = kafka.KafkaConsumer(
        alerts.topics.of("dead_letter"),
        **alerts.cluster.settings(),
        auto_offset_reset="earliest",
        consumer_timeout_ms=5_000,
    )
    letter = json.loads(next(iter(reader)).value)
    reader.close()
    assert (letter["stage"], letter["error"], letter["source"]) == ("webhook", "refused", "rule 2")
    assert letter["reference"] == "refuse.alert/0/0"
    assert letter["media_id"] == ROW["media_id"]


def test_while_it_waits_the_group_stays_and_an_end_is_an_end(broker: Broker, hook: HookServer) -> None:
    alerts = Alerts(broker, "wait")
    alerts.write(2)
    hook.script = [503] * 50
    webhook = Webhook(hook.url, first_pause_s=1.0, tries=0)
    end = time.monotonic() + 3
    told = alerts.hand_on(webhook, stopped=lambda: time.monotonic() > end)
    assert told == Told()
    hook.script = []
    assert alerts.hand_on(webhook) == Told(delivered=1)


def test_the_command(
    broker: Broker, hook: HookServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ["alerts", "--bootstrap", broker.bootstrap, "--out-prefix", "cmd.", "--once"]
    assert run(at) == 2
    assert "verify --create" in capsys.readouterr().err
    alerts = Alerts(broker, "cmd")
    alerts.write(2)
    assert run([*at, "--alerts-group", "print"]) == 0
    out = capsys.readouterr()
    assert json.loads(out.out)["rule"] == "rule 2"
    assert "1 alerts handed on, 0 refused" in out.err
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    config = tmp_path / "live.yaml"
    config.write_text(
        f"bootstrap: {broker.bootstrap}\nin: p\nout_prefix: cmd.\n"
        f"webhook: {{url: '{hook.url}', secret: '@{secret}', headers: {{X-Desk: a=b}}, "
        "alerts_group: cmd.h}\n"
    )
    assert run(["alerts", "--config", str(config), "--once"]) == 0
    ((headers, _),) = hook.seen
    assert headers["x-desk"] == "a=b"
    assert headers["moodstream-signature"].startswith("t=")
    with pytest.raises(UsageError, match="there is no topic"):
        Alerting(AlertConfig(Cluster(broker.bootstrap), Topics("no.")), lambda row, pause: True, bool).run()
