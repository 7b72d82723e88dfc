"""How a question ranks tracks: by how much less of each it must look at, three times over.

    rough    all tracks of a shard, from bins or sketches: who could be among the first
    closer   some thousands, from bins: again (arcs only)
    exact    some hundreds, from the half seconds: what the answer says

Each gives a number a track, the lower the better, infinite where it does not qualify. An answer is exact when
all tracks reach `exact`; `floor`, where there is one, says what `exact` cannot be below.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from moodstream.serving.search.arcs import Cells, Float
from moodstream.serving.search.entries import Entries

NOTHING = np.float32(np.inf)


@dataclass(frozen=True, eq=False)
class Few:
    """What is looked at exactly of n tracks, of any shards."""

    cells: Cells
    comparable: npt.NDArray[np.bool_]  # [n] whether there is an arc
    quadrants: npt.NDArray[np.uint16]  # [4, n]


class Rank(Protocol):
    """One question, ready to be asked of entries."""

    def rough(self, entries: Entries) -> Float:
        """[n] from what is quick to look at."""

    def exact(self, few: Few, most: float = float(NOTHING)) -> Float:
        """[n] what the answer says; what is above `most` may be infinite instead."""

    def why(self, value: float) -> str:
        """The answer's number in words."""
