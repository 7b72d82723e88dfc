"""The symbolic model: valence, arousal and quadrant from the notes of a piece.

Conventions: estimates lie on the half-second grid from the start of the media to its end; a cell is judged
by the notes of the two minutes before it and the 8 s after it (each note's own features look 20 s back and
8 s ahead). Numbers stand everywhere, `sounding` says where they mean something. Training and measuring live
in `symbolic_training`.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from moodstream.models import registry
from moodstream.models.base import DIMENSIONS, QUADRANTS, STEP_MS, Estimates, Float, Notes
from moodstream.models.note_features import AHEAD_S, BACK_S, LAG_AHEAD, LAG_BACK, note_features
from moodstream.models.note_network import FAR, LONG, N_DIMENSIONS, NEAR, NoteNetwork, NoteShape
from moodstream.models.note_statistics import N_SUMS, around, cell_sums, whole

STEP_S = STEP_MS / 1000
LOOKAHEAD_S = LONG[1] * STEP_S + AHEAD_S
PAST_S = LONG[0] * STEP_S + BACK_S
TAIL_S = 2.0  # how long after its end a note still counts as heard
LONGEST_S = 30.0  # after which a held note counts as faded
_NOTES, _CELLS = 16_384, 4_096  # computed at a time: memory does not grow with the piece's length


class SymbolicModel:
    """Notes in, estimates out."""

    def __init__(self, network: NoteNetwork) -> None:
        self.network = network.eval()

    @classmethod
    def load(cls, name: str = "symbolic", folder: Path = registry.FOLDER) -> "SymbolicModel":
        """The installed model of this name.

        Raises:
            FileNotFoundError: there is none. ValueError: weights and card do not belong together.
        """
        network = NoteNetwork(NoteShape(**registry.read_card(name, folder).shape))
        network.load_state_dict(registry.read_weights(name, folder))
        return cls(network)

    @torch.inference_mode()
    def estimate(self, notes: Notes) -> Estimates:
        """One estimate a cell, ceil(end of media / 0.5 s) in all; dominance is NaN."""
        sums = self._cell_sums(notes)
        count = len(sums)
        parts = []
        for start in range(0, count, _CELLS):
            stop = min(start + _CELLS, count)
            low, high = max(start - LONG[0], 0), min(stop + LONG[1], count)
            at = np.arange(start - low, stop - low)
            parts.append(self._estimates(start, sums[low:high], at))
        if not parts:
            return Estimates(
                start=0,
                mean=np.zeros((0, len(DIMENSIONS)), np.float32),
                std=np.zeros((0, len(DIMENSIONS)), np.float32),
                scores=np.zeros((0, len(QUADRANTS)), np.float32),
            )
        return Estimates(
            start=0,
            mean=np.concatenate([part.mean for part in parts]),
            std=np.concatenate([part.std for part in parts]),
            scores=np.concatenate([part.scores for part in parts]),
        )

    @torch.inference_mode()
    def piece(self, notes: Notes) -> Estimates:
        """One estimate of the piece as a whole, from all its notes."""
        said = whole(self._cell_sums(notes), seconds_of(notes))
        return self._say(0, said, said, said)

    def bars(self, notes: Notes) -> Float:
        """Valence, arousal and dominance of each bar, [m, 3]: the curve averaged over each."""
        edges = np.append(notes.bars_s, max(notes.end_of_media_s, notes.bars_s[-1]))
        return average(self.estimate(notes).mean, edges)

    def sounding(self, notes: Notes) -> npt.NDArray[np.bool_]:
        """For each cell, whether anything sounds in it or did within the last TAIL_S seconds."""
        count = cells_of(notes)
        first = np.clip(np.floor(notes.start_s / STEP_S).astype(int), 0, count)
        end_s = np.minimum(notes.end_s, notes.start_s + LONGEST_S) + TAIL_S
        last = np.clip(np.ceil(end_s / STEP_S).astype(int), 0, count)
        change = np.bincount(first, minlength=count + 1) - np.bincount(last, minlength=count + 1)
        return np.asarray(np.cumsum(change)[:count] > 0)

    def _cell_sums(self, notes: Notes) -> Float:
        """Sums of each cell, [cells, N_SUMS]."""
        count, n = cells_of(notes), len(notes)
        sums = np.zeros((count, N_SUMS), np.float32)
        for start in range(0, n if count else 0, _NOTES):
            stop = min(start + _NOTES, n)
            low, high = _context(notes, start, stop)
            features = note_features(slice_notes(notes, low, high))
            inner = slice(start - low, stop - low)
            cell = np.clip(features.cell[inner], 0, count - 1)
            first, last = int(cell[0]), int(cell[-1]) + 1
            sums[first:last] += cell_sums(features.dense(inner.start, inner.stop), cell - first, last - first)
        return sums

    def _estimates(self, start: int, sums: Float, at: npt.NDArray[np.int64]) -> Estimates:
        return self._say(start, *(around(sums, span, at) for span in (LONG, NEAR, FAR)))

    def _say(self, start: int, *windows: Tensor) -> Estimates:
        mean, std, scores = self.network(*windows)
        unknown = torch.full((len(mean), len(DIMENSIONS) - N_DIMENSIONS), torch.nan)
        return Estimates(
            start,
            torch.cat((mean.clamp(-1, 1), unknown), 1).numpy(),
            torch.cat((std, unknown), 1).numpy(),
            scores.numpy(),
        )


def cells_of(notes: Notes) -> int:
    """How many half seconds the media has."""
    return int(np.ceil(notes.end_of_media_s / STEP_S - 1e-9))


def seconds_of(notes: Notes) -> float:
    """From the first onset to a second after the last one, what the density of a whole piece goes by."""
    return float(notes.start_s[-1] - notes.start_s[0]) + 1.0


def _context(notes: Notes, start: int, stop: int) -> tuple[int, int]:
    """The notes that features of `start` to `stop` depend on; never more than _NOTES on either side."""
    low = np.searchsorted(notes.start_s, notes.start_s[start] - BACK_S - 5)
    high = np.searchsorted(notes.start_s, notes.start_s[stop - 1] + AHEAD_S + 5)
    low, high = min(int(low), start - LAG_BACK), max(int(high), stop + LAG_AHEAD)
    return max(low, start - _NOTES, 0), min(high, stop + _NOTES, len(notes))


def slice_notes(notes: Notes, start: int, stop: int) -> Notes:
    """Notes `start` to `stop`, on the same time axis."""
    names = ("start_s", "end_s", "pitch", "velocity", "program", "drum")
    return replace(notes, **{name: getattr(notes, name)[start:stop] for name in names})


def average(curve: Float, edges_s: npt.NDArray[np.float64]) -> Float:
    """Mean of a curve [n, k] of half seconds between neighbouring edges [m + 1], in seconds: [m, k]."""
    total = np.concatenate([np.zeros((1, curve.shape[1])), np.cumsum(curve, axis=0, dtype=np.float64)])
    place = np.clip(edges_s / STEP_S, 0, len(curve))
    cell = np.minimum(place.astype(int), max(len(curve) - 1, 0))
    area = total[cell] + (place - cell)[:, None] * curve[cell]
    width = np.diff(place)[:, None]
    return np.where(width > 1e-6, np.diff(area, axis=0) / np.maximum(width, 1e-6), curve[cell[:-1]]).astype(
        np.float32
    )
