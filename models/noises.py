"""Sounds that are neither speech nor music, and plain melodies that are music: made, not recorded.

Conventions: every maker takes a number of samples and a generator and gives mono samples [n] at 16 kHz of
any level; `make` brings them to a mean square of one. All chance comes from the generator. Kinds in `TONES`
are what engineers test lines with; `melody` and `song` stand for single instruments and voices, which corpora
lack. Those in `UNHEARD` only measure what ships: nothing learns from them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.signal import butter, chirp, sosfilt, square

from moodstream.models.base import RATE_HZ, Float

Generator = np.random.Generator
Wave = npt.NDArray[Any]
Maker = Callable[[int, Generator], Wave]


def make(kind: str, n: int, draw: Generator) -> Float:
    """Samples [n] of one kind, with a mean square of one.

    Raises:
        ValueError: no such kind.
    """
    if kind not in MAKERS:
        raise ValueError(f"kind is {kind!r}, known are {', '.join(MAKERS)}")
    wave = MAKERS[kind](n, draw)
    return np.asarray(wave / np.sqrt(np.mean(wave**2) + 1e-12), np.float32)


def colored(n: int, draw: Generator, slope: float) -> Wave:
    """Noise whose power falls by `slope` times 3 dB an octave: 0 white, 1 pink, 2 brown, -1 blue."""
    spectrum = np.fft.rfft(draw.standard_normal(n))
    return np.fft.irfft(spectrum * np.maximum(np.arange(len(spectrum)), 1.0) ** (-slope / 2), n=n)


def band(wave: Wave, low_hz: float, high_hz: float) -> Wave:
    """The part of a wave between two frequencies."""
    return np.asarray(sosfilt(butter(2, [low_hz, high_hz], "bandpass", fs=RATE_HZ, output="sos"), wave))


def slow(n: int, draw: Generator, rate_hz: float, depth: float = 1.0) -> Wave:
    """A random positive swing around 1 that changes about `rate_hz` times a second."""
    knots = int(n / RATE_HZ * rate_hz) + 3
    values = np.exp(depth * draw.standard_normal(knots))
    return np.asarray(np.interp(np.linspace(0, knots - 1, n), np.arange(knots), values))


def bursts(n: int, draw: Generator, rate_hz: float, decay_s: float, low_hz: float, high_hz: float) -> Wave:
    """Decaying noise bursts at random times: drops, claps, keys."""
    hits = (draw.random(n) < rate_hz / RATE_HZ) * draw.exponential(1, n)
    tail = np.exp(-np.arange(int(6 * decay_s * RATE_HZ) + 1) / (decay_s * RATE_HZ))
    envelope = np.convolve(hits, tail)[:n]
    return band(envelope * draw.standard_normal(n), low_hz, high_hz) + 1e-4 * draw.standard_normal(n)


def tone(n: int, frequency_hz: Wave | float, phase: float = 0.0) -> Wave:
    """A sine whose frequency may move."""
    return np.asarray(np.sin(phase + 2 * np.pi * np.cumsum(np.broadcast_to(frequency_hz, n)) / RATE_HZ))


def _on_off(n: int, on_s: float, off_s: float) -> Wave:
    return np.asarray((np.arange(n) / RATE_HZ) % (on_s + off_s) < on_s, float)


def _hum(n: int, draw: Generator) -> Wave:
    base = draw.choice([50.0, 60.0, 100.0, 120.0]) * draw.uniform(0.995, 1.005)
    parts = [draw.exponential(1 / k) * tone(n, base * k, draw.uniform(0, 6)) for k in range(1, 12)]
    return np.asarray(np.sum(parts, 0)) + 0.02 * colored(n, draw, 1)


def _engine(n: int, draw: Generator) -> Wave:
    base = draw.uniform(25, 90) * slow(n, draw, 0.5, 0.1)
    parts = [draw.exponential(1 / k) * tone(n, base * k, draw.uniform(0, 6)) for k in range(1, 20)]
    return np.asarray(np.sum(parts, 0)) + draw.uniform(0.2, 1) * colored(n, draw, 2) / 0.3


def _crowd(n: int, draw: Generator) -> Wave:
    """Many voices that nobody can tell apart: syllable-paced noise in the bands of vowels."""
    parts = [
        band(draw.standard_normal(n), low, low * draw.uniform(1.3, 2)) * slow(n, draw, 4, 0.5) / low**0.5
        for low in draw.uniform(200, 3000, 12)
    ]
    return np.asarray(np.sum(parts, 0))


def _dtmf(n: int, draw: Generator) -> Wave:
    out, size = np.zeros(n), int(draw.uniform(0.06, 0.25) * RATE_HZ)
    for start in range(0, n - size, int(size * draw.uniform(1.2, 2))):
        low, high = draw.choice([697, 770, 852, 941]), draw.choice([1209, 1336, 1477, 1633])
        out[start : start + size] = tone(size, float(low)) + tone(size, float(high))
    return out + 1e-3 * draw.standard_normal(n)


def _beeps(n: int, draw: Generator) -> Wave:
    on_s, off_s = draw.uniform(0.05, 1.0, 2)
    return tone(n, draw.uniform(300, 3500)) * _on_off(n, on_s, off_s) + 1e-3 * draw.standard_normal(n)


def _ringing(n: int, draw: Generator) -> Wave:
    first, second = draw.choice([(425.0, 425.0), (440.0, 480.0), (400.0, 450.0), (350.0, 440.0)])
    return (tone(n, first) + tone(n, second)) * _on_off(n, draw.uniform(0.4, 2), draw.uniform(0, 2))


def _siren(n: int, draw: Generator) -> Wave:
    low, high = draw.uniform(400, 900), draw.uniform(1000, 2500)
    swing = 0.5 + 0.5 * np.sin(2 * np.pi * draw.uniform(0.2, 4) * np.arange(n) / RATE_HZ)
    return np.tanh(draw.uniform(0.5, 4) * tone(n, low + (high - low) * swing))


def _sweep(n: int, draw: Generator) -> Wave:
    low, high = draw.uniform(20, 400), draw.uniform(2000, 7900)
    ends = (low, high) if draw.random() < 0.5 else (high, low)
    method = str(draw.choice(["linear", "logarithmic"]))
    return np.asarray(chirp(np.arange(n) / RATE_HZ, ends[0], n / RATE_HZ, ends[1], method))


def _square(n: int, draw: Generator) -> Wave:
    return np.asarray(square(2 * np.pi * draw.uniform(60, 2000) * np.arange(n) / RATE_HZ))


def _sine(n: int, draw: Generator) -> Wave:
    return tone(n, float(np.exp(draw.uniform(np.log(50), np.log(7000)))))


def _modem(n: int, draw: Generator) -> Wave:
    symbols = np.repeat(draw.integers(0, 4, n // 50 + 1), 50)[:n]
    return tone(n, 1000.0 + 400 * symbols)


def _birds(n: int, draw: Generator) -> Wave:
    out = 0.01 * colored(n, draw, 1)
    for start in np.cumsum(draw.uniform(0.08, 0.8, 200) * RATE_HZ).astype(int):
        size = int(draw.uniform(0.03, 0.25) * RATE_HZ)
        if start + size >= n:
            break
        path = np.interp(np.arange(size), np.linspace(0, size, 5), draw.uniform(2000, 6500, 5))
        out[start : start + size] += tone(size, path) * np.hanning(size)
    return out


def _melody(n: int, draw: Generator) -> Wave:
    """One instrument, or two, playing a tune: harmonic tones with attack, decay and vibrato on a scale."""
    scale = np.array(draw.choice([[0, 2, 4, 5, 7, 9, 11], [0, 2, 3, 5, 7, 8, 10], [0, 2, 4, 7, 9, 12, 14]]))
    root, beat_s = draw.uniform(48, 72), draw.uniform(0.12, 0.5)
    slope, vibrato_hz, vibrato = draw.uniform(0.6, 2.5), draw.uniform(4, 7), draw.choice([0, 0.003, 0.01])
    sustain, attack_s = draw.choice([0.15, 0.5, 5.0]), draw.uniform(0.005, 0.08)
    odd = draw.choice([1.0, 1.0, 0.1])  # clarinets have weak even harmonics
    bar = draw.random() < 0.2  # vibraphones and bells have partials that are no multiples
    out, start, degree = np.zeros(n), 0, 3
    while start < n:
        size = min(int(draw.choice([1, 1, 2, 3]) * beat_s * RATE_HZ), n - start)
        degree = int(np.clip(degree + draw.integers(-2, 3), 0, len(scale) - 1))
        at = np.arange(size) / RATE_HZ
        shape = (
            np.minimum(at / attack_s, 1)
            * np.exp(-at / sustain)
            * np.minimum((size - np.arange(size)) / 200, 1)
        )
        for semitones in [0] if draw.random() < 0.7 else [0, draw.choice([3, 4, 7, 12])]:
            base = 440 * 2 ** ((root + scale[degree] + semitones - 69) / 12)
            path = base * (1 + vibrato * np.sin(2 * np.pi * vibrato_hz * at))
            for k in (1, 3.93, 9.2) if bar else range(1, min(16, int(7500 / base) + 1)):
                level = k**-slope * (odd if k % 2 == 0 else 1.0)
                out[start : start + size] += level * shape * tone(size, k * path)
        start += size
    return out + 1e-3 * draw.standard_normal(n)


def _song(n: int, draw: Generator) -> Wave:
    """A voice alone on vowels: held notes of a scale, gliding, with vibrato, formants and some breath."""
    root, steps = draw.uniform(95, 350), np.array([0, 2, 3, 5, 7, 9, 12])
    degree, start, out = 2, 0, np.zeros(n)
    pitch, gain = np.zeros(n), np.zeros(n)
    vowels = np.array(
        [(730, 1090, 2440), (530, 1840, 2480), (270, 2290, 3010), (570, 840, 2410), (300, 870, 2240)]
    )
    formants = np.zeros((n, 3))
    while start < n:
        size = min(int(draw.uniform(0.25, 1.5) * RATE_HZ), n - start)
        degree = int(np.clip(degree + draw.integers(-2, 3), 0, len(steps) - 1))
        pitch[start : start + size] = root * 2 ** (steps[degree] / 12)
        formants[start : start + size] = vowels[draw.integers(len(vowels))] * draw.uniform(0.95, 1.2)
        gain[start : start + size] = draw.uniform(0.5, 1)
        if draw.random() < 0.5:  # a consonant, or a breath
            gain[start : start + min(size, int(draw.uniform(0.03, 0.15) * RATE_HZ))] *= 0.05
        start += size
    glide = np.hanning(int(draw.uniform(0.03, 0.12) * RATE_HZ))
    smooth = [
        np.convolve(np.pad(x, len(glide), "edge"), glide / glide.sum(), "same")[len(glide) : -len(glide)]
        for x in (pitch, gain, *formants.T)
    ]
    swing = draw.uniform(0, 0.02) * np.sin(2 * np.pi * draw.uniform(4.5, 6.5) * np.arange(n) / RATE_HZ)
    path = smooth[0] * (1 + swing)
    phase = 2 * np.pi * np.cumsum(path) / RATE_HZ
    for k in range(1, min(40, int(5000 / root))):
        hertz = k * path
        height = sum(
            1 / (1 + ((hertz - f) / (60 + 0.06 * f)) ** 2) / (i + 1) for i, f in enumerate(smooth[2:])
        )
        out += (height + 0.02) * k**-0.3 * (hertz < 7500) * np.sin(k * phase)
    return out * smooth[1] + draw.uniform(0.002, 0.02) * colored(n, draw, 1)


def _exchange(n: int, draw: Generator) -> Wave:
    """What a telephone exchange plays: dial, busy and congestion tone, or the three of "no such number"."""
    if draw.random() < 0.25:
        third = int(0.33 * RATE_HZ)
        three = np.concatenate([tone(third, hertz) for hertz in (950.0, 1400.0, 1800.0)] + [np.zeros(third)])
        return np.tile(three, n // len(three) + 1)[:n] + 1e-3 * draw.standard_normal(n)
    first, second = draw.choice([(350.0, 440.0), (480.0, 620.0), (425.0, 425.0), (400.0, 400.0)])
    on_s, off_s = draw.choice([(9.0, 0.0), (0.5, 0.5), (0.25, 0.25), (0.375, 0.375), (0.2, 0.6)])
    return (tone(n, first) + tone(n, second)) * _on_off(n, on_s, off_s) + 1e-3 * draw.standard_normal(n)


def _alarm(n: int, draw: Generator) -> Wave:
    """Two tones in turn, fast or slow, as clocks and detectors have them."""
    low, high = np.sort(draw.uniform(600, 3500, 2))
    path = np.where(_on_off(n, *np.full(2, draw.uniform(0.02, 0.4))) > 0, low, high)
    wave = tone(n, path)
    rounds = _on_off(n, draw.uniform(0.3, 1.5), draw.choice([0.0, 0.3, 1.0]))
    return np.tanh(draw.uniform(0.5, 6) * wave) * rounds + 1e-3 * draw.standard_normal(n)


def _struck(n: int, draw: Generator, starts_s: Wave, partials: Wave, decay_s: float) -> Wave:
    """Decaying partials from each of some times on: metal, glass, wood."""
    out = np.zeros(n)
    tail = np.arange(int(5 * decay_s * RATE_HZ)) / RATE_HZ
    hit = np.sum(
        [draw.exponential() * np.exp(-tail / decay_s) * np.sin(2 * np.pi * f * tail) for f in partials], 0
    )
    for start in (starts_s * RATE_HZ).astype(int):
        size = min(len(hit), n - start)
        if size > 0:
            out[start : start + size] += draw.exponential() * hit[:size]
    return out + 1e-3 * draw.standard_normal(n)


def _clanks(n: int, draw: Generator) -> Wave:
    starts = np.cumsum(draw.exponential(draw.uniform(0.15, 0.8), 60))
    return _struck(n, draw, starts, draw.uniform(400, 7000, 8), draw.uniform(0.02, 0.2))


def _steps(n: int, draw: Generator) -> Wave:
    pace = draw.uniform(0.35, 0.7)
    starts = np.arange(0.1, n / RATE_HZ, pace) + draw.normal(0, 0.02, len(np.arange(0.1, n / RATE_HZ, pace)))
    return _struck(n, draw, np.abs(starts), draw.uniform(60, 900, 12), draw.uniform(0.01, 0.03))


def _barks(n: int, draw: Generator) -> Wave:
    """A dog: short harmonic bursts whose pitch falls."""
    out, base = 0.003 * colored(n, draw, 1), draw.uniform(250, 900)
    for start in (np.cumsum(draw.uniform(0.25, 1.2, 40)) * RATE_HZ).astype(int):
        size = int(draw.uniform(0.08, 0.25) * RATE_HZ)
        if start + size >= n:
            break
        path = base * np.linspace(draw.uniform(1.0, 1.4), draw.uniform(0.6, 0.9), size)
        voice = sum(k**-0.7 * tone(size, k * path) for k in range(1, 9))
        rough = 1 + 0.6 * draw.standard_normal(size)
        out[start : start + size] += voice * rough * np.hanning(size)
    return np.asarray(out)


def _machine(n: int, draw: Generator) -> Wave:
    """A machine that repeats itself: one short pattern of bursts and whirrs, over and over."""
    size = int(draw.uniform(0.15, 0.9) * RATE_HZ)
    pattern = bursts(size, draw, draw.uniform(6, 40), draw.uniform(0.005, 0.05), 100, 6000)
    whirr = band(colored(size, draw, 1), *np.sort(draw.uniform([150, 900], [800, 6000])))
    pattern = pattern + draw.uniform(0, 0.5) * whirr * np.std(pattern) / (np.std(whirr) + 1e-9)
    return np.tile(pattern, n // size + 1)[:n] + 0.02 * np.std(pattern) * colored(n, draw, 1)


def _drill(n: int, draw: Generator) -> Wave:
    base = draw.uniform(70, 400) * slow(n, draw, 2, 0.08)
    whine = sum(k**-0.8 * tone(n, k * base, draw.uniform(0, 6)) for k in range(1, 14))
    load = np.clip(slow(n, draw, 1, 0.8), 0, 2)
    return np.asarray(load * (whine + draw.uniform(0.3, 2) * band(draw.standard_normal(n), 800, 6500)))


def _rotor(n: int, draw: Generator) -> Wave:
    """Blades: noise that is chopped ten to thirty times a second."""
    chops = np.maximum(tone(n, draw.uniform(9, 30) * slow(n, draw, 0.5, 0.05)), 0) ** draw.uniform(1, 6)
    return (0.1 + chops) * band(colored(n, draw, 1.5), 30, draw.uniform(400, 3000))


def _traffic(n: int, draw: Generator) -> Wave:
    """Cars that pass: rumble and tyres, each swelling and sinking."""
    out = 0.2 * colored(n, draw, 2)
    for _ in range(int(draw.integers(2, 6))):
        middle, width = draw.uniform(0, n), draw.uniform(0.3, 1.5) * RATE_HZ
        pass_by = np.exp(-(((np.arange(n) - middle) / width) ** 2))
        out = out + pass_by * band(colored(n, draw, 1), 60, draw.uniform(800, 4000)) * draw.uniform(0.5, 3)
    return out


def _train(n: int, draw: Generator) -> Wave:
    pace = draw.uniform(0.4, 1.2)
    starts = np.sort(np.r_[np.arange(0, n / RATE_HZ, pace), np.arange(0.12, n / RATE_HZ, pace)])
    clacks = _struck(n, draw, starts, draw.uniform(80, 2500, 14), 0.03)
    rumble = band(colored(n, draw, 2), 30, 600)
    return clacks / (np.std(clacks) + 1e-9) + draw.uniform(0.3, 1.5) * rumble / (np.std(rumble) + 1e-9)


def _crackle(n: int, draw: Generator) -> Wave:
    """A bad line or an old record: hiss, hum and clicks of all sizes."""
    clicks = (draw.random(n) < draw.uniform(5, 200) / RATE_HZ) * draw.standard_t(2, n)
    return (
        band(clicks, 200, 7000) + 10 ** draw.uniform(-3, -1.5) * colored(n, draw, 1) + 0.002 * _hum(n, draw)
    )


def _bubbles(n: int, draw: Generator) -> Wave:
    """Running water: many short rising chirps over a hiss."""
    out = 0.05 * band(draw.standard_normal(n), 400, 6000)
    for start in (draw.random(int(draw.uniform(10, 90) * n / RATE_HZ)) * n).astype(int):
        size = min(int(draw.uniform(0.005, 0.06) * RATE_HZ), n - start)
        path = draw.uniform(300, 3000) * np.linspace(1, draw.uniform(1, 1.6), max(size, 1))
        out[start : start + size] += (
            draw.exponential(0.3) * tone(max(size, 1), path)[:size] * np.hanning(size)
        )
    return out


def _crickets(n: int, draw: Generator) -> Wave:
    trill = np.maximum(tone(n, draw.uniform(20, 70)), 0)
    chirps = _on_off(n, draw.uniform(0.1, 1.0), draw.choice([0.0, 0.2, 0.7]))
    return tone(n, draw.uniform(2500, 7000)) * trill * chirps + 0.02 * colored(n, draw, 1)


def _vacuum(n: int, draw: Generator) -> Wave:
    whine = sum(tone(n, k * draw.uniform(180, 700), draw.uniform(0, 6)) / k for k in range(1, 6))
    hiss = band(colored(n, draw, draw.uniform(0, 1)), 150, 7000)
    return np.asarray(hiss / np.std(hiss) + draw.uniform(0.1, 1) * whine)


MUSIC: dict[str, Maker] = {"melody": _melody, "song": _song}
TONES: dict[str, Maker] = {
    "sine": _sine,
    "square": _square,
    "sweep": _sweep,
    "beeps": _beeps,
    "dtmf": _dtmf,
    "ringing": _ringing,
    "siren": _siren,
    "modem": _modem,
}
NOISES: dict[str, Maker] = {
    "white": lambda n, draw: colored(n, draw, 0),
    "pink": lambda n, draw: colored(n, draw, 1),
    "brown": lambda n, draw: colored(n, draw, 2),
    "blue": lambda n, draw: colored(n, draw, -1),
    "band": lambda n, draw: band(colored(n, draw, 0), *sorted(draw.uniform([100, 600], [500, 7000]))),
    "hum": _hum,
    "engine": _engine,
    "fan": lambda n, draw: (
        colored(n, draw, 1.5) * (1 + 0.5 * tone(n, draw.uniform(5, 40))) + 0.05 * _hum(n, draw)
    ),
    "wind": lambda n, draw: (
        band(draw.standard_normal(n), 40, draw.uniform(300, 900)) * slow(n, draw, 1.5, 0.7)
    ),
    "rain": lambda n, draw: (
        bursts(n, draw, draw.uniform(500, 3000), 0.003, 800, 7500) + 0.1 * colored(n, draw, 0)
    ),
    "sea": lambda n, draw: colored(n, draw, 1) * slow(n, draw, 0.4, 0.8),
    "clicks": lambda n, draw: bursts(n, draw, draw.uniform(1, 30), 0.001, 300, 7500),
    "keys": lambda n, draw: bursts(n, draw, draw.uniform(3, 9), 0.008, 1000, 6000),
    "knocks": lambda n, draw: bursts(n, draw, draw.uniform(1, 5), 0.03, 80, 900),
    "applause": lambda n, draw: bursts(n, draw, draw.uniform(60, 500), 0.008, 500, 5000),
    "crowd": _crowd,
    "birds": _birds,
}
UNHEARD: dict[str, Maker] = {  # no model learns from these
    "exchange": _exchange,
    "alarm": _alarm,
    "clanks": _clanks,
    "steps": _steps,
    "barks": _barks,
    "machine": _machine,
    "drill": _drill,
    "rotor": _rotor,
    "traffic": _traffic,
    "train": _train,
    "crackle": _crackle,
    "bubbles": _bubbles,
    "crickets": _crickets,
    "vacuum": _vacuum,
}
MAKERS = MUSIC | TONES | NOISES | UNHEARD
