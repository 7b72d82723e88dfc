"""How one listener differs from all: a shift and a stretch of the common curve, learned from a few ratings.

A random effect with a prior learned from many raters (`listener_training`), all Gaussian, in closed form:

    rating = offset + slope * common curve + what drifts slowly + noise

so few ratings move the curve a little and many move it much. Ratings count for the piece that they are of:
the corpus behind the prior does not tell persons apart from piece to piece, and between raters of the same
age, gender and musicianship nothing is shared that could be carried over.

Conventions: an effect [4] is offset and slope of valence, then of arousal; the common curve itself is
(0, 1, 0, 1). Curves [m, 2] in -1..1, times in seconds. Needs numpy alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from moodstream.models.base import Float

Array = npt.NDArray[np.float64]

COMMON = (0.0, 1.0, 0.0, 1.0)
N_DIMENSIONS = 2  # valence, arousal


@dataclass(frozen=True)
class Prior:
    """What is known of listeners in general, by dimension."""

    mean: Array  # [2, 2] offset and slope
    covariance: Array  # [2, 2, 2] of offset and slope from listener to listener
    noise: Array  # [2] variance of ratings around a listener's line
    drift: Array  # [2] the share of it that drifts slowly
    drift_s: Array  # [2] over how many seconds


@dataclass(frozen=True)
class Effect:
    """Offset and slope of valence and arousal for one listener, and how sure they are."""

    mean: tuple[float, ...] = COMMON
    covariance: tuple[tuple[float, ...], ...] = ((0.0,) * 3,) * N_DIMENSIONS  # of offset; both; of slope

    def apply(self, mean: Float, std: Float) -> tuple[Float, Float]:
        """This listener's curve and deviation from the common ones, [n, 3] each.

        Dominance stays as it is, values stay in -1..1; the deviation grows by what is not known of him.
        """
        mean, std = mean.copy(), std.copy()
        for d in range(N_DIMENSIONS):
            offset, slope = self.mean[2 * d : 2 * d + 2]
            one, both, other = self.covariance[d]
            common = mean[:, d].copy()
            doubt = np.maximum(one + 2 * both * common + other * common**2, 0)
            std[:, d] = np.sqrt((slope * std[:, d]) ** 2 + doubt)
            mean[:, d] = np.clip(offset + slope * common, -1, 1)
        return mean, std


def effect_of(prior: Prior, common: Array, said: Array, start_s: Array) -> Effect:
    """The effect of a listener who said this of a piece.

    Args:
        common: [m, 2] the common curve where he rated. said: [m, 2], NaN where he did not.
        start_s: [m] when.
    """
    means: list[float] = []
    covariances = []
    for d in range(N_DIMENSIONS):
        known = np.isfinite(said[:, d]) & np.isfinite(common[:, d])
        design = np.stack([np.ones(int(known.sum())), common[known, d]], 1)
        noise = noise_of(prior, d, start_s[known])
        # what the ratings show beyond the prior's mean, against how much they vary from listener to listener
        spread = design @ prior.covariance[d] @ design.T + noise
        gain = np.linalg.solve(spread, design @ prior.covariance[d]).T
        mean = prior.mean[d] + gain @ (said[known, d] - design @ prior.mean[d])
        left = prior.covariance[d] - gain @ design @ prior.covariance[d]
        means += mean.tolist()
        covariances.append((float(left[0, 0]), float(left[0, 1]), float(left[1, 1])))
    return Effect(tuple(means), tuple(covariances))


def noise_of(prior: Prior, d: int, start_s: Array) -> Array:
    """Covariance [m, m] of ratings at these times around a listener's line."""
    apart = np.abs(np.subtract.outer(start_s, start_s))
    slow = prior.drift[d] * np.exp(-apart / prior.drift_s[d])
    return np.asarray(prior.noise[d] * (slow + (1 - prior.drift[d]) * np.eye(len(apart))))


def prior_of(values: Mapping[str, Any]) -> Prior:
    """A prior from arrays by name, as the card of the model `listener` has them (its `shape`)."""
    return Prior(**{name: np.asarray(values[name], np.float64) for name in Prior.__dataclass_fields__})
