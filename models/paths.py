"""The best sequence of labels for a row of cells, all at once: what diarization computes as the cells arrive.

A path is worth the evidence of its labels, less a cost for every change of label. A change costs
`switch_cost` where nothing is known, less where the sound changes (`change` above 0) and more where it does
not; a stretch lasts at least `shortest_cells`. This is the whole-recording form, for measuring, and the
reference of `transforms.diarize`, which gives the same stretches bit by bit.

Conventions: evidence in nats, [n, K]; change [n], log-odds that the label changes between the cell before and
this one. Needs numpy alone.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PathCosts:
    """How readily the label changes."""

    switch_cost: float
    shortest_cells: int
    floor: float  # probabilities count as at least this, so that one cell cannot force a change
    change_weight: float = 1.0  # of the log-odds of a change


# Chosen on joined recordings of half of the speakers (infra/tune_diarization.py).
JOINED = PathCosts(switch_cost=1.25, shortest_cells=2, floor=0.02, change_weight=1.4)


def switch_costs(change: npt.ArrayLike, costs: PathCosts) -> Values:
    """What a change of label costs at each cell [n], from the log-odds of a change: never below 0."""
    bonus = costs.change_weight * np.asarray(change, np.float64)
    return np.maximum(costs.switch_cost - bonus, 0.0)


def best_path(scores: npt.ArrayLike, change: npt.ArrayLike, costs: PathCosts) -> list[tuple[int, int, int]]:
    """Stretches (start, end, label), half-open, that cover all cells; none for no cells.

    Args:
        scores: [n, K] probabilities.
        change: [n], see the conventions; the first one counts nothing.
    """
    evidence = np.log(np.maximum(np.asarray(scores, np.float64), costs.floor))
    n, size = evidence.shape
    if not n:
        return []
    totals = np.concatenate((np.zeros((1, size)), evidence.cumsum(0)))
    price = switch_costs(change, costs)
    labels = np.arange(size)
    value = np.full((n + 1, size), -np.inf)  # of the best path to the end of a cell, by its last label
    entered = np.zeros((n + 1, size), np.int64)  # where the last stretch of that path starts
    for end in range(1, n + 1):
        value[end] = totals[end]
        staying = value[end - 1] + evidence[end - 1] if end > 1 else value[end]
        if end > 1:
            value[end], entered[end] = staying, entered[end - 1]
        start = end - costs.shortest_cells
        if start >= costs.shortest_cells:
            top = int(value[start].argmax())
            fresh = value[start, top] - price[start] + totals[end] - totals[start]
            better = (labels != top) & (fresh > value[end])
            value[end, better], entered[end, better] = fresh[better], start
    stretches, end = [], n
    label = int(value[n].argmax())
    while True:
        start = int(entered[end, label])
        stretches.append((start, end, label))
        if start == 0:
            return stretches[::-1]
        end, label = start, int(value[start].argmax())
