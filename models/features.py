"""The front end: samples in, frames out, the same numbers however the samples are cut.

Conventions: mono float32 at 16 kHz; a frame every 250 samples (64 a second, 32 a cell), its 640-sample Hann
window centred on the hop, so frame `t` sees samples `[250 t - 195, 250 t + 445)`. One power spectrum gives
the log-mel bands and the low-level descriptors (the *base* columns, what the networks see); fixed filters
over time give cepstra, deltas and modulation bands (the *derived* columns, used as statistics only).
Columns are scaled by constants to about unit range, so sums of squares keep their precision.

A frame needs 28 ms of sound after its hop, its derived columns 250 ms more: `LOOKAHEAD_FRAMES`. Source:
descriptors after Eyben et al. (2016), GeMAPS, section 3; modulation bands after Falk et al. (2010).
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.signal import firwin
from torch import Tensor
from torchaudio.functional import create_dct, melscale_fbanks  # type: ignore[import-untyped]

from moodstream.models.base import HOP, RATE_HZ, Float

WINDOW, N_FFT = 640, 1024
LEFT = (WINDOW - HOP) // 2  # samples a frame sees before its hop
RIGHT = WINDOW - LEFT  # samples from the start of its hop to the end of what it sees
N_MELS, N_CEPSTRA, N_MODULATION = 64, 20, 16
RANGES_HZ = ((0.5, 1.5), (1.5, 3.0), (3.0, 6.0), (6.0, 10.0), (10.0, 16.0), (16.0, 25.0))
DESCRIPTORS = (
    *("level", "centroid", "bandwidth", "rolloff", "flux", "flatness"),
    *("slope_low", "slope_high", "hammarberg", "alpha", "pitch", "voicing"),
)
PAST_FRAMES, LOOKAHEAD_FRAMES = 96, 16  # what the derived columns see around a frame
PITCH_HZ = (60.0, 500.0)
_BLOCK = 96  # frames whose spectra are taken together
_LOWER = 40  # mel bands, the highest of which ends at 2.8 kHz
_STRETCH = 16  # frames whose modulation is one row of a product
_FIRST_LAG, _LAST_LAG = (int(RATE_HZ / 2 / hertz) for hertz in reversed(PITCH_HZ))  # at 8 kHz


class Columns(NamedTuple):
    """Where each kind of column lies in a frame."""

    mel: slice = slice(0, N_MELS)
    descriptors: slice = slice(N_MELS, N_MELS + len(DESCRIPTORS))
    cepstra: slice = slice(76, 96)
    deltas: slice = slice(96, 128)  # of the cepstra, then of the descriptors
    accelerations: slice = slice(128, 148)  # of the cepstra
    modulation: slice = slice(148, 148 + N_MODULATION * len(RANGES_HZ))


COLUMNS = Columns()
N_BASE = COLUMNS.descriptors.stop
N_COLUMNS = COLUMNS.modulation.stop
PITCH, VOICING = N_BASE - 2, N_BASE - 1


class FrontEnd:
    """Streaming front end of one channel. Its state is a few kilobytes: see `state`."""

    def __init__(self) -> None:
        self._samples = torch.zeros(LEFT)  # not yet consumed, with what the next frame sees before its hop
        self._mel: Tensor | None = None  # log-mel of the frame before, for the flux
        self._base: Tensor | None = None  # base columns that later derived ones still need
        self._received = 0
        self._framed = 0

    def push(self, samples: Float) -> Tensor:
        """Take samples [n]; give the frames [t, N_COLUMNS] that became complete (possibly none)."""
        self._receive(samples)
        return self._derive(self._frame(), last=False)

    def flush(self, samples: Float | None = None) -> Tensor:
        """The sound ended (with these samples): give the remaining frames, ceil(samples / 250) in all."""
        if samples is not None:
            self._receive(samples)
        missing = -(-self._received // HOP) - self._framed
        if missing > 0:
            padding = (missing - 1) * HOP + WINDOW - len(self._samples)
            self._samples = torch.cat((self._samples, torch.zeros(max(padding, 0))))
        return self._derive(self._frame(missing), last=True)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything the next push depends on, as arrays."""
        none = torch.zeros(0)
        return {
            "samples": self._samples.numpy().copy(),
            "mel": (none if self._mel is None else self._mel).numpy().copy(),
            "base": (none if self._base is None else self._base).numpy().copy(),
            "counts": np.array([self._received, self._framed], np.int64),
        }

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        self._samples = torch.from_numpy(state["samples"].copy())
        self._mel = torch.from_numpy(state["mel"].copy()) if state["mel"].size else None
        self._base = torch.from_numpy(state["base"].copy()) if state["base"].size else None
        self._received, self._framed = (int(count) for count in state["counts"])

    def _receive(self, samples: Float) -> None:
        self._received += len(samples)
        fresh = torch.from_numpy(np.ascontiguousarray(samples, np.float32))
        self._samples = torch.cat((self._samples, fresh))

    def _frame(self, limit: int | None = None) -> Tensor:
        ready = max((len(self._samples) - WINDOW) // HOP + 1, 0)
        ready = ready if limit is None else min(ready, limit)
        if ready <= 0:
            return torch.zeros(0, N_BASE)
        windows = self._samples.unfold(0, WINDOW, HOP)[:ready]
        base = base_columns(windows, self._mel)
        self._mel = base[-1:, COLUMNS.mel].clone()
        self._samples = self._samples[ready * HOP :].clone()
        self._framed += ready
        return base

    def _derive(self, base: Tensor, last: bool) -> Tensor:
        if self._base is None:
            if not len(base):
                return torch.zeros(0, N_COLUMNS)
            held = torch.cat((base[:1].expand(PAST_FRAMES, -1), base))
        else:
            held = torch.cat((self._base, base))
        if last:
            held = torch.cat((held, held[-1:].expand(LOOKAHEAD_FRAMES, -1)))
        ready = len(held) - PAST_FRAMES - LOOKAHEAD_FRAMES
        if ready <= 0:
            self._base = held
            return torch.zeros(0, N_COLUMNS)
        self._base = held[ready:].clone()
        return with_derived(held)


def frames_of(samples: Float) -> Tensor:
    """The frames [ceil(n / 250), N_COLUMNS] of a whole sound [n]."""
    return FrontEnd().flush(samples)


class Spectra(NamedTuple):
    """What descriptors are read from, of t frames."""

    linear: (
        Tensor  # [t, N_MELS + sums] power in each band, then sums over the power spectrum, see `_constants`
    )
    low: Tensor  # [t] the highest power from 50 Hz to 2 kHz
    high: Tensor  # [t] and from there to 5 kHz
    correlation: Tensor  # [t, 1 + lags + 2] autocorrelation, of no lag and around each lag of a pitch


def base_columns(windows: Tensor, previous: Tensor | None) -> Tensor:
    """Log-mel and descriptors [t, N_BASE] of windows [t, 640]; `previous` is the log-mel before them."""
    return described(_spectra(windows), previous)


def _spectra(windows: Tensor) -> Spectra:
    """Spectra of windows [t, 640], some at a time in the same memory, which so stays near the processor."""
    constants, t = _constants(), len(windows)
    found = Spectra(
        torch.empty(t, N_MELS + constants.sums),
        torch.empty(t),
        torch.empty(t),
        torch.empty(t, constants.correlation.shape[1]),
    )
    many, bins = min(_BLOCK, t), N_FFT // 2 + 1
    padded, powers = torch.zeros(many, N_FFT), torch.empty(many, bins)
    magnitudes = torch.empty(many, bins)
    for start in range(0, t, _BLOCK):
        some = windows[start : start + _BLOCK]
        n, end = len(some), start + len(some)
        torch.mul(some, constants.window, out=padded[:n, :WINDOW])
        magnitude, power = magnitudes[:n], powers[:n]
        np.abs(torch.fft.rfft(padded[:n]).numpy(), out=magnitude.numpy())
        torch.mul(magnitude, magnitude, out=power)
        torch.mm(power[:, : len(constants.lower)], constants.lower, out=found.linear[start:end, :_LOWER])
        torch.mm(power, constants.upper, out=found.linear[start:end, _LOWER:])
        torch.amax(power[:, 3:128], 1, out=found.low[start:end])
        torch.amax(power[:, 128:320], 1, out=found.high[start:end])
        torch.mm(magnitude[:, 3:257], constants.correlation, out=found.correlation[start:end])
    return found


def described(spectra: Spectra, previous: Tensor | None) -> Tensor:
    """Log-mel and descriptors [t, N_BASE]; see `base_columns`."""
    mel_power, sums = spectra.linear[:, :N_MELS], spectra.linear[:, N_MELS:]
    mel = (torch.log(mel_power + 1e-6) + 4.0) / 4.0
    before = mel[:1] if previous is None else previous
    flux = (mel - torch.cat((before, mel[:-1]))).clamp(min=0).mean(1)

    energy = sums[:, 0]  # mean square, 1 = full scale
    total = sums[:, 1] + 1e-8
    centroid = sums[:, 2] / total
    bandwidth = (sums[:, 3] / total - centroid**2).clamp(min=0).sqrt()
    mel_total = mel_power.sum(1, keepdim=True)
    below = torch.cumsum(mel_power, 1) - mel_power
    rolloff = ((0.85 * mel_total - below) / (mel_power + 1e-9)).clamp(0, 1).mean(1)
    flatness = 4.0 * mel.mean(1) - 4.0 - torch.log(mel_total[:, 0] / N_MELS + 1e-6)
    slopes = mel @ _constants().slopes
    hammarberg = torch.log((spectra.low + 1e-7) / (spectra.high + 1e-7))
    alpha = torch.log((sums[:, 4] + 1e-6) / (sums[:, 5] + 1e-6))
    pitch, voicing = _pitch(spectra.correlation, energy)
    columns = (
        (torch.log10(energy + 1e-9) + 4.0) / 2.0,
        centroid - 0.6,
        bandwidth - 0.6,
        2.0 * rolloff - 0.8,
        8.0 * flux - 0.7,
        0.5 * flatness + 1.0,
        *slopes.unbind(1),
        hammarberg / 3.0 - 1.0,
        alpha / 3.0 - 0.5,
        pitch,
        voicing,
    )
    return torch.cat((mel, torch.stack(columns, 1)), 1)


def with_derived(held: Tensor) -> Tensor:
    """All columns [t, N_COLUMNS] of the frames of `held` [PAST + t + LOOKAHEAD, N_BASE] with full context."""
    constants = _constants()
    ready = len(held) - PAST_FRAMES - LOOKAHEAD_FRAMES
    near = held[PAST_FRAMES - 6 : PAST_FRAMES + ready + 6]
    cepstra = near[:, COLUMNS.mel] @ constants.dct
    slow = torch.cat((cepstra, near[:, COLUMNS.descriptors]), 1)
    deltas = _slope(slow)
    accelerations = _slope(deltas[:, :N_CEPSTRA])
    return torch.cat(
        (
            held[PAST_FRAMES : PAST_FRAMES + ready],
            cepstra[6:-6],
            4.0 * deltas[3:-3],
            8.0 * accelerations,
            _modulation(held[:, COLUMNS.mel])[:ready],
        ),
        1,
    )


def _modulation(mel: Tensor) -> Tensor:
    """Log-mel [PAST + t + LOOKAHEAD, N_MELS] through the filters, [>= t, modulation columns].

    A product with one banded matrix for each `_STRETCH` frames: what is left of the last counts for nothing.
    """
    constants = _constants()
    span = len(constants.modulation)
    bands = mel @ constants.bands
    missing = -(len(bands) - span) % _STRETCH
    stretches = torch.nn.functional.pad(bands, (0, 0, 0, missing)).unfold(0, span, _STRETCH)
    filtered = (stretches.reshape(-1, span) @ constants.modulation).reshape(
        len(stretches), N_MODULATION, _STRETCH, len(RANGES_HZ)
    )
    return filtered.transpose(1, 2).reshape(len(stretches) * _STRETCH, N_MODULATION * len(RANGES_HZ))


def _slope(x: Tensor) -> Tensor:
    """Least-squares slope over seven frames: [t, c] -> [t - 6, c]."""
    near, far, farthest = x[2:] - x[:-2], x[4:] - x[:-4], x[6:] - x[:-6]
    return (near[2:-2] + 2.0 * far[1:-1] + 3.0 * farthest) / 28.0


def _pitch(correlation: Tensor, energy: Tensor) -> tuple[Tensor, Tensor]:
    """Pitch [t] in octaves above 110 Hz times voicing, and voicing [t] in [0, 1].

    Autocorrelation (inverse transform of the magnitude spectrum below 4 kHz, which is steadier under strong
    formants than that of the power), the highest peak of 60 to 500 Hz, parabolic between the lags.
    """
    constants = _constants()
    part = correlation[:, 1:]
    middle = part[:, 1:-1]
    rises = ((part[:, 1:] - part[:, :-1]) * 1e20).clamp(0, 1)  # 1 or 0, much faster than comparing
    is_peak = torch.addcmul(rises[:, :-1], rises[:, :-1], rises[:, 1:], value=-1)
    peaks = middle * is_peak
    at = (peaks * constants.short_lags).max(1, keepdim=True).indices
    height = peaks.gather(1, at)
    before, after = part.gather(1, at), part.gather(1, at + 2)
    bend = (2 * height - before - after).clamp(min=1e-6)
    lag = (at[:, 0] + _FIRST_LAG) + (0.5 * (after - before) / bend)[:, 0].clamp(-0.5, 0.5)
    tapered = 1.0 - 0.004 * lag  # the window leaves less of a long period
    strength = height[:, 0] / (correlation[:, 0] + 1e-4) / tapered
    voicing = torch.sigmoid((strength - 0.35) * 20.0) * (energy / (energy + 1e-7))
    return torch.log2(RATE_HZ / 2 / lag / 110.0) * voicing, voicing


class _Constants(NamedTuple):
    window: Tensor  # [640]
    lower: Tensor  # [bins, _LOWER]: the first mel filters, which need the lower bins alone
    upper: Tensor  # [513, 64 - _LOWER + sums]: the other mel filters, sums over the spectrum
    sums: int
    correlation: Tensor  # [254, 1 + lags + 2]: what each bin adds to an autocorrelation
    slopes: Tensor  # [64, 2]: of the log-mel below and above 1 kHz
    dct: Tensor  # [64, 20], the first cepstrum (the level) left out
    short_lags: Tensor  # [lags] prefers one period to two
    filters: Tensor  # [6, PAST + 1 + LOOKAHEAD]
    bands: Tensor  # [64, 16] means of neighbouring mel bands
    modulation: Tensor  # [PAST + LOOKAHEAD + _STRETCH, _STRETCH * 6]: the filters at each of the frames


@cache
def _constants() -> _Constants:
    window = torch.hann_window(WINDOW)
    mel = melscale_fbanks(N_FFT // 2 + 1, 50.0, RATE_HZ / 2, N_MELS, RATE_HZ, norm=None, mel_scale="htk")
    hz = torch.linspace(0, RATE_HZ / 2, N_FFT // 2 + 1)
    kilohertz = hz / 1000
    both_sides = torch.full_like(hz, 2.0)
    both_sides[[0, -1]] = 1.0
    audible = (hz >= 50).float()
    sums = (
        both_sides / (N_FFT * float((window**2).sum())),
        audible,
        audible * kilohertz,
        audible * kilohertz**2,
        ((hz >= 50) & (hz < 1000)).float(),
        ((hz >= 1000) & (hz < 5000)).float(),
    )
    band = torch.arange(N_MELS, dtype=torch.float32)
    slopes = []
    for part, scale in ((band < 22, 4.0), (band >= 22, 16.0)):
        centred = torch.where(part, band - band[part].mean(), torch.zeros(()))
        slopes.append(scale * 4.0 * centred / (centred**2).sum())
    dct = create_dct(N_CEPSTRA + 1, N_MELS, norm="ortho")[:, 1:]
    filters = np.stack([_band_pass(low, high) for low, high in RANGES_HZ])
    reach = 1 + int(torch.nonzero(mel[:, _LOWER - 1])[-1])
    bins = torch.arange(3, 257, dtype=torch.float64)  # from 47 Hz on
    lags = torch.tensor([0, *range(_FIRST_LAG - 1, _LAST_LAG + 2)])
    both = torch.where(bins == 256, 1.0, 2.0) / 512
    correlation = both[:, None] * torch.cos(2 * torch.pi / 512 * bins[:, None] * lags)
    bands = torch.eye(N_MODULATION).repeat_interleave(N_MELS // N_MODULATION, 0) * N_MODULATION / N_MELS
    banded = torch.zeros(len(filters[0]) + _STRETCH - 1, _STRETCH, len(RANGES_HZ))
    for i in range(_STRETCH):
        banded[i : i + len(filters[0]), i] = 3.0 * torch.from_numpy(filters.T)
    return _Constants(
        window,
        mel[:reach, :_LOWER].contiguous(),
        torch.cat((mel[:, _LOWER:], torch.stack(sums, 1)), 1),
        len(sums),
        correlation.float(),
        torch.stack(slopes, 1).contiguous(),
        dct.contiguous(),
        torch.linspace(1.0, 0.85, _LAST_LAG - _FIRST_LAG + 1),
        torch.from_numpy(filters.astype(np.float32)),
        bands,
        banded.flatten(1),
    )


def _band_pass(low_hz: float, high_hz: float) -> Float:
    taps: Float = firwin(
        PAST_FRAMES + LOOKAHEAD_FRAMES + 1, [low_hz, high_hz], pass_zero=False, fs=RATE_HZ / HOP, scale=False
    )
    return taps - taps.mean()  # exactly blind to a constant
