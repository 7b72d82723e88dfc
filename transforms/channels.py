"""Channels: many in, one out, and nothing vanishes on the way.

The mean of the channels loses what they hold in opposite phase (a swapped cable, a "surround" effect): where
it does, the loudest channel is taken instead, with a short crossfade. The choice is made anew every 100 ms,
from those 100 ms and the choice before, so it does not hang on how the sound was cut into blocks.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]

GRID_MS = 100
_FADE_MS = 10
# Energy of the mean over mean energy of the channels: 1 for equal channels, 1/C for C unrelated ones or for
# one that speaks alone, 0 for opposite ones. Below _LOST / C the mean is given up, above _KEPT / C taken.
_LOST = 0.2
_KEPT = 0.5
_SILENT = 1e-10  # mean square; -100 dBFS


class MixDown:
    """Channels [c, n] to mono [n], 100 ms late at most.

    Example:
        >>> step, left = MixDown(8_000), np.sin(np.arange(8_000, dtype=np.float32))
        >>> mono = np.concatenate([step.push(np.stack([left, -left])), step.flush()])
        >>> bool(np.allclose(mono[800:], left[800:]))
        True
    """

    def __init__(self, rate_hz: int) -> None:
        self._grid = max(1, rate_hz * GRID_MS // 1000)
        self._fade = max(1, rate_hz * _FADE_MS // 1000)
        self._rest: Float | None = None  # less than one stretch of the grid
        self._choice = -1  # the channel taken, -1 for the mean

    def push(self, samples: Float) -> Float:
        """Take samples [c, n]; give those whose stretch of the grid is complete."""
        if len(samples) == 1:
            only: Float = samples[0]
            return only
        if self._rest is not None and self._rest.shape[1]:
            samples = np.concatenate([self._rest, samples], axis=1)
        whole = samples.shape[1] // self._grid * self._grid
        self._rest = samples[:, whole:].copy()
        return self._mix(samples[:, :whole], self._grid)

    def flush(self) -> Float:
        """The sound ended: give the rest."""
        rest, self._rest = self._rest, None
        if rest is None or not rest.shape[1]:
            return np.zeros(0, np.float32)
        return self._mix(rest, rest.shape[1])

    def state(self) -> dict[str, Any]:
        """Everything needed to go on elsewhere, as plain Python and numpy."""
        return {"rest": None if self._rest is None else self._rest.copy(), "choice": self._choice}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()` at the same rate."""
        self._rest, self._choice = state["rest"], state["choice"]

    def _mix(self, samples: Float, stretch: int) -> Float:
        channels, n = samples.shape
        mono: Float = samples[0] + samples[1]
        for other in samples[2:]:
            mono += other
        mono *= np.float32(1 / channels)
        if not n:
            return mono
        of_mean = _energies(mono, stretch)
        of_channels = np.stack([_energies(channel, stretch) for channel in samples])
        ratio = of_mean * channels**2 / np.maximum(of_channels.sum(axis=0), channels * stretch * _SILENT)
        silent = of_channels.sum(axis=0) < channels * stretch * _SILENT
        if self._choice < 0 and not ((ratio < _LOST) & ~silent).any():
            return mono
        mean = mono.copy()
        for i in range(n // stretch):
            here = slice(i * stretch, (i + 1) * stretch)
            before = self._choice
            self._choose(float(ratio[i]), of_channels[:, i], bool(silent[i]))
            if self._choice >= 0:
                mono[here] = samples[self._choice, here]
            if before != self._choice:
                fade = slice(here.start, min(here.start + self._fade, here.stop))
                old = mean if before < 0 else samples[before]
                slope = np.arange(fade.stop - fade.start, dtype=np.float32) / np.float32(self._fade)
                mono[fade] = slope * mono[fade] + (1 - slope) * old[fade]
        return mono

    def _choose(self, ratio: float, energies: npt.NDArray[np.float32], silent: bool) -> None:
        """Mean or loudest channel for the next stretch; a chosen channel stays until it is drowned out."""
        if silent:
            return
        if ratio < _LOST or (self._choice >= 0 and ratio < _KEPT):
            loudest = int(np.argmax(energies))
            if self._choice < 0 or energies[self._choice] < 0.25 * energies[loudest]:
                self._choice = loudest
        else:
            self._choice = -1


def _energies(samples: Float, stretch: int) -> npt.NDArray[np.float32]:
    """Sum of squares of every stretch: [n] to [n / stretch]."""
    rows = samples.reshape(-1, stretch)
    energies: npt.NDArray[np.float32] = np.einsum("ij,ij->i", rows, rows)
    return energies
