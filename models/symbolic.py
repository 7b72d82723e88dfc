"""The symbolic model: valence, arousal and quadrant from the notes of a piece.

Conventions: estimates lie on the half-second grid from the start of the media to its end; a cell is judged
by the notes of the 40 s before it and the 8 s after it (each note's own features look 20 s back and 8 s
ahead, the embeddings NOTES_AHEAD notes). Numbers stand everywhere, `sounding` says where they mean
something. Training and measuring live in `symbolic_training`; `train` and `evaluate` are its entrances.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from moodstream.models import registry
from moodstream.models.base import DIMENSIONS, STEP_MS, Estimates, Float, Notes
from moodstream.models.note_features import AHEAD_S, BACK_S, LAG_AHEAD, LAG_BACK, note_features
from moodstream.models.note_network import (
    LONG,
    N_DIMENSIONS,
    N_FIXED,
    NOTES_AHEAD,
    NOTES_BACK,
    SHORT,
    NoteEnsemble,
    NoteShape,
    fixed_statistics,
    fixed_sums,
    window,
)

STEP_S = STEP_MS / 1000
LOOKAHEAD_S = LONG[1] * STEP_S + AHEAD_S
PAST_S = LONG[0] * STEP_S + BACK_S
TAIL_S = 2.0  # how long after its end a note still counts as heard
LONGEST_S = 30.0  # after which a held note counts as faded
_NOTES, _CELLS = 16_384, 4_096  # computed at a time: memory does not grow with the piece's length


class SymbolicModel:
    """Notes in, estimates out."""

    def __init__(self, network: NoteEnsemble) -> None:
        self.network = network.eval()

    @classmethod
    def load(cls, name: str = "symbolic", folder: Path = registry.FOLDER) -> "SymbolicModel":
        """The installed model of this name.

        Raises:
            FileNotFoundError: there is none. ValueError: weights and card do not belong together.
        """
        network = NoteEnsemble(NoteShape(**registry.read_card(name, folder).shape))
        network.load_state_dict(registry.read_weights(name, folder))
        return cls(network)

    @torch.inference_mode()
    def estimate(self, notes: Notes) -> Estimates:
        """One estimate a cell, ceil(end of media / 0.5 s) in all; dominance is NaN."""
        fixed, learned = self._cell_sums(notes)
        count = len(fixed)
        parts = []
        for start in range(0, count, _CELLS):
            stop = min(start + _CELLS, count)
            low, high = max(start - LONG[0], 0), min(stop + LONG[1], count)
            inner = slice(start - low, stop - low)
            near = fixed[low:high], learned[low:high]
            long, short = (_windows(near, span, inner) for span in (LONG, SHORT))
            parts.append(self._estimates(start, long, short))
        if not parts:
            return Estimates(0, *(np.zeros((0, width), np.float32) for width in (3, 3, 4)))
        return Estimates(
            0, *(np.concatenate([getattr(p, k) for p in parts]) for k in ("mean", "std", "scores"))
        )

    @torch.inference_mode()
    def piece(self, notes: Notes) -> Estimates:
        """One estimate of the piece as a whole, from all its notes."""
        fixed, learned = (sums.sum(0, keepdim=True) for sums in self._cell_sums(notes))
        seconds = torch.tensor([max(float(notes.start_s[-1] - notes.start_s[0]) + 1.0, 1.0)])
        whole = fixed_statistics(fixed, seconds), learned
        return self._estimates(0, whole, whole)

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

    def _cell_sums(self, notes: Notes) -> tuple[Tensor, Tensor]:
        """Sums of each cell, for the wide and for the deep branch."""
        count, n = cells_of(notes), len(notes)
        shape = self.network.shape
        fixed = torch.zeros(count, N_FIXED)
        learned = torch.zeros(count, shape.members * (shape.gates + 2 * shape.channels))
        for start in range(0, n if count else 0, _NOTES):
            stop = min(start + _NOTES, n)
            low, high = _context(notes, start, stop)
            features = note_features(slice_notes(notes, low, high))
            x = torch.from_numpy(features.dense())
            inner = slice(start - low, stop - low)
            cell = torch.from_numpy(np.clip(features.cell[inner], 0, count - 1))
            fixed.index_add_(0, cell, fixed_sums(x[inner]))
            learned.index_add_(0, cell, self.network.learned_sums(x)[inner])
        return fixed, learned

    def _estimates(self, start: int, long: tuple[Tensor, Tensor], short: tuple[Tensor, Tensor]) -> Estimates:
        mean, std, scores = self.network(long, short)
        unknown = torch.full((len(mean), len(DIMENSIONS) - N_DIMENSIONS), torch.nan)
        return Estimates(
            start,
            torch.cat((mean.clamp(-1, 1), unknown), 1).numpy(),
            torch.cat((std, unknown), 1).numpy(),
            scores.numpy(),
        )


def _windows(sums: tuple[Tensor, Tensor], span: tuple[int, int], rows: slice) -> tuple[Tensor, Tensor]:
    """Fixed statistics and learned sums of the windows around some of the cells."""
    fixed, seconds = window(sums[0], *span)
    return fixed_statistics(fixed[rows], seconds[rows]), window(sums[1], *span)[0][rows]


def cells_of(notes: Notes) -> int:
    """How many half seconds the media has."""
    return int(np.ceil(notes.end_of_media_s / STEP_S - 1e-9))


def _context(notes: Notes, start: int, stop: int) -> tuple[int, int]:
    """The notes that embeddings `start` to `stop` depend on; never more than _NOTES on either side."""
    first, last = max(start - NOTES_BACK, 0), min(stop + NOTES_AHEAD, len(notes)) - 1
    low = np.searchsorted(notes.start_s, notes.start_s[first] - BACK_S - 5)
    high = np.searchsorted(notes.start_s, notes.start_s[last] + AHEAD_S + 5)
    low, high = min(int(low), first - LAG_BACK), max(int(high), last + LAG_AHEAD)
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
