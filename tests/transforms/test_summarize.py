"""Summaries: analytic truths, cuts, bounded memory, the words and the talk of a call."""

import itertools
import pickle
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodstream.transforms.diarize import Run
from moodstream.transforms.elements import Span, Summary
from moodstream.transforms.summarize import MOST_BINS, Summarizer, quadrant_of
from moodstream.transforms.talk import Talk, measure_talk, turns
from moodstream.transforms.words import dynamics_word, mood_words, profile_word

LABELS = ("Q1", "Q2", "Q3", "Q4")


def cells(seed: int, n: int, holes: float = 0.2):
    """mean, activity, loudness, scores of n cells at random, some without an estimate."""
    random = np.random.default_rng(seed)
    mean = random.uniform(-1, 1, (n, 3)).astype(np.float32)
    mean[random.random(n) < holes] = np.nan
    loudness = random.uniform(-40, -10, n).astype(np.float32)
    loudness[random.random(n) < 0.1] = -np.inf
    scores = random.dirichlet(np.ones(4), n).astype(np.float32)
    scores[np.isnan(mean[:, 0])] = np.nan
    return mean, random.integers(0, 5, n).astype(np.int8), loudness, scores


def summary(columns, cuts=(), talk=None, runs=()) -> dict:
    summarizer = Summarizer(LABELS)
    n = len(columns[1])
    for low, high in itertools.pairwise([0, *sorted(min(cut, n) for cut in cuts), n]):
        summarizer.push(*(column[low:high] for column in columns))
    summarizer.add_episodes(runs)
    return summarizer.finish(talk)


def flat(n: int, valence: float = 0.0, arousal: float = 0.0):
    mean = np.tile(np.float32([valence, arousal, np.nan]), (n, 1))
    return mean, np.ones(n, np.int8), np.full(n, -20, np.float32), np.full((n, 4), 0.25, np.float32)


def run(label: str, start: int, end: int, is_final: bool = True) -> Run:
    return Run(0, start, end, label, 0.5, 0.0, 0.0, 0, is_final)


def test_equals_numpy_over_the_whole_media():
    columns = cells(1, 777)
    mean, activity, loudness, scores = columns
    row = summary(columns)
    known = np.isfinite(mean[:, 0])
    time = np.flatnonzero(known)
    for index, name in enumerate(("valence", "arousal", "dominance")):
        value = mean[known, index].astype(np.float64)
        assert row[f"{name}_mean"] == pytest.approx(value.mean())
        assert row[f"{name}_std"] == pytest.approx(value.std())
        assert row[f"{name}_slope"] == pytest.approx(np.polyfit(time, value, 1)[0] * (time[-1] - time[0]))
    assert list(row["emotion_scores"].values()) == pytest.approx(
        scores[known].mean(axis=0).tolist(), abs=1e-5
    )
    names = [quadrant_of(v, a) for v, a in mean[known, :2]]
    assert row["quadrant_shares"] == pytest.approx({q: names.count(q) / len(names) for q in LABELS})
    assert row["estimated_share"] == pytest.approx(known.mean())
    assert list(row["activity_shares"].values()) == pytest.approx((np.bincount(activity) / 777).tolist())
    power = 10 ** (loudness[np.isfinite(loudness)].astype(np.float64) / 10)
    assert row["loudness_lufs_mean"] == pytest.approx(10 * np.log10(power.mean()), abs=1e-4)


def test_gives_every_column_of_its_own():
    own = {column.name for column in fields(Summary)} - {column.name for column in fields(Span)}
    assert set(summary(flat(10))) == own


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 400), st.lists(st.integers(0, 400), max_size=8))
def test_cuts_and_snapshots_change_nothing(seed, n, cuts):
    columns = cells(seed, n)
    whole = summary(columns)
    assert summary(columns, cuts) == whole
    summarizer = Summarizer(LABELS)
    for low, high in itertools.pairwise([0, *sorted(min(cut, n) for cut in cuts), n]):
        summarizer.push(*(column[low:high] for column in columns))
        state = pickle.dumps(summarizer.state())
        summarizer = Summarizer(LABELS)
        summarizer.restore(pickle.loads(state))
    assert summarizer.finish() == whole


