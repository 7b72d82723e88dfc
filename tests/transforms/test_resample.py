"""Resampling: exact lengths, nothing shifted, the same however the sound is cut."""

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from moodstream.transforms.resample import LAG, Resample
from tests.support.media_files import Float, sound

RATES_HZ = (8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 192_000)


def resample(samples: Float, rate_hz: int, cuts: list[int] | None = None) -> Float:
    step = Resample(rate_hz)
    parts = [step.push(part) for part in np.split(samples, cuts or [])]
    return np.concatenate([*parts, step.flush()])


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("n", [0, 1, 2, 77, 5_513, 22_051])
def test_length_is_rounded_half_up(rate_hz: int, n: int) -> None:
    out = resample(np.ones(n, np.float32), rate_hz)
    assert out.dtype == np.float32
    assert len(out) == int(np.floor(n * 16_000 / rate_hz + 0.5))


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_sine_stays_where_it_is(rate_hz: int) -> None:
    n = rate_hz
    out = resample(np.sin(2 * np.pi * 440 * np.arange(n) / rate_hz).astype(np.float32), rate_hz)
    expected = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    inside = slice(500, -500)
    np.testing.assert_allclose(out[inside], expected[inside], atol=2e-4)


def test_what_16_khz_cannot_hold_is_gone() -> None:
    tone = np.sin(2 * np.pi * 9_000 * np.arange(44_100) / 44_100).astype(np.float32)
    assert np.abs(resample(tone, 44_100)[500:-500]).max() < 1e-4


def test_16_khz_passes_untouched() -> None:
    samples = sound(1, 16_000, 1)[0]
    np.testing.assert_array_equal(resample(samples, 16_000, [1, 5_000]), samples)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(RATES_HZ), st.lists(st.integers(0, 60_000), max_size=12))
def test_however_it_is_cut(rate_hz: int, cuts: list[int]) -> None:
    samples = np.resize(sound(1, rate_hz, 1)[0], 60_000)
    np.testing.assert_allclose(
        resample(samples, rate_hz, sorted(cuts)), resample(samples, rate_hz), atol=1e-6
    )


def test_as_one_shot() -> None:
    samples = sound(2, 44_100, 1)[0]
    np.testing.assert_allclose(
        resample(samples, 44_100, [999]), soxr.resample(samples, 44_100, 16_000), atol=1e-6
    )


def test_rejects_a_rate_that_is_none() -> None:
    with pytest.raises(ValueError, match="rate_hz is 0"):
        Resample(0)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from((*RATES_HZ, 8_001)),
    st.lists(st.tuples(st.integers(0, 20_000), st.booleans()), max_size=12),
    st.booleans(),
)
def test_it_goes_on_elsewhere_from_its_state(
    rate_hz: int, cuts: list[tuple[int, bool]], steady: bool
) -> None:
    samples = np.resize(sound(1, rate_hz, 1)[0], 60_000)
    step, parts, at = Resample(rate_hz, steady=steady), [], 0
    for size, moved in cuts:
        parts.append(step.push(samples[at : at + size]))
        at = min(at + size, len(samples))
        if moved:
            state, step = step.state(), Resample(rate_hz, steady=steady)
            step.restore(state)
    parts += [step.push(samples[at:]), step.flush()]
    np.testing.assert_allclose(np.concatenate(parts), resample(samples, rate_hz), atol=1e-6)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 44_100, 48_000, 192_000])
def test_steady_gives_what_the_length_alone_says(rate_hz: int) -> None:
    samples, draw = np.resize(sound(1, rate_hz, 1)[0], 3 * rate_hz), np.random.default_rng(1)
    step, given_so_far, at = Resample(rate_hz, steady=True), 0, 0
    while at < len(samples):
        size = int(draw.integers(1, rate_hz // 8))
        given_so_far += len(step.push(samples[at : at + size]))
        at = min(at + size, len(samples))
        assert given_so_far == max(at * 16_000 // rate_hz - LAG, 0)
        if draw.random() < 0.3:
            state, step = step.state(), Resample(rate_hz, steady=True)
            step.restore(state)
