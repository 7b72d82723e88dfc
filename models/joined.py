"""Joined recordings: clips of one speaker or artist side by side, so that it is known where a label changes.

There is no corpus of emotions that change within a recording, so recordings are made from clips with one
label each, silence at their ends cut off. Three kinds:

* `events`, as Wang et al. (2023) make their training material: one neutral clip and one emotional clip, in
  either order, the emotional one between two neutral ones, or the emotional one alone; all at the level of
  the first clip;
* `stretches`, harder: 2 to 6 stretches of 1 to 4 clips, every label different from the one before;
* `same`: 2 to 6 clips of ONE label, where no boundary belongs, so that splices are not what is found.

Between the clips of `stretches` and `same`, within a stretch as at its ends, half of the time a pause of up
to 1.5 s; each clip is up to 6 dB louder or softer; every third recording passes a telephone.

Conventions: mono samples at 16 kHz; times in seconds; spans are half-open and sorted.
Source: Wang, Ravanelli, Yacoubi (2023), Speech Emotion Diarization, section 3, and its recipe in SpeechBrain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moodstream.models.augment import Generator, through_telephone
from moodstream.models.base import HOP, RATE_HZ, Float

KINDS = ("events", "stretches", "same")
TRIM_DB = 35.0  # below the loudest 16 ms: not part of a clip
PAUSE_S, PAUSE_DBFS = 1.5, -70.0
LEVEL_DB = 6.0

Span = tuple[float, float, str]
Pause = tuple[float, float]
Clips = Mapping[str, Sequence[Float]]  # sounds by label


@dataclass(frozen=True)
class Joined:
    """A recording made of clips; its sound is made when it is asked for."""

    kind: str
    telephone: bool
    spans: list[Span]  # one a stretch, neighbours differ in label
    pauses: list[Pause]
    parts: list[tuple[Float | None, float, int]]  # clip and its gain, or a pause (None); samples
    seed: int  # of the noise in pauses

    @property
    def seconds(self) -> float:
        return sum(size for _, _, size in self.parts) / RATE_HZ

    def sound(self) -> Float:
        """The samples [n]."""
        draw = np.random.default_rng(self.seed)
        pieces = [
            gain * (draw.standard_normal(size) if clip is None else clip) for clip, gain, size in self.parts
        ]
        whole = np.concatenate(pieces)
        if self.telephone:
            whole = through_telephone(whole)
        return np.asarray(whole / max(float(np.abs(whole).max(initial=0)), 1.0), np.float32)


def join(kind: str, clips: Clips, draw: Generator, calm: str = "neutral") -> Joined:
    """One recording.

    Args:
        kind: one of `KINDS`. clips: at least one a label, trimmed (see `trim`).
        draw: where all chance comes from. calm: the label that `events` happen in.

    Raises:
        ValueError: no such kind, or too few labels for it.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}, allowed are {', '.join(KINDS)}")
    if len(clips) < 2 or (kind == "events" and calm not in clips):
        raise ValueError(f"clips of {sorted(clips)}, expected two labels, and {calm!r} for events")
    names = sorted(clips)
    if kind == "events":
        return _paste(kind, _event(clips, draw, calm), draw, even=True)
    count = int(draw.integers(2, 7))
    if kind == "same":
        name = str(draw.choice(names))
        return _paste(kind, [(name, _some(clips[name], count, draw))], draw)
    labels = [str(draw.choice(names))]
    while len(labels) < count:
        labels.append(str(draw.choice([name for name in names if name != labels[-1]])))
    return _paste(kind, [(name, _some(clips[name], int(draw.integers(1, 5)), draw)) for name in labels], draw)


def trim(sound: Float) -> Float:
    """The sound without the silence at its ends."""
    frames = sound[: len(sound) // HOP * HOP].reshape(-1, HOP)
    power = np.sqrt((frames**2).mean(axis=1))
    loud = np.flatnonzero(power > power.max(initial=0) * 10 ** (-TRIM_DB / 20))
    return sound[loud[0] * HOP : (loud[-1] + 1) * HOP] if len(loud) else sound[:0]


def _event(clips: Clips, draw: Generator, calm: str) -> list[tuple[str, list[Float]]]:
    name = str(draw.choice([name for name in sorted(clips) if name != calm]))
    emotional, around = (name, _some(clips[name], 1, draw)), _some(clips[calm], 2, draw)
    before, after = (calm, around[:1]), (calm, around[-1:])
    forms = ([before, emotional], [emotional, after], [before, emotional, after], [emotional])
    return forms[int(draw.integers(len(forms)))]


def _some(sounds: Sequence[Float], count: int, draw: Generator) -> list[Float]:
    return [sounds[i] for i in draw.choice(len(sounds), min(count, len(sounds)), replace=False)]


def _paste(
    kind: str, stretches: list[tuple[str, list[Float]]], draw: Generator, even: bool = False
) -> Joined:
    """Clips one after the other; `even`: at the level of the first one, and without pauses."""
    parts: list[tuple[Float | None, float, int]] = []
    spans: list[Span] = []
    pauses: list[Pause] = []
    first = _level(stretches[0][1][0])
    at = 0
    for name, sounds in stretches:
        start = None
        for sound in sounds:
            if parts and not even and draw.random() < 0.5:
                size = int(draw.uniform(0.1, PAUSE_S) * RATE_HZ)
                parts.append((None, 10 ** (PAUSE_DBFS / 20), size))
                pauses.append((at / RATE_HZ, (at + size) / RATE_HZ))
                at += size
            gain = first / _level(sound) if even else 10 ** (draw.uniform(-LEVEL_DB, LEVEL_DB) / 20)
            parts.append((sound, gain, len(sound)))
            start = at if start is None else start
            at += len(sound)
        spans.append(((start or 0) / RATE_HZ, at / RATE_HZ, name))
    telephone = not even and draw.random() < 1 / 3
    return Joined(kind, telephone, spans, pauses, parts, int(draw.integers(2**31)))


def _level(sound: Float) -> float:
    return float(np.sqrt(np.mean(sound**2) + 1e-12))


def squeeze(spans: Sequence[Span], pauses: Sequence[Pause]) -> list[Span]:
    """The spans on a clock that stands still in pauses; what lies in a pause alone is gone.

    So a pause counts for nobody, and a boundary is right anywhere in the pause it falls into.
    """

    def clock(time: float) -> float:
        return round(time - sum(min(max(time - start, 0.0), end - start) for start, end in pauses), 6)

    moved = [(clock(start), clock(end), label) for start, end, label in spans]
    return [(start, end, label) for start, end, label in moved if end > start]
