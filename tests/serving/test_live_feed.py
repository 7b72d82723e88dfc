"""Live rows over a real broker: from a commit to a browser, from the middle, through failures."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import orjson
import pytest
from fastapi.testclient import TestClient
from kafka import KafkaConsumer, KafkaProducer

from moodstream.serving.config import ServeConfig
from moodstream.serving.live import feed as module
from moodstream.serving.live import routes
from moodstream.serving.live.feed import Feed
from moodstream.serving.service import build
from moodstream.sinks.cluster import Cluster, Topics, partition_of
from moodstream.sinks.forget_topics import forget_topics
from tests.support.kafka_topics import make_topics
from tests.support.live_rows import alert, commit, curve, episode, media
from tests.support.live_service import cells, following, served, told, until
from tests.support.workers import Worker, send_call
from tests.support.workers import until as wait_until

if TYPE_CHECKING:
    from infra.kafka.broker import Broker


class Results:
    """Result topics of a test's own, and a producer that commits to them."""

    def __init__(self, bootstrap: str, name: str) -> None:
        self.bootstrap, self.prefix = bootstrap, f"{name}."
        make_topics(bootstrap, f"{name}-packets", [name])
        self.producer = KafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"{name}-writer")
        self.producer.init_transactions()

    def commit(self, **rows: list[dict[str, object]]) -> None:
        commit(self.producer, self.prefix, rows)

    def config(self, lake: Path, **more: object) -> ServeConfig:
        return ServeConfig(lake, self.bootstrap, prefix=self.prefix, **more)  # type: ignore[arg-type]


@pytest.fixture
def results(broker: "Broker", request: pytest.FixtureRequest) -> Iterator[Results]:
    found = Results(broker.bootstrap, f"live-{abs(hash(request.node.name)) % 10**8}")
    yield found
    found.producer.close(timeout=5)


def test_rows_reach_a_browser_soon_after_their_commit(results: Results, served_lake: Path) -> None:
    with served(build(results.config(served_lake))) as url, following(url) as events:
        assert next(events)[0] == "snapshot"
        took_s = []
        for at in range(0, 10_000, 1_000):
            results.commit(curve=[curve("m", at), curve("m", at + 500)], alert=[alert("m", at)])
            committed_s = time.monotonic()
            seen = until(events, lambda found: len(cells(found, "m")) >= 2)
            took_s.append(time.monotonic() - committed_s)
            assert [row[0] for row in cells(seen, "m")] == [at, at + 500]
        assert sorted(took_s)[5] < 2  # a busy machine; infra/bench_serve_live.py measures
        results.commit(media=[media("m")])
        (last,) = until(events, lambda found: bool(found and found[-1][2]["closed"]))
        assert last[2]["closed"] == [["m", 0]]


def test_a_service_that_begins_in_the_middle_knows_the_calls(results: Results, served_lake: Path) -> None:
    results.commit(
        curve=[curve("m", at, final=False) for at in range(0, 3_000, 500)],
        alert=[alert("m", 0)],
        episode=[episode("m", 0), episode("m", 0, revision=3)],
    )
    results.commit(curve=[curve("m", at) for at in range(0, 1_500, 500)], media=[media("over")])
    with served(build(results.config(served_lake))) as url:
        wait_until(lambda: len(httpx.get(f"{url}/v1/live/calls").json()["calls"]) == 2)
        said = httpx.get(f"{url}/v1/live/calls").json()
        wanted = [[at, at < 1_500] for at in range(0, 3_000, 500)]
        assert [[row[0], row[-1]] for row in cells([("", 0, said)], "m")] == wanted
        assert said["alerts"][0]["rule"] == "angry"
        assert [one["revision"] for one in said["episodes"]] == [3]
        assert said["closed"] == [["over", 0]]
        alone = httpx.get(f"{url}/v1/live/calls", params={"media": "m"}).json()
        assert [call["media_id"] for call in alone["calls"]] == ["m"]


def test_what_was_not_committed_is_never_shown(results: Results, served_lake: Path) -> None:
    with served(build(results.config(served_lake))) as url, following(url) as events:
        next(events)
        results.producer.begin_transaction()
        aborted = orjson.dumps(curve("m", 500))
        results.producer.send(results.prefix + "curve", aborted, partition=partition_of("m", 2))
        results.producer.flush()
        results.producer.abort_transaction()
        results.commit(curve=[curve("m", 0)])
        seen = until(events, lambda found: cells(found, "m"))
        assert [row[0] for row in cells(seen, "m")] == [0]


def test_a_broken_line_loses_nothing_and_doubles_nothing(results: Results, served_lake: Path) -> None:
    with served(build(results.config(served_lake))) as url:
        with following(url, media="m") as events:
            seen = [next(events)]
            results.commit(curve=[curve("m", 0)])
            seen += until(events, lambda found: len(cells(found, "m")) == 1)
        results.commit(curve=[curve("m", 500), curve("other", 0)])
        results.commit(curve=[curve("m", 1_000)])
        with following(url, last_id=seen[-1][1], media="m") as events:
            results.commit(curve=[curve("m", 1_500)])
            seen += until(events, lambda found: len(cells(found, "m")) >= 3)
        assert [row[0] for row in cells(seen, "m")] == [0, 500, 1_000, 1_500]
        assert {kind for kind, *_ in seen[1:]} == {"rows"}
        assert not cells(seen, "other")
        with following(url, last_id=1) as events:
            kind, number, said = next(events)
        assert kind == "reset"
        assert [row[0] for row in cells([(kind, number, said)], "m")] == [0, 500, 1_000, 1_500]


