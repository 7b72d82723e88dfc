"""More of what the symbolic model sees of each note: chords and their change, mode, melody, rhythm, touch.

Conventions: as in `note_features`: one row a note, everything local; drums take part in rhythm and touch and
have neither chord nor melody of their own.

Source of the idea of chord templates: Fujishima, "Realtime chord recognition of musical sound", ICMC 1999.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moodstream.models.base import Float

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TIE = 1e-6  # values nearer than this are the same, but for rounding
FAR = 16  # notes
QUALITIES = {  # pitch classes above the root
    "major": (0, 4, 7),
    "minor": (0, 3, 7),
    "diminished": (0, 3, 6),
    "augmented": (0, 4, 8),
    "suspended": (0, 5, 7),
    "seventh": (0, 4, 7, 10),
    "major seventh": (0, 4, 7, 11),
    "minor seventh": (0, 3, 7, 10),
}
GROUPS = {  # name: columns, in this order
    "mode": 6,
    "quality": 2 * len(QUALITIES) + 2,
    "change": 4,
    "energy": 4,
    "melody": 25,
    "bass": 13,
    "interval": 16,
    "ratio": 13,
    "touch": 10,
    "products": 10,
}
SQUARED = (
    "mode",
    "quality",
    "change",
    "energy",
)  # whose spread counts as well as their mean; they come first
MORE = sum(GROUPS.values())
MORE_SQUARED = sum(GROUPS[name] for name in SQUARED)


@dataclass(frozen=True)
class Surroundings:
    """What `note_features` knows of n notes in m cells; everything else follows from it."""

    cell: Ints  # [n]
    tonal: npt.NDArray[np.bool_]  # [n]
    pitch: Ints  # [n]
    velocity: Array  # [n] 0..1
    duration_s: Array  # [n]
    interval_s: Array  # [n] since the onset before
    next_s: Array  # [n] to the onset after
    bass: Ints  # [n]
    top: Ints  # [n]
    last_top: Ints  # [n]
    density: Array  # [m] notes a second around
    chord: Array  # [m, 12] weight of the pitch classes within a cell of this one, of length 1
    mode: Array  # [m] major minus minor over the long window of the key
    near_major: Array  # [m, 12] correlation with the major keys, over a few seconds
    near_minor: Array  # [m, 12]


def more_features(around: Surroundings) -> Float:
    """[n, MORE], the groups of `GROUPS` side by side, about in -2..2."""
    cell, tonal = around.cell, around.tonal[:, None]
    parts = {
        "mode": _mode(around)[cell],
        "quality": _quality(around)[cell],
        "change": _change(around)[cell],
        "energy": _energy(around)[cell],
        "melody": np.eye(25)[np.clip(around.top - around.last_top, -12, 12) + 12] * tonal,
        "bass": _bass(around) * tonal,
        **_rhythm(around),
        "products": _products(around),
    }
    return np.concatenate([parts[name] for name in GROUPS], axis=1).astype(np.float32)


def _bass(around: Surroundings) -> Array:
    """How far the bass moved since the last note that is no drum; 0 where that is more than FAR notes ago."""
    index = np.arange(len(around.cell))
    last = np.maximum.accumulate(np.where(around.tonal, index, -1))
    before = np.append(-1, last[:-1])
    near = (before >= 0) & (index - before <= FAR)
    moved = np.where(near, np.abs(around.bass - around.bass[before]), 0)
    return np.eye(13)[np.minimum(moved, 12)]


def spread(values: Array, first: float, last: float, knots: int) -> Array:
    """Each value shared out between its two neighbours of evenly spaced knots: [n] -> [n, knots]."""
    position = (np.clip(values, first, last) - first) * (knots - 1) / (last - first)
    return np.maximum(1 - np.abs(position[:, None] - np.arange(knots)), 0)


def _mode(around: Surroundings) -> Array:
    major, minor = around.near_major.max(1), around.near_minor.max(1)
    return np.stack(
        [
            around.mode > TIE,
            np.tanh(5 * around.mode),
            np.tanh(5 * (major - minor)),
            major - minor,
            np.maximum(major, minor),
            (around.near_major - around.near_minor).max(1),
        ],
        axis=1,
    )


_TEMPLATES = np.stack(
    [
        np.bincount((np.array(intervals) + root) % 12, minlength=12) / np.sqrt(len(intervals))
        for intervals in QUALITIES.values()
        for root in range(12)
    ]
)


def _quality(around: Surroundings) -> Array:
    """How well the best chord of each kind fits, which fits best, how well, and minor against major."""
    fit = (around.chord @ _TEMPLATES.T).reshape(-1, len(QUALITIES), 12).max(2)
    best = _best(fit)
    shares = best / best.sum(1, keepdims=True)
    minor = np.maximum(0, fit[:, 1:2] - fit[:, :1])
    return np.concatenate([fit, shares, fit.max(1, keepdims=True), minor], axis=1)


def _best(fit: Array) -> Array:
    """1 where a column fits as well as any, but for rounding: chords are often as good as each other."""
    return (fit > fit.max(1, keepdims=True) - TIE).astype(np.float64)


def _change(around: Surroundings) -> Array:
    """Whether no best triad is one of a cell before, how far the chroma moved, how full it is."""
    chord = around.chord
    triad = _best(chord @ _TEMPLATES[:24].T)
    moved = np.append(0, 1 - (chord[1:] * chord[:-1]).sum(1))
    energy = chord**2
    return np.stack(
        [
            np.append(0, (triad[1:] * triad[:-1]).sum(1) == 0),
            moved,
            (chord > 0.1 + TIE).sum(1) / 12,
            -(energy * np.log(energy + 1e-9)).sum(1),
        ],
        axis=1,
    )


def _energy(around: Surroundings) -> Array:
    """Log of the velocity struck in a cell, its square, and its change from the cell before."""
    log = np.log1p(np.bincount(around.cell, around.velocity, len(around.chord)))
    change = np.append(0, np.diff(log))
    return np.stack([log, log**2, change**2, np.abs(change)], axis=1)


def _rhythm(around: Surroundings) -> dict[str, Array]:
    """Histograms of the interval to the next onset, of its ratio to the last one, and of touch."""
    ahead, back = (np.log2(np.clip(s, 0.03, 4)) for s in (around.next_s, around.interval_s))
    touch = np.log2(np.clip(around.duration_s / np.clip(around.next_s, 0.03, 4), 0.05, 20))
    return {
        "interval": spread(ahead, -5, 2, 16),
        "ratio": spread(ahead - back, -4, 4, 13),
        "touch": spread(touch, -4.3, 4.3, 10),
    }


def _products(around: Surroundings) -> Array:
    """What only means something together: loud and high, loud and fast, fast and minor."""
    loud, length = around.velocity, np.log2(around.duration_s)
    high = (around.pitch - 62) / 16 * around.tonal
    fast, mode = np.log2(0.2 + around.density)[around.cell], 4 * around.mode[around.cell]
    pairs = [
        (loud, high),
        (loud, fast),
        (fast, high),
        (loud, mode),
        (fast, mode),
        (high, mode),
        (loud, loud),
        (fast, fast),
        (loud, length),
        (fast, length),
    ]
    return np.stack([one * other for one, other in pairs], axis=1)
