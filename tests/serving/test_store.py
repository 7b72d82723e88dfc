"""The cache follows the lake: what is new comes in, what is gone goes out, nothing is a mixture."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from deltalake import DeltaTable

from moodstream.pipelines.view import pairs
from moodstream.serving.config import ServeConfig
from moodstream.serving.deadline import Job, StoppedError
from moodstream.serving.store import filling, store
from moodstream.serving.store.cache import Cache, forget, stamp
from moodstream.serving.store.filling import Filler
from moodstream.serving.store.listing import Listing
from moodstream.serving.store.store import NotThereError, Store
from moodstream.sinks.compact import compact
from moodstream.sinks.parquet import ParquetSink
from moodstream.sinks.read import Lake
from moodstream.transforms.elements import Commit
from moodstream.transforms.errors import StoreError, UsageError
from tests.pipelines.conftest import MemoryLake, add_media, add_track
from tests.serving.conftest import write_lake


@contextmanager
def opened(lake: Path, **settings: object) -> Iterator[Store]:
    made = Store(ServeConfig(lake, **settings))  # type: ignore[arg-type]
    made.start()
    try:
        assert made.wait(30)
        yield made
    finally:
        made.close()


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def ids(of: Store) -> list[str]:
    return [orjson.loads(item)["media_id"] for item in of.page(Listing(limit=1000)).items]


def track(name: str, seconds: float = 12, day: int = 1, seed: int = 0) -> MemoryLake:
    lake = MemoryLake()
    add_track(lake, name, seconds, "music", seed=seed)
    add_media(lake, name, seconds, "audio", name, analyzed_at=datetime(2026, 2, day, tzinfo=UTC))
    return lake


def test_all_tracks_are_the_lakes_own(served_lake: Path, tmp_path: Path) -> None:
    lake = Lake(served_lake)
    with opened(served_lake, cache=tmp_path) as made:
        assert ids(made) == sorted(lake.media_ids())
        for name in lake.media_ids():
            best = {(row["channel"], row["modality"]) for row in lake.curve(name).iter_rows(named=True)}
            with made.media(name) as one:
                tracks = one.tracks()
            assert {(each.channel, each.modality) for each in tracks} == best
            for each in tracks:
                rows = each.block.to_arrow(name, 0, each.channel, each.modality).to_pylist()
                wanted = lake.rows("curve", name).to_pylist()
                mine = [r for r in wanted if (r["channel"], r["modality"]) == (each.channel, each.modality)]
                for row in mine:
                    row["emotion_scores"] = row["emotion_scores"] and pairs(row["emotion_scores"])
                assert rows == sorted(mine, key=lambda row: row["start_ms"])


def test_what_is_written_comes_in(own_lake: Path) -> None:
    with opened(own_lake) as made:
        before = made.version
        write_lake(track("new.mp3"), own_lake)
        until(lambda: "new.mp3" in ids(made))
        assert made.version != before
        settled = made.version
        time.sleep(2 * store.LOOK_S)
        assert made.version == settled  # nothing new, nothing changed


def test_what_is_asked_for_comes_in_at_once(own_lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(own_lake) as made:
        monkeypatch.setattr(store, "LOOK_S", 60)
        time.sleep(1.1)
        write_lake(track("new.mp3"), own_lake)
        with made.media("new.mp3") as one:
            assert len(one.tracks()[0].block) == 24
        with pytest.raises(NotThereError, match="newer"), made.media("newer.mp3"):
            pass


def test_analysed_again_it_is_replaced_as_a_whole(own_lake: Path) -> None:
    write_lake(track("x", 12, 1), own_lake)
    with opened(own_lake) as made:
        write_lake(track("x", 20, 2, seed=5), own_lake)

        def length() -> int:
            with made.media("x") as one:
                cells = len(one.tracks()[0].block)
                assert (one.found.duration_ms, cells) in ((12_000, 24), (20_000, 40))
                assert orjson.loads(one.rows("summary"))[0]["end_ms"] == one.found.duration_ms
            return cells

        until(lambda: length() == 40)
        assert ids(made).count("x") == 1


def test_a_compacted_lake_is_the_same_lake(own_lake: Path) -> None:
    write_lake(track("x"), own_lake)
    with opened(own_lake) as made:
        before, settled = ids(made), made.version
        compact(own_lake, retention_hours=0)
        time.sleep(2.5 * store.LOOK_S)
        assert (ids(made), made.version) == (before, settled)
        shutil.rmtree(own_lake / "_serve")
    with opened(own_lake) as made:  # made anew from compacted files
        assert ids(made) == before


def test_a_cache_is_taken_up_again(own_lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(own_lake) as made:
        before = made.version
    monkeypatch.setattr(Filler, "_entries", lambda *_: pytest.fail("nothing is to be read again"))
    with opened(own_lake) as made:
        assert made.version == before
        assert "song.wav" in ids(made)


def test_bundles_hold_everything_once(own_lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "BUNDLE", 2)
    with opened(own_lake) as made:
        assert ids(made) == sorted(Lake(own_lake).media_ids())
        assert (made.state.done, made.state.total) == (9, 9)


def test_while_it_fills_it_says_so_and_serves_what_is_there(
    own_lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "BUNDLE", 1)
    go, put = threading.Event(), Cache.put

    def slow(self: Cache, *given: object) -> None:
        if threading.current_thread().name == "store":
            go.wait(20)
        put(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Cache, "put", slow)
    made = Store(ServeConfig(own_lake))
    made.start()
    try:
        until(lambda: made.state.filling)
        assert not made.state.ready
        assert made.page(Listing()).total == 0
        with made.media("song.wav") as one:  # fetched on its own
            assert one.found.duration_ms == 60_200
        assert ids(made) == ["song.wav"]
        go.set()
        until(lambda: made.state.ready)
        assert len(ids(made)) == 9
    finally:
        go.set()
        made.close()


def test_what_left_the_lake_leaves_the_cache_and_its_pages(own_lake: Path) -> None:
    write_lake(track("secret name of somebody"), own_lake)
    with opened(own_lake) as made:
        [file] = (own_lake / "_serve").glob("*.sqlite")
        until(lambda: b"secret name of somebody" in contents(file))
        for table in ("media", "curve", "episode", "summary"):
            DeltaTable(own_lake / table).delete("media_id = 'secret name of somebody'")
        until(lambda: "secret name of somebody" not in ids(made))
        until(lambda: b"secret name of somebody" not in contents(file))


def contents(file: Path) -> bytes:
    return b"".join(
        part.read_bytes() for part in file.parent.glob(f"{file.name}*") if not part.name.endswith("-shm")
    )


def test_forgetting_does_not_need_the_service(own_lake: Path) -> None:
    with opened(own_lake):
        pass
    [file] = (own_lake / "_serve").glob("*.sqlite")
    assert b"calls/call.wav" in contents(file)
    assert forget(own_lake / "_serve", "calls/call.wav") == 1
    assert b"calls/call.wav" not in contents(file)
    assert forget(own_lake / "_serve", "calls/call.wav") == 0


def test_another_answer_to_whose_emotions_leave_is_another_cache(own_lake: Path) -> None:
    config = ServeConfig(own_lake)
    everybody = replace(config, emotions_for="all", responsible="R")
    assert stamp(config) != stamp(everybody)
    with opened(own_lake, emotions_for="all", responsible="R"):
        pass
    with opened(own_lake):
        pass
    files = [path.name for path in (own_lake / "_serve").glob("*.sqlite")]
    assert files == [f"lake-{stamp(config)}.sqlite"]  # what holds more than may leave is gone


def test_a_cache_in_use_is_left_alone(own_lake: Path) -> None:
    with opened(own_lake) as first, opened(own_lake, emotions_for="all", responsible="R") as second:
        assert len(list((own_lake / "_serve").glob("*.sqlite"))) == 2
        assert ids(first) == ids(second)


def test_two_services_share_a_cache(own_lake: Path) -> None:
    with opened(own_lake) as first, opened(own_lake) as second:
        write_lake(track("new.mp3"), own_lake)
        until(lambda: "new.mp3" in ids(first) and "new.mp3" in ids(second))


def test_a_broken_cache_is_made_anew(own_lake: Path) -> None:
    with opened(own_lake):
        pass
    [file] = (own_lake / "_serve").glob("*.sqlite")
    file.write_bytes(b"this is no database" * 1000)
    with opened(own_lake) as made:
        assert "song.wav" in ids(made)


def test_a_folder_of_parquet_is_served_too(memory_lake: MemoryLake, tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path / "lake")
    sink.open()
    for name in memory_lake.media_ids():
        tables = ("curve", "episode", "summary", "alert", "media")
        sink.write(Commit(name, 0, {table: memory_lake.rows(table, name) for table in tables}))
    sink.flush()
    sink.close()
    with opened(tmp_path / "lake") as made:
        assert ids(made) == sorted(memory_lake.media_ids())


def test_no_lake_no_service(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a lake"):
        Store(ServeConfig(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_lake_that_cannot_be_written_to_needs_another_place(own_lake: Path) -> None:
    own_lake.chmod(0o500)
    with pytest.raises(UsageError, match="--cache DIR"):
        Store(ServeConfig(own_lake))


def test_a_lake_that_goes_away_and_comes_back(own_lake: Path) -> None:
    with opened(own_lake) as made:
        away = own_lake.parent / "away"
        (own_lake / "media").rename(away)
        until(lambda: bool(made.state.error))
        assert "song.wav" in ids(made)  # what was there is still served
        away.rename(own_lake / "media")
        until(lambda: not made.state.error)
        assert made.alive


def test_a_query_ends_when_its_work_is_stopped(served_lake: Path, tmp_path: Path) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with opened(served_lake, cache=tmp_path) as made:
        job, ended = Job(), threading.Event()

        def work() -> None:
            with job, pytest.raises(StoppedError), made._cache.reading() as connection:
                connection.execute(endless).fetchone()
            ended.set()

        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(0.2)
        assert not ended.is_set()
        job.stop()
        thread.join(10)
        assert ended.is_set()


def test_handlers_cannot_write(served_lake: Path, tmp_path: Path) -> None:
    refused = pytest.raises(StoreError, match="readonly")
    with opened(served_lake, cache=tmp_path) as made, refused, made._cache.reading() as connection:
        connection.execute("DELETE FROM media")