def test_nothing_estimated():
    mean, activity, loudness, scores = flat(50)
    row = summary((np.full_like(mean, np.nan), activity, np.full_like(loudness, -np.inf), scores))
    for name in ("valence_mean", "emotion", "quadrant", "quadrant_shares", "profile", "dynamics"):
        assert row[name] is None
    assert row["representative_start_ms"] is row["loudness_lufs_mean"] is None
    assert row["estimated_share"] == 0
    assert row["moods"] == []


def test_no_cells_at_all():
    row = Summarizer(LABELS).finish()
    assert row["estimated_share"] == 0
    assert row["valence_mean"] is None


def test_a_single_estimate_has_no_slope():
    row = summary(flat(1, 0.3, 0.2))
    assert (row["valence_mean"], row["valence_std"], row["valence_slope"]) == (pytest.approx(0.3), 0.0, None)


def test_shares_come_from_episode_time_and_final_ones_only():
    runs = [run("Q3", 0, 30), run("Q1", 30, 40), run("Q2", 40, 99, is_final=False)]
    row = summary(flat(40), runs=runs)
    assert row["emotion_shares"] == {"Q1": 0.25, "Q3": 0.75}
    assert row["emotion"] == "Q3"


def test_without_episodes_the_best_score_is_the_emotion():
    mean, activity, loudness, _ = flat(40)
    row = summary((mean, activity, loudness, np.tile(np.float32([0.2, 0.5, 0.2, 0.1]), (40, 1))))
    assert row["emotion"] == "Q2"
    assert row["emotion_shares"] is None


def test_the_representative_stretch_is_the_one_like_the_whole():
    """Mostly (0.5, 0.5), with an odd beginning and end; the first stretch without them wins."""
    mean, activity, loudness, scores = flat(400, 0.5, 0.5)
    mean[:60, :2] = -0.8
    mean[380:, :2] = -0.8
    start_ms = summary((mean, activity, loudness, scores))["representative_start_ms"]
    assert 0 <= start_ms <= 400 * 500 - 15_000
    assert start_ms % 5000 == 0
    overlap = np.mean(mean[start_ms // 500 : start_ms // 500 + 30, 0] > 0)
    assert overlap >= 0.6


def test_of_equal_stretches_the_first_is_representative():
    assert summary(flat(400, 0.5, 0.5))["representative_start_ms"] == 0


def test_memory_stays_bounded_and_long_media_are_summed_up_right():
    columns = cells(3, 200_000)
    summarizer = Summarizer(LABELS)
    for low in range(0, 200_000, 10_000):
        summarizer.push(*(column[low : low + 10_000] for column in columns))
        assert len(summarizer.state()["_bins"]) <= MOST_BINS
    row = summarizer.finish()
    known = np.isfinite(columns[0][:, 0])
    assert row["valence_mean"] == pytest.approx(columns[0][known, 0].astype(np.float64).mean(), abs=1e-6)
    assert row["emotion_scores"]["Q1"] == pytest.approx(columns[3][known, 0].mean(), abs=1e-5)


def test_sentiment_by_quarter():
    mean, activity, loudness, scores = flat(400)
    mean[:, 0] = np.repeat([0.2, -0.4, np.nan, 1.0], 100)
    mean[200:300] = np.nan
    row = summary((mean, activity, loudness, scores), talk=Talk(1, 2, 3))
    assert row["sentiment_by_quarter"] == [pytest.approx(1), pytest.approx(-2), None, pytest.approx(5)]
    assert (row["talk_ms"], row["non_talk_ms"], row["interruptions"]) == (1, 2, 3)
    assert summary((mean, activity, loudness, scores))["sentiment_by_quarter"] is None


def test_refuses_arrays_that_do_not_fit():
    mean, activity, loudness, scores = flat(4)
    with pytest.raises(ValueError, match="4 cells"):
        Summarizer(LABELS).push(mean[:3], activity, loudness, scores)


# ---------------------------------------------------------------- words

CLIMB = np.linspace(-0.5, 0.5, 40)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (CLIMB, "rising"),
        (-CLIMB, "falling"),
        (-np.abs(CLIMB), "arch"),
        (np.abs(CLIMB), "valley"),
        (np.sin(np.linspace(0, 6 * np.pi, 40)), "wave"),
        (0.1 * CLIMB, "steady"),
        (np.r_[np.zeros(30), np.full(10, 0.6)], "rising"),
    ],
)
def test_profile(line, word):
    still = np.full(len(line), 0.2)
    weights = np.full(len(line), 10.0)
    assert profile_word(np.column_stack([still, line]), weights) == word
    assert profile_word(np.column_stack([line, still]), weights) == word
    noise = np.random.default_rng(0).normal(0, 0.03, (len(line), 2))
    assert profile_word(np.column_stack([still, line]) + noise, weights) == word


