"""Landing on a real broker: rows are stored once, in lake and database, whatever is killed and when."""

import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from infra.kafka.broker import Broker
from moodstream.sinks.cluster import Cluster, Topics, partition_of
from moodstream.sinks.jsonrows import to_json
from moodstream.sinks.kafka import TopicPlan, create_topics
from moodstream.sinks.land import Lander, open_landing
from moodstream.sinks.land_lake import LakeLanding, write_id_of
from moodstream.sinks.land_postgres import WAITING, PostgresLanding
from moodstream.sinks.landing import Landing
from moodstream.sinks.layout import TABLES
from moodstream.sinks.read import Lake
from moodstream.transforms.elements import Commit
from moodstream.transforms.errors import StoreError, UsageError
from moodstream.transforms.tables import KEYS
from tests.support.land_worker import land_once

kafka = pytest.importorskip("kafka")
PARTITIONS = 2
Ask = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def schema(postgres_server: str) -> Iterator[str]:
    psycopg = pytest.importorskip("psycopg")
    name = f"land{uuid.uuid4().hex[:8]}"
    yield name
    with psycopg.connect(postgres_server) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")


@pytest.fixture
def ask(postgres_server: str, schema: str) -> Ask:
    psycopg = pytest.importorskip("psycopg")

    def query(text: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(postgres_server) as connection:
            connection.execute(f"SET search_path TO {schema}")
            return connection.execute(text).fetchall()

    return query


class Results:
    """Topics of results, and who writes into them."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap, self.prefix = bootstrap, f"land{uuid.uuid4().hex[:8]}."
        plans = [TopicPlan(self.prefix + table, PARTITIONS, {}) for table in TABLES]
        create_topics(Cluster(bootstrap), plans)
        self.producer = kafka.KafkaProducer(bootstrap_servers=bootstrap)

    def send(self, commit: Commit, tables: tuple[str, ...] = TABLES) -> None:
        for table in tables:
            for key, media_id, value in to_json(table, commit.rows.get(table, pa.table({}))):
                number = partition_of(media_id, PARTITIONS)
                self.producer.send(self.prefix + table, value, key=key, partition=number)
        self.producer.flush()

    def lander(self, to: str | Path | Landing) -> Lander:
        return Lander(Cluster(self.bootstrap), to, Topics(self.prefix))

    def land(
        self, processes: BaseContext, to: str, schema: str, moment: str = "", count: int = 0
    ) -> int | None:
        """In a process of its own, which may die; its exit status."""
        where = (self.bootstrap, self.prefix, to, schema, moment, count)
        worker = processes.Process(target=land_once, args=where)
        worker.start()
        worker.join()
        return worker.exitcode


@pytest.fixture
def results(broker: Broker) -> Results:
    return Results(broker.bootstrap)


def analysis(number: int) -> str:
    return f"packets/0/{number}@{1_790_000_000_000 + number}"


@pytest.mark.parametrize("store", ["lake", "postgres"])
def test_killed_at_any_moment_it_loses_and_doubles_nothing(
    store: str,
    results: Results,
    tmp_path: Path,
    commit: Callable[..., Commit],
    processes: BaseContext,
    request: pytest.FixtureRequest,
) -> None:
    if store == "postgres":
        to, schema = request.getfixturevalue("postgres_server"), request.getfixturevalue("schema")
    else:
        to, schema = str(tmp_path / "lake"), "-"
    draw = random.Random(5)
    moments = ("begun", "committed") if store == "lake" else ("begun", "written", "committed")
    wanted: Counter[tuple[Any, ...]] = Counter()
    died = 0
    for number in range(5):
        for part in range(3):
            name = f"m{number}.{part}"
            one = commit(name, analysis_id=analysis(10 * number + part), dead=("x",), alerts=2, cells=8)
            wanted.update(
                (table, *(row[column] for column in KEYS[table]))
                for table, rows in one.rows.items()
                for row in rows.to_pylist()
            )
            results.send(one)
        died += results.land(processes, to, schema, moments[number % len(moments)], draw.randint(1, 5)) != 0
    assert died >= 4
    assert results.land(processes, to, schema) == 0
    assert results.land(processes, to, schema) == 0
    found: Counter[tuple[Any, ...]] = Counter()
    for table in TABLES:
        columns = ", ".join(KEYS[table])
        if store == "lake":
            rows = [tuple(row.values()) for row in Lake(to).sql(f"SELECT {columns} FROM {table}").to_pylist()]
        else:
            rows = request.getfixturevalue("ask")(f"SELECT {columns} FROM {table}")
        found.update((table, *row) for row in rows)
    assert found == wanted
    if store == "postgres":
        for table in WAITING:
            assert request.getfixturevalue("ask")(f"SELECT count(*) FROM landing_{table}") == [(0,)]


def test_rows_wait_in_the_database_for_their_media_row(
    results: Results, postgres_server: str, schema: str, ask: Ask, commit: Callable[..., Commit]
) -> None:
    landing = PostgresLanding(postgres_server, schema)
    whole = commit("a", analysis_id=analysis(1), dead=("x",))
    results.send(whole, ("curve", "dead_letter"))
    lander = results.lander(landing)
    assert lander.round() == {"curve": 24, "dead_letter": 1}
    lander.close()
    assert ask("SELECT count(*) FROM curve") == [(0,)]
    assert ask("SELECT count(*), count(DISTINCT (channel, modality, start_ms)) FROM landing_curve") == [
        (24, 24)
    ]
    assert ask("SELECT reference FROM dead_letter") == [("x",)]
    results.send(whole, ("summary", "media"))
    lander = results.lander(PostgresLanding(postgres_server, schema))
    assert lander.round() == {"summary": 2, "media": 1}
    assert (ask("SELECT count(*) FROM curve"), ask("SELECT count(*) FROM summary")) == ([(24,)], [(2,)])
    assert ask("SELECT count(*) FROM landing_curve") == [(0,)]
    results.send(whole, ("episode",))  # as if its transaction's marker had come later on this partition
    assert lander.round() == {"episode": 4}
    assert ask("SELECT count(*) FROM episode") == [(4,)]
    lander.close()


def test_a_newer_analysis_replaces_the_media_and_an_older_one_is_dropped(
    results: Results, postgres_server: str, schema: str, ask: Ask, commit: Callable[..., Commit]
) -> None:
    lander = results.lander(PostgresLanding(postgres_server, schema))
    results.send(commit("a", analysis_id=analysis(2), version=2, cells=20, dead=("old",), alerts=1))
    lander.round()
    results.send(commit("a", analysis_id=analysis(3), version=3, cells=10, modalities=("music",)))
    lander.round()
    assert ask("SELECT model_version, count(*) FROM curve GROUP BY 1") == [("3", 10)]
    assert (ask("SELECT * FROM dead_letter"), ask("SELECT * FROM alert")) == ([], [])
    results.send(commit("a", analysis_id=analysis(1), version=1, cells=99))
    results.send(commit("a", analysis_id=analysis(5), version=5, cells=6, modalities=("music",)))
    results.send(commit("a", analysis_id=analysis(4), version=4, cells=99))
    lander.round()
    assert ask("SELECT model_version, count(*) FROM curve GROUP BY 1") == [("5", 6)]
    assert ask("SELECT count(*) FROM landing_curve") == [(0,)]
    lander.close()


@pytest.mark.parametrize("store", ["lake", "postgres"])
def test_a_second_process_is_refused(
    store: str,
    results: Results,
    tmp_path: Path,
    commit: Callable[..., Commit],
    request: pytest.FixtureRequest,
) -> None:
    def landing() -> Landing:
        if store == "lake":
            return LakeLanding(tmp_path / "lake")
        return PostgresLanding(request.getfixturevalue("postgres_server"), request.getfixturevalue("schema"))

    one, other = results.lander(landing()), results.lander(landing())
    results.send(commit("a", analysis_id=analysis(1)))
    assert one.round()["curve"] == 24
    with pytest.raises(UsageError, match="another process lands"):
        other.round()
    one.close()
    other.close()


def test_provisional_rows_do_not_land(
    results: Results, tmp_path: Path, commit: Callable[..., Commit]
) -> None:
    whole = commit("a", analysis_id=analysis(1))
    curve = whole.rows["curve"]
    at = curve.schema.get_field_index("is_final")
    provisional = curve.set_column(at, curve.schema.field(at), pa.repeat(False, len(curve)))
    results.send(replace(whole, rows={**whole.rows, "curve": provisional}), ("curve",))
    results.send(whole)
    lander = results.lander(tmp_path / "lake")
    assert lander.round()["curve"] == 24
    assert lander.lag() == 0
    lander.close()


def test_stores_by_name(tmp_path: Path) -> None:
    assert isinstance(open_landing("postgresql://u@h/d"), PostgresLanding)
    assert isinstance(open_landing(tmp_path), LakeLanding)
    with pytest.raises(UsageError, match="local folder"):
        open_landing("s3://bucket/lake")
    with pytest.raises(StoreError, match="cannot use the database"):
        PostgresLanding("postgresql://nobody@/nothing?host=/nowhere").open([])


def test_writes_of_an_analysis_grow_with_time() -> None:
    assert write_id_of("packets/0/7@1790000000000") < write_id_of("packets/0/7@1790000002000")
    with pytest.raises(ValueError, match="not the id of a live analysis"):
        write_id_of("a file")
