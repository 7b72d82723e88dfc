"""How much sound and notes count where both are there: learned on clips that both models judged unseen.

The same notes are heard rendered and read as MIDI (EMOPIA); the predictions that are stored with the music
and the symbolic model are out of fold, so neither had learned from the song. From them come, for quadrants,
an exponent each of a log-linear pool, and for valence and arousal how far each model's precision is to be
trusted, and how much their errors have in common. Nothing else is learned: a handful of numbers, which
`transforms.fuse` reads from the card's `shape` without loading a network. Songs are kept apart here too.

Source: log-linear opinion pool, Genest and Zidek (1986), section 3; combination of correlated estimates,
Clemen and Winkler (1985), eq. 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import nn

from moodstream.models import licences, registry
from moodstream.models.base import QUADRANTS
from moodstream.models.corpora import assign_folds
from moodstream.models.examples import Progress, silent
from moodstream.models.harness import PREDICTIONS
from moodstream.models.metrics import accuracy, auroc, bootstrap, paired_bootstrap
from moodstream.models.registry import Card
from moodstream.models.study import Calibration, Item, Measures, Rows, Study

MODALITIES = ("music", "symbolic")
CORPUS = "emopia"
UPPER, RIGHT = (0, 1), (0, 3)  # quadrants of high arousal, of positive valence
PENALTY = 0.02  # on exponents and trust that differ from equal ones
MOST_TRUST = 8.0
_DIMENSIONS = ("valence", "arousal")
LIMITS = [
    "learned on piano: 1,078 clips, the same notes rendered by one synthesiser and as MIDI",
    "for other pairs of modalities (a voice over music) precision alone decides",
]


@dataclass(frozen=True)
class FusionShape:
    """What is learned, as a card has it; lists go by MODALITIES, then by valence and arousal."""

    exponents: tuple[float, ...]  # of the pool of quadrants
    trust: tuple[tuple[float, ...], ...]  # of each dimension, of each modality: factor of its precision
    correlation: tuple[float, ...]  # of each dimension: between the errors of the two

    def asdict(self) -> dict[str, Any]:
        return {
            "modalities": list(MODALITIES),
            "exponents": list(self.exponents),
            "trust": [list(each) for each in self.trust],
            "correlation": list(self.correlation),
        }


class FusionNetwork(nn.Module):
    """The learned numbers, and the pool of quadrants and of dimensions that they make."""

    def __init__(self) -> None:
        super().__init__()
        for name, value in (
            ("exponents", torch.full((2,), 0.5)),
            ("trust", torch.ones(2, 2)),
            ("correlation", torch.full((2,), 0.3)),
            ("temperature", torch.ones(1)),
            ("std_scale", torch.ones(3)),
        ):
            self.register_buffer(name, value)
        self.exponents: torch.Tensor  # [modalities]
        self.trust: torch.Tensor  # [dimensions, modalities]
        self.correlation: torch.Tensor  # [dimensions]
        self.temperature: torch.Tensor
        self.std_scale: torch.Tensor

    @property
    def shape(self) -> FusionShape:
        def told(values: torch.Tensor) -> tuple[float, ...]:
            return tuple(round(float(value), 4) for value in values)

        return FusionShape(
            told(self.exponents), tuple(told(row) for row in self.trust), told(self.correlation)
        )

    def pool(self, scores: torch.Tensor) -> torch.Tensor:
        """Logits [n, 4] of scores [n, modalities, 4]."""
        return (self.exponents[:, None] * torch.log(scores.clamp(min=1e-6))).sum(1)

    def weigh(self, mean: torch.Tensor, std: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and std [n, dimensions] of those of the modalities [n, modalities, dimensions]."""
        precision = self.trust.T * std.clamp(min=1e-3) ** -2
        share = precision / precision.sum(1, keepdim=True)
        common = self.correlation * std[:, 0] * std[:, 1]
        variance = (share * std).square().sum(1) + 2 * share[:, 0] * share[:, 1] * common
        return (share * mean).sum(1), variance.sqrt()


@dataclass(frozen=True)
class Pairs:
    """What both models said of each clip, out of fold."""

    file: list[str]
    group: list[str]
    label: npt.NDArray[np.int64]
    scores: torch.Tensor  # [n, modalities, 4]
    mean: torch.Tensor  # [n, modalities, dimensions]
    std: torch.Tensor


