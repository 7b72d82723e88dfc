"""Checking a model: does what is stored belong together, and does a fit made now say the same?

`stored` needs nothing but the model: the weights must be those of the card, the predictions those that the
card was measured on, no group may lie in two folds, and the measures computed from the predictions anew must
be the card's. `compared` needs the data: names, sizes and labels of the corpora and the recipe must be those
of the training; then a fold is fitted again and must predict what is stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from moodstream.models import registry
from moodstream.models.calibration import calibrate
from moodstream.models.checkpoints import Checkpoints
from moodstream.models.examples import Progress, silent
from moodstream.models.fingerprint import file_hash, folds_hash, study_hashes
from moodstream.models.harness import CROSS, PREDICTIONS, Course, cross_validate, rounded
from moodstream.models.registry import Card
from moodstream.models.study import Measures, Study

TOLERANCE = (
    0.02  # mean difference of scores and of dimensions: processors round differently, training amplifies it
)
AGREES = 5e-4  # a measure computed again from the same predictions


class StaleError(ValueError):
    """What is stored with a model does not belong to it, or not to the data and the code that are here."""


def predictions(card: Card, folder: Path) -> pl.DataFrame:
    """The out-of-fold predictions of a model, after everything that can be checked without data.

    Raises:
        FileNotFoundError: no predictions, or no weights.
        StaleError: weights, predictions or folds are not those of the card, or a group lies in two folds.
    """
    try:
        registry.read_weights(card.name, folder)
    except ValueError as error:
        raise StaleError(f"{card.name}: the weights changed since the card was written ({error})") from error
    path = folder / card.name / PREDICTIONS
    if not path.is_file():
        raise FileNotFoundError(f"the model {card.name!r} has no {PREDICTIONS} in {path.parent}")
    found = {"predictions": file_hash(path)}
    _same(card, found)
    table = pl.read_parquet(path)
    _same(card, {"folds": folds_hash(table)})
    divided = (
        table.group_by("seed", "corpus", "group").agg(pl.col("fold").n_unique()).filter(pl.col("fold") > 1)
    )
    if divided.height:
        raise StaleError(f"{card.name}: the group {divided['group'][0]!r} lies in two folds")
    return table


def check_measures(card: Card, measures: Measures) -> None:
    """The card's measures must be those of its predictions.

    Raises:
        StaleError: they are not; the message names the first that differs.
    """
    now = rounded(measures)
    if missing := sorted(set(card.metrics) ^ set(now)):
        raise StaleError(
            f"{card.name}: the card and the predictions do not have the same measures: {missing[0]}"
        )
    for name, values in card.metrics.items():
        if np.abs(np.subtract(values, now[name])).max() > AGREES:
            raise StaleError(
                f"{card.name}: the card says {name} is {values[0]}, its predictions {now[name][0]}"
            )


def check_study(card: Card, study: Study) -> list[str]:
    """Data and recipe must be those of the training.

    Returns:
        What is worth saying, though it does not make the predictions stale.

    Raises:
        StaleError: the data or the recipe changed; the message names what.
    """
    now = study_hashes(study)
    _same(card, {name: value for name, value in now.items() if name != "code"})
    gone = sorted(name for name in card.hashes if name.startswith("data ") and name not in now)
    if gone:
        raise StaleError(f"{card.name} was trained with {', '.join(gone)}, which is not here")
    if card.hashes.get("code") != now["code"]:
        since = card.commit or card.date
        return [f"the code of its fits changed since {since}: fitting again says what that does"]
    return []


def compared(
    card: Card, table: pl.DataFrame, study: Study, full: bool = False, progress: Progress = silent
) -> tuple[pl.DataFrame, float]:
    """One fold of the first seed (all of all with `full`), fitted anew and compared with what is stored.

    Returns:
        Its predictions, calibrated as the card says, and the greatest mean difference.

    Raises:
        StaleError: they differ by more than TOLERANCE.
    """
    seeds = card.seeds if full else card.seeds[:1]
    folds = {seed: sorted(set(table.filter(seed=seed)["fold"].to_list())) for seed in seeds}
    if not full:
        folds = {seed: some[:1] for seed, some in folds.items()}
    course = Course(progress, sum(map(len, folds.values())))
    kept = Checkpoints(study, fresh=True, keep=False)
    parts = []
    for seed, some in folds.items():
        fold_of = table.filter(seed=seed).unique("example").sort("example")["fold"].to_numpy()
        parts.append(cross_validate(study, fold_of, some, seed, kept, course))
    again, _ = calibrate(pl.concat(parts), card.labels, card.calibration)
    wanted = pl.DataFrame([(s, f) for s, some in folds.items() for f in some], ["seed", "fold"], orient="row")
    keys = [pl.col(name).cast(pl.Int64) for name in ("seed", "fold")]
    before = table.with_columns(keys).join(wanted, on=["seed", "fold"], how="semi", maintain_order="left")
    worst = difference(before, again, card.dimensions)
    if worst > TOLERANCE:
        raise StaleError(
            f"{card.name}: predicted anew, folds {folds} differ from the stored predictions by {worst:.3f} "
            f"on average, allowed is {TOLERANCE}"
        )
    return again, worst


def difference(before: pl.DataFrame, again: pl.DataFrame, dimensions: Sequence[str]) -> float:
    """The mean absolute difference of the scores or of a dimension, whichever is greatest."""
    scores = [np.array(table["scores"].to_list()) for table in (before, again)]
    if scores[0].shape != scores[1].shape:
        raise StaleError(f"{len(scores[0])} predictions are stored, {len(scores[1])} were made anew")
    found = [float(np.abs(scores[0] - scores[1]).mean())]
    found += [float((before[name] - again[name]).abs().mean()) for name in dimensions]  # type: ignore[arg-type]
    return max(found)


def cross_predictions(card: Card, folder: Path) -> pl.DataFrame | None:
    """What the model's recipe says about corpora that were left out, where that was measured.

    Raises:
        StaleError: the predictions are not those of the card.
    """
    path = folder / card.name / CROSS
    if not path.is_file():
        return None
    _same(card, {"cross": file_hash(path)})
    return pl.read_parquet(path)


def store_cross(card: Card, table: pl.DataFrame, measures: Measures, folder: Path) -> Card:
    """Write predictions on left-out corpora beside the model, and their measures into its card."""
    path = folder / card.name / CROSS
    table.write_parquet(path, compression="zstd")
    hashes = {**card.hashes, "cross": file_hash(path)}
    card = replace(card, cross=rounded(measures), hashes=hashes)
    registry.write_card(card, folder)
    return card


def _same(card: Card, found: Mapping[str, str]) -> None:
    changed = [name for name, value in found.items() if card.hashes.get(name) != value]
    if changed:
        known = [name for name in changed if name in card.hashes]
        what = (
            f"{', '.join(known)} changed since it was trained"
            if known
            else f"its card has no hash of {changed[0]}"
        )
        raise StaleError(f"{card.name} {card.version} is stale: {what}; train it again (`moodstream train`)")
