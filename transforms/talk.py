"""Talk: who talks when in a call, and who cuts in.

Conventions: `talking` is [sides, n] cells (half seconds); a *turn* is talk of one side with pauses of at most
`PAUSE_CELLS` in it.
"""

from bisect import bisect_right
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


def measure_talk(talking: npt.NDArray[np.bool_]) -> list[Talk]:
    """Talk time, silence and interruptions of each side.

    A side interrupts when it starts a turn of at least `SHORTEST_CELLS` while another side is in a turn that
    has lasted `FLOOR_CELLS` or more and goes on over that start.

    Args:
        talking: [sides, n] whether the side talks in the cell.

    Example:
        >>> agent = np.array([1, 1, 1, 1, 1, 1, 0, 0, 0, 0], bool)
        >>> customer = np.array([0, 0, 0, 0, 1, 1, 1, 1, 0, 0], bool)
        >>> measure_talk(np.stack([agent, customer]))[1]
        Talk(talk_ms=2000, non_talk_ms=1000, interruptions=1)
    """
    sides = [turns(side) for side in talking]
    non_talk = int((~talking.any(axis=0)).sum()) * STEP_MS
    return [
        Talk(
            talk_ms=int(side.sum()) * STEP_MS,
            non_talk_ms=non_talk,
            interruptions=sum(
                end - start >= SHORTEST_CELLS
                and any(
                    their_start + FLOOR_CELLS <= start < their_end
                    for index, others in enumerate(sides)
                    if index != own
                    for their_start, their_end in _around(others, start)
                )
                for start, end in sides[own]
            ),
        )
        for own, side in enumerate(talking)
    ]


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


def _around(spans: list[tuple[int, int]], cell: int) -> list[tuple[int, int]]:
    """The last span that starts at or before a cell, if any."""
    return spans[index - 1 : index] if (index := bisect_right(spans, (cell, cell + 1))) else []
