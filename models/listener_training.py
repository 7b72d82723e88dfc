"""Learning how listeners differ, and measuring what ratings of one's own are worth.

The raters of VGMIDI are the listeners, the out-of-fold curves of the symbolic model (series kept apart) the
common curve. VGMIDI names no raters: whoever gave the same age, gender, country and musicianship has one
profile id. Profiles are kept apart by fold, which keeps persons apart as far as they can be told. A rater is
known on one piece alone, so his own ratings are bars of the piece that he is measured on: the first of them,
or some anywhere in it; the other bars are predicted.

Conventions: errors are root mean squares over the predicted bars of all raters; a gain is how much smaller
than with the common curve.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import nn

from moodstream.models import licences, registry
from moodstream.models.base import DIMENSIONS
from moodstream.models.corpora import DataError, assign_folds
from moodstream.models.examples import Progress, silent
from moodstream.models.fingerprint import file_hash
from moodstream.models.listeners import N_DIMENSIONS, Prior, effect_of, noise_of, prior_of
from moodstream.models.metrics import bootstrap
from moodstream.models.registry import Card
from moodstream.models.study import Item, Measures, Rows, Study
from moodstream.models.symbolic_data import ANNOTATIONS, read_pieces

COUNTS = (0, 4, 8, 16)  # of own ratings
LEAST = 8  # bars to predict
LIMITS = [
    "learned from raters of piano music from games, nearly all of them from the US",
    "a profile id is shared by all who gave the same age, gender, country and musicianship: persons are kept "
    "apart no further than that",
    "what the profile itself says is worth nothing: age, gender, musicianship and knowing the piece explain "
    ".000 of the variance of raters' mean distance from the common curve for valence and .002 for arousal, "
    "out of fold; so it is not used",
    "raters are known on one piece each, so what ratings of one piece say about another cannot be learned; "
    "raters of one profile id share .002 and .001 of that variance between pieces",
    "shifts and stretches the curve; where a listener hears another shape than all, it does not follow",
]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rater:
    """What one rater said of the bars of one piece."""

    key: str
    profile: str
    common: Array  # [m, 2]
    said: Array  # [m, 2]
    start_s: Array  # [m]


@dataclass(frozen=True)
class Recipe:
    """How to fit."""

    rounds: int = 6  # of expectation and maximisation
    every_bar: int = 3
    every_rater: int = 5
    drift: float = 0.85
    drift_s: float = 15.0


class Listeners(nn.Module):
    """The prior as buffers."""

    def __init__(self) -> None:
        super().__init__()
        two = N_DIMENSIONS
        sizes = {
            "mean": (two, 2),
            "covariance": (two, 2, 2),
            "noise": (two,),
            "drift": (two,),
            "drift_s": (two,),
        }
        for name, size in sizes.items():
            self.register_buffer(name, torch.zeros(size))

    @property
    def prior(self) -> Prior:
        return prior_of({name: value.numpy() for name, value in self.state_dict().items()})

    @property
    def shape(self) -> "_Shape":
        return _Shape({name: value.tolist() for name, value in self.state_dict().items()})


@dataclass(frozen=True)
class _Shape:
    """The prior once more, for the card: whoever applies it needs no torch."""

    values: dict[str, Any]

    def asdict(self) -> dict[str, Any]:
        return self.values


def read_raters(data: str | os.PathLike[str] | None, models: Path = registry.FOLDER) -> list[Rater]:
    """The raters of VGMIDI, each with the out-of-fold curve of his piece.

    Raises:
        DataError: the symbolic model has no out-of-fold predictions. FileNotFoundError: no data.
    """
    stored = models / "symbolic" / "predictions.parquet"
    if not stored.is_file():
        raise DataError(f"no {stored}: train the symbolic model first, listeners are measured against it")
    table = pl.read_parquet(stored).filter(pl.col("corpus") == "vgmidi")
    table = table.filter(pl.col("seed") == table["seed"].min())
    curves = {
        str(name): rows.sort("bar").select("valence", "arousal").to_numpy()
        for (name,), rows in table.group_by("file")
    }
    pieces = {Path(p.file).name: p for p in read_pieces(data, corpora=["vgmidi"])}
    folder = Path(next(iter(pieces.values())).file).parent.parent
    labels = pl.read_csv(folder / "labels.csv").select("piece_uid", "midi")
    rows = pl.read_csv(folder / ANNOTATIONS).filter(pl.col("steps_ok")).join(labels, on="piece_uid")
    raters = []
    for row in rows.iter_rows(named=True):
        name = Path(row["midi"]).name
        edges = pieces[name].edges_s
        said = np.array([row["valence"].split(), row["arousal"].split()], np.float64).T
        if name in curves and edges is not None:
            m = min(len(said), len(curves[name]), len(edges) - 1)
            key = f"{name}:{row['annotation_idx']}"
            raters.append(Rater(key, row["profile_id"], curves[name][:m], said[:m], edges[:m]))
    return raters


def fit(raters: Sequence[Rater], recipe: Recipe) -> Listeners:
    """The prior by expectation and maximisation, each dimension by itself.

    Source: Laird & Ware, "Random-effects models for longitudinal data", Biometrics 38 (1982).
    """
    two = N_DIMENSIONS
    prior = Prior(
        mean=np.tile([0.0, 1.0], (two, 1)),
        covariance=np.tile(0.1 * np.eye(2), (two, 1, 1)),
        noise=np.full(two, 0.06),
        drift=np.full(two, recipe.drift),
        drift_s=np.full(two, recipe.drift_s),
    )
    for _ in range(recipe.rounds):
        steps = [_step(raters, prior, d, recipe.every_bar) for d in range(two)]
        mean, covariance, noise = (np.array(part) for part in zip(*steps, strict=True))
        prior = replace(prior, mean=mean, covariance=covariance, noise=noise)
    network = Listeners()
    network.load_state_dict({name: torch.from_numpy(value).float() for name, value in asdict(prior).items()})
    return network.eval()


def _step(raters: Sequence[Rater], prior: Prior, d: int, every: int) -> tuple[Array, Array, float]:
    effects, doubts, squares, count = [], [], 0.0, 0
    known = np.linalg.inv(prior.covariance[d])
    for rater in raters:
        common, said = rater.common[::every, d], rater.said[::every, d]
        design = np.stack([np.ones(len(common)), common], 1)
        precise = np.linalg.inv(noise_of(prior, d, rater.start_s[::every]))
        doubt = np.linalg.inv(design.T @ precise @ design + known)
        effect = doubt @ (design.T @ precise @ said + known @ prior.mean[d])
        left = said - design @ effect
        squares += prior.noise[d] * float(
            left @ precise @ left + np.trace(precise @ design @ doubt @ design.T)
        )
        count += len(common)
        effects.append(effect)
        doubts.append(doubt)
    return np.mean(effects, 0), np.mean(doubts, 0) + np.cov(np.transpose(effects), bias=True), squares / count


def predict(network: Listeners, raters: Sequence[Rater], rows: Rows) -> pl.DataFrame:
    """One row a rater: mean squared errors with the common curve and with his own, by own ratings."""
    prior = network.prior
    found = []
    for row in rows:
        rater, m = raters[row], len(raters[row].said)
        common = np.concatenate((rater.common, np.full((m, 1), np.nan)), 1).astype(np.float32)
        columns: dict[str, Any] = {
            "example": int(row),
            "corpus": "vgmidi",
            "group": rater.profile,
            "label": -1,
        }
        columns |= {"rated": True, "logits": [0.0], "own_logits": [0.0]}
        columns |= {f"true_{name}": float("nan") for name in DIMENSIONS}
        draw = np.random.default_rng(int(row)).permutation(m)
        for count in COUNTS:
            for way, own in (("first", np.arange(min(count, m))), ("any", np.sort(draw[:count]))):
                rest = np.setdiff1d(np.arange(m), own)
                effect = effect_of(prior, rater.common[own], rater.said[own], rater.start_s[own])
                curve, std = effect.apply(common, np.full((m, 3), 0.1, np.float32))
                if not count:
                    columns |= {n: float(curve[:, i].mean()) for i, n in enumerate(DIMENSIONS)}
                    columns |= {f"{n}_std": float(std[:, i].mean()) for i, n in enumerate(DIMENSIONS)}
                for i, name in enumerate(DIMENSIONS[:N_DIMENSIONS]):
                    for who, said in (("common", common), ("own", curve)):
                        error = (
                            np.square(said[rest, i] - rater.said[rest, i]).mean()
                            if len(rest) >= LEAST
                            else np.nan
                        )
                        columns[f"{who}_{name}_{count}_{way}"] = float(error)
        found.append(columns)
    return pl.DataFrame(found)


def measure(table: pl.DataFrame) -> Measures:
    """Errors with the common curve and with the listener's own, and how much smaller these are."""
    measures: Measures = {}
    for name in DIMENSIONS[:N_DIMENSIONS]:
        for count in COUNTS:
            for way, words in (("first", "first"), ("any", "")):
                if not count and way == "any":
                    continue
                common, own = f"common_{name}_{count}_{way}", f"own_{name}_{count}_{way}"
                rows = table.filter(pl.col(common).is_finite())
                if rows["group"].n_unique() < 2:
                    continue
                groups, errors = (
                    rows["group"].to_numpy(),
                    [rows[column].to_numpy() for column in (common, own)],
                )
                label = f"{name}, {count} own ratings" + (f", the {words} bars" if words and count else "")
                if not count:
                    measures[f"RMSE {name}, common curve"] = bootstrap(_root, groups, errors[0])
                measures[f"RMSE {label}"] = bootstrap(_root, groups, errors[1])
                measures[f"gain {label}"] = bootstrap(_gain, groups, *errors)
    return measures


