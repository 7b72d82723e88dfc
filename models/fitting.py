"""Fitting one `MoodNetwork` to prepared examples, and what it then says about others.

The wide branch is fitted first, in closed form as it were (L-BFGS on everything at once, strong L2). The
deep branch is trained after it by small batches of random crops, never seeing the wide one: two views that
err apart, averaged.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moodstream.models.base import CELL_FRAMES, Float
from moodstream.models.device import device
from moodstream.models.examples import Prepared, Progress, silent
from moodstream.models.experts import ExpertNetwork
from moodstream.models.features import N_BASE
from moodstream.models.network import MoodNetwork, Output, Shape, likeness
from moodstream.models.pooling import N_SUMS, statistics, window_sums

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Recipe:
    """How to fit. The defaults are those of speech: 2,500 short clips, a few minutes on one core."""

    steps: int = 1000  # of the deep branch; 0: none, the wide branch alone
    batch: int = 32
    rate: float = 2e-3  # peak learning rate
    warm_up: float = 0.15  # share of the steps until it is reached
    decay: float = 0.05  # weight decay
    clip: float = 1.0  # of the norm of the gradient
    ema: float = 0.995  # of the weights that are kept
    smoothing: float = 0.05  # of the labels
    crop_cells: tuple[int, int] = (4, 8)  # length of a random crop
    clean: float = 0.5  # chance of the sound as it is, rather than one of its variants
    altered: float = 1.0  # weight of an augmented variant in the wide branch
    wide_penalty: float = 1e-2  # L2 of the shared wide weights for labels
    own_penalty: float = 3e-2  # L2 of each corpus's own addition
    number_penalty: float = 30.0  # how much stronger both are for the dimensions
    kernel_penalty: float = 0.03  # ridge of the kernel branch
    deep_share: float = 0.5  # of the deep branch in the average; 1: no wide branch
    ignored: tuple[int, ...] = ()  # statistics to leave out, such as those that the gain shifts
    scores_weight: float = 1.0
    target_weight: float = 1.0


@dataclass(frozen=True)
class Targets:
    """Labels of all examples as tensors, with the weight of each example in the loss."""

    corpus: Tensor  # [n]
    scores: Tensor  # [n, K], rows of zeros where there are none
    target: Tensor  # [n, 3], zero where unknown
    target_weight: Tensor  # [n, 3], zero where unknown
    allowed: Tensor  # [corpora, K] the labels that a corpus has
    weight: Tensor  # [n] balances corpora and, within a corpus, labels

    @classmethod
    def of(cls, prepared: Prepared, shape: Shape, rows: Rows, balance: dict[str, float]) -> "Targets":
        """Labels of all, weights from the distribution of the `rows` that are trained on."""
        examples = prepared.examples
        labels = len(shape.labels)
        corpus = torch.tensor([shape.corpora.index(example.corpus) for example in examples])
        none = (0.0,) * labels
        scores = torch.tensor([example.scores or none for example in examples]).reshape(-1, labels)
        target = torch.tensor([example.target for example in examples])
        known = (~target.isnan()).float() * torch.tensor([[example.weight] for example in examples])
        allowed = torch.zeros(len(shape.corpora), labels, dtype=torch.bool)
        weight = torch.zeros(len(examples))
        for c, name in enumerate(shape.corpora):
            mine = torch.from_numpy(rows)[corpus[rows] == c]
            allowed[c] = (scores[corpus == c] > 0).any(0)
            count = scores[mine].sum(0)
            each = torch.where(
                scores[mine].sum(1) > 0,
                (scores[mine] / count.clamp(min=1e-6)).sum(1) / max(int((count > 0).sum()), 1),
                torch.tensor(1 / max(len(mine), 1)),
            )
            weight[mine] = balance.get(name, 1.0) * each / each.sum().clamp(min=1e-9)
        return cls(corpus, scores, target.nan_to_num(), known, allowed, weight / weight.sum())

    def chance(self, rows: Rows) -> npt.NDArray[np.float64]:
        """How likely a batch draws each of `rows`; sums to 1."""
        weight = self.weight[rows].numpy().astype(np.float64)
        return np.asarray(weight / weight.sum())

    def to(self, where: torch.device) -> "Targets":
        """The same on another device."""
        return Targets(**{field.name: getattr(self, field.name).to(where) for field in fields(self)})


def fit(
    prepared: Prepared,
    shape: Shape,
    rows: Rows,
    recipe: Recipe,
    balance: dict[str, float] | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> MoodNetwork:
    """A network fitted to the examples `rows`; the same one for the same arguments and threads.

    Args:
        shape: `shape.corpora` must name every corpus of the examples.
        balance: how much each corpus counts, 1 unless given.
    """
    torch.manual_seed(seed)
    network = MoodNetwork(shape)
    targets = Targets.of(prepared, shape, rows, balance or {})
    _standardize(network, prepared, rows)
    network.scale[list(recipe.ignored)] = 0.0
    if recipe.deep_share < 1 or not recipe.steps:
        _fit_wide(network, prepared, rows, targets, recipe, seed)
    if shape.landmarks:
        _fit_kernel(network, prepared, rows, recipe, seed)
    network.deep_share.fill_(recipe.deep_share if recipe.steps else 0.0)
    if recipe.steps:
        _fit_deep(network, prepared, rows, targets, recipe, seed, progress)
    return network.eval()


def _standardize(network: MoodNetwork, prepared: Prepared, rows: Rows) -> None:
    sums = whole_sums(prepared, rows * prepared.variants)
    values = statistics(sums)
    network.center.copy_(values.mean(0))
    network.scale.copy_(1 / values.std(0).clamp(min=1e-3))
    draw = np.random.default_rng(0)
    some = np.concatenate(
        [item_frames(prepared, row * prepared.variants) for row in draw.permutation(rows)[:200]]
    )
    network.encoder.center.copy_(torch.from_numpy(some.mean(0)))
    network.encoder.scale.copy_(torch.from_numpy(1 / np.maximum(some.std(0), 1e-3)))


def _fit_wide(
    network: MoodNetwork, prepared: Prepared, rows: Rows, targets: Targets, recipe: Recipe, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    parts, owners, altered = [], [], []
    for variant in range(prepared.variants):
        parts.append(
            _crop_sums(prepared, rows * prepared.variants + variant, recipe, draw, whole=variant == 0)
        )
        owners.append(rows)
        altered.append(np.full(len(rows), variant > 0))
    z = network.standardize(torch.cat(parts))
    owner = torch.from_numpy(np.concatenate(owners))
    order = torch.argsort(targets.corpus[owner], stable=True)  # a corpus's rows side by side
    owner, z = owner[order], torch.cat((z, torch.ones(len(z), 1)), 1)[order]
    changed = torch.from_numpy(np.concatenate(altered))[order]
    weight = targets.weight[owner] * torch.where(changed, recipe.altered, 1.0)
    weight = weight / weight.sum()
    parts_of = torch.split(z, torch.bincount(targets.corpus[owner], minlength=len(targets.allowed)).tolist())
    wide = torch.zeros_like(network.wide, requires_grad=True)
    strength = torch.full(wide[:, 0].shape, recipe.own_penalty)
    strength[0] = recipe.wide_penalty
    strength[:, :3] *= recipe.number_penalty
    optimizer = torch.optim.LBFGS([wide], max_iter=100, history_size=20, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        shared = z @ wide[0]
        own = torch.cat([part @ extra for part, extra in zip(parts_of, wide[1:], strict=True)])
        total = (strength * (wide[:, :-1] ** 2).sum(1)).sum()
        for values in (shared, shared + own):
            output = Output(values[:, :3], torch.zeros(len(values), 3), values[:, 3:])
            total = total + (losses(output, targets, owner, recipe, 0.0) * weight).sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    network.wide.data.copy_(wide.detach())


def _fit_kernel(network: MoodNetwork, prepared: Prepared, rows: Rows, recipe: Recipe, seed: int) -> None:
    """Ridge on the likeness to the rated examples as they sound (to all with targets, if none is rated)."""
    examples = prepared.examples
    known = rows[[bool(np.isfinite(examples[row].target).any()) for row in rows]]
    rated = known[[examples[row].weight >= 1 for row in known]]
    chosen = np.random.default_rng(seed).permutation(rated if len(rated) else known)
    chosen = np.sort(chosen[: network.shape.landmarks])
    if not len(chosen):
        return
    z = network.standardize(whole_sums(prepared, chosen * prepared.variants))
    network.landmarks[: len(chosen)] = z
    target = torch.tensor([examples[row].target for row in chosen])
    for i in range(target.shape[1]):
        has = torch.nonzero(target[:, i].isfinite())[:, 0]
        if not len(has):
            continue
        truth = target[has, i].double()
        system = likeness(z[has], z[has]).double()
        system.diagonal().add_(recipe.kernel_penalty)
        network.pull[has, i] = torch.linalg.solve(system, truth - truth.mean()).float()
        network.pull[-1, i] = truth.mean().float()


def losses(output: Output, targets: Targets, owner: Tensor, recipe: Recipe, smoothing: float) -> Tensor:
    """Loss of each row [b]: cross-entropy over its corpus's labels, squared error and its likelihood."""
    allowed = targets.allowed[targets.corpus[owner]]
    scores = targets.scores[owner]
    labelled = scores.sum(1)
    if smoothing:
        even = allowed.float() / allowed.sum(1, keepdim=True).clamp(min=1)
        scores = (1 - smoothing) * scores + smoothing * even * labelled[:, None]
    logits = output.logits.masked_fill(~allowed, -1e4)
    classes = -(scores * F.log_softmax(logits, 1)).sum(1) * recipe.scores_weight
    error = (output.mean - targets.target[owner]) ** 2
    likelihood = 0.5 * error.detach() * torch.exp(-2 * output.log_std) + output.log_std
    numbers = ((4.0 * error + 0.2 * likelihood) * targets.target_weight[owner]).sum(1) * recipe.target_weight
    return classes + numbers


