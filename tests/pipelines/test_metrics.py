"""What a live run tells Prometheus, and whether it is well."""

import logging
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from moodstream.pipelines import metrics as module
from moodstream.pipelines.metrics import Health, Metrics, measure_into
from moodstream.pipelines.monitor import serving
from moodstream.sinks.kafka import KafkaSink
from moodstream.transforms import spent
from moodstream.transforms.elements import SCHEMA_VERSION, Commit, DeadLetter, Poll, Record, Recovered
from moodstream.transforms.errors import UsageError
from moodstream.transforms.partition import Snapshot
from moodstream.transforms.tables import to_table


def snapshot(size: int, is_open: bool = True) -> bytes:
    return Snapshot(0, 0, is_open, bytes(size)).to_bytes()


def poll(first: int, count: int, age_s: float = 0.0, **more: object) -> Poll:
    stamp = int((time.time() - age_s) * 1000)
    records = tuple(Record("p", 0, first + i, stamp, b"m", b"12345", ()) for i in range(count))
    return Poll("lane", "p", records, **more)  # type: ignore[arg-type]


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    metrics = Metrics(CollectorRegistry())
    measure_into(metrics)
    yield metrics
    measure_into(None)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"moodstream_{name}", labels)


def test_a_packet_counts_when_it_is_committed(metrics: Metrics) -> None:
    module._watch(poll(0, 3, age_s=0.25, lag=7))
    assert (value(metrics, "packets_total"), value(metrics, "lag_packets")) == (0, 7)
    letter = DeadLetter("m", 0, SCHEMA_VERSION, "a", "p/0/1", "p", "packet", "seq", "what")
    rows = {"dead_letter": to_table("dead_letter", [letter])}
    (told,) = KafkaSink.on_commit
    told(Commit("", 0, rows, {"0/m": snapshot(100)}, {"p/0": 2}), 0.1)
    assert (value(metrics, "packets_total"), value(metrics, "packet_bytes_total")) == (2, 10)
    assert value(metrics, "rows_total", table="dead_letter") == 1
    assert value(metrics, "dead_letters_total", stage="packet", error="seq") == 1
    assert value(metrics, "latency_seconds_count") == 2
    assert value(metrics, "latency_seconds_sum") == pytest.approx(0.5, abs=0.2)
    assert value(metrics, "latency_seconds_bucket", le="0.2") == 0
    assert value(metrics, "commit_seconds_count") == 1
    told(Commit("", 0, {}, {}, {"p/0": 3}), 0.1)
    assert value(metrics, "packets_total") == 3


def test_what_was_committed_before_a_crash_is_not_counted_again(metrics: Metrics) -> None:
    module._watch(poll(0, 2))
    kept = {"m": snapshot(1000), "gone": snapshot(10, is_open=False)}
    module._watch(Poll("new", "p", (), (Recovered(0, 5, "", kept),)))
    assert value(metrics, "state_bytes") == len(kept["m"])
    module._watch(poll(3, 4))  # the first two again
    metrics.committed(Commit("", 0, {}, {"0/m": b""}, {"p/0": 7}), 0.1)
    assert value(metrics, "packets_total") == 2
    assert value(metrics, "state_bytes") == 0


def test_time_that_went_into_models(metrics: Metrics) -> None:
    before = value(metrics, "spent_seconds_total", on="models")
    with spent.spent("models"):
        time.sleep(0.02)
    after = value(metrics, "spent_seconds_total", on="models")
    assert before is not None
    assert after is not None
    assert after - before >= 0.02


def get(port: int | None, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_health_by_http(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(metrics, 0) as port:
        assert get(port, "/healthz")[0] == 200
        assert get(port, "/readyz")[0] == 503
        module._watch(poll(0, 0))
        assert get(port, "/readyz")[0] == 200
        metrics.health.wait("waiting for Kafka")
        assert get(port, "/readyz") == (503, "waiting for Kafka, last at work 0 s ago\n")
        assert get(port, "/healthz")[0] == 200
        module._watch(poll(0, 0))
        monkeypatch.setattr(module, "_STALE_S", 0.0)  # it hangs
        assert get(port, "/healthz")[0] == 503
        assert get(port, "/readyz")[0] == 503
        status, text = get(port, "/metrics")
        assert status == 200
        names = {family.name for family in text_string_to_metric_families(text)}
        assert {"moodstream_latency_seconds", "moodstream_streams_open", "moodstream_spent_seconds"} <= names
        assert get(port, "/")[0] == 404
        with pytest.raises(UsageError, match="cannot serve measures"), serving(metrics, port):
            pass


def test_without_a_port_nothing_is_served(metrics: Metrics) -> None:
    with serving(metrics, None) as port:
        assert port is None


def test_health_of_what_has_not_begun() -> None:
    health = Health()
    assert (health.alive, health.ready) == (True, False)
    logging.getLogger(__name__).info("%s", health)
