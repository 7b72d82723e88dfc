"""Agents' emotions: what `redact` takes away, and what it leaves."""

import json
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from moodstream.serving.access.redaction import redact
from moodstream.transforms.elements import SCHEMA_VERSION, Alert, CurvePoint, Episode, Summary
from moodstream.transforms.tables import SCHEMAS, to_table

CUSTOMER, ALL = SimpleNamespace(emotions_for="customer"), SimpleNamespace(emotions_for="all")
SPAN: dict[str, Any] = {
    "take": 0,
    "schema_version": SCHEMA_VERSION,
    "analysis_id": "a",
    "modality": "speech",
    "model": "speech",
    "model_version": "1",
    "revision": 0,
    "is_final": True,
    "event_time": None,
}
SIDES = [  # media, channel, role, emotions_for; who is whose is said by the names
    ("call", "customer", "customer", "all"),
    ("call", "agent", "agent", "all"),
    ("call", "supervisor", "supervisor", "all"),
    ("call", "ch1", None, "all"),
    ("mixed", "mix", None, "all"),
    ("song", "mix", None, "all"),
    ("film", "mix", None, "customer"),
    ("odd", "agent", "agent", "customer"),
]
KEPT = {"call/customer", "song/mix", "film/mix"}


def spans(cls: Any, **values: Any) -> list[Any]:
    found = []
    for number, (media, channel, role, whose) in enumerate(SIDES):
        span = {**SPAN, "media_id": media, "channel": channel, "role": role, "emotions_for": whose}
        span |= {"start_ms": 500 * number, "end_ms": 500 * (number + 1), "responsible": "Somebody"}
        found.append(cls(**span, **values))
    return found


def curve() -> pa.Table:
    numbers = dict.fromkeys(("valence", "arousal", "dominance"), 0.5)
    numbers |= {f"{name}_std": 0.1 for name in tuple(numbers)}
    scores = {"anger": 0.9, "neutral": 0.1}
    more = {"activity": "speech", "loudness_lufs": -20.0, "modalities": ["speech"], "reason": None}
    return to_table("curve", spans(CurvePoint, **numbers, emotion_scores=scores, **more))


def summary() -> pa.Table:
    values: dict[str, Any] = {}
    for column in SCHEMAS["summary"]:
        if column.name in SCHEMAS["episode"].names[:16] or column.name in SPAN:
            continue
        if pa.types.is_map(column.type):
            values[column.name] = {"anger": 1.0}
        elif pa.types.is_list(column.type):
            values[column.name] = ["tense"] if column.name == "moods" else [1.0, None]
        elif pa.types.is_string(column.type):
            values[column.name] = "anger"
        else:
            values[column.name] = 1
    own = {"media_id", "channel", "role", "emotions_for", "responsible", "start_ms", "end_ms"}
    return to_table("summary", spans(Summary, **{k: v for k, v in values.items() if k not in own}))


def by_side(rows: pa.Table) -> dict[str, dict[str, Any]]:
    return {f"{row['media_id']}/{row['channel']}": row for row in rows.to_pylist()}


def test_who_is_no_customer_loses_what_was_judged_and_nothing_else() -> None:
    before, after = curve(), redact("curve", curve(), CUSTOMER, calls={"call", "mixed", "odd"})
    assert after.schema == before.schema
    judged = {
        "valence",
        "valence_std",
        "arousal",
        "arousal_std",
        "dominance",
        "dominance_std",
        "emotion_scores",
    }
    for side, row in by_side(after).items():
        was = by_side(before)[side]
        if side in KEPT:
            assert row == was
            continue
        assert all(row.pop(name) is None for name in judged), side
        assert (row.pop("reason"), row.pop("modalities")) == ("role", [])
        assert row.items() <= was.items()
        assert row["loudness_lufs"] == -20.0
        assert row["activity"] == "speech"


