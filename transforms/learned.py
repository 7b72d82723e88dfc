"""Sound and notes of one piece, joined as was learned: what `models.fusion` found, applied cell by cell.

Conventions: arrays over n cells, [n, 3] for the dimensions and [n, 4] for quadrants; NaN where a model says
nothing. Where one of the two is alone it comes through unchanged. Precision of each model is trusted as far
as learned for each dimension, errors have in common what was learned; quadrants are pooled log-linearly.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from moodstream.models.base import Float
from moodstream.transforms.fuse import SMALLEST_SCORE, SMALLEST_STD

JOINED = ("music", "symbolic")  # what is joined, in the order of the numbers


@dataclass(frozen=True)
class Said:
    """What a model says of n cells."""

    mean: Float  # [n, 3]
    std: Float  # [n, 3]
    scores: Float  # [n, 4]


@dataclass(frozen=True)
class Learned:
    """The learned numbers; trust and correlation of valence and arousal, dominance has no model."""

    exponents: tuple[float, ...]
    trust: npt.NDArray[np.float64]  # [2, 3] by modality and dimension
    correlation: npt.NDArray[np.float64]  # [3]

    @classmethod
    def of(cls, shape: Mapping[str, Any]) -> "Learned":
        """From a card's `shape`.

        Raises:
            ValueError: it is of other modalities.

        Example:
            >>> shape = {"modalities": ["music", "symbolic"], "exponents": [0.4, 0.6]}
            >>> Learned.of({**shape, "trust": [[2, 1], [1, 1]], "correlation": [0.5, 0.5]}).trust.tolist()
            [[2.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
        """
        if tuple(shape["modalities"]) != JOINED:
            raise ValueError(f"fusion of {shape['modalities']}, expected {list(JOINED)}")
        trust, correlation = np.ones((2, 3)), np.zeros(3)
        trust[:, :2] = np.array(shape["trust"], np.float64).T
        correlation[:2] = shape["correlation"]
        return cls(tuple(shape["exponents"]), trust, correlation)

    def join(self, music: Said, symbolic: Said) -> Said:
        """What both say together, cell by cell."""
        mean = np.stack([music.mean, symbolic.mean]).astype(np.float64)  # [2, n, 3]
        std = np.maximum(np.stack([music.std, symbolic.std]).astype(np.float64), SMALLEST_STD)
        present = np.isfinite(mean) & np.isfinite(std)
        both = present.all(0)
        precision = np.where(present, self.trust[:, None] / std**2, 0.0)
        total = precision.sum(0)
        share = precision / np.where(total > 0, total, 1.0)
        value, width = np.where(present, mean, 0.0), np.where(present, std, 0.0)
        centre = (share * value).sum(0)
        variance = ((share * width) ** 2).sum(0) + 2 * share.prod(0) * self.correlation * width.prod(0)
        alone = [np.where(present[0], values[0], values[1]) for values in (mean, std)]
        return Said(
            np.where(both, centre, alone[0]).astype(np.float32),
            np.where(both, np.sqrt(variance), alone[1]).astype(np.float32),
            self._pool(music.scores, symbolic.scores),
        )

    def _pool(self, first: Float, second: Float) -> Float:
        heard = [np.isfinite(scores).all(1, keepdims=True) for scores in (first, second)]
        logs = np.zeros(first.shape)
        for exponent, scores, known in zip(self.exponents, (first, second), heard, strict=True):
            logs += exponent * np.log(np.maximum(np.where(known, scores, 1.0), SMALLEST_SCORE))
        power = np.exp(logs - logs.max(1, keepdims=True))
        pooled = power / power.sum(1, keepdims=True)
        alone = np.where(heard[0], first, second)
        return np.asarray(np.where(heard[0] & heard[1], pooled, alone), np.float32)
