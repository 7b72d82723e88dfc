"""Training and measuring the symbolic model: quadrants of EMOPIA's clips, VGMIDI's ratings bar by bar.

Conventions: measures are taken on pooled out-of-fold predictions; a bar's rating is compared with the curve
averaged from bar line to bar line.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from moodstream.models import registry
from moodstream.models.base import QUADRANTS
from moodstream.models.calibration import calibrate
from moodstream.models.examples import Progress, silent
from moodstream.models.metrics import Interval, accuracy, bootstrap, ccc, pearson, rmse
from moodstream.models.note_network import NoteEnsemble
from moodstream.models.symbolic import LOOKAHEAD_S, PAST_S, SymbolicModel, average
from moodstream.models.symbolic_data import Ints, Piece, Version, assign, read_pieces, versions
from moodstream.models.symbolic_fitting import RIGHT, UPPER, Recipe, fit

LICENCES = {
    "emopia": "CC BY-NC-SA 4.0 (non-commercial)",
    "vgmidi": "none stated (piano arrangements of commercial game music, research use)",
}
LIMITS = [
    "piano alone: 1,078 clips of pop and 162 pieces of game music; other instruments are read as piano",
    "drums count as rhythm only and were not in the training data",
    "valence and arousal within a piece follow the ratings far less well than the level of the piece does",
    "no ratings of valence and arousal exist for EMOPIA: its clips teach quadrants only",
]
VARIANTS = 3  # each piece as it is, and augmented
SETTLED_BARS = 8  # after which the correlation within a piece is measured


def predict(network: NoteEnsemble, pieces: Sequence[Piece], rows: Ints) -> pl.DataFrame:
    """One row a clip (quadrants) or a rated bar, with the columns `calibration.calibrate` wants."""
    model = SymbolicModel(network)
    parts = []
    for row in rows:
        piece = pieces[row]
        if piece.edges_s is None or piece.ratings is None:
            said = model.piece(piece.notes)
            truth, curves = np.full((1, 2), np.nan), [said.mean, said.std, said.scores]
        else:
            said = model.estimate(piece.notes)
            truth = piece.ratings
            curves = [average(c, piece.edges_s) for c in (said.mean, said.std, said.scores)]
        mean, std, scores = curves
        columns: dict[str, Any] = {
            "example": [int(row)] * len(mean),
            "file": [Path(piece.file).name] * len(mean),
            "corpus": [piece.corpus] * len(mean),
            "group": [piece.group] * len(mean),
            "bar": np.arange(len(mean)),
            "label": [piece.quadrant] * len(mean),
            "rated": [piece.quadrant < 0] * len(mean),
            "logits": np.log(np.maximum(scores, 1e-9)).astype(np.float64).tolist(),
        }
        for i, name in enumerate(("valence", "arousal")):
            columns |= {f"true_{name}": truth[:, i], name: mean[:, i].astype(np.float64)}
            columns |= {f"{name}_std": std[:, i].astype(np.float64)}
        columns |= {"true_dominance": [np.nan] * len(mean), "dominance": [np.nan] * len(mean)}
        parts.append(pl.DataFrame(columns))
    table = pl.concat(parts)
    return table.with_columns(own_logits=pl.col("logits"), dominance_std=pl.col("dominance"))


def measure(table: pl.DataFrame) -> dict[str, Interval]:
    """Accuracies on EMOPIA; agreement with the ratings of VGMIDI's bars, in all and within a piece."""
    clips, bars = (table.filter(pl.col("corpus") == name) for name in ("emopia", "vgmidi"))
    measures: dict[str, Interval] = {}
    if clips.height:
        groups, truth = clips["group"].to_numpy(), clips["label"].to_numpy()
        scores = np.array(clips["scores"].to_list())
        measures["emopia 4Q accuracy"] = bootstrap(accuracy, groups, truth, scores.argmax(1))
        for name, half in (("arousal", UPPER), ("valence", RIGHT)):
            guess = scores[:, half].sum(1) > 0.5
            measures[f"emopia {name} accuracy"] = bootstrap(accuracy, groups, np.isin(truth, half), guess)
    if bars["group"].n_unique() < 2:
        return measures
    groups = bars["group"].to_numpy()
    for name in ("valence", "arousal"):
        columns = [bars[column].to_numpy() for column in (f"true_{name}", name)]
        measures[f"vgmidi CCC {name}"] = bootstrap(ccc, groups, *columns)
        measures[f"vgmidi RMSE {name}"] = bootstrap(rmse, groups, *columns)
        settled = bars.filter(pl.col("bar") >= SETTLED_BARS)
        within = [
            (rows["group"][0], pearson(rows[f"true_{name}"].to_numpy(), rows[name].to_numpy()))
            for _, rows in sorted(settled.group_by("example"))
            if rows.height >= SETTLED_BARS
        ]
        known = [pair for pair in within if np.isfinite(pair[1])]
        owners, values = [p[0] for p in known], [p[1] for p in known]
        measures[f"vgmidi r {name} within a piece, after 8 bars"] = bootstrap(_mean, owners, values)
    return measures


