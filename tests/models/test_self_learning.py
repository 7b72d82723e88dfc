"""Self-learning finds wrong labels of segments, and learns better for it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from moodstream.models.self_learning import (
    Rows,
    SelfRecipe,
    by_clip,
    even_chances,
    fit_segments,
    judged,
    predict_segments,
    refined,
    right_chance,
    sharpened,
)

CLASSES, COLUMNS, OF_A_CLIP = 3, 24, 5
QUICK = SelfRecipe(epochs=16, steps=12, warm=4, rise=3)
PLAIN = replace(QUICK, judged=False, mixing=0.0)


class Points:
    """Segments that are points around the centre of what they are; noise makes the views."""

    def __init__(self, clips: int, wrong: float, seed: int, bare: int = 0) -> None:
        draw = np.random.default_rng(seed)
        centres = np.random.default_rng(99).normal(0, 0.45, (CLASSES, COLUMNS))
        label = np.repeat(draw.integers(0, CLASSES, clips), OF_A_CLIP)
        self.truth = np.where(
            draw.random(len(label)) < wrong, (label + draw.integers(1, CLASSES, len(label))) % CLASSES, label
        )
        self.wrong = self.truth != label
        points = centres[self.truth] + draw.normal(0, 1, (len(label), COLUMNS))
        self.points = torch.from_numpy(points).float()
        self.labels = torch.eye(CLASSES)[torch.from_numpy(label)]
        self.labels[len(label) - bare :] = 0
        self.allowed = torch.ones_like(self.labels, dtype=torch.bool)

    def plain(self, rows: Rows) -> Tensor:
        return self.points[rows]

    def weak(self, rows: Rows, draw: np.random.Generator) -> Tensor:
        return self.points[rows] + torch.from_numpy(draw.normal(0, 0.1, (len(rows), COLUMNS))).float()

    def strong(self, rows: Rows, draw: np.random.Generator) -> Tensor:
        return self.points[rows] + torch.from_numpy(draw.normal(0, 0.3, (len(rows), COLUMNS))).float()


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(COLUMNS, 64), nn.SiLU(), nn.Linear(64, CLASSES))


def found(recipe: SelfRecipe, wrong: float, seed: int) -> float:
    """Accuracy on new segments after learning from clips with a share of wrong segments."""
    segments, fresh = Points(60, wrong, seed), Points(200, 0.0, seed + 100)
    learned, _ = fit_segments(network(), segments, np.arange(300), recipe, seed)
    said = predict_segments(learned, fresh, np.arange(1000)).argmax(1)
    return float((said == fresh.truth).mean())


def test_helps_where_segments_are_wrong() -> None:
    gains = [found(QUICK, 0.4, seed) - found(PLAIN, 0.4, seed) for seed in range(3)]
    assert min(gains) > 0
    assert np.mean(gains) > 0.03


def test_wrong_segments_are_found() -> None:
    segments = Points(60, 0.3, 1)
    _, chance = fit_segments(network(), segments, np.arange(300), QUICK, 1)
    assert chance[segments.wrong].mean() < 0.6 * chance[~segments.wrong].mean()


def test_audio_without_labels_joins() -> None:
    segments = Points(60, 0.2, 3, bare=100)
    learned, chance = fit_segments(network(), segments, np.arange(300), QUICK, 3)
    assert (chance[200:] == 0).all()
    assert chance[:200].max() > 0.9
    said = predict_segments(learned, segments, np.arange(200, 300)).argmax(1)
    assert (said == segments.truth[200:]).mean() > 0.6


def test_same_seed_same_network() -> None:
    segments = Points(20, 0.2, 0)
    first, second = (
        predict_segments(
            fit_segments(network(), segments, np.arange(100), QUICK, 7)[0], segments, np.arange(9)
        )
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_nothing_labelled_is_said() -> None:
    with pytest.raises(ValueError, match="label"):
        fit_segments(network(), Points(20, 0.0, 0, bare=100), np.arange(100), QUICK)


def test_two_gaussians() -> None:
    draw = np.random.default_rng(0)
    chance = right_chance(np.concatenate((draw.normal(0.2, 0.1, 300), draw.normal(2.0, 0.3, 100))))
    assert (chance[:300] > 0.95).mean() > 0.97
    assert (chance[300:] < 0.05).mean() > 0.97
    assert (right_chance(np.full(5, 0.3)) == 1).all()


def test_losses_are_judged_among_those_with_the_same_columns() -> None:
    low, high = np.repeat([0.1, 0.5], [50, 10]), np.repeat([3.0, 5.0], [50, 10])
    allowed = torch.zeros(120, 4, dtype=torch.bool)
    allowed[:60, :2] = allowed[60:, 2:] = True
    chance = judged(np.concatenate((low, high)), allowed)
    right = np.tile(np.repeat([True, False], [50, 10]), 2)
    assert ((chance > 0.5) == right).all()


def test_sharpened_shares_still_sum_to_one() -> None:
    shares = torch.tensor([[0.6, 0.3, 0.1], [0.5, 0.5, 0.0]])
    sharp = sharpened(shares, 0.5)
    assert sharp.sum(1).tolist() == pytest.approx([1, 1])
    assert float(sharp[0, 0]) == pytest.approx(0.36 / 0.46)
    assert sharp[1].tolist() == [0.5, 0.5, 0.0]
    assert torch.equal(sharpened(shares, 1.0), shares)


def test_labels_are_kept_as_far_as_they_are_trusted() -> None:
    segments = Points(2, 0.0, 0)
    rows, target = np.arange(3), segments.labels[:3]
    draw = np.random.default_rng(0)
    trust = np.array([1.0, 0.5, 0.0])
    found = refined(network().eval(), segments, rows, target, trust, replace(QUICK, temperature=1.0), draw)
    guess = refined(
        network().eval(), segments, rows, target, 0 * trust, replace(QUICK, temperature=1.0), draw
    )
    assert torch.equal(found[0], target[0])
    torch.testing.assert_close(found[1], 0.5 * target[1] + 0.5 * guess[1], atol=0.03, rtol=0)
    torch.testing.assert_close(found[2], guess[2], atol=0.03, rtol=0)


def test_columns_are_drawn_evenly_among_clean_ones() -> None:
    column = np.array([0, 0, 0, 1, 2, 2])
    chance = even_chances(column, np.array([True, False, True, True, False, False]))
    assert chance.tolist() == pytest.approx([1 / 6, 0, 1 / 6, 1 / 3, 1 / 6, 1 / 6])


def test_a_clip_is_the_mean_of_its_segments() -> None:
    names, means = by_clip(np.array([[1, 0], [0, 1], [0, 1]], np.float32), [7, 3, 7])
    assert names.tolist() == [3, 7]
    assert means.tolist() == [[0, 1], [0.5, 0.5]]
