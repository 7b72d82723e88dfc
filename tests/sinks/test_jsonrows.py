"""Rows as JSON and back."""

import json
from datetime import UTC, datetime

import pytest

from moodstream.sinks.jsonrows import from_json, to_json
from moodstream.transforms.elements import CurvePoint, MediaRow
from moodstream.transforms.tables import to_table

SPAN = {
    "media_id": "m",
    "take": 0,
    "schema_version": 1,
    "analysis_id": "p/0/3@1700000000000",
    "channel": "mix",
    "role": None,
    "modality": "fused",
    "start_ms": 500,
    "end_ms": 1_000,
    "model": "fusion",
    "model_version": "1",
    "revision": 1,
    "is_final": True,
    "event_time": datetime(2026, 11, 21, 12, 0, 0, 500_000, UTC),
    "emotions_for": "customer",
}


def curve_point(valence: float | None) -> CurvePoint:
    return CurvePoint(
        **SPAN,  # type: ignore[arg-type]
        valence=valence,
        valence_std=valence,
        arousal=None,
        arousal_std=None,
        dominance=None,
        dominance_std=None,
        activity="speech",
        loudness_lufs=-20.5,
        emotion_scores=None if valence is None else {"calm": 0.25, "anger": 0.75},
        modalities=["speech"],
        reason=None if valence is not None else "gap",
    )


def test_rows_come_back_and_say_their_key() -> None:
    table = to_table("curve", [curve_point(0.123456789), curve_point(None)])
    written = list(to_json("curve", table))
    assert [json.loads(key) for key, _, _ in written] == [["m", 0, "mix", "fused", 500]] * 2
    assert {media_id for _, media_id, _ in written} == {"m"}
    first = json.loads(written[0][2])
    assert first["valence"] == 0.123457
    assert first["emotion_scores"] == {"calm": 0.25, "anger": 0.75}
    assert first["event_time"] == "2026-11-21T12:00:00.500000+00:00"
    found = from_json("curve", [value for _, _, value in written])
    assert found.schema.equals(table.schema)
    rows, wanted = found.to_pylist(), table.to_pylist()
    for row, other in zip(rows, wanted, strict=True):
        for name in row:
            assert row[name] == (
                pytest.approx(other[name], abs=1e-6) if isinstance(row[name], float) else other[name]
            )


def test_maps_of_words_and_numbers_of_a_media_row_come_back() -> None:
    row = MediaRow(
        media_id="m",
        take=1,
        schema_version=1,
        analysis_id="p/0/3@1",
        source="p/0/3",
        sources=["p/0/3"],
        content_hash="",
        kind="call",
        duration_ms=5,
        rate_hz=None,
        channels=2,
        tags={"title": "a\nb"},
        analyzed_at=datetime(2026, 1, 1, tzinfo=UTC),
        models={"speech": "1"},
        settings="{}",
        modalities=[],
        encoder_ms={"speech": 500},
    )
    table = to_table("media", [row])
    assert from_json("media", [value for *_, value in to_json("media", table)]).equals(table)


def test_a_row_of_another_table_is_refused() -> None:
    with pytest.raises(ValueError, match="valence"):
        from_json(
            "dead_letter", [value for *_, value in to_json("curve", to_table("curve", [curve_point(0.1)]))]
        )
