"""In hand: who dies of a record twice does not take it a third time; what kills goes, the stream stays."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moodstream.models.base import Float
from moodstream.models.bundle import Said
from moodstream.transforms.elements import Clip, Poll, Recovered
from moodstream.transforms.hand import InHand
from moodstream.transforms.partition import Partition
from moodstream.transforms.session import Settings
from moodstream.transforms.stream import LiveSettings
from moodstream.transforms.streamed import PcmStream
from moodstream.transforms.streams import _LANES, _Analyze
from moodstream.transforms.track import Rows, merge
from tests.support.fake_engine import FakeAudio, FakeEngine, FakeStream
from tests.support.media_files import sound
from tests.support.packets import cut, l16, listed, record

START_MS = 1_700_000_000_000
POISON = b"die"


def run(folder: str, deadly: bool) -> list[dict[str, object]]:
    """Work off a stream with a packet that kills (or could); gives its dead letters and its media row."""
    packets = list(cut("m", l16(sound(3, 8_000, 1)), "audio/L16;rate=8000", [8_000] * 5, 16_000))
    packets[2] = type(packets[2])("m", 2, POISON, packets[2].content_type, packets[2].pts_ms)
    partition = Partition("packets", 0, FakeEngine(), Settings(), LiveSettings(in_hand=folder))
    if deadly:
        push = PcmStream.push

        def dying(self: PcmStream, data: bytes) -> list[Clip]:
            if data == POISON:
                os._exit(1)
            return push(self, data)

        PcmStream.push = dying  # type: ignore[method-assign]
    rows: list[dict[str, object]] = []
    for number, packet in enumerate(packets):
        partition.push(record(packet, number, START_MS + 500 * number))
    partition.tick(START_MS + 10_000)  # what is missing is given up
    step = partition.take()
    if step is not None:
        rows = listed(step.rows, "dead_letter")
        rows += listed(step.rows, "media")
    return rows


def died(folder: Path, work_off: Callable[[str, bool], Any] = run) -> bool:
    child = os.fork()
    if not child:
        work_off(str(folder), True)
        os._exit(0)
    return os.waitpid(child, 0)[1] != 0


LOUD = 0.99  # as loud as nothing else: what the networks die of


def run_many(folder: str, deadly: bool) -> dict[str, list[dict[str, Any]]]:
    """Streams whose sound the networks hear as one batch, one of them deadly; their rows."""
    push = FakeAudio.push

    def dying(self: FakeAudio, streams: list[FakeStream], sounds: list[Float]) -> list[Said]:
        if any(len(one) and one.max() > LOUD for one in sounds):
            os._exit(1)
        return push(self, streams, sounds)

    if deadly:
        FakeAudio.push = dying  # type: ignore[method-assign]
    partition = Partition("packets", 0, FakeEngine(), Settings(), LiveSettings(in_hand=folder))
    heard = [sound(4, 8_000, 1, number) for number in range(4)]
    heard[2][:, 13_000:13_400] = 0.9999
    lanes = [
        list(cut(f"m{number}", l16(one), "audio/L16;rate=8000", [8_000] * 8, 16_000))
        for number, one in enumerate(heard)
    ]
    rows: Rows = {}
    records = [packet for together in zip(*lanes, strict=True) for packet in together]
    for number, packet in enumerate(records):
        partition.push(record(packet, number, START_MS + 100 * number))
        if number % 8 == 7:
            step = partition.take()
            merge(rows, step.rows if step else {})
    partition.tick(START_MS + 90_000)
    step = partition.take()
    merge(rows, step.rows if step else {})
    return {name: listed(rows, name) for name in ("dead_letter", "media")}


def test_what_kills_inside_a_batch_is_found_by_working_off_one_by_one(tmp_path: Path) -> None:
    for _ in range(3):  # in the batch; alone; alone
        assert died(tmp_path, run_many)
    assert not died(tmp_path, run_many)
    rows = run_many(str(tmp_path), False)
    (letter,) = rows["dead_letter"]
    assert (letter["media_id"], letter["error"], letter["reference"]) == ("m2", "poison", "packets/0/14")
    assert {row["media_id"]: row["duration_ms"] for row in rows["media"]} == {
        f"m{number}": 4_000 for number in range(4)
    }


def test_a_batch_that_was_killed_from_outside_costs_nobody_anything(tmp_path: Path) -> None:
    hand = InHand(str(tmp_path), "packets-0")
    hand.take_all(9)
    for _ in range(3):
        hand = InHand(str(tmp_path), "packets-0")
        assert hand.careful == 9
        hand.take(4, 1)  # killed here
        hand = InHand(str(tmp_path), "packets-0")
        assert hand.careful == 9
        hand.take(4, 1)
        hand.done(4, 1)
    hand.take_all(12)
    hand.done_all(12)
    assert InHand(str(tmp_path), "packets-0").careful == 0
    assert not InHand(str(tmp_path), "packets-0").is_poison(4, 1)


def test_what_kills_twice_is_a_dead_letter_on_the_third_start(tmp_path: Path) -> None:
    assert died(tmp_path)
    assert died(tmp_path)
    assert not died(tmp_path)
    letter, media = run(str(tmp_path), False)
    assert (letter["stage"], letter["error"]) == ("packet", "poison")
    assert letter["reference"] == "packets/0/2"
    assert letter["source"] == "packets/0"
    assert media["duration_ms"] == 3_000  # the others are all there, and the gap where it was


def test_a_kill_that_a_record_survives_is_forgotten(tmp_path: Path) -> None:
    for _ in range(5):
        hand = InHand(str(tmp_path), "packets-0")
        assert not hand.is_poison(7, 1)
        hand.take(7, 1)  # killed from outside
        hand = InHand(str(tmp_path), "packets-0")
        hand.take(7, 1)
        hand.done(7, 1)


def test_after_a_death_nothing_goes_on_beside_who_was_in_hand(tmp_path: Path) -> None:
    """Each commit is waited for until it is known who killed: else a kill in a commit would be his."""

    def commits() -> list[bool]:
        """Polls of one record each; by commit, whether it says something or only waits."""
        streams = _Analyze(Settings(), LiveSettings(in_hand=str(tmp_path)), FakeEngine(), "")
        packets = cut("m", l16(sound(3, 8_000, 1)), "audio/L16;rate=8000", [8_000] * 5, 16_000)
        found = [Poll("lane", "packets", recovered=(Recovered(0),))]
        found += [
            Poll("lane", "packets", (record(packet, number, START_MS + 500 * number),))
            for number, packet in enumerate(packets)
        ]
        _LANES.clear()
        return [bool(commit.positions) for poll in found for commit in streams.process(poll)]

    assert commits() == [True] * 7
    InHand(str(tmp_path), "packets-0").take(3, START_MS + 1_500)  # and dies
    assert commits() == [True, False] * 3 + [True] * 4


def test_without_a_folder_nothing_is_kept(tmp_path: Path) -> None:
    hand = InHand("", "packets-0")
    hand.take(1, 1)
    hand.done(1, 1)
    (tmp_path / "file").touch()
    assert not InHand(str(tmp_path / "file" / "folder"), "packets-0").is_poison(1, 1)