def test_a_summary_keeps_who_talked_how_long() -> None:
    kept = {"talk_ms", "non_talk_ms", "interruptions", "overlap_ms", "loudness_lufs_mean", "activity_shares"}
    kept |= {"features", "key"}
    before, after = summary(), redact("summary", summary(), CUSTOMER, calls={"call", "mixed", "odd"})
    own = set(SCHEMAS["summary"].names) - set(SPAN) - {"media_id", "channel", "role", "emotions_for"}
    own -= {"responsible", "start_ms", "end_ms"}
    assert kept < own
    for side, row in by_side(after).items():
        was = by_side(before)[side]
        if side in KEPT:
            assert row == was
            continue
        for name in own:
            if name in kept:
                assert row[name] == was[name], name
            else:
                assert row[name] in (None, [], 0.0), (side, name)


def test_episodes_vanish() -> None:
    values = {"episode": 1, "emotion": "anger", "confidence": 0.9, "valence_mean": -0.5, "arousal_mean": 0.5}
    rows = to_table("episode", spans(Episode, **values))
    assert set(by_side(redact("episode", rows, CUSTOMER, calls={"call", "mixed", "odd"}))) == KEPT
    assert redact("episode", rows, ALL) == rows


@pytest.mark.parametrize(
    ("rule", "stays"),
    [
        ("anger above 0.5 for 4 s on agent", False),
        ("valence below -0.5 for 4 s", False),
        ("never: mean of 5 s of arousal above 0.2 for 1 s", False),
        ("summary.sentiment_q4 below -1", False),
        ("summary.valence_mean below -1", False),
        ("summary.estimated_share below 1", False),
        ("overlap for 3 s on agent", True),
        ("never: talk for 10 s on agent", True),
        ("mean of 5 s of loudness_lufs above -10 for 1 s", True),
        ("non_talk for 20 s", True),
        ("summary.interruptions above 5", True),
        ("", False),
    ],
)
def test_alerts_about_what_was_judged_vanish(rule: str, stays: bool) -> None:
    values = {"rule": "talk", "severity": "warning", "value": 0.9, "threshold": 0.5}
    rows = to_table("alert", spans(Alert, **values, evidence=json.dumps({"rule": rule})))
    found = by_side(redact("alert", rows, CUSTOMER, calls={"call", "mixed", "odd"}))
    assert set(found) >= KEPT
    assert ("call/agent" in found) is stays


def test_alerts_that_do_not_say_what_they_are_about_vanish() -> None:
    values = {"rule": "talk", "severity": "warning", "value": 0.9, "threshold": 0.5}
    for evidence in ("", "talk", "[]", "{}", '{"rule": 5}', "null"):
        rows = to_table("alert", spans(Alert, **values, evidence=evidence))
        assert set(by_side(redact("alert", rows, CUSTOMER, calls={"call", "mixed", "odd"}))) == KEPT


def test_what_is_not_known_counts_against_showing() -> None:
    """Without the kinds of media, a mix of which all were asked for may be a call's."""
    assert by_side(redact("curve", curve(), CUSTOMER))["song/mix"]["valence"] is None
    assert by_side(redact("curve", curve(), CUSTOMER))["film/mix"]["valence"] == 0.5
    assert by_side(redact("curve", curve(), CUSTOMER))["call/customer"]["valence"] == 0.5
    bare = curve().select(["media_id", "start_ms", "valence", "reason"])
    assert redact("curve", bare, CUSTOMER)["valence"].null_count == len(bare)


def test_the_written_setting_lifts_it() -> None:
    assert redact("curve", curve(), ALL) == curve()


def test_nothing_to_take_away_costs_nothing() -> None:
    mine = curve().filter(pa.array([side[2] == "customer" for side in SIDES]))
    assert redact("curve", mine, CUSTOMER) is mine
    empty = curve().slice(0, 0)
    assert redact("curve", empty, CUSTOMER) is empty


def test_dictionaries_and_chunks_are_read_alike() -> None:
    rows = curve()
    for name in ("role", "channel", "media_id"):
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, name, rows[name].dictionary_encode())
    rows = pa.concat_tables([rows.slice(0, 3), rows.slice(3)])
    expected = redact("curve", curve(), CUSTOMER, calls={"call", "mixed", "odd"})
    found = redact("curve", rows, CUSTOMER, calls={"call", "mixed", "odd"})
    assert found["valence"].to_pylist() == expected["valence"].to_pylist()
    assert found["reason"].to_pylist() == expected["reason"].to_pylist()
