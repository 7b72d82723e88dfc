"""Talk: who talks when in a call, and who cuts in.

Conventions: cells are half seconds; a *turn* is talk of one side with pauses of at most `PAUSE_CELLS` in it.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moodstream.models.base import STEP_MS

PAUSE_CELLS = 2  # pauses up to 1 s do not end a turn
FLOOR_CELLS = 2  # who has talked for 1 s has the floor
SHORTEST_CELLS = 2  # shorter turns ("mhm", "yes") interrupt nobody


@dataclass(frozen=True, slots=True)
class Talk:
    """The talk of one side of a call."""

    talk_ms: int
    non_talk_ms: int  # time in which no side talks: the same for all sides
    interruptions: int
    overlap_ms: int = 0  # time in which this side and another talk


def measure_talk(talking: Mapping[str, npt.NDArray[np.bool_]]) -> dict[str, Talk]:
    """Talk time, silence, interruptions and overlap of each side.

    A side interrupts when it starts a turn of at least `SHORTEST_CELLS` while another side is in a turn that
    has lasted `FLOOR_CELLS` or more and goes on over that start.

    Args:
        talking: For each side, [n] whether it talks in the cell; a side that ends early is silent from there.

    Example:
        >>> agent = np.array([1, 1, 1, 1, 1, 1, 0, 0, 0, 0], bool)
        >>> customer = np.array([0, 0, 0, 0, 1, 1, 1, 1], bool)
        >>> measure_talk({"agent": agent, "customer": customer})["customer"]
        Talk(talk_ms=2000, non_talk_ms=1000, interruptions=1, overlap_ms=1000)
    """
    length = max((len(side) for side in talking.values()), default=0)
    talkers = np.zeros(length, np.int64)
    for side in talking.values():
        talkers[: len(side)] += side
    spans = {name: turns(side) for name, side in talking.items()}
    return {
        name: Talk(
            talk_ms=int(side.sum()) * STEP_MS,
            non_talk_ms=int((talkers == 0).sum()) * STEP_MS,
            overlap_ms=int((side & (talkers[: len(side)] > 1)).sum()) * STEP_MS,
            interruptions=sum(
                end - start >= SHORTEST_CELLS
                and any(_has_floor(theirs, start) for other, theirs in spans.items() if other != name)
                for start, end in spans[name]
            ),
        )
        for name, side in talking.items()
    }


def turns(talking: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The turns of one side as half-open spans of cells.

    Example:
        >>> turns(np.array([0, 1, 1, 0, 0, 1, 0, 0, 0, 1], bool))
        [(1, 6), (9, 10)]
    """
    edges = np.flatnonzero(np.diff(talking.astype(np.int8), prepend=0, append=0))
    starts, ends = edges[0::2], edges[1::2]
    apart = starts[1:] - ends[:-1] > PAUSE_CELLS
    starts = starts[np.r_[True, apart]] if len(starts) else starts
    ends = ends[np.r_[apart, True]] if len(ends) else ends
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def _has_floor(spans: list[tuple[int, int]], cell: int) -> bool:
    """Whether a side with these turns has been talking for a while at a cell, and goes on."""
    index = bisect_right(spans, (cell, cell)) - 1
    return index >= 0 and spans[index][0] + FLOOR_CELLS <= cell < spans[index][1]
