"""Learning to join: two made-up judges of known quality."""

import numpy as np
import polars as pl
import pytest
import torch

from moodstream.models import fusion
from moodstream.models.calibration import calibrate


def pairs(good: int, n: int = 400) -> fusion.Pairs:
    """Judge `good` is mostly right and the other one guesses; both are equally sure of themselves."""
    draw = np.random.default_rng(0)
    label = draw.integers(0, 4, n)
    scores = torch.full((n, 2, 4), 0.1, dtype=torch.float64)
    said = np.stack([draw.integers(0, 4, n)] * 2, 1)
    said[:, good] = np.where(draw.random(n) < 0.85, label, said[:, good])
    for judge in range(2):
        scores[torch.arange(n), judge, torch.from_numpy(said[:, judge])] = 0.7
    mean = torch.from_numpy(draw.normal(0, 0.3, (n, 2, 2)))
    for d, half in enumerate((fusion.RIGHT, fusion.UPPER)):
        mean[:, good, d] += torch.from_numpy(np.where(np.isin(label, half), 0.5, -0.5))
    std = torch.full((n, 2, 2), 0.3, dtype=torch.float64)
    groups = [str(i // 4) for i in range(n)]
    return fusion.Pairs([f"{i}.mid" for i in range(n)], groups, label, scores, mean, std)


@pytest.mark.parametrize("good", [0, 1])
def test_the_better_judge_counts_more(good: int) -> None:
    network = fusion.fit(pairs(good), np.arange(400))
    assert network.exponents[good] > 3 * network.exponents[1 - good]
    assert (network.trust[:, good] > 3 * network.trust[:, 1 - good]).all()


def test_fused_is_as_good_as_the_better_one_on_others() -> None:
    some = pairs(0)
    fold = fusion._assign(some, 2, 0)
    assert len({(group, k) for group, k in zip(some.group, fold, strict=True)}) == 100
    tables = [
        fusion.predict(fusion.fit(some, np.flatnonzero(fold != k)), some, np.flatnonzero(fold == k))
        for k in range(2)
    ]
    table, calibration = calibrate(pl.concat(tables), fusion.QUADRANTS)
    measures = fusion.measure(table)
    assert measures["music 4Q accuracy"].value > 0.8
    assert measures["symbolic 4Q accuracy"].value < 0.4
    for name, gain in measures.items():
        if name.startswith("fused minus"):
            assert gain.value > -0.02
    assert calibration["ece"] < 0.1


def test_the_temperature_goes_into_the_exponents() -> None:
    network = fusion.fit(pairs(0), np.arange(400))
    before = network.exponents.clone()
    shipped = fusion._shipped(network, {"temperature": 2.0})
    torch.testing.assert_close(
        shipped.shape.exponents, tuple((before / 2).round(decimals=4).tolist()), atol=1e-4, rtol=0
    )