def test_one_odd_stretch_is_not_a_shape():
    arc = np.zeros((12, 2))
    arc[5] = 0.28
    assert profile_word(arc, np.ones(12)) == "steady"


def test_profile_needs_a_length():
    assert profile_word(np.zeros((2, 2)), np.ones(2)) is None


@pytest.mark.parametrize(
    ("spread", "word"), [(0.01, "static"), (0.07, "gentle"), (0.15, "varied"), (0.5, "dramatic")]
)
def test_dynamics(spread, word):
    arc = np.tile([[spread, spread], [-spread, -spread]], (10, 1))
    assert dynamics_word(arc, np.ones(20)) == word


@pytest.mark.parametrize(
    ("valence", "arousal", "words"),
    [
        (0.5, 0.5, ["happy", "excited"]),
        (-0.5, 0.5, ["tense", "angry"]),
        (-0.5, -0.5, ["sad", "melancholic"]),
        (0.2, -0.2, ["calm"]),
        (-0.6, 0.01, ["unpleasant", "distressed"]),
        (-0.6, -0.01, ["unpleasant", "distressed"]),
        (0.0, -0.9, ["quiet", "lethargic"]),
    ],
)
def test_moods(valence, arousal, words):
    assert mood_words(valence, arousal) == words


# ---------------------------------------------------------------- talk


def side(text: str) -> np.ndarray:
    return np.array([c == "#" for c in text])


@pytest.mark.parametrize(
    ("agent", "customer", "interruptions"),
    [
        ("######....", "....####..", {"agent": 0, "customer": 1}),
        ("######....", "....#.....", {"agent": 0, "customer": 0}),  # too short to interrupt
        ("####......", "....####..", {"agent": 0, "customer": 0}),  # takes over
        (".#####....", "..####....", {"agent": 0, "customer": 0}),  # nobody had the floor yet
        ("####..####", "....####..", {"agent": 0, "customer": 1}),  # a pause is not the end of a turn
        ("####...###", "....####..", {"agent": 1, "customer": 0}),  # a longer one is
        ("##########", "..##..##..", {"agent": 0, "customer": 1}),  # one turn with a pause
        ("##########", "..##...##.", {"agent": 0, "customer": 2}),
    ],
)
def test_interruptions(agent, customer, interruptions):
    talk = measure_talk({"agent": side(agent), "customer": side(customer)})
    assert {name: of.interruptions for name, of in talk.items()} == interruptions


def test_talk_time():
    talk = measure_talk({"left": side("##..#....."), "right": side(".....##...#")})
    assert talk["left"].talk_ms == 1500
    assert talk["right"].talk_ms == 1500
    assert talk["left"].non_talk_ms == talk["right"].non_talk_ms == 2500
    assert measure_talk({}) == {}
    talk = measure_talk({"left": side("###.#"), "right": side(".##"), "third": side("..#.")})
    assert {name: of.overlap_ms for name, of in talk.items()} == {"left": 1000, "right": 1000, "third": 500}


def test_turns_of_silence_and_of_constant_talk():
    assert turns(side("....")) == []
    assert turns(side("####")) == [(0, 4)]
