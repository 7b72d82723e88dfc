"""Fitting the music network: ridge regression in closed form, and a small network of segments.

Conventions: `rows` index examples, `Sounds` holds the sums of their cells. A head learns from each example as
a whole and from random stretches of it, which are what a curve shows it. Corpora count as much as they are
told to, whatever their size; an example without a certain label is left out of that label's regression only.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from moodstream.models import harmony, pooling
from moodstream.models.base import CELL_FRAMES, Float
from moodstream.models.examples import FEATURES_VERSION, Example, Progress, cache_folder, silent
from moodstream.models.features import frames_of
from moodstream.models.music_network import (
    N_ALL,
    N_FIXED,
    KernelHead,
    MusicNetwork,
    MusicShape,
    all_statistics,
    likeness,
    segment_network,
)
from moodstream.models.pooling import LEVEL_STATISTICS, cell_sums
from moodstream.models.segment_views import SpanViews, spans_of
from moodstream.models.self_learning import SelfRecipe, fit_segments

SEGMENT_CELLS, SEGMENT_HOP = 10, 5  # length of a segment, and how far one begins after the other
SEGMENTS = SelfRecipe(epochs=20, steps=25, rate=2e-3, decay=0.1, judged=False, mixing=0.0)  # plain training
HARMONY_VERSION = 1  # count up when `harmony` changes
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MusicRecipe:
    """How to fit."""

    width: float = 0.5  # of the kernel: how fast likeness falls with the mean squared distance
    penalty: float = 0.6  # ridge
    harmony: float = 1.0  # weight of all statistics of harmony together, those of the front end being 1
    stretches: int = 1  # of each example, beside the whole
    cells: tuple[int, int] = (10, 24)  # their length
    stretch: float = 0.3  # how much one counts
    segments: SelfRecipe = SEGMENTS  # of the network of segments
    segment_share: float = (
        2.0  # of its logits beside those of the kernel, about what their calibration asks for
    )


@dataclass(frozen=True)
class Sounds:
    """Sums of the cells of all examples, one after the other."""

    sums: Float  # [cells, N_FIXED]
    cells: Rows  # [examples + 1] where each begins

    def statistics(self, spans: Sequence[tuple[int, int]]) -> Tensor:
        """Statistics [n, N_ALL] of spans of cells."""
        whole = np.stack([self.sums[start:stop].sum(0) for start, stop in spans])
        return all_statistics(torch.from_numpy(whole))

    def whole(self, rows: Rows) -> list[tuple[int, int]]:
        """The spans of whole examples."""
        return [(int(self.cells[row]), int(self.cells[row + 1])) for row in rows]


@dataclass(frozen=True)
class Labels:
    """What examples are labelled with; NaN where they are not."""

    rendered: npt.NDArray[np.bool_]  # [n] by a synthesiser
    weight: npt.NDArray[np.float64]  # [n] of the example
    dimensions: npt.NDArray[np.float64]  # [n, 2]
    quadrants: npt.NDArray[np.float64]  # [n, 4]
    moods: npt.NDArray[np.float64]  # [n, moods]


def prepare_sums(
    examples: Sequence[Example], cache: str | os.PathLike[str] | None = None, progress: Progress = silent
) -> Sounds:
    """The sums of the cells of all examples, from the cache where they are there (see `examples.prepare`)."""
    parts, counts = [], [0]
    for corpus in dict.fromkeys(example.corpus for example in examples):
        mine = [i for i, example in enumerate(examples) if example.corpus == corpus]
        if mine != list(range(mine[0], mine[-1] + 1)):
            raise ValueError(f"the examples of {corpus} do not stand side by side")
        sums, cells = _corpus_sums([examples[i] for i in mine], cache, progress)
        parts.append(sums)
        counts += (cells[1:] + counts[-1]).tolist()
    return Sounds(np.concatenate(parts), np.array(counts))


def _corpus_sums(
    examples: Sequence[Example], cache: str | os.PathLike[str] | None, progress: Progress
) -> tuple[Float, Rows]:
    content = [FEATURES_VERSION, HARMONY_VERSION, N_FIXED, [example.key for example in examples]]
    name = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:20]
    folder = cache_folder(cache) / "features" / f"music-{name}"
    if not (folder / "cells.npy").exists():
        _compute(examples, folder, progress)
    of = np.load(folder / "cells.npy")
    return np.memmap(folder / "sums.raw", np.float32, "r", shape=(int(of[-1]), N_FIXED)), of


def _compute(examples: Sequence[Example], folder: Path, progress: Progress) -> None:
    """Sums into `sums.raw`, going on where an earlier run was stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "counts.raw").open("a+b") as counts, (folder / "sums.raw").open("a+b") as sums:
        counts.seek(0)
        done = np.frombuffer(counts.read(), np.int64)
        sums.truncate(int(done.sum()) * N_FIXED * 4)
        cells = [0, *np.cumsum(done).tolist()]
        for i, example in enumerate(examples[len(done) :], len(done)):
            progress(f"features of {example.corpus}", i / len(examples))
            with torch.inference_mode():
                found = sums_of(example.sound()).numpy()
            sums.write(found.tobytes())
            sums.flush()
            counts.write(np.int64(len(found)).tobytes())
            counts.flush()
            cells.append(cells[-1] + len(found))
    np.save(folder / "cells.npy", np.array(cells))  # last: its presence says that all is there


