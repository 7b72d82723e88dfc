"""Events: told once, four times a second at most, resumed without loss or doubling."""

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import orjson
import pytest

from moodstream.serving.live import events as module
from moodstream.serving.live.board import Board
from moodstream.serving.live.events import Events, SlowError
from tests.support.live_rows import alert, curve

Seen = list[tuple[str, int, dict[str, Any]]]
_EVENT = re.compile(rb"id: (\d+)\nevent: (\w+)\ndata: ([^\n]*)\n\n")


def parse(data: bytes) -> Seen:
    return [(kind.decode(), int(number), orjson.loads(said)) for number, kind, said in _EVENT.findall(data)]


def starts(seen: Seen, media_id: str = "m") -> list[int]:
    """The half seconds that were told, in the order of telling."""
    return [
        row[0]
        for _, _, said in seen
        for call in said["calls"]
        if call["media_id"] == media_id
        for channel in call["channels"]
        for row in channel["rows"]
    ]


def put(events: Events, *rows: dict[str, Any], table: str = "curve") -> None:
    with events.lock:
        events.board.put(table, rows, time.monotonic())
    events.stir()


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 20))


async def some(following: AsyncIterator[bytes], count: int) -> Seen:
    """So many of the next events."""
    seen: Seen = []
    while len(seen) < count:
        seen += parse(await anext(following))
    return seen


def test_a_snapshot_comes_first_then_what_changes() -> None:
    async def story() -> None:
        events = Events(Board())
        put(events, curve("m", 0))
        events.tick()
        following = events.follow()
        (first,) = await some(following, 1)
        assert first[0] == "snapshot"
        put(events, curve("m", 500), curve("m", 1_000))
        events.tick()
        (second,) = await some(following, 1)
        assert (second[0], second[1]) == ("rows", first[1] + 1)
        assert starts([first, second]) == [0, 500, 1_000]

    run(story())


def test_ticks_come_four_times_a_second_at_most_and_the_first_at_once() -> None:
    async def story() -> None:
        events = Events(Board(), tick_s=0.1)
        ticking = asyncio.create_task(events.run())
        await asyncio.sleep(0.01)
        before, number = time.monotonic(), events.number
        following = events.follow()
        await anext(following)
        put(events, curve("m", 0))
        seen = parse(await anext(following))
        assert time.monotonic() - before < 0.09
        for at in range(500, 30_000, 500):
            put(events, curve("m", at))
            await asyncio.sleep(0.01)
        took_s = time.monotonic() - before
        while len(starts(seen)) < 60:
            seen += parse(await anext(following))
        assert starts(seen) == list(range(0, 30_000, 500))
        assert 3 <= events.number - number <= took_s / 0.1 + 2
        ticking.cancel()

    run(story())


def test_events_are_made_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    plain = module.event

    def counted(kind: str, number: int, data: bytes) -> bytes:
        made.append(kind)
        return plain(kind, number, data)

    monkeypatch.setattr(module, "event", counted)

    async def story() -> None:
        events = Events(Board())
        put(events, curve("m", 0), curve("n", 0))
        events.tick()
        made.clear()
        everybody = [events.follow() for _ in range(10)]
        alone = [events.follow("m") for _ in range(10)]
        for one in (*everybody, *alone):
            await anext(one)
        made.clear()
        put(events, curve("m", 500), curve("n", 500))
        events.tick()
        pieces = [await anext(one) for one in everybody]
        assert all(piece is pieces[0] or piece == pieces[0] for piece in pieces)
        mine = [await anext(one) for one in alone]
        assert starts(parse(mine[0]), "n") == []
        assert made == ["rows", "rows"]  # for all, and for one media

    run(story())