def agreement(output: Output, targets: Targets, owner: Tensor) -> Tensor:
    """One minus the concordance of the batch's rated members, averaged over the dimensions."""
    weight = targets.target_weight[owner]
    share = weight / weight.sum(0).clamp(min=1e-6)
    truth = targets.target[owner]
    first, second = (truth * share).sum(0), (output.mean * share).sum(0)
    covariance = (share * (truth - first) * (output.mean - second)).sum(0)
    spread = (share * ((truth - first) ** 2 + (output.mean - second) ** 2)).sum(0) + (first - second) ** 2
    known = (weight > 0).sum(0) >= 4
    return ((1 - 2 * covariance / (spread + 1e-3)) * known).sum() / known.sum().clamp(min=1)


def _fit_deep(
    network: MoodNetwork,
    prepared: Prepared,
    rows: Rows,
    targets: Targets,
    recipe: Recipe,
    seed: int,
    progress: Progress,
) -> None:
    draw = np.random.default_rng(seed + 1)
    chance = targets.chance(rows)
    where = device()
    targets = targets.to(where)

    def loss() -> Tensor:
        chosen = draw.choice(rows, recipe.batch, p=chance)
        clean = draw.random(recipe.batch) < recipe.clean
        changed = draw.integers(min(1, prepared.variants - 1), prepared.variants, recipe.batch)
        variant = np.where(clean, 0, changed)
        frames, valid, sums = _crops(prepared, chosen * prepared.variants + variant, recipe, draw)
        owner = torch.from_numpy(chosen).to(where)
        learned = network.encoder(frames.to(where), valid.to(where)).sum(1)
        h = network.embed(learned, network.standardize(sums.to(where)))
        total = torch.zeros((), device=where)
        for output in (network.deep_output(h), network.deep_output(h, targets.corpus[owner])):
            total = total + losses(output, targets, owner, recipe, recipe.smoothing).mean()
            total = total + 0.5 * recipe.target_weight * agreement(output, targets, owner)
        return total

    network.to(where).train()
    descend([p for name, p in network.named_parameters() if name != "wide"], loss, recipe, progress)
    network.cpu()


