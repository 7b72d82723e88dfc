"""Made sounds: every kind, its level, its repeatability, and what the tones are."""

import numpy as np
import pytest

from moodstream.models import noises

N = 8_000


@pytest.mark.parametrize("kind", noises.MAKERS)
def test_every_kind_is_finite_has_unit_power_and_repeats(kind: str) -> None:
    wave = noises.make(kind, N, np.random.default_rng(5))
    assert wave.shape == (N,)
    assert wave.dtype == np.float32
    assert np.mean(wave.astype(np.float64) ** 2) == pytest.approx(1, abs=0.05)
    assert np.array_equal(wave, noises.make(kind, N, np.random.default_rng(5)))
    assert not np.array_equal(wave, noises.make(kind, N, np.random.default_rng(6)))


def power_ratio_db(wave: np.ndarray, upper_hz: float, lower_hz: float) -> float:
    """Power density at one frequency over that at another, an octave wide each, in dB."""
    power = np.abs(np.fft.rfft(wave)) ** 2
    hz = np.fft.rfftfreq(len(wave), 1 / 16_000)
    bands = [power[(hz > f / 1.4) & (hz < f * 1.4)].mean() for f in (upper_hz, lower_hz)]
    return float(10 * np.log10(bands[0] / bands[1]))


@pytest.mark.parametrize(("slope", "expected_db"), [(-1, 9), (0, 0), (1, -9), (2, -18)])
def test_colored_noise_falls_as_it_says(slope: float, expected_db: float) -> None:
    wave = noises.colored(160_000, np.random.default_rng(0), slope)
    assert power_ratio_db(wave, 4000, 500) == pytest.approx(expected_db, abs=1)  # three octaves


def test_dial_tones_are_two_sines_of_the_keypad() -> None:
    wave = noises.make("dtmf", 1_600, np.random.default_rng(3))  # within one key
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 16_000))
    first = int(spectrum.argmax())
    spectrum[first - 30 : first + 31] = 0
    low, high = sorted((first, int(spectrum.argmax())))
    assert min(abs(low - f) for f in (697, 770, 852, 941)) <= 3
    assert min(abs(high - f) for f in (1209, 1336, 1477, 1633)) <= 3


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match="kind is 'tram'"):
        noises.make("tram", N, np.random.default_rng(0))
