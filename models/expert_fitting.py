"""Fitting an `ExpertNetwork`: discriminants and gate in closed form, encoder and deep heads by small batches.

The discriminants of an expert share half of their covariance with those of the other corpora heard the same
way: how speakers differ is much the same everywhere, and no corpus alone has enough of them. The deep view
never sees the wide one, so the two err apart. What it hears is altered frame by frame, on the fly: longer or
shorter vocal tracts (bands shifted), other speeds, colours and gains, bands and moments left out, two sounds
mixed. Source: SpecAugment, Park et al. (2019); VTLP, Jaitly and Hinton (2013); mixup, Zhang et al. (2018).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from moodstream.models.base import CELL_FRAMES
from moodstream.models.device import device
from moodstream.models.examples import Prepared, Progress, silent
from moodstream.models.experts import NEVER, ExpertNetwork
from moodstream.models.features import N_BASE, N_MELS
from moodstream.models.fitting import (
    Recipe,
    Rows,
    Targets,
    agreement,
    descend,
    item_frames,
    losses,
    whole_sums,
)
from moodstream.models.network import Output, Shape, likeness
from moodstream.models.pooling import LEVEL_PER_DB, MEL_PER_DB, louder, statistics


@dataclass(frozen=True)
class ExpertRecipe(Recipe):
    """How to fit experts, beyond `Recipe` (whose crops, batches, rates and penalties of the kernel hold)."""

    steps: int = 9000
    rate: float = 3e-3
    smoothing: float = 0.05
    crop_cells: tuple[int, int] = (6, 6)
    clean: float = 0.65  # chance of the first condition, the others share the rest
    sharpness: float = 0.5  # of the discriminants' probabilities
    common: float = 0.5  # share of the covariance of all corpora in that of one
    shrinkage: float = 0.1  # of the covariance towards a sphere
    relative_shrinkage: float = 0.3  # the same where statistics are relative to those of the channel
    gate_sharpness: float = 0.1
    shift: float = 0.1  # largest relative shift of the bands
    speed: float = 0.15  # largest relative change of speed
    colour: float = 0.2  # deviation of a random equaliser, in units of log-mel
    level_db: float = 10.0  # and of the gain
    bands: int = 8  # that are left out at once, at most; twice
    mixed: float = 0.5  # chance of a batch whose sounds are mixed two by two
    mixture: float = 0.4  # both parameters of the beta distribution of their shares
    moments: int = 12  # frames that are left out at once, at most; twice


def fit_experts(
    prepared: Prepared,
    shape: Shape,
    rows: Rows,
    recipe: ExpertRecipe,
    balance: dict[str, float] | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> ExpertNetwork:
    """A network fitted to the examples `rows`; the same one for the same arguments and threads.

    Args:
        prepared: a variant an item for each of `shape.conditions`.
        shape: `shape.corpora` must name every corpus of the examples.
        balance: how much each corpus counts, 1 unless given.
    """
    torch.manual_seed(seed)
    network = ExpertNetwork(shape)
    targets = Targets.of(prepared, shape, rows, balance or {})
    network.allowed.copy_(targets.allowed.float())
    _standardize(network, prepared, rows)
    _fit_wide(network, prepared, rows, targets, recipe)
    _fit_kernel(network, prepared, rows, recipe, seed)
    if recipe.steps:
        _fit_deep(network, prepared, rows, targets, recipe, seed, progress)
    else:
        network.wide_share.fill_(1.0)
    return network.eval()


def _standardize(network: ExpertNetwork, prepared: Prepared, rows: Rows) -> None:
    values = statistics(whole_sums(prepared, rows * prepared.variants))
    network.center.copy_(values.mean(0))
    network.scale.copy_(1 / values.std(0).clamp(min=1e-3))
    network.gain.copy_(F.normalize(louder(20) * network.scale, dim=0))
    some = np.random.default_rng(0).permutation(rows)[:200] * prepared.variants
    frames = np.concatenate([item_frames(prepared, int(item)) for item in some])
    network.encoder.center.copy_(torch.from_numpy(frames.mean(0)))
    network.encoder.scale.copy_(torch.from_numpy(1 / np.maximum(frames.std(0), 1e-3)))


def _fit_wide(
    network: ExpertNetwork, prepared: Prepared, rows: Rows, targets: Targets, recipe: ExpertRecipe
) -> None:
    """Discriminants of the labels, expert by expert, and of the experts themselves."""
    corpora = len(targets.allowed)
    corpus, label = targets.corpus[rows], targets.scores[rows].argmax(1)
    label[targets.scores[rows].sum(1) == 0] = -1
    centres: list[Tensor] = []
    spreads: list[Tensor] = []
    for condition in range(prepared.variants):
        sums = whole_sums(prepared, rows * prepared.variants + condition)
        z, apart = network.standardize(sums), network.apart(sums, channel_sums(prepared, condition)[rows])
        here = slice(corpora * condition, corpora * (condition + 1))
        _fit_labels(network.wide[here], z, corpus, label, recipe, recipe.shrinkage)
        _fit_labels(network.relative[here], apart, corpus, label, recipe, recipe.relative_shrinkage)
        for c in range(corpora):
            mine = z[corpus == c]
            centres.append(mine.mean(0) if len(mine) else torch.zeros_like(network.center))
            spreads.append(torch.cov(mine.T, correction=0) if len(mine) > 1 else torch.eye(z.shape[1]))
    weight, bias = _discriminants(torch.stack(centres), torch.stack(spreads).mean(0), recipe.shrinkage)
    gate = network.gate[:, : len(centres)]  # fewer than there are experts, if a condition was never heard
    gate[:-1], gate[-1] = recipe.gate_sharpness * weight, recipe.gate_sharpness * bias
    network.gate[-1, len(centres) :] = NEVER


def _fit_labels(
    experts: Tensor, z: Tensor, corpus: Tensor, label: Tensor, recipe: ExpertRecipe, shrinkage: float
) -> None:
    """Fill in the experts [corpora, n + 1, labels] of one condition, by points [m, n]."""
    within = {
        c: _within(z[mine], label[mine])
        for c in range(len(experts))
        if len(mine := torch.nonzero((corpus == c) & (label >= 0))[:, 0]) > 1
    }
    if not within:
        return
    common = torch.stack([spread for _, _, spread in within.values()]).mean(0)
    for c, (known, means, spread) in within.items():
        weight, bias = _discriminants(means, torch.lerp(spread, common, recipe.common), shrinkage)
        experts[c, :-1, known] = recipe.sharpness * weight
        experts[c, -1, known] = recipe.sharpness * bias


def channel_sums(prepared: Prepared, condition: int = 0) -> Tensor:
    """For each example the sums [n, N_SUMS] of all examples of its group in its corpus: of one speaker."""
    sums = whole_sums(prepared, np.arange(len(prepared.examples)) * prepared.variants + condition)
    names = [f"{example.corpus} {example.group}" for example in prepared.examples]
    of = torch.from_numpy(np.unique(names, return_inverse=True)[1])
    return torch.zeros(int(of.max()) + 1, sums.shape[1]).index_add_(0, of, sums)[of]


def _within(z: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Labels that occur [k], their means [k, n] and the covariance around these [n, n]."""
    known, place, count = torch.unique(label, return_inverse=True, return_counts=True)
    means = torch.zeros(len(known), z.shape[1]).index_add_(0, place, z) / count[:, None]
    apart = z - means[place]
    return known, means, apart.T @ apart / len(z)


