"""Curves as JSON by columns, at their own half seconds or at a larger step.

Conventions: valence, arousal and dominance rounded to four places, loudness to two; None (NaN) where there is
no estimate. At a step of n half seconds a value is the mean of the estimates in it. Its standard deviation
is that of a moment within the step, by the law of total variance: the mean of the variances of the estimates
plus the variance of the estimates. It does not shrink with n, since neighbouring estimates share most of
the sound they were made from, so their errors do not cancel.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from moodstream.models.base import STEP_MS
from moodstream.serving.store.blocks import Block
from moodstream.serving.store.store import Track

DIMENSIONS = ("valence", "arousal", "dominance")
_PLACES, _LOUD_PLACES = 4, 2
Floats = npt.NDArray[np.float32]


def channel_of(track: Track, from_ms: int | None, to_ms: int | None, step_ms: int) -> dict[str, Any]:
    """One channel's curve.

    Args:
        from_ms: with `to_ms`, rows that have a part in this span, widened to whole steps; None: all.
        to_ms: see there.
        step_ms: a multiple of 500.
    """
    block = track.block
    told = {
        "channel": track.channel,
        "role": block.constant("role"),
        "modality": track.modality,
        "model": block.constant("model"),
        "model_version": block.constant("model_version"),
    }
    if step_ms > STEP_MS:
        from_ms = None if from_ms is None else from_ms // step_ms * step_ms
        to_ms = None if to_ms is None else -(-to_ms // step_ms) * step_ms
    block.between(from_ms, to_ms)
    return told | (_plain(block) if step_ms == STEP_MS or not len(block) else _stepped(block, step_ms))


def _plain(block: Block) -> dict[str, Any]:
    found: dict[str, Any] = {"start_ms": block.numbers("start_ms")}
    for name in DIMENSIONS:
        found[name] = _rounded(block.floats(name), len(block))
        found[f"{name}_std"] = _rounded(block.floats(f"{name}_std"), len(block))
    labels, matrix = block.scores()
    scores = np.round(matrix, _PLACES)
    return found | {
        "activity": block.values("activity"),
        "loudness_lufs": _rounded(block.floats("loudness_lufs"), len(block), _LOUD_PLACES),
        "reason": block.values("reason"),
        "emotion_scores": dict(zip(labels, scores, strict=True)),
    }


def _stepped(block: Block, step_ms: int) -> dict[str, Any]:
    starts = block.numbers("start_ms") // step_ms
    first = int(starts[0])
    place = (starts - first).astype(np.int64)
    steps = int(place[-1]) + 1
    found: dict[str, Any] = {"start_ms": (first + np.arange(steps)) * step_ms}
    for name in DIMENSIONS:
        mean, std = _moments(place, steps, block.floats(name), block.floats(f"{name}_std"))
        found[name], found[f"{name}_std"] = _rounded(mean, steps), _rounded(std, steps)
    labels, matrix = block.scores()
    scores = {
        label: _rounded(_mean(place, steps, row), steps) for label, row in zip(labels, matrix, strict=True)
    }
    loudness = block.floats("loudness_lufs")
    power = None if loudness is None else np.power(10.0, loudness.astype(np.float64) / 10)
    with np.errstate(divide="ignore"):
        level = None if power is None else 10 * np.log10(_mean(place, steps, power))
    nothing = np.isnan(found["valence"]) & np.isnan(found["arousal"])
    reasons = _most(place, steps, *block.words("reason"))
    return found | {
        "activity": _most(place, steps, *block.words("activity")),
        "loudness_lufs": _rounded(level, steps, _LOUD_PLACES),
        "reason": [why if none else None for why, none in zip(reasons, nothing.tolist(), strict=True)],
        "emotion_scores": scores,
    }


def _moments(
    place: npt.NDArray[np.int64], steps: int, values: Floats | None, stds: Floats | None
) -> tuple[Floats | None, Floats | None]:
    """Mean and standard deviation of each step."""
    if values is None:
        return None, None
    exact = values.astype(np.float64)
    mean = _mean(place, steps, exact)
    if stds is None:
        return mean.astype(np.float32), None
    within = _mean(place, steps, stds.astype(np.float64) ** 2)
    between = _mean(place, steps, (exact - mean[place]) ** 2)
    return mean.astype(np.float32), np.sqrt(within + between).astype(np.float32)


def _mean(place: npt.NDArray[np.int64], steps: int, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The mean of what is known in each step, NaN where nothing is."""
    known = ~np.isnan(values)
    counts = np.bincount(place[known], minlength=steps)
    sums = np.bincount(place[known], values[known], steps)
    with np.errstate(invalid="ignore"):
        found: npt.NDArray[np.float64] = sums / np.where(counts, counts, np.nan)
    return found


def _most(
    place: npt.NDArray[np.int64], steps: int, labels: list[Any], codes: npt.NDArray[np.integer[Any]]
) -> list[Any]:
    """The most frequent word of each step; None stands only where there is no other; the first on a tie."""
    counts = np.zeros((steps, len(labels)), np.int64)
    np.add.at(counts, (place, codes), 2)
    counts -= np.array([2 * len(codes) * (label is None) for label in labels])
    there = np.bincount(place, minlength=steps) > 0
    best = [labels[i] for i in counts.argmax(axis=1).tolist()]
    return [word if known else None for word, known in zip(best, there.tolist(), strict=True)]


def _rounded(values: npt.NDArray[Any] | None, count: int, places: int = _PLACES) -> Floats:
    if values is None:
        return np.full(count, np.nan, np.float32)
    return np.asarray(np.round(values.astype(np.float32, copy=False), places), np.float32)
