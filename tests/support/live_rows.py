"""Rows as the result topics hold them, without a live run: for the live half of the service."""

from typing import Any

import orjson

from moodstream.models.base import EMOTIONS
from moodstream.sinks.cluster import partition_of
from moodstream.transforms.tables import KEYS

Made = dict[str, Any]


def _span(media_id: str, take: int, channel: str, role: str | None, modality: str) -> Made:
    return {
        "media_id": media_id,
        "take": take,
        "schema_version": 1,
        "analysis_id": "packets/0/0@1",
        "channel": channel,
        "role": role,
        "modality": modality,
        "model": modality,
        "model_version": "1",
        "event_time": "2026-01-02T03:04:05+00:00",
        "emotions_for": "customer",
        "responsible": None,
    }


def curve(
    media_id: str,
    start_ms: int,
    *,
    final: bool = True,
    take: int = 0,
    channel: str = "customer",
    role: str | None = "customer",
    modality: str = "speech",
    valence: float | None = 0.25,
) -> Made:
    """One half second of a curve."""
    there = valence is not None
    return _span(media_id, take, channel, role, modality) | {
        "start_ms": start_ms,
        "end_ms": start_ms + 500,
        "revision": int(final),
        "is_final": final,
        "valence": valence,
        "valence_std": 0.1 if there else None,
        "arousal": 0.2 if there else None,
        "arousal_std": 0.1 if there else None,
        "dominance": 0.0 if there else None,
        "dominance_std": 0.1 if there else None,
        "activity": "speech",
        "loudness_lufs": -20.0,
        "emotion_scores": dict.fromkeys(EMOTIONS, 0.1) if there else None,
        "modalities": [modality] if there else [],
        "reason": None if there else "role",
    }


def alert(media_id: str, start_ms: int, *, final: bool = False, role: str = "customer") -> Made:
    """An alert as it opens, or as it is over."""
    return _span(media_id, 0, role, role, "speech") | {
        "start_ms": start_ms,
        "end_ms": start_ms + 4_000,
        "revision": int(final),
        "is_final": final,
        "rule": "angry",
        "severity": "critical",
        "value": 0.7,
        "threshold": 0.5,
        "evidence": '{"rule": "anger above 0.5 for 4 s"}',
    }


def episode(media_id: str, number: int, *, revision: int = 0, role: str = "customer") -> Made:
    """An episode, told for the so-manieth time."""
    return _span(media_id, 0, role, role, "speech") | {
        "start_ms": 500 * number,
        "end_ms": 500 * (number + 1 + revision),
        "revision": revision,
        "is_final": False,
        "episode": number,
        "emotion": "anger",
        "confidence": 0.7,
        "valence_mean": -0.4,
        "arousal_mean": 0.6,
    }


def media(media_id: str, take: int = 0) -> Made:
    """A call is over."""
    return {
        "media_id": media_id,
        "take": take,
        "schema_version": 1,
        "analysis_id": "packets/0/0@1",
        "source": "packets/0/0",
        "sources": ["packets/0/0"],
        "content_hash": "",
        "kind": "call",
        "duration_ms": 10_000,
        "rate_hz": 8_000,
        "channels": 1,
        "tags": {},
        "analyzed_at": "2026-01-02T03:04:05+00:00",
        "models": {"speech": "1"},
        "settings": "{}",
        "modalities": ["speech"],
        "encoder_ms": {"speech": 10_000},
    }


def commit(producer: Any, prefix: str, rows: dict[str, list[Made]], partitions: int = 2) -> None:
    """Rows by table into their topics, as one transaction of a producer that is open for some."""
    producer.begin_transaction()
    for table, ones in rows.items():
        for row in ones:
            place = partition_of(row["media_id"], partitions)
            key = orjson.dumps([row[column] for column in KEYS[table]])
            producer.send(prefix + table, orjson.dumps(row), key=key, partition=place)
    producer.commit_transaction()
