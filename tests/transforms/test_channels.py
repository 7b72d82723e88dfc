"""The downmix: a mean where it may be one, and nothing vanishes where it may not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodstream.transforms.channels import MixDown
from tests.support.media_files import Float, sound

RATE_HZ = 8_000


def mix(samples: Float, cuts: list[int] | None = None) -> Float:
    step = MixDown(RATE_HZ)
    parts = [step.push(part) for part in np.split(samples, cuts or [], axis=1)]
    return np.concatenate([*parts, step.flush()])


def level(samples: Float) -> float:
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_ordinary_sound_becomes_its_mean(channels: int) -> None:
    samples = sound(2, RATE_HZ, channels)
    np.testing.assert_allclose(mix(samples), samples.mean(axis=0), atol=1e-6)


def test_equal_channels_and_one_that_is_alone() -> None:
    one = sound(1, RATE_HZ, 1)[0]
    np.testing.assert_allclose(mix(np.stack([one, one])), one, atol=1e-6)
    np.testing.assert_allclose(mix(np.stack([one, 0 * one])), one / 2, atol=1e-6)


def test_opposite_phase_does_not_vanish() -> None:
    one = sound(2, RATE_HZ, 1)[0]
    for other in (-one, -0.9 * one):
        mono = mix(np.stack([one, other]))
        np.testing.assert_allclose(mono[800:], one[800:], atol=1e-6)


def test_a_stretch_in_opposite_phase_is_crossed_into_and_out_of() -> None:
    t = np.arange(4 * RATE_HZ) / RATE_HZ
    one = (0.5 * np.cos(2 * np.pi * 200 * t)).astype(np.float32)
    other = (np.interp(t, [0.5, 1.5, 2.5, 3.5], [0.3, -1, -1, 0.3]) * one).astype(np.float32)
    mono = mix(np.stack([one, other]))
    for start_s, end_s, share in ((0, 0.4, 0.65), (1.6, 2.4, 1), (3.6, 4, 0.65)):
        inside = slice(round(start_s * RATE_HZ), round(end_s * RATE_HZ))
        assert level(mono[inside]) == pytest.approx(share * level(one), rel=0.01)
    assert np.abs(np.diff(mono)).max() < 1.1 * np.abs(np.diff(one)).max()  # no click


def test_silence_changes_no_choice() -> None:
    one = sound(3, RATE_HZ, 1)[0]
    one[RATE_HZ : 2 * RATE_HZ] = 0
    mono = mix(np.stack([one, -one]))
    np.testing.assert_allclose(mono[800:], one[800:], atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 3), st.lists(st.integers(0, 3 * RATE_HZ), max_size=10))
def test_however_it_is_cut(seed: int, cuts: list[int]) -> None:
    samples = sound(3, RATE_HZ, 3, seed)
    turned = slice(seed * 2_000, seed * 2_000 + 9_000)
    samples[1, turned], samples[2, turned] = -samples[0, turned], 0
    whole = mix(samples)
    assert len(whole) == samples.shape[1]
    np.testing.assert_allclose(mix(samples, sorted(cuts)), whole, atol=1e-6)


def test_nothing_in_nothing_out() -> None:
    assert len(mix(np.zeros((2, 0), np.float32))) == 0
    assert len(MixDown(RATE_HZ).flush()) == 0
