"""Training and measuring the symbolic model: quadrants of EMOPIA's clips, VGMIDI's ratings bar by bar.

Conventions: measures are taken on pooled out-of-fold predictions; a bar's rating is compared with the curve
averaged from bar line to bar line.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import polars as pl

from moodstream.models import licences
from moodstream.models.base import QUADRANTS
from moodstream.models.corpora import DataError
from moodstream.models.examples import Progress, silent
from moodstream.models.harness import calibrated
from moodstream.models.metrics import Interval, accuracy, bootstrap, ccc, pearson, rmse
from moodstream.models.note_network import NoteEnsemble, NoteShape
from moodstream.models.registry import Card
from moodstream.models.study import Item, Measures, Study
from moodstream.models.symbolic import LOOKAHEAD_S, PAST_S, SymbolicModel, average
from moodstream.models.symbolic_data import Ints, Piece, assign, read_pieces, versions
from moodstream.models.symbolic_fitting import RIGHT, UPPER, Recipe, fit

CORPORA = ("emopia", "vgmidi")
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


class SymbolicTask:
    """The task, as the harness sees it."""

    name, corpora = "symbolic", CORPORA

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
        """Its study, the pieces read and their features computed.

        Args:
            corpora: only these, all when empty. smoke: few pieces, few steps. cache: not used.

        Raises:
            DataError: no such corpus. FileNotFoundError: no data.
        """
        if unknown := [name for name in corpora if name not in CORPORA]:
            raise DataError(f"corpus is {unknown[0]!r}, symbolic has {', '.join(CORPORA)}")
        recipe, count = (replace(Recipe(), steps=2), 1) if smoke else (Recipe(), VARIANTS)
        pieces = [p for p in read_pieces(data, 24 if smoke else 1) if p.corpus in (corpora or CORPORA)]
        table = versions(pieces, 0, count, progress)
        return Study(
            card=_draft(pieces),
            items=[_item(piece) for piece in pieces],
            settings={"recipe": asdict(recipe), "shape": NoteShape().asdict(), "variants": count},
            code=("symbolic_training", "symbolic_fitting"),
            assign=partial(assign, pieces),
            new=lambda: NoteEnsemble(NoteShape()),
            fit=lambda rows, seed, said: fit(pieces, table, rows, recipe, seed, said),
            predict=lambda network, rows: predict(cast(NoteEnsemble, network), pieces, rows),
            measure=measure,
            ship=calibrated,
            smoke=smoke,
            kept_apart="songs (EMOPIA) and series (VGMIDI)",
        )


def _draft(pieces: Sequence[Piece]) -> Card:
    rated = [piece.ratings for piece in pieces if piece.ratings is not None]
    ratings = np.concatenate(rated) if rated else np.zeros((1, 2))
    names = dict.fromkeys(piece.corpus for piece in pieces)
    return Card(
        name="symbolic",
        version="1.0",
        task="symbolic",
        labels=list(QUADRANTS),
        dimensions=["valence", "arousal"],
        lookahead_s=LOOKAHEAD_S,
        past_s=PAST_S,
        corpora={name: licences.of(name).stated for name in names},
        folds="",
        metrics={},
        seed=0,
        date="",
        limits=LIMITS,
        prior={
            name: [round(float(ratings[:, i].mean()), 4), round(float(ratings[:, i].var()), 4)]
            for i, name in enumerate(("valence", "arousal"))
        },
        calibration={},
        licence="",
    )


def _item(piece: Piece) -> Item:
    file = Path(piece.file)
    truth = None if piece.ratings is None else piece.ratings.tolist()
    key = f"{file.parent.name}/{file.name}:{file.stat().st_size}"
    return Item(key, piece.corpus, piece.group, piece.quadrant, truth)


TASK = SymbolicTask()
