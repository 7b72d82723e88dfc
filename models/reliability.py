"""Whether uncertainties can be trusted: measured on groups that had no part in setting them.

A card's deviations are scaled so that their 90 % intervals hold 90 % of the out-of-fold truths; that says
nothing of people or songs to come. Here the factor of each fold, and its temperature, come from the other
folds alone, whose groups are others, and are judged on this one.

Conventions: intervals are central, nominally 90 %. *Width* is theirs as a share of the one constant width
that holds 90 % of the other folds: below 1, knowing when not to know is worth something. *Order* is
Spearman's correlation of deviation and absolute error.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.stats import spearmanr

from moodstream.models.calibration import best_temperature, softmax
from moodstream.models.metrics import bootstrap, expected_calibration_error
from moodstream.models.study import Measures

LEVEL = 0.9
_LEAST = 50  # rows of a dimension, to say anything
Float = npt.NDArray[np.float64]


def reliability(table: pl.DataFrame, dimensions: Sequence[str]) -> Measures:
    """Coverage, width and order by dimension, and the calibration error of classes.

    Args:
        table: out-of-fold predictions as they are stored: calibrated, with `fold`, `seed` and `group`.

    Returns:
        Measures with their intervals over groups; without those of which the table knows too little.
    """
    measures: Measures = {}
    for name in dimensions:
        rows = table.filter(pl.col(f"true_{name}").is_not_nan() & pl.col(name).is_not_nan())
        rows = rows.filter("rated") if rows["rated"].sum() >= _LEAST else rows
        if rows.height < _LEAST:
            continue
        groups = rows["group"].to_numpy()
        error = np.abs(rows[f"true_{name}"].to_numpy() - rows[name].to_numpy())
        std = rows[f"{name}_std"].to_numpy()
        half, constant = _half_widths(error, std, _folds(rows))
        measures[f"90 % intervals of {name} hold"] = bootstrap(_share, groups, error <= half)
        measures[f"width of {name} / constant"] = bootstrap(_ratio, groups, half, constant)
        measures[f"order of {name}"] = bootstrap(_order, groups, std, error)
    labelled = table.filter(pl.col("label") >= 0)
    if labelled.height >= _LEAST:
        truth, scores = labelled["label"].to_numpy(), np.array(labelled["scores"].to_list())
        known = _at_other_folds(truth, np.log(scores + 1e-6), _folds(labelled))
        groups = labelled["group"].to_numpy()
        measures["calibration error"] = bootstrap(expected_calibration_error, groups, truth, known)
    return measures


def _folds(rows: pl.DataFrame) -> npt.NDArray[np.int64]:
    """Seed and fold as one number."""
    number: npt.NDArray[np.int64] = (
        rows["seed"].cast(pl.Int64) * 1000 + rows["fold"].cast(pl.Int64)
    ).to_numpy()
    return number


def _others(folds: npt.NDArray[np.int64], one: int) -> npt.NDArray[np.bool_]:
    """The other folds of the same seed."""
    return (folds // 1000 == one // 1000) & (folds != one)


def _half_widths(error: Float, std: Float, folds: npt.NDArray[np.int64]) -> tuple[Float, Float]:
    """By row the half width of its interval, and the constant one, both set by the other folds."""
    half, constant = np.empty_like(error), np.empty_like(error)
    for one in np.unique(folds):
        mine, others = folds == one, _others(folds, one)
        half[mine] = std[mine] * np.quantile(error[others] / std[others], LEVEL)
        constant[mine] = np.quantile(error[others], LEVEL)
    return half, constant


def _at_other_folds(truth: npt.NDArray[np.int64], logits: Float, folds: npt.NDArray[np.int64]) -> Float:
    """Scores at the temperature that fits the other folds best."""
    scores = np.empty_like(logits)
    for one in np.unique(folds):
        mine, others = folds == one, _others(folds, one)
        scores[mine] = softmax(logits[mine] / best_temperature(logits[others], truth[others]))
    return scores


def _share(held: npt.NDArray[np.bool_]) -> float:
    return float(held.mean())


def _ratio(half: Float, constant: Float) -> float:
    return float(half.mean() / constant.mean())


def _order(std: Float, error: Float) -> float:
    return float(spearmanr(std, error).statistic)
