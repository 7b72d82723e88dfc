"""Forgetting on a real broker and database: tombstones, streams that run, what lands afterwards."""

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from infra.kafka.broker import Broker
from moodstream.sinks.cluster import Cluster, Topics, partition_of
from moodstream.sinks.forget import forget, look
from moodstream.sinks.forget_postgres import PostgresForgetting
from moodstream.sinks.forget_topics import forget_topics, is_open, look_topics
from moodstream.sinks.jsonrows import to_json
from moodstream.sinks.kafka import TopicPlan, create_topics
from moodstream.sinks.land import Lander
from moodstream.sinks.land_postgres import WAITING, PostgresLanding
from moodstream.sinks.landing import Landing
from moodstream.sinks.layout import TABLES
from moodstream.sinks.postgres import PostgresSink
from moodstream.sinks.read import Lake
from moodstream.transforms.elements import Commit
from moodstream.transforms.errors import UsageError

kafka = pytest.importorskip("kafka")
WHO = 'calls/Jané "D" [1].wav'
PARTITIONS = 2
MakeCommit = Callable[..., Commit]
QUICK = {
    "cleanup.policy": "compact",
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.01",
    "max.compaction.lag.ms": "100",
    "delete.retention.ms": "100",
}


class Results:
    """Topics of results and of snapshots, and who writes into them."""

    def __init__(self, bootstrap: str, settings: dict[str, str]) -> None:
        self.cluster, self.topics = Cluster(bootstrap), Topics(f"forget{uuid.uuid4().hex[:8]}.")
        plans = [TopicPlan(self.topics.of(table), PARTITIONS, settings) for table in TABLES]
        plans.append(TopicPlan(self.topics.snapshots("one"), PARTITIONS, {"cleanup.policy": "compact"}))
        create_topics(self.cluster, plans)
        self.producer = kafka.KafkaProducer(bootstrap_servers=bootstrap)

    def send(self, commit: Commit, tables: tuple[str, ...] = TABLES) -> None:
        for table in tables:
            for key, media_id, value in to_json(table, commit.rows.get(table, pa.table({}))):
                number = partition_of(media_id, PARTITIONS)
                self.producer.send(self.topics.of(table), value, key=key, partition=number)
        self.producer.flush()

    def snapshot(self, media_id: str, value: bytes | None) -> None:
        number = partition_of(media_id, PARTITIONS)
        place = self.topics.snapshots("one")
        self.producer.send(place, value, key=media_id.encode(), partition=number)
        self.producer.flush()

    def land(self, to: str | Path | Landing) -> dict[str, int]:
        lander = Lander(self.cluster, to, self.topics)
        landed = lander.round()
        lander.close()
        return landed

    def left(self, *names: str) -> dict[str, int]:
        return {
            one.place.removeprefix(self.topics.prefix): one.left
            for one in look_topics(self.cluster, self.topics, set(names or [WHO]))
            if one.left
        }


@pytest.fixture
def results(broker: Broker) -> Results:
    return Results(broker.bootstrap, {})


def stream(number: int, at_ms: int | None = None) -> str:
    return f"packets/0/{number}@{at_ms or int(time.time() * 1000) - 60_000}"


def test_every_key_gets_one_tombstone_and_nobody_elses(results: Results, commit: MakeCommit) -> None:
    mine = commit(WHO, analysis_id=stream(1), cells=4, alerts=1, dead=("x",))
    results.send(mine)
    results.send(mine)  # keys come again
    results.send(commit(WHO + "x", analysis_id=stream(2), cells=4))
    keys = sum(len(rows) for rows in mine.rows.values())
    assert forget_topics(results.cluster, results.topics, {WHO}) == keys
    assert forget_topics(results.cluster, results.topics, {WHO}) == 0
    assert results.left(WHO + "x").keys() == {"curve", "episode", "summary", "media"}
    told = [one for one in look_topics(results.cluster, results.topics, {WHO}) if one.left]
    assert all("not compacted" in one.why and "7 days" in one.why for one in told)  # and says when it goes


