"""The benchmark of live rows: what it counts as lost, doubled and late."""

import orjson
import pytest

from infra.bench_serve_live import delays, judged
from infra.serve_live_load import Browser, alert, row
from moodstream.transforms.tables import SCHEMAS


def told(*steps: int, media_id: str = "calls/00007") -> bytes:
    cells = [[500 * step, 0.1, 0.2, 0.1, 0.1, "speech", -20.0, None, True] for step in steps]
    return orjson.dumps(
        {"calls": [{"media_id": media_id, "channels": [{"channel": "customer", "rows": cells}]}]}
    )


def test_rows_that_are_missing_or_come_twice_are_counted() -> None:
    browser = Browser()
    browser.take(b"snapshot", told(0, 1, 2), 1.0)
    browser.take(b"rows", told(3), 2.0)
    browser.take(b"rows", told(6, 7), 3.0)
    browser.take(b"rows", told(7), 4.0)
    assert (browser.rows, browser.lost, browser.doubled) == (7, 2, 1)
    assert sorted(browser.seen) == [(2.0, 2, 3), (3.0, 2, 6), (3.0, 2, 7), (4.0, 2, 7)]


def test_a_delay_runs_from_the_commit_of_its_slot_and_step() -> None:
    browsed = [{"seen": [[10.25, 2, 3], [11.0, 2, 4], [9.0, 0, 99]]}]
    assert delays({"2/3": 10.0, "2/4": 10.5}, browsed).tolist() == [250.0, 500.0]


def test_memory_counts_once_all_is_full() -> None:
    filling = [(float(at), 200.0 + at) for at in range(0, 130, 5)]
    flat = [(float(at), 300.0) for at in range(140, 300, 5)]
    assert judged(filling + flat) == {"mib": 300.0, "mib_in_half_an_hour": pytest.approx(0, abs=0.1)}
    growing = [(float(at), 300.0 + at / 60) for at in range(140, 300, 5)]
    assert judged(growing)["mib_in_half_an_hour"] == pytest.approx(30, abs=0.5)
    assert judged(filling)["mib_in_half_an_hour"] is None


def test_its_rows_are_rows_of_the_tables() -> None:
    assert row("calls/00001", 3, "customer").keys() == set(SCHEMAS["curve"].names)
    assert alert("calls/00001", 3).keys() == set(SCHEMAS["alert"].names)