def read_pairs(folder: Path = registry.FOLDER) -> Pairs:
    """The stored out-of-fold predictions of both models, of the first seed, matched by file.

    Raises:
        FileNotFoundError: one of the models, or its predictions, is not installed.
        ValueError: they have no clip in common.
    """
    tables = []
    for name in MODALITIES:
        card = registry.read_card(name, folder)
        path = folder / name / PREDICTIONS
        if not path.is_file():
            raise FileNotFoundError(f"{name} has no {PREDICTIONS} in {path.parent}: train it first")
        table = pl.read_parquet(path).filter(corpus=CORPUS)
        table = table.filter(seed=card.seed) if "seed" in table.columns else table
        tables.append(table.sort("file"))
    both = tables[0].join(tables[1], on="file", suffix="_2").sort("file")
    if not both.height:
        raise ValueError(f"music and symbolic predictions have no clip of {CORPUS} in common: train both")

    def stacked(name: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([both[name + end].to_numpy() for end in ("", "_2")], 1))

    scores = [np.array(both[f"scores{end}"].to_list()) for end in ("", "_2")]
    return Pairs(
        both["file"].to_list(),
        both["group_2"].to_list(),
        both["label"].to_numpy(),
        torch.from_numpy(np.stack(scores, 1)),
        torch.stack([stacked(name) for name in _DIMENSIONS], 2),
        torch.stack([stacked(f"{name}_std") for name in _DIMENSIONS], 2),
    )


