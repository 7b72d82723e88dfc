"""A page of curves: one self-contained HTML file that plays the media and shows what was heard.

The page is `report.html`, hand-written, with the data as JSON in one place; a content security policy inside
it forbids every request, so a lake's names cannot reach out either. Numbers are rounded to what can be seen.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from moodstream.models.base import DIMENSIONS, STEP_MS, Float
from moodstream.pipelines.player import player
from moodstream.pipelines.view import Reader, Track, View, load, pairs, word
from moodstream.transforms.errors import UsageError
from moodstream.transforms.watch import evidence_words

_MARK = "/*DATA*/"
_SUMMARY = (
    *("emotion", "quadrant", "moods", "profile", "dynamics", "representative_start_ms", "estimated_share"),
    *("loudness_lufs_mean", "key", "talk_ms", "non_talk_ms", "interruptions", "overlap_ms"),
    "sentiment_by_quarter",
    *("valence_mean", "valence_std", "valence_slope", "arousal_mean", "arousal_std", "arousal_slope"),
)
_LETTERS = {"": ".", "speech": "s", "music": "m", "speech+music": "b", "silence": "_", "other": "o"}


def write_report(
    lake: Reader,
    media_ids: Sequence[str],
    file: str | Path,
    title: str = "moodstream",
    folder: Path | None = None,
) -> None:
    """Write one page about some media of a lake.

    Args:
        lake: Where the rows are.
        media_ids: What to show, in this order.
        file: The page.
        title: Its heading.
        folder: Where the media's relative paths may start besides the current folder.

    Raises:
        UsageError: A media is not in the lake, or the file cannot be written.
    """
    views = [load(lake, media_id) for media_id in media_ids]
    page = render(views, title, folder)
    try:
        Path(file).write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"cannot write {str(file)!r}: {error.strerror}") from error


def render(views: Sequence[View], title: str, folder: Path | None = None) -> str:
    """The page as text."""
    template = Path(__file__).with_name("report.html").read_text(encoding="utf-8")
    data = {"title": title, "step_ms": STEP_MS, "media": [payload(view, folder) for view in views]}
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for mark in "<>&":  # so that no name can end the script element
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    head, tail = template.split(_MARK)
    return head + text + tail


def payload(view: View, folder: Path | None = None) -> dict[str, Any]:
    """What the page needs to know of one media."""
    media = view.media
    sources = list(dict.fromkeys([media["source"], *(media["sources"] or [])]))
    tags = dict(pairs(media["tags"]))
    return {
        "id": view.media_id,
        "title": tags.get("title") or view.media_id,
        "artist": tags.get("artist", ""),
        "kind": media["kind"],
        "duration_ms": media["duration_ms"],
        "models": dict(pairs(media["models"])),
        "analyzed": media["analyzed_at"].strftime("%Y-%m-%d"),
        "player": asdict(player(sources, view.duration_s, folder)),
        "tracks": [_track(track) for track in view.tracks],
        "alerts": [
            {
                "start": alert["start_ms"],
                "end": alert["end_ms"],
                "rule": alert["rule"],
                "severity": alert["severity"],
                "channel": alert["channel"],
                "why": evidence_words(alert["evidence"]),
            }
            for alert in view.alerts
        ],
    }


def _track(track: Track) -> dict[str, Any]:
    labels = sorted(set(track.top) - {""})
    place = {label: i for i, label in enumerate(labels)} | {"": -1}
    reasons = sorted(set(track.reason) - {""})
    return {
        "channel": track.channel,
        "role": track.role,
        "modality": track.modality,
        "name": track.name,
        "emotions_for": track.emotions_for,
        "mean": {d: _round(track.mean[:, i], 2) for i, d in enumerate(DIMENSIONS) if _any(track.mean[:, i])},
        "std": {d: _round(track.std[:, i], 2) for i, d in enumerate(DIMENSIONS) if _any(track.std[:, i])},
        "loudness": _round(track.loudness_lufs, 1) if _any(track.loudness_lufs) else None,
        "activity": "".join(_LETTERS.get(activity, "o") for activity in track.activity),
        "reasons": reasons,
        "reason": [reasons.index(reason) if reason else -1 for reason in track.reason],
        "labels": [word(label) for label in labels],
        "top": [place[label] for label in track.top],
        "top_score": _round(track.top_score, 2),
        "episodes": [
            {
                "start": episode["start_ms"],
                "end": episode["end_ms"],
                "emotion": episode["emotion"],
                "word": word(episode["emotion"]),
                "confidence": round(episode["confidence"], 2),
                "v": round(episode["valence_mean"], 2),
                "a": round(episode["arousal_mean"], 2),
            }
            for episode in track.episodes
        ],
        "summary": _summary(track.summary),
    }


def _summary(row: dict[str, Any]) -> dict[str, Any]:
    """The summary's columns that say something, numbers as the page prints them."""
    out: dict[str, Any] = {key: row[key] for key in _SUMMARY if row.get(key) is not None}
    for key in ("emotion_shares", "quadrant_shares", "activity_shares", "features"):
        if row.get(key):
            out[key] = {word(label): value for label, value in pairs(row[key])}
    if "emotion" in out:
        out["emotion"] = word(out["emotion"])
    return _plain(out)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return round(value, 3) if np.isfinite(value) else None
    return value


def _any(values: Float) -> bool:
    return bool(np.isfinite(values).any())


def _round(values: Float, digits: int) -> list[float | None]:
    known = np.isfinite(values)
    return [round(float(value), digits) if ok else None for value, ok in zip(values, known, strict=True)]