def sums_of(sound: Float) -> Tensor:
    """Sums [cells, N_FIXED] of a whole sound [n]."""
    frames = frames_of(sound)
    padded = torch.nn.functional.pad(frames, (0, 0, 0, -len(frames) % CELL_FRAMES))
    return torch.cat((cell_sums(padded, len(frames)), harmony.harmony_of(sound)), 1)


def fit(
    sounds: Sounds, labels: Labels, rows: Rows, shape: MusicShape, recipe: MusicRecipe, seed: int = 0
) -> MusicNetwork:
    """A network that learned from the examples `rows`."""
    network = MusicNetwork(shape)
    draw = np.random.default_rng(seed)
    recorded, rendered = rows[~labels.rendered[rows]], rows[labels.rendered[rows]]
    if len(recorded):
        _fit_head(network.recorded, sounds, labels, recorded, recipe, draw, LEVEL_STATISTICS)
        _fit_segments(network, sounds, labels, recorded, recipe, seed)
    if len(rendered):
        _fit_head(network.rendered, sounds, labels, rendered, recipe, draw, [])
    some = [len(recorded) and np.isfinite(labels.quadrants[recorded]).any(), len(rendered)]
    if all(some):
        _fit_gate(network, sounds, recorded, rendered)
    else:
        network.gate[-1] = 20.0 if some[1] else -20.0  # who never learned quadrants has no say
    return network.eval()


def _fit_head(
    head: KernelHead,
    sounds: Sounds,
    labels: Labels,
    rows: Rows,
    recipe: MusicRecipe,
    draw: np.random.Generator,
    ignored: Sequence[int],
) -> None:
    whole = sounds.statistics(sounds.whole(rows))
    head.center.copy_(whole.mean(0))
    head.scale.copy_(1 / whole.std(0).clamp(min=1e-3))
    weight = torch.ones(N_ALL)
    weight[list(ignored)] = 0
    used = int(weight[: pooling.N_STATISTICS].sum())
    weight[: pooling.N_STATISTICS] *= (recipe.width / used / (1 + recipe.harmony)) ** 0.5
    share = recipe.harmony / (1 + recipe.harmony)
    weight[pooling.N_STATISTICS :] *= (recipe.width * share / harmony.N_STATISTICS) ** 0.5
    head.weight.copy_(weight)
    points = [head.place(whole)]
    owner, counts = [rows], [np.ones(len(rows))]
    for _ in range(recipe.stretches):
        spans = [_stretch(start, stop, recipe.cells, draw) for start, stop in sounds.whole(rows)]
        points.append(head.place(sounds.statistics(spans)))
        owner.append(rows)
        counts.append(np.full(len(rows), recipe.stretch))
    who, count = np.concatenate(owner), np.concatenate(counts)
    size = min(len(head.landmarks), len(rows))
    chosen = np.sort(draw.permutation(len(rows))[:size])
    head.landmarks[:size] = points[0][chosen]
    head.pull.zero_()
    targets = np.concatenate(
        (labels.dimensions, np.full((len(labels.weight), 2), np.nan), labels.quadrants, labels.moods), 1
    )[:, : head.pull.shape[1]]
    every = torch.cat(points)
    groups: dict[bytes, list[int]] = {}  # outputs that the same examples are labelled with
    for column in (*range(2), *range(4, targets.shape[1])):
        groups.setdefault(np.isfinite(targets[rows, column]).tobytes(), []).append(column)
    for columns in groups.values():
        has = np.isfinite(targets[who, columns[0]])
        if not has.any():
            continue
        truth = torch.from_numpy(targets[who[has]][:, columns])
        strength = torch.from_numpy((labels.weight[who] * count)[has])
        pull = _ridge(every[has], head.landmarks[:size], truth, strength, recipe.penalty)
        head.pull[:size, columns], head.pull[-1, columns] = pull[:-1], pull[-1]
    _fit_deviation(head, points[0], targets[rows, :2], labels.weight[rows], size, recipe.penalty)


