"""What the symbolic model sees of each note: its pitch against the key, the bass and the harmony around it.

Conventions: one row a note, in order of onset; drums take part in rhythm (interval, density, velocity) and
have no pitch. Everything is local: nothing looks further than BACK_S behind or AHEAD_S ahead of the onset, or
more than LAG_BACK and LAG_AHEAD notes.

Source of the key profiles: Krumhansl & Kessler, "Tracing the dynamic changes in perceived tonal
organization", Psychological Review 89 (1982).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from moodstream.models.base import STEP_MS, Float, Notes
from moodstream.models.note_harmony import MORE, Surroundings, more_features

STEP_S = STEP_MS / 1000
BACK_S, AHEAD_S = 20.0, 8.0  # the sound a key is estimated from
NEAR = 6  # cells on either side: the mode of the moment
LAG_BACK, LAG_AHEAD = 24, 4  # the notes among which bass, top and chord are looked for
NO_PITCH = 12  # the class of a drum among the twelve pitch classes

CLASSES = ("pitch to key", "bass to key", "pitch to bass")
CONTINUOUS = (
    "pitch",
    "bass",
    "top",
    "is bass",
    "is top",
    "step from the last top note",
    "velocity",
    "velocity against its surroundings",
    "log duration",
    "log interval to the last onset",
    "log interval to the next onset",
    "log polyphony",
    "log notes a second",
    "major minus minor",
    "key clarity",
    "drum",
)
WIDTH = 13 * len(CLASSES) + 24 + len(CONTINUOUS) + MORE  # with two chromas

_MAJOR = np.array([6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88])
_MINOR = np.array([6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17])

_Array = npt.NDArray[np.float64]
_Index = npt.NDArray[np.intp]


@dataclass(frozen=True)
class NoteFeatures:
    """Features of n notes, compact: `dense` spreads them out."""

    cell: npt.NDArray[np.int64]  # [n] the half second of the onset
    classes: npt.NDArray[np.int8]  # [n, 3] in 0..12, see CLASSES
    chroma: Float  # [n, 24] harmony of 2 s around, from the tonic; sounding pitches, from the bass
    continuous: Float  # [n, 16] see CONTINUOUS
    more: Float  # [n, MORE] see note_harmony

    def __len__(self) -> int:
        return len(self.cell)

    def dense(self, first: int = 0, last: int | None = None) -> Float:
        """Rows `first` to `last` as one matrix [n, WIDTH], about in -2..2."""
        classes = self.classes[first:last]
        onehot = np.eye(13, dtype=np.float32)[classes].reshape(len(classes), -1)
        parts = (self.chroma, self.continuous, self.more)
        return np.concatenate([onehot, *(part[first:last] for part in parts)], axis=1)


def note_features(notes: Notes) -> NoteFeatures:
    """Features of every note.

    Args:
        notes: at least one note, sorted by onset.
    """
    onset = np.maximum(np.floor(notes.start_s / STEP_S), 0).astype(np.int64)
    cell = onset - onset[0]
    tonal = ~notes.drum
    pitch = notes.pitch.astype(np.int64)
    duration = np.clip(notes.end_s - notes.start_s, 0.03, 8.0)
    cells = int(cell[-1]) + 1

    weight = np.where(tonal, np.minimum(duration, 1.0) + 0.1, 0.0)
    chroma = np.bincount(cell * 12 + pitch % 12, weight, cells * 12).reshape(cells, 12)
    tonic, mode, clarity = _key(_window(chroma, round(BACK_S / STEP_S), round(AHEAD_S / STEP_S)))
    harmony = _unit(_window(chroma, 2, 2))
    key = tonic[cell]

    bass, top, last_top, sounding, chord = _around(notes, pitch, tonal)
    classes = np.stack([(pitch - key) % 12, (bass - key) % 12, (pitch - bass) % 12], axis=1)
    classes[~tonal] = NO_PITCH
    rotated = harmony[cell[:, None], (np.arange(12) + key[:, None]) % 12]

    interval = np.diff(notes.start_s, prepend=notes.start_s[0] - 1.0)
    following = np.append(interval[1:], 1.0)
    velocity = notes.velocity / 127.0
    loud = _window(np.bincount(cell, velocity, cells)[:, None], 8, 8)[:, 0]
    count = _window(np.bincount(cell, minlength=cells)[:, None].astype(float), 8, 8)[:, 0]
    density = _window(np.bincount(cell, minlength=cells)[:, None].astype(float), 4, 4)[:, 0] / (9 * STEP_S)
    continuous = np.stack(
        [
            (pitch - 62) / 16 * tonal,
            (bass - 50) / 16 * tonal,
            (top - 72) / 16 * tonal,
            tonal & (pitch == bass),
            tonal & (pitch == top),
            np.clip((pitch - last_top) / 12, -2, 2) * tonal,
            4 * velocity - 2.3,
            8 * (velocity - loud[cell] / count[cell]),
            np.log2(duration) / 2 + 0.5,
            _log_interval(interval),
            _log_interval(following),
            np.log2(1 + sounding) / 2 - 0.5,
            np.log2(0.2 + density[cell]) / 2 - 1,
            4 * mode[cell],
            4 * clarity[cell] - 3,
            notes.drum,
        ],
        axis=1,
    ).astype(np.float32)
    both = np.concatenate([3 * rotated, chord], axis=1).astype(np.float32)
    near_major, near_minor = _correlations(_window(chroma, NEAR, NEAR))
    around = Surroundings(
        cell=cell,
        tonal=tonal,
        pitch=pitch,
        velocity=velocity,
        duration_s=duration,
        interval_s=interval,
        next_s=following,
        bass=bass,
        top=top,
        last_top=last_top,
        density=density,
        chord=_unit(_window(chroma, 1, 1)),
        mode=mode,
        near_major=near_major,
        near_minor=near_minor,
    )
    return NoteFeatures(onset, classes.astype(np.int8), both, continuous, more_features(around))


def _log_interval(interval: _Array) -> _Array:
    return np.asarray(np.log2(np.clip(interval, 0.01, 4.0)) / 2 + 1)


def _window(values: npt.NDArray[Any], back: int, ahead: int) -> _Array:
    """Sums of rows [i - back, i + ahead] for each i."""
    total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0, dtype=np.float64)])
    index = np.arange(len(values))
    high, low = np.minimum(index + ahead + 1, len(values)), np.maximum(index - back, 0)
    return np.asarray(total[high] - total[low])


def _unit(values: _Array) -> _Array:
    return np.asarray(values / (np.sqrt(np.square(values).sum(axis=1, keepdims=True)) + 1e-6))


def _profiles(profile: _Array) -> _Array:
    """The profile in all twelve keys, [12, 12], one a column."""
    rolled = np.stack([np.roll(profile, shift) for shift in range(12)])
    return _unit(rolled - rolled.mean(axis=1, keepdims=True)).T


_KEYS_MAJOR, _KEYS_MINOR = _profiles(_MAJOR), _profiles(_MINOR)


def _correlations(chroma: _Array) -> tuple[_Array, _Array]:
    """How well each cell's chroma fits the twelve major keys and the twelve minor ones."""
    centred = _unit(chroma - chroma.mean(axis=1, keepdims=True))
    return centred @ _KEYS_MAJOR, centred @ _KEYS_MINOR


