"""From sums of cells to estimates: windows of cells, what a network says of them, what silence it overrules.

Conventions: sums as in `pooling`; tensors [b, k, m] hold k cells of b channels; estimates have a row a cell.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from moodstream.models.base import ACTIVITIES, CELL_FRAMES, STEP_MS, AudioEstimates, Estimates, Float
from moodstream.models.experts import ExpertNetwork
from moodstream.models.features import N_COLUMNS
from moodstream.models.music_network import MusicNetwork
from moodstream.models.network import MoodNetwork, Output
from moodstream.models.pooling import N_SUMS, quiet_cells
from moodstream.models.small import SmallNetwork

Network = MoodNetwork | ExpertNetwork | MusicNetwork | SmallNetwork
VOICE_S = 20.0  # of a speaker, after which it is known how he sounds
VOICED_WEIGHT = 1 + 2 * N_COLUMNS  # where the weight of voiced frames lies in sums, see `pooling`


def trust(channel: Tensor, heard: Tensor) -> Tensor:
    """How far, 0..1, to judge by how a speaker usually sounds: [...], all of it from 20 s of voice on.

    Args:
        channel: [..., N_SUMS] sums of all that was heard. heard: [...] how many cells that were.
    """
    voiced = channel[..., VOICED_WEIGHT] / channel[..., 0].clamp(min=1e-9)
    return (voiced * heard * STEP_MS / 1000 / VOICE_S).clamp(0, 1).float()


def estimates_of(
    start: int,
    network: Network,
    learned: Tensor,
    fixed: Tensor,
    channel: Tensor | None = None,
    trusted: Tensor | None = None,
) -> Estimates:
    """What a network says of n windows, by their learned and fixed sums.

    Args:
        channel, trusted: [n, N_SUMS] and [n, 1], of the one speaker there is: see `ExpertNetwork.heads`.
    """
    moods = None
    output: Output
    if isinstance(network, MusicNetwork):
        output, shares = network.told(fixed)
        moods = shares.numpy()
    elif channel is not None and trusted is not None and isinstance(network, ExpertNetwork):
        output = network.heads(learned, fixed, channel=(channel, trusted[:, 0]))[0]
    else:
        output = network.heads(learned, fixed[:, :N_SUMS])[0]
    unknown = network.known == 0
    mean = output.mean.masked_fill(unknown, torch.nan)
    std = output.log_std.exp().clamp(0.01, 2.0).masked_fill(unknown, torch.nan)
    scores = torch.softmax(output.logits, -1)
    return Estimates(start, mean.numpy(), std.numpy(), scores.numpy(), moods)


def hush(estimates: AudioEstimates, sums: Tensor) -> AudioEstimates:
    """The estimates with cells that are silence by their own level called so, whatever lies around them.

    Args:
        sums: of the single cells, [n, N_SUMS].
    """
    activity = hushed(estimates.activity, sums)
    return AudioEstimates(estimates.start, activity, estimates.speech, estimates.music)


def hushed(activity: Float, sums: Tensor) -> Float:
    """Activity [..., n, 5] of cells by their sums [..., n, >= N_SUMS]."""
    silence = np.eye(len(ACTIVITIES), dtype=np.float32)[ACTIVITIES.index("silence")]
    quiet = quiet_cells(sums.reshape(-1, sums.shape[-1])).numpy().reshape(*sums.shape[:-1], 1)
    return np.where(quiet, silence, activity)


def windows_of(cells: Tensor, begin: int, end: int, first: int, last: int) -> Tensor:
    """The sums [b, end - begin, m] of cells i + first to i + last of [b, k, m], for i from begin to end.

    Cells beyond either end count nothing; always added in the same order.
    """
    n, known = max(end - begin, 0), cells.shape[1]
    if not n or not cells.shape[2]:
        return cells.new_zeros(len(cells), n, cells.shape[2])
    low, high = begin + first, end + last
    part = cells[:, min(max(low, 0), known) : min(max(high, 0), known)]
    before = min(max(-low, 0), high - low)
    padded = F.pad(part, (0, 0, before, high - low - before - part.shape[1]))
    total = padded[:, :n].clone()
    for shift in range(1, last - first + 1):
        total += padded[:, shift : shift + n]
    return total


def lag_of(network: Network) -> int:
    """By how many cells the learned sums come later than the fixed ones."""
    if network.encoder is None:
        return 0
    shape = network.shape
    return (shape.centre_future if shape.centre else 0) - (-shape.reach // CELL_FRAMES)


def learned_width(network: Network) -> int:
    """How many learned sums a cell has."""
    return 0 if network.encoder is None else network.shape.gates + 2 * network.shape.channels


def nothing(size: tuple[int, ...], labels: int) -> Estimates:
    """What somebody says who does not listen."""
    mean = np.full((*size, 3), np.nan, np.float32)
    return Estimates(0, mean, mean, np.zeros((*size, labels), np.float32))


def placed(where: Estimates, few: Estimates, only: Any) -> Estimates:
    """A few rows among rows that say nothing."""
    mean, std, scores = where.mean.copy(), where.std.copy(), where.scores.copy()
    mean[only], std[only], scores[only] = few.mean, few.std, few.scores
    moods = None
    if few.moods is not None:
        moods = np.zeros((len(only), few.moods.shape[1]), np.float32)
        moods[only] = few.moods
    return Estimates(where.start, mean, std, scores, moods)


def split(of: Estimates, shape: tuple[int, int]) -> tuple[Estimates, Estimates]:
    """[b, n + m, ...] as [b, n, ...] and [b, m, ...]."""

    return (
        mapped(of, lambda part: part[:, : shape[0]]),
        mapped(of, lambda part: part[:, shape[0] :]),
    )


def mapped(of: Estimates, change: Callable[[Float], Float], start: int = 0) -> Estimates:
    moods = None if of.moods is None else change(of.moods)
    return Estimates(start, change(of.mean), change(of.std), change(of.scores), moods)
