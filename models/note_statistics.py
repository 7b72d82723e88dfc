"""From notes to windows: what each note adds to its cell's sums, and what the sums of a window say.

Conventions: a *cell* is half a second; sums of a window are the sums of its cells, so windows overlap for
free and a stream needs nothing but running sums. Statistics are means and deviations of the notes' features,
histograms and notes a second, [n, N_STATISTICS].
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from moodstream.models.base import STEP_MS, Float
from moodstream.models.note_features import CLASSES, CONTINUOUS, WIDTH
from moodstream.models.note_harmony import GROUPS, MORE_SQUARED, SQUARED

STEP_S = STEP_MS / 1000
_ONEHOT = 13 * len(CLASSES)
_FIRST = _ONEHOT + 24  # of the continuous features
_PLAIN = _FIRST + len(CONTINUOUS)  # features before those of note_harmony
_LAST = _PLAIN + MORE_SQUARED  # of the features whose deviation counts too
_HISTOGRAMS = {  # feature: first knot, last knot, knots
    "pitch": (-2.0, 1.75, 12),
    "velocity": (-2.0, 1.6, 8),
    "log duration": (-2.0, 1.5, 12),
    "log interval to the last onset": (-2.2, 2.0, 14),
}
_BINS = sum(count for _, _, count in _HISTOGRAMS.values())
_SQUARES = _LAST - _ONEHOT
PLAIN = 1.5
N_SUMS = 1 + WIDTH + _SQUARES + _BINS
N_STATISTICS = N_SUMS  # a density in place of the count


def note_sums(x: Tensor) -> Tensor:
    """What each note adds to its cell's sums: features [n, WIDTH] -> [n, N_SUMS]."""
    parts = [torch.ones_like(x[:, :1]), x, x[:, _ONEHOT:_LAST] ** 2]
    for name, (first, last, count) in _HISTOGRAMS.items():
        value = x[:, _FIRST + CONTINUOUS.index(name), None].clamp(first, last)
        knots = torch.linspace(first, last, count)
        parts.append((1 - (value - knots).abs() * (count - 1) / (last - first)).clamp(min=0))
    return torch.cat(parts, 1)


def cell_sums(x: Float, cell: npt.NDArray[np.int64], cells: int) -> Float:
    """Sums by cell, [cells, N_SUMS], of notes in order of their cell."""
    sums = np.zeros((cells, N_SUMS), np.float32)
    if len(cell):
        first = np.flatnonzero(np.diff(cell, prepend=-1))
        sums[cell[first]] = np.add.reduceat(note_sums(torch.from_numpy(x)).numpy(), first, axis=0)
    return sums


def window_sums(sums: Float, past: int, future: int, at: npt.NDArray[np.int64]) -> tuple[Float, Float]:
    """Sums from `past` cells before to `future` cells after each of some cells, and how many seconds that is.

    Args:
        sums: [m, N_SUMS]. future: may be negative; a window has at least two cells where there are two.
        at: [n] cells.

    Returns:
        [n, N_SUMS] and [n].
    """
    total = np.concatenate([np.zeros((1, sums.shape[1])), np.cumsum(sums, axis=0, dtype=np.float64)])
    high = np.clip(at + future + 1, min(2, len(sums)), len(sums))
    low = np.maximum(np.minimum(at - past, high - 2), 0)
    return (total[high] - total[low]).astype(np.float32), ((high - low) * STEP_S).astype(np.float32)


def statistics(sums: Tensor, seconds: Tensor) -> Tensor:
    """Means, deviations, histograms and notes a second of windows: [n, N_SUMS], [n] -> [n, N_STATISTICS]."""
    count = sums[:, :1]
    means = sums[:, 1:] / count.clamp(min=1e-4)
    mean, square, bins = means[:, :WIDTH], means[:, WIDTH:-_BINS], means[:, -_BINS:]
    deviation = ((square - mean[:, _ONEHOT:_LAST] ** 2).clamp(min=0) + 1e-4).sqrt()
    density = torch.log2(0.2 + count / seconds[:, None]) / 2 - 1
    return torch.cat((mean, deviation, bins, density), 1)


def around(sums: Float, span: tuple[int, int], at: npt.NDArray[np.int64]) -> Tensor:
    """Statistics [n, N_STATISTICS] of the windows `span` around some of the cells."""
    return statistics(*map(torch.from_numpy, window_sums(sums, *span, at)))


def whole(sums: Float, seconds: float) -> Tensor:
    """Statistics [1, N_STATISTICS] of all cells together."""
    return statistics(torch.from_numpy(sums.sum(0, keepdims=True)), torch.tensor([seconds]))


def group_weights() -> Float:
    """[N_STATISTICS]: what each statistic is multiplied by, so that a group counts by the root of its size.

    Those of `note_features` itself count PLAIN times.
    """
    first = ["plain"] * _PLAIN + [name for name, count in GROUPS.items() for _ in range(count)]
    again = ["plain"] * (_PLAIN - _ONEHOT) + [name for name in SQUARED for _ in range(GROUPS[name])]
    group = np.array(first + again + ["plain"] * (_BINS + 1))
    _, of, size = np.unique(group, return_inverse=True, return_counts=True)
    return np.asarray(size[of] ** -0.25 * np.where(group == "plain", PLAIN, 1.0), np.float32)