def test_emotions_of_agents_do_not_enter(results: Results, served_lake: Path) -> None:
    for call, one in (
        ("m", results.config(served_lake)),
        ("n", results.config(served_lake, emotions_for="all", responsible="Me")),
    ):
        agents = curve(call, 0, channel="agent", role="agent", valence=0.9)
        with served(build(one)) as url, following(url) as events:
            next(events)
            results.commit(
                curve=[agents, curve(call, 0)],
                alert=[alert(call, 0, role="agent")],
                episode=[episode(call, 0, role="agent"), episode(call, 0)],
            )
            seen = until(
                events,
                lambda found, call=call: (
                    cells(found, call, "agent")
                    and any(row["media_id"] == call for *_, said in found for row in said["episodes"])
                ),
            )
            ((_, valence, *_, reason, _),) = cells(seen, call, "agent")
            told = [row for *_, said in seen for row in [*said["episodes"], *said["alerts"]]]
            roles = {row["role"] for row in told if row["media_id"] == call}
            if one.emotions_for == "customer":
                assert (valence, reason, roles) == (None, "role", {"customer"})
            else:
                assert (valence, reason, roles) == (0.9, None, {"agent", "customer"})


def test_what_is_forgotten_leaves_the_board(results: Results, served_lake: Path) -> None:
    """A tombstone for each key of a call, as `moodstream forget` writes them."""
    with served(build(results.config(served_lake))) as url:
        results.commit(curve=[curve("m", 0), curve("other", 0)], alert=[alert("m", 0)])
        wait_until(lambda: len(httpx.get(f"{url}/v1/live/calls").json()["calls"]) == 2)
        with following(url) as events:
            (_, last_id, _) = next(events)
            forget_topics(Cluster(results.bootstrap), Topics(results.prefix), {"m"})
            until(events, lambda found: ["m", 0] in [one for *_, said in found for one in said["closed"]])
        said = httpx.get(f"{url}/v1/live/calls").json()
        assert [call["media_id"] for call in said["calls"]] == ["other"]
        assert said["alerts"] == []
        with following(url, last_id=last_id - 1) as events:  # nor is it told again
            assert '"m"' not in str(next(events)).replace("'", '"')


