"""Personal: the curve of notes as one listener hears it, after a few ratings of his own.

A profile is a YAML (or JSON) file:

    name: Ada                     # may be left out
    ratings:
      - {media: song.mid, start_ms: 0, end_ms: 8000, valence: 0.4, arousal: -0.2}
      - {media: song.mid, start_ms: 30000, end_ms: 38000, arousal: 0.5}

`media` is a media id or the name of its file; valence and arousal are in -1..1, one may be missing. Ratings
shift and stretch valence and arousal of the notes of the piece that they are of (models.listeners says how),
and with them what is fused from notes and sound; other media, other modalities and the scores of quadrants
stay as they are.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import yaml

from moodstream.models.base import STEP_MS, Estimates
from moodstream.models.listeners import Prior, effect_of
from moodstream.transforms.elements import Media
from moodstream.transforms.errors import UsageError

_DIMENSIONS = ("valence", "arousal")
_FIELDS = {"media", "start_ms", "end_ms", *_DIMENSIONS}


@dataclass(frozen=True)
class Rating:
    """What a listener said of one stretch of one media."""

    media: str
    start_ms: int
    end_ms: int
    valence: float | None = None
    arousal: float | None = None


@dataclass(frozen=True)
class Listener:
    """Whose curve it is."""

    ratings: tuple[Rating, ...]
    name: str = ""

    def of(self, media: Media) -> tuple[Rating, ...]:
        """His ratings of a media, in order of time."""
        names = {media.media_id, *(PurePath(part.source).name for part in media.parts)}
        return tuple(sorted((r for r in self.ratings if r.media in names), key=lambda r: r.start_ms))

    def mark(self, media: Media) -> str:
        """What is added to the version of a model whose curve he shifted; empty where he rated nothing."""
        ratings = [asdict(rating) for rating in self.of(media)]
        if not ratings:
            return ""
        return "+listener." + hashlib.sha256(json.dumps(ratings, sort_keys=True).encode()).hexdigest()[:10]


def personal(estimates: Estimates, ratings: tuple[Rating, ...], prior: Prior) -> Estimates:
    """The estimates of a whole piece as the listener hears it who gave these ratings of it."""
    n = len(estimates)
    common, said, start_s = [], [], []
    for rating in ratings:
        first, last = rating.start_ms // STEP_MS, -(-rating.end_ms // STEP_MS)
        if first < n:
            common.append(estimates.mean[first : min(last, n), :2].mean(0))
            said.append([np.nan if v is None else v for v in (rating.valence, rating.arousal)])
            start_s.append(rating.start_ms / 1000)
    if not said:
        return estimates
    effect = effect_of(prior, np.array(common, np.float64), np.array(said, np.float64), np.array(start_s))
    mean, std = effect.apply(estimates.mean, estimates.std)
    return replace(estimates, mean=mean, std=std)


def read_listener(file: str) -> Listener:
    """The profile in a YAML or JSON file.

    Raises:
        UsageError: no such file, or it is not as this module's docstring says; the message names what is not.
    """
    try:
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"the profile cannot be read: {error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is neither YAML nor JSON: {error}") from error
    if (
        not isinstance(content, dict)
        or not isinstance(content.get("ratings"), list)
        or not content["ratings"]
    ):
        raise UsageError(f"{file} has no list `ratings`: what a profile says is learned from ratings alone")
    if unknown := set(content) - {"name", "ratings"}:
        raise UsageError(
            f"{file} has {', '.join(sorted(map(str, unknown)))}: only name and ratings count "
            "(age, gender or musicianship tell nothing about the curve, see the card of `listener`)"
        )
    ratings = tuple(_rating(entry, f"{file}, rating {i + 1}") for i, entry in enumerate(content["ratings"]))
    return Listener(ratings, str(content.get("name") or ""))


def _rating(entry: Any, place: str) -> Rating:
    if (
        not isinstance(entry, Mapping)
        or set(entry) - _FIELDS
        or not {"media", "start_ms", "end_ms"} <= set(entry)
    ):
        raise UsageError(
            f"{place}: expected media, start_ms, end_ms and valence, arousal or both, got {entry!r}"
        )
    start_ms, end_ms = entry["start_ms"], entry["end_ms"]
    if not (isinstance(start_ms, int) and isinstance(end_ms, int) and 0 <= start_ms < end_ms):
        raise UsageError(f"{place}: from {start_ms!r} to {end_ms!r} ms is no stretch of time")
    values = {name: entry[name] for name in _DIMENSIONS if entry.get(name) is not None}
    if not values:
        raise UsageError(f"{place}: neither valence nor arousal")
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not -1 <= value <= 1:
            raise UsageError(f"{place}: {name} is {value!r}, allowed are -1..1")
    return Rating(str(entry["media"]), start_ms, end_ms, **{name: float(v) for name, v in values.items()})
