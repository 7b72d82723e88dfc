"""From frames to windows by sums: what a cell holds, and the statistics of any run of cells.

Conventions: a *cell* holds 32 frames; its sums are `w, w x, w x^2`, so the sums of a window are the sums of
its cells and windows slide for free. Frames are weighted by loudness to the power 0.2: silence counts for
little, and no threshold depends on the gain. Voiced frames are summed once more, weighted by their voicing,
so that a window also knows the spectra of its voiced and unvoiced parts and the pitch of what has a pitch.
"""

import math

import torch
from torch import Tensor

from moodstream.models.base import CELL_FRAMES
from moodstream.models.features import COLUMNS, N_BASE, N_CEPSTRA, N_COLUMNS, N_MELS, PITCH, VOICING

_LEVEL = COLUMNS.descriptors.start
_N_SLOPES = COLUMNS.deltas.stop - COLUMNS.deltas.start - N_CEPSTRA  # deltas of the descriptors
_N_VOICED = N_BASE + _N_SLOPES
_N_SQUARED = _N_VOICED - N_MELS  # of the voiced columns, the mel bands are only averaged
_MEANS = COLUMNS.cepstra.stop  # deltas and modulation bands have no mean to speak of
_HEARD = (  # what voiced frames are summed of besides the columns before the pitch, and the pitch
    slice(VOICING, VOICING + 1),
    slice(COLUMNS.deltas.start + N_CEPSTRA, COLUMNS.deltas.stop),
)
_SIZES = [1, N_COLUMNS, N_COLUMNS, 1, _N_VOICED, _N_SQUARED]
N_SUMS = sum(_SIZES)
N_STATISTICS = _MEANS + N_COLUMNS + N_BASE + _N_SQUARED + N_MELS + 1
_VOICED_AT = _MEANS + N_COLUMNS
_UNVOICED_AT = _VOICED_AT + N_BASE + _N_SQUARED
LEVEL_STATISTICS = [  # those that the gain shifts: mean log-mel and level, of all, voiced and unvoiced frames
    *range(_LEVEL + 1),
    *range(_VOICED_AT, _VOICED_AT + _LEVEL + 1),
    *range(_UNVOICED_AT, _UNVOICED_AT + N_MELS),
]
MEL_PER_DB, LEVEL_PER_DB = math.log(10) / 40, 1 / 20  # what a gain adds to the columns, see `features`
MODULATION_STATISTICS = [*range(_MEANS + COLUMNS.modulation.start, _MEANS + COLUMNS.modulation.stop)]
QUIET_DBFS = -62.0  # a half second below this is silence, whatever surrounds it
_FLOOR = 1e-4  # variance added before a root, so that the root is smooth and a constant gives 0.01


def loudness_weight(frames: Tensor) -> Tensor:
    """Weight [..., 1] in (0, 1] of frames [..., >= N_BASE]: mean square to the power 0.2."""
    return torch.pow(10.0, (2.0 * frames[..., _LEVEL : _LEVEL + 1] - 4.0) * 0.2)


def cell_sums(frames: Tensor, length: int | None = None) -> Tensor:
    """Sums [n, N_SUMS] of frames [32 n, N_COLUMNS]; frames from `length` on are padding and count nothing."""
    cells = len(frames) // CELL_FRAMES
    weight = loudness_weight(frames)
    if length is not None and length < len(frames):
        weight = weight * (torch.arange(len(frames)) < length)[:, None]
    voicing = frames[:, VOICING : VOICING + 1]
    weights = torch.cat((weight, weight * voicing), 1).reshape(cells, CELL_FRAMES, 2)
    pitch = (frames[:, PITCH : PITCH + 1] / (voicing + 1e-3)).reshape(cells, CELL_FRAMES, 1)
    values = frames.reshape(cells, CELL_FRAMES, N_COLUMNS)
    weights = weights.transpose(1, 2)
    first = weights @ values  # [cells, 2, N_COLUMNS]: of all frames, and of the voiced ones
    second = weights @ values.square()
    heard = weights[:, 1:]
    parts = (
        weights[:, 0].sum(1, keepdim=True),
        first[:, 0],
        second[:, 0],
        heard.sum(2),
        first[:, 1, :PITCH],
        (heard @ pitch)[:, 0],
        *(first[:, 1, part] for part in _HEARD),
        second[:, 1, N_MELS:PITCH],
        (heard @ pitch.square())[:, 0],
        *(second[:, 1, part] for part in _HEARD),
    )
    return torch.cat(parts, 1)


def statistics(sums: Tensor) -> Tensor:
    """Statistics [..., N_STATISTICS] of summed cells [..., N_SUMS]."""
    weight, first, second, voiced_weight, voiced, voiced_second = torch.split(sums, _SIZES, -1)
    weight = weight.clamp(min=1e-9)
    mean, deviation = moments(weight, first, second)
    hearing = voiced_weight + 1e-3 * weight
    voiced_mean = voiced / hearing
    spread = (voiced_second / hearing - voiced_mean[..., N_MELS:] ** 2).clamp(min=0)
    rest = (weight - voiced_weight).clamp(min=0) + 1e-3 * weight
    unvoiced = (first[..., :N_MELS] - voiced[..., :N_MELS]) / rest
    return torch.cat(
        (
            mean[..., :_MEANS],
            deviation,
            voiced_mean[..., :N_BASE],
            (spread + _FLOOR).sqrt(),
            unvoiced,
            voiced_weight / weight,
        ),
        -1,
    )


def moments(weight: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation from sums of weights, of weighted values and of their squares."""
    mean = first / weight
    return mean, ((second / weight - mean**2).clamp(min=0) + _FLOOR).sqrt()


def quiet_cells(sums: Tensor) -> Tensor:
    """Which cells, [n] of bool, are silence by their own level: sums [n, N_SUMS] of single cells."""
    return sums[:, 0] < CELL_FRAMES * 10 ** (QUIET_DBFS / 10 * 0.2)


def louder(decibels: float) -> Tensor:
    """What a gain of so many dB adds to the statistics, [N_STATISTICS]."""
    more = torch.zeros(N_STATISTICS)
    more[LEVEL_STATISTICS] = decibels * MEL_PER_DB
    more[[_LEVEL, _VOICED_AT + _LEVEL]] = decibels * LEVEL_PER_DB
    return more


def window_sums(cells: Tensor, past: int, future: int) -> Tensor:
    """Sums of the windows around every cell: [n, m] -> [n, m]; cells beyond either end count nothing."""
    padded = torch.nn.functional.pad(cells, (0, 0, past, future))
    total = padded[: len(cells)].clone()
    for shift in range(1, past + future + 1):  # always in the same order, so always the same rounding
        total += padded[shift : shift + len(cells)]
    return total
