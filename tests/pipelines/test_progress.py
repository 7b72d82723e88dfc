"""Progress: what workers write is read once and whole, and time left follows the bytes."""

import io
import json
import multiprocessing
import pickle

import pytest
from rich.console import Console

from moodstream.pipelines import display
from moodstream.pipelines.progress import Meter, Progress, ProgressLog, ProgressTail


def _work(log: ProgressLog, name: str) -> None:
    log.advance(name, 1.0, 4.0, 100)
    log.done(name, 4.0, 100, dead_letters=1)
    log.close()


def test_events_of_other_processes_arrive(tmp_path):
    context = multiprocessing.get_context("spawn")
    log = ProgressLog(tmp_path)
    workers = [context.Process(target=_work, args=(log, f"m{i}\n\udcff")) for i in range(2)]
    seen = []
    with ProgressTail(tmp_path).follow(seen.append, every_s=0.01):
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    done = [event for event in seen if event.event == "done"]
    assert sorted(event.media_id for event in done) == ["m0\n\udcff", "m1\n\udcff"]
    assert sum(event.dead_letters for event in done) == 2
    assert len(list(tmp_path.glob("*.jsonl"))) == 2


def test_half_a_line_waits_for_its_end(tmp_path):
    tail, path = ProgressTail(tmp_path), tmp_path / "1.jsonl"
    line = json.dumps({"event": "done", "media_id": "a", "seconds": 3.0})
    path.write_text(line + "\n" + line[:9])
    assert tail.poll() == [Progress("done", "a", seconds=3.0)]
    assert tail.poll() == []
    with path.open("a") as file:
        file.write(line[9:] + "\n")
    assert tail.poll() == [Progress("done", "a", seconds=3.0)]


def test_advance_is_throttled_and_done_is_not(tmp_path):
    log = ProgressLog(tmp_path)
    for second in range(1000):
        log.advance("a", float(second))
    log.done("a", 1000.0)
    log.done("b", 1.0)
    events = ProgressTail(tmp_path).poll()
    assert [event.event for event in events][-2:] == ["done", "done"]
    assert len(events) < 20


def test_an_open_log_can_be_pickled(tmp_path):
    log = ProgressLog(tmp_path)
    log.done("a", 1.0)
    pickle.loads(pickle.dumps(log)).done("b", 1.0)
    assert [event.media_id for event in ProgressTail(tmp_path).poll()].count("b") == 1


def test_a_folder_that_is_gone_stops_nobody(tmp_path):
    ProgressLog(tmp_path / "gone").done("a", 1.0)
    assert ProgressTail(tmp_path / "gone").poll() == []


def test_meter_knows_speed_and_time_left():
    now = [100.0]
    meter = Meter(lambda: now[0])
    meter.take(Progress("plan", media=7, size=7000))
    meter.take(Progress("skip", media=3))  # 3,000 of the bytes, as far as one can tell
    now[0] = 120.0  # start-up, not counted
    meter.take(Progress("advance", "a", size=1000, seconds=0.0, of_seconds=60.0))
    now[0] = 130.0
    meter.take(Progress("done", "a", size=1000, seconds=60.0, of_seconds=60.0))
    assert meter.times_real == pytest.approx(6.0)
    assert meter.fraction == pytest.approx(4 / 7)
    assert meter.left_s == pytest.approx(30.0)
    meter.take(Progress("advance", "b", size=1000, seconds=30.0))  # length unknown: as long a byte as `a`
    assert meter.fraction == pytest.approx(4.5 / 7)
    meter.take(Progress("advance", "b", size=1000, seconds=30.0))  # tried again: counts once
    assert meter.seconds == pytest.approx(90.0)
    assert meter.line() == "4/7 media · 90 s · 9x real time · 17 s left · 3 done before"


def test_a_slow_start_is_forgotten():
    now = [0.0]
    meter = Meter(lambda: now[0])
    meter.take(Progress("plan", media=1000, size=1000))
    meter.take(Progress("advance", "0", size=1, seconds=0.0, of_seconds=10.0))
    now[0] = 300.0  # models load, the machine swaps
    for _ in range(200):
        now[0] += 1
        meter.take(Progress("done", "0", size=1, seconds=10.0))
    assert meter.left_s == pytest.approx(800, rel=0.05)
    assert meter.times_real == pytest.approx(4.0)


def test_meter_claims_nothing_it_cannot_know():
    meter = Meter(lambda: 0.0)
    assert (meter.times_real, meter.fraction, meter.left_s) == (None, None, None)
    meter.take(Progress("plan", media=1, size=10))
    meter.take(Progress("advance", "a", size=10, seconds=5.0))
    assert meter.fraction is None


def test_without_a_terminal_lines_are_printed(monkeypatch):
    monkeypatch.setattr(display, "LINE_EVERY_S", 0.0)
    out = io.StringIO()
    with display.display(Console(file=out, force_terminal=False, width=30)) as on_progress:
        on_progress(Progress("plan", media=2, size=10))
        on_progress(Progress("done", "[red]a", size=5, seconds=12.0))
    lines = out.getvalue().splitlines()
    assert lines[0] == "2 media to look at"
    assert lines[1].startswith("1/2 media · 12 s")
    assert "\x1b" not in out.getvalue()


def test_on_a_terminal_a_bar_is_drawn():
    out = io.StringIO()
    with display.display(Console(file=out, force_terminal=True, width=100)) as on_progress:
        on_progress(Progress("plan", media=2, size=10))
        on_progress(Progress("done", "a", size=10, seconds=12.0))
    assert "1/2 media" in out.getvalue()


def test_stages_are_named_as_they_come():
    out = io.StringIO()
    with display.stages(Console(file=out, force_terminal=False, width=20)) as tell:
        for share in (0.0, 0.5, 1.0):
            tell("fold 1", share)
        tell("final fit", 0.25)
    assert out.getvalue().splitlines() == ["fold 1 0%", "final fit 25%"]
    out = io.StringIO()
    with display.stages(Console(file=out, force_terminal=True, width=80)) as tell:
        tell("fold 1", 0.5)
    assert "fold 1" in out.getvalue()
