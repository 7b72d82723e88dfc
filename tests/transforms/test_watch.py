"""Watch: alerts of batch and live are the same, and those that a slow look at the rows finds."""

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodstream.models.base import Float
from moodstream.transforms.elements import Clip, Media, Part
from moodstream.transforms.line import Line, Ring
from moodstream.transforms.live import LiveSession
from moodstream.transforms.rules import Rule, Stretch
from moodstream.transforms.session import Session, Settings
from moodstream.transforms.state import pack, unpack
from moodstream.transforms.track import Rows, merge
from moodstream.transforms.watch import evidence_words
from tests.support.fake_engine import FakeEngine
from tests.support.media_files import sound
from tests.support.packets import difference, listed

RATE_HZ = 8_000
VALUES = st.lists(st.sampled_from([math.nan, -1.0, 0.0, 0.25, 1.0]), max_size=60)
PARTS = [
    Stretch(),
    Stretch(from_s=3, to_s=12),
    Stretch(from_s=5),
    Stretch.named("last half"),
    Stretch(last_s=7),
]
RULES = st.builds(
    Rule,
    name=st.just("r"),
    value=st.just("valence"),
    above=st.just(0.1),
    for_s=st.sampled_from([0.5, 1.0, 2.5]),
    over_s=st.sampled_from([0.0, 1.5]),
    pause_s=st.sampled_from([0.0, 1.0, 5.0]),
    part=st.sampled_from(PARTS),
    negate=st.booleans(),
    every_s=st.sampled_from([0.0, 4.0]),
    at_most=st.sampled_from([None, 1, 2]),
)  # fmt: skip


def rings(rule: Rule, values: list[float], cuts: list[int], *, live: bool, moved: bool) -> list[Ring]:
    line, at, found = Line(rule, live=live), 0, []
    for size in [*cuts, len(values)]:
        found += line.push(at, values[at : at + size])
        at = min(len(values), at + size)
        if moved:
            state, line = unpack(pack(line.state())), Line(rule, live=live)
            line.restore(state)
    return found + line.close(len(values))


@given(RULES, VALUES, st.lists(st.integers(0, 30), max_size=5), st.booleans())
def test_cuts_and_moves_change_nothing(rule: Rule, values: list[float], cuts: list[int], moved: bool) -> None:
    whole = rings(rule, values, [], live=False, moved=False)
    assert rings(rule, values, cuts, live=False, moved=moved) == whole
    told = rings(rule, values, cuts, live=True, moved=moved)
    last = {ring.start_cell: ring for ring in told}  # the final one replaces the first
    assert all(ring.is_final for ring in last.values())
    span = [(ring.start_cell, ring.end_cell, ring.value, ring.held) for ring in last.values()]
    assert span == [(ring.start_cell, ring.end_cell, ring.value, ring.held) for ring in whole]


def slow(rule: Rule, values: list[float]) -> set[tuple[int, int]]:
    """The spans of a rule without window, rate and absence, found by trying all."""
    low, high = rule.part.cells(len(values))
    pause = math.ceil(rule.pause_s * 2)
    found = set()
    holds = [None if math.isnan(value) else rule.holds(value) for value in values]
    for start in range(low, high):
        for end in range(start + 1, high + 1):
            inside = holds[start:end]
            gap = max((len(run) for run in _runs_of_none(inside)), default=0)
            if inside[0] and inside[-1] and False not in inside and gap <= pause:
                found.add((start, end))
    longest = {
        (start, end)
        for start, end in found
        if not any((a <= start and end <= b) and (a, b) != (start, end) for a, b in found)
    }
    need = rule.cells
    return {(start, end) for start, end in longest if sum(h is True for h in holds[start:end]) >= need}


def _runs_of_none(inside: list[bool | None]) -> list[str]:
    return "".join("." if one is None else "#" for one in inside).replace("#", " ").split()


@settings(max_examples=150)
@given(
    st.sampled_from([0.5, 1.0, 2.5]),
    st.sampled_from([0.0, 1.0]),
    st.sampled_from([Stretch(), Stretch(from_s=3, to_s=12), Stretch.named("last half"), Stretch(last_s=7)]),
    VALUES,
)
def test_spans_are_those_that_a_slow_look_finds(
    for_s: float, pause_s: float, part: Stretch, values: list[float]
) -> None:
    rule = Rule("r", "valence", above=0.1, for_s=for_s, pause_s=pause_s, part=part, every_s=0)
    found = rings(rule, values, [], live=False, moved=False)
    assert {(ring.start_cell, ring.end_cell) for ring in found} == slow(rule, values)
    for ring in found:
        held = [v for v in values[ring.start_cell : ring.end_cell] if not math.isnan(v)]
        assert ring.value == pytest.approx(sum(held) / len(held))
        assert (ring.held, ring.worst) == (len(held), max(held))


