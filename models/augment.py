"""Ways in which the same sound could have reached us: louder, through a telephone, in a noisy room.

Conventions: mono float32 samples [n] at 16 kHz; the result has the same length unless the speed changes (then
`n / factor`). Every function is deterministic for the same generator state.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import soxr
from scipy.signal import butter, sosfilt

from moodstream.models.base import RATE_HZ, Float

Generator = np.random.Generator
Changed = npt.NDArray[Any]


def augment(samples: Float, draw: Generator, speed: float = 0.1, telephone: float = 0.25) -> Float:
    """One random variant: speed, equaliser, telephone band, noise, gain, each with its own chance.

    Args:
        samples: [n]. draw: where all chance comes from.
        speed: largest relative change of speed (pitch and formants move with it), 0 for none.
        telephone: chance of the 300..3400 Hz band with 8-bit companding noise.
    """
    out: Changed = samples
    if speed and draw.random() < 0.6:
        out = change_speed(out, 1 + draw.uniform(-speed, speed))
    if draw.random() < 0.5:
        out = tilt(out, draw.uniform(-6, 6), draw)
    if draw.random() < telephone:
        out = through_telephone(out)
    if draw.random() < 0.5:
        out = add_noise(out, draw.uniform(10, 35), draw)
    out = out * 10 ** (draw.uniform(-9, 6) / 20)
    peak = np.abs(out).max(initial=0)
    return np.asarray(out / max(peak, 1.0), np.float32)


def change_speed(samples: Changed, factor: float) -> Changed:
    """Play `factor` times as fast."""
    return np.asarray(soxr.resample(samples, RATE_HZ * factor, RATE_HZ, quality="MQ"))


def tilt(samples: Changed, gain_db: float, draw: Generator) -> Changed:
    """A smooth random equaliser: up to `gain_db` at three random frequencies, interpolated between them."""
    n = len(samples)
    if not n:
        return samples
    spectrum = np.fft.rfft(samples)
    at = np.linspace(0, 1, len(spectrum)) ** 0.5
    knots = np.sort(draw.uniform(0, 1, 3))
    gains = draw.uniform(-abs(gain_db), abs(gain_db), 5)
    curve = np.interp(at, [0, *knots, 1], gains)
    return np.fft.irfft(spectrum * 10 ** (curve / 20), n=n)


def through_telephone(samples: Changed) -> Changed:
    """The telephone's band, and the grain of 8-bit mu-law."""
    band = sosfilt(_TELEPHONE, samples)
    peak = max(float(np.abs(band).max(initial=0)), 1e-6)
    companded = np.sign(band) * np.log1p(255 * np.abs(band) / peak) / np.log(256)
    companded = np.round(companded * 127) / 127
    return np.asarray(np.sign(companded) * np.expm1(np.abs(companded) * np.log(256)) / 255 * peak)


def add_noise(samples: Changed, snr_db: float, draw: Generator) -> Changed:
    """Noise of a random colour (white to brown) at this ratio to the sound's mean power."""
    n = len(samples)
    if not n:
        return samples
    spectrum = np.fft.rfft(draw.standard_normal(n))
    slope = draw.uniform(0, 1)
    spectrum /= np.maximum(np.arange(len(spectrum)), 1.0) ** slope
    noise = np.fft.irfft(spectrum, n=n)
    power = float(np.mean(samples**2)) / 10 ** (snr_db / 10)
    return samples + noise * np.sqrt(power / max(float(np.mean(noise**2)), 1e-12))


_TELEPHONE = butter(4, [300, 3400], "bandpass", fs=RATE_HZ, output="sos")
