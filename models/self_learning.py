"""Learning what segments say from the labels of whole clips, by self-learning.

A clip has one label, and each of its segments inherits it, right or wrong. Who trains on them all learns the
wrong ones by heart. Here, after some epochs of plain training, every epoch begins with a judgement: a mixture
of two Gaussians over the losses of all segments says how likely the label of each is to be right. Segments
that are likely so are *clean*; the others lose their label and join whatever audio never had one. What these
are is then guessed: the mean of what the network says about weakly altered views of a segment, sharpened.
The labels of clean segments are mixed with such a guess, the more the less they are believed. The network
learns from strongly altered views (so that it says the same however a segment sounds: consistency), each
mixed with another one, and so its target (mixup).

The one that judges and guesses, and that is kept, is the running mean of the network's weights. One loop does
plain training too (no mixup, no judgement), so that all that differs between two ways is what a `SelfRecipe`
says.

Conventions: segments are known by index; `labels` [n, k] are shares of k columns, rows of zeros are without
label; `allowed` [n, k] are the columns that compete for a segment, so corpora with other labels have columns
of their own. Losses are cross-entropies. Source: Sun et al. (2024), Semi-supervised self-learning enhanced
music emotion recognition (arXiv 2410.21897); mixture, guessing and mixup as in Li et al. (2020), DivideMix,
sections 3.1 and 3.2, with one network instead of two, its running mean taking the place of the other.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moodstream.models.device import device
from moodstream.models.examples import Progress, silent

Rows = npt.NDArray[np.int64]
Chances = npt.NDArray[np.float64]
_BLOCK = 512  # segments that are judged at once


class Segments(Protocol):
    """Segments of clips as a network hears them."""

    @property
    def labels(self) -> Tensor:
        """[n, k] of the clip that each was cut from."""

    @property
    def allowed(self) -> Tensor:
        """[n, k] of bool, at least one a row."""

    def plain(self, rows: Rows) -> Tensor:
        """Inputs [b, ...] of segments as they are."""

    def weak(self, rows: Rows, draw: np.random.Generator) -> Tensor:
        """Inputs of segments that nobody would call different."""

    def strong(self, rows: Rows, draw: np.random.Generator) -> Tensor:
        """Inputs of segments that are hard to know again."""


@dataclass(frozen=True)
class SelfRecipe:
    """How to learn. `judged` and `mixing` off is plain training."""

    epochs: int = 20
    steps: int = 50  # an epoch
    batch: int = 64  # segments a step; when there are some without label, half of them are
    rate: float = 3e-3  # peak learning rate
    decay: float = 0.05  # weight decay
    ema: float = 0.99  # of the weights that are kept
    smoothing: float = 0.05  # of the labels
    judged: bool = True  # labels are judged, guesses take the place of what is not believed
    mixing: float = 0.75  # both parameters of the Beta that shares of mixup are drawn from; 0: no mixup
    warm: int = 5  # epochs before the first judgement
    believed: float = 0.5  # chance of being right from which on a label is kept
    memory: float = 0.5  # share of the losses of earlier epochs in those that are judged
    temperature: float = 0.5  # of sharpening
    guesses: int = 2  # weak views that a guess is the mean of
    guessed: float = 1.0  # weight of segments without label in the loss
    rise: int = 5  # epochs until they have that weight


def fit_segments(
    network: nn.Module,
    segments: Segments,
    rows: Rows,
    recipe: SelfRecipe,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[nn.Module, Chances]:
    """Train a network on segments.

    Args:
        network: inputs [b, ...] to logits [b, k]. rows: labelled and, where there are some, unlabelled ones.

    Returns:
        The running mean of the network, on the CPU, and how likely the label of each of `rows` was right in
        the last judgement (1 where there was none, 0 without label).

    Raises:
        ValueError: none of `rows` has a label.
    """
    has = segments.labels[rows].sum(1).numpy() > 0
    if not has.any():
        raise ValueError(f"of {len(rows)} segments none has a label, one is needed")
    labelled, bare = rows[has], rows[~has]
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    where = device()
    network.to(where).train()
    kept = deepcopy(network).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    total = recipe.epochs * recipe.steps
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, total, pct_start=0.15)
    column = segments.labels[labelled].argmax(1).numpy()
    believed = np.ones(len(labelled))
    losses = np.zeros(0)
    for epoch in range(recipe.epochs):
        judging = recipe.judged and epoch >= recipe.warm
        if judging:
            now = losses_of(kept, segments, labelled)
            losses = now if not len(losses) else recipe.memory * losses + (1 - recipe.memory) * now
            believed = judged(losses, segments.allowed[labelled])
        clean = even_chances(column, believed >= recipe.believed)
        open_ = np.concatenate((labelled[believed < recipe.believed], bare)) if judging else rows[:0]
        size = recipe.batch // 2 if len(open_) else recipe.batch
        weight = recipe.guessed * min(1.0, (epoch - recipe.warm + 1) / recipe.rise)
        for step in range(recipe.steps):
            mine = draw.choice(len(labelled), size, p=clean)
            others = draw.choice(open_, recipe.batch - size) if len(open_) else open_
            chosen = np.concatenate((labelled[mine], others))
            target = smoothed(segments, chosen, recipe.smoothing)
            if judging:
                trust = np.concatenate((believed[mine], np.zeros(len(others))))
                target = refined(kept, segments, chosen, target, trust, recipe, draw)
            strength = torch.ones(len(chosen))
            strength[size:] = weight
            loss = _loss(network, segments, chosen, target, strength, recipe.mixing, draw)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
            optimizer.step()
            schedule.step()
            at = epoch * recipe.steps + step
            _follow(kept, network, min(recipe.ema, (at + 1) / (at + 10)))
        progress("epochs", (epoch + 1) / recipe.epochs)
    chance = np.zeros(len(rows))
    chance[has] = believed
    return kept.cpu(), chance


def judged(losses: Chances, allowed: Tensor) -> Chances:
    """How likely each label is right, [n]: what competes for it decides what its loss is measured against."""
    chance = np.zeros(len(losses))
    kinds = torch.unique(allowed, dim=0, return_inverse=True)[1].numpy()
    for kind in np.unique(kinds):
        chance[kinds == kind] = right_chance(losses[kinds == kind])
    return chance


def right_chance(losses: npt.ArrayLike) -> Chances:
    """How likely losses [n] are of the lower of two Gaussians, fitted to all by EM; 1 if all are equal."""
    values = np.asarray(losses, np.float64)
    width = float(np.ptp(values))
    if width == 0:
        return np.ones(len(values))
    x = (values - values.min()) / width
    mean = np.quantile(x, [0.25, 0.9])
    spread, share = np.full(2, max(float(x.var()), 1e-4)), np.full(2, 0.5)
    chance = np.zeros((len(x), 2))
    for _ in range(100):
        density = share * np.exp(-0.5 * (x[:, None] - mean) ** 2 / spread) / np.sqrt(spread)
        chance = density / (density.sum(1, keepdims=True) + 1e-300)
        count = chance.sum(0) + 1e-9
        before = mean
        mean = (chance * x[:, None]).sum(0) / count
        spread = (chance * (x[:, None] - mean) ** 2).sum(0) / count + 1e-4
        share = count / len(x)
        if float(np.abs(mean - before).max()) < 1e-5:
            break
    low = int(mean.argmin())
    right: Chances = np.where(x <= mean[low], 1.0, chance[:, low])  # a wide upper one reaches below the lower
    return right


def even_chances(column: Rows, kept: npt.NDArray[np.bool_]) -> Chances:
    """Chances [n] to be drawn, summing to 1: each column as often as any other, by its `kept` if any."""
    chance = np.zeros(len(column))
    for one in np.unique(column):
        mine = np.flatnonzero(column == one)
        mine = mine[kept[mine]] if kept[mine].any() else mine
        chance[mine] = 1 / len(mine)
    return chance / chance.sum()


def sharpened(shares: Tensor, temperature: float) -> Tensor:
    """Shares [b, k], each row summing to 1, made more decided; 1 leaves them, near 0 is one column alone."""
    raised = shares ** (1 / temperature)
    return raised / raised.sum(1, keepdim=True).clamp(min=1e-12)


def smoothed(segments: Segments, rows: Rows, share: float) -> Tensor:
    """Labels [b, k] of segments, this share of them spread over what is allowed; zeros stay zeros."""
    labels, allowed = segments.labels[rows], segments.allowed[rows].float()
    return (1 - share) * labels + share * labels.sum(1, keepdim=True) * allowed / allowed.sum(1, keepdim=True)


@torch.no_grad()
def refined(
    network: nn.Module,
    segments: Segments,
    rows: Rows,
    target: Tensor,
    trust: Chances,
    recipe: SelfRecipe,
    draw: np.random.Generator,
) -> Tensor:
    """Targets [b, k], each as far as it is trusted, [b] in 0..1, the rest is a guess; sharpened."""
    views = [segments.weak(rows, draw) for _ in range(recipe.guesses)]
    said = [shares_of(network, view, segments.allowed[rows]) for view in views]
    guess = torch.stack(said).mean(0)
    share = torch.from_numpy(trust).float()[:, None]
    mixed = torch.lerp(guess, target, share)
    return torch.where(share == 1, target, sharpened(mixed, recipe.temperature))


def shares_of(network: nn.Module, inputs: Tensor, allowed: Tensor) -> Tensor:
    """What a network says of inputs [b, ...], as shares of what is allowed [b, k]."""
    where = next(network.parameters()).device
    logits = network(inputs.to(where)).cpu()
    return F.softmax(logits.masked_fill(~allowed, -torch.inf), 1)


@torch.inference_mode()
def predict_segments(network: nn.Module, segments: Segments, rows: Rows) -> npt.NDArray[np.float32]:
    """Shares [n, k] that a network gives segments as they are."""
    network.eval()
    parts: list[Tensor] = []
    for start in range(0, len(rows), _BLOCK):
        some = rows[start : start + _BLOCK]
        parts.append(shares_of(network, segments.plain(some), segments.allowed[some]))
    return np.asarray(torch.cat(parts).numpy(), np.float32)


def losses_of(network: nn.Module, segments: Segments, rows: Rows) -> Chances:
    """Cross-entropy [n] of what a network says of labelled segments."""
    said = predict_segments(network, segments, rows).astype(np.float64)
    losses: Chances = -(segments.labels[rows].numpy() * np.log(said + 1e-6)).sum(1)
    return losses


def by_clip(
    shares: npt.NDArray[np.float32], clip: Sequence[int] | Rows
) -> tuple[Rows, npt.NDArray[np.float64]]:
    """Clips [m] that segments belong to, ascending, and the means [m, k] of what was said about theirs."""
    names, of = np.unique(np.asarray(clip), return_inverse=True)
    total = np.zeros((len(names), shares.shape[1]))
    np.add.at(total, of, shares)
    return names, total / np.bincount(of)[:, None]


def _loss(
    network: nn.Module,
    segments: Segments,
    rows: Rows,
    target: Tensor,
    strength: Tensor,
    mixing: float,
    draw: np.random.Generator,
) -> Tensor:
    """Mean cross-entropy of strong views, each mixed with another one if `mixing` is not 0."""
    where = next(network.parameters()).device
    inputs, allowed = segments.strong(rows, draw).to(where), segments.allowed[rows].to(where)
    target, strength = target.to(where), strength.to(where)
    if not mixing:
        return (_entropy(network(inputs), target, allowed) * strength).mean()
    share = torch.from_numpy(draw.beta(mixing, mixing, len(rows))).float().to(where)
    share = torch.maximum(share, 1 - share)
    partner = torch.from_numpy(draw.permutation(len(rows))).to(where)
    wide = share.reshape(-1, *[1] * (inputs.dim() - 1))
    logits = network(torch.lerp(inputs[partner], inputs, wide))
    own = _entropy(logits, target, allowed)
    other = _entropy(logits, target[partner], allowed[partner])
    return (torch.lerp(other, own, share) * strength).mean()


def _entropy(logits: Tensor, target: Tensor, allowed: Tensor) -> Tensor:
    said = F.log_softmax(logits.masked_fill(~allowed, -1e4), 1)
    return -(target * said).sum(1)


@torch.no_grad()
def _follow(kept: nn.Module, network: nn.Module, share: float) -> None:
    for old, new in zip(kept.parameters(), network.parameters(), strict=True):
        old.lerp_(new, 1 - share)