def push(rule: Rule, values: list[float], *, live: bool = False) -> list[Ring]:
    return rings(rule, values, [7], live=live, moved=False)


def test_an_alert_opens_at_once_and_closes_with_its_span() -> None:
    rule = Rule("r", "valence", above=0.1, for_s=1.0)
    first, last = push(rule, [0, 1, 1, 1, 1, 0, 0], live=True)
    assert (first.start_cell, first.end_cell, first.revision, first.is_final) == (1, 3, 0, False)
    assert (last.start_cell, last.end_cell, last.revision, last.is_final) == (1, 5, 1, True)
    assert first.told_cell == last.told_cell == 3


def test_rate_limits() -> None:
    burst = [1.0, 0.0] * 20
    every = Rule("r", "valence", above=0.1, every_s=5)
    assert [ring.start_cell for ring in push(every, burst)] == [0, 10, 20, 30]
    assert len(push(Rule("r", "valence", above=0.1, every_s=0, at_most=3), burst)) == 3
    late = push(every, [1.0, 0.0] + [1.0] * 20)  # it still holds when it may ring again
    assert [(ring.start_cell, ring.told_cell) for ring in late] == [(0, 1), (2, 11)]


def test_an_absence_rings_when_its_part_is_over() -> None:
    rule = Rule("r", "talk", for_s=2, part=Stretch(to_s=5), negate=True)
    line = Line(rule, live=True)
    assert line.push(0, [0.0] * 9 + [1.0]) == []
    (ring,) = line.push(10, [0.0])
    assert (ring.start_cell, ring.end_cell, ring.is_absence, ring.value) == (0, 10, True, 0.5)
    assert line.push(11, [0.0] * 50) == line.close(61) == []
    assert push(rule, [0.0, 1, 1, 1, 1] + [0.0] * 20) == []
    assert push(rule, [math.nan] * 30) == []  # nothing is known: nobody can say
    assert len(push(rule, [0.0] * 6)) == 1  # it ended before that


def test_the_mean_of_a_window_rides_out_single_cells() -> None:
    rule = Rule("r", "talk", above=0.6, over_s=5)
    assert push(rule, [1.0] * 9) == []
    (ring,) = push(rule, [1.0, 1, 0, 1] * 10)
    assert ring.start_cell == 9


# ---------------------------------------------------------------- in sessions


SESSION_RULES = (
    Rule("low", "valence", below=0.35, for_s=1, every_s=3, on="customer"),
    Rule("angry", "anger", above=0.1, every_s=0, on="customer"),
    Rule("loud", "loudness_lufs", above=-30, for_s=1.5, every_s=0),
    Rule("silent", "non_talk", for_s=1, every_s=0),
    Rule("over", "overlap", for_s=1, every_s=0),
    Rule("long", "elapsed_s", above=8, severity="info"),
    Rule("quiet agent", "talk", for_s=4, part=Stretch(to_s=4), negate=True, on="agent"),
    Rule("end", "arousal", above=0, for_s=0.5, part=Stretch.named("last quarter"), severity="critical"),
    Rule("sum", "summary.talk_ms", above=1000, on="agent"),
    Rule("q4", "summary.sentiment_q4", above=-5),
)
CALL = Media("call", (Part("x", "audio"),), roles=("agent", "customer"), split=True)


def call(seconds: float = 15.3) -> Float:
    """Two sides with pauses of their own, [2, n]."""
    samples = sound(seconds, RATE_HZ, 2, 11)
    for side, seed in enumerate((1, 5)):
        pauses = np.random.default_rng(seed).random(-(-samples.shape[1] // RATE_HZ)) > 0.5
        samples[side] *= np.repeat(pauses, RATE_HZ)[: samples.shape[1]]
    return samples


def alerts_of(rows: Rows, *, final: bool = True) -> list[dict[str, Any]]:
    own = ("revision", "is_final", "event_time")
    found = [row for row in listed(rows, "alert") if row["is_final"] == final]
    return [{name: value for name, value in row.items() if name not in own} for row in found]


def batch(rules: tuple[Rule, ...], samples: Float) -> Rows:
    session, rows = Session(CALL, "run", FakeEngine(), Settings(rules=rules)), Rows()
    merge(rows, session.push(Clip(0, RATE_HZ, samples)))
    merge(rows, session.flush())
    return rows


def live(rules: tuple[Rule, ...], samples: Float, cuts: list[tuple[int, bool]]) -> Rows:
    def fresh() -> LiveSession:
        return LiveSession(CALL, "run", FakeEngine(), Settings(rules=rules), 1_700_000_000_000)

    session, rows, at = fresh(), Rows(), 0
    for size, moved in [*cuts, (samples.shape[1], False)]:
        merge(rows, session.push(Clip(0, RATE_HZ, samples[:, at : at + size])))
        at += size
        if moved:
            state, session = pack(session.state()), fresh()
            session.restore(unpack(state))
    merge(rows, session.flush())
    return rows


@settings(max_examples=6, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30_000), st.booleans()), max_size=6))
def test_batch_and_live_give_the_same_alerts(cuts: list[tuple[int, bool]]) -> None:
    samples = call()
    wanted, told = alerts_of(batch(SESSION_RULES, samples)), live(SESSION_RULES, samples, cuts)
    assert {row["rule"] for row in wanted} == {rule.name for rule in SESSION_RULES}
    assert difference(alerts_of(told), wanted) == ""
    opened = alerts_of(told, final=False)
    assert {(row["rule"], row["channel"], row["start_ms"]) for row in opened} <= {
        (row["rule"], row["channel"], row["start_ms"]) for row in wanted
    }
    assert {row["rule"] for row in opened} == {"low", "angry", "loud", "silent", "over", "long"}


