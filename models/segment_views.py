"""Segments of clips as networks hear them: statistics of a span of cells (music), or its frames (speech).

Conventions: a clip is a run of places (cells or frames) that a segment can begin at; a segment is known by
its index and begins, as it is, at `start`. A weak view begins a little earlier or later, within the clip. A
strong one is changed on top: statistics with noise and gaps; frames with other vocal tracts, speeds, colours
and levels, and with bands and moments left out. See `self_learning.Segments`. Source: SpecAugment, Park et
al. (2019); VTLP, Jaitly and Hinton (2013).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from moodstream.models.base import CELL_FRAMES, Float
from moodstream.models.examples import Prepared
from moodstream.models.features import COLUMNS, N_MELS
from moodstream.models.music_network import all_statistics
from moodstream.models.self_learning import Rows

TRIM_DB = 35.0  # below the loudest frame: not part of a clip (as in `joined`)


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


def spans_of(sums: Float, cells: Rows, clips: Rows, length: int, hop: int) -> tuple[Tensor, Cuts]:
    """Statistics [places, N_ALL] of all spans of `length` cells, and a segment every `hop` cells.

    Args:
        sums: [cells, N_FIXED] of all examples, one after the other. cells: [examples + 1] where each begins.
        clips: the examples that are wanted; one that is shorter than `length` is a segment as a whole.
    """
    values: list[Tensor] = []
    rows: list[tuple[int, int, int, int]] = []
    at = 0
    for clip in clips:
        begin, end = int(cells[clip]), int(cells[clip + 1])
        size = min(length, end - begin)
        total = np.cumsum(sums[begin:end].astype(np.float64), 0)
        total = np.concatenate((np.zeros((1, total.shape[1])), total))
        values.append(all_statistics(torch.from_numpy((total[size:] - total[:-size]).astype(np.float32))))
        last = at + len(values[-1]) - 1
        rows += [(int(clip), start, at, last) for start in range(at, last + 1, hop)]
        at = last + 1
    return torch.cat(values), Cuts(*np.array(rows, np.int64).T)


@dataclass(frozen=True)
class FrameViews:
    """Stretches of frames [length, F]."""

    frames: Tensor  # [places, F] of float16
    cuts: Cuts
    labels: Tensor
    allowed: Tensor
    length: int
    far: int = 16  # frames that a view is moved by, at most
    speed: float = 0.15  # largest relative change of speed
    shift: float = 0.1  # largest relative shift of the bands
    colour: float = 0.2  # deviation of a random equaliser, in units of log-mel
    level: float = 0.05  # and of the level
    bands: int = 8  # that are left out at once, at most; twice
    moments: int = 12  # frames that are left out at once, at most; twice

    def plain(self, rows: Rows) -> Tensor:
        return self._cut(self.cuts.start[rows])

    def weak(self, rows: Rows, draw: np.random.Generator) -> Tensor:
        return self._cut(self.cuts.moved(rows, self.far, draw))

    def strong(self, rows: Rows, draw: np.random.Generator) -> Tensor:
        start = self.cuts.moved(rows, self.far, draw)
        pace = 1 + draw.uniform(-self.speed, self.speed, (len(rows), 1))
        at = np.minimum(start[:, None] + pace * np.arange(self.length), self._end(rows)[:, None])
        low = at.astype(np.int64)
        near = torch.from_numpy((at - low).astype(np.float32))[..., None]
        high = np.minimum(low + 1, self._end(rows)[:, None])
        frames = torch.lerp(self.frames[low].float(), self.frames[high].float(), near)
        bands = self._masked(self._coloured(frames[..., :N_MELS], draw), draw)
        return torch.cat((bands, frames[..., N_MELS:]), -1)

    def _cut(self, start: Rows) -> Tensor:
        return self.frames[start[:, None] + np.arange(self.length)].float()

    def _end(self, rows: Rows) -> Rows:
        end: Rows = self.cuts.last[rows] + self.length - 1
        return end

    def _coloured(self, bands: Tensor, draw: np.random.Generator) -> Tensor:
        """Another vocal tract, equaliser and level."""
        size = len(bands)
        factor = 1 + torch.from_numpy(draw.uniform(-self.shift, self.shift, (size, 1))).float()
        at = (torch.arange(N_MELS) * factor).clamp(0, N_MELS - 1)
        low = at.floor().long().clamp(max=N_MELS - 2)
        spread = torch.zeros(size, N_MELS, N_MELS)  # [from, to]
        spread.scatter_(1, low[:, None], (1 - (at - low))[:, None])
        spread.scatter_(1, (low + 1)[:, None], (at - low)[:, None])
        knots = torch.from_numpy(draw.normal(0, self.colour, (size, 1, 5))).float()
        level = torch.from_numpy(draw.normal(0, self.level, (size, 1, 1))).float()
        curve = F.interpolate(knots, N_MELS, mode="linear", align_corners=True)
        return bands @ spread + curve + level

    def _masked(self, bands: Tensor, draw: np.random.Generator) -> Tensor:
        """Some bands and moments replaced by their mean."""
        size, length, _ = bands.shape
        gone = torch.zeros(size, length, N_MELS, dtype=torch.bool)
        for most, count, axis in ((self.bands, N_MELS, 1), (self.moments, length, 2)):
            place = np.arange(count)[None]
            for _ in range(2):
                wide = draw.integers(0, most + 1, (size, 1))
                begin = draw.integers(0, count - wide + 1)
                gone |= torch.from_numpy((place >= begin) & (place < begin + wide)).unsqueeze(axis)
        return torch.where(gone, bands.mean(1, keepdim=True), bands)


def frames_of_clips(
    prepared: Prepared, clips: Sequence[int] | Rows, length: int, hop: int
) -> tuple[Tensor, Cuts]:
    """Frames [places, F] of examples, silence at their ends cut off, and a segment every `hop` frames.

    A clip shorter than `length` is repeated until it is one segment; the last one ends where the clip does.
    """
    parts: list[Float] = []
    rows: list[tuple[int, int, int, int]] = []
    at = 0
    for clip in clips:
        item = int(clip) * prepared.variants
        begin = int(prepared.cells[item]) * CELL_FRAMES
        frames = trimmed(prepared.frames[begin : begin + int(prepared.lengths[item])])
        if len(frames) < length:
            frames = np.resize(frames, (length, frames.shape[1]))
        last = at + len(frames) - length
        starts = range(at, last + 1, hop)
        rows += [(int(clip), start, at, last) for start in starts]
        if last - starts[-1] > hop // 2:
            rows.append((int(clip), last, at, last))
        parts.append(frames)
        at += len(frames)
    return torch.from_numpy(np.concatenate(parts)), Cuts(*np.array(rows, np.int64).T)


def trimmed(frames: Float) -> Float:
    """Frames [t, F] without the silence at both ends; all of them if there is nothing but silence."""
    level_db = 20 * frames[:, COLUMNS.descriptors.start].astype(np.float32)  # ten times the decimal logarithm
    loud = np.flatnonzero(level_db > level_db.max(initial=-np.inf) - TRIM_DB)
    return frames[loud[0] : loud[-1] + 1] if len(loud) else frames


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
