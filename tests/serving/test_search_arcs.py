"""Curves as the index keeps them, arcs as it compares them: against plain code, one track at a time."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodstream.serving.search import dtw
from moodstream.serving.search.arc_rank import POINTS, ArcRank, arcs_of
from moodstream.serving.search.arcs import FINE, UNIT, decode, encode, filled, points, starts
from moodstream.serving.search.entries import BINS, TERMS, make, sketch_of

SEEDS = st.integers(0, 10_000)


def curves(rng, n, longest=60, gaps=0.2):
    """Some tracks that move as curves do, with gaps: (at, curve)."""
    at = starts(rng.integers(1, longest, n))
    curve = np.tanh(np.cumsum(rng.normal(0, 0.05, (at[-1], 2)), axis=0)).astype(np.float32)
    curve[rng.random(at[-1]) < gaps * rng.integers(0, 2)] = np.nan
    return at, curve


@given(SEEDS)
@settings(max_examples=50, deadline=None)
def test_what_is_stored_is_what_was_there_but_for_little(seed):
    at, curve = curves(np.random.default_rng(seed), 8)
    values, known = decode(encode(at, curve))
    assert np.array_equal(known, np.isfinite(curve[:, 0]))
    apart = np.abs(values.T / UNIT - curve)[known]
    assert not len(apart) or (apart.max() < 0.2 and np.sqrt((apart**2).mean()) < 0.02)
    for begin, end in itertools.pairwise(at):
        inside = np.flatnonzero(known[begin:end])
        if len(inside):
            first = begin + inside[0]
            assert values[:, first].tolist() == np.rint(curve[first] * UNIT).tolist()


def test_a_jump_is_made_good_within_three_steps():
    curve = np.array([[-0.5, 0.5]] * 3 + [[0.5, -0.5]] * 6, np.float32)
    values, _ = decode(encode(np.array([0, 9]), curve))
    assert np.abs(values.T[5:] / UNIT - curve[5:]).max() < 0.03


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_a_track_does_not_hang_on_its_neighbours(seed):
    rng = np.random.default_rng(seed)
    at, curve = curves(rng, 6)
    cells = encode(at, curve)
    order = rng.permutation(6)
    together = arcs_of(cells, 16)
    assert np.array_equal(arcs_of(cells.take(order), 16), together[:, :, order])
    for row in range(6):
        alone = encode(np.array([0, at[row + 1] - at[row]]), curve[at[row] : at[row + 1]])
        assert np.array_equal(alone.codes, cells.codes[at[row] : at[row + 1]])
        assert np.array_equal(arcs_of(alone, 16)[:, :, 0], together[:, :, row])


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_gaps_become_straight_lines_and_points_means(seed):
    at, curve = curves(np.random.default_rng(seed), 5, gaps=0.5)
    cells = encode(at, curve)
    values, known = decode(cells)
    line, _ = filled(cells)
    arcs = points(at, line, 7)
    for row, (begin, end) in enumerate(itertools.pairwise(at)):
        inside = np.flatnonzero(known[begin:end])
        for dimension in (0, 1):
            track = np.zeros(end - begin)
            if len(inside):
                track = np.interp(np.arange(end - begin), inside, values[dimension, begin:end][inside] / UNIT)
            assert line[dimension, begin:end] / FINE == pytest.approx(track, abs=1 / FINE)
            fine = np.repeat(line[dimension, begin:end] / FINE, 7)  # each point is so many of these
            means = fine.reshape(7, -1).mean(axis=1)
            assert arcs[dimension, :, row] == pytest.approx(means, abs=1e-6)


def plain_distance(x, y, band):
    """The definition, written down."""
    count = x.shape[1]
    least = np.full((count + 1, count + 1), np.inf)
    least[0, 0] = 0
    for i in range(count):
        for j in range(max(0, i - band), min(count, i + band + 1)):
            cost = ((x[:, i].astype(float) - y[:, j]) ** 2).sum()
            least[i + 1, j + 1] = cost + min(least[i, j], least[i, j + 1], least[i + 1, j])
    return np.sqrt(least[count, count] / count)


@given(SEEDS, st.integers(1, 24), st.integers(0, 30))
@settings(max_examples=80, deadline=None)
def test_the_distance_is_the_plain_one(seed, count, band):
    rng = np.random.default_rng(seed)
    query, arcs = rng.normal(size=(2, count)), rng.normal(size=(2, count, 3))
    query, arcs = query.astype(np.float32), arcs.astype(np.float32)
    found = dtw.distances(query, arcs, band)
    assert found == pytest.approx([plain_distance(query, arcs[:, :, n], band) for n in range(3)], rel=1e-5)
    back = dtw.distances(arcs[:, :, 0], query[:, :, None], band)
    assert back[0] == pytest.approx(found[0], rel=1e-5)


def test_what_the_distance_means():
    level = np.zeros((2, POINTS), np.float32)
    share = np.linspace(0, 1, POINTS)
    hill = np.stack([np.exp(-(((share - middle) / 0.1) ** 2)) for middle in (0.5, 0.55, 0.75)]).astype(
        np.float32
    )
    hills = np.stack([hill, hill])  # [2, 3, POINTS]
    found = dtw.distances(hills[:, 0], hills.transpose(0, 2, 1))
    assert found[0] == 0
    assert found[1] < 0.02  # a twentieth of the track later: the same
    assert found[2] > 0.2  # a quarter later: another
    assert dtw.distances(level, level[:, :, None] + np.float32(0.3))[0] == pytest.approx(0.3 * 2**0.5)
    with pytest.raises(ValueError, match="does not fit"):
        dtw.distances(level, np.zeros((2, 5, 1), np.float32))


@given(SEEDS, st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_floor_is_below_the_distance_and_the_sketch_below_the_bins(seed, removed):
    rng = np.random.default_rng(seed)
    at, curve = curves(rng, 12, longest=400)
    cells = encode(at, curve)
    arcs = arcs_of(cells)
    rank = ArcRank(arcs[:, :, 0], removed)
    if removed:
        arcs = arcs - arcs.mean(axis=1, keepdims=True)
    bins = np.rint(arcs_of(cells, BINS) * UNIT) / UNIT
    floor = rank.floor(bins.reshape(2 * BINS, -1).astype(np.float32))
    assert (floor <= dtw.distances(rank.query, arcs) + 1e-6).all()
    apart = sketch_of(bins) - sketch_of(bins[:, :, :1])
    exact = np.sqrt(((bins - bins[:, :, :1]) ** 2).mean(axis=1).sum(axis=0))
    assert (np.sqrt((apart**2).sum(axis=0)) <= exact + 1e-5).all()


def test_what_is_kept_besides_the_curve():
    curve = np.array([[0.5, 0.5]] * 20 + [[-0.5, 0.5]] * 10 + [[np.nan, np.nan]] * 10, np.float32)
    entries = make(
        np.array([0, 40]), curve,
        write_id=np.array([1]), media_id=["a"], take=np.array([0]), duration_ms=np.array([20_000]),
        tags=[{"artist": "É"}], words={"kind": ["audio"]}, numbers={"valence_mean": np.array([0.1])},
    )  # fmt: skip
    assert entries.arrays["quadrants"][:, 0] / 65535 == pytest.approx([2 / 3, 1 / 3, 0, 0], abs=1e-4)
    assert [int(entries.arrays["known"][0]) >> bit & 1 for bit in range(BINS)] == [1] * 24 + [0] * 8
    assert entries.arrays["comparable"][0]
    assert entries.arrays["bins"][[0, BINS - 1, BINS], 0].tolist() == [64, -64, 64]
    assert entries.arrays["sketch"].shape == (2 * TERMS, 1)
    assert entries.texts["text"][0].as_py() == "a\né"
    assert decode(entries.cells.take(np.array([0])))[1].sum() == 30
    with pytest.raises(ValueError, match="single half second"):
        make(np.array([0, 0]), curve[:0], write_id=np.array([1]), media_id=["a"], take=np.array([0]),
             duration_ms=np.array([0]), tags=[{}], words={}, numbers={})  # fmt: skip
