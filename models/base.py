"""What every model speaks: the time grid, and the arrays that go in and come out.

Conventions: mono float32 samples at 16 kHz in [-1, 1]; a *cell* is one half second of the curve, cell `i`
covering `[500 i, 500 (i + 1))` ms; valence, arousal and dominance (in this order) in [-1, 1].
This module needs numpy alone, so that types can be used where no model runs.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]

RATE_HZ = 16_000
STEP_MS = 500  # the curve's grid: 2 Hz, as in DEAM and PMEmo
HOP = 250  # samples from frame to frame: 64 frames a second, so a cell is exactly 32 frames
CELL_FRAMES = RATE_HZ * STEP_MS // 1000 // HOP
DIMENSIONS = ("valence", "arousal", "dominance")
ACTIVITIES = ("speech", "music", "speech+music", "silence", "other")
HAS_SPEECH = np.array(["speech" in activity for activity in ACTIVITIES])  # by activity
HAS_MUSIC = np.array(["music" in activity for activity in ACTIVITIES])
OTHER_WEIGHT = 5.0  # see `decide`
QUADRANTS = ("Q1", "Q2", "Q3", "Q4")  # Q1 happy (+v +a), Q2 tense (-v +a), Q3 sad (-v -a), Q4 calm (+v -a)
EMOTIONS = (
    "neutral",
    "calm",
    "happiness",
    "sadness",
    "anger",
    "fear",
    "disgust",
    "surprise",
    "boredom",
)


@dataclass(frozen=True, slots=True)
class Turns:
    """What a model that listens for changes says about n cells, each by little more than itself."""

    scores: Float  # [n, K], probabilities over the model's labels
    change: Float  # [n], log-odds that the label changes between the cell before and this one

    def cut(self, start: int, stop: int) -> "Turns":
        """Some of the cells."""
        return Turns(self.scores[start:stop], self.change[start:stop])


@dataclass(frozen=True, slots=True)
class Estimates:
    """What one model says about n consecutive cells.

    `mean` and `std` are [n, 3] (valence, arousal, dominance; NaN where the model has no such output),
    `scores` [n, K] are probabilities over the model's labels, each row summing to 1.
    """

    start: int  # index of the first cell
    mean: Float
    std: Float
    scores: Float
    moods: Float | None = None  # [n, M] share of listeners, 0..1, that would feel each of the card's moods
    turns: Turns | None = None  # for episodes, where there is a model for it

    def __len__(self) -> int:
        return len(self.mean)


@dataclass(frozen=True, slots=True)
class AudioEstimates:
    """What the audio models say about n consecutive cells, all of the same length and start."""

    start: int
    activity: Float  # [n, 5], probabilities in the order of ACTIVITIES
    speech: Estimates
    music: Estimates

    def __len__(self) -> int:
        return len(self.activity)


def decide(activity: Float) -> npt.NDArray[np.int8]:
    """The activity of cells from their probabilities [n, 5]: an index into ACTIVITIES.

    Calling noise speech makes up an emotion, calling speech noise leaves a gap, so `other` counts
    `OTHER_WEIGHT` times. Measured out of fold, with noise of kinds never trained on: false alarms fall from
    15 to 6 %, while 94 to 95 % of speech and music still get an estimate (98 % without).
    """
    weight = np.where(np.array(ACTIVITIES) == "other", OTHER_WEIGHT, 1.0)
    return (activity * weight).argmax(1).astype(np.int8)


@dataclass(frozen=True, slots=True)
class Notes:
    """The notes of a MIDI file, sorted by onset; every array has one value a note."""

    start_s: npt.NDArray[np.float64]
    end_s: npt.NDArray[np.float64]  # sustain pedal applied, hanging notes closed
    pitch: npt.NDArray[np.int16]  # MIDI note number
    velocity: npt.NDArray[np.int16]  # 1..127
    program: npt.NDArray[np.int16]  # 0..127 as General MIDI counts from zero
    drum: npt.NDArray[np.bool_]
    bars_s: npt.NDArray[np.float64]  # [m] times of the bar lines
    end_of_media_s: float

    def __len__(self) -> int:
        return len(self.start_s)


class AudioStream(Protocol):
    """One channel's way through the audio networks: same numbers however the samples are cut."""

    def push(self, samples: Float) -> AudioEstimates:
        """Take mono samples at 16 kHz; give the cells that became ready (possibly none)."""

    def flush(self, samples: Float | None = None) -> AudioEstimates:
        """The sound ended (with these samples): give the remaining cells, ceil(duration / 500 ms) in all."""

    def peek(self) -> AudioEstimates:
        """What `flush` would give if the sound ended here; the stream goes on as if nobody had asked."""

    def snapshot(self) -> bytes: ...

    def restore(self, state: bytes) -> None: ...
