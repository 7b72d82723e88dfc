"""What counts in a lake or a folder of Parquet files, whoever writes, reads, fails or is killed beside it."""

import os
import resource
import shutil
import signal
import time

import apache_beam as beam
import polars as pl
import pyarrow as pa
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from deltalake import DeltaTable, write_deltalake

from moodstream.sinks.lake import LakeSink, WriteLake, done
from moodstream.sinks.lake import append as lake_append
from moodstream.sinks.layout import STORED, TABLES, WriteIds, files, read, write_id_at
from moodstream.sinks.parquet import ParquetSink, WriteParquet
from moodstream.sinks.read import Lake
from moodstream.sinks.stores import open_store
from moodstream.transforms.elements import Commit
from moodstream.transforms.errors import StoreError, UsageError
from moodstream.transforms.tables import SCHEMAS

KINDS = {"lake": LakeSink, "parquet": ParquetSink}


@pytest.fixture(params=KINDS)
def sink(request, tmp_path):
    sink = KINDS[request.param](tmp_path / "store")
    sink.open()
    return sink


def put(sink, *commits):
    for commit in commits:
        sink.write(commit)
    sink.flush()
    return Lake(sink.path)


def versions(lake):
    """model_version and number of curve rows of each media."""
    rows = lake.sql(
        "SELECT media_id, model_version, count(*) AS n FROM curve GROUP BY ALL ORDER BY ALL"
    ).to_pylist()
    return [(row["media_id"], row["model_version"], row["n"]) for row in rows]


def test_every_row_comes_back_as_it_went_in(sink, commit):
    name = "a\"'\\ ../{},\n🎵 é"
    written = commit(name, dead=("x",), alerts=2)
    lake = put(sink, written, commit("b"))
    for table, rows in written.rows.items():
        found = lake.rows(table, name)
        assert pl.DataFrame(found).equals(pl.DataFrame(rows)), table
        assert found.schema.names == SCHEMAS[table].names


def test_a_lake_of_an_older_version_gets_the_new_columns(tmp_path, commit):
    new = {"responsible", "overlap_ms"}
    path, old = tmp_path / "lake", commit("old")
    for number, table in enumerate(TABLES):
        rows = old.rows.get(table, SCHEMAS[table].empty_table())
        rows = rows.select([name for name in rows.column_names if name not in new])
        rows = rows.append_column(STORED[table].field("write_id"), pa.array([1] * len(rows), pa.int64()))
        stats = {"delta.dataSkippingStatsColumns": "media_id,take,write_id"}
        DeltaTable.create(path / table, rows.schema, configuration=stats)
        if len(rows):
            write_deltalake(path / table, rows, mode="append")
        if not number:
            assert Lake(path).media_ids() == []
    sink = LakeSink(path)
    sink.open()
    lake = put(sink, commit("new"))
    found = lake.sql(
        "SELECT media_id, responsible, overlap_ms FROM summary WHERE modality = 'music' ORDER BY 1"
    )
    assert found["media_id"].to_pylist() == ["new", "old"]
    assert found["responsible"].null_count == 2
    assert lake.rows("curve", "old")["responsible"].null_count == 12 * 2
    assert len(lake.curve("old")) == len(lake.curve("new")) == 12


def test_nothing_is_visible_before_the_flush(sink, commit):
    sink.write(commit("a"))
    assert Lake(sink.path).media().is_empty()
    assert Lake(sink.path).sql("FROM curve").num_rows == 0


def test_a_new_analysis_replaces_all_rows_of_its_media_and_no_others(sink, commit):
    put(sink, commit("a", cells=20, dead=("old",), alerts=2), commit("b", cells=8, alerts=1))
    lake = put(sink, commit("a", cells=10, version=2, modalities=("music",)))
    assert versions(lake) == [("a", "2", 10), ("b", "1", 16)]
    assert len(lake.curve("a")) == 10
    assert lake.dead_letters().is_empty()
    assert lake.sql("SELECT DISTINCT media_id FROM alert").to_pylist() == [{"media_id": "b"}]
    assert len(lake.media()) == 2


