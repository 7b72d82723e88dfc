"""Resampling: mono sound at any rate in, mono sound at 16 kHz out. The one resampler of batch and live.

Conventions: float32 [n]; output sample k lies at k / 16,000 s, so nothing is shifted; n samples in give
round(n * 16,000 / rate) out, halves rounded up, however they were cut.

The resampler itself cannot be saved. Its filter is finite, so a fresh one that hears the last samples again
goes on as the old one would have (to 1e-7): a state is those samples and two counts.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from moodstream.models.base import RATE_HZ

Float = npt.NDArray[np.float32]

LAG = 1_920  # samples at 16 kHz that may stay inside: soxr works in blocks, the longest at 8 kHz (120 ms)
_FILTER_MS = 40  # twice what the filter reaches to either side
QUALITY = "HQ"  # 0.1x of a reference decode, as MQ: the filter is not what costs


class Resample:
    """One channel's way to 16 kHz.

    Args:
        rate_hz: of what comes in.
        steady: give exactly the samples that lie `LAG` or more behind what was taken, so that what a push
            gives hangs on how much was pushed in all and on nothing else.

    Example:
        >>> step = Resample(44_100)
        >>> len(step.push(np.zeros(44_100, np.float32))) + len(step.flush())
        16000
    """

    def __init__(self, rate_hz: int, *, steady: bool = False) -> None:
        if rate_hz <= 0:
            raise ValueError(f"rate_hz is {rate_hz}, must be positive")
        self._rate_hz = rate_hz
        self._steady = steady
        self._taken = 0
        self._given = 0
        self._ready = np.zeros(0, np.float32)  # resampled, from `_from` on
        self._from = 0
        self._stream = self._fresh()
        self._unit = rate_hz // math.gcd(rate_hz, RATE_HZ)  # after so many samples the filter's phase repeats
        self._keep = _FILTER_MS * rate_hz // 1000 + -(-LAG * rate_hz // RATE_HZ) + self._unit
        self._recent = [np.zeros(0, np.float32)]  # the last samples taken, `_keep` of them or more

    def _fresh(self) -> "soxr.ResampleStream | None":
        if self._rate_hz == RATE_HZ:
            return None
        return soxr.ResampleStream(self._rate_hz, RATE_HZ, 1, "float32", QUALITY)

    def push(self, samples: Float) -> Float:
        """Take samples [n]; give those at 16 kHz that are ready (some 10 ms stay inside, or `LAG`)."""
        self._taken += len(samples)
        if self._stream is None:
            self._given += len(samples)
            return samples
        if not len(samples):
            return samples
        self._remember(samples)
        self._resample(samples)
        return self._give(self._taken * RATE_HZ // self._rate_hz - (LAG if self._steady else 0))

    def flush(self) -> Float:
        """The sound ended: give the rest."""
        if self._stream is None or not self._taken:
            return np.zeros(0, np.float32)
        self._resample(np.zeros(0, np.float32), last=True)
        total = (2 * self._taken * RATE_HZ + self._rate_hz) // (2 * self._rate_hz)
        missing = max(total - self._from - len(self._ready), 0)
        self._ready = np.concatenate([self._ready, np.zeros(missing, np.float32)])
        return self._give(total)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on elsewhere, as plain Python and numpy."""
        recent = np.concatenate(self._recent)
        start = max(self._taken - self._keep, 0) // self._unit * self._unit
        kept = recent[max(len(recent) - (self._taken - start), 0) :]
        return {"taken": self._taken, "given": self._given, "recent": kept.copy()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()` at the same rate."""
        self._taken, self._given, recent = state["taken"], state["given"], state["recent"]
        self._recent, self._stream = [recent], self._fresh()
        self._from = (self._taken - len(recent)) * RATE_HZ // self._rate_hz
        self._ready = np.zeros(0, np.float32)
        if len(recent):
            self._resample(recent)

    def _remember(self, samples: Float) -> None:
        keep = self._keep + self._unit
        if len(samples) >= keep:
            self._recent = [samples[-keep:].copy()]
            return
        self._recent.append(samples.copy())
        if sum(map(len, self._recent)) > 3 * keep:
            self._recent = [np.concatenate(self._recent)[-keep:]]

    def _resample(self, samples: Float, last: bool = False) -> None:
        if self._stream is None:
            return
        more = self._stream.resample_chunk(np.ascontiguousarray(samples, np.float32), last=last)
        self._ready = np.concatenate([self._ready, more]) if len(self._ready) else more

    def _give(self, until: int) -> Float:
        """The samples up to `until` that were not given yet, as far as they are ready."""
        until = min(until, self._from + len(self._ready))
        if until <= self._given:
            return np.zeros(0, np.float32)
        samples = self._ready[self._given - self._from : until - self._from]
        self._ready = self._ready[until - self._from :]
        self._given = self._from = until
        return samples
