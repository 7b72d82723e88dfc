"""Learning how listeners differ: the prior that is found, and what it is measured to be worth."""

import numpy as np
import polars as pl
import pytest

from moodstream.models import harness, registry
from moodstream.models.listener_training import Rater, Recipe, fit, measure, predict
from moodstream.models.listeners import prior_of

STORED = registry.FOLDER / "listener" / "predictions.parquet"


def made(count: int, seed: int = 0) -> list[Rater]:
    """Raters who differ in offset (deviation .3) and slope (.2) and are unsure by .1 a bar."""
    draw = np.random.default_rng(seed)
    raters = []
    for i in range(count):
        common = np.cumsum(draw.normal(0, 0.1, (40, 2)), 0) + draw.normal(0, 0.3, 2)
        said = 0.1 + draw.normal(0, 0.3, 2) + (0.8 + draw.normal(0, 0.2, 2)) * common
        raters.append(
            Rater(f"r{i}", f"p{i % 7}", common, said + draw.normal(0, 0.1, (40, 2)), np.arange(40) * 2.0)
        )
    return raters


def test_the_prior_finds_how_raters_differ() -> None:
    network = fit(made(300), Recipe(rounds=12, every_bar=1, drift=0.0))
    prior = network.prior
    for d in range(2):
        assert prior.mean[d] == pytest.approx([0.1, 0.8], abs=0.05)
        assert np.sqrt(np.diagonal(prior.covariance[d])) == pytest.approx([0.3, 0.2], abs=0.05)
    assert prior.noise == pytest.approx([0.01, 0.01], abs=0.002)
    again = prior_of(network.shape.asdict())
    np.testing.assert_allclose(again.covariance, prior.covariance)


def test_own_ratings_are_measured_on_other_bars() -> None:
    raters = made(60)
    table = predict(fit(raters, Recipe(rounds=6, every_bar=1, drift=0.0)), made(28, seed=5), np.arange(28))
    found = measure(table)
    for name in ("valence", "arousal"):
        gains = [found[f"gain {name}, {k} own ratings"].value for k in (4, 8, 16)]
        assert gains[0] > 0.05
        assert gains[-1] >= gains[0]
        assert found[f"gain {name}, 8 own ratings, the first bars"].value > 0.05
        common, own = (found[f"RMSE {name}, {k}"].value for k in ("common curve", "0 own ratings"))
        assert found[f"gain {name}, 0 own ratings"].value == pytest.approx(common - own)


def test_the_card_says_what_the_predictions_say() -> None:

    card, table = registry.read_card("listener"), pl.read_parquet(STORED)
    found = harness.measure(measure, table)
    assert set(card.metrics) == set(found)
    for name, interval in found.items():
        assert card.metrics[name] == pytest.approx([interval.value, interval.low, interval.high], abs=2e-4), (
            name
        )
    for name in ("valence", "arousal"):
        assert card.metrics[f"gain {name}, 4 own ratings, the first bars"][1] > 0.02
    folds = table.group_by("seed", "group").agg(pl.col("fold").n_unique())
    assert folds["fold"].max() == 1, "a profile lies in two folds"
