"""A small lake in memory: a song, a call with two sides, a MIDI piece; rows made up, shapes as in life."""

import itertools
import math
import wave
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from moodstream.models.base import EMOTIONS, QUADRANTS
from moodstream.sinks.lake import LakeSink
from moodstream.transforms.elements import Alert, Commit, CurvePoint, Episode, MediaRow, Summary
from moodstream.transforms.tables import SCHEMAS, to_table


class MemoryLake:
    """Rows by table, read as a lake's reader gives them."""

    def __init__(self) -> None:
        self.all: dict[str, list[Any]] = {name: [] for name in SCHEMAS}

    def rows(self, table: str, media_id: str) -> pa.Table:
        return to_table(table, [row for row in self.all[table] if row.media_id == media_id])

    def media_ids(self) -> list[str]:
        return [row.media_id for row in self.all["media"]]


def _span(media_id: str, channel: str, role: str | None, modality: str) -> dict[str, Any]:
    return {
        "media_id": media_id,
        "take": 0,
        "schema_version": 1,
        "analysis_id": "a",
        "channel": channel,
        "role": role,
        "modality": modality,
        "model": modality,
        "model_version": "1",
        "revision": 0,
        "is_final": True,
        "event_time": None,
        "emotions_for": "customer",
    }


def add_track(
    lake: MemoryLake,
    media_id: str,
    duration_s: float,
    modality: str,
    *,
    channel: str = "mix",
    role: str | None = None,
    seed: int = 0,
    known: Callable[[float], str] = lambda second: "",
) -> None:
    """Curve, episodes and summary of one track; `known` gives the reason why a second has no estimate."""
    rng, span = np.random.default_rng(seed), _span(media_id, channel, role, modality)
    labels = EMOTIONS if modality == "speech" else QUADRANTS
    cells, walk = math.ceil(duration_s * 2), np.cumsum(rng.normal(0, 0.06, (math.ceil(duration_s * 2), 3)), 0)
    values = np.tanh(walk + 0.5 * np.sin(np.arange(cells)[:, None] / 17 + rng.uniform(0, 6, 3)))
    best = []
    for cell, (v, a, d) in enumerate(values):
        reason = known(cell / 2)
        quadrant = QUADRANTS[(0 if v > 0 else 1) if a > 0 else (3 if v > 0 else 2)]
        emotion = {"Q1": "happiness", "Q2": "anger", "Q3": "sadness", "Q4": "calm"}[quadrant]
        label = emotion if modality == "speech" else quadrant
        best.append("" if reason else label)
        scores = {name: 0.6 if name == label else 0.4 / (len(labels) - 1) for name in labels}
        has_d = modality == "speech" and not reason
        point = CurvePoint(
            **span | {"start_ms": cell * 500, "end_ms": cell * 500 + 500},
            valence=None if reason else float(v),
            valence_std=None if reason else 0.16 + 0.05 * float(np.sin(cell / 9)),
            arousal=None if reason else float(a),
            arousal_std=None if reason else 0.12,
            dominance=float(d) if has_d else None,
            dominance_std=0.2 if has_d else None,
            activity="silence" if reason == "silence" else "speech" if modality == "speech" else "music",
            loudness_lufs=None if modality == "symbolic" else -70.0 if reason else -20 + 6 * float(a),
            emotion_scores=None if reason else scores,
            modalities=[] if reason else [modality],
            reason=reason or None,
        )
        lake.all["curve"].append(point)
    edges = [i for i in range(cells + 1) if i in (0, cells) or best[i] != best[i - 1]]
    number, share = 0, dict.fromkeys(labels, 0.0)
    for start, end in itertools.pairwise(edges):
        if best[start]:
            v, a, _ = values[start:end].mean(0)
            share[best[start]] += (end - start) / cells
            where = span | {"start_ms": start * 500, "end_ms": end * 500}
            episode = Episode(**where, episode=number, emotion=best[start], confidence=0.7,
                              valence_mean=float(v), arousal_mean=float(a))  # fmt: skip
            lake.all["episode"].append(episode)
            number += 1
    told = any(best)
    v, a, d = values.mean(0)
    summary = Summary(
        **span | {"start_ms": 0, "end_ms": round(duration_s * 1000)},
        valence_mean=float(v) if told else None, valence_std=0.2, valence_slope=0.3,
        arousal_mean=float(a) if told else None, arousal_std=0.2, arousal_slope=-0.4,
        dominance_mean=None, dominance_std=None, dominance_slope=None,
        emotion=max(share, key=share.__getitem__) if told else None,
        emotion_scores=share if told else None,
        quadrant="Q1" if told else None,
        quadrant_shares=dict(zip(QUADRANTS, (0.4, 0.3, 0.2, 0.1), strict=True)) if told else None,
        emotion_shares=share if told else None,
        moods=["tense", "dark"] if told else [],
        profile="arch" if told else None,
        dynamics="varied" if told else None,
        representative_start_ms=10_000 if told else None,
        estimated_share=sum(map(bool, best)) / cells,
        activity_shares={"speech" if modality == "speech" else "music": 0.9, "silence": 0.1},
        loudness_lufs_mean=None if modality == "symbolic" else -18.2,
        talk_ms=42_000 if role else None,
        non_talk_ms=9_000 if role else None,
        interruptions=3 if role else None,
        sentiment_by_quarter=[-1.5, -3.0, 0.5, 2.0] if role and told else None,
        features=None,
        key=None,
    )  # fmt: skip
    lake.all["summary"].append(summary)