def test_rows_that_come_while_the_feed_finds_its_start_are_read(
    results: Results, served_lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing recent is there when it asks by time; then a row comes; then it would ask for the end."""
    ask = KafkaConsumer.offsets_for_times

    def asked(consumer: KafkaConsumer, *args: object) -> object:
        found = ask(consumer, *args)
        if all(offset is None for offset in found.values()):
            results.commit(curve=[curve("m", 0)])
        return found

    monkeypatch.setattr(KafkaConsumer, "offsets_for_times", asked)
    with served(build(results.config(served_lake))) as url:
        wait_until(lambda: httpx.get(f"{url}/v1/live/calls").json()["calls"], seconds=20)


def test_what_is_no_row_is_counted_and_left_out(results: Results, served_lake: Path) -> None:
    app = build(results.config(served_lake))
    with served(app) as url, following(url) as events:
        next(events)
        results.producer.begin_transaction()
        for table in ("curve", "alert", "media"):
            for value in (b"{", b"[]", b'{"media_id": "m"}', b"null"):
                results.producer.send(results.prefix + table, value, partition=0)
        results.producer.commit_transaction()
        results.commit(curve=[curve("m", 0)])
        seen = until(events, lambda found: bool(cells(found, "m")))
        assert [one for *_, said in seen for one in said["alerts"]] == []
        assert app.state.feed.measures()["live_rows_refused_total"] == 12


def test_rows_of_a_live_job(broker: "Broker", served_lake: Path) -> None:
    """From packets to the browser, with fake models."""
    make_topics(broker.bootstrap, "live-real", ["live-real"])
    config = ServeConfig(served_lake, broker.bootstrap, prefix="live-real.")
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
    with (
        served(build(config)) as url,
        following(url) as events,
        Worker(broker.bootstrap, "live-real", "live-real"),
    ):
        next(events)
        send_call(producer, "live-real", "a call", seconds=5)
        seen = until(events, lambda found: bool(found and found[-1][2]["closed"]))
        seen += until(
            events, lambda found: len({r[0] for r in cells(seen + found, "a call", "mix") if r[-1]}) == 10
        )
    final = {row[0]: row for row in cells(seen, "a call", "mix") if row[-1]}
    assert sorted(final) == list(range(0, 5_000, 500))
    reader = KafkaConsumer(
        "live-real.curve",
        bootstrap_servers=broker.bootstrap,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        consumer_timeout_ms=2_000,
    )
    read = Feed(Cluster(broker.bootstrap), Topics(), config).read("curve", [one.value for one in reader])
    wanted = {r["start_ms"]: r["valence"] for r in read if r["is_final"] and r["modality"] == "fused"}
    assert {at: row[1] for at, row in final.items()} == pytest.approx(wanted, abs=1e-4)
    producer.close()
    reader.close()


def test_without_a_broker_the_service_lives_and_says_so(served_lake: Path) -> None:
    with socket.socket() as nobody:  # a port at which nothing listens
        nobody.bind(("127.0.0.1", 0))
        app = build(ServeConfig(served_lake, f"127.0.0.1:{nobody.getsockname()[1]}"))
        with served(app) as url:
            assert httpx.get(f"{url}/health").status_code == 200
            assert httpx.get(f"{url}/v1/live/calls").json()["calls"] == []
            wait_until(lambda: "nobody answers" in app.state.feed.why, 30)
            assert httpx.get(f"{url}/ready").json()["live"] == {"ready": False, "why": app.state.feed.why}


def test_a_broker_that_goes_and_comes_back(served_lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The browser stays, the service says what is missing, and nothing is lost or told twice."""
    broker_module = pytest.importorskip("infra.kafka.broker")
    if (lacking := broker_module.missing()) is not None:
        pytest.skip(lacking)
    monkeypatch.setattr(module, "_LOOK_S", 0.3)
    with broker_module.Broker() as broker:
        results = Results(broker.bootstrap, "live-restart")
        app = build(results.config(served_lake))
        with served(app) as url, following(url) as events:
            results.commit(curve=[curve("m", 0)])
            seen = until(events, lambda found: cells(found, "m"))
            broker.stop()
            wait_until(lambda: app.state.feed.why == "Kafka has gone silent")
            assert httpx.get(f"{url}/health").status_code == 200
            broker.start()
            results.commit(curve=[curve("m", 500)])
            seen += until(events, lambda found: cells(found, "m"))
            assert [row[0] for row in cells(seen, "m")] == [0, 500]
            wait_until(lambda: app.state.feed.ready)
        results.producer.close(timeout=5)


def test_topics_may_come_later(broker: "Broker", served_lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MISSING_S", 1.0)
    app = build(ServeConfig(served_lake, broker.bootstrap, prefix="live-late."))
    with served(app) as url, following(url) as events:
        next(events)
        wait_until(lambda: "there is no topic live-late.curve" in app.state.feed.why)
        results = Results(broker.bootstrap, "live-late")
        results.commit(curve=[curve("m", 0)])
        assert len(cells(until(events, lambda found: bool(cells(found, "m"))), "m")) == 1
        wait_until(lambda: app.state.feed.ready)
        assert httpx.get(f"{url}/ready").json()["live"] == {"ready": True, "why": None}
        results.producer.close()


def test_a_browser_that_takes_nothing_is_let_go(
    results: Results, served_lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "_SEND_S", 0.5)
    app = build(results.config(served_lake))
    with served(app) as url, following(url) as events:
        next(events)
        host, _, port = url.removeprefix("http://").partition(":")
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            slow.connect((host, int(port)))
            slow.sendall(b"GET /v1/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            wait_until(lambda: app.state.feed.events.clients == 2)
            feed = app.state.feed
            for at in range(0, 60_000, 500):
                with feed.events.lock:
                    feed.events.board.put(
                        "curve", [curve(f"m{n}" * 200, at) for n in range(200)], time.monotonic()
                    )
                feed.events.stir()
                time.sleep(0.05)
                if feed.events.dropped:
                    break
            wait_until(lambda: feed.events.clients == 1)
            assert feed.events.dropped == 1
        results.commit(curve=[curve("last", 0)])
        until(events, lambda found: bool(cells(found, "last")))  # the other one saw all of it


def test_a_browser_that_goes_is_forgotten(results: Results, served_lake: Path) -> None:
    app = build(results.config(served_lake))
    with served(app) as url:
        with following(url) as events:
            next(events)
            assert app.state.feed.events.clients == 1
        wait_until(lambda: app.state.feed.events.clients == 0)
        assert app.state.feed.events.dropped == 0


def test_without_kafka_there_is_a_problem_that_says_so(served_lake: Path) -> None:
    with served(build(ServeConfig(served_lake))) as url:
        answer = httpx.get(f"{url}/v1/live")
        assert answer.status_code == 404
        assert "--bootstrap" in answer.json()["what_to_do"]


@pytest.mark.parametrize(
    ("query", "said"),
    [("medai=x", "did you mean media"), ("last_event_id=-1", "last_event_id"), ("media=", "media")],
)
def test_what_is_asked_wrongly_is_named(client: TestClient, query: str, said: str) -> None:
    answer = client.get(f"/v1/live?{query}")
    assert answer.status_code == 400
    assert said in answer.json()["detail"]


def test_a_place_that_is_no_number_is_reset(results: Results, served_lake: Path) -> None:
    with served(build(results.config(served_lake))) as url:
        headers = {"last-event-id": "of another service"}
        with httpx.stream("GET", f"{url}/v1/live", headers=headers) as answer:
            assert next(told(answer.iter_lines()))[0] == "reset"
