"""Fuse: what several models say about the same cells becomes one estimate.

Conventions: arrays over n cells; dimensions in the order of `models.base.DIMENSIONS`; NaN where a model says
nothing; scores are probabilities, each row summing to 1 or wholly NaN. The order of the modalities never
matters, and a modality that is alone comes through unchanged.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moodstream.models.base import DIMENSIONS, EMOTIONS, QUADRANTS, Float

ERROR_CORRELATION = 0.3  # between the errors of two models of one media: they hear the same piece
PRIOR_BELIEF = 0.9  # a prior never explains more than this share of a posterior's precision
SMALLEST_STD = 1e-3
SMALLEST_SCORE = 1e-6


@dataclass(frozen=True, slots=True)
class Fused:
    """The fusion over n cells of m modalities."""

    mean: Float  # [n, 3], NaN where no modality has an estimate
    std: Float  # [n, 3]
    took_part: npt.NDArray[np.bool_]  # [n, m], the modality had an estimate of some dimension


def fuse(
    estimates: Sequence[tuple[Float, Float]],
    priors: Sequence[tuple[Float, Float]] = (),
    correlation: float = ERROR_CORRELATION,
) -> Fused:
    """One estimate from several, by inverse variance in each dimension, with every prior counted once.

    Each estimate N(mean, std^2) is a posterior that already holds its model's prior. Multiplying posteriors
    would count the priors m times and pull everything to the middle, so each prior is divided out, the
    remaining evidence is added up, and one common prior, the geometric mean of those present, goes in once.
    Models that hear the same piece err together: the evidence is scaled down as that of m_eff equicorrelated
    experts, m / (1 + correlation (m - 1)). Two guards keep a badly calibrated model from doing harm: the mean
    lies between the means that went in, and the variance between the best single one and what the
    correlation allows. Disagreement does not widen the result: a normal product cannot express it.

    Args:
        estimates: m pairs of mean and std, each [n, 3], in [-1, 1]; NaN where there is no estimate.
        priors: For each modality mean and variance of the labels its model learned from, [3] each (NaN: no
            such output); or none at all, which makes this plain inverse-variance weighting.
        correlation: Between the errors of any two modalities, in [0, 1]; 1 gives the best single variance.

    Raises:
        ValueError: No estimates, unequal shapes, priors other than m, or a correlation outside [0, 1].

    Source: product of experts with prior correction as in the Bayesian committee machine (Tresp 2000, eq. 5).

    Example:
        >>> one = np.array([[0.4, 0.2, np.nan]], np.float32), np.full((1, 3), 0.2, np.float32)
        >>> two = np.array([[0.0, np.nan, np.nan]], np.float32), np.full((1, 3), 0.2, np.float32)
        >>> fuse([one, two], correlation=0).mean.round(2).tolist()
        [[0.20000000298023224, 0.20000000298023224, nan]]
    """
    if not estimates:
        raise ValueError("nothing to fuse: 0 estimates, expected at least 1")
    shapes = {array.shape for pair in estimates for array in pair}
    if len(shapes) != 1 or next(iter(shapes))[1:] != (len(DIMENSIONS),):
        raise ValueError(f"estimates of shapes {sorted(shapes)}, expected [n, {len(DIMENSIONS)}] for all")
    if priors and len(priors) != len(estimates):
        raise ValueError(f"{len(priors)} priors for {len(estimates)} estimates")
    if not 0 <= correlation <= 1:
        raise ValueError(f"correlation {correlation}, expected 0 to 1")
    mean = np.stack([np.asarray(pair[0], np.float64) for pair in estimates])  # [m, n, 3]
    std = np.stack([np.asarray(pair[1], np.float64) for pair in estimates])
    present = np.isfinite(mean) & np.isfinite(std)
    took_part: npt.NDArray[np.bool_] = np.any(present, axis=2).T
    if len(estimates) == 1:
        lone = present[0]
        return Fused(_masked(mean[0], lone), _masked(std[0], lone), took_part)

    value = np.where(present, mean, 0.0)
    precision = np.where(present, np.maximum(std, SMALLEST_STD) ** -2.0, 0.0)
    prior_mean, prior_precision = _prior_arrays(priors, len(estimates))
    prior_precision = np.minimum(prior_precision, PRIOR_BELIEF * precision)  # zero where nothing is present
    evidence = precision - prior_precision

    count = present.sum(axis=0)
    any_present = count > 0
    share = 1 / np.maximum(count, 1)
    total = evidence.sum(axis=0)
    square = np.where(any_present, (evidence**2).sum(axis=0), 1.0)
    effective = np.maximum(total**2 / square, 1.0)  # m_eff: 1 where one speaks alone, m where all are equal
    scale = 1 / (1 + correlation * (effective - 1))
    information = share * (prior_precision * prior_mean).sum(axis=0)
    information += scale * (precision * value - prior_precision * prior_mean).sum(axis=0)
    fused_precision = share * prior_precision.sum(axis=0) + scale * total

    centre = information / np.where(any_present, fused_precision, 1.0)
    lowest = np.where(present, mean, np.inf).min(axis=0)
    highest = np.where(present, mean, -np.inf).max(axis=0)
    best = np.where(any_present, precision.max(axis=0), 1.0)
    most = best * np.maximum(count, 1) / (1 + correlation * (np.maximum(count, 1) - 1))
    centre = np.clip(centre, lowest, highest)
    deviation = np.clip(fused_precision, best, most) ** -0.5
    return Fused(_masked(centre, any_present), _masked(deviation, any_present), took_part)


def fuse_scores(
    scores: Sequence[Float], labels: Sequence[Sequence[str]], weights: npt.ArrayLike
) -> tuple[Float, tuple[str, ...]]:
    """One set of probabilities from several, over the union of their labels.

    Modalities with the same vocabulary (say, two over the four quadrants) are pooled log-linearly, their
    exponents summing to 1. Different vocabularies answer different questions, so each keeps its
    distribution, scaled by its share of the weight, and the union sums to 1.

    Args:
        scores: m arrays [n, K_m] of probabilities; a row of NaN where the modality says nothing.
        labels: The K_m labels of each.
        weights: [n, m], at least 0: how much each modality counts at each cell (see `precision_weights`).

    Returns:
        Scores [n, K] and their K labels in canonical order (emotions, quadrants, others by alphabet). Rows
        are NaN where no modality with a positive weight says anything.

    Raises:
        ValueError: Shapes that do not match.

    Source: logarithmic and linear opinion pools (Genest and Zidek 1986).
    """
    weight = np.array(weights, np.float64)
    if not scores or weight.shape != (len(scores[0]), len(scores)) or len(labels) != len(scores):
        raise ValueError(f"{len(scores)} scores, {len(labels)} label sets, weights of shape {weight.shape}")
    names = in_order({name for names in labels for name in names})
    column = {name: index for index, name in enumerate(names)}
    pooled: dict[tuple[str, ...], npt.NDArray[np.float64]] = {}  # by vocabulary: sum of w log p
    shares: dict[tuple[str, ...], npt.NDArray[np.float64]] = {}
    for index, (score, names_here) in enumerate(zip(scores, labels, strict=True)):
        if score.shape != (len(weight), len(names_here)):
            raise ValueError(f"scores of shape {score.shape}, expected {(len(weight), len(names_here))}")
        known = np.isfinite(score).all(axis=1) & (weight[:, index] > 0)
        w = np.where(known, weight[:, index], 0.0)
        vocabulary = in_order(set(names_here))
        ordered = score[:, [list(names_here).index(name) for name in vocabulary]].astype(np.float64)
        logs = w[:, None] * np.log(np.maximum(np.where(known[:, None], ordered, 1.0), SMALLEST_SCORE))
        pooled[vocabulary] = pooled[vocabulary] + logs if vocabulary in pooled else logs
        shares[vocabulary] = shares[vocabulary] + w if vocabulary in shares else w
    total = np.sum(list(shares.values()), axis=0)
    fused = np.zeros((len(weight), len(names)))
    for vocabulary in sorted(pooled):
        share = shares[vocabulary]
        power = np.exp(pooled[vocabulary] / np.where(share > 0, share, 1.0)[:, None])
        power *= (share / np.where(total > 0, total, 1.0) / power.sum(axis=1))[:, None]
        fused[:, [column[name] for name in vocabulary]] += power
    return _masked(fused, np.broadcast_to(total[:, None] > 0, fused.shape)), names


def precision_weights(estimates: Sequence[tuple[Float, Float]]) -> npt.NDArray[np.float64]:
    """How much each modality counts at each cell: 1 / std^2, the mean over valence and arousal, [n, m].

    Zero where the modality has no estimate.
    """
    columns = []
    for mean, std in estimates:
        known = np.isfinite(mean[:, :2]) & np.isfinite(std[:, :2])
        deviation = np.maximum(np.where(known, std[:, :2], 1.0).astype(np.float64), SMALLEST_STD)
        columns.append(np.where(known, deviation**-2.0, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1))
    return np.stack(columns, axis=1)


def in_order(labels: set[str]) -> tuple[str, ...]:
    """Labels in the one order that tables and models use: emotions, quadrants, others by alphabet."""
    known = {name: index for index, name in enumerate((*EMOTIONS, *QUADRANTS))}
    return tuple(sorted(labels, key=lambda name: (known.get(name, len(known)), name)))


def _prior_arrays(
    priors: Sequence[tuple[Float, Float]], count: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Means and precisions [m, 1, 3]; both zero where a model has no prior."""
    if not priors:
        return np.zeros((count, 1, 3)), np.zeros((count, 1, 3))
    mean = np.array([prior[0] for prior in priors], np.float64)[:, None, :]
    variance = np.array([prior[1] for prior in priors], np.float64)[:, None, :]
    known = np.isfinite(mean) & np.isfinite(variance)
    precision = np.where(known, 1 / np.maximum(np.where(known, variance, 1.0), SMALLEST_STD**2), 0.0)
    return np.where(known, mean, 0.0), precision


def _masked(values: npt.NDArray[np.float64], keep: npt.NDArray[np.bool_]) -> Float:
    return np.where(keep, values, np.nan).astype(np.float32)