def fit(pairs: Pairs, rows: Rows) -> FusionNetwork:
    """Exponents by likelihood, trust by squared error of the side of the middle, error correlation."""
    network = FusionNetwork()
    label = torch.from_numpy(pairs.label[rows])
    scores = torch.log(pairs.scores[rows].clamp(min=1e-6))
    free = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([free], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        exponents = 0.5 * free.exp()
        total = torch.nn.functional.cross_entropy((exponents[:, None] * scores).sum(1), label)
        total = total + PENALTY * free.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    network.exponents.copy_(0.5 * free.detach().exp())
    for d, half in enumerate((RIGHT, UPPER)):
        side = torch.from_numpy(np.where(np.isin(pairs.label[rows], half), 0.5, -0.5))
        mean, std = pairs.mean[rows, :, d], pairs.std[rows, :, d]
        factors = np.exp(np.linspace(-np.log(MOST_TRUST), np.log(MOST_TRUST), 41))
        found = []
        for factor in factors:
            precision = torch.tensor([factor, 1.0]) * std**-2
            said = (precision * mean).sum(1) / precision.sum(1)
            found.append(_unexplained(said, side) + PENALTY * 0.1 * np.log(factor) ** 2)
        best = float(factors[int(np.argmin(found))])
        network.trust[d] = torch.tensor([best**0.5, best**-0.5])
        errors = torch.stack([_residual(mean[:, m], side) for m in range(2)])
        network.correlation[d] = float(torch.corrcoef(errors)[0, 1].clamp(0, 0.95))
    return network.eval()


def _unexplained(said: torch.Tensor, truth: torch.Tensor) -> float:
    """Share of the variance of truth that a line through what was said leaves."""
    return float(_residual(said, truth).var() / truth.var())


def _residual(said: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    inside, goal = said - said.mean(), truth - truth.mean()
    return goal - inside * (inside @ goal) / inside.square().sum().clamp(min=1e-9)


@torch.inference_mode()
def predict(network: FusionNetwork, pairs: Pairs, rows: Rows) -> pl.DataFrame:
    """One row a clip: the columns all tasks have, and `music` and `symbolic`, what each said alone."""
    scores = pairs.scores[rows]
    mean, std = network.weigh(pairs.mean[rows], pairs.std[rows])
    columns: dict[str, Any] = {
        "example": rows,
        "corpus": [CORPUS] * len(rows),
        "group": [pairs.group[row] for row in rows],
        "label": pairs.label[rows],
        "rated": [False] * len(rows),
        "logits": network.pool(scores).tolist(),
    }
    columns["own_logits"] = columns["logits"]
    for d, (name, half) in enumerate((("valence", RIGHT), ("arousal", UPPER))):
        columns[f"true_{name}"] = np.where(np.isin(pairs.label[rows], half), 0.5, -0.5)
        columns |= {name: mean[:, d].double().numpy(), f"{name}_std": std[:, d].double().numpy()}
        for m, modality in enumerate(MODALITIES):
            columns[f"{modality}_{name}"] = pairs.mean[rows, m, d].double().numpy()
    for name in ("true_dominance", "dominance", "dominance_std"):
        columns[name] = np.full(len(rows), np.nan)
    for m, modality in enumerate(MODALITIES):
        columns[f"{modality}_scores"] = scores[:, m].tolist()
    return pl.DataFrame(columns)


def measure(table: pl.DataFrame) -> Measures:
    """Sound alone, notes alone, both; and both minus the better one, paired."""
    measures: Measures = {}
    groups, label = table["group"].to_numpy(), table["label"].to_numpy()
    scores = {name: np.array(table[f"{name}_scores"].to_list()) for name in MODALITIES}
    scores["fused"] = np.array(table["scores"].to_list())
    truths = {"4Q": label, "arousal": np.isin(label, UPPER), "valence": np.isin(label, RIGHT)}
    for kind, truth in truths.items():
        guess = {name: _guess(values, kind) for name, values in scores.items()}
        for name, said in guess.items():
            measures[f"{name} {kind} accuracy"] = bootstrap(accuracy, groups, truth, said)
        better = max(MODALITIES, key=lambda name: accuracy(truth, guess[name]))
        gain = paired_bootstrap(accuracy, groups, truth, guess[better], guess["fused"])
        measures[f"fused minus the better one, {kind} accuracy"] = gain
    for name in _DIMENSIONS:
        truth = truths[name]
        heard = {modality: table[f"{modality}_{name}"].to_numpy() for modality in MODALITIES}
        for modality, values in (*heard.items(), ("fused", table[name].to_numpy())):
            measures[f"{modality} AUC {name}"] = bootstrap(auroc, groups, truth, values)
        better = max(MODALITIES, key=lambda modality: auroc(truth, heard[modality]))
        gain = paired_bootstrap(auroc, groups, truth, heard[better], table[name].to_numpy())
        measures[f"fused minus the better one, AUC {name}"] = gain
    return measures


def _guess(scores: npt.NDArray[np.float64], kind: str) -> npt.NDArray[Any]:
    if kind == "4Q":
        return np.asarray(scores.argmax(1))
    half = UPPER if kind == "arousal" else RIGHT
    rest = [i for i in range(4) if i not in half]
    return np.asarray(scores[:, half].sum(1) > scores[:, rest].sum(1))


class FusionTask:
    """The task, as the harness sees it (a training.Trainable). Train music and symbolic before it."""

    name, corpora = "fusion", {CORPUS: 1.0}

    def measure(self, table: pl.DataFrame) -> Measures:
        """See `measure`."""
        return measure(table)

    def study(
        self,
        data: Any,
        corpora: Sequence[str] = (),
        smoke: bool = False,
        cache: Any = None,
        progress: Progress = silent,
    ) -> Study:
        """Its study, from the predictions of the installed models; `data` and `cache` are not used.

        Raises:
            ValueError: another corpus than EMOPIA. FileNotFoundError: a model is not installed.
        """
        if unknown := [name for name in corpora if name != CORPUS]:
            raise ValueError(f"corpus is {unknown[0]!r}, fusion has {CORPUS}")
        pairs = read_pairs()
        learned = {name: registry.read_card(name).version for name in MODALITIES}
        truth = [
            [s.tolist(), m.tolist()] for s, m in zip(pairs.scores.numpy(), pairs.mean.numpy(), strict=True)
        ]
        return Study(
            card=_draft(),
            items=[
                Item(file, CORPUS, group, int(label), said)
                for file, group, label, said in zip(pairs.file, pairs.group, pairs.label, truth, strict=True)
            ],
            settings={"penalty": PENALTY, "models": learned},
            code=("fusion",),
            assign=partial(_assign, pairs),
            new=FusionNetwork,
            fit=lambda rows, seed, said: fit(pairs, rows),
            predict=lambda network, rows: predict(cast(FusionNetwork, network), pairs, rows),
            measure=measure,
            ship=_shipped,
            smoke=smoke,
            kept_apart="songs",
        )


def _assign(pairs: Pairs, folds: int, seed: int) -> Rows:
    rows = pl.DataFrame({"group": pairs.group, "label": [str(label) for label in pairs.label]})
    return assign_folds(rows, folds, seed, "label")


def _shipped(network: nn.Module, calibration: Calibration) -> nn.Module:
    """The exponents take the temperature in, so that what comes out is calibrated."""
    fusion = cast(FusionNetwork, network)
    fusion.exponents.div_(float(calibration["temperature"]))
    return fusion


def _draft() -> Card:
    return Card(
        name="fusion",
        version="1.0",
        task="fusion",
        labels=list(QUADRANTS),
        dimensions=list(_DIMENSIONS),
        lookahead_s=0.0,
        past_s=0.0,
        corpora={CORPUS: licences.of(CORPUS).stated},
        folds="",
        metrics={},
        seed=0,
        date="",
        limits=LIMITS,
        prior={},
        calibration={},
        licence="",
    )


TASK = FusionTask()
