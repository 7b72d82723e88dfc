"""Making uncertainty true: one temperature for scores, one factor for each deviation, found out of fold."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from moodstream.models.base import DIMENSIONS
from moodstream.models.metrics import expected_calibration_error, interval_coverage

Logits = npt.NDArray[np.float64]


def calibrate(
    table: pl.DataFrame, labels: Sequence[str], known: dict[str, Any] | None = None
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Predictions with `logits` replaced by calibrated `scores` and deviations scaled, and what that took.

    Args:
        table: as training.tabulate gives it. labels: of the columns of the logits.
        known: a calibration to apply instead of finding one.

    Returns:
        The table, and temperature, std_scale (by dimension), ece, coverage (of 90 % intervals, by dimension).
    """
    rows = table.filter(pl.col("label") >= 0)
    labelled, truth = np.array(rows["logits"].to_list()), rows["label"].to_numpy()
    temperature = known["temperature"] if known else best_temperature(labelled, truth) if len(rows) else 1.0
    own = np.array(rows["own_logits"].to_list())
    own_temperature = best_temperature(own, truth) if len(rows) else 1.0
    scales = {} if known is None else known["std_scale"]
    coverage: dict[str, float] = {}
    changes = [
        pl.Series("scores", softmax(np.array(table["logits"].to_list()) / temperature).round(5).tolist()),
        pl.Series(
            "own_scores", softmax(np.array(table["own_logits"].to_list()) / own_temperature).round(5).tolist()
        ),
    ]
    for name in DIMENSIONS:
        judged = table.filter(pl.col(f"true_{name}").is_not_nan() & pl.col("rated"))
        if judged.height < 10:
            judged = table.filter(pl.col(f"true_{name}").is_not_nan())
        if judged.height < 10:
            continue
        values = [judged[column].to_numpy() for column in (f"true_{name}", name, f"{name}_std")]
        if known is None:
            distance = np.abs(values[0] - values[1]) / values[2]
            scales[name] = round(float(np.quantile(distance, 0.9)) / NormalDist().inv_cdf(0.95), 4)
        changes.append(table[f"{name}_std"] * scales[name])
        coverage[name] = round(interval_coverage(values[0], values[1], values[2] * scales[name]), 4)
    ece = round(expected_calibration_error(truth, softmax(labelled / temperature)), 4) if len(rows) else None
    table = table.with_columns(changes).drop("logits", "own_logits")
    return table, {
        "temperature": round(float(temperature), 4),
        "std_scale": scales,
        "ece": ece,
        "coverage": coverage,
    }


def softmax(logits: Logits) -> Logits:
    """Rows of probabilities."""
    power = np.exp(logits - logits.max(1, keepdims=True))
    out: Logits = power / power.sum(1, keepdims=True)
    return out


def best_temperature(logits: Logits, truth: npt.NDArray[np.int64]) -> float:
    """The temperature of the highest likelihood, on a grid of 0.3 to 4."""
    grid = np.geomspace(0.3, 4.0, 60)
    at = np.arange(len(truth))
    loss = [-np.log(softmax(logits / t)[at, truth] + 1e-12).mean() for t in grid]
    return float(grid[int(np.argmin(loss))])