def test_alerts_say_where_and_why() -> None:
    rows = live(SESSION_RULES, call(), [(4_000, False)] * 30)
    curve = {(row["channel"], row["start_ms"]): row for row in listed(rows, "curve") if row["is_final"]}
    by_rule: dict[str, list[dict[str, Any]]] = {}
    for row in listed(rows, "alert"):
        by_rule.setdefault(row["rule"], []).append(row)
        assert row["event_time"].timestamp() * 1000 == 1_700_000_000_000 + row["start_ms"]
        evidence = json.loads(row["evidence"])
        assert evidence["rule"] in evidence_words(row["evidence"])
        if row["rule"] in ("low", "loud") and row["is_final"]:
            column = "valence" if row["rule"] == "low" else "loudness_lufs"
            cells = [curve[row["channel"], at][column] for at in range(row["start_ms"], row["end_ms"], 500)]
            known = [value for value in cells if value is not None]
            assert row["value"] == pytest.approx(sum(known) / len(known), abs=1e-6)
            assert evidence["worst"] == round((min if row["rule"] == "low" else max)(known), 4)
            assert evidence["held_s"] == len(known) / 2
    assert {row["channel"] for row in by_rule["silent"]} == {"call"}
    assert {row["role"] for row in by_rule["silent"]} == {None}
    assert {row["channel"] for row in by_rule["low"]} == {"customer"}
    assert {row["channel"] for row in by_rule["over"]} == {"agent", "customer"}
    assert {row["severity"] for row in by_rule["end"]} == {"critical"}
    assert min(row["start_ms"] for row in by_rule["end"]) >= 0.75 * 15_300 - 500


def test_what_was_not_received_is_no_silence() -> None:
    samples = call(6)
    samples[:] = 0
    rules = (Rule("silent", "non_talk", for_s=4, every_s=0),)
    session = LiveSession(CALL, "run", FakeEngine(), Settings(rules=rules), 0)
    rows = session.push(Clip(0, RATE_HZ, samples[:, : 2 * RATE_HZ]))
    merge(rows, session.skip(20_000, RATE_HZ, 2))
    merge(rows, session.push(Clip(0, RATE_HZ, samples[:, : 3 * RATE_HZ])))
    merge(rows, session.flush())
    assert "alert" not in rows
    assert "alert" in live(rules, samples, [])


def test_rules_may_change_between_a_state_and_its_restoration() -> None:
    samples = call()
    kept = Rule("kept", "valence", above=-2, for_s=4, pause_s=60, on="customer")
    session = LiveSession(CALL, "run", FakeEngine(), Settings(rules=(kept, SESSION_RULES[1])), 0)
    session.push(Clip(0, RATE_HZ, samples[:, : 8 * RATE_HZ]))
    state = pack(session.state())
    rules = (kept, Rule("silent", "non_talk", for_s=5, every_s=0), SESSION_RULES[2])
    other, rows = LiveSession(CALL, "run", FakeEngine(), Settings(rules=rules), 0), Rows()
    other.restore(unpack(state))
    merge(rows, other.push(Clip(0, RATE_HZ, samples[:, 8 * RATE_HZ :])))
    merge(rows, other.flush())
    alerts = [row for row in pa.concat_tables(rows["alert"]).to_pylist() if row["is_final"]]
    assert {row["rule"] for row in alerts} == {"kept", "loud"}
    (over,) = [row for row in alerts if row["rule"] == "kept"]
    assert over["start_ms"] < 4_000 < 12_000 < over["end_ms"]
    assert min(row["start_ms"] for row in alerts if row["rule"] == "loud") >= 6_000
