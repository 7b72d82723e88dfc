"""Features: the musical context of a media (key, tempo, loudness range), on request.

Key and tempo come from essentia, which is AGPL-3.0 and therefore an extra of its own (`features`), imported
here alone and only when asked for. They cost about 1.6 ms per second of sound they look at, a quarter of what
the rest of a run costs, so they are off by default and look at the first two minutes of music. Loudness range
and programme loudness are our own, over the whole media.

Conventions: mono float32 at 16 kHz; loudness in LUFS, one value a cell (half a second), NaN where there is
none.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from moodstream.models.base import RATE_HZ, Float
from moodstream.transforms.errors import optional

LONGEST_S = 120  # key and tempo look at so much
SHORTEST_S = 8  # and need so much
SILENT_LUFS = -70.0  # absolute gate of BS.1770
_SHORT_TERM_CELLS = 6  # 3 s
_QUIET_PEAK = 1e-4  # -80 dBFS: below this there is nothing to find a key in
_HISTOGRAM_LUFS = np.arange(SILENT_LUFS, 10.05, 0.1)  # bin edges


class MusicalContext:
    """Key, tempo and loudness range of one media as it arrives; memory is bounded.

    Feed it the sound that is music, if that is known: the key of speech means nothing.

    Raises:
        MissingExtraError: essentia is not installed.
    """

    def __init__(self) -> None:
        _essentia()
        self._sound: list[Float] = []
        self._heard = 0
        self._recent = np.zeros(0)  # power of the last cells, for the short-term loudness
        self._short_term = np.zeros(len(_HISTOGRAM_LUFS) - 1)
        self._momentary = np.zeros(len(_HISTOGRAM_LUFS) - 1)

    def push(self, sound: Float) -> None:
        """Take mono samples at 16 kHz."""
        sound = sound[: max(LONGEST_S * RATE_HZ - self._heard, 0)]
        if len(sound):
            self._sound.append(sound.astype(np.float32))
            self._heard += len(sound)

    def push_loudness(self, loudness: Float) -> None:
        """Take the momentary loudness of the next cells."""
        level = np.nan_to_num(np.asarray(loudness, np.float64), nan=-np.inf)
        self._momentary += np.histogram(level, _HISTOGRAM_LUFS)[0]
        power = np.concatenate([self._recent, 10 ** (level / 10)])
        if len(power) >= _SHORT_TERM_CELLS:
            windows = np.lib.stride_tricks.sliding_window_view(power, _SHORT_TERM_CELLS)
            level = 10 * np.log10(np.maximum(windows.mean(axis=1), 1e-12))
            self._short_term += np.histogram(level, _HISTOGRAM_LUFS)[0]
        self._recent = power[-(_SHORT_TERM_CELLS - 1) :]

    def finish(self) -> tuple[dict[str, float], str | None]:
        """The media ended: features by name (those that could be found), and the key, e.g. `G minor`."""
        features: dict[str, float] = {}
        sound = np.concatenate([*self._sound, np.zeros(0, np.float32)])
        key = None
        if len(sound) >= SHORTEST_S * RATE_HZ and float(np.abs(sound).max()) > _QUIET_PEAK:
            key, features["key_strength"] = find_key(sound)
            features["tempo_bpm"] = find_tempo(sound)
        if self._short_term.any():
            features["loudness_range_lu"] = loudness_range(self._short_term)
        if self._momentary.any():
            features["loudness_integrated_lufs"] = _gated_mean(self._momentary, relative=-10)
        return features, key

    def state(self) -> dict[str, Any]:
        """Everything needed to go on elsewhere, as plain Python and numpy."""
        return {
            name: list(value) if isinstance(value, list) else np.copy(value)
            for name, value in vars(self).items()
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()`."""
        for name, value in state.items():
            setattr(self, name, list(value) if isinstance(value, list) else value)


def find_key(sound: Float) -> tuple[str, float]:
    """Key and mode of mono sound at 16 kHz, and how well it fits in [0, 1].

    Source: Faraldo et al. 2016 (profiles for key estimation), essentia's KeyExtractor.
    """
    extract = _essentia().KeyExtractor(sampleRate=RATE_HZ, frameSize=4096, hopSize=4096, maxFrequency=3500)
    key, scale, strength = extract(sound)
    return f"{key} {scale}", float(strength)


def find_tempo(sound: Float) -> float:
    """Tempo of mono sound at 16 kHz in beats per minute, the octave being anybody's guess.

    Source: Percival and Tzanetakis 2014, with frames of 32 ms every 8 ms.
    """
    estimate = _essentia().PercivalBpmEstimator(
        sampleRate=RATE_HZ, frameSize=512, hopSize=128, frameSizeOSS=1024, hopSizeOSS=128
    )
    return float(estimate(sound))


def loudness_range(histogram: npt.NDArray[np.float64]) -> float:
    """Loudness range in LU: from the 10th to the 95th percentile of short-term loudness, gated.

    Args:
        histogram: Counts of short-term loudness in 0.1 LU steps from -70 LUFS.

    Source: EBU Tech 3342, here with 3 s windows every half second.
    """
    kept = _above(histogram, _gated_mean(histogram, relative=None) - 20)
    share = np.cumsum(kept) / kept.sum()
    low, high = (_centres()[np.searchsorted(share, level)] for level in (0.10, 0.95))
    return float(high - low)


def _gated_mean(histogram: npt.NDArray[np.float64], relative: float | None) -> float:
    """Mean loudness in the energy domain, of what lies above the gate `relative` to the mean, if any."""
    power = 10 ** (_centres() / 10)
    mean = 10 * float(np.log10((histogram * power).sum() / histogram.sum()))
    if relative is None:
        return mean
    kept = _above(histogram, mean + relative)
    return 10 * float(np.log10((kept * power).sum() / kept.sum()))


def _above(histogram: npt.NDArray[np.float64], level_lufs: float) -> npt.NDArray[np.float64]:
    return np.where(_centres() >= level_lufs, histogram, 0.0)


def _centres() -> npt.NDArray[np.float64]:
    return (_HISTOGRAM_LUFS[:-1] + _HISTOGRAM_LUFS[1:]) / 2


def _essentia() -> Any:
    """essentia's standard algorithms, quiet."""
    log = optional("essentia", "essentia", "features").log
    log.infoActive = log.warningActive = False
    return optional("essentia.standard", "essentia", "features")