def test_where_topics_are_compacted_the_records_go(broker: Broker, commit: MakeCommit) -> None:
    """Kafka's cleaner runs every 15 s, on segments that are closed."""
    results = Results(broker.bootstrap, QUICK)
    results.send(commit(WHO, analysis_id=stream(1), cells=4))
    assert forget_topics(results.cluster, results.topics, {WHO}) > 0
    until = time.monotonic() + 90
    while results.left() and time.monotonic() < until:
        time.sleep(1.5)
        assert forget_topics(results.cluster, results.topics, {WHO}) == 0  # given again: closes segments
    assert results.left() == {}


def test_compaction_can_be_asked_for(results: Results, commit: MakeCommit) -> None:
    results.send(commit(WHO, analysis_id=stream(1), cells=1))
    forget_topics(results.cluster, results.topics, {WHO}, compact=True)
    why = {one.why for one in look_topics(results.cluster, results.topics, {WHO}) if one.left}
    assert why == {
        "compacted: gone when Kafka cleans the partition, 1 minutes after; give the command again then"
    }


@pytest.fixture(params=["lake", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator["Store"]:
    if request.param == "lake":
        yield LakeStore(tmp_path / "lake")
        return
    found = PostgresStore(request.getfixturevalue("postgres_server"), f"forget{uuid.uuid4().hex[:8]}")
    yield found
    found.drop()


class Store:
    """Where rows land, and are forgotten."""

    def landing(self) -> str | Path | Landing:
        raise NotImplementedError

    def forget(self, *names: str) -> int:
        raise NotImplementedError

    def left(self, *names: str) -> int:
        raise NotImplementedError

    def media(self) -> list[str]:
        raise NotImplementedError


class LakeStore(Store):
    def __init__(self, path: Path) -> None:
        self.path = path

    def landing(self) -> Path:
        return self.path

    def forget(self, *names: str) -> int:
        return forget(self.path, names)

    def left(self, *names: str) -> int:
        return sum(one.left for one in look(self.path, names))

    def media(self) -> list[str]:
        return sorted(Lake(self.path).media_ids())


class PostgresStore(Store):
    def __init__(self, dsn: str, schema: str) -> None:
        self.dsn, self.schema = dsn, schema

    def landing(self) -> Landing:
        return PostgresLanding(self.dsn, self.schema)

    def forget(self, *names: str) -> int:
        return self._call("forget", names)

    def left(self, *names: str) -> int:
        forgetting = PostgresForgetting(self.dsn, self.schema)
        left = sum(one.left for one in forgetting.look(names))
        forgetting.close()
        return left

    def _call(self, name: str, *arguments: Any) -> int:
        forgetting = PostgresForgetting(self.dsn, self.schema)
        found = getattr(forgetting, name)(*arguments)
        forgetting.close()
        return int(found)

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        import psycopg

        with psycopg.connect(self.dsn) as connection:
            connection.execute(f"SET search_path TO {self.schema}")
            return connection.execute(query).fetchall()

    def media(self) -> list[str]:
        return [name for (name,) in self.ask("SELECT media_id FROM media ORDER BY 1")]

    def drop(self) -> None:
        import psycopg

        with psycopg.connect(self.dsn) as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {self.schema} CASCADE")


def test_what_was_forgotten_does_not_land_again(results: Results, store: Store, commit: MakeCommit) -> None:
    """Forgotten while it runs: what is on its way in topics, and what the stream still writes, stays out."""
    call = commit(WHO, analysis_id=stream(1), cells=8, alerts=1)
    results.send(call, ("curve",))
    results.send(commit("other", analysis_id=stream(2)))
    results.land(store.landing())
    results.send(call, ("episode", "alert"))  # not landed yet
    assert store.forget(WHO) > 0
    forget_topics(results.cluster, results.topics, {WHO})
    results.send(call, ("summary", "media"))  # the stream was not stopped, and ends
    results.send(commit("third", analysis_id=stream(3)))
    landed = results.land(store.landing())
    assert store.media() == ["other", "third"]
    assert store.left(WHO) == 0
    assert landed["media"] == 1
    assert results.land(store.landing()) == {}  # and landing goes on
    again = commit(WHO, analysis_id=stream(9, int(time.time() * 1000) + 5000), cells=2)
    results.send(again)  # somebody calls again: that is another matter
    results.land(store.landing())
    assert store.media() == ['calls/Jané "D" [1].wav', "other", "third"]


def test_a_stream_that_is_open_is_told(results: Results, commit: MakeCommit) -> None:
    results.send(commit(WHO, analysis_id=stream(1), cells=2))
    results.snapshot(WHO, b"state")
    results.snapshot("other", b"state")
    assert is_open(results.cluster, results.topics, {WHO})
    forget_topics(results.cluster, results.topics, {WHO})
    (told,) = [one for one in look_topics(results.cluster, results.topics, {WHO}) if "snapshots" in one.place]
    assert told.left == 1
    assert "open" in told.why
    forget_topics(results.cluster, results.topics, {WHO}, stopped=True)
    assert not is_open(results.cluster, results.topics, {WHO})
    assert is_open(results.cluster, results.topics, {"other"})
    results.snapshot(WHO, None)
    assert not is_open(results.cluster, results.topics, {WHO})
    results.snapshot(WHO, b"marker")  # what a closed stream leaves goes

    def opened(snapshot: bytes) -> bool:
        return snapshot != b"marker"

    assert not is_open(results.cluster, results.topics, {WHO}, opened)
    assert forget_topics(results.cluster, results.topics, {WHO}, opened=opened) == 1


# ---------------------------------------------------------------- PostgreSQL


@pytest.fixture
def database(postgres_server: str) -> Iterator[PostgresStore]:
    pytest.importorskip("psycopg")
    found = PostgresStore(postgres_server, f"forget{uuid.uuid4().hex[:8]}")
    yield found
    found.drop()


def test_all_tables_of_a_database(database: PostgresStore, commit: MakeCommit, dead: MakeCommit) -> None:
    sink = PostgresSink(database.dsn, database.schema)
    sink.open()
    for one in (
        commit(WHO, alerts=2, dead=("x",)),
        commit(WHO, take=1),
        commit("b"),
        dead("c"),
        dead(WHO, take=2),
    ):
        sink.write(one)
    sink.flush()
    landing = PostgresLanding(database.dsn, database.schema)
    landing.open([])
    waiting = commit(WHO, analysis_id=stream(1), take=3)
    for table in WAITING:
        landing.append(table, waiting.rows[table], {}, {"x": 1})
    assert database.left(WHO) == 98
    forgetting = PostgresForgetting(database.dsn, database.schema)
    assert forgetting.forget([WHO], full=True) == 98
    assert database.left(WHO) == 0
    assert database.left("b") == 24 + 4 + 2 + 1
    tables = database.ask("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
    for (table,) in tables:
        assert not [row for row in database.ask(f"SELECT t::text FROM {table} t") if "calls/Jan" in row[0]], (
            table
        )
    assert forgetting.forget([WHO]) == 0
    forgetting.close()


def test_by_age_in_a_database(database: PostgresStore, commit: MakeCommit) -> None:
    sink = PostgresSink(database.dsn, database.schema)
    sink.open()
    for one in (commit("old"), commit("new")):
        sink.write(one)
    sink.flush()
    database.ask(
        "UPDATE media SET analyzed_at = now() - interval '40 days' WHERE media_id = 'old' RETURNING 1"
    )
    database.ask("UPDATE media SET analyzed_at = now() WHERE media_id = 'new' RETURNING 1")
    forgetting = PostgresForgetting(database.dsn, database.schema)
    assert forgetting.older_than(30) == ["old"]
    assert forgetting.older_than(50) == []
    forgetting.close()


def test_a_database_without_our_tables_is_refused(database: PostgresStore) -> None:
    with pytest.raises(UsageError, match="no tables"):
        database.forget(WHO)
