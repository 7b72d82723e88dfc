"""Loudness: the reference signals of the standard, an independent meter, exact cells, any cut."""

import numpy as np
import pyloudnorm
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from moodstream.transforms.loudness import Loudness
from tests.support.media_files import Float, sound


def measure(samples: Float, rate_hz: int, cuts: list[int] | None = None) -> Float:
    step = Loudness(rate_hz, len(samples))
    parts = [step.push(part) for part in np.split(samples, cuts or [], axis=1)]
    return np.concatenate([*parts, step.flush()])


def sine(level_dbfs: float, rate_hz: int, channels: int = 2, hz: float = 1_000, seconds: float = 3) -> Float:
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.tile(10 ** (level_dbfs / 20) * np.sin(2 * np.pi * hz * t), (channels, 1)).astype(np.float32)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 44_100, 48_000, 192_000])
@pytest.mark.parametrize("level_dbfs", [-23, -33, -40])
def test_ebu_tech_3341(rate_hz: int, level_dbfs: float) -> None:
    """Cases 1 and 2: a stereo sine of 1 kHz at -23 (-33) dBFS peak reads -23 (-33) LUFS, within 0.1."""
    values = measure(sine(level_dbfs, rate_hz), rate_hz)
    assert len(values) == 6
    np.testing.assert_allclose(values, level_dbfs, atol=0.1)


def test_bs_1770_one_channel_at_full_scale() -> None:
    """997 Hz at 0 dBFS on one channel reads -3.01 LKFS (BS.1770-5, annex 1)."""
    np.testing.assert_allclose(measure(sine(0, 48_000, 1, 997), 48_000), -3.01, atol=0.05)


def test_ebu_tech_3341_case_6_surround() -> None:
    """5.0: left and right at -28, centre at -24, surrounds at -30 dBFS: -23 LUFS; the LFE does not count."""
    levels = (-28, -28, -24, 0, -30, -30)
    samples = np.concatenate([sine(level, 48_000, 1) for level in levels])
    np.testing.assert_allclose(measure(samples, 48_000), -23, atol=0.1)
    np.testing.assert_allclose(measure(np.delete(samples, 3, axis=0), 48_000), -23, atol=0.1)


def k_filtered(samples: Float, rate_hz: int) -> Float:
    for stage in pyloudnorm.Meter(rate_hz)._filters.values():
        samples = lfilter(stage.b, stage.a, samples.astype(np.float64))
    return samples


@pytest.mark.parametrize("rate_hz", [44_100, 48_000])
@pytest.mark.parametrize("bass_hz", [0, 30, 50])
def test_against_the_filters_sample_by_sample(rate_hz: int, bass_hz: float) -> None:
    samples = sound(5, rate_hz, 2) + (sine(-12, rate_hz, 2, bass_hz, 5) if bass_hz else 0)
    filtered = k_filtered(samples, rate_hz)
    windows = [filtered[:, i * rate_hz // 2 + rate_hz // 20 :][:, : rate_hz * 4 // 10] for i in range(10)]
    expected = [-0.691 + 10 * np.log10((window**2).mean(axis=1).sum()) for window in windows]
    np.testing.assert_allclose(measure(samples, rate_hz), expected, atol=0.1)


def test_silence_has_none_and_dc_hardly_any() -> None:
    assert np.isnan(measure(np.zeros((2, 44_100), np.float32), 44_100)).all()
    values = measure(np.full((2, 44_100), 0.5, np.float32), 44_100)
    assert not (values > -60).any()


def test_opposite_phase_is_as_loud() -> None:
    samples = sound(2, 44_100, 1)
    both = measure(np.concatenate([samples, samples]), 44_100)
    np.testing.assert_allclose(measure(np.concatenate([samples, -samples]), 44_100), both, atol=1e-4)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 44_100])
@pytest.mark.parametrize("n", [1, 100, 2_756, 5_512, 5_513, 11_025, 22_050, 22_051, 50_000])
def test_one_value_a_cell_of_what_the_models_hear(rate_hz: int, n: int) -> None:
    resampled = int(np.floor(n * 16_000 / rate_hz + 0.5))
    values = measure(sine(-20, rate_hz, 1, seconds=n / rate_hz)[:, :n], rate_hz)
    assert len(values) == -(-resampled // 8_000)


def test_the_last_short_cell_is_measured_on_what_there_is() -> None:
    values = measure(sine(-20, 44_100, 2, seconds=1.23), 44_100)
    np.testing.assert_allclose(values, -20, atol=0.1)
    values = measure(sine(-20, 44_100, 2, seconds=1.001), 44_100)
    np.testing.assert_allclose(values, -20, atol=0.3)


def test_cells_do_not_drift() -> None:
    """At 11,025 Hz half a second is no whole number of samples; ten hours later a cell is where it was."""
    step = Loudness(11_025, 1)
    hour = np.zeros((1, 11_025 * 60), np.float32)
    silent = sum(len(step.push(hour)) for _ in range(600))
    assert silent == 2 * 3600 * 10
    loud = sine(-20, 11_025, 1, seconds=0.5)
    values = np.concatenate([step.push(loud), step.push(hour)])
    assert values[0] == pytest.approx(-23, abs=0.1)
    assert np.isnan(values[1:]).all()


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([8_000, 11_025, 44_100]), st.lists(st.integers(0, 60_000), max_size=12))
def test_however_it_is_cut(rate_hz: int, cuts: list[int]) -> None:
    samples = np.resize(sound(1, rate_hz, 2), (2, 60_000))
    np.testing.assert_allclose(measure(samples, rate_hz, sorted(cuts)), measure(samples, rate_hz), atol=1e-4)


def test_rejects_what_is_no_sound() -> None:
    with pytest.raises(ValueError, match="channels 0"):
        Loudness(44_100, 0)
