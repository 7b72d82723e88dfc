"""Fusion: analytic truths, and the properties that hold for any estimates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodstream.transforms.fuse import fuse, fuse_scores, in_order, precision_weights

NAN = float("nan")


def constant(mean: float, std: float, n: int = 1) -> tuple[np.ndarray, np.ndarray]:
    return np.full((n, 3), mean, np.float32), np.full((n, 3), std, np.float32)


def prior(mean: float, variance: float) -> tuple[np.ndarray, np.ndarray]:
    return np.full(3, mean, np.float32), np.full(3, variance, np.float32)


@st.composite
def modalities(draw):
    """Two to four modalities over a few cells, with holes, and a prior for each."""
    count, n = draw(st.integers(2, 4)), draw(st.integers(1, 6))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    estimates, priors = [], []
    for _ in range(count):
        mean = random.uniform(-1, 1, (n, 3)).astype(np.float32)
        std = random.uniform(0.02, 0.8, (n, 3)).astype(np.float32)
        hole = random.random((n, 3)) < 0.25
        mean[hole] = std[hole] = np.nan
        estimates.append((mean, std))
        variance = np.where(random.random(3) < 0.2, np.nan, random.uniform(0.01, 0.6, 3))
        priors.append((random.uniform(-0.3, 0.3, 3), variance))
    return estimates, priors


def test_equals_inverse_variance_weighting_without_priors():
    fused = fuse([constant(0.8, 0.1), constant(0.2, 0.2)], correlation=0)
    assert fused.mean == pytest.approx(np.full((1, 3), (100 * 0.8 + 25 * 0.2) / 125))
    assert fused.std == pytest.approx(np.full((1, 3), 125**-0.5))


def test_counts_the_prior_once():
    """Two noisy readings (variance 0.08) of one quantity with prior N(0.1, 0.16): the posterior of both."""
    prior_precision, reading_precision = 1 / 0.16, 1 / 0.08
    readings = (0.5, -0.1)
    single_variance = 1 / (prior_precision + reading_precision)
    posteriors = [
        constant((prior_precision * 0.1 + reading_precision * value) * single_variance, single_variance**0.5)
        for value in readings
    ]
    both_variance = 1 / (prior_precision + 2 * reading_precision)
    expected = (prior_precision * 0.1 + reading_precision * sum(readings)) * both_variance
    fused = fuse(posteriors, [prior(0.1, 0.16)] * 2, correlation=0)
    assert fused.mean == pytest.approx(np.full((1, 3), expected), abs=1e-6)
    assert fused.std == pytest.approx(np.full((1, 3), both_variance**0.5), abs=1e-6)


def test_correlated_errors_leave_less_to_gain():
    pair = [constant(0.3, 0.2), constant(0.3, 0.2)]
    stds = [float(fuse(pair, correlation=rho).std[0, 0]) for rho in (0.0, 0.3, 1.0)]
    assert stds == pytest.approx([0.2 / 2**0.5, 0.2 * (1.3 / 2) ** 0.5, 0.2])


def test_unequal_experts_count_as_fewer():
    """Precisions 100 and 25 are 125^2 / (100^2 + 25^2) = 1.47 experts, not 2."""
    fused = fuse([constant(0.3, 0.1), constant(0.3, 0.2)], correlation=0.3)
    effective = 125**2 / (100**2 + 25**2)
    assert fused.std == pytest.approx(np.full((1, 3), (125 / (1 + 0.3 * (effective - 1))) ** -0.5))


def test_an_expert_that_knows_nothing_changes_nothing():
    """A second modality whose posterior is almost its prior has (almost) nothing to add."""
    sure = constant(0.6, 0.1)
    vague = constant(0.0, 0.4999)
    fused = fuse([sure, vague], [prior(0.0, 0.25)] * 2, correlation=0)
    assert fused.mean == pytest.approx(np.full((1, 3), 0.6), abs=0.01)


@settings(max_examples=100, deadline=None)
@given(modalities(), st.floats(0, 1), st.booleans(), st.randoms(use_true_random=False))
def test_holds_for_any_estimates(case, correlation, with_priors, random):
    estimates, priors = case
    priors = priors if with_priors else []
    fused = fuse(estimates, priors, correlation)
    means = np.stack([mean for mean, _ in estimates])
    stds = np.stack([std for _, std in estimates])
    present = np.isfinite(means)
    some = present.any(axis=0)
    assert (np.isfinite(fused.mean) == some).all()
    assert (np.isfinite(fused.std) == some).all()
    assert (fused.took_part == present.any(axis=2).T).all()
    low = np.where(present, means, np.inf).min(axis=0)
    high = np.where(present, means, -np.inf).max(axis=0)
    best = np.where(present, stds, np.inf).min(axis=0)
    assert (fused.mean[some] >= low[some] - 1e-6).all()
    assert (fused.mean[some] <= high[some] + 1e-6).all()
    assert (fused.std[some] <= best[some] + 1e-6).all()
    count = present.sum(axis=0)
    floor = np.where(some, best, 1) * np.sqrt((1 + correlation * (count - 1)) / np.maximum(count, 1))
    assert (fused.std[some] >= floor[some] - 1e-6).all()

    order = list(range(len(estimates)))
    random.shuffle(order)
    again = fuse([estimates[i] for i in order], [priors[i] for i in order] if priors else [], correlation)
    np.testing.assert_allclose(again.mean, fused.mean, atol=1e-6)
    np.testing.assert_allclose(again.std, fused.std, atol=1e-6)
    assert (again.took_part == fused.took_part[:, order]).all()

    alone = count == 1
    assert (fused.mean[alone] == np.where(present, means, 0).sum(axis=0)[alone]).all()
    assert (fused.std[alone] == np.where(present, stds, 0).sum(axis=0)[alone]).all()


def test_cells_do_not_depend_on_their_neighbours():
    random = np.random.default_rng(3)
    pairs = [
        (
            random.uniform(-1, 1, (50, 3)).astype(np.float32),
            random.uniform(0.1, 0.5, (50, 3)).astype(np.float32),
        )
        for _ in range(2)
    ]
    whole = fuse(pairs, [prior(0.1, 0.2)] * 2)
    for cut in range(0, 50, 7):
        part = fuse([(m[cut : cut + 7], s[cut : cut + 7]) for m, s in pairs], [prior(0.1, 0.2)] * 2)
        np.testing.assert_array_equal(part.mean, whole.mean[cut : cut + 7])
        np.testing.assert_array_equal(part.std, whole.std[cut : cut + 7])


def test_zero_cells():
    empty = np.zeros((0, 3), np.float32)
    assert fuse([(empty, empty), (empty, empty)]).mean.shape == (0, 3)
    scores, labels = fuse_scores([np.zeros((0, 2), np.float32)], [("Q1", "Q2")], np.zeros((0, 1)))
    assert scores.shape == (0, 2)
    assert labels == ("Q1", "Q2")


def test_same_vocabulary_is_pooled_log_linearly():
    one, two = np.float32([[0.8, 0.2]]), np.float32([[0.5, 0.5]])
    scores, labels = fuse_scores([one, two], [("Q1", "Q2"), ("Q1", "Q2")], [[3.0, 1.0]])
    odds = (0.8 / 0.2) ** 0.75
    assert labels == ("Q1", "Q2")
    assert scores == pytest.approx(np.array([[odds / (1 + odds), 1 / (1 + odds)]]), abs=1e-6)


def test_labels_may_come_in_any_order():
    one, two = np.float32([[0.8, 0.2]]), np.float32([[0.2, 0.8]])
    scores, _ = fuse_scores([one, two], [("Q1", "Q2"), ("Q2", "Q1")], [[1.0, 1.0]])
    assert scores == pytest.approx(np.float32([[0.8, 0.2]]), abs=1e-6)


def test_different_vocabularies_share_by_weight():
    speech, music = np.float32([[0.7, 0.3], [0.7, 0.3]]), np.float32([[0.6, 0.4], [NAN, NAN]])
    scores, labels = fuse_scores([music, speech], [("Q1", "Q3"), ("neutral", "anger")], [[1.0, 3.0]] * 2)
    assert labels == ("neutral", "anger", "Q1", "Q3")
    assert scores == pytest.approx(np.float32([[0.525, 0.225, 0.15, 0.1], [0.7, 0.3, 0, 0]]))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.permutations([0, 1, 2]))
def test_scores_sum_to_one_in_any_order(seed, n, order):
    random = np.random.default_rng(seed)
    vocabularies = [("neutral", "anger", "fear"), ("Q1", "Q2"), ("Q1", "Q2")]
    scores = [random.dirichlet(np.ones(len(names)), n).astype(np.float32) for names in vocabularies]
    for score in scores:
        score[random.random(n) < 0.3] = np.nan
    weights = random.uniform(0, 5, (n, 3)) * (random.random((n, 3)) > 0.1)
    fused, labels = fuse_scores(scores, vocabularies, weights)
    known = np.stack([np.isfinite(score).all(axis=1) for score in scores], axis=1) & (weights > 0)
    assert (np.isfinite(fused).all(axis=1) == known.any(axis=1)).all()
    np.testing.assert_allclose(fused[known.any(axis=1)].sum(axis=1), 1, atol=1e-6)
    again, same = fuse_scores(
        [scores[i] for i in order], [vocabularies[i] for i in order], weights[:, list(order)]
    )
    assert same == labels
    np.testing.assert_allclose(again, fused, atol=1e-6)


def test_precision_weights_are_zero_where_nothing_is_known():
    mean, std = (
        np.float32([[0.1, 0.2, NAN], [NAN, NAN, NAN]]),
        np.float32([[0.5, 0.25, NAN], [NAN, NAN, NAN]]),
    )
    assert precision_weights([(mean, std)]) == pytest.approx(np.array([[10.0], [0.0]]))


def test_labels_have_one_order():
    assert in_order({"tender", "Q2", "anger", "neutral", "awe"}) == (
        "neutral",
        "anger",
        "Q2",
        "awe",
        "tender",
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fuse([]), "nothing to fuse"),
        (lambda: fuse([constant(0, 1), constant(0, 1, 2)]), "shapes"),
        (lambda: fuse([constant(0, 1)] * 2, [prior(0, 1)]), "1 priors for 2"),
        (lambda: fuse([constant(0, 1)] * 2, correlation=1.5), "correlation 1.5"),
        (lambda: fuse_scores([np.ones((2, 2), np.float32)], [("Q1", "Q2")], np.ones((3, 1))), "weights"),
        (lambda: fuse_scores([np.ones((2, 3), np.float32)], [("Q1", "Q2")], np.ones((2, 1))), "expected"),
    ],
)
def test_refuses_what_does_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call()
