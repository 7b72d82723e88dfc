"""The index of a lake: what is in it, what a new build reads and forgets, and what a crash leaves."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from moodstream.pipelines import cli
from moodstream.serving.search import build, folder, shard
from moodstream.serving.search.build import FOLDER, update
from moodstream.serving.search.entries import concat
from moodstream.serving.search.folder import INDEX, PENDING, Draft, Manifest, load, locked
from moodstream.serving.search.index import ArcIndex
from moodstream.serving.search.questions import Arc, InQuadrant, Like, Near, Question
from moodstream.sinks.compact import compact
from moodstream.sinks.lake import LakeSink
from moodstream.sinks.parquet import ParquetSink
from moodstream.transforms.errors import StoreError, UsageError
from tests.sinks.conftest import _commit as commit

QUESTIONS = [
    Question(Arc(((0, 0, 0), (1, 0.5, 0.5))), limit=100),
    Question(Near(0.9, 0.1, 1, 0.5), limit=100),
    Question(InQuadrant("Q1", 0.2), limit=100),
]


def write(path: Path, *commits, sink=LakeSink):
    sink = sink(path)
    sink.open()
    for one in commits:
        sink.write(one)
    sink.flush()


def song(name, seed, **more):
    rng = np.random.default_rng(seed)
    phase, speed = rng.uniform(0, 6), rng.uniform(1, 9)
    return commit(
        name,
        cells=int(rng.integers(20, 60)),
        valence=lambda t: 0.9 * np.cos(phase + speed * t),
        arousal=lambda t: 0.9 * np.sin(phase + speed * t),
        **more,
    )


def answers(index: ArcIndex):
    return [index.search(question).items for question in QUESTIONS]


def bytes_of(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(path.iterdir()))


@pytest.mark.parametrize("sink", [LakeSink, ParquetSink])
def test_a_build_in_many_steps_is_the_same_as_a_build_anew(tmp_path, sink, monkeypatch):
    monkeypatch.setattr(shard, "FULL", 7)
    lake = tmp_path / "lake"
    write(lake, *(song(f"song {i}", i) for i in range(10)), sink=sink)
    assert update(lake).added == 10
    assert update(lake).added == 0
    write(lake, *(song(f"song {i}", i) for i in range(10, 13)), song("song 3", 99, version=2), sink=sink)
    second = update(lake)
    assert (second.added, second.gone, second.manifest.tracks) == (4, 1, 13)
    if sink is LakeSink:
        compact(lake, retention_hours=0)
        assert update(lake).added == 0
    anew = update(lake, tmp_path / "anew")
    assert anew.added == 13
    assert max(anew.manifest.shards.values()) <= 7
    one, other = ArcIndex.open(lake), ArcIndex.open(lake, tmp_path / "anew")
    assert answers(one) == answers(other)
    assert {item.media_id for item in answers(one)[0]} == {f"song {i}" for i in range(13)}


def test_what_vanished_is_forgotten_to_the_byte(tmp_path):
    lake = tmp_path / "lake"
    write(lake, *(song(name, i) for i, name in enumerate(["Ada Lovelace", "b", "c"])))
    update(lake)
    index = ArcIndex.open(lake)
    assert b"Ada Lovelace" in bytes_of(lake / FOLDER)
    for table in lake.iterdir():
        if table.name != FOLDER:
            from deltalake import DeltaTable

            DeltaTable(table).delete("media_id = 'Ada Lovelace'")
    built = update(lake)
    assert (built.added, built.gone, built.manifest.tracks) == (0, 1, 2)
    assert b"Ada Lovelace" not in bytes_of(lake / FOLDER)
    assert b"ada lovelace" not in bytes_of(lake / FOLDER)
    assert index.search(QUESTIONS[0]).tracks == 2  # who had it open sees the new one


def test_the_best_modality_of_each_channel_and_only_what_has_an_estimate(tmp_path):
    lake = tmp_path / "lake"
    empty = song("silent", 1, modalities=("music",))
    summary = empty.rows["summary"]
    place = summary.schema.get_field_index("estimated_share")
    none = pa.array([0.0] * len(summary), pa.float32())
    empty = replace(
        empty, rows={**empty.rows, "summary": summary.set_column(place, summary.schema.field(place), none)}
    )
    write(lake, song("a", 0, modalities=("music", "fused", "speech")), empty)
    built = update(lake)
    assert built.manifest.tracks == 1
    assert [item.modality for item in ArcIndex.open(lake).search(QUESTIONS[0]).items] == ["fused"]
    read = build.read
    calls = []
    build_read = lambda *given: calls.append(given) or read(*given)  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "read", build_read)
        update(lake)
    assert not calls  # the silent one is not read again


def call(name, seed):
    return song(name, seed, channels=("agent", "customer"), modalities=("speech",), kind="call")


def test_agents_are_in_the_index_only_if_that_is_asked_for(tmp_path):
    lake = tmp_path / "lake"
    mix = song("mix", 5, kind="call")
    write(lake, call("call", 1), mix, song("song", 2))
    update(lake)
    everybody = Question(InQuadrant("Q1", 0), limit=100)

    def sides(**how):
        items = ArcIndex.open(lake).search(everybody, **how).items
        return {(item.media_id, item.channel) for item in items}

    shown = {("call", "customer"), ("song", "mix")}
    assert sides() == sides(emotions_for="all") == shown
    built = update(lake, emotions_for="all", responsible="Grace")
    assert built.added == 4  # all of it anew
    assert sides() == shown
    assert sides(emotions_for="all") == shown | {("call", "agent"), ("mix", "mix")}
    with pytest.raises(UsageError, match="not in the index"):
        ArcIndex.open(lake).search(Question(Like("call", channel="agent")))
    update(lake)
    assert sides(emotions_for="all") == shown


def crash(*_):
    raise KeyboardInterrupt


def test_a_crash_leaves_the_old_index_and_the_next_build_goes_on(tmp_path, monkeypatch):
    lake = tmp_path / "lake"
    write(lake, *(song(f"song {i}", i) for i in range(3)))
    update(lake)
    index = ArcIndex.open(lake)
    before = answers(index)
    write(lake, *(song(f"song {i}", i) for i in range(3, 9)), song("song 1", 50, version=2))
    monkeypatch.setattr(build, "MOST_CELLS_AT_ONCE", 100)
    done = []

    def progress(count, todo):
        done.append(count)
        if count >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        update(lake, on_progress=progress)
    assert answers(index) == answers(ArcIndex.open(lake)) == before
    assert load(lake / FOLDER, PENDING) is not None
    built = update(lake)
    assert built.added == 7 - done[-1]  # the rest alone is read
    assert not (lake / FOLDER / PENDING).exists()
    update(lake, tmp_path / "anew")
    assert answers(ArcIndex.open(lake)) == answers(ArcIndex.open(lake, tmp_path / "anew"))
    files = {file.name for file in (lake / FOLDER).iterdir()}
    assert files == {INDEX, "lock", *built.manifest.files()}


@pytest.mark.parametrize("name", ["save", "_written"])
def test_a_crash_while_writing_leaves_the_old_index(tmp_path, monkeypatch, name):
    lake = tmp_path / "lake"
    write(lake, song("a", 0))
    update(lake)
    before = answers(ArcIndex.open(lake))
    write(lake, song("b", 1))
    with monkeypatch.context() as patch:
        patch.setattr(folder if name == "save" else Draft, name, crash)
        with pytest.raises(KeyboardInterrupt):
            update(lake)
    assert answers(ArcIndex.open(lake)) == before
    assert update(lake).manifest.tracks == 2


def test_two_builds_do_not_meet_and_readers_find_their_way(tmp_path):
    lake = tmp_path / "lake"
    write(lake, song("a", 0))
    update(lake)
    with locked(lake / FOLDER), pytest.raises(UsageError, match="being built already"):
        update(lake)
    index = ArcIndex.open(lake)
    old = index._opened.shards[0]
    update(lake, rebuild=True)
    assert len(old.texts["media_id"]) == 1  # still mapped
    assert old.texts["media_id"][0].as_py() == "a"
    assert index.search(QUESTIONS[0]).version == load(lake / FOLDER).version


def test_another_format_is_built_anew_and_damage_is_said(tmp_path):
    lake = tmp_path / "lake"
    write(lake, song("a", 0))
    first = update(lake)
    told = json.loads((lake / FOLDER / INDEX).read_text())
    (lake / FOLDER / INDEX).write_text(json.dumps(told | {"format": 0}))
    with pytest.raises(UsageError, match="another version"):
        ArcIndex.open(lake)
    second = update(lake)
    assert second.added == 1
    assert second.manifest.shards.keys() != first.manifest.shards.keys()
    name = next(iter(second.manifest.shards))
    whole = (lake / FOLDER / name).read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"x" * 64, whole[:16] + b"{" * 100):
        (lake / FOLDER / name).write_bytes(damaged)
        with pytest.raises(StoreError, match="--rebuild"):
            ArcIndex.open(lake)
    (lake / FOLDER / INDEX).write_text("{")
    with pytest.raises(StoreError, match="--rebuild"):
        update(lake)
    assert update(lake, rebuild=True).manifest.tracks == 1
    for file in (lake / FOLDER).glob("*.arcs"):
        file.unlink()
    for broken in (update, ArcIndex.open):
        with pytest.raises(StoreError, match="--rebuild"):
            broken(lake)
    assert update(lake, rebuild=True).manifest.tracks == 1
    with pytest.raises(UsageError, match="no index"):
        ArcIndex.open(tmp_path)


def test_shards_and_concatenations_hold_what_was_given(tmp_path):
    lake = tmp_path / "lake"
    write(lake, *(song(f"ü {i}", i) for i in range(5)), call("call", 9))
    built = update(lake)
    entries = shard.read(lake / FOLDER / next(iter(built.manifest.shards)))
    parts = [entries.take(np.array(rows, int)) for rows in ([2, 0], [], [1, 5, 4, 3])]
    back = concat(parts).take(np.array([1, 2, 0, 5, 4, 3]))
    shard.write(tmp_path / "again.arcs", concat([back]))
    shard.write(tmp_path / "none.arcs", concat([]))
    assert len(shard.read(tmp_path / "none.arcs")) == 0
    for other in (back, shard.read(tmp_path / "again.arcs")):
        assert all(
            np.array_equal(other.arrays[n], values, equal_nan=n == "numbers")
            for n, values in entries.arrays.items()
        )
        assert np.array_equal(other.cells.codes, entries.cells.codes)
        assert {n: texts.to_pylist() for n, texts in other.texts.items()} == {
            n: texts.to_pylist() for n, texts in entries.texts.items()
        }
        for n, (codes, names) in entries.words.items():
            assert [names[code] for code in codes] == [other.words[n][1][code] for code in other.words[n][0]]
    draft = Draft(tmp_path, Manifest())
    draft.add(concat([]))
    assert draft.manifest.tracks == 0


def test_commands(tmp_path, capsys):
    lake = tmp_path / "lake"
    assert cli.run(["index", str(lake)]) == 2
    write(lake, song("a", 0), song("b", 1), song("c", 1, version=2))
    assert cli.run(["query", str(lake), "--like", "a"]) == 2
    assert "moodstream index" in capsys.readouterr().err
    assert cli.run(["index", str(lake)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("3 curves in the index · 3 added")
    assert "several versions" in said.err
    assert cli.run(["query", str(lake), "--like", "b", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["media_id"] for row in rows] == ["c", "a"]
    assert rows[0]["distance"] == 0
    arguments = ["query", str(lake), "--arc", "0:0,0 1:0.5,0.5", "--level", "removed", "--limit", "2"]
    assert cli.run([*arguments, "--format", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2
    assert cli.run(["index", str(lake), "--emotions-for", "all"]) == 2
    assert "--responsible" in capsys.readouterr().err
    assert cli.run(["query", str(lake), "--like", "b", "--arc", "0:0,0 1:1,1"]) == 2
