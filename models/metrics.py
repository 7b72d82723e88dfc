"""How well estimates agree with what people said: measures, and how sure the measures are.

Conventions: `truth` comes first, `estimate` second; both [n], no NaN, n >= 1 (2 for correlations). Measures
of numbers (`ccc`, `pearson`, `rmse`, `interval_coverage`) keep the scale of their input. Measures of classes
(`accuracy`, `uar`, `macro_f1`) take any labels that compare equal. Spans are rows `(start, end, label)` in
one unit of time, half-open, sorted, not overlapping; what no span covers has no label. Shares are in 0..1.
Every measure gives a float and raises ValueError for inputs that break this, with the value that does.
`bootstrap` and `paired_bootstrap` resample whole groups (speakers, artists), never single rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.ArrayLike
Span = tuple[float, float, str]


@dataclass(frozen=True, slots=True)
class Interval:
    """A measure and where it would lie had other groups been drawn."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class DiarizationError:
    """Where an emotion diarization is wrong, in the unit of time of its spans."""

    missed: float  # an emotion in truth, neutral or nothing in the estimate
    false_alarm: float  # neutral in truth, an emotion in the estimate
    confusion: float  # two different emotions
    duration: float

    @property
    def rate(self) -> float:
        """EDER: the wrong share of the whole duration."""
        return (self.missed + self.false_alarm + self.confusion) / self.duration


