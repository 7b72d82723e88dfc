"""Segments of clips as networks hear them: statistics of a span of cells.

Conventions: a clip is a run of places that a segment can begin at; a segment is known by its index and
begins, as it is, at `start`. A weak view begins a little earlier or later, within the clip. A strong one has
noise and gaps on top. See `self_learning.Segments`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from moodstream.models.base import Float
from moodstream.models.self_learning import Rows


@dataclass(frozen=True)
class Cuts:
    """Where the segments of clips lie; every array has a value a segment."""

    clip: Rows  # the example that it was cut from
    start: Rows  # where it begins
    first: Rows  # the first place that a segment of its clip can begin at
    last: Rows  # and the last one

    def moved(self, rows: Rows, far: int, draw: np.random.Generator) -> Rows:
        """Places [b] up to `far` from where segments begin, within their clips."""
        away = draw.integers(-far, far + 1, len(rows))
        return np.clip(self.start[rows] + away, self.first[rows], self.last[rows])

    def of(self, clips: Rows) -> Rows:
        """The segments of some examples."""
        return np.flatnonzero(np.isin(self.clip, clips))


@dataclass(frozen=True)
class SpanViews:
    """Statistics of spans of cells, standardised."""

    values: Tensor  # [places, d]
    cuts: Cuts
    labels: Tensor
    allowed: Tensor
    far: int = 3  # cells that a view is moved by, at most
    noise: float = 0.3  # in deviations
    gaps: float = 0.15  # share of the statistics that are missing

    def plain(self, rows: Rows) -> Tensor:
        return self.values[self.cuts.start[rows]]

    def weak(self, rows: Rows, draw: np.random.Generator) -> Tensor:
        return self.values[self.cuts.moved(rows, self.far, draw)]

    def strong(self, rows: Rows, draw: np.random.Generator) -> Tensor:
        view = self.weak(rows, draw)
        size = tuple(view.shape)
        view = view + self.noise * torch.from_numpy(draw.standard_normal(size, np.float32))
        return view * torch.from_numpy(draw.random(size, np.float32) >= self.gaps)


def spans_of(
    sums: Float,
    clips: Mapping[int, tuple[int, int]],
    length: int,
    hop: int,
    describe: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Cuts]:
    """Statistics [places, d] of all spans of `length` cells, and a segment every `hop` cells.

    Args:
        sums: [cells, m] of all examples. clips: examples and their cells, from the first to before the last;
            one that is shorter than `length` is a segment as a whole. describe: sums [n, m] to statistics.
    """
    values: list[Tensor] = []
    rows: list[tuple[int, int, int, int]] = []
    at = 0
    for clip, (begin, end) in clips.items():
        size = min(length, end - begin)
        total = np.cumsum(sums[begin:end].astype(np.float64), 0)
        total = np.concatenate((np.zeros((1, total.shape[1])), total))
        values.append(describe(torch.from_numpy((total[size:] - total[:-size]).astype(np.float32))))
        last = at + len(values[-1]) - 1
        rows += [(int(clip), start, at, last) for start in range(at, last + 1, hop)]
        at = last + 1
    return torch.cat(values), Cuts(*np.array(rows, np.int64).T)


def swapped(cuts: Cuts, labels: Tensor, groups: Sequence[str], share: float, seed: int) -> tuple[Cuts, Rows]:
    """Segments some of which come from another clip of the same group, with another label.

    Args:
        labels: [n, k] of segments. groups: [n] of segments, such as the speaker. share: of those with label.

    Returns:
        The cuts, which still say the clip that each passes for, and the segment [n] that each really is.
    """
    draw = np.random.default_rng(seed)
    truth = np.arange(len(cuts.clip))
    column = np.where(labels.sum(1).numpy() > 0, labels.argmax(1).numpy(), -1)
    group = np.unique(np.asarray(groups), return_inverse=True)[1]
    for i in np.flatnonzero((column >= 0) & (draw.random(len(truth)) < share)):
        others = np.flatnonzero((group == group[i]) & (column >= 0) & (column != column[i]))
        if len(others):
            truth[i] = draw.choice(others)
    return replace(cuts, start=cuts.start[truth], first=cuts.first[truth], last=cuts.last[truth]), truth
