"""Fitting the network over notes: quadrants of clips and ratings of bars, on both branches at once.

Each step, the wide branch sees random crops of whole clips and all bars of some rated pieces, the deep
branch shorter crops whose notes it embeds. Few steps: the network begins to learn its songs by heart after
some hundreds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from moodstream.models.examples import Progress, silent
from moodstream.models.note_features import STEP_S, WIDTH
from moodstream.models.note_network import (
    LONG,
    NOTES_BACK,
    SHORT,
    Branch,
    Heard,
    NoteEnsemble,
    NoteNetwork,
    NoteShape,
    fixed_statistics,
    window,
)
from moodstream.models.symbolic_data import Ints, Piece, Version

UPPER, RIGHT = (0, 1), (0, 3)  # quadrants of high arousal, of positive valence


@dataclass(frozen=True)
class Recipe:
    """How to fit; the defaults take a few minutes on one core."""

    steps: int = 250
    clips: int = 64  # of the wide branch, a step
    deep_clips: int = 12  # of the deep branch
    pieces: int = 6  # of rated pieces for the wide branch, a step
    rate: float = 2e-3
    decay: float = 0.05
    ema: float = 0.99
    smoothing: float = 0.05
    signs: float = 0.3  # how much the sign of a clip's valence and arousal teaches the level
    steepness: float = 8.0  # from a level to the odds of its sign
    longest: int = 128  # notes of a clip that the deep branch sees
    rated_notes: int = 192  # notes of a rated piece that it sees


def fit(
    pieces: Sequence[Piece],
    table: Sequence[Sequence[Version]],
    rows: Ints,
    recipe: Recipe,
    seed: int,
    progress: Progress = silent,
) -> NoteEnsemble:
    """Networks for the pieces in `rows`, each from its own seed."""
    ensemble = NoteEnsemble(NoteShape())
    for i, member in enumerate(ensemble.members):
        torch.manual_seed(1000 * seed + i)
        fitted = _fit_member(pieces, table, rows, recipe, 1000 * seed + i, partial(_counted, progress, i))
        member.load_state_dict(fitted.state_dict())
    return ensemble.eval()


def _counted(progress: Progress, member: int, what: str, share: float) -> None:
    progress(f"network {member + 1}, {what}", share)


def _fit_member(
    pieces: Sequence[Piece],
    table: Sequence[Sequence[Version]],
    rows: Ints,
    recipe: Recipe,
    seed: int,
    progress: Progress,
) -> NoteNetwork:
    """One network for the pieces in `rows`."""
    draw = np.random.default_rng(seed)
    network = NoteNetwork(NoteShape())
    clips = np.array([row for row in rows if pieces[row].quadrant >= 0])
    rated = [_Rated.of(pieces[row], table[row]) for row in rows if pieces[row].ratings is not None]
    spread = torch.from_numpy(np.concatenate([r.ratings.numpy() for r in rated]).std(0))
    with torch.no_grad():
        plain = torch.cat([_whole(table[row][0]) for row in clips] + [r.long[0] for r in rated])
        network.wide.center.copy_(plain.mean(0))
        network.wide.scale.copy_(1 / (plain.std(0) + 1e-3))
    parameters = list(network.parameters())
    kept = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, recipe.steps, pct_start=0.1)
    network.train()
    for step in range(recipe.steps):
        loss = _wide_loss(network, pieces, table, clips, rated, spread, recipe, draw)
        loss = loss + _deep_loss(network, pieces, table, clips, rated, spread, recipe, draw)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 2.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            for old, new in zip(kept, parameters, strict=True):
                old.lerp_(new, 1 - min(recipe.ema, (step + 1) / (step + 10)))
        if step % 25 == 0:
            progress("steps", step / recipe.steps)
    with torch.no_grad():
        for old, new in zip(kept, parameters, strict=True):
            new.copy_(old)
    return network.eval()


@dataclass(frozen=True)
class _Rated:
    """A rated piece in all versions: statistics of the windows around each bar, and what cropping needs."""

    versions: Sequence[Version]
    edges_s: npt.NDArray[np.float64]
    ratings: Tensor  # [m, 2]
    long: list[Tensor]  # [m, N_STATISTICS] for each version
    short: list[Tensor]

    @classmethod
    def of(cls, piece: Piece, made: Sequence[Version]) -> "_Rated":
        if piece.edges_s is None or piece.ratings is None:
            raise ValueError(f"{piece.file} has no ratings")
        windows: list[list[Tensor]] = [[], []]
        for version in made:
            sums = torch.from_numpy(version.sums)
            middle = _middles(piece.edges_s / version.speed, len(sums))
            for out, span in zip(windows, (LONG, SHORT), strict=True):
                all_sums, seconds = window(sums, *span)
                out.append(fixed_statistics(all_sums[middle], seconds[middle]))
        ratings = torch.from_numpy(piece.ratings).float()
        return cls(made, piece.edges_s, ratings, *windows)


def _middles(edges_s: npt.NDArray[np.float64], cells: int) -> Tensor:
    middle = ((edges_s[1:] + edges_s[:-1]) / 2 / STEP_S).astype(int)
    return torch.from_numpy(np.clip(middle, 0, cells - 1))


def _whole(version: Version) -> Tensor:
    sums = torch.from_numpy(version.sums).sum(0, keepdim=True)
    return fixed_statistics(sums, torch.tensor([version.seconds]))


def _wide_loss(
    network: NoteNetwork,
    pieces: Sequence[Piece],
    table: Sequence[Sequence[Version]],
    clips: Ints,
    rated: Sequence[_Rated],
    spread: Tensor,
    recipe: Recipe,
    draw: np.random.Generator,
) -> Tensor:
    sums, seconds = [], []
    chosen = draw.choice(clips, recipe.clips)
    for row in chosen:
        version = table[row][int(draw.integers(len(table[row])))]
        count = len(version.sums)
        size = count if draw.random() < 0.4 else max(int(count * draw.uniform(0.5, 1)), min(count, 10))
        first = int(draw.integers(0, count - size + 1))
        sums.append(version.sums[first : first + size].sum(0))
        seconds.append(size * STEP_S)
    statistics = fixed_statistics(torch.from_numpy(np.array(sums)), torch.tensor(seconds))
    loss = _quadrant_loss(network.wide(statistics), pieces, chosen, recipe)
    parts = [(r, int(draw.integers(len(r.versions)))) for r in _some(rated, recipe.pieces, draw)]
    long = torch.cat([r.long[v] for r, v in parts])
    short = torch.cat([r.short[v] for r, v in parts])
    ratings = torch.cat([r.ratings for r, _ in parts])
    owner = torch.repeat_interleave(
        torch.arange(len(parts)), torch.tensor([len(r.ratings) for r, _ in parts])
    )
    return loss + _rating_loss(network.wide, long, short, ratings, owner, spread)


def _deep_loss(
    network: NoteNetwork,
    pieces: Sequence[Piece],
    table: Sequence[Sequence[Version]],
    clips: Ints,
    rated: Sequence[_Rated],
    spread: Tensor,
    recipe: Recipe,
    draw: np.random.Generator,
) -> Tensor:
    chosen = draw.choice(clips, recipe.deep_clips)
    crops, owners = [], []
    for row in chosen:
        version = table[row][int(draw.integers(len(table[row])))]
        size = min(len(version.x), recipe.longest)
        first = int(draw.integers(0, len(version.x) - size + 1))
        crops.append(version.x[first : first + size])
    cut = []
    for r in _some(rated, 2, draw):
        version = r.versions[int(draw.integers(len(r.versions)))]
        size = min(len(version.x), recipe.rated_notes)
        first = int(draw.integers(0, len(version.x) - size + 1))
        crops.append(version.x[first : first + size])
        cut.append((r, version, first, size))
    owners = [np.full(len(crop) + NOTES_BACK, i) for i, crop in enumerate(crops)]
    gap = np.zeros((NOTES_BACK, WIDTH), np.float16)
    x = torch.from_numpy(np.concatenate([part for crop in crops for part in (crop, gap)]).astype(np.float32))
    mask = torch.from_numpy(np.concatenate([np.repeat([1, 0], (len(c), NOTES_BACK)) for c in crops])).float()[
        :, None
    ]
    owner = torch.from_numpy(np.concatenate(owners))
    keep = (torch.rand(len(crops), network.shape.channels) > 0.1).float()[owner] / 0.9
    sums = network.learned_sums(x, mask, keep)
    pooled = torch.zeros(len(crops), sums.shape[1]).index_add(0, owner, sums)
    heard = network.deep(network.learned_statistics(pooled[: len(chosen)]))
    loss = _quadrant_loss(heard, pieces, chosen, recipe)
    at = sum(len(crop) + NOTES_BACK for crop in crops[: len(chosen)])
    parts: list[list[Tensor]] = [[], [], [], []]
    for i, (r, version, first, size) in enumerate(cut):
        cell = version.cell[first : first + size]
        count = int(cell[-1] - cell[0]) + 1
        cells = torch.zeros(count, sums.shape[1]).index_add(
            0, torch.from_numpy(cell - cell[0]), sums[at : at + size]
        )
        at += size + NOTES_BACK
        edges = r.edges_s / version.speed / STEP_S - cell[0]
        inside = np.flatnonzero((edges[:-1] >= 0) & (edges[1:] <= count))
        if len(inside) < 2:
            continue
        middle = torch.from_numpy(((edges[inside] + edges[inside + 1]) / 2).astype(int)).clamp(0, count - 1)
        for out, span in zip(parts[:2], (LONG, SHORT), strict=True):
            out.append(network.learned_statistics(window(cells, *span)[0][middle]))
        parts[2].append(r.ratings[inside])
        parts[3].append(torch.full((len(inside),), i))
    if not parts[0]:
        return loss
    long, short, ratings, of = (torch.cat(part) for part in parts)
    return loss + _rating_loss(network.deep, long, short, ratings, of, spread)


def _some(rated: Sequence[_Rated], count: int, draw: np.random.Generator) -> list[_Rated]:
    return [rated[i] for i in draw.choice(len(rated), min(count, len(rated)), replace=False)]


def _quadrant_loss(heard: Heard, pieces: Sequence[Piece], chosen: Ints, recipe: Recipe) -> Tensor:
    truth = torch.tensor([pieces[row].quadrant for row in chosen])
    classes = F.cross_entropy(heard.logits, truth, label_smoothing=recipe.smoothing)
    sides = torch.stack((torch.isin(truth, torch.tensor(RIGHT)), torch.isin(truth, torch.tensor(UPPER))), 1)
    signs = F.binary_cross_entropy_with_logits(heard.level * recipe.steepness, sides.float())
    return classes + recipe.signs * signs


def _rating_loss(
    branch: Branch, long: Tensor, short: Tensor, ratings: Tensor, owner: Tensor, spread: Tensor
) -> Tensor:
    """Level, agreement, movement within each piece, and the likelihood of the deviation."""
    heard = branch(long)
    mean = heard.level + branch.movement(long, short)
    error = (mean - ratings) / spread
    count = torch.bincount(owner).clamp(min=1).float()[:, None]
    own = torch.zeros(len(count), 2).index_add(0, owner, error) / count
    within = ((error - own[owner]) ** 2).mean()
    covariance = ((mean - mean.mean(0)) * (ratings - ratings.mean(0))).mean(0)
    scale = mean.var(0) + ratings.var(0) + (mean.mean(0) - ratings.mean(0)) ** 2 + 1e-3
    disagreement = (1 - 2 * covariance / scale).mean()
    likelihood = (0.5 * (mean - ratings).detach() ** 2 * torch.exp(-2 * heard.log_std) + heard.log_std).mean()
    return (error**2).mean() + 2 * within + 0.5 * disagreement + 0.2 * likelihood
