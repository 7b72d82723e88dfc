"""Erasing media: no file, no version, no entry of a log holds them; beside writers, and after crashes."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moodstream.sinks import forget as module
from moodstream.sinks.base import Sink
from moodstream.sinks.compact import compact
from moodstream.sinks.forget import forget, look, older_than
from moodstream.sinks.lake import LakeSink
from moodstream.sinks.layout import TABLES, files, read
from moodstream.sinks.parquet import ParquetSink
from moodstream.sinks.read import Lake
from moodstream.transforms.elements import Commit
from moodstream.transforms.errors import StoreError, UsageError

MakeCommit = Callable[..., Commit]
WHO = "calls/Jane Doe, +44 20 7946 0958.wav"
WHERE = f"/music/{WHO}"


@pytest.fixture(params=["lake", "parquet"])
def sink(request: pytest.FixtureRequest, tmp_path: Path) -> Sink:
    sink = LakeSink(tmp_path / "store") if request.param == "lake" else ParquetSink(tmp_path / "store")
    sink.open()
    return sink


@pytest.fixture
def lake(tmp_path: Path) -> LakeSink:
    sink = LakeSink(tmp_path / "store")
    sink.open()
    return sink


def put(sink: Sink, *commits: Commit) -> None:
    for commit in commits:
        sink.write(commit)
    sink.flush()


def bytes_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """Everything that is in any file: raw, and of Parquet files each column as text."""
    for file in sorted(path.rglob("*")):
        if not file.is_file():
            continue
        yield str(file), file.read_bytes()
        if file.suffix == ".parquet":
            yield f"{file} (rows)", repr(pq.read_table(file, partitioning=None).to_pylist()).encode()
        if ".json" in file.name:
            with contextlib.suppress(ValueError):
                told = [json.loads(line) for line in file.read_text().splitlines()]
                yield f"{file} (parsed)", repr([list(map(str, one.values())) for one in told]).encode()


def traces(path: Path, media_id: str = WHO) -> list[str]:
    """Where a media id is to be read, in any way it may be written."""
    ways = {media_id, json.dumps(media_id)[1:-1], repr(media_id)[1:-1]}
    ways |= {json.dumps(way)[1:-1] for way in tuple(ways)}
    needles = [way.encode() for way in ways]
    return [name for name, content in bytes_of(path) if any(needle in content for needle in needles)]


def left(path: Path, *media_ids: str) -> int:
    return sum(one.left for one in look(path, media_ids or [WHO]))


def visible(path: Path) -> dict[str, list[Any]]:
    lake = Lake(path)
    return {table: lake.sql(f"FROM {table} ORDER BY ALL").to_pylist() for table in (*TABLES, "best")}


# ---------------------------------------------------------------- what goes, and what stays


def test_nothing_is_left_anywhere_and_nothing_else_is_gone(
    sink: Sink, tmp_path: Path, commit: MakeCommit, dead: MakeCommit
) -> None:
    path = tmp_path / "store"
    put(sink, commit("a"), commit(WHO, dead=("x",), alerts=2), commit("z"))
    put(sink, commit(WHO, version=2), commit(WHO, take=1))
    put(sink, commit("b"), dead("c"))
    put(sink, dead(WHO))
    half = commit(WHO, version=3)  # a writer that was killed
    put(sink, Commit(WHO, 0, {"curve": half.rows["curve"]}))
    assert traces(path)
    before = visible(path)
    assert left(path) > 100
    assert forget(path, [WHO]) > 100
    assert traces(path) == []
    assert left(path) == 0
    expected = {table: [row for row in rows if row["media_id"] != WHO] for table, rows in before.items()}
    assert visible(path) == expected
    assert {row["media_id"] for row in expected["media"]} == {"a", "b", "z"}
    put(sink, commit("a", version=9), commit("new"))  # and writing goes on
    assert Lake(path).curve("a")["model_version"].unique().to_list() == ["9"]
    assert forget(path, [WHO]) == 0


def test_old_versions_are_gone_too(lake: LakeSink, tmp_path: Path, commit: MakeCommit) -> None:
    path = lake.path
    for number in range(3):
        put(lake, commit(WHO, version=number), commit(f"m{number}"))
    compact(path)  # keeps what it replaced for a day, and the log of it
    for table in TABLES:
        DeltaTable(path / table).create_checkpoint()
    put(lake, commit(WHO, version=5))
    assert len(list((path / "curve").glob("*.parquet"))) == 5
    assert any("checkpoint" in name for name in traces(path))
    kept = {file for file in path.rglob("*.parquet") if not traces_of_file(file)}
    forget(path, [WHO])
    assert traces(path) == []
    gone = {file for file in kept if not file.exists() and "checkpoint" not in file.name}
    assert gone == set()  # what does not hold the media stays for its readers
    latest = DeltaTable(path / "curve").version()
    for version in range(latest + 1):  # every version that the log still knows
        with contextlib.suppress(Exception):  # its files are gone, or hold nothing
            rows = DeltaTable(path / "curve", version=version).to_pyarrow_table()
            assert WHO not in rows["media_id"].to_pylist()


def traces_of_file(file: Path) -> bool:
    return WHO in repr(pq.read_table(file, partitioning=None).to_pylist())


def test_times_and_numbers_of_versions_stay(lake: LakeSink, commit: MakeCommit) -> None:
    put(lake, commit(WHO), commit("b"))
    put(lake, commit("c"))
    log = lake.path / "curve/_delta_log"
    times = {file.name: file.stat().st_mtime_ns for file in log.glob("*.json")}
    forget(lake.path, [WHO])
    for name, time_ns in times.items():
        assert (log / name).stat().st_mtime_ns == time_ns
    history = [one["version"] for one in DeltaTable(lake.path / "curve").history()]
    assert history == sorted(history, reverse=True)


def test_a_table_of_one_media_becomes_empty(sink: Sink, tmp_path: Path, commit: MakeCommit) -> None:
    put(sink, commit(WHO, alerts=1, dead=("x",)))
    path = tmp_path / "store"
    forget(path, [WHO])
    assert traces(path) == []
    assert Lake(path).media().is_empty()
    put(sink, commit(WHO, version=2))  # analysed anew: somebody sent it again
    assert Lake(path).curve(WHO).height == 12


def test_many_at_once(sink: Sink, tmp_path: Path, commit: MakeCommit) -> None:
    path = tmp_path / "store"
    put(sink, *(commit(f"media number {number}") for number in range(8)))
    forget(path, [f"media number {number}" for number in range(0, 8, 2)])
    assert sorted(Lake(path).media_ids()) == [f"media number {number}" for number in range(1, 8, 2)]
    for number in range(0, 8, 2):
        assert traces(path, f"media number {number}") == []
    assert left(path, "media number 1") > 0


def test_files_of_an_older_version_are_read_and_written(lake: LakeSink, commit: MakeCommit) -> None:
    """Columns that came later are null in what stays."""
    put(lake, commit(WHO), commit("b"))
    (name,) = files(lake.path, "curve")
    rows = pq.read_table(name, partitioning=None)
    pq.write_table(rows.drop_columns(["responsible"]), name)
    forget(lake.path, [WHO])
    (name,) = files(lake.path, "curve")
    again = pq.read_table(name, partitioning=None)
    assert again["responsible"].null_count == len(again) == 24


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_the_names_are(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory, commit: MakeCommit
) -> None:
    """Names with quotes, of one letter, one the beginning of another, above and below each other."""
    letters = st.text(
        st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), min_size=1, max_size=40
    )
    names = data.draw(st.lists(letters, min_size=2, max_size=5, unique=True))
    who = data.draw(st.sampled_from(names))
    sink = LakeSink(tmp_path_factory.mktemp("named") / "lake")
    sink.open()
    put(sink, *(commit(name, cells=2) for name in names))
    forget(sink.path, [who])
    assert left(sink.path, who) == 0
    assert sorted(Lake(sink.path).media_ids()) == sorted(name for name in names if name != who)


# ---------------------------------------------------------------- beside others


def test_a_file_in_the_making_stays_and_is_told(lake: LakeSink, commit: MakeCommit) -> None:
    """A writer has written its file and not yet its log."""
    put(lake, commit("a"), commit(WHO))
    (name,) = files(lake.path, "curve")
    loose = Path(name).with_name("part-00000-of-somebody-else.zstd.parquet")
    loose.write_bytes(Path(name).read_bytes())
    forget(lake.path, [WHO])
    found = [one for one in look(lake.path, [WHO]) if one.left]
    assert [(one.place, one.left) for one in found] == [("curve", 24)]
    assert "writer" in found[0].why
    os.utime(loose, (1, 1))  # a day later nobody will commit it
    forget(lake.path, [WHO])
    assert not loose.exists()
    assert left(lake.path) == 0


def _write_on(path: Path, commits: list[Commit]) -> None:
    sink = LakeSink(path)
    sink.open()
    for commit in commits:
        put(sink, commit)


def _compact_on(path: Path) -> None:
    with contextlib.suppress(StoreError):
        compact(path)


def _forget_on(path: Path) -> None:
    forget(path, [WHO])


def test_beside_writers_and_a_compaction(lake: LakeSink, commit: MakeCommit, processes: BaseContext) -> None:
    path = lake.path
    put(lake, *(commit(WHO, version=version) for version in range(3)), commit("old"))
    work = [[commit(f"{writer} {number % 2}", version=number) for number in range(4)] for writer in range(2)]
    running = [processes.Process(target=_write_on, args=(path, commits)) for commits in work]
    running += [processes.Process(target=_compact_on, args=(path,))]
    running += [processes.Process(target=_forget_on, args=(path,)) for _ in range(2)]
    for process in running:
        process.start()
    for process in running:
        process.join()
        assert process.exitcode == 0
    forget(path, [WHO])
    assert traces(path) == []
    done = [(f"{writer} {number}", str(2 + number)) for writer in range(2) for number in range(2)]
    expected = [(name, version, 24) for name, version in [*done, ("old", "1")]]
    query = "SELECT media_id, model_version, count(*) FROM curve GROUP BY ALL ORDER BY ALL"
    with Lake(path).connection() as connection:
        assert connection.sql(query).fetchall() == expected
    assert len(read(path, "curve")) == 24 + 2 * 4 * 24  # every row once


def test_a_reader_of_the_newest_version_notices_nothing(lake: LakeSink, commit: MakeCommit) -> None:
    put(lake, commit("a"), commit(WHO))
    put(lake, commit("b"))
    reader = Lake(lake.path)
    assert reader.curve("a").height == 12
    forget(lake.path, [WHO])
    assert reader.curve("a").height == 12
    assert reader.curve("b").height == 12
    with pytest.raises(UsageError, match="no media"):
        reader.curve(WHO)


# ---------------------------------------------------------------- crashes


@pytest.mark.parametrize("step", ["_swap", "_clean_log", "_rewrite"])
def test_stopped_anywhere_it_goes_on(
    lake: LakeSink, commit: MakeCommit, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        put(lake, commit(WHO, version=number), commit("b", version=number))
    compact(lake.path)
    before = [row for row in visible(lake.path)["curve"] if row["media_id"] == "b"]
    for count in (1, 2):
        calls = [0]
        real = getattr(module, step)

        def dies(*arguments: Any, calls: list[int] = calls, real: Any = real, count: int = count) -> Any:
            calls[0] += 1
            if calls[0] > count:
                raise KeyboardInterrupt
            return real(*arguments)

        with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
            patched.setattr(module, step, dies)
            forget(lake.path, [WHO])
        assert [row for row in visible(lake.path)["curve"] if row["media_id"] == "b"] == before
    forget(lake.path, [WHO])
    assert traces(lake.path) == []
    assert visible(lake.path)["curve"] == before


def test_a_full_disk_is_said_and_leaves_the_store_whole(
    lake: LakeSink, commit: MakeCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(lake, commit(WHO), commit("b"))
    before = visible(lake.path)

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(module, "without", full)
        with pytest.raises(StoreError, match="No space left"):
            forget(lake.path, [WHO])
    assert visible(lake.path) == before


# ---------------------------------------------------------------- by age


def test_what_nobody_wrote_for_days(
    lake: LakeSink, commit: MakeCommit, dead: MakeCommit, monkeypatch: Any
) -> None:
    now = time.time_ns
    with monkeypatch.context() as patched:
        patched.setattr("moodstream.sinks.layout.time.time_ns", lambda: now() - 40 * 86_400 * 10**9)
        lake.discard()
        put(lake, commit("old"), commit("again"), dead("old dead"))
    sink = LakeSink(lake.path)
    put(sink, commit("new"), commit("again", version=2), dead("new dead"))
    month = datetime.now(UTC) - timedelta(days=30)
    assert older_than(lake.path, month) == ["old", "old dead"]
    assert older_than(lake.path, month - timedelta(days=30)) == []
    forget(lake.path, older_than(lake.path, month))
    assert sorted(Lake(lake.path).media_ids()) == ["again", "new"]


def test_where_there_is_no_store_it_says_so(tmp_path: Path) -> None:
    for call in (lambda: forget(tmp_path, ["a"]), lambda: older_than(tmp_path, datetime.now(UTC))):
        with pytest.raises(UsageError, match="not a lake"):
            call()