def test_an_older_analysis_that_comes_late_does_not_count(sink, commit):
    put(sink, commit("a", version=2, analysis_id="1"))
    assert versions(put(sink, commit("a", version=1, analysis_id="2"))) == [("a", "2", 24)]
    assert Lake(sink.path).curve("a")["model_version"].unique().to_list() == ["2"]
    assert sink.done()["a", 0][0] == "hash of a 2"


@pytest.mark.parametrize("apart", [True, False])
def test_the_same_commit_twice_counts_once(sink, commit, apart):
    same = commit("a", dead=("x",))
    if apart:
        put(sink, same)
        lake = put(sink, same)
    else:
        lake = put(sink, same, same)
    assert versions(lake) == [("a", "1", 24)]
    assert len(lake.dead_letters()) == len(lake.media()) == 1
    assert len(lake.curve("a")) == 12


def test_takes_stand_beside_each_other(sink, commit):
    lake = put(sink, commit("a"), commit("a", take=1, cells=4))
    assert (len(lake.media()), len(lake.curve("a")), len(lake.curve("a", take=0))) == (2, 4, 12)


def test_half_a_media_is_invisible_until_its_media_row_comes(sink, commit):
    put(sink, commit("a"))
    new = commit("a", version=2, cells=30)
    lake = put(sink, Commit("a", 0, {"curve": new.rows["curve"].slice(0, 20)}))
    assert versions(lake) == [("a", "1", 24)]
    lake = put(sink, Commit("a", 0, {**new.rows, "curve": new.rows["curve"].slice(20)}))
    assert versions(lake) == [("a", "2", 60)]


def test_a_retry_after_discard_does_not_double_the_first_half(sink, commit):
    new = commit("a", cells=30)
    first = Commit("a", 0, {"curve": new.rows["curve"].slice(0, 20)})
    put(sink, first)
    sink.discard()
    lake = put(sink, first, Commit("a", 0, {**new.rows, "curve": new.rows["curve"].slice(20)}))
    assert versions(lake) == [("a", "1", 60)]


def test_dead_letters_of_the_newest_analysis_count(sink, commit, dead):
    lake = put(sink, commit("a", dead=("x",)), dead("b"), dead("b", error="gone"))
    assert lake.dead_letters()["error"].to_list() == ["truncated", "gone"]
    lake = put(sink, dead("a"))
    assert lake.dead_letters()["error"].to_list() == ["empty", "gone"]
    assert len(lake.curve("a")) == 12  # what was known of the media stays
    assert lake.rows("dead_letter", "a").to_pylist()[0]["error"] == "empty"
    lake = put(sink, commit("b"))
    assert lake.dead_letters()["media_id"].to_list() == ["a"]


def test_done_tells_what_need_not_be_done_again(sink, commit, dead):
    assert done(sink.path / "nowhere") == {}
    assert sink.done() == {}
    put(sink, commit("a"), commit("a", version=2), dead("b"), commit("c", take=3))
    music = {"fused": "1", "music": "1"}
    assert sink.done() == {
        ("a", 0): ("hash of a 2", {"fused": "2", "music": "2"}, "mix"),
        ("c", 3): ("hash of c 1", music, "mix"),
    }


def test_rows_of_another_schema_are_a_bug(sink, commit):
    whole = commit("a")
    with pytest.raises(ValueError, match="another schema"):
        sink.write(Commit("a", 0, {"curve": whole.rows["episode"]}))
    with pytest.raises(ValueError, match="no table is called 'curves'"):
        sink.write(Commit("a", 0, {"curves": whole.rows["curve"]}))


@pytest.mark.parametrize("name", ["a b", "é🎵", "50%", "x'y", 'q"q', "a?b*", "a#b"])
def test_odd_folder_names(tmp_path, commit, name):
    for kind in KINDS.values():
        sink = kind(tmp_path / kind.__name__ / name)
        sink.open()
        assert versions(put(sink, commit("a"))) == [("a", "1", 24)]