def test_resuming_loses_nothing_and_doubles_nothing() -> None:
    async def story() -> None:
        chance = random.Random(3)
        events = Events(Board())
        put(events, curve("m", 0))
        events.tick()
        seen: Seen = []
        following = events.follow()
        seen += parse(await anext(following))
        for at in range(500, 60_000, 500):
            put(events, curve("m", at), curve("n", at))
            events.tick()
            if chance.random() < 0.3:
                seen += parse(await anext(following))
            if chance.random() < 0.2:  # the line breaks; what came last is known
                await following.aclose()
                following = events.follow(last_id=seen[-1][1])
        while seen[-1][1] < events.number:
            seen += parse(await anext(following))
        assert [kind for kind, _, _ in seen] == ["snapshot"] + ["rows"] * (len(seen) - 1)
        assert starts(seen) == list(range(0, 60_000, 500))
        assert starts(seen, "n") == list(range(500, 60_000, 500))
        assert [number for _, number, _ in seen] == list(range(seen[0][1], events.number + 1))

    run(story())


def test_one_media_resumes_too() -> None:
    async def story() -> None:
        events = Events(Board())
        following = events.follow("m")
        ((_, number, _),) = parse(await anext(following))
        for at in range(0, 5_000, 500):
            put(events, curve("m" if at % 1_000 else "n", at))
            events.tick()
        seen = parse(await anext(events.follow("m", number)))
        assert starts(seen) == [500, 1_500, 2_500, 3_500, 4_500]
        assert starts(seen, "n") == []

    run(story())


@pytest.mark.parametrize("last_id", [0, 17, 2**60])
def test_what_is_too_old_or_of_another_process_is_reset(last_id: int) -> None:
    async def story() -> None:
        events = Events(Board())
        put(events, curve("m", 0))
        events.tick()
        ((kind, number, said),) = parse(await anext(events.follow(last_id=last_id)))
        assert (kind, number) == ("reset", events.number)
        assert starts([(kind, number, said)]) == [0]

    run(story())


def test_ids_of_a_later_process_are_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Events(Board())
    put(first, curve("m", 0))
    first.tick()
    now_s = time.time()
    monkeypatch.setattr(module.time, "time", lambda: now_s + 1)
    assert Events(Board()).number > first.number


def test_a_snapshot_waits_for_the_tick_so_nothing_is_told_twice() -> None:
    async def story() -> None:
        events = Events(Board(), tick_s=0.05)
        ticking = asyncio.create_task(events.run())
        await asyncio.sleep(0.01)
        put(events, curve("m", 0))
        following = events.follow()
        seen = parse(await anext(following))
        put(events, curve("m", 500))
        seen += parse(await anext(following))
        assert starts(seen) == [0, 500]
        ticking.cancel()

    run(story())


def test_who_is_far_behind_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_TICKS", 5)

    async def story() -> None:
        events = Events(Board())
        following = events.follow()
        await anext(following)
        for at in range(0, 4_000, 500):
            put(events, curve("m", at))
            events.tick()
        with pytest.raises(SlowError, match="8 events behind"):
            await anext(following)
        assert len(events._ring) == 5

    run(story())


def test_the_ring_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 10_000)
    events = Events(Board())
    for at in range(0, 100_000, 500):
        put(events, *(curve(f"m{number}", at) for number in range(10)))
        events.tick()
    assert 1 <= len(events._ring) < 15
    assert events._bytes == sum(len(tick.event(None)) for tick in events._ring) <= 10_000


def test_silence_is_told_of() -> None:
    async def story() -> None:
        events = Events(Board())
        following = events.follow(heartbeat_s=0.02)
        await anext(following)
        assert await anext(following) == b": still here\n\n"
        put(events, alert("m", 0), table="alert")
        events.tick()
        (seen,) = await some(following, 1)
        assert seen[2]["alerts"][0]["rule"] == "angry"

    run(story())


def test_asking_for_media_that_are_not_there_keeps_nothing() -> None:
    async def story() -> None:
        events = Events(Board())
        for at in range(0, 5_000, 500):
            put(events, curve("m", at))
            events.tick()
        for number in range(100):
            await anext(events.follow(f"nobody {number}", events.number - 9, heartbeat_s=0.001))
            await events.snapshot(f"nobody {number}")
        assert all(len(tick._made) == 1 for tick in events._ring)
        assert len(events._snapshots) <= module._MOST_SNAPSHOTS

    run(story())