def descend(
    parameters: Sequence[nn.Parameter], loss: Callable[[], Tensor], recipe: Recipe, progress: Progress
) -> None:
    """`recipe.steps` steps of AdamW down `loss`, which draws a batch whenever it is called.

    The rate rises and falls once (one cycle, Smith 2018); the running mean of the weights is what stays.
    """
    kept = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.rate, recipe.steps, pct_start=recipe.warm_up
    )
    for step in range(recipe.steps):
        optimizer.zero_grad()
        loss().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, recipe.clip)
        optimizer.step()
        schedule.step()
        keep = min(recipe.ema, (step + 1) / (step + 10))
        with torch.no_grad():
            for old, new in zip(kept, parameters, strict=True):
                old.lerp_(new, 1 - keep)
        if step % 25 == 0:
            progress("steps", step / recipe.steps)
    with torch.no_grad():
        for old, new in zip(kept, parameters, strict=True):
            new.copy_(old)


def whole_sums(prepared: Prepared, items: Rows) -> Tensor:
    """Sums of all cells of each item: [b, N_SUMS]."""
    bounds = [(prepared.cells[item], prepared.cells[item + 1]) for item in items]
    return torch.from_numpy(np.stack([prepared.sums[start:end].sum(0) for start, end in bounds]))


def any_span(prepared: Prepared, item: int, size: int, draw: np.random.Generator) -> tuple[int, int]:
    start, end = int(prepared.cells[item]), int(prepared.cells[item + 1])
    if end - start <= size:
        return start, end
    first = start + int(draw.integers(0, end - start - size + 1))
    return first, first + size


