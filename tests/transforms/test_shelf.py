"""Other models while streams run: who speaks where, after any crash; and which releases are taken."""

import gc
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moodstream.models import registry
from moodstream.models.base import STEP_MS, Float
from moodstream.transforms.decode import decode
from moodstream.transforms.elements import Clip, Media, Part, Record
from moodstream.transforms.engine import Engine
from moodstream.transforms.errors import UsageError
from moodstream.transforms.live import LiveSession
from moodstream.transforms.partition import Partition, Snapshot
from moodstream.transforms.session import Settings
from moodstream.transforms.shelf import Releases, Shelf
from moodstream.transforms.state import pack, unpack
from moodstream.transforms.stream import versions_of
from moodstream.transforms.track import Rows, merge
from tests.support.crashes import DEMO, RATE_HZ, TIMING, Store, crashing, many_streams
from tests.support.fake_engine import FakeEngine
from tests.support.packets import difference, listed
from tests.support.releases import spoil, use, write_release

KEY = ("media_id", "take", "channel", "modality", "start_ms", "revision")
WHO = ("model_version", "analysis_id")


class Choice(Shelf):
    """Two engines, the second from a moment on."""

    def __init__(self, *engines: Engine) -> None:
        super().__init__(engines[0])
        self.engines = engines

    def change(self) -> None:
        self._newest = self.engines[-1]

    def marked(self, mark: str, words: str = "") -> Engine:
        return next(engine for engine in self.engines if engine.mark == mark)