def add_alert(lake: MemoryLake, media_id: str, start_ms: int, end_ms: int) -> None:
    """An alert on the customer's side."""
    evidence = '{"rule": "anger above 0.5 for 4 s", "held_s": 5.5, "worst": 0.91, "worst_ms": 33000}'
    span = _span(media_id, "customer", "customer", "speech") | {"start_ms": start_ms, "end_ms": end_ms}
    alert = Alert(**span, rule="angry <customer>", severity="critical", value=0.7, threshold=0.5,
                  evidence=evidence)  # fmt: skip
    lake.all["alert"].append(alert)


def add_media(
    lake: MemoryLake, media_id: str, duration_s: float, kind: str, source: str, **more: Any
) -> None:
    """The media row; `more` replaces its columns."""
    row = MediaRow(
        media_id=media_id, take=0, schema_version=1, analysis_id="a", source=source, sources=[source],
        content_hash="0" * 64, kind=kind, duration_ms=round(duration_s * 1000), rate_hz=44_100, channels=2,
        tags={"title": "A <b>song</b>"}, analyzed_at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        models={"music": "1.0"}, settings="{}", modalities=["music"], encoder_ms={"music": 1000},
    )  # fmt: skip
    lake.all["media"].append(replace(row, **more))


def write_wav(path: Path, seconds: float, rate_hz: int = 16_000) -> None:
    """A tone that comes and goes."""
    t = np.arange(int(seconds * rate_hz)) / rate_hz
    samples = (6000 * np.sin(2 * np.pi * 220 * t) * np.sin(2 * np.pi * t / 8)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.tobytes())


@pytest.fixture(scope="session")
def small_lake(tmp_path_factory: pytest.TempPathFactory) -> MemoryLake:
    folder = tmp_path_factory.mktemp("media")
    write_wav(folder / "song.wav", 60)
    write_wav(folder / "call.wav", 90, 8000)
    lake = MemoryLake()

    def quiet(second: float) -> str:
        return "silence" if 22 <= second < 27 else ""

    add_track(lake, "song.wav", 60.2, "fused", seed=4, known=quiet)
    add_track(lake, "song.wav", 60.2, "music", seed=4, known=quiet)
    add_media(lake, "song.wav", 60.2, "audio", str(folder / "song.wav"))
    add_track(
        lake, "calls/call.wav", 90, "speech", channel="agent", role="agent", seed=2, known=lambda s: "role"
    )
    add_track(lake, "calls/call.wav", 90, "speech", channel="customer", role="customer", seed=3,
              known=lambda s: "silence" if s % 20 < 6 else "")  # fmt: skip
    add_media(lake, "calls/call.wav", 90, "call", str(folder / "call.wav"), tags={}, modalities=["speech"])
    add_alert(lake, "calls/call.wav", 31_000, 36_500)
    add_track(lake, "piece.mid", 40, "symbolic", seed=7)
    add_media(lake, "piece.mid", 40, "midi", str(folder / "gone.mid"), rate_hz=None, channels=None, tags={})
    return lake


@pytest.fixture(scope="session")
def lake_folder(small_lake: MemoryLake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same rows in a real lake."""
    folder = tmp_path_factory.mktemp("stored") / "lake"
    sink = LakeSink(folder)
    sink.open()
    for media_id in small_lake.media_ids():
        tables = ("curve", "episode", "summary", "alert", "media")
        sink.write(Commit(media_id, 0, {table: small_lake.rows(table, media_id) for table in tables}))
    sink.flush()
    sink.close()
    return folder
