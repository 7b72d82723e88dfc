"""What is expected of each model, and whether it got there: `targets.yaml` beside this module."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

FILE = Path(__file__).with_name("targets.yaml")


@dataclass(frozen=True)
class Target:
    """What a measure should reach: `expected` at the least (None: nothing is asked for), `aim` at best."""

    expected: float | None
    aim: float
    less: bool = False  # is better

    def reached(self, value: float, goal: float) -> bool:
        """Whether `value` is as good as `goal`."""
        return value <= goal if self.less else value >= goal

    def verdict(self, value: float | None) -> str:
        """In words: of both goals, how far the value came."""
        sign = "<=" if self.less else ">="
        words = []
        for name, goal in (("expected", self.expected), ("aim", self.aim)):
            if goal is not None:
                met = "" if value is None else " met" if self.reached(value, goal) else " missed"
                words.append(f"{name} {sign} {goal:g}{met}")
        return ", ".join(words)


@cache
def targets(task: str) -> dict[str, Target]:
    """Targets of a task by measure, in the order of the file; none for a task without.

    Raises:
        ValueError: an entry is neither a number nor two.
    """
    found = {}
    for measure, goals in (yaml.safe_load(FILE.read_text(encoding="utf-8")).get(task) or {}).items():
        match goals:
            case [float() | int() as expected, float() | int() as aim]:
                found[measure] = Target(expected, aim, aim < expected)
            case float() | int():
                found[measure] = Target(None, goals)
            case _:
                raise ValueError(f"{FILE.name}: {task}, {measure} is {goals!r}, allowed are a number or two")
    return found
