"""Choose how readily episodes change: python infra/tune_diarization.py --help.

Reads the out-of-fold predictions that lie beside the diarization model (`moodstream train diarization`), so
it takes seconds and no data. The costs of `models.paths` are chosen on the recordings of half of the speakers
and judged on those of the others, and the other way round; what is committed stands beside it.
"""

import argparse
import itertools
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from moodstream.models import registry
from moodstream.models.diarization import Heard, diarized, heard, score
from moodstream.models.harness import PREDICTIONS
from moodstream.models.paths import JOINED, PathCosts

SWITCH_COSTS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
SHORTEST = (1, 2, 3, 4)
CHANGE_WEIGHTS = (0.0, 0.5, 1.0, 1.5)
SETS = ("events", "stretches", "eight emotions", "same")


def judge(chosen: list[Heard], costs: PathCosts) -> dict[str, tuple[float, float]]:
    """By set: EDER and boundary F1 (false boundaries a minute for `same`)."""
    found = {}
    for name in SETS:
        rates, hits, said, true, minutes = score(
            [one for one in chosen if one.name == name], partial(diarized, costs=costs)
        ).T
        second = said.sum() / minutes.sum() if name == "same" else 2 * hits.sum() / (said.sum() + true.sum())
        found[name] = (float(rates.mean()), float(second))
    return found


def loss(figures: dict[str, tuple[float, float]]) -> float:
    """What is made small: EDER of both kinds, less for boundaries found, more for those that are false."""
    rates = sum(figures[name][0] - 0.25 * figures[name][1] for name in ("events", "stretches"))
    return rates + 0.01 * figures["same"][1]


def main() -> None:
    """Tune on one half, report on the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, default=registry.FOLDER, help="folder of models")
    args = parser.parse_args()
    every = heard(pl.read_parquet(args.models / "diarization" / PREDICTIONS))
    speakers = sorted({one.group for one in every if one.name in SETS})
    halves = [[one for one in every if one.group in speakers[start::2]] for start in (0, 1)]
    grid = [
        PathCosts(switch_cost=cost, shortest_cells=shortest, floor=JOINED.floor, change_weight=weight)
        for cost, shortest, weight in itertools.product(SWITCH_COSTS, SHORTEST, CHANGE_WEIGHTS)
    ]
    for half, other in (halves, halves[::-1]):
        best = min(grid, key=lambda costs: loss(judge(half, costs)))
        print(f"\nchosen on {len({one.group for one in half})} speakers: {best}")
        for name, costs in (("on the others", best), ("as committed", JOINED)):
            figures = {
                key: tuple(np.round(values, 3).tolist()) for key, values in judge(other, costs).items()
            }
            print(f"  {name:14}", figures)


if __name__ == "__main__":
    main()
