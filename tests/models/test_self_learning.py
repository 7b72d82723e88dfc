"""Self-learning finds wrong labels of segments, and learns better for it."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from moodstream.models.self_learning import (
    Rows,
    SelfRecipe,
    fit_segments,
    predict_segments,
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
