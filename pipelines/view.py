"""One media as people look at it: its tracks in order, each with curve, episodes and summary.

Conventions: a track is one channel of one modality; its arrays lie on the complete 2 Hz grid of the media,
NaN where there is no estimate. `best` gives one track a channel: what a reader gets who asks for nothing.
"""

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from moodstream.models.base import DIMENSIONS, QUADRANTS, STEP_MS, Float
from moodstream.transforms.errors import UsageError

MODALITIES = ("fused", "symbolic", "music", "speech", "face")  # the best first
WORDS = dict(zip(QUADRANTS, ("happy", "tense", "sad", "calm"), strict=True))


class Reader(Protocol):
    """What is needed of a lake: the current rows of one media, and which media there are."""

    def rows(self, table: str, media_id: str) -> pa.Table: ...

    def media_ids(self) -> Sequence[str]: ...


@dataclass(eq=False)
class Track:
    """One channel of one modality on the grid of n cells."""

    channel: str
    role: str | None
    modality: str
    model: str
    emotions_for: str
    mean: Float  # [n, 3] valence, arousal, dominance
    std: Float  # [n, 3]
    loudness_lufs: Float  # [n]
    activity: list[str]  # [n], empty where the track says nothing
    reason: list[str]  # [n], empty where there is an estimate
    top: list[str]  # [n], the most probable emotion of the cell, empty where there is none
    top_score: Float  # [n]
    episodes: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """How people call it: `mix · music`, `ch1 · customer · speech`."""
        return " · ".join(dict.fromkeys(part for part in (self.channel, self.role, self.modality) if part))

    @property
    def estimated(self) -> bool:
        return bool(np.isfinite(self.mean[:, :2]).any())


@dataclass(eq=False)
class View:
    """A media with all its tracks, the best of every channel first."""

    media: dict[str, Any]
    tracks: list[Track]
    alerts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def media_id(self) -> str:
        return str(self.media["media_id"])

    @property
    def duration_s(self) -> float:
        return float(self.media["duration_ms"]) / 1000

    def best(self) -> list[Track]:
        """One track a channel."""
        channels: dict[str, Track] = {}
        for track in self.tracks:
            channels.setdefault(track.channel, track)
        return list(channels.values())


def load(lake: Reader, media_id: str) -> View:
    """Read one media.

    Raises:
        UsageError: The lake has no such media; the message names similar ones.
    """
    found = lake.rows("media", media_id).to_pylist()
    if not found:
        known = list(lake.media_ids())
        if not known:
            raise UsageError("the lake holds no media yet: moodstream analyze PATH --out LAKE")
        near = difflib.get_close_matches(media_id, known, 3, 0.3) or sorted(known)[:3]
        near = [name for name in known if media_id in name][:3] or near
        raise UsageError(
            f"the lake has no media {media_id!r}; close to it: {', '.join(map(repr, near))}\n"
            """all of them: moodstream query LAKE "SELECT media_id FROM media" """.rstrip()
        )
    media = max(found, key=lambda row: int(row["take"]))
    take = media["take"]
    curve = lake.rows("curve", media_id)
    cells = max(1, math.ceil(media["duration_ms"] / STEP_MS))
    tracks = _tracks(curve, take, cells)
    for name in ("episode", "summary"):
        for row in lake.rows(name, media_id).to_pylist():
            track = tracks.get((row["channel"], row["modality"]))
            if track is not None and row["take"] == take:
                if name == "episode":
                    track.episodes.append(row)
                else:
                    track.summary = row
    for track in tracks.values():
        track.episodes.sort(key=lambda row: int(row["start_ms"]))
    alerts = [row for row in lake.rows("alert", media_id).to_pylist() if row["take"] == take]
    alerts.sort(key=lambda row: (row["start_ms"], row["rule"]))
    order = sorted(tracks, key=lambda key: (key[0], _rank(tracks[key])))
    return View(media, [tracks[key] for key in order], alerts)


def _rank(track: Track) -> tuple[bool, int]:
    rank = MODALITIES.index(track.modality) if track.modality in MODALITIES else len(MODALITIES)
    return track.modality != "fused" and not track.estimated, rank


def _tracks(curve: pa.Table, take: int, cells: int) -> dict[tuple[str, str], Track]:
    """Curve rows sorted onto the grid, by channel and modality."""
    columns = {name: curve[name].to_pylist() for name in curve.column_names if name != "media_id"}
    tracks: dict[tuple[str, str], Track] = {}
    for i, start_ms in enumerate(columns["start_ms"]):
        cell = start_ms // STEP_MS
        if columns["take"][i] != take or not 0 <= cell < cells:
            continue
        key = columns["channel"][i], columns["modality"][i]
        if key not in tracks:
            tracks[key] = Track(
                channel=key[0],
                role=columns["role"][i],
                modality=key[1],
                model=f"{columns['model'][i]} {columns['model_version'][i]}",
                emotions_for=columns["emotions_for"][i],
                mean=np.full((cells, 3), np.nan, np.float32),
                std=np.full((cells, 3), np.nan, np.float32),
                loudness_lufs=np.full(cells, np.nan, np.float32),
                activity=[""] * cells,
                reason=[""] * cells,
                top=[""] * cells,
                top_score=np.full(cells, np.nan, np.float32),
            )
        track = tracks[key]
        for d, dimension in enumerate(DIMENSIONS):
            track.mean[cell, d] = _number(columns[dimension][i])
            track.std[cell, d] = _number(columns[f"{dimension}_std"][i])
        track.loudness_lufs[cell] = _number(columns["loudness_lufs"][i])
        track.activity[cell] = columns["activity"][i]
        track.reason[cell] = columns["reason"][i] or ""
        scores = columns["emotion_scores"][i]
        if scores:
            track.top[cell], track.top_score[cell] = max(pairs(scores), key=lambda pair: pair[1])
    return tracks


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def pairs(scores: Any) -> list[tuple[str, Any]]:
    """A map column's value as pairs, however its reader gives it: a dict, or a list of pairs or of structs.

    Example:
        >>> pairs({"a": 1}) == pairs([("a", 1)]) == pairs([{"key": "a", "value": 1}])
        True
    """
    if isinstance(scores, dict):
        return list(scores.items())
    return [(item["key"], item["value"]) if isinstance(item, dict) else tuple(item) for item in scores or ()]


def word(emotion: str) -> str:
    """An emotion for people's eyes: quadrants say what they mean.

    Example:
        >>> word("Q2"), word("anger")
        ('tense', 'anger')
    """
    return WORDS.get(emotion, emotion)


def clock(ms: float) -> str:
    """A position as people say it.

    Example:
        >>> clock(61_500), clock(3_600_000)
        ('1:01', '1:00:00')
    """
    minutes, seconds = divmod(int(ms) // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
