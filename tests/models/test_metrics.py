"""Each measure: what it rejects, one analytic truth, and scikit-learn or mir_eval as the reference."""

import mir_eval
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from moodstream.models import metrics

TRUTH = np.array([-0.6, -0.1, 0.0, 0.4, 0.9])
ESTIMATE = np.array([-0.4, -0.2, 0.1, 0.5, 0.6])
LABELS = ["a", "b", "c", "d"]


@pytest.fixture(scope="module")
def classes() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    truth = draw.choice(["a", "b", "c"], 200, p=[0.7, 0.2, 0.1])
    return truth, np.where(draw.random(200) < 0.6, truth, draw.choice(LABELS, 200))  # "d" is never right


class TestNumbers:
    def test_ccc_by_hand(self) -> None:
        # Lin (1989) eq. 2 by hand: means .12, variances .2536 and .1496, covariance .1856
        assert metrics.ccc(TRUTH, ESTIMATE) == pytest.approx(2 * 0.1856 / (0.2536 + 0.1496), abs=1e-12)

    def test_ccc_knows_level_and_scale_which_pearson_forgives(self) -> None:
        assert metrics.pearson(TRUTH, 2 * TRUTH + 1) == pytest.approx(1)
        assert metrics.ccc(TRUTH, TRUTH) == pytest.approx(1)
        assert metrics.ccc(TRUTH, -TRUTH + 0.24) == pytest.approx(-1)
        shifted = 2 * TRUTH.var() / (2 * TRUTH.var() + 1)
        assert metrics.ccc(TRUTH, TRUTH + 1) == pytest.approx(shifted)

    def test_as_numpy_and_scikit_learn(self) -> None:
        assert metrics.pearson(TRUTH, ESTIMATE) == pytest.approx(np.corrcoef(TRUTH, ESTIMATE)[0, 1])
        assert metrics.rmse(TRUTH, ESTIMATE) == pytest.approx(
            sklearn_metrics.root_mean_squared_error(TRUTH, ESTIMATE)
        )

    def test_undefined_is_nan(self) -> None:
        assert np.isnan(metrics.pearson(TRUTH, np.ones(5)))
        assert metrics.ccc(TRUTH, np.ones(5)) == 0
        assert np.isnan(metrics.ccc(np.ones(5), np.ones(5)))

    @pytest.mark.parametrize(
        ("truth", "estimate", "message"),
        [
            ([1.0, 2.0], [1.0], r"shapes are \(2,\) and \(1,\)"),
            ([1.0], [1.0], "n is 1"),
            ([1.0, np.nan], [1.0, 2.0], "value 1 is not finite"),
            ([1.0, 1.0], [np.inf, 2.0], "value 0 is not finite"),
        ],
    )
    def test_rejects(self, truth: list[float], estimate: list[float], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            metrics.ccc(truth, estimate)


class TestClasses:
    def test_as_scikit_learn(self, classes: tuple[np.ndarray, np.ndarray]) -> None:
        truth, estimate = classes
        assert metrics.accuracy(truth, estimate) == pytest.approx(
            sklearn_metrics.accuracy_score(truth, estimate)
        )
        assert metrics.uar(truth, estimate) == pytest.approx(
            sklearn_metrics.recall_score(truth, estimate, average="macro", labels=["a", "b", "c"])
        )
        assert metrics.macro_f1(truth, estimate) == pytest.approx(
            sklearn_metrics.f1_score(truth, estimate, average="macro")
        )

    def test_always_the_frequent_class_has_chance_uar(self) -> None:
        assert metrics.uar(["a"] * 9 + ["b"], ["a"] * 10) == 0.5
        assert metrics.accuracy(["a"] * 9 + ["b"], ["a"] * 10) == 0.9


class TestCalibration:
    def test_ece_by_hand(self) -> None:
        # ten rows say .8 and six of them are right, ten say .6 and all are right: (.5 * .2 + .5 * .4)
        scores = np.array([[0.8, 0.2]] * 10 + [[0.6, 0.4]] * 10)
        truth = np.array([0] * 6 + [1] * 4 + [0] * 10)
        assert metrics.expected_calibration_error(truth, scores) == pytest.approx(0.3)

    def test_honest_scores_have_almost_none(self) -> None:
        draw = np.random.default_rng(1)
        first = draw.random(20_000)
        truth = (draw.random(20_000) > first).astype(int)
        assert metrics.expected_calibration_error(truth, np.stack([first, 1 - first], 1)) < 0.02

    @pytest.mark.parametrize("scores", [[[0.5, 0.6]], [[1.2, -0.2]], [0.5, 0.5]])
    def test_ece_rejects(self, scores: list[list[float]]) -> None:
        with pytest.raises(ValueError, match="not one distribution a row"):
            metrics.expected_calibration_error([0], scores)
        with pytest.raises(ValueError, match=r"class is 2\.\.2"):
            metrics.expected_calibration_error([2], [[0.5, 0.5]])

    def test_coverage_of_a_normal(self) -> None:
        noise = np.random.default_rng(2).normal(size=50_000)
        for level in (0.5, 0.9):
            found = metrics.interval_coverage(3 * noise, np.zeros(50_000), np.full(50_000, 3.0), level)
            assert found == pytest.approx(level, abs=0.01)
        # 1.6449 is the 95 % quantile of the standard normal
        assert metrics.interval_coverage([1.64, 1.65], [0.0, 0.0], [1.0, 1.0]) == 0.5
        with pytest.raises(ValueError, match="std is -1"):
            metrics.interval_coverage([0.0], [0.0], [-1.0])
        with pytest.raises(ValueError, match="level is 90"):
            metrics.interval_coverage([0.0], [0.0], [1.0], level=90)


class TestDiarizationError:
    def test_golden_of_speechbrain(self) -> None:
        # docstring of speechbrain/utils/EDER.py: windows of 0.2 s "nnnaaa", anger from 0.39 to 1.10 of 1.22 s
        truth = [(0.39, 1.10, "anger")]
        estimate = [(0.0, 0.6, "neutral"), (0.6, 1.2, "anger")]
        assert metrics.diarization_error(truth, estimate, 1.22).rate == pytest.approx(0.2704918032786885)

    def test_kinds_of_error(self) -> None:
        truth = [(0, 4, "neutral"), (4, 8, "anger"), (8, 10, "fear")]
        estimate = [(0, 3, "neutral"), (3, 6, "anger"), (6, 7, "neutral"), (7, 9, "sadness")]
        found = metrics.diarization_error(truth, estimate, 12)
        assert (found.missed, found.false_alarm, found.confusion) == (4, 1, 2)  # 6..7 and 9..12, 3..4, 7..9
        assert found.rate == pytest.approx(7 / 12)
        assert metrics.diarization_error(truth, [*truth, (10, 12, "neutral")], 12).rate == 0

    @pytest.mark.parametrize(
        "spans",
        [
            [(0, 2, "a"), (1, 3, "b")],
            [(2, 2, "a")],
            [(0, 11, "a")],
            [(-1, 2, "a")],
            [(2, 3, "a"), (0, 1, "a")],
        ],
    )
    def test_rejects(self, spans: list[metrics.Span]) -> None:
        with pytest.raises(ValueError, match="is not sorted within"):
            metrics.diarization_error([], spans, 10)
        with pytest.raises(ValueError, match="duration is 0"):
            metrics.diarization_error([], [], 0)


def as_intervals(times: list[float]) -> np.ndarray:
    return np.stack([times[:-1], times[1:]], 1)


class TestBoundaries:
    @given(
        st.lists(st.integers(0, 60), min_size=2, max_size=15, unique=True),
        st.lists(st.integers(0, 60), min_size=2, max_size=15, unique=True),
        st.sampled_from([0.5, 1.0, 3.0]),
    )
    def test_as_mir_eval(self, truth: list[int], estimate: list[int], tolerance: float) -> None:
        first, second = sorted({0.0, *(i / 2 for i in truth)}), sorted({0.0, *(i / 2 for i in estimate)})
        expected = mir_eval.segment.detection(as_intervals(first), as_intervals(second), window=tolerance)
        assert metrics.boundary_f1(first, second, tolerance) == pytest.approx(expected)

    def test_each_boundary_once(self) -> None:
        assert metrics.boundary_f1([1.0, 2.0], [1.4, 1.5, 1.6, 9.0], 0.5) == pytest.approx((0.5, 1.0, 2 / 3))
        assert metrics.boundary_f1([], [1.0], 0.5) == (0, 0, 0)
        with pytest.raises(ValueError, match="tolerance is -1"):
            metrics.boundary_f1([1.0], [1.0], -1)


class TestBootstrap:
    def test_interval_of_a_mean_of_groups(self) -> None:
        # 400 groups of 4 equal values: only 400 draws, so the standard error is 1 / 20, not 1 / 40
        draw = np.random.default_rng(3)
        values = np.repeat(draw.normal(size=400), 4)
        found = metrics.bootstrap(lambda x: float(np.mean(x)), np.repeat(np.arange(400), 4), values)
        assert found.value == pytest.approx(values.mean())
        assert found.high - found.low == pytest.approx(2 * 1.96 / 20, rel=0.15)
        assert found.low < found.value < found.high

    def test_groups_come_whole(self) -> None:
        found = metrics.bootstrap(lambda x: float(len(x)), np.repeat(np.arange(6), 4), np.zeros(24))
        assert (found.low, found.high) == (24, 24)

    def test_pairs_cancel_what_both_share(self) -> None:
        draw = np.random.default_rng(4)
        groups = np.repeat(np.arange(40), 5)
        truth = draw.choice(["a", "b"], 200)
        worse = np.where(draw.random(200) < 0.6, truth, "c")
        better = np.where((draw.random(200) < 0.2) & (worse != truth), truth, worse)
        found = metrics.paired_bootstrap(metrics.accuracy, groups, truth, worse, better)
        alone = metrics.bootstrap(metrics.accuracy, groups, truth, better)
        assert found.value == pytest.approx(metrics.accuracy(truth, better) - metrics.accuracy(truth, worse))
        assert found.low > 0
        assert found.high - found.low < alone.high - alone.low
        same = metrics.paired_bootstrap(metrics.accuracy, groups, truth, worse, worse)
        assert (same.value, same.low, same.high) == (0, 0, 0)

    def test_repeats_and_rejects(self) -> None:
        first = metrics.bootstrap(metrics.ccc, [0, 1, 2, 3, 4], TRUTH, ESTIMATE)
        assert first == metrics.bootstrap(metrics.ccc, [0, 1, 2, 3, 4], TRUTH, ESTIMATE)
        assert str(first).startswith("0.921 [")
        with pytest.raises(ValueError, match="groups hold 1 group"):
            metrics.bootstrap(metrics.ccc, [0] * 5, TRUTH, ESTIMATE)