def _key(chroma: _Array) -> tuple[_Index, _Array, _Array]:
    """Tonic (0..11), best major minus best minor correlation, and the best correlation, a cell."""
    major, minor = _correlations(chroma)
    best_major, best_minor = major.max(axis=1), minor.max(axis=1)
    tonic = np.where(best_major >= best_minor, major.argmax(axis=1), minor.argmax(axis=1))
    return tonic, best_major - best_minor, np.maximum(best_major, best_minor)


def _around(
    notes: Notes, pitch: npt.NDArray[np.int64], tonal: npt.NDArray[np.bool_]
) -> tuple[_Index, _Index, _Index, _Index, Float]:
    """Lowest and highest sounding pitch at each onset, the highest before it, how many sound, and the chord.

    A note belongs to an onset when it began up to 30 ms after it and has not ended; the chord is [n, 12],
    1 for each pitch class that sounds, counted from the bass.
    """
    n = len(notes)
    bass, top, count = pitch.copy(), pitch.copy(), np.ones(n, np.int64)
    last_top = np.zeros(n, np.int64)
    mask = np.where(tonal, 1 << (pitch % 12), 0)
    chord = mask.copy()
    for lag in [*range(-LAG_AHEAD, 0), *range(1, min(LAG_BACK, n - 1) + 1)]:
        here = np.arange(max(lag, 0), n + min(lag, 0))
        there = here - lag
        if not len(here):
            continue
        both = tonal[here] & tonal[there]
        now = both & (notes.start_s[there] <= notes.start_s[here] + 0.03)
        sounds = now & (notes.end_s[there] > notes.start_s[here] + 0.01)
        other = pitch[there]
        bass[here] = np.where(sounds, np.minimum(bass[here], other), bass[here])
        top[here] = np.where(sounds, np.maximum(top[here], other), top[here])
        count[here] += sounds
        chord[here] |= np.where(sounds, mask[there], 0)
        if 0 < lag <= 8:
            before = both & (notes.start_s[there] < notes.start_s[here] - 0.03)
            last_top[here] = np.where(before, np.maximum(last_top[here], other), last_top[here])
    last_top = np.where(last_top > 0, last_top, pitch)
    spread = (chord[:, None] >> ((np.arange(12) + bass[:, None]) % 12)) & 1
    return bass, top, last_top, count, spread.astype(np.float32)
