"""The board: what is told, what is kept, what is forgotten."""

import itertools
import tracemalloc
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodstream.serving.live import board
from moodstream.serving.live.board import Board
from moodstream.serving.live.pieces import Changes
from tests.support.live_rows import alert, curve, episode, media


def read(changes: Changes) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(changes.to_json("now"))
    return found


def cells(said: Mapping[str, Any], media_id: str = "m", channel: str = "customer") -> list[list[Any]]:
    return [
        row
        for call in said["calls"]
        if call["media_id"] == media_id
        for one in call["channels"]
        if one["channel"] == channel
        for row in one["rows"]
    ]


def test_rows_are_told_once_and_final_ones_replace_provisional_ones() -> None:
    on = Board()
    on.put("curve", [curve("m", 0, final=False), curve("m", 500, final=False)], 0)
    assert [row[0] for row in cells(read(on.take()))] == [0, 500]
    assert not on.take()
    on.put("curve", [curve("m", 0, valence=0.5)], 1)
    on.put("curve", [curve("m", 0, final=False, valence=-0.5)], 1)  # late, and older
    (told,) = cells(read(on.take()))
    assert told == [0, 0.5, 0.2, 0.1, 0.1, "speech", -20.0, None, True]
    assert [row[-1] for row in cells(read(on.snapshot()))] == [True, False]


def test_two_rows_of_a_cell_between_two_looks_are_one() -> None:
    on = Board()
    on.put("curve", [curve("m", 0, final=False), curve("m", 0)], 0)
    assert [row[-1] for row in cells(read(on.take()))] == [True]


def test_the_last_minute_is_kept_and_no_more() -> None:
    on = Board()
    for at in range(0, 600_000, 500):
        on.put("curve", [curve("m", at)], at / 1000)
        on.take()
    kept = [row[0] for row in cells(read(on.snapshot()))]
    assert kept == list(range(540_000, 600_000, 500))
    assert read(on.snapshot())["calls"][0]["position_ms"] == 600_000
    (call,) = on._calls.values()
    assert len(call.channels["customer"].rows) <= board.MAX_ROWS + board._SLACK


def test_the_best_modality_of_a_channel_is_shown() -> None:
    on = Board()
    on.put("curve", [curve("m", 0, modality="music", valence=0.1)], 0)
    on.put("curve", [curve("m", 0, modality="fused", valence=0.9)], 0)
    on.put("curve", [curve("m", 500, modality="music", valence=0.1)], 0)
    (told,) = cells(read(on.take()))
    assert told[:2] == [0, 0.9]
    assert read(on.snapshot())["calls"][0]["channels"][0]["modality"] == "fused"


def test_a_call_that_is_over_stays_for_a_minute() -> None:
    on = Board()
    on.put("curve", [curve("m", 0)], 0)
    on.put("media", [media("m")], 1)
    assert read(on.take())["closed"] == [["m", 0]]
    on.put("curve", [curve("m", 500)], 1)  # of the same commit, read later
    on.tidy(50)
    said = read(on.snapshot())
    assert said["closed"] == [["m", 0]]
    assert len(cells(said)) == 2
    on.tidy(62)
    assert not on.snapshot()
    assert len(on) == 0


def test_a_call_that_says_nothing_is_taken_for_over_until_it_speaks_again() -> None:
    on = Board()
    on.put("curve", [curve("m", 0)], 0)
    on.take()
    on.tidy(board.SILENT_S + 1)
    assert read(on.take())["closed"] == [["m", 0]]
    on.put("curve", [curve("m", 500)], board.SILENT_S + 2)
    assert read(on.snapshot())["closed"] == []
    on.tidy(3 * board.SILENT_S)
    on.tidy(4 * board.SILENT_S)
    assert not on.snapshot()


def test_a_call_that_comes_back_is_another_take() -> None:
    on = Board()
    on.put("curve", [curve("m", 0)], 0)
    on.put("curve", [curve("m", 0, take=1)], 5)
    said = read(on.take())
    assert said["closed"] == [["m", 0]]
    assert [call["take"] for call in said["calls"]] == [0, 1]