@pytest.mark.parametrize("name", ["l[1]", "a%20b", "a\\b"])
def test_folder_names_that_delta_cannot_use(tmp_path, commit, name):
    with pytest.raises(UsageError, match="Delta Lake cannot use"):
        LakeSink(tmp_path / name).open()
    sink = ParquetSink(tmp_path / name)
    sink.open()
    assert versions(put(sink, commit("a"))) == [("a", "1", 24)]


@pytest.mark.parametrize("kind", KINDS.values())
def test_an_unwritable_place_is_refused_before_any_work(tmp_path, kind):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match="file"):
        kind(tmp_path / "file" / "lake").open()


def test_a_name_tells_the_store(tmp_path):
    kinds = {"here/lake": LakeSink, "parquet:here": ParquetSink}
    assert all(type(open_store(name)) is kind for name, kind in kinds.items())
    assert type(open_store("postgresql://db/x")).__name__ == "PostgresSink"


@pytest.mark.parametrize("write", [WriteLake, WriteParquet])
def test_in_a_pipeline(tmp_path, commit, write):
    commits = [commit(f"t{i}") for i in range(5)]
    with TestPipeline("FnApiRunner") as p:
        _ = p | beam.Create(commits) | write(tmp_path / "store")
    assert versions(Lake(tmp_path / "store")) == [(f"t{i}", "1", 24) for i in range(5)]


def test_write_ids_grow_with_time():
    ids = WriteIds()
    before = write_id_at(time.time() - 0.01)
    drawn = [ids() for _ in range(10_000)]
    assert before < drawn[0]
    assert drawn == sorted(set(drawn))
    assert drawn[-1] < write_id_at(time.time() + 1) < 1 << 63


def test_one_track_is_read_from_one_file(sink, commit):
    for i in range(4):
        lake = put(sink, *(commit(f"{i} {j}") for j in range(3)))
    media = read(sink.path, "media")
    for write_id in media["write_id"]:
        assert len(files(sink.path, "curve", (write_id, write_id))) == 1
    assert len(lake.curve("2 1")) == 12


# ---------------------------------------------------------------- processes beside each other


def _write(kind, path, commits, each=1):
    sink = KINDS[kind](path)
    sink.open()
    for i in range(0, len(commits), each):
        put(sink, *commits[i : i + each])


def _run(processes, target, *calls):
    workers = [processes.Process(target=target, args=arguments) for arguments in calls]
    for worker in workers:
        worker.start()
    return workers


@pytest.mark.parametrize("kind", KINDS)
def test_writers_beside_each_other_lose_and_double_nothing(tmp_path, commit, processes, kind):
    """Four processes create the lake at once and analyse one shared media and their own, each twice."""
    path = tmp_path / "store"
    work = [
        [commit("shared", version=10 * w + i, cells=6 + w) for i in range(2)]
        + [commit(f"own {w} {i % 2}", version=i) for i in range(4)]
        for w in range(4)
    ]
    for worker in _run(processes, _write, *((kind, path, commits) for commits in work)):
        worker.join()
        assert worker.exitcode == 0
    own = [(f"own {w} {i}", str(2 + i), 24) for w in range(4) for i in range(2)]
    assert versions(Lake(path)) == [*own, ("shared", "31", 18)]


def _write_until(kind, path, commits, stop):
    for commit in commits:
        _write(kind, path, [commit])
        if stop.is_set():
            return


