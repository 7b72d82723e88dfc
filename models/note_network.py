"""The network over notes: dilated convolutions, sums by cells, windows, and heads for level and movement.

Conventions: notes in order of onset, features [n, WIDTH] of `note_features`; a cell's sums add up what its
notes say, so the sums of a window are the sums of its cells. Two branches see the same windows and are
averaged: `wide` the moments and histograms of the features themselves, `deep` the gated moments of learned
embeddings. Each gives quadrants and the *level* of valence and arousal from a long window, and the
*movement* around it from how a short window differs from the long one.
"""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moodstream.models.base import QUADRANTS, STEP_MS
from moodstream.models.note_features import CLASSES, CONTINUOUS, WIDTH

STEP_S = STEP_MS / 1000
LONG, SHORT = (80, 16), (16, 8)  # cells before and after the one that is judged
N_DIMENSIONS = 2  # valence, arousal

_ONEHOT = 13 * len(CLASSES)
_SQUARED = WIDTH - _ONEHOT
_FIRST = _ONEHOT + 24  # of the continuous features
_HISTOGRAMS = {  # feature: first knot, last knot, knots
    "pitch": (-2.0, 1.75, 12),
    "velocity": (-2.0, 1.6, 8),
    "log duration": (-2.0, 1.5, 12),
    "log interval to the last onset": (-2.2, 2.0, 14),
}
_BINS = sum(count for _, _, count in _HISTOGRAMS.values())
N_FIXED = 1 + WIDTH + _SQUARED + _BINS  # sums of the wide branch
N_STATISTICS = N_FIXED  # a density in place of the count
_DILATIONS = ((1, True), (2, True), (4, True), (8, False), (8, False))  # looks ahead as well?
NOTES_BACK = sum(d if ahead else 2 * d for d, ahead in _DILATIONS)
NOTES_AHEAD = sum(d for d, ahead in _DILATIONS if ahead)


@dataclass(frozen=True)
class NoteShape:
    """What fixes the network's layers; stored in the model card."""

    members: int = 3
    channels: int = 32
    gates: int = 4
    hidden: int = 96
    movement: int = 32
    dropout: float = 0.4

    def asdict(self) -> dict[str, Any]:
        return asdict(self)


class Heard(NamedTuple):
    """What a branch says of windows: logits [n, 4], level and log deviation [n, 2]."""

    logits: Tensor
    level: Tensor
    log_std: Tensor


def fixed_sums(x: Tensor) -> Tensor:
    """What each note adds to the wide branch's sums: [n, WIDTH] -> [n, N_FIXED]."""
    parts = [torch.ones_like(x[:, :1]), x, x[:, _ONEHOT:] ** 2]
    for name, (first, last, count) in _HISTOGRAMS.items():
        value = x[:, _FIRST + CONTINUOUS.index(name), None].clamp(first, last)
        knots = torch.linspace(first, last, count)
        parts.append((1 - (value - knots).abs() * (count - 1) / (last - first)).clamp(min=0))
    return torch.cat(parts, 1)


def fixed_statistics(sums: Tensor, seconds: Tensor) -> Tensor:
    """Means, deviations, histograms and notes a second of windows: [n, N_FIXED], [n] -> [n, N_STATISTICS]."""
    count = sums[:, :1]
    means = sums[:, 1:] / count.clamp(min=1e-4)
    mean, square, bins = means[:, :WIDTH], means[:, WIDTH:-_BINS], means[:, -_BINS:]
    deviation = ((square - mean[:, _ONEHOT:] ** 2).clamp(min=0) + 1e-4).sqrt()
    density = torch.log2(0.2 + count / seconds[:, None]) / 2 - 1
    return torch.cat((mean, deviation, bins, density), 1)


def window(sums: Tensor, past: int, future: int) -> tuple[Tensor, Tensor]:
    """Sums of the cells around each cell, [n, m] -> [n, m], and how many seconds they are, [n]."""
    total = F.pad(sums.double().cumsum(0), (0, 0, 1, 0))
    index = torch.arange(len(sums))
    first, last = (index - past).clamp(min=0), (index + future + 1).clamp(max=len(sums))
    return (total[last] - total[first]).to(sums.dtype), (last - first) * STEP_S


class Branch(nn.Module):
    """Heads over one kind of statistics."""

    def __init__(self, inputs: int, shape: NoteShape) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.center: Tensor
        self.scale: Tensor
        self.trunk = nn.Linear(inputs, shape.hidden)
        self.logits = nn.Linear(shape.hidden, len(QUADRANTS))
        self.values = nn.Linear(shape.hidden, 2 * N_DIMENSIONS)
        self.difference = nn.Linear(inputs, shape.movement, bias=False)
        self.moved = nn.Linear(shape.movement, N_DIMENSIONS, bias=False)
        self.drop_in, self.drop = nn.Dropout(shape.dropout / 2), nn.Dropout(shape.dropout)

    def standardize(self, statistics: Tensor) -> Tensor:
        return ((statistics - self.center) * self.scale).clamp(-4, 4)

    def forward(self, statistics: Tensor) -> Heard:
        h = self.drop(F.gelu(self.trunk(self.drop_in(self.standardize(statistics)))))
        values = self.values(h)
        level, log_std = values[:, :N_DIMENSIONS], values[:, N_DIMENSIONS:]
        return Heard(self.logits(h), 0.3 * level, log_std.clamp(-3, 1) - 1.5)

    def movement(self, long: Tensor, short: Tensor) -> Tensor:
        """[n, 2]; zero where the short window is like the long one."""
        change = self.drop_in(self.standardize(short) - self.standardize(long))
        moved: Tensor = 0.3 * self.moved(self.drop(torch.tanh(self.difference(change))))
        return moved