def _mean(values: npt.ArrayLike) -> float:
    return float(np.mean(np.asarray(values)))


def train_symbolic(
    data: str | os.PathLike[str] | None,
    out: str | os.PathLike[str] | None = None,
    *,
    folds: int = 5,
    seed: int = 0,
    smoke: bool = False,
    cache: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
) -> registry.Card:
    """`training.train` for this task."""
    pieces, recipe, count = _ready(data, smoke)
    table = versions(pieces, seed, count, progress)
    fold_of = assign(pieces, folds, seed)
    predictions = cross_validate(pieces, table, fold_of, range(2 if smoke else folds), recipe, seed, progress)
    predictions, calibration = calibrate(predictions, QUADRANTS)
    measures = measure(predictions)
    network = fit(pieces, table, np.arange(len(pieces)), recipe, seed, _within(progress, "final fit"))
    network.temperature.fill_(calibration["temperature"])
    network.std_scale.copy_(
        torch.tensor([calibration["std_scale"].get(n, 1.0) for n in ("valence", "arousal")])
    )
    ratings = np.concatenate([piece.ratings for piece in pieces if piece.ratings is not None])
    card = registry.Card(
        name="symbolic",
        version="1.0",
        task="symbolic",
        labels=list(QUADRANTS),
        dimensions=["valence", "arousal"],
        lookahead_s=LOOKAHEAD_S,
        past_s=PAST_S,
        corpora=LICENCES,
        folds=f"{folds} folds, songs (EMOPIA) and series (VGMIDI) kept apart, pooled out-of-fold predictions",
        metrics={name: [round(x, 4) for x in (v.value, v.low, v.high)] for name, v in measures.items()},
        seed=seed,
        date=datetime.now(UTC).date().isoformat(),
        limits=LIMITS,
        prior={
            name: [round(float(ratings[:, i].mean()), 4), round(float(ratings[:, i].var()), 4)]
            for i, name in enumerate(("valence", "arousal"))
        },
        calibration=calibration,
        licence="weights: non-commercial research (the corpora's licences); code: Apache-2.0",
        shape=network.shape.asdict(),
    )
    folder = Path(out) if out else registry.FOLDER
    card = registry.write_model(card, network.state_dict(), folder)
    predictions.write_parquet(folder / "symbolic" / "predictions.parquet", compression="zstd")
    return card


def evaluate_symbolic(
    data: str | os.PathLike[str] | None,
    model: str | os.PathLike[str] | None = None,
    *,
    full: bool = False,
    cache: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
) -> dict[str, Interval]:
    """`training.evaluate` for this task."""
    folder = Path(model) if model else registry.FOLDER
    card = registry.read_card("symbolic", folder)
    stored = pl.read_parquet(folder / "symbolic" / "predictions.parquet")
    pieces, recipe, count = _ready(data, False)
    measured = stored["example"].n_unique()
    if measured != len(pieces):
        raise ValueError(f"the model was measured on {measured} pieces, the data has {len(pieces)}")
    fold_of = stored.unique("example").sort("example")["fold"].to_numpy()
    folds = sorted(set(fold_of.tolist())) if full else [int(fold_of.min())]
    table = versions(pieces, card.seed, count, progress)
    again = cross_validate(pieces, table, fold_of, folds, recipe, card.seed, progress)
    again, _ = calibrate(again, QUADRANTS, card.calibration)
    before = stored.filter(pl.col("fold").is_in(folds))
    difference = np.abs(np.array(again["scores"].to_list()) - np.array(before["scores"].to_list())).mean()
    if difference > 0.02:  # threads and processors round differently, and training amplifies that
        raise ValueError(f"predicted anew, folds differ from the stored ones by {difference:.3f} on average")
    return measure(again if full else stored)


def cross_validate(
    pieces: Sequence[Piece],
    table: Sequence[Sequence[Version]],
    fold_of: Ints,
    folds: Sequence[int],
    recipe: Recipe,
    seed: int,
    progress: Progress = silent,
) -> pl.DataFrame:
    """Out-of-fold predictions of all pieces in `folds`."""
    parts = []
    for fold in folds:
        rows = np.flatnonzero(fold_of != fold)
        network = fit(pieces, table, rows, recipe, seed, _within(progress, f"fold {fold + 1}"))
        parts.append(
            predict(network, pieces, np.flatnonzero(fold_of == fold)).with_columns(fold=pl.lit(fold))
        )
    return pl.concat(parts).sort("example", "bar")


def _ready(data: str | os.PathLike[str] | None, smoke: bool) -> tuple[list[Piece], Recipe, int]:
    if smoke:
        return read_pieces(data, every=24), replace(Recipe(), steps=2), 1
    return read_pieces(data), Recipe(), VARIANTS


def _within(progress: Progress, stage: str) -> Progress:
    return lambda what, share: progress(f"{stage}: {what}", share)