@pytest.mark.parametrize("kind", KINDS)
def test_readers_beside_a_writer_never_see_half_a_media(tmp_path, commit, processes, kind):
    path = tmp_path / "store"
    work = [commit("a", version=v, cells=4 + v) for v in range(200)]
    _write(kind, path, work[:1])
    stop = processes.Event()
    (worker,) = _run(processes, _write_until, (kind, path, work[1:], stop))
    seen = set()
    while worker.is_alive() and len(seen) < 4:
        curve, episodes = (
            Lake(path).curve("a"),
            Lake(path).sql("SELECT DISTINCT model_version AS v FROM episode"),
        )
        (version,) = set(curve["model_version"])
        assert len(curve) == 4 + int(version)
        assert episodes.num_rows == 1
        (row,) = Lake(path).sql("SELECT any_value(model_version) v, count(*) n FROM best").to_pylist()
        assert row["n"] == 4 + int(row["v"])
        seen.add(version)
    stop.set()
    worker.join()
    assert worker.exitcode == 0
    assert len(seen) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_killed_writers_leave_whole_media_only(tmp_path, commit, processes, kind):
    path = tmp_path / "store"
    _write(kind, path, [commit("first")])
    work = [commit(f"m{i}", cells=20) for i in range(120)]
    for delay in (0.05, 0.13):
        (worker,) = _run(processes, _write, (kind, path, work, 2))
        before = len(files(path, "media"))
        while len(files(path, "media")) == before:
            assert worker.is_alive()
        time.sleep(delay)
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        lake = Lake(path)
        assert {n for media_id, _, n in versions(lake) if media_id != "first"} == {40}
        assert lake.sql("SELECT DISTINCT media_id FROM summary").num_rows == len(lake.media())
    assert len(lake.media()) < 120  # it was killed indeed
    _write(kind, path, [commit(f"m{i}", version=2) for i in range(10)], 5)  # and the next run goes on
    assert {v for m, v, _ in versions(Lake(path)) if m in ("m0", "m9")} == {"2"}


def _on_a_full_disk(kind, path, commits, answer):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    sink = KINDS[kind](path)
    sink.open()
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (20_000, 20_000)
    )  # the first table still fits, the curve does not
    try:
        put(sink, *commits)
    except StoreError as error:
        answer.put(str(error))


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_is_a_clear_error_and_the_lake_stays_as_it_was(tmp_path, commit, processes, kind):
    path = tmp_path / "store"
    _write(kind, path, [commit("a"), commit("b")])
    before = versions(Lake(path))
    answer = processes.Queue()
    big = [commit(f"n{i}", cells=1500, arousal=lambda t: t * 7919 % 1) for i in range(3)]
    (worker,) = _run(processes, _on_a_full_disk, (kind, path, [commit("a", version=2), *big], answer))
    message = answer.get(timeout=60)
    worker.join()
    assert str(path) in message
    assert "cannot write" in message
    assert versions(Lake(path)) == before
    put(open_store(path if kind == "lake" else f"parquet:{path}"), commit("a", version=2))
    assert versions(Lake(path))[0] == ("a", "2", 24)


def test_a_retry_after_a_failed_flush_does_not_double_what_went_in(tmp_path, commit, monkeypatch):
    sink = LakeSink(tmp_path / "lake")
    sink.open()
    new = commit("a", cells=30)
    first = Commit("a", 0, {name: new.rows[name] for name in ("curve", "summary")})
    sink.write(first)
    with monkeypatch.context() as patch:
        patch.setattr("moodstream.sinks.lake.append", _no_summaries)
        with pytest.raises(StoreError, match="full"):
            sink.flush()
    assert len(read(sink.path, "curve")) == 60
    lake = put(sink, first, Commit("a", 0, {"media": new.rows["media"]}))
    assert versions(lake) == [("a", "1", 60)]


def _no_summaries(path, table, rows, append=lake_append):
    if table == "summary":
        raise StoreError("disk full")
    append(path, table, rows)


def test_a_lake_that_is_gone_is_a_store_error(sink, commit):
    shutil.rmtree(sink.path)
    sink.path.write_text("in the way")
    sink.write(commit("a"))
    with pytest.raises(StoreError):
        sink.flush()


def test_reading_where_nothing_is(tmp_path):
    with pytest.raises(UsageError, match="is not a lake"):
        Lake(tmp_path)
    for table in TABLES:
        with pytest.raises(UsageError):
            files(tmp_path, table)
