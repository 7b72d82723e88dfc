"""Summarize: one row about a whole media from the cells of its curve, in memory that stays small.

Conventions: a cell is half a second; valence, arousal and dominance in [-1, 1], NaN where there is no
estimate; loudness in LUFS, NaN where unknown; activity as an index into `models.base.ACTIVITIES`. What the
words mean is said in `transforms/words.py`, what counts as an interruption in `transforms/talk.py`.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from moodstream.models.base import ACTIVITIES, DIMENSIONS, QUADRANTS, STEP_MS, Float
from moodstream.transforms.diarize import Run
from moodstream.transforms.talk import Talk
from moodstream.transforms.words import dynamics_word, mood_words, profile_word

Double = npt.NDArray[np.float64]

BIN_CELLS = 10  # 5 s, the resolution of arcs, quarters and the representative stretch
MOST_BINS = 720  # an hour of 5 s; longer media are kept at 10 s, 20 s, ...: the state of a call stays small
REPRESENTATIVE_CELLS = 30  # 15 s
SILENT_LUFS = -70.0  # the absolute gate of BS.1770
_FIXED = (
    6  # columns of a bin before its scores: estimated cells, valence, arousal, dominance, loud cells, power
)
_BLOCK_CELLS = 60  # cells are added up in blocks of this many: the same sums however they arrive


class Summarizer:
    """The summary of one channel and modality as its cells arrive.

    Example:
        >>> summary = Summarizer(("Q1", "Q4"))
        >>> mean = np.full((40, 3), [0.5, 0.3, np.nan], np.float32)
        >>> scores = np.tile(np.float32([0.8, 0.2]), (40, 1))
        >>> summary.push(mean, np.ones(40, np.int8), np.full(40, -20.0, np.float32), scores)
        >>> row = summary.finish()
        >>> row["quadrant"], row["profile"], row["dynamics"], row["estimated_share"]
        ('Q1', 'steady', 'static', 1.0)
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self._cells = 0  # cells added up
        self._moments = np.zeros((6, 3))  # of each dimension: n, sums of x, x^2, t, t^2, t x
        self._ends = np.array([[-1] * 3, [-1] * 3])  # first and last cell with an estimate
        self._quadrants = np.zeros(4)
        self._activities = np.zeros(len(ACTIVITIES))
        self._bins = np.zeros((0, _FIXED + len(self.labels)), np.float32)
        self._bin_cells = BIN_CELLS
        self._spans: dict[str, int] = {}  # cells of episodes by label
        self._pending: list[tuple[npt.NDArray[Any], ...]] = []  # blocks of mean, activity, loudness, scores
        self._waiting = 0

    def push(
        self, mean: Float, activity: npt.NDArray[np.integer[Any]], loudness: Float, scores: Float
    ) -> None:
        """Take the next n cells of the curve.

        Args:
            mean: [n, 3] valence, arousal, dominance; NaN where there is no estimate.
            activity: [n] index into ACTIVITIES.
            loudness: [n] momentary loudness in LUFS, NaN or minus infinity where there is none.
            scores: [n, K] probabilities; ignored where valence is NaN.

        Raises:
            ValueError: The arrays do not fit each other or the labels.
        """
        n = len(activity)
        if mean.shape != (n, len(DIMENSIONS)) or scores.shape != (n, len(self.labels)) or len(loudness) != n:
            raise ValueError(
                f"mean {mean.shape}, scores {scores.shape}, loudness {loudness.shape} for {n} cells, "
                f"{len(DIMENSIONS)} dimensions and {len(self.labels)} labels"
            )
        self._pending.append((mean, activity.astype(np.int8), loudness, scores))
        self._waiting += n
        if self._waiting >= _BLOCK_CELLS:
            self._work(self._waiting - self._waiting % _BLOCK_CELLS)

    def add_episodes(self, runs: Iterable[Run]) -> None:
        """Take episodes; only final ones count."""
        for run in runs:
            if run.is_final:
                self._spans[run.label] = self._spans.get(run.label, 0) + run.end_cell - run.start_cell

    def finish(self, talk: Talk | None = None) -> dict[str, Any]:
        """The media ended: what the `Summary` row says of itself, by column name.

        Args:
            talk: For a side of a call, what `talk.measure_talk` says; adds its columns and the sentiment.
        """
        if self._waiting:
            self._work(self._waiting)
        count = self._moments[0]
        estimated = int(count[0])
        mean, std, slope = self._statistics()
        shares = {name: float(self._quadrants[i]) / max(estimated, 1) for i, name in enumerate(QUADRANTS)}
        scores = self._bins[:, _FIXED:].sum(axis=0, dtype=np.float64) / max(estimated, 1)
        spans = sum(self._spans.values())
        emotion = self._dominant(scores) if estimated else None
        power = self._bins[:, 4:6].sum(axis=0, dtype=np.float64)
        arcs, weights = self._arcs()
        row: dict[str, Any] = {}
        for index, name in enumerate(DIMENSIONS):
            row |= {f"{name}_mean": mean[index], f"{name}_std": std[index], f"{name}_slope": slope[index]}
        return row | {
            "emotion": emotion,
            "emotion_scores": dict(zip(self.labels, scores.tolist(), strict=True)) if estimated else None,
            "quadrant": None if mean[0] is None or mean[1] is None else quadrant_of(mean[0], mean[1]),
            "quadrant_shares": shares if estimated else None,
            "emotion_shares": {name: cells / spans for name, cells in sorted(self._spans.items())}
            if spans
            else None,
            "moods": [] if mean[0] is None or mean[1] is None else mood_words(mean[0], mean[1]),
            "profile": profile_word(arcs, weights),
            "dynamics": dynamics_word(arcs, weights),
            "representative_start_ms": self._representative(),
            "estimated_share": estimated / max(self._cells, 1),
            "activity_shares": {
                name: float(self._activities[i]) / max(self._cells, 1) for i, name in enumerate(ACTIVITIES)
            },
            "loudness_lufs_mean": 10 * float(np.log10(power[1] / power[0])) if power[0] else None,
            "talk_ms": talk and talk.talk_ms,
            "non_talk_ms": talk and talk.non_talk_ms,
            "overlap_ms": talk and talk.overlap_ms,
            "interruptions": talk and talk.interruptions,
            "sentiment_by_quarter": self._sentiment() if talk and estimated else None,
            "features": None,
            "key": None,
        }

    def state(self) -> dict[str, Any]:
        """Everything needed to go on elsewhere, as plain Python and numpy."""
        if len(self._pending) > 1:  # a few cells each, live
            self._pending = [self._joined()]
        return {name: _copy(value) for name, value in vars(self).items() if name.startswith("_")}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()` of a summarizer with the same labels."""
        for name, value in state.items():
            setattr(self, name, _copy(value))

    def _work(self, n: int) -> None:
        """Add up the first n waiting cells, block by block."""
        columns = self._joined()
        for low in range(0, n, _BLOCK_CELLS):
            mean, activity, loudness, scores = (c[low : min(low + _BLOCK_CELLS, n)] for c in columns)
            self._add(mean.astype(np.float64), activity, loudness.astype(np.float64), scores)
        self._pending = [tuple(column[n:].copy() for column in columns)]
        self._waiting -= n

    def _joined(self) -> tuple[npt.NDArray[Any], ...]:
        """All that waits, as one block."""
        return tuple(np.concatenate([block[column] for block in self._pending]) for column in range(4))

    def _add(self, mean: Double, activity: npt.NDArray[np.int8], loudness: Double, scores: Double) -> None:
        n = len(activity)
        known = np.isfinite(mean)
        value = np.where(known, mean, 0.0)
        time = np.arange(self._cells, self._cells + n, dtype=np.float64)
        times = known * time[:, None]
        self._moments += [
            known.sum(axis=0),
            value.sum(axis=0),
            (value**2).sum(axis=0),
            times.sum(axis=0),
            (times**2).sum(axis=0),
            (times * value).sum(axis=0),
        ]
        seen = known.any(axis=0)
        fresh = seen & (self._ends[0] < 0)
        self._ends[0, fresh] = self._cells + known.argmax(axis=0)[fresh]
        self._ends[1, seen] = self._cells + n - 1 - known[::-1].argmax(axis=0)[seen]
        estimated = known[:, 0] & known[:, 1]
        positive, lively = value[:, 0] >= 0, value[:, 1] >= 0
        quadrant = np.where(lively, np.where(positive, 0, 1), np.where(positive, 3, 2))
        self._quadrants += np.bincount(quadrant[estimated], minlength=4)
        self._activities += np.bincount(activity, minlength=len(ACTIVITIES))
        loud = np.nan_to_num(loudness, nan=-np.inf) > SILENT_LUFS
        rows = np.column_stack(
            [
                known[:, 0],
                value,
                loud,
                np.where(loud, 10 ** (np.where(loud, loudness, 0.0) / 10), 0.0),
                np.where(known[:, :1], scores, 0.0),
            ]
        )
        index = np.arange(self._cells, self._cells + n) // self._bin_cells
        edges = np.flatnonzero(np.diff(index, prepend=-1))
        sums = np.add.reduceat(rows, edges, axis=0).astype(np.float32)
        if index[0] < len(self._bins):  # the last bin was not full
            self._bins[-1] += sums[0]
            sums = sums[1:]
        self._bins = np.concatenate([self._bins, sums])
        self._cells += n
        if len(self._bins) > MOST_BINS:
            self._bins = np.add.reduceat(self._bins, np.arange(0, len(self._bins), 2), axis=0)
            self._bin_cells *= 2

    def _statistics(self) -> tuple[list[float | None], list[float | None], list[float | None]]:
        """Mean, standard deviation and change along the fitted line, for each dimension."""
        mean: list[float | None] = [None] * 3
        std, slope = mean.copy(), mean.copy()
        for index, (n, x, xx, t, tt, tx) in enumerate(self._moments.T.tolist()):
            if n:
                mean[index] = x / n
                std[index] = max(xx / n - (x / n) ** 2, 0.0) ** 0.5
            if n > 1:
                spread = tt - t * t / n
                first, last = self._ends[:, index].tolist()
                slope[index] = (tx - t * x / n) / spread * (last - first)
        return mean, std, slope

    def _dominant(self, scores: Double) -> str:
        """The label with most episode time; by mean score where there is none or a tie."""
        mean = dict(zip(self.labels, scores.tolist(), strict=True))
        return max(self.labels, key=lambda name: (self._spans.get(name, 0), mean[name]))

    def _arcs(self) -> tuple[Double, Double]:
        """Means of valence and arousal over the bins that have estimates, [m, 2], and their weights [m]."""
        weights = self._bins[:, 0].astype(np.float64)
        keep = weights > 0
        return self._bins[keep, 1:3] / weights[keep, None], weights[keep]

    def _sentiment(self) -> list[float | None]:
        """Mean valence of each quarter, times 5; a bin on a border counts in part on both sides."""
        starts = np.arange(len(self._bins)) * self._bin_cells
        ends = np.minimum(starts + self._bin_cells, self._cells)
        borders = np.linspace(0, self._cells, 5)
        quarters: list[float | None] = []
        for low, high in itertools.pairwise(borders.tolist()):
            share = np.clip(np.minimum(ends, high) - np.maximum(starts, low), 0, None) / (ends - starts)
            weight = float(share @ self._bins[:, 0])
            quarters.append(5 * float(share @ self._bins[:, 1]) / weight if weight else None)
        return quarters

    def _representative(self) -> int | None:
        """Start of the 15 s most like the whole in valence, arousal, dominance, loudness and scores.

        Each mean is compared in units of its spread over all candidates; a candidate starts at a bin, lies
        wholly in the media and has an estimate at least half of the time (if any has).
        """
        if not self._moments[0, 0]:
            return None
        width = -(-REPRESENTATIVE_CELLS // self._bin_cells)
        count = self._cells // self._bin_cells - width + 1
        if count < 2:
            return 0
        bins = self._bins.astype(np.float64)
        sums = np.cumsum(np.vstack([np.zeros(bins.shape[1]), bins]), axis=0)
        windows = _features(sums[width : width + count] - sums[:count])
        distance = windows - _features(sums[-1:])
        spread = np.sqrt((distance**2).mean(axis=0)) + 1e-3
        cost = ((distance / spread) ** 2 * self._feature_weights()).sum(axis=1)
        estimated = sums[width : width + count, 0] - sums[:count, 0]
        enough = estimated >= min(width * self._bin_cells / 2, estimated.max())
        cost = np.where(enough, cost, np.inf)
        best = int(np.flatnonzero(cost <= cost.min() + 1e-6)[0])  # the first of equals
        return best * self._bin_cells * STEP_MS

    def _feature_weights(self) -> Double:
        """Valence, arousal, dominance and loudness count 1 each, all scores together 2."""
        return np.concatenate([np.ones(4), np.full(len(self.labels), 2 / max(len(self.labels), 1))])


def quadrant_of(valence: float, arousal: float) -> str:
    """The quadrant of the valence-arousal plane; zero counts as positive.

    Example:
        >>> quadrant_of(-0.2, 0.5)
        'Q2'
    """
    if arousal >= 0:
        return "Q1" if valence >= 0 else "Q2"
    return "Q4" if valence >= 0 else "Q3"


def _features(sums: Double) -> Double:
    """What makes one stretch like another, from sums over its cells [n, columns]."""
    estimated = np.maximum(sums[:, :1], 1.0)
    loudness = 10 * np.log10(np.maximum(sums[:, 5:6] / np.maximum(sums[:, 4:5], 1.0), 1e-7))
    scores = np.sqrt(np.maximum(sums[:, _FIXED:] / estimated, 0.0))
    features: Double = np.hstack([sums[:, 1:4] / estimated, loudness, scores])
    return features


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray | list | dict) else value