def _ridge(points: Tensor, landmarks: Tensor, truth: Tensor, strength: Tensor, penalty: float) -> Tensor:
    """Pulls [m + 1, k] of landmarks [m, d] that fit truth [n, k] at points [n, d]; the last is the bias."""
    strength = strength / strength.mean()
    bias = (strength[:, None] * truth).sum(0) / strength.sum()
    cross, own = likeness(points, landmarks).double(), likeness(landmarks, landmarks).double()
    weighted = cross.T * strength
    system = weighted @ cross + penalty * own
    system.diagonal().add_(1e-6 * float(system.diagonal().mean()))
    return torch.cat((torch.linalg.solve(system, weighted @ (truth - bias)), bias[None])).float()


def _fit_deviation(
    head: KernelHead,
    points: Tensor,
    truth: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    size: int,
    penalty: float,
) -> None:
    """Outputs 2 and 3: the logarithm of what the regression misses of examples that it leaves out."""
    has = np.isfinite(truth).all(1)
    if not has.any():
        return
    inside, landmarks = points[torch.from_numpy(has)], head.landmarks[:size]
    strength = torch.from_numpy(weight[has] / weight[has].mean())
    cross, own = likeness(inside, landmarks).double(), likeness(landmarks, landmarks).double()
    weighted = cross.T * strength
    system = weighted @ cross + penalty * own
    system.diagonal().add_(1e-6 * float(system.diagonal().mean()))
    known = torch.from_numpy(truth[has])
    bias = (strength[:, None] * known).sum(0) / strength.sum()
    solved = torch.linalg.solve(system, weighted)  # [m, n]
    leverage = (cross * solved.T).sum(1, keepdim=True).clamp(max=0.95)
    missed = (known - bias - cross @ (solved @ (known - bias))) / (1 - leverage)
    logarithm = torch.log(missed.abs() + 0.05)
    pull = _ridge(inside, landmarks, logarithm, strength, 3 * penalty)
    head.pull[:size, 2:4], head.pull[-1, 2:4] = pull[:-1], pull[-1]


def _fit_segments(
    network: MusicNetwork, sounds: Sounds, labels: Labels, rows: Rows, recipe: MusicRecipe, seed: int
) -> None:
    """Learn quadrants of segments from those of the recordings `rows`; without any, no share."""
    known = rows[np.isfinite(labels.quadrants[rows]).all(1)]
    if not network.shape.segments or not len(known):
        return
    clips = dict(zip(known.tolist(), sounds.whole(known), strict=True))
    values, cuts = spans_of(sounds.sums, clips, SEGMENT_CELLS, SEGMENT_HOP, all_statistics)
    truth = torch.from_numpy(labels.quadrants[cuts.clip]).float()
    views = SpanViews(network.segment_place(values), cuts, truth, torch.ones_like(truth, dtype=torch.bool))
    torch.manual_seed(seed)
    fresh = segment_network(N_ALL, truth.shape[1], network.shape.segments)
    learned, _ = fit_segments(fresh, views, np.arange(len(truth)), recipe.segments, seed)
    network.segments.load_state_dict(learned.state_dict())
    network.segment_share.fill_(recipe.segment_share)


def _fit_gate(network: MusicNetwork, sounds: Sounds, recorded: Rows, rendered: Rows) -> None:
    """A linear ridge on which of the two a sound is, made steep enough to decide."""
    rows = np.concatenate((recorded, rendered))
    head = network.recorded
    z = ((sounds.statistics(sounds.whole(rows)) - head.center) * head.scale).clamp(-4, 4).double()
    is_rendered = torch.from_numpy(np.repeat([-1.0, 1.0], [len(recorded), len(rendered)]))
    weight = torch.from_numpy(
        np.repeat([1 / len(recorded), 1 / len(rendered)], [len(recorded), len(rendered)])
    )
    weight = weight / weight.mean()
    centre = (weight[:, None] * z).mean(0)
    inside = z - centre
    system = (inside.T * weight) @ inside + 100.0 * torch.eye(N_ALL, dtype=torch.float64)
    slope = torch.linalg.solve(system, inside.T @ (weight * is_rendered))
    network.gate[:-1] = (8 * slope).float()
    network.gate[-1] = float(-8 * (slope @ centre))


def _stretch(start: int, stop: int, cells: tuple[int, int], draw: np.random.Generator) -> tuple[int, int]:
    size = int(draw.integers(cells[0], cells[1] + 1))
    if stop - start <= size:
        return start, stop
    first = start + int(draw.integers(0, stop - start - size + 1))
    return first, first + size


def balanced(corpus: Sequence[str], counts: dict[str, float]) -> npt.NDArray[np.float64]:
    """Weight [n] of each example, so that every corpus counts in all as much as it is told to."""
    names, of, size = np.unique(np.array(corpus), return_inverse=True, return_counts=True)
    each = np.array([counts.get(str(name), 1.0) for name in names]) / size
    weight: npt.NDArray[np.float64] = each[of] / each[of].mean()
    return weight


def settings(recipe: MusicRecipe) -> dict[str, Any]:
    """What decides a fit, for its hash."""
    return {**asdict(recipe), "harmony version": HARMONY_VERSION}
