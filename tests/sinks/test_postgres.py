"""Rows in a real PostgreSQL: what is there, what is replaced, and what a crash leaves."""

import pickle
import uuid

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.testing.test_pipeline import TestPipeline

from moodstream.sinks.copytext import to_csv
from moodstream.sinks.postgres import PostgresSink, WritePostgres
from moodstream.transforms.elements import Commit
from moodstream.transforms.errors import StoreError

psycopg = pytest.importorskip("psycopg")


@pytest.fixture
def schema(postgres_server):
    name = f"mood{uuid.uuid4().hex[:8]}"
    yield name
    with psycopg.connect(postgres_server) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")


@pytest.fixture
def sink(postgres_server, schema):
    sink = PostgresSink(postgres_server, schema)
    sink.open()
    yield sink
    sink.close()


@pytest.fixture
def ask(postgres_server, schema):
    def query(text):
        with psycopg.connect(postgres_server) as connection:
            connection.execute(f"SET search_path TO {schema}")
            return connection.execute(text).fetchall()

    return query


def test_every_value_comes_back_as_it_went_in(sink, ask, commit):
    name = "a\"'\\ {},\n🎵 é"
    written = commit(name, dead=("x",), alerts=1)
    sink.write(written)
    sink.flush()
    assert ask(
        "SELECT media_id, sources, tags, models, encoder_ms, channels, duration_ms, modalities FROM media"
    ) == [
        (
            name,
            [f"/music/{name}"],
            {"title": name},
            {"fused": "1", "music": "1"},
            {"music": 6000},
            2,
            6000,
            ["fused", "music"],
        )
    ]
    rows = ask(
        "SELECT start_ms, valence, emotion_scores, role, reason FROM curve WHERE modality='music' ORDER BY 1"
    )
    expected = [
        (
            r["start_ms"],
            r["valence"],
            dict(r["emotion_scores"]) if r["emotion_scores"] else None,
            None,
            r["reason"],
        )
        for r in written.rows["curve"].to_pylist()
        if r["modality"] == "music"
    ]
    assert [r[0] for r in rows] == [r[0] for r in expected]
    assert [r[2:] for r in rows] == [r[2:] for r in expected]
    assert [r[1] for r in rows] == [None if r[1] is None else pytest.approx(r[1]) for r in expected]
    counts = {t: ask(f"SELECT count(*) FROM {t}")[0][0] for t in written.rows}
    assert counts == {t: len(rows) for t, rows in written.rows.items()}
    assert sink.done() == {(name, 0): (f"hash of {name} 1", {"fused": "1", "music": "1"}, "mix")}


def test_a_new_analysis_replaces_all_rows_of_its_media_and_no_others(sink, ask, commit):
    for media_id, cells in (("a", 20), ("b", 8)):
        sink.write(commit(media_id, cells=cells, dead=("old",), alerts=2))
    sink.flush()
    sink.write(commit("a", cells=10, version=2, modalities=("music",)))
    sink.flush()
    assert ask("SELECT media_id, model_version, count(*) FROM curve GROUP BY 1, 2 ORDER BY 1") == [
        ("a", "2", 10),
        ("b", "1", 16),
    ]
    assert ask("SELECT media_id FROM dead_letter") == [("b",)]
    assert ask("SELECT DISTINCT media_id FROM alert") == [("b",)]


def test_an_older_analysis_that_comes_late_changes_nothing(sink, ask, commit):
    sink.write(commit("a", version=2))
    sink.flush()
    sink.write(commit("a", version=1, cells=99))
    sink.flush()
    assert ask("SELECT DISTINCT model_version FROM curve") == [("2",)]
    sink.write(commit("a", version=4))
    sink.write(commit("a", version=3))
    sink.flush()
    assert ask("SELECT DISTINCT model_version FROM curve") == [("4",)]


def test_the_same_commit_twice_counts_once(sink, ask, commit):
    same = commit("a", dead=("x", "x"))
    sink.write(same)
    sink.write(same)
    sink.flush()
    sink.write(same)
    sink.flush()
    assert ask("SELECT count(*) FROM curve") == [(24,)]
    assert ask("SELECT count(*) FROM dead_letter") == [(1,)]


