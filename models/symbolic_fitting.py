"""Fitting the network over windows of notes, in closed form: quadrants of clips, then ratings of bars.

Kernel ridge regression, three times: quadrants from clips; level of valence and arousal from every few bars,
pieces counting alike; how far the level misses, found on pieces left out, for the deviation. Movement is a
ridge on what raters say more or less than the mean of their piece. No step is random: a fit takes seconds,
and the same pieces give the same weights.

Where nothing has quadrants, the signs of the ratings stand in for them; where nothing has ratings, each
quadrant's corner does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from moodstream.models.base import QUADRANTS
from moodstream.models.examples import Progress, silent
from moodstream.models.note_network import N_DIMENSIONS, SPREAD, Likeness, NoteNetwork, NoteShape
from moodstream.models.note_statistics import N_STATISTICS, group_weights
from moodstream.models.symbolic_data import Ints, Piece, Windows

Array = npt.NDArray[np.float64]

UPPER, RIGHT = (0, 1), (0, 3)  # quadrants of high arousal, of positive valence
CORNERS = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * 0.4  # where a quadrant lies when nothing is rated


@dataclass(frozen=True)
class Recipe:
    """How to fit."""

    projected: int = 192
    narrowness: float = 0.1  # of the kernels, against the mean square of their inputs
    clip_ridge: float = 0.3
    bar_ridge: float = 1.0
    deviation_ridge: float = 10.0
    every: int = 4  # every so many bars are remembered
    bars_a_piece: float = 20.0  # how much a piece counts, however many of its bars are remembered
    judged: float = 2.0  # how much the quadrants count among the inputs of the level
    settled: int = 4  # bars before which movement is not learned
    movement_ridge: float = 20_000.0
    left_out: int = 4  # parts of the pieces that are left out in turn, to see how far the level misses


def fit(
    pieces: Sequence[Piece],
    windows: Sequence[Windows],
    rows: Ints,
    recipe: Recipe,
    progress: Progress = silent,
) -> NoteNetwork:
    """The network for the pieces in `rows`."""
    clips = [row for row in rows if pieces[row].quadrant >= 0]
    rated = [row for row in rows if pieces[row].ratings is not None]
    center, scale, projection = _projection(windows, rows, recipe)
    space = _Space(center, scale, projection)

    progress("quadrants", 0.1)
    whole = space(np.concatenate([windows[row].whole for row in clips or rated]))
    truth = _quadrants(pieces, clips, rated)
    quadrants = _likeness(whole, truth, np.ones(len(whole)), recipe.narrowness, recipe.clip_ridge)

    progress("levels", 0.4)
    bars = [_Bars.of(pieces[row], windows[row], space) for row in rated or clips]
    network = NoteNetwork(NoteShape(projection.shape[1], len(whole), sum(len(b.kept(recipe)) for b in bars)))
    for name, value in (("center", center), ("scale", scale), ("projection", projection)):
        getattr(network, name).copy_(torch.from_numpy(value))
    network.quadrants = quadrants
    network.judged_scale.copy_(_judged_scale(network, bars, recipe))
    network.levels = _levels(network, bars, recipe)
    progress("movement", 0.9)
    network.movement.copy_(torch.from_numpy(_movement(bars, recipe)))
    return network.eval()


@dataclass(frozen=True)
class _Space:
    """From statistics to projected windows, as the network does it."""

    center: Array
    scale: Array
    projection: Array

    def __call__(self, statistics: npt.NDArray[np.floating]) -> Array:
        return np.clip((statistics - self.center) * self.scale, -SPREAD, SPREAD) @ self.projection


@dataclass(frozen=True)
class _Bars:
    """The rated bars of a piece (a clip without ratings is one bar)."""

    long: Array  # [m, d]
    near: Array
    far: Array
    ratings: Array  # [m, 2]
    moves: Array  # [m, 2] what movement is learned from
    group: str

    @classmethod
    def of(cls, piece: Piece, windows: Windows, space: _Space) -> "_Bars":
        ratings = CORNERS[[piece.quadrant]] if piece.ratings is None else piece.ratings
        moves = ratings if piece.moves is None else piece.moves
        return cls(space(windows.long), space(windows.near), space(windows.far), ratings, moves, piece.group)

    def kept(self, recipe: Recipe) -> Ints:
        """The bars that are remembered."""
        return np.arange(0, len(self.long), recipe.every)


def _projection(windows: Sequence[Windows], rows: Ints, recipe: Recipe) -> tuple[Array, Array, Array]:
    """Mean, one over deviation, and principal components of the statistics of windows, pieces alike."""
    every = [np.concatenate([windows[row].whole, windows[row].near]) for row in rows]
    statistics = np.concatenate(every)
    share = np.concatenate([np.full(len(s), 1 / len(s)) for s in every]) / len(every)
    center = share @ statistics
    scale = 1 / (np.sqrt(share @ (statistics - center) ** 2) + 1e-3)
    z = np.clip((statistics - center) * scale, -SPREAD, SPREAD) * group_weights()
    z -= share @ z
    _, axes = np.linalg.eigh((z * share[:, None]).T @ z)
    axes = axes[:, ::-1][:, : min(recipe.projected, N_STATISTICS)]
    axes *= np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])  # the same on every machine
    return center, scale, group_weights()[:, None] * axes


def _quadrants(pieces: Sequence[Piece], clips: Sequence[int], rated: Sequence[int]) -> Array:
    if clips:
        return np.eye(len(QUADRANTS))[[pieces[row].quadrant for row in clips]]
    level = np.array([_mean(_ratings(pieces[row])) for row in rated])
    return np.eye(len(QUADRANTS))[np.where(level[:, 1] >= 0, (level[:, 0] < 0) * 1, 2 + (level[:, 0] >= 0))]


def _ratings(piece: Piece) -> Array:
    if piece.ratings is None:
        raise ValueError(f"{piece.file} has no ratings")
    return piece.ratings


def _mean(values: Array) -> Array:
    """The mean of each column of what is known, 0 where nothing is."""
    known = np.isfinite(values)
    return np.asarray(np.where(known, values, 0).sum(0) / np.maximum(known.sum(0), 1))


def _likeness(x: Array, targets: Array, weight: Array, narrowness: float, ridge: float) -> Likeness:
    """Kernel ridge regression; an example of twice the weight is one seen twice. NaN targets are left out."""
    gamma = narrowness / np.mean(np.square(x).sum(1))
    squares = np.square(x).sum(1)
    kernel = np.exp(-gamma * np.maximum(squares[:, None] + squares - 2 * x @ x.T, 0))
    layer = Likeness(len(x), x.shape[1], targets.shape[1])
    known = np.isfinite(targets)
    mean = np.array(
        [
            np.average(t[k], weights=weight[k]) if k.any() else 0
            for t, k in zip(targets.T, known.T, strict=True)
        ]
    )
    weights = np.zeros_like(targets)
    for pattern in np.unique(known, axis=1).T if not known.all() else [np.ones(len(x), bool)]:
        columns = np.flatnonzero((known == pattern[:, None]).all(0))
        at = np.flatnonzero(pattern)
        system = kernel[np.ix_(at, at)] + np.diag(ridge / weight[at])
        weights[np.ix_(at, columns)] = np.linalg.solve(system, (targets - mean)[np.ix_(at, columns)])
    for name, value in (("examples", x), ("weights", weights), ("mean", mean), ("narrowness", [gamma])):
        getattr(layer, name).copy_(torch.as_tensor(np.asarray(value)))
    return layer


def _judged_scale(network: NoteNetwork, bars: Sequence[_Bars], recipe: Recipe) -> torch.Tensor:
    near = torch.from_numpy(np.concatenate([b.near for b in bars])).float()
    return recipe.judged / (network.quadrants(near).std(0) + 1e-3)


def _levels(network: NoteNetwork, bars: Sequence[_Bars], recipe: Recipe) -> Likeness:
    """Level, and log deviation: how far levels learned without a piece miss its ratings."""
    kept = [b.kept(recipe) for b in bars]
    windows = [
        np.concatenate([getattr(b, name)[k] for b, k in zip(bars, kept, strict=True)])
        for name in ("long", "near")
    ]
    with torch.inference_mode():
        x = network.described(*(torch.from_numpy(w).float() for w in windows)).double().numpy()
    ratings = np.concatenate([b.ratings[k] for b, k in zip(bars, kept, strict=True)])
    weight = np.concatenate([np.full(len(k), recipe.bars_a_piece / len(k)) for k in kept])
    part = _parts([b.group for b in bars], recipe.left_out)[
        np.repeat(np.arange(len(bars)), list(map(len, kept)))
    ]
    missed = np.full_like(ratings, np.nan)
    for one in range(recipe.left_out):
        out = part == one
        if out.any() and not out.all():
            layer = _likeness(x[~out], ratings[~out], weight[~out], recipe.narrowness, recipe.bar_ridge)
            missed[out] = np.abs(layer(torch.from_numpy(x[out]).float()).numpy() - ratings[out])
    level = _likeness(x, ratings, weight, recipe.narrowness, recipe.bar_ridge)
    deviation = _likeness(x, np.log(missed + 0.03), weight, recipe.narrowness, recipe.deviation_ridge)
    both = Likeness(len(x), x.shape[1], 2 * N_DIMENSIONS)
    for name in ("examples", "narrowness"):
        getattr(both, name).copy_(getattr(level, name))
    both.weights.copy_(torch.cat((level.weights, deviation.weights), 1))
    both.mean.copy_(torch.cat((level.mean, deviation.mean)))
    return both


def _parts(groups: Sequence[str], count: int) -> Ints:
    """A part for each piece, groups together, the largest groups dealt out first."""
    names, of, size = np.unique(np.array(groups), return_inverse=True, return_counts=True)
    part, filled = np.zeros(len(names), np.int64), np.zeros(count)
    for group in np.argsort(-size, kind="stable"):
        part[group] = int(filled.argmin())
        filled[part[group]] += size[group]
    return part[of]


def _movement(bars: Sequence[_Bars], recipe: Recipe) -> Array:
    """Ridge of how far a piece's raters are from their mean on how its windows differ from the long one."""
    change, moved = [], []
    for b in bars:
        at = np.arange(len(b.long)) >= min(recipe.settled, len(b.long) - 1)
        change.append(np.concatenate((b.near - b.long, b.far - b.long), 1)[at])
        moved.append(np.nan_to_num(b.moves[at] - _mean(b.moves[at])))
    x, y = np.concatenate(change), np.concatenate(moved)
    strength = recipe.movement_ridge * x.var(0).mean()
    return np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]) + 1e-9 * np.eye(x.shape[1]), x.T @ y)