def validate(truth: Values, estimate: Values, at_least: int = 1) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Both as arrays, [n] and [n].

    Raises:
        ValueError: other shapes, unequal lengths, fewer than `at_least` values, or NaN.
    """
    first, second = np.asarray(truth), np.asarray(estimate)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"shapes are {first.shape} and {second.shape}, allowed is one [n] for both")
    if len(first) < at_least:
        raise ValueError(f"n is {len(first)}, allowed is {at_least} or more")
    for values in (first, second):
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ValueError(f"value {np.flatnonzero(~np.isfinite(values))[0]} is not finite")
    return first, second


def ccc(truth: Values, estimate: Values) -> float:
    """Concordance correlation, -1..1: agreement in shape, level and scale; NaN where both are one constant.

    Source: Lin (1989), A concordance correlation coefficient to evaluate reproducibility, eq. 2.
    """
    first, second = validate(truth, estimate, at_least=2)
    covariance = np.mean((first - first.mean()) * (second - second.mean()))
    spread = first.var() + second.var() + (first.mean() - second.mean()) ** 2
    return float(2 * covariance / spread) if spread > 0 else float("nan")


def pearson(truth: Values, estimate: Values) -> float:
    """Correlation, -1..1; NaN where either is constant."""
    first, second = validate(truth, estimate, at_least=2)
    covariance = np.mean((first - first.mean()) * (second - second.mean()))
    spread = first.std() * second.std()
    return float(covariance / spread) if spread > 0 else float("nan")


def rmse(truth: Values, estimate: Values) -> float:
    """Root of the mean squared error, in the unit of the values."""
    first, second = validate(truth, estimate)
    return float(np.sqrt(np.mean((first - second) ** 2)))


def accuracy(truth: Values, estimate: Values) -> float:
    """Share of rows with the right class."""
    first, second = validate(truth, estimate)
    return float(np.mean(first == second))


def uar(truth: Values, estimate: Values) -> float:
    """Unweighted average recall over the classes in `truth` (scikit-learn's balanced accuracy)."""
    first, second = validate(truth, estimate)
    return float(np.mean([np.mean(second[first == name] == name) for name in np.unique(first)]))


def macro_f1(truth: Values, estimate: Values) -> float:
    """Mean F1 over the classes in `truth` or `estimate`; a class never hit counts 0."""
    first, second = validate(truth, estimate)
    names = np.unique(np.concatenate([first, second]))
    hits = np.array([np.sum((first == name) & (second == name)) for name in names])
    both = np.array([np.sum(first == name) + np.sum(second == name) for name in names])
    return float(np.mean(2 * hits / both))


def auroc(truth: Values, estimate: Values) -> float:
    """Area under the ROC curve, 0..1: how often one that is `truth` scores above one that is not; ties half.

    NaN where `truth` is the same for all.
    """
    first, second = validate(np.asarray(truth).astype(bool), estimate)
    hits, misses = int(first.sum()), int((~first).sum())
    if not hits or not misses:
        return float("nan")
    _, place, count = np.unique(second, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    return float((rank[first].sum() - hits * (hits + 1) / 2) / (hits * misses))


def expected_calibration_error(truth: Values, scores: Values, bins: int = 15) -> float:
    """Mean distance, 0..1, between confidence and accuracy over bins of equal width of the top score.

    Args:
        truth: [n] index of the right column.
        scores: [n, K] probabilities, each row summing to 1 within 1e-3.
        bins: how many bins 0..1 is cut into; each counts by its share of the rows.

    Raises:
        ValueError: scores that are no probabilities, or an index outside 0..K-1.

    Source: Guo et al. (2017), On calibration of modern neural networks, eq. 3.
    """
    table = np.asarray(scores, np.float64)
    if table.ndim != 2 or (table < 0).any() or np.abs(table.sum(1) - 1).max(initial=0) > 1e-3:
        raise ValueError(f"scores of shape {table.shape} are not one distribution a row")
    right, guess = validate(truth, table.argmax(1))
    if right.min() < 0 or right.max() >= table.shape[1]:
        raise ValueError(f"class is {right.min()}..{right.max()}, allowed are 0..{table.shape[1] - 1}")
    confidence = table.max(1)
    bin_of = np.minimum(np.ceil(confidence * bins).astype(int), bins)  # (low, high] as in the source
    return float(
        sum(
            np.mean(bin_of == one)
            * abs(np.mean((right == guess)[bin_of == one]) - confidence[bin_of == one].mean())
            for one in np.unique(bin_of)
        )
    )


def interval_coverage(truth: Values, mean: Values, std: Values, level: float = 0.9) -> float:
    """Share of `truth` inside the central normal interval that `mean` and `std` promise `level` for."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, allowed are values between 0 and 1")
    value, centre = validate(truth, mean)
    _, width = validate(truth, std)
    if width.min() < 0:
        raise ValueError(f"std is {width.min()}, allowed are values from 0")
    return float(np.mean(np.abs(value - centre) <= NormalDist().inv_cdf(0.5 + level / 2) * width))


def validate_spans(spans: Sequence[Span], duration: float) -> None:
    """Check the conventions for spans.

    Raises:
        ValueError: a span that is empty, overlaps the one before, or lies outside 0..duration.
    """
    before = 0.0
    for start, end, label in spans:
        if start < before or end <= start or end > duration + 1e-9:
            raise ValueError(f"span ({start}, {end}, {label}) is not sorted within {before}..{duration}")
        before = end


def diarization_error(
    truth: Sequence[Span], estimate: Sequence[Span], duration: float, neutral: str = "neutral"
) -> DiarizationError:
    """Emotion diarization error (EDER = `.rate`) of one recording, in the unit of the spans.

    Neutral is a label like any other: neutral found as neutral is right, and what `truth` does not cover is
    neutral. The denominator is the whole duration, so the rate is in 0..1. What `estimate` does not cover is
    wrong (missed). The rate of a corpus, as released, is the mean over its recordings.

    Raises:
        ValueError: duration not above 0, or spans that break the conventions.

    Source: Wang, Ravanelli, Yacoubi (2023), Speech Emotion Diarization, eq. 1; speechbrain/utils/EDER.py.
    """
    if not duration > 0:
        raise ValueError(f"duration is {duration}, allowed are values above 0")
    validate_spans(truth, duration)
    validate_spans(estimate, duration)
    edges = np.unique([0.0, duration, *(time for span in (*truth, *estimate) for time in span[:2])])
    missed = false_alarm = confusion = 0.0
    for start, end in pairwise(edges):
        right = _label_at((start + end) / 2, truth) or neutral
        found = _label_at((start + end) / 2, estimate)
        if found == right:
            continue
        if found is None or found == neutral:
            missed += end - start
        elif right == neutral:
            false_alarm += end - start
        else:
            confusion += end - start
    return DiarizationError(float(missed), float(false_alarm), float(confusion), float(duration))


def _label_at(time: float, spans: Sequence[Span]) -> str | None:
    return next((label for start, end, label in spans if start <= time < end), None)


def boundary_f1(truth: Values, estimate: Values, tolerance: float) -> tuple[float, float, float]:
    """Precision, recall and F1 of boundaries, each matched at most once, `tolerance` itself still a hit.

    Args:
        truth: [n] times, any order; n = 0 gives zeros, as in mir_eval.segment.detection.
        estimate: [m] times, likewise.
        tolerance: in the unit of the times.
    """
    if tolerance < 0:
        raise ValueError(f"tolerance is {tolerance}, allowed are values from 0")
    first, second = np.sort(np.asarray(truth, float)), np.sort(np.asarray(estimate, float))
    if not len(first) or not len(second):
        return 0.0, 0.0, 0.0
    hits = i = j = 0
    while i < len(first) and j < len(second):  # on a line, taking the earliest pair is a maximum matching
        if abs(first[i] - second[j]) <= tolerance:
            hits, i, j = hits + 1, i + 1, j + 1
        elif first[i] < second[j]:
            i += 1
        else:
            j += 1
    precision, recall = hits / len(second), hits / len(first)
    return precision, recall, 2 * hits / (len(first) + len(second))


def bootstrap(
    measure: Callable[..., float],
    groups: Values,
    *columns: Values,
    level: float = 0.95,
    samples: int = 1000,
    seed: int = 0,
) -> Interval:
    """`measure(*columns)` and its percentile interval over resampled groups.

    Args:
        measure: of columns like those given; a NaN (a sample where it is undefined) is left out.
        groups: [n] the group of each row.
        columns: arrays with n rows.
    """
    tables = [np.asarray(column) for column in columns]
    values = [measure(*(table[rows] for table in tables)) for rows in _resamples(groups, samples, seed)]
    return _interval(measure(*tables), values, level)


def paired_bootstrap(
    measure: Callable[..., float],
    groups: Values,
    truth: Values,
    first: Values,
    second: Values,
    level: float = 0.95,
    samples: int = 1000,
    seed: int = 0,
) -> Interval:
    """How much higher `measure(truth, second)` is than with `first`, on the same resampled groups."""
    right, one, two = np.asarray(truth), np.asarray(first), np.asarray(second)
    values = [
        measure(right[rows], two[rows]) - measure(right[rows], one[rows])
        for rows in _resamples(groups, samples, seed)
    ]
    return _interval(measure(right, two) - measure(right, one), values, level)


def _resamples(groups: Values, samples: int, seed: int) -> list[npt.NDArray[np.int64]]:
    names, of_row = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"groups hold {len(names)} group, allowed are 2 or more")
    members = [np.flatnonzero(of_row == i) for i in range(len(names))]
    draw = np.random.default_rng(seed)
    return [
        np.concatenate([members[i] for i in draw.integers(0, len(names), len(names))]) for _ in range(samples)
    ]


def _interval(value: float, values: list[float], level: float) -> Interval:
    tail = 100 * (1 - level) / 2
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return Interval(float(value), float(low), float(high))
