"""What the notes of a recording sound like: pitches, chords, key, tone against noise, by sums of cells.

The front end's window is made for voices: it is too short to tell a semitone from the next. Here one of a
quarter of a second finds the peaks of the spectrum eight times a second and gives each to its semitone. From
that come, per frame, spectral contrast (tone or noise) by octave, how much of the sound is peaks, how many
notes begin, intervals and register; per cell, likeness to chords and change of harmony; per window, the key.

Conventions: mono float32 at 16 kHz; a frame every 2,000 samples, its 4,096-sample Hann window centred on the
hop, four to a cell; `N_SUMS` sums a cell, which add up to those of any window, weighted by loudness to the
power 0.2 as in `pooling`; `N_STATISTICS` numbers of a window. Nothing depends on the gain. A cell needs 66 ms
of sound after it, less than the front end does. Numbers do not depend on how the samples are cut.
Source: chroma from peaks after Gómez (2006), Tonal description of music audio signals, section 3; harmonic
change after Harte et al. (2006), eq. 5; contrast after Jiang et al. (2002), with the flatness of each octave
for its valley; profiles of keys of Albrecht and Shanahan (2013), table 2.
"""

from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import pad

from moodstream.models.base import RATE_HZ, STEP_MS, Float
from moodstream.models.pooling import moments

HOP, WINDOW = 2000, 4096
CELL = RATE_HZ * STEP_MS // 1000
PER_CELL = CELL // HOP
LEFT = (WINDOW - HOP) // 2
LOWEST, PITCHES = 28, 72  # MIDI number of the first semitone, 41 Hz, and how many
BASS, TREBLE = 24, 32  # semitones of the bass; where the treble begins
OCTAVES_HZ = (50, 100, 200, 400, 800, 1600, 3200, 7900)
INTERVALS = 24
BACK = 4  # cells, the longer of the two spans over which harmony is compared
CHORDS = ((0, 4, 7), (0, 3, 7), (0, 3, 6), (0, 4, 8), (0, 5, 7), (0, 7))  # major, minor first
MAJOR = (0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.080, 0.008, 0.081)
MINOR = (0.220, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052)

_BINS = int(2700 / RATE_HZ * WINDOW)  # where peaks are looked for
_BLOCK = 64  # frames whose spectra are taken together
_SMOOTH = 20  # bins on each side of one that its prominence is judged by
_FRAME = len(OCTAVES_HZ) - 1 + 1 + 4 + 2  # contrast, tonality, onsets, register
_CELL = len(CHORDS) + 2 + 2  # likeness to chords, major rather than minor (two scales), change
_SIZES = [1, PITCHES, INTERVALS, _FRAME, _FRAME, 1, _CELL, _CELL]
N_SUMS = sum(_SIZES)
N_STATISTICS = 2 * _FRAME + 2 * _CELL + INTERVALS + PITCHES // 12 + 6


