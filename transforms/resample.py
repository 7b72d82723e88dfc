"""Resampling: mono sound at any rate in, mono sound at 16 kHz out. The one resampler of batch and live.

Conventions: float32 [n]; output sample k lies at k / 16,000 s, so nothing is shifted; n samples in give
round(n * 16,000 / rate) out, halves rounded up, however they were cut.
"""

import numpy as np
import numpy.typing as npt
import soxr

from moodstream.models.base import RATE_HZ

Float = npt.NDArray[np.float32]

QUALITY = "HQ"  # 0.1x of a reference decode, as MQ: the filter is not what costs


class Resample:
    """One channel's way to 16 kHz.

    Example:
        >>> step = Resample(44_100)
        >>> len(step.push(np.zeros(44_100, np.float32))) + len(step.flush())
        16000
    """

    def __init__(self, rate_hz: int) -> None:
        if rate_hz <= 0:
            raise ValueError(f"rate_hz is {rate_hz}, must be positive")
        self._rate_hz = rate_hz
        self._taken = 0
        self._given = 0
        self._stream = (
            None if rate_hz == RATE_HZ else soxr.ResampleStream(rate_hz, RATE_HZ, 1, "float32", QUALITY)
        )

    def push(self, samples: Float) -> Float:
        """Take samples [n]; give those at 16 kHz that are ready (some 10 ms stay inside)."""
        self._taken += len(samples)
        if self._stream is None:
            self._given += len(samples)
            return samples
        if not len(samples):
            return samples
        return self._give(self._stream.resample_chunk(np.ascontiguousarray(samples, np.float32)))

    def flush(self) -> Float:
        """The sound ended: give the rest."""
        if self._stream is None or not self._taken:
            return np.zeros(0, np.float32)
        rest = self._give(self._stream.resample_chunk(np.zeros(0, np.float32), last=True))
        total = (2 * self._taken * RATE_HZ + self._rate_hz) // (2 * self._rate_hz)
        missing = total - self._given
        if missing <= 0:
            return rest[: len(rest) + missing]
        self._given += missing
        return np.concatenate([rest, np.zeros(missing, np.float32)])

    def _give(self, samples: Float) -> Float:
        self._given += len(samples)
        return samples
