"""From a study to a model: folds, seeds, calibration, measures, the fit on everything, the card.

Conventions: a seed deals the folds and starts the networks; what changes from seed to seed is therefore how
much a figure owes to luck. The measure of several seeds is the mean of each one's; its interval resamples
groups over the predictions of all of them. What ships is one fit on everything, with the first seed.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import torch
from torch import nn

from moodstream.models import licences, registry
from moodstream.models.base import DIMENSIONS
from moodstream.models.calibration import calibrate
from moodstream.models.checkpoints import Checkpoints
from moodstream.models.device import machine
from moodstream.models.examples import Progress
from moodstream.models.fingerprint import file_hash, folds_hash, revision, study_hashes
from moodstream.models.metrics import Interval, ccc, uar
from moodstream.models.registry import Card
from moodstream.models.study import Calibration, Measures, Rows, Study

PREDICTIONS, CROSS = "predictions.parquet", "predictions-cross.parquet"
SMOKE_FOLDS = 2  # of a smoke run: enough to see that folds work


class Course:
    """Progress over all fits of a run: how many are done, and what those that are done can do."""

    def __init__(self, progress: Progress, fits: int) -> None:
        self._progress, self._fits, self._done = progress, fits, 0
        self._tables: list[pl.DataFrame] = []
        self._so_far = ""

    def stage(self, name: str) -> Progress:
        """The progress of the next fit."""
        return lambda what, share: self._progress(
            f"{name}: {what}{self._so_far}", (self._done + share) / self._fits
        )

    def finish(self, table: pl.DataFrame | None = None) -> None:
        """A fit is done, and this is what it said about its fold."""
        self._done += 1
        if table is not None:
            self._tables.append(table)
            self._so_far = f" ({headline(pl.concat(self._tables))} so far)"


def train(
    study: Study, out: Path, *, folds: int, seeds: Sequence[int], kept: Checkpoints, progress: Progress
) -> Card:
    """Cross-validate, fit on everything, write `out/<name>/`: weights, card, licence and predictions.

    Raises:
        ValueError: too few groups for so many folds.
    """
    chosen = range(min(folds, SMOKE_FOLDS) if study.smoke else folds)
    course = Course(progress, len(seeds) * len(chosen) + 1)
    table = pl.concat(
        [cross_validate(study, study.assign(folds, seed), chosen, seed, kept, course) for seed in seeds]
    )
    table, calibration = calibrate(table, study.card.labels)
    measures = measure(study.measure, table)
    everything = np.arange(len(study.items))
    shipped = study.ship(kept.fitted(everything, seeds[0], course.stage("final fit")), calibration)

    folder = out / study.card.name
    folder.mkdir(parents=True, exist_ok=True)
    table.write_parquet(folder / PREDICTIONS, compression="zstd")
    (folder / CROSS).unlink(missing_ok=True)  # of the weights before
    corpora = study.card.corpora
    card = replace(
        study.card,
        folds=f"{folds} folds, {study.kept_apart} kept apart, pooled out-of-fold predictions",
        metrics=rounded(measures),
        seed=seeds[0],
        seeds=list(seeds),
        date=datetime.now(UTC).date().isoformat(),
        calibration=calibration,
        licence=licences.weights_licence(list(corpora)),
        commercial={name: licences.of(name).commercial for name in corpora},
        shape=cast(Any, shipped).shape.asdict(),
        commit=revision(),
        machine=machine(),
        hashes={
            "predictions": file_hash(folder / PREDICTIONS),
            "folds": folds_hash(table),
            **study_hashes(study),
        },
    )
    return registry.write_model(card, shipped.state_dict(), out)


def cross_validate(
    study: Study, fold_of: Rows, folds: Sequence[int], seed: int, kept: Checkpoints, course: Course
) -> pl.DataFrame:
    """Out-of-fold predictions of all examples in `folds`, not yet calibrated, sorted by example."""
    tables = []
    for fold in folds:
        network = kept.fitted(
            np.flatnonzero(fold_of != fold), seed, course.stage(f"seed {seed}, fold {fold + 1}")
        )
        said = study.predict(network, np.flatnonzero(fold_of == fold))
        tables.append(said.with_columns(fold=pl.lit(fold), seed=pl.lit(seed)))
        course.finish(tables[-1])
    return pl.concat(tables).sort("example", maintain_order=True)


def measure(measured: Callable[[pl.DataFrame], Measures], table: pl.DataFrame) -> Measures:
    """The measures of a table of predictions, over its seeds (see the conventions)."""
    seeds = table["seed"].unique(maintain_order=True).to_list()
    if len(seeds) == 1:
        return measured(table)
    single = [measured(table.filter(seed=seed)) for seed in seeds]
    many = int(table["example"].max() or 0) + 1  # type: ignore[arg-type]
    apart = pl.col("example") + many * pl.col("seed").rank("dense").cast(pl.Int64)
    pooled = measured(table.with_columns(example=apart))
    return {
        name: Interval(float(np.mean([one[name].value for one in single])), whole.low, whole.high)
        for name, whole in pooled.items()
        if all(name in one for one in single)
    }


def rounded(measures: Measures) -> dict[str, list[float]]:
    """Measures as a card has them."""
    return {name: [round(x, 4) for x in (v.value, v.low, v.high)] for name, v in measures.items()}


def headline(table: pl.DataFrame) -> str:
    """The mean UAR of the corpora with labels and the mean CCC of rated dimensions, for a progress bar."""
    recalls, agreements = [], []
    for _, rows in table.filter(pl.col("label") >= 0).group_by("corpus"):
        guess = np.array(rows["own_logits"].to_list()).argmax(1)
        recalls.append(uar(rows["label"].to_numpy(), guess))
    rated = table.filter(pl.col("rated"))
    for name in DIMENSIONS:
        rows = rated.filter(pl.col(f"true_{name}").is_finite() & pl.col(name).is_finite())
        if rows.height > 1:
            agreements.append(ccc(rows[f"true_{name}"].to_numpy(), rows[name].to_numpy()))
    said = (("UAR", recalls), ("CCC", agreements))
    return ", ".join(f"{name} {np.mean(values):.2f}" for name, values in said if values)


def calibrated(network: nn.Module, calibration: Calibration) -> nn.Module:
    """The network with its calibration filled in: `temperature` [1] and `std_scale` [dimensions]."""
    scales = [calibration["std_scale"].get(name, 1.0) for name in DIMENSIONS]
    with torch.no_grad():
        network.get_buffer("temperature").fill_(calibration["temperature"])
        network.get_buffer("std_scale").copy_(torch.tensor(scales[: len(network.get_buffer("std_scale"))]))
    return network
