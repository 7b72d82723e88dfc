"""Joined recordings are what their spans say, and pauses count for nobody."""

import itertools

import numpy as np
import pytest

from moodstream.models.base import RATE_HZ, Float
from moodstream.models.joined import KINDS, join, squeeze, trim

LEVELS = {"neutral": 0.05, "anger": 0.3, "sadness": 0.02}


def clips() -> dict[str, list[Float]]:
    """Constants: the level says which clip it is."""
    return {
        name: [np.full(int(RATE_HZ * (1 + 0.1 * i)), level * (1 + 0.01 * i), np.float32) for i in range(4)]
        for name, level in LEVELS.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_spans_and_pauses_cover_the_sound(kind: str) -> None:
    for seed in range(20):
        joined = join(kind, clips(), np.random.default_rng(seed))
        sound = joined.sound()
        assert len(sound) / RATE_HZ == joined.seconds
        assert np.array_equal(sound, joined.sound())
        edges = sorted((a, b) for a, b, *_ in [*joined.spans, *joined.pauses])
        assert edges[0][0] == 0
        assert max(b for _, b in edges) == joined.seconds
        for start, end in joined.pauses:
            inside = sound[int(start * RATE_HZ) + 1 : int(end * RATE_HZ) - 1]
            assert joined.telephone or np.abs(inside).max() < 0.01
        labels = [name for _, _, name in joined.spans]
        assert all(one != other for one, other in itertools.pairwise(labels))
        assert len(labels) == 1 or kind != "same"


def test_events_lie_at_one_level_without_pauses() -> None:
    for seed in range(20):
        joined = join("events", clips(), np.random.default_rng(seed))
        assert not joined.pauses
        assert not joined.telephone
        labels = [name for _, _, name in joined.spans]
        assert sum(name != "neutral" for name in labels) == 1
        assert np.ptp(np.abs(joined.sound())) < 1e-6


def test_trim_takes_off_silence_at_both_ends() -> None:
    tone = np.full(RATE_HZ, 0.5, np.float32)
    nothing = np.zeros(RATE_HZ, np.float32)
    assert len(trim(np.concatenate([nothing, tone, nothing]))) == pytest.approx(RATE_HZ, abs=500)
    assert len(trim(nothing)) in (0, RATE_HZ // 250 * 250)


def test_squeezed_pauses_move_what_follows_and_drop_what_lies_within() -> None:
    spans = [(0.0, 2.0, "a"), (2.2, 2.8, "b"), (3.0, 5.0, "c")]
    assert squeeze(spans, [(2.0, 3.0)]) == [(0.0, 2.0, "a"), (2.0, 4.0, "c")]
    assert squeeze([(0.0, 2.5, "a"), (2.5, 5.0, "c")], [(2.0, 3.0)]) == [(0.0, 2.0, "a"), (2.0, 4.0, "c")]


def test_what_is_rejected() -> None:
    draw = np.random.default_rng(0)
    with pytest.raises(ValueError, match="kind is 'mixture'"):
        join("mixture", clips(), draw)
    with pytest.raises(ValueError, match="'neutral' for events"):
        join("events", {name: some for name, some in clips().items() if name != "neutral"}, draw)