def _discriminants(means: Tensor, spread: Tensor, shrinkage: float) -> tuple[Tensor, Tensor]:
    """Linear discriminants of equally likely classes: weights [n, k] and biases [k].

    What all classes share is left out. It changes no probability, but where a statistic hardly varies (no
    sound above 4 kHz) it would make weights of thousands, whose sums lose four digits.
    """
    sphere = spread.diagonal().mean().clamp(min=1e-3) * torch.eye(len(spread))
    common = means.mean(0)
    apart = means - common
    weight = torch.linalg.solve(torch.lerp(spread, sphere, shrinkage), apart.T)
    return weight, -((common + 0.5 * apart) @ weight).diagonal()


def _fit_kernel(
    network: ExpertNetwork, prepared: Prepared, rows: Rows, recipe: ExpertRecipe, seed: int
) -> None:
    """Ridge on the likeness to rated examples in every condition (to all with targets, if none is rated)."""
    examples, variants = prepared.examples, prepared.variants
    known = rows[[bool(np.isfinite(examples[row].target).any()) for row in rows]]
    rated = known[[examples[row].weight >= 1 for row in known]]
    chosen = np.random.default_rng(seed).permutation(rated if len(rated) else known)
    chosen = np.sort(chosen[: network.shape.landmarks // variants])
    if not len(chosen):
        return
    items = (chosen[None] * variants + np.arange(variants)[:, None]).ravel()
    z = network.standardize(whole_sums(prepared, items))
    network.landmarks[: len(items)] = z
    target = torch.tensor([examples[row].target for row in chosen]).repeat(variants, 1)
    for i in range(target.shape[1]):
        has = torch.nonzero(target[:, i].isfinite())[:, 0]
        if not len(has):
            continue
        truth = target[has, i].double()
        system = likeness(z[has], z[has]).double()
        system.diagonal().add_(recipe.kernel_penalty)
        network.pull[has, i] = torch.linalg.solve(system, truth - truth.mean()).float()
        network.pull[-1, i] = truth.mean().float()


def _fit_deep(
    network: ExpertNetwork,
    prepared: Prepared,
    rows: Rows,
    targets: Targets,
    recipe: ExpertRecipe,
    seed: int,
    progress: Progress,
) -> None:
    draw = np.random.default_rng(seed + 1)
    chance = targets.chance(rows)
    where = device()
    targets = targets.to(where)

    def loss() -> Tensor:
        chosen = draw.choice(rows, recipe.batch, p=chance)
        worse = draw.integers(min(1, prepared.variants - 1), prepared.variants, recipe.batch)
        condition = np.where(draw.random(recipe.batch) < recipe.clean, 0, worse)
        frames, valid = altered(prepared, chosen * prepared.variants + condition, recipe, draw)
        frames, valid, share, other = mixed(frames, valid, recipe, draw)
        owner, share = torch.from_numpy(chosen).to(where), share.to(where)
        learned = network.encoder(frames.to(where), valid.to(where)).sum(1)
        said = network.views(network.embed(learned))
        member = torch.arange(len(owner), device=where)
        total = torch.zeros((), device=where)
        for whose, part in ((owner, share), (owner[other], 1 - share)):
            for head in (torch.zeros_like(whose), 1 + targets.corpus[whose]):
                output = Output(*(view[member, head] for view in said))
                total = total + (part * losses(output, targets, whose, recipe, recipe.smoothing)).mean()
                if whose is owner:
                    total = total + 0.5 * recipe.target_weight * agreement(output, targets, owner)
        return total

    network.to(where).train()
    descend(list(network.parameters()), loss, recipe, progress)
    network.cpu()


def altered(
    prepared: Prepared, items: Rows, recipe: ExpertRecipe, draw: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """A stretch of each item, heard a little differently: frames [b, 32 n, N_BASE] and which are true."""
    cells = int(draw.integers(recipe.crop_cells[0], recipe.crop_cells[1] + 1))
    length = cells * CELL_FRAMES
    frames = torch.zeros(len(items), length, N_BASE)
    valid = torch.zeros(len(items), length, dtype=torch.bool)
    for i, item in enumerate(items):
        whole = item_frames(prepared, int(item))
        speed = 1 + draw.uniform(-recipe.speed, recipe.speed)
        taken = min(int(length * speed), len(whole))
        start = int(draw.integers(0, len(whole) - taken + 1))
        stretch = torch.from_numpy(whole[start : start + taken])
        size = min(length, max(round(taken / speed), 1))
        frames[i, :size] = F.interpolate(stretch.T[None], size, mode="linear", align_corners=True)[0].T
        valid[i, :size] = True
    bands = frames[..., :N_MELS]
    factor = 1 + torch.from_numpy(draw.uniform(-recipe.shift, recipe.shift, len(items))).float()
    at = (torch.arange(N_MELS) * factor[:, None]).clamp(0, N_MELS - 1)
    low = at.floor().long().clamp(max=N_MELS - 2)
    near = low[:, None].expand(-1, length, -1)
    bands = torch.lerp(bands.gather(2, near), bands.gather(2, near + 1), (at - low)[:, None])
    knots = torch.from_numpy(draw.normal(0, recipe.colour, (len(items), 1, 5))).float()
    bands = bands + F.interpolate(knots, N_MELS, mode="linear", align_corners=True)
    decibels = torch.from_numpy(draw.normal(0, recipe.level_db, (len(items), 1, 1))).float()
    bands = bands + decibels * MEL_PER_DB
    others = frames[..., N_MELS:] + decibels * LEVEL_PER_DB * (torch.arange(N_BASE - N_MELS) == 0)
    mean = (bands * valid[..., None]).sum(1, keepdim=True) / valid.sum(1)[:, None, None]
    for i in range(len(items)):
        for _ in range(2):
            wide, long = int(draw.integers(recipe.bands + 1)), int(draw.integers(recipe.moments + 1))
            first, begin = int(draw.integers(N_MELS - wide + 1)), int(draw.integers(length - long + 1))
            bands[i, :, first : first + wide] = mean[i, :, first : first + wide]
            bands[i, begin : begin + long] = mean[i]
    return torch.cat((bands, others), -1), valid


def mixed(
    frames: Tensor, valid: Tensor, recipe: ExpertRecipe, draw: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Some batches as they are, in the others each sound with a little of another one over it.

    Returns:
        frames and valid like those given; how much of each is the sound itself, [b] in 0.5..1; and whose the
        rest is, [b].
    """
    size = len(frames)
    if draw.random() >= recipe.mixed:
        return frames, valid, torch.ones(size), torch.arange(size)
    share = torch.from_numpy(draw.beta(recipe.mixture, recipe.mixture, size)).float()
    share = torch.maximum(share, 1 - share)
    other = torch.from_numpy(draw.permutation(size))
    return torch.lerp(frames[other], frames, share[:, None, None]), valid | valid[other], share, other