def _root(squares: npt.ArrayLike) -> float:
    return float(np.sqrt(np.mean(np.asarray(squares))))


def _gain(common: npt.ArrayLike, own: npt.ArrayLike) -> float:
    return _root(common) - _root(own)


class ListenerTask:
    """The task, as the harness sees it."""

    name, corpora = "listener", ("vgmidi",)

    def measure(self, table: pl.DataFrame) -> Measures:
        """See `measure`."""
        return measure(table)

    def study(
        self,
        data: str | os.PathLike[str] | None,
        corpora: Sequence[str] = (),
        smoke: bool = False,
        cache: str | os.PathLike[str] | None = None,
        progress: Progress = silent,
    ) -> Study:
        """Its study, the raters read.

        Args:
            corpora: vgmidi or none. smoke: few raters. cache: not used.

        Raises:
            DataError: another corpus, or no symbolic model. FileNotFoundError: no data.
        """
        if set(corpora) - set(self.corpora):
            raise DataError(f"corpus is {corpora[0]!r}, listener has vgmidi")
        raters = read_raters(data)[:: 40 if smoke else 1]
        recipe = Recipe(rounds=1, every_rater=1) if smoke else Recipe()
        curves = file_hash(registry.FOLDER / "symbolic" / "predictions.parquet")
        return Study(
            card=_draft(),
            items=[Item(r.key, "vgmidi", r.profile, -1, r.said.round(4).tolist()) for r in raters],
            settings={"recipe": asdict(recipe), "curves": curves},
            code=("listener_training", "listeners"),
            assign=lambda folds, seed: assign_folds(
                pl.DataFrame({"group": [r.profile for r in raters]}), folds, seed
            ),
            new=Listeners,
            fit=lambda rows, seed, said: fit([raters[row] for row in rows[:: recipe.every_rater]], recipe),
            predict=lambda network, rows: predict(cast(Listeners, network), raters, rows),
            measure=measure,
            ship=lambda network, calibration: network,
            smoke=smoke,
            kept_apart="profiles of raters (and, in the common curve, series of games)",
        )


def _draft() -> Card:
    return Card(
        name="listener",
        version="1.0",
        task="listener",
        labels=[],
        dimensions=list(DIMENSIONS[:N_DIMENSIONS]),
        lookahead_s=0.0,
        past_s=0.0,
        corpora={"vgmidi": licences.of("vgmidi").stated},
        folds="",
        metrics={},
        seed=0,
        date="",
        limits=LIMITS,
        prior={},
        calibration={},
        licence="",
    )


TASK = ListenerTask()