class NoteNetwork(nn.Module):
    """Notes to sums of cells, and sums of cells to estimates."""

    def __init__(self, shape: NoteShape) -> None:
        super().__init__()
        self.shape = shape
        c = shape.channels
        self.start = nn.Linear(WIDTH, c)
        self.norms = nn.ModuleList(nn.LayerNorm(c) for _ in _DILATIONS)
        self.taps = nn.ModuleList(nn.Linear(3 * c, c) for _ in _DILATIONS)
        self.last = nn.LayerNorm(c)
        self.gate = nn.Linear(c, shape.gates)
        self.wide, self.deep = Branch(N_STATISTICS, shape), Branch(2 * c, shape)

    def learned_sums(self, x: Tensor, mask: Tensor, keep: Tensor | float = 1.0) -> Tensor:
        """What each note adds to the deep branch's sums: [n, WIDTH] -> [n, gates + 2 channels].

        Args:
            mask: [n, 1], 0 for the gaps of at least NOTES_BACK rows between joined pieces.
            keep: [n, channels] dropout of whole channels, in training.
        """
        h = self.start(x) * mask
        for norm, tap, (d, ahead) in zip(self.norms, self.taps, _DILATIONS, strict=True):
            y = norm(h) * mask
            y = F.pad(y, (0, 0, d, d) if ahead else (0, 0, 2 * d, 0))
            y = torch.cat((y[: len(h)], y[d : d + len(h)], y[2 * d :]), 1)
            h = (h + F.gelu(tap(y)) * keep) * mask
        h = self.last(h)
        weight = (0.02 + torch.sigmoid(self.gate(h))) * mask
        weighted = weight.repeat_interleave(self.shape.channels // self.shape.gates, 1) * h
        return torch.cat((weight, weighted, weighted * h), 1)

    def learned_statistics(self, sums: Tensor) -> Tensor:
        """Means and deviations of embeddings in windows: [n, gates + 2 c] -> [n, 2 c]."""
        c, gates = self.shape.channels, self.shape.gates
        weight = sums[:, :gates].clamp(min=1e-4).repeat_interleave(c // gates, 1)
        mean, square = sums[:, gates : gates + c] / weight, sums[:, gates + c :] / weight
        return torch.cat((mean, ((square - mean**2).clamp(min=0) + 1e-4).sqrt()), 1)


class NoteEnsemble(nn.Module):
    """Networks that differ only in the seed of their training, and the calibration of their average."""

    def __init__(self, shape: NoteShape) -> None:
        super().__init__()
        self.shape = shape
        self.members = nn.ModuleList(NoteNetwork(shape) for _ in range(shape.members))
        self.register_buffer("temperature", torch.ones(1))
        self.register_buffer("std_scale", torch.ones(N_DIMENSIONS))
        self.temperature: Tensor  # logits are divided by it
        self.std_scale: Tensor  # deviations are multiplied by it

    @property
    def networks(self) -> list[NoteNetwork]:
        return [cast(NoteNetwork, member) for member in self.members]

    def learned_sums(self, x: Tensor) -> Tensor:
        """What each note adds to the sums of all members' deep branches: [n, WIDTH] -> [n, members * k]."""
        mask = torch.ones(len(x), 1)
        return torch.cat([member.learned_sums(x, mask) for member in self.networks], 1)

    def forward(
        self, long: tuple[Tensor, Tensor], short: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mean [n, 2], deviation [n, 2] and scores [n, 4] of windows.

        Args:
            long: fixed statistics, and learned sums of all members, of the long windows.
            short: the same of the short ones.
        """
        heard, moved = [], []
        count = len(self.members)
        for member, *deep in zip(
            self.networks, long[1].chunk(count, 1), short[1].chunk(count, 1), strict=True
        ):
            one, other = map(member.learned_statistics, deep)
            for branch, inputs in ((member.wide, (long[0], short[0])), (member.deep, (one, other))):
                heard.append(branch(inputs[0]))
                moved.append(branch.movement(*inputs))
        logits, level, log_std = (torch.stack(part).mean(0) for part in zip(*heard, strict=True))
        scores = torch.softmax(logits / self.temperature, 1)
        return level + torch.stack(moved).mean(0), log_std.exp() * self.std_scale, scores