def plain(rows: Rows, name: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    found = listed(rows, name)
    keyed = {tuple(row[column] for column in KEY): row for row in found}
    assert len(keyed) == len(found)  # nothing is doubled
    return keyed


def check_spliced(rows: Rows, old: Rows, new: Rows, word: str) -> set[str]:
    """Curve rows are those of one run and, from a second of each stream on, those of the other.

    Returns:
        the streams that went over.
    """
    found, before, after = (plain(one, "curve") for one in (rows, old, new))
    assert found.keys() == before.keys() == after.keys()
    from_ms: dict[tuple[str, int], int] = {}
    for key, row in found.items():
        if word in row["model_version"]:
            stream = key[:2]
            from_ms[stream] = min(from_ms.get(stream, 1 << 40), row["start_ms"])
    for key, row in found.items():
        wanted = (after if row["start_ms"] >= from_ms.get(key[:2], 1 << 40) else before)[key]
        assert row["model_version"] == wanted["model_version"]
        mine, its = ({k: v for k, v in one.items() if k not in WHO} for one in (row, wanted))
        assert difference(mine, its) == "", key
    for media in listed(rows, "media"):
        at = from_ms.get((media["media_id"], media["take"]), 0)
        for _, version in media["models"]:
            assert ("until" in version) == bool(at and word in version)
            assert not at or f"until {at} ms" in version
    return {name for (name, _), at in from_ms.items() if at}


def work_off(shelf: Shelf, records: list[Record], seed: int, chance: float, at: float) -> tuple[Rows, int]:
    """A log with deaths at random moments, new models at a part of it."""

    def reached(part: float) -> None:
        if isinstance(shelf, Choice) and part > at:
            shelf.change()

    return crashing(shelf, records, seed, chance, Settings(), reached)


@pytest.mark.parametrize("seed", range(4))
def test_no_crash_changes_who_speaks_where(seed: int) -> None:
    old, new = FakeEngine(), FakeEngine("x", 0.5)
    records = many_streams(seed, longer=4)
    before, _ = work_off(Shelf(old), records, seed, 0, 0)
    after, _ = work_off(Shelf(new), records, seed, 0, 0)
    at = 0.1 + 0.05 * seed
    calm, _ = work_off(Choice(old, new), records, seed, 0, at)
    over = check_spliced(calm, before, after, "x")
    assert len(over) >= 2
    found, crashes = work_off(Choice(old, new), records, seed + 100, 0.25, at)
    assert crashes > 5
    assert check_spliced(found, before, after, "x")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two releases of real models; the first is current."""
    folder = tmp_path_factory.mktemp("releases")
    write_release(folder, "one", 0.0, ("small",))
    write_release(folder, "two", 0.05, ("speech", "music", "activity", "small"))
    use(folder, "one")
    return folder


@pytest.fixture(scope="module")
def heard() -> Float:
    """Forty seconds, [2, n] at 8 kHz."""
    clip = decode(DEMO / "calls/parcel.flac")
    assert clip.rate_hz == RATE_HZ
    return np.tile(clip.samples, 3)[:, : 40 * RATE_HZ]


def curve(engine: Engine, media: Media, samples: Float, other: Engine | None = None, at_s: int = 0) -> Rows:
    """Rows of a live session; other models from this second on, and it moves about in between."""
    session, rows = LiveSession(media, "run", engine, Settings(emotions_for="all"), 0), Rows()
    for second in range(samples.shape[1] // RATE_HZ):
        merge(rows, session.push(Clip(0, RATE_HZ, samples[:, second * RATE_HZ : (second + 1) * RATE_HZ])))
        if other is not None and second == at_s:
            session.succeed(other)
        if second % 7 == 3:
            state, heir = unpack(pack(session.state())), session.heir
            session = LiveSession(media, "run", session.engine, Settings(emotions_for="all"), 0)
            session.restore(state, heir)
    merge(rows, session.flush())
    return rows


@pytest.mark.parametrize("split", [True, False])
def test_real_models_take_over_as_if_they_had_always_been_there(
    folder: Path, heard: Float, split: bool
) -> None:
    roles = ("agent", "customer") if split else ()
    media = Media("m", (Part("x", "audio"),), roles=roles, split=split)
    old, new = Engine(), Engine(folder=folder / "two")
    before, after = (plain(curve(engine, media, heard), "curve") for engine in (old, new))
    found = curve(old, media, heard, new, 9)
    version = new.cards["speech"].version
    modality = "speech" if split else "fused"
    own = {key: row for key, row in plain(found, "curve").items() if key[3] == modality}
    from_ms = min(row["start_ms"] for row in own.values() if version in row["model_version"])
    assert from_ms == (2 * 10 + new.warm_cells) * STEP_MS
    sides = {row["channel"] for row in own.values()}
    assert len([key for key, row in own.items() if row["start_ms"] >= from_ms]) > 20 * 2 * len(sides)
    differs = 0
    for key, row in own.items():
        is_new = row["start_ms"] >= from_ms
        wanted, other = (rows[key] for rows in ((after, before) if is_new else (before, after)))
        assert difference(row, wanted) == ""
        differs += row["valence"] != other["valence"]
    assert differs > 30
    summary = [row["model_version"] for row in listed(found, "summary") if row["modality"] == modality]
    assert len(summary) == len(sides)
    assert all(version in one for one in summary)


def test_what_becomes_current_is_tried_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "moodstream")
    with pytest.raises(UsageError, match="must hold the name of the release"):
        Releases(tmp_path, "small")
    write_release(tmp_path, "one", 0.0, ("small",))
    use(tmp_path, "one")
    shelf = Releases(tmp_path, "small")
    first = shelf.newest
    assert first.versions() == Engine(speech="small").versions()

    spoil(write_release(tmp_path, "bad", 0.1, ("small",)), "small")
    (write_release(tmp_path, "torn", 0.1, ("small",)) / "small" / registry.WEIGHTS).write_bytes(b"torn")
    for name, why in (
        ("bad", "speech gives no numbers"),
        ("torn", "the hash differs"),
        ("gone", "names 'gone', which is no folder"),
        ("../one", "which is no folder"),
    ):
        caplog.clear()
        use(tmp_path, name)
        for _ in range(3):
            shelf.look()
        assert shelf.newest is first
        assert why in caplog.text
        assert caplog.text.count("go on with the models they have") == 1

    told: list[Engine] = []
    shelf.on_change.append(told.append)
    write_release(tmp_path, "two", 0.1, ("small",))
    caplog.clear()
    use(tmp_path, "two")
    shelf.look()
    shelf.look()
    assert told == [shelf.newest]
    old, new = first.versions()["speech"], shelf.newest.versions()["speech"]
    assert old != new == registry.read_card("small", tmp_path / "two").version
    assert f"speech {old} -> {new}" in caplog.text
    assert shelf.find(shelf.newest.versions()) is shelf.newest
    assert shelf.find(first.versions()) is first  # somebody still has it
    mark = first.mark
    del first
    gc.collect()
    assert shelf.marked(mark).mark == mark  # read again
    shutil.rmtree(tmp_path / "one")
    gc.collect()
    assert shelf.marked(mark).mark == mark  # these are the installed ones
    with pytest.raises(ValueError, match=r"speech 9\.9"):
        shelf.find({"speech": "9.9"})


def test_models_that_look_elsewhere_wait_for_the_next_stream(caplog: pytest.LogCaptureFixture) -> None:
    old, new = FakeEngine(), FakeEngine("x", 0.5)
    new.cards["speech"] = replace(new.cards["speech"], lookahead_s=1.0)
    records = many_streams(5, longer=2)
    shelf = Choice(old, new)
    rows, _ = work_off(shelf, records, 5, 0.2, 0.1)
    versions = {}
    for row in listed(rows, "curve"):
        versions.setdefault((row["media_id"], row["take"]), set()).add("x" in row["model_version"])
    assert all(len(of) == 1 for of in versions.values())
    assert versions["m0", 1] == {True}
    assert "looks 1 s ahead instead of 2.762 s" in caplog.text


def test_a_process_with_other_models_says_what_it_lacks() -> None:
    old, store, records = FakeEngine(), Store(), many_streams(1)
    partition = Partition("packets", 0, old, Settings(), TIMING)
    for each in records[:4]:
        partition.push(each)
    store.commit(partition)  # streams without snapshots: only the remark says whose they are
    other = FakeEngine("x", 0.5)
    assert not store.snapshots
    with pytest.raises(UsageError, match=r"models that are not here.*--releases"):
        Partition("packets", 0, other, Settings(), TIMING, store.recovered())
    for each in records[4:60]:
        partition.push(each)
    store.commit(partition)
    with pytest.raises(UsageError, match=r"speech .*--releases"):
        Partition("packets", 0, other, Settings(), TIMING, store.recovered())
    Partition("packets", 0, FakeEngine(), Settings(), TIMING, store.recovered())  # equal, not the same


def test_versions_of_a_media_in_words() -> None:
    spoke = [(4_000, {"speech": "1"}), (6_000, {"speech": "1"}), (9_000, {"speech": "2"})]
    assert versions_of("speech", spoke) == "1 until 6000 ms, 2"
    assert versions_of("speech", spoke[:2]) == "1"


def test_streams_without_a_snapshot_keep_the_models_that_the_remark_says() -> None:
    old, new, store, records = FakeEngine(), FakeEngine("x", 0.5), Store(), many_streams(1)
    shelf = Choice(old, new)
    partition = Partition("packets", 0, shelf, Settings(), TIMING)
    for each in records[:4]:
        partition.push(each)
    store.commit(partition)
    assert not store.snapshots
    shelf.change()  # and here the process dies
    partition = Partition("packets", 0, shelf, Settings(), TIMING, store.recovered())
    assert partition.engine is old
    for each in records[:8]:
        partition.push(each)
    assert partition.older == 0
    store.commit(partition)
    assert partition.engine is new
    saved = [Snapshot.from_bytes(data) for data in store.snapshots.values()]
    assert partition.streams == sum(one.is_open for one in saved)  # each with what it has
    assert partition.older >= partition.streams - 1  # one was offered others, and may have heard nothing