class HarmonyStream:
    """One channel's sums of cells, however its samples are cut."""

    def __init__(self) -> None:
        self._samples = torch.zeros(LEFT)
        self._received = 0
        self._cells = 0
        self._salience = torch.zeros(0, PITCHES)  # of the frame before
        self._chroma = torch.zeros(0, 12)  # of the last cells

    def push(self, samples: Float) -> Tensor:
        """Take samples [n]; give the sums [m, N_SUMS] of the cells that became complete."""
        self._receive(samples)
        return self._give(max((len(self._samples) - WINDOW + HOP) // CELL, 0), None)

    def flush(self, samples: Float | None = None) -> Tensor:
        """The sound ended (with these samples): the remaining cells, ceil(samples / 8000) in all."""
        if samples is not None:
            self._receive(samples)
        cells = -(-self._received // CELL) - self._cells
        missing = cells * CELL + WINDOW - HOP - len(self._samples)
        self._samples = pad(self._samples, (0, max(missing, 0)))
        return self._give(cells, self._received - self._cells * CELL)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything the next push depends on, as arrays."""
        return {
            "samples": self._samples.numpy().copy(),
            "salience": self._salience.numpy().copy(),
            "chroma": self._chroma.numpy().copy(),
            "counts": np.array([self._received, self._cells], np.int64),
        }

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        self._samples = torch.from_numpy(state["samples"].copy())
        self._salience = torch.from_numpy(state["salience"].copy())
        self._chroma = torch.from_numpy(state["chroma"].copy())
        self._received, self._cells = (int(count) for count in state["counts"])

    def _receive(self, samples: Float) -> None:
        self._received += len(samples)
        self._samples = torch.cat(
            (self._samples, torch.from_numpy(np.ascontiguousarray(samples, np.float32)))
        )

    def _give(self, cells: int, length: int | None) -> Tensor:
        if cells <= 0:
            return torch.zeros(0, N_SUMS)
        windows = self._samples.unfold(0, WINDOW, HOP)[: cells * PER_CELL]
        weight, salience, told = _frames(windows)
        if length is not None:
            weight = weight * (torch.arange(len(weight)) * HOP < length)[:, None]
        before = torch.cat((self._salience if len(self._salience) else salience[:1], salience[:-1]))
        frames = torch.cat((told[:, :-2], _onsets(salience, before), told[:, -2:]), 1)
        chroma = (weight * _chroma(salience)).reshape(cells, PER_CELL, 12).sum(1)
        known = self._chroma if len(self._chroma) else chroma[:1].expand(BACK, -1)
        harmony = _harmony(torch.cat((known, chroma)))
        first = weight * frames
        parts = (weight, weight * salience, weight * _intervals(salience), first, first * frames)
        sums = torch.cat([part.reshape(cells, PER_CELL, -1).sum(1) for part in parts], 1)
        share = sums[:, :1]
        self._salience = salience[-1:].clone()
        self._chroma = torch.cat((known, chroma))[-BACK:].clone()
        self._samples = self._samples[cells * CELL :].clone()
        self._cells += cells
        return torch.cat((sums, share, share * harmony, share * harmony**2), 1)


def harmony_of(samples: Float) -> Tensor:
    """Sums [ceil(n / 8000), N_SUMS] of the cells of a whole sound [n]."""
    return HarmonyStream().flush(samples)


def salience_of(windows: Tensor) -> Tensor:
    """How much each semitone stands out [t, PITCHES] in windows [t, WINDOW]."""
    return _frames(windows)[1]


def harmony_statistics(sums: Tensor) -> Tensor:
    """Statistics [..., N_STATISTICS] of summed cells [..., N_SUMS]."""
    weight, salience, intervals, first, second, share, mean, square = torch.split(sums, _SIZES, -1)
    weight, share = weight.clamp(min=1e-9), share.clamp(min=1e-9)
    pitches = salience / weight
    octaves = pitches.reshape(*pitches.shape[:-1], PITCHES // 12, 12).sum(-1)
    octaves = octaves / (octaves.sum(-1, keepdim=True) + 1e-3)
    return torch.cat(
        (
            *moments(weight, first, second),
            *moments(share, mean, square),
            intervals / weight,
            octaves,
            _key(_chroma(pitches)),
        ),
        -1,
    )


def _frames(windows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weight [t, 1], salience [t, PITCHES], contrast, tonality, register [t, 10] of windows [t, WINDOW]."""
    constants = _constants()
    parts = [
        _spectra(some) for some in torch.split(windows, _BLOCK)
    ]  # so many that they stay near the processor
    energy, contrast, salience, tonality = map(torch.cat, zip(*parts, strict=True))
    total = salience.sum(1) + 1e-2
    register = (salience @ constants.octave) / total
    spread = ((salience @ constants.octave**2) / total - register**2).clamp(min=0).sqrt()
    columns = (0.5 * contrast - 0.5, torch.stack((4 * tonality, register - 2.5, spread - 1), 1))
    weight = (energy / constants.full + 1e-9) ** 0.2
    return weight, salience, torch.cat(columns, 1)


def _spectra(windows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean power [t, 1], contrast [t, 7], salience [t, PITCHES] and tonality [t] of windows [t, WINDOW]."""
    constants = _constants()
    every = torch.from_numpy(np.abs(torch.fft.rfft(windows * constants.window).numpy()))
    magnitude = every[:, : _BINS + 2].numpy().copy()
    power = every.mul_(every)
    energy = power.mean(1, keepdim=True)
    relative = power.div_(energy + 1e-9).add_(1e-6)
    means = torch.log(relative @ constants.octaves)
    logarithm = relative.log_()
    contrast = means - logarithm @ constants.octaves
    return energy, contrast, *_peaks(magnitude, logarithm[:, : _BINS + 2].numpy().copy())


def _peaks(magnitude: Float, logarithm: Float) -> tuple[Tensor, Tensor]:
    """Salience [t, PITCHES] of the peaks of spectra [t, _BINS + 2], and their share of the power [t].

    Little of a spectrum is peaks: all but finding them is done for these alone.
    """
    constants, t = _constants(), len(magnitude)
    middle = magnitude[:, 1:-1]
    around = _around(magnitude)[:, 1:-1] + np.float32(1e-6)
    found = (middle > np.float32(1.2) * around) & (middle > magnitude[:, :-2]) & (middle >= magnitude[:, 2:])
    found[:, : constants.audible] = False
    place = np.flatnonzero(found)
    row, at = np.divmod(place, _BINS)
    first = row * magnitude.shape[1] + at  # where the bin before it lies
    tall = magnitude.ravel()[first + 1]
    prominent = np.minimum((tall / around.ravel()[place] - np.float32(1.2)) / np.float32(0.6), np.float32(1))
    before, centre, after = (logarithm.ravel()[first + i] for i in range(3))
    bend = np.maximum(2 * centre - before - after, np.float32(1e-6))
    offset = np.clip(np.float32(0.5) * (after - before) / bend, -0.5, 0.5)
    top = magnitude.max(1)[row]
    height = np.log1p(np.maximum(tall - 0.01 * top, 0) / (0.02 * top + np.float32(1e-2))) * prominent
    pitch = 12 * np.log2((at + 1 + offset) * constants.semitone)
    lower = np.floor(pitch)
    part = pitch - lower
    cell = row * (PITCHES + 2) + np.clip(lower.astype(np.int64), 0, PITCHES)
    salience = np.bincount(cell, height * (1 - part), t * (PITCHES + 2))
    salience += np.bincount(cell + 1, height * part, t * (PITCHES + 2))
    salience = salience.reshape(t, PITCHES + 2)[:, :PITCHES].astype(np.float32)
    peaks = np.bincount(row, tall**2 * prominent, t)
    tonality = peaks / (np.einsum("tb,tb->t", middle, middle) + 1e-3)
    return torch.from_numpy(salience), torch.from_numpy(tonality.astype(np.float32))


def _around(magnitude: Float) -> Float:
    """Mean of each bin and the `_SMOOTH` on both sides of it, [t, bins]: by sums of 2, 4, 8, 16 and 32."""
    n = magnitude.shape[1]
    ends = (magnitude[:, _SMOOTH:0:-1], magnitude[:, -2 : -2 - _SMOOTH : -1])
    one = np.concatenate((ends[0], magnitude, ends[1]), 1)
    two = one[:, :-1] + one[:, 1:]
    four = two[:, :-2] + two[:, 2:]
    eight = four[:, :-4] + four[:, 4:]
    sixteen = eight[:, :-8] + eight[:, 8:]
    total = sixteen[:, :n] + sixteen[:, 16 : 16 + n]
    total += eight[:, 32 : 32 + n]
    total += one[:, 40 : 40 + n]
    total /= 2 * _SMOOTH + 1
    return total


def _onsets(salience: Tensor, before: Tensor) -> Tensor:
    """How much begins [t, 4]: in all, and how many notes clearly, in all, in the bass and in the treble."""
    rise = (salience - before).clamp(min=0)
    clear = torch.sigmoid(6 * (rise - 1))
    parts = (rise.sum(1) / 10, clear.sum(1) / 5, clear[:, :BASS].sum(1) / 2, clear[:, BASS + 12 :].sum(1) / 2)
    return torch.stack(parts, 1)


def _chroma(salience: Tensor) -> Tensor:
    """Pitch classes [..., 12] from C on of salience [..., PITCHES], the bass and the treble counting more."""
    return salience @ _constants().chroma


def _intervals(salience: Tensor) -> Tensor:
    """How strongly each interval [t, INTERVALS] of 1 to 24 semitones sounds."""
    unit = salience / (salience.square().sum(1, keepdim=True) + 1e-3).sqrt()
    spectrum = torch.view_as_real(torch.fft.rfft(unit, n=2 * PITCHES)).square().sum(2)
    return torch.fft.irfft(spectrum, n=2 * PITCHES)[:, 1 : INTERVALS + 1]


def _harmony(chroma: Tensor) -> Tensor:
    """Columns [n, _CELL] of cells from their chroma [BACK + n, 12], that of the cells before included."""
    unit = chroma / (chroma.square().sum(1, keepdim=True) + 1e-6).sqrt()
    now = unit[BACK:]
    centred = now - now.mean(1, keepdim=True)
    centred = centred / (centred.square().sum(1, keepdim=True) + 1e-4).sqrt()
    likeness = (centred @ _constants().chords).reshape(-1, len(CHORDS), 12).amax(2)
    mode = likeness[:, 0] - likeness[:, 1]
    change = [1 - (now * unit[BACK - back : len(unit) - back]).sum(1) for back in (1, BACK)]
    return torch.cat((likeness, torch.stack((mode, torch.sigmoid(8 * mode), *change), 1)), 1)


def _key(chroma: Tensor) -> Tensor:
    """Of the key [..., 6]: fit of the best major, of the best minor, difference, that at the best tonic,
    distance of the best key from the second, evenness of the pitch classes."""
    share = chroma / (chroma.sum(-1, keepdim=True) + 1e-6)
    centred = chroma - chroma.mean(-1, keepdim=True)
    centred = centred / (centred.square().sum(-1, keepdim=True) + 1e-6).sqrt()
    fits = (centred @ _constants().keys).reshape(*chroma.shape[:-1], 2, 12)
    major, minor = fits[..., 0, :], fits[..., 1, :]
    tonic = torch.softmax(40 * torch.maximum(major, minor), -1)  # nearly the best, without a jump
    best = torch.topk(fits.flatten(-2), 2, -1).values
    evenness = -(share * torch.log(share + 1e-6)).sum(-1)
    top, low = major.amax(-1), minor.amax(-1)
    at_tonic = (tonic * (major - minor)).sum(-1)
    return torch.stack((top, low, top - low, at_tonic, best[..., 0] - best[..., 1], evenness), -1)


class _Constants(NamedTuple):
    window: Tensor  # [WINDOW]
    octaves: Tensor  # [bins, 7] means over octaves
    audible: int  # the first bin of `_BINS` where a peak counts
    semitone: float  # turns a bin into a multiple of the lowest pitch
    octave: Tensor  # [PITCHES] octaves above the lowest
    chroma: Tensor  # [PITCHES, 12]
    chords: Tensor  # [12, 12 chords]
    keys: Tensor  # [12, 24]
    full: float  # mean power of the spectrum of a full-scale square wave


@cache
def _constants() -> _Constants:
    window = torch.hann_window(WINDOW)
    hertz = torch.arange(WINDOW // 2 + 1) * RATE_HZ / WINDOW
    octaves = torch.stack(
        [((hertz >= low) & (hertz < high)).float() for low, high in pairwise(OCTAVES_HZ)],
        1,
    )
    lowest_hz = 440 * 2 ** ((LOWEST - 69) / 12)
    pitches = torch.arange(PITCHES)
    gain = 1 + 0.5 * (pitches < BASS)
    chroma = torch.nn.functional.one_hot((pitches + LOWEST) % 12, 12) * gain[:, None]
    chords = []
    for chord in CHORDS:
        shape = np.isin(np.arange(12), chord).astype(np.float64)
        chords += [np.roll(_unit(shape), root) for root in range(12)]
    keys = [np.roll(_unit(np.array(mode)), tonic) for mode in (MAJOR, MINOR) for tonic in range(12)]
    return _Constants(
        window,
        octaves / octaves.sum(0),
        int((hertz[1:] < lowest_hz * 0.98).sum()),
        RATE_HZ / WINDOW / lowest_hz,
        pitches / 12,
        chroma.float(),
        torch.from_numpy(np.stack(chords, 1).astype(np.float32)),
        torch.from_numpy(np.stack(keys, 1).astype(np.float32)),
        WINDOW * float((window**2).sum()) / (WINDOW // 2 + 1) / 2,
    )


def _unit(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    centred = values - values.mean()
    return np.asarray(centred / np.linalg.norm(centred))