def test_calls_with_open_alerts_come_first() -> None:
    on = Board()
    on.put("curve", [curve("quiet", 0), curve("loud", 0)], 0)
    on.put("alert", [alert("loud", 0)], 0)
    said = read(on.snapshot())
    assert [call["media_id"] for call in said["calls"]] == ["loud", "quiet"]
    assert list(said)[:2] == ["at", "alerts"]
    on.take()
    on.put("alert", [alert("loud", 0, final=True)], 1)
    (told,) = read(on.take())["alerts"]
    assert told["is_final"]
    assert told["emotions_for"] == "customer"
    assert "analysis_id" not in told


def test_what_is_said_again_is_not_told_again() -> None:
    on = Board()
    for _ in range(2):
        on.put("alert", [alert("m", 0)], 0)
        on.put("episode", [episode("m", 0)], 0)
    said = read(on.take())
    assert (len(said["alerts"]), len(said["episodes"])) == (1, 1)
    on.put("alert", [alert("m", 0)], 0)
    assert not on.take()


def test_alerts_episodes_and_calls_are_bounded() -> None:
    on = Board(max_calls=3)
    on.put("curve", [curve("m", 0)], 0)
    on.put("alert", [alert("m", at, final=at != 500) for at in range(0, 500_000, 500)], 0)
    on.put("episode", [episode("m", number) for number in range(200)], 0)
    said = read(on.snapshot())
    assert len(said["alerts"]) == board.MAX_ALERTS
    assert any(not one["is_final"] for one in said["alerts"])  # the open one is kept
    assert len(said["episodes"]) == board.MAX_EPISODES
    on.put("curve", [curve(f"call-{number}", 0) for number in range(10)], 1)
    assert len(on) == 3


def test_one_media_alone() -> None:
    on = Board()
    on.put("curve", [curve("a", 0), curve("b", 0)], 0)
    on.put("alert", [alert("a", 0)], 0)
    changes = on.take()
    assert read(changes.of("a"))["calls"] + read(changes.of("b"))["calls"] == read(changes)["calls"]
    assert not changes.of("c")
    assert not changes.of("b").alerts


@given(st.data())
def test_snapshot_and_changes_agree_however_they_are_cut(data: st.DataObject) -> None:
    """Whoever took a snapshot and all changes after it knows what a later snapshot says."""
    rows = [
        curve(f"m{number % 3}", at, final=final, valence=value)
        for (at, final), number, value in zip(
            itertools.product(range(0, 5_000, 500), (False, True)),
            data.draw(st.lists(st.integers(0, 5), min_size=20, max_size=20)),
            itertools.cycle((0.1, 0.2, 0.3)),
            strict=False,
        )
    ]
    rows = data.draw(st.permutations(rows))
    on, known = Board(), {}
    for row in rows:
        on.put("curve", [row], 0)
        if data.draw(st.booleans()):
            known |= _by_cell(read(on.take()))
    known |= _by_cell(read(on.take()))
    assert known == _by_cell(read(on.snapshot()))


def _by_cell(said: Mapping[str, Any]) -> dict[tuple[str, int], list[Any]]:
    return {
        (call["media_id"], row[0]): row
        for call in said["calls"]
        for channel in call["channels"]
        for row in channel["rows"]
    }


def test_an_id_cannot_break_out() -> None:
    name = '"]}\n\ndata: {"x":"\u2028'
    on = Board()
    on.put("curve", [curve(name, 0)], 0)
    text = on.take().to_json("now")
    assert b"\n" not in text
    assert orjson.loads(text)["calls"][0]["media_id"] == name


@pytest.mark.parametrize("rows", [[], [curve("m", 0)]])
def test_no_changes_without_rows(rows: list[dict[str, Any]]) -> None:
    on = Board()
    on.put("curve", rows, 0)
    assert on.is_changed == bool(rows)
    assert bool(on.take()) == bool(rows)


def test_a_row_costs_no_more_than_its_size() -> None:
    """Half a million rows are kept for 4,000 calls."""
    on = Board()
    rows = [curve(f"call-{number}", at) for at in range(0, 5_000, 500) for number in range(200)]
    tracemalloc.start()
    try:
        on.put("curve", rows, 0)
        bytes_each = tracemalloc.get_traced_memory()[0] / len(rows)
    finally:
        tracemalloc.stop()
    assert bytes_each < 700
