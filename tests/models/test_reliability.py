"""Uncertainties judged on groups that had no part in setting them."""

import numpy as np
import polars as pl
import pytest

from moodstream.models.reliability import reliability

N, FOLDS = 3_000, 5


def predictions(std: np.ndarray, error: np.ndarray, scores: np.ndarray | None = None) -> pl.DataFrame:
    """Predictions of valence with these deviations and errors; ten groups a fold."""
    rng = np.random.default_rng(1)
    n = len(std)
    truth = rng.uniform(-1, 1, n)
    return pl.DataFrame(
        {
            "fold": np.arange(n) % FOLDS,
            "seed": np.zeros(n, int),
            "group": [f"{i % FOLDS}-{i % 50}" for i in range(n)],
            "rated": np.ones(n, bool),
            "true_valence": truth,
            "valence": truth + error,
            "valence_std": std,
            "label": np.full(n, -1) if scores is None else rng.binomial(1, 0.8, n),
            "scores": (np.full((n, 2), 0.5) if scores is None else scores).tolist(),
        }
    )


def test_deviations_that_know_when_errors_are_large_hold_and_are_narrower() -> None:
    rng = np.random.default_rng(0)
    std = rng.choice([0.05, 0.4], N)
    found = reliability(predictions(std / 3, rng.normal(0, std)), ["valence"])  # a third: the scale is found
    assert found["90 % intervals of valence hold"].value == pytest.approx(0.9, abs=0.02)
    assert found["width of valence / constant"].high < 0.9
    assert found["order of valence"].value > 0.5


def test_deviations_that_know_nothing_are_no_narrower() -> None:
    rng = np.random.default_rng(0)
    found = reliability(predictions(rng.uniform(0.1, 0.3, N), rng.normal(0, 0.2, N)), ["valence"])
    assert found["width of valence / constant"].value > 1
    assert abs(found["order of valence"].value) < 0.1


def test_a_fold_has_no_say_in_its_own_intervals() -> None:
    """One fold is ten times worse: scaled on all rows, its intervals would hold more."""
    rng = np.random.default_rng(0)
    error = rng.normal(0, 0.1, N) * np.where(np.arange(N) % FOLDS == 0, 10, 1)
    found = reliability(predictions(np.linspace(0.1, 0.101, N), error), ["valence"])
    worst = reliability(
        predictions(np.linspace(0.1, 0.101, N), error).filter(pl.col("fold") < 2), ["valence"]
    )
    assert found["90 % intervals of valence hold"].value < 0.88
    assert worst["90 % intervals of valence hold"].value == pytest.approx(0.57, abs=0.05)  # (0.13 + 1) / 2


def test_scores_are_set_right_by_the_other_folds() -> None:
    sure = np.tile([0.03, 0.97], (N, 1))  # of what is right in 80 %
    found = reliability(predictions(np.linspace(0.1, 0.2, N), np.linspace(0, 0.1, N), sure), ["valence"])
    assert found["calibration error"].value < 0.03


def test_what_the_table_knows_too_little_of_is_not_judged() -> None:
    few = predictions(np.full(N, 0.1), np.full(N, 0.1)).head(20)
    assert reliability(few, ["valence"]) == {}
