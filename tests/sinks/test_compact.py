"""Compaction: what goes, what stays, and that nobody beside it notices."""

import contextlib

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from moodstream.sinks.compact import compact
from moodstream.sinks.lake import LakeSink, create
from moodstream.sinks.layout import TABLES, files, read
from moodstream.sinks.parquet import ParquetSink
from moodstream.sinks.read import Lake
from moodstream.transforms.elements import Commit
from moodstream.transforms.errors import StoreError, UsageError


@pytest.fixture
def sink(tmp_path):
    sink = LakeSink(tmp_path / "lake")
    sink.open()
    return sink


def put(sink, *commits):
    for commit in commits:
        sink.write(commit)
    sink.flush()


def visible(path):
    lake = Lake(path)
    return {table: lake.sql(f"FROM {table} ORDER BY ALL").to_pylist() for table in (*TABLES, "best")}


def test_small_files_become_one_and_readers_see_the_same(sink, commit, dead):
    for i in range(6):
        put(sink, commit(f"m{5 - i}", alerts=1, dead=("x",)), commit("again", version=i), dead(f"bad {i}"))
    before = visible(sink.path)
    report = {c.table: c for c in compact(sink.path)}
    assert visible(sink.path) == before
    assert {name: len(files(sink.path, name)) for name in TABLES} == dict.fromkeys(TABLES, 1)
    assert (report["curve"].files_before, report["curve"].files_after, report["curve"].rows_removed) == (
        6,
        1,
        0,
    )
    ids = pq.read_table(files(sink.path, "curve")[0], columns=["media_id"])["media_id"].to_pylist()
    assert ids == sorted(ids)
    assert Lake(sink.path).curve("m3").height == 12
    put(sink, commit("m3", version=2, cells=5))  # and writing goes on
    assert Lake(sink.path).curve("m3").height == 5


def test_what_no_longer_counts_goes_once_it_is_old(sink, commit, dead):
    put(sink, commit("a", cells=50, dead=("old",)), commit("b"))
    put(sink, commit("a", version=2), dead("c"), dead("c"), dead("b"))
    half = commit("half", cells=30)
    put(sink, Commit("half", 0, {"curve": half.rows["curve"]}))
    before = visible(sink.path)
    assert sum(c.rows_removed for c in compact(sink.path, retention_hours=24)) == 0
    report = {c.table: c.rows_removed for c in compact(sink.path, retention_hours=0)}
    assert visible(sink.path) == before
    assert report["curve"] == 100 + 60
    assert report["media"] == 1
    assert len(read(sink.path, "curve")) == 24 + 24
    assert len(read(sink.path, "dead_letter")) <= 3
    on_disk = set((sink.path / "curve").glob("*.parquet"))
    assert on_disk == {sink.path / "curve" / name.rpartition("/")[2] for name in files(sink.path, "curve")}
    assert sum(c.rows_removed for c in compact(sink.path, retention_hours=0)) == 0


def test_a_writer_halfway_keeps_its_rows(sink, commit):
    whole = commit("a", cells=30)
    put(sink, Commit("a", 0, {"curve": whole.rows["curve"]}))
    compact(sink.path)
    put(sink, Commit("a", 0, {"summary": whole.rows["summary"], "media": whole.rows["media"]}))
    assert Lake(sink.path).curve("a").height == 30


def test_a_reader_who_listed_the_files_can_still_read_them(sink, commit):
    put(sink, commit("a"))
    put(sink, commit("b"))
    with Lake(sink.path).connection() as connection:
        compact(sink.path)
        assert connection.sql("SELECT count(*) FROM curve").fetchall() == [(48,)]


def _write_on(path, commits):
    sink = LakeSink(path)
    sink.open()
    for commit in commits:
        put(sink, commit)


def _compact_on(path, times):
    for _ in range(times):
        with contextlib.suppress(StoreError):  # the other one was faster
            compact(path)


def test_beside_writers_and_another_compaction(tmp_path, commit, processes):
    path = tmp_path / "lake"
    for table in TABLES:
        create(path, table)
    work = [[commit(f"{w} {i % 5}", version=i) for i in range(10)] for w in range(2)]
    running = [processes.Process(target=_write_on, args=(path, commits)) for commits in work]
    running += [processes.Process(target=_compact_on, args=(path, 4)) for _ in range(2)]
    for process in running:
        process.start()
    for process in running:
        process.join()
        assert process.exitcode == 0
    expected = [(f"{w} {i}", str(5 + i), 24) for w in range(2) for i in range(5)]
    query = "SELECT media_id, model_version, count(*) FROM curve GROUP BY ALL ORDER BY ALL"
    with Lake(path).connection() as connection:
        assert connection.sql(query).fetchall() == expected
    stored = read(path, "curve")
    assert len(stored) == 2 * 10 * 24  # every row once, counted or not
    compact(path)
    assert len(read(path, "curve")) == len(stored)


def test_two_compactions_of_the_same_files_do_not_double_them(sink, commit, monkeypatch):
    """The second one read the table before the first one was done."""
    from moodstream.sinks import compact as module

    put(sink, commit("a"))
    put(sink, commit("b"))
    stale = {table: DeltaTable(sink.path / table) for table in TABLES}
    compact(sink.path)
    monkeypatch.setattr(module, "DeltaTable", lambda folder: stale[folder.name])
    with pytest.raises(StoreError, match="another compaction"):
        compact(sink.path)
    assert len(read(sink.path, "curve")) == 48


def test_only_lakes_can_be_compacted(tmp_path, commit):
    sink = ParquetSink(tmp_path / "rows")
    sink.open()
    put(sink, commit("a"))
    for path in (tmp_path / "rows", tmp_path / "nowhere"):
        with pytest.raises(UsageError, match="not a Delta lake"):
            compact(path)