def test_rows_wait_for_their_media_row(sink, ask, commit):
    whole = commit("a")
    sink.write(Commit("a", 0, {"curve": whole.rows["curve"]}))
    sink.flush()
    assert ask("SELECT count(*) FROM curve") == [(0,)]
    sink.write(Commit("a", 0, {"summary": whole.rows["summary"], "media": whole.rows["media"]}))
    sink.flush()
    assert ask("SELECT count(*) FROM curve") == [(24,)]


def test_dead_letters_without_a_media(sink, ask, commit, dead):
    sink.write(commit("a", dead=("x",)))
    sink.write(dead("b"))
    sink.flush()
    sink.write(dead("a", error="gone"))
    sink.flush()
    assert ask("SELECT media_id, error FROM dead_letter ORDER BY 1") == [("a", "gone"), ("b", "empty")]
    assert ask("SELECT count(*) FROM curve") == [(24,)]
    sink.write(commit("b"))
    sink.flush()
    assert ask("SELECT media_id FROM dead_letter") == [("a",)]


def test_a_refused_flush_leaves_everything_as_it_was(sink, ask, commit):
    sink.write(commit("a"))
    sink.flush()
    bad = commit("a", version=2)
    curve = bad.rows["curve"]
    double = Commit("a", 0, {**bad.rows, "curve": pa.concat_tables([curve, curve])})  # two rows of one key
    sink.write(double)
    with pytest.raises(StoreError, match="refused"):
        sink.flush()
    assert ask("SELECT DISTINCT model_version FROM curve") == [("1",)]
    sink.flush()  # nothing stayed behind
    sink.write(bad)
    sink.flush()
    assert ask("SELECT DISTINCT model_version FROM curve") == [("2",)]


def _write_many(dsn, schema, commits):
    sink = PostgresSink(dsn, schema)
    sink.open()
    for commit in commits:
        sink.write(commit)
        sink.flush()
    sink.close()


def test_writers_beside_each_other(postgres_server, schema, ask, commit, processes):
    work = [[commit(f"m{i % 4}", version=10 * w + i) for i in range(8)] for w in range(3)]
    workers = [processes.Process(target=_write_many, args=(postgres_server, schema, w)) for w in work]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert ask(
        "SELECT media_id, min(model_version), max(model_version), count(*) FROM curve GROUP BY 1 ORDER BY 1"
    ) == [(f"m{i}", str(24 + i), str(24 + i), 24) for i in range(4)]


def test_an_older_database_gets_the_new_columns(sink, ask, commit, postgres_server, schema):
    with psycopg.connect(postgres_server) as connection:
        connection.execute(f"ALTER TABLE {schema}.curve DROP COLUMN reason")
    sink.open()
    sink.write(commit("a"))
    sink.flush()
    assert ask("SELECT DISTINCT reason FROM curve WHERE reason IS NOT NULL") == [("silence",)]


def test_no_database():
    with pytest.raises(StoreError, match="cannot use the database"):
        PostgresSink("postgresql://nobody@/nothing?host=/nowhere").open()


def test_an_open_sink_travels_without_its_connection(sink):
    assert pickle.loads(pickle.dumps(sink)).database.dsn == sink.database.dsn


def test_in_a_pipeline(postgres_server, schema, ask, commit):
    with TestPipeline("FnApiRunner") as p:
        _ = p | beam.Create([commit(f"t{i}") for i in range(5)]) | WritePostgres(postgres_server, schema)
    assert ask("SELECT count(*) FROM media") == [(5,)]


def test_csv_of_nothing_and_of_slices():
    lists = pa.array([["a"], [], None, ["b,", 'c"']])
    maps = pa.array([[("x", 0.5)], None, [], [("y", 0.1)]], pa.map_(pa.string(), pa.float32()))
    table = pa.table({"l": lists, "m": maps})
    assert to_csv(table.slice(2)) == b',"{}"\n"{""b,"",""c\\""""}","{""y"": 0.1}"\n'
    assert to_csv(table.slice(0, 0)) == b""