def _crop_sums(
    prepared: Prepared, items: Rows, recipe: Recipe, draw: np.random.Generator, whole: bool
) -> Tensor:
    if whole:
        return whole_sums(prepared, items)
    low, high = recipe.crop_cells
    spans = [any_span(prepared, item, int(draw.integers(low, high + 1)), draw) for item in items]
    return torch.from_numpy(np.stack([prepared.sums[start:end].sum(0) for start, end in spans]))


def _crops(
    prepared: Prepared, items: Rows, recipe: Recipe, draw: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    size = int(draw.integers(recipe.crop_cells[0], recipe.crop_cells[1] + 1))  # one for all: little padding
    return gather(prepared, items, [any_span(prepared, item, size, draw) for item in items])


def gather(
    prepared: Prepared, items: Sequence[int] | Rows, spans: list[tuple[int, int]]
) -> tuple[Tensor, Tensor, Tensor]:
    longest = max(end - start for start, end in spans)
    frames = np.zeros((len(spans), longest * CELL_FRAMES, N_BASE), np.float32)
    valid = np.zeros(frames.shape[:2], bool)
    sums = np.zeros((len(spans), N_SUMS), np.float32)
    for i, (item, (start, end)) in enumerate(zip(items, spans, strict=True)):
        size = (end - start) * CELL_FRAMES
        frames[i, :size] = prepared.frames[start * CELL_FRAMES : end * CELL_FRAMES]
        valid[i, : min(size, int(prepared.lengths[item] - (start - prepared.cells[item]) * CELL_FRAMES))] = (
            True
        )
        sums[i] = prepared.sums[start:end].sum(0)
    return torch.from_numpy(frames), torch.from_numpy(valid), torch.from_numpy(sums)


def item_frames(prepared: Prepared, item: int) -> Float:
    """The true frames of an item, [n, N_BASE]."""
    start = int(prepared.cells[item]) * CELL_FRAMES
    return np.asarray(prepared.frames[start : start + int(prepared.lengths[item])], np.float32)


@dataclass(frozen=True)
class Predictions:
    """What a network says about examples, one row an example (or a window)."""

    row: Rows  # [m] index of the example
    mean: Float  # [m, 3]
    std: Float  # [m, 3]
    logits: Float  # [m, K], not restricted to the labels of the corpus


@torch.inference_mode()
def predict(
    network: MoodNetwork | ExpertNetwork,
    prepared: Prepared,
    rows: Rows,
    own: bool = False,
    windows: bool = False,
    channels: Tensor | None = None,
) -> Predictions:
    """Estimates of the unaltered sounds of `rows`: one of the whole example, or one a cell from its window.

    Args:
        own: by the head of the example's own corpus rather than the shared one.
        channels: for each example the sums [n, N_SUMS] of all that is known of its speaker; with these an
            ExpertNetwork normalises by speaker.
    """
    shape = network.shape
    parts: list[tuple[Any, ...]] = []
    for row in rows:
        item = int(row) * prepared.variants
        span = (int(prepared.cells[item]), int(prepared.cells[item + 1]))
        frames, valid, _ = gather(prepared, [item], [span])
        learned = network.encoder(frames, valid)[0]
        fixed = torch.from_numpy(np.array(prepared.sums[span[0] : span[1]]))
        if windows:
            learned = window_sums(learned, shape.past_cells, shape.future_cells)
            fixed = window_sums(fixed, shape.past_cells, shape.future_cells)
        else:
            learned, fixed = learned.sum(0, keepdim=True), fixed.sum(0, keepdim=True)
        corpus = (
            torch.full((len(fixed),), shape.corpora.index(prepared.examples[row].corpus)) if own else None
        )
        if channels is not None and isinstance(network, ExpertNetwork):
            known = channels[int(row)].expand(len(fixed), -1), torch.ones(len(fixed))
            output = network.heads(learned, fixed, corpus, known)[-1]
        else:
            output = network.heads(learned, fixed, corpus)[-1]
        parts.append((np.full(len(fixed), row), output.mean, output.log_std.exp(), output.logits))
    row_part, mean, std, logits = (np.concatenate([np.asarray(p[i]) for p in parts]) for i in range(4))
    return Predictions(row_part, mean, std, logits)
