"""An engine whose audio models are a few sums: fast, exact, as particular about state as the real one."""

from dataclasses import replace
from typing import Any

import numpy as np

from moodstream.models.base import (
    ACTIVITIES,
    EMOTIONS,
    QUADRANTS,
    RATE_HZ,
    STEP_MS,
    AudioEstimates,
    Estimates,
    Float,
)
from moodstream.models.bundle import Said
from moodstream.transforms.engine import Engine

CELL = RATE_HZ * STEP_MS // 1000
AHEAD = 2  # cells that an estimate looks ahead


class FakeStream:
    """A cell's estimate is made of the energy of the cell, of the two after it and of all before.

    Args:
        gain: of all that it says, so that versions differ.
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain
        self._rest = np.zeros(0, np.float32)
        self._energy: list[float] = []  # of cells from `_next` on
        self._past = 0.0
        self._next = 0
        self._told = 0

    def push(self, samples: Float) -> AudioEstimates:
        return self.hear(samples).final

    def hear(self, samples: Float) -> Said:
        self._rest = np.concatenate([self._rest, samples])
        fresh = []
        while len(self._rest) >= CELL:
            self._take(self._rest[:CELL])
            self._rest = self._rest[CELL:]
            fresh.append([self._energy[-1], self._energy[-1] / 3, 0.0])
        early = _estimates(self._told, _numbers(fresh), self.gain)
        self._told += len(fresh)
        return Said(self._give(len(self._energy) - AHEAD), early)

    def flush(self, samples: Float | None = None) -> AudioEstimates:
        before = self.push(samples if samples is not None else np.zeros(0, np.float32))
        if len(self._rest):
            self._take(self._rest)
            self._rest = self._rest[:0]
        return _join(before, self._give(len(self._energy)))

    def state(self) -> dict[str, Any]:
        return {
            "gain": self.gain,
            "rest": self._rest.copy(),
            "energy": list(self._energy),
            "past": self._past,
            "next": self._next,
            "told": self._told,
        }

    def restore(self, state: dict[str, Any]) -> None:
        if state["gain"] != self.gain:
            raise ValueError("a state of other models")
        self._rest, self._energy = state["rest"], list(state["energy"])
        self._past, self._next, self._told = state["past"], state["next"], state["told"]

    def _take(self, cell: Float) -> None:
        self._energy.append(float(np.abs(cell.astype(np.float64)).sum()) / CELL)

    def _give(self, count: int) -> AudioEstimates:
        rows = []
        start = self._next
        for _ in range(max(count, 0)):
            rows.append([self._energy[0], sum(self._energy[: AHEAD + 1]) / 3, self._past])
            self._past = 0.9 * self._past + self._energy.pop(0)
            self._next += 1
        return _estimates(start, _numbers(rows), self.gain)

    def heir(self, models: "FakeAudio") -> "FakeStream":
        heir = models.stream()
        heir.restore({**self.state(), "gain": heir.gain})
        return heir


def _numbers(rows: list[list[float]]) -> Float:
    return np.tanh(np.array(rows, np.float64).reshape(-1, 3)).astype(np.float32)


def _estimates(start: int, numbers: Float, gain: float) -> AudioEstimates:
    n = len(numbers)
    std = np.full((n, 3), 0.2, np.float32)
    loud = numbers[:, 0] > 1e-3
    activity = np.zeros((n, len(ACTIVITIES)), np.float32)
    activity[np.arange(n), np.where(loud, 0, 3)] = 1
    numbers = numbers * np.float32(gain)

    def scores(labels: tuple[str, ...]) -> Float:
        best = (numbers[:, 2] * 40).astype(int) % len(labels)
        table = np.full((n, len(labels)), 0.4 / (len(labels) - 1), np.float32)
        table[np.arange(n), best] = 0.6
        return table

    return AudioEstimates(
        start,
        activity,
        Estimates(start, numbers, std, scores(EMOTIONS)),
        Estimates(start, numbers * [1, 1, np.nan], std, scores(QUADRANTS)),
    )


def _join(one: AudioEstimates, two: AudioEstimates) -> AudioEstimates:
    def join(a: Estimates, b: Estimates) -> Estimates:
        return Estimates(
            a.start, *(np.concatenate([getattr(a, k), getattr(b, k)]) for k in ("mean", "std", "scores"))
        )

    activity = np.concatenate([one.activity, two.activity])
    return AudioEstimates(one.start, activity, join(one.speech, two.speech), join(one.music, two.music))


class FakeAudio:
    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def stream(self, **_: bool) -> FakeStream:
        return FakeStream(self.gain)

    def push(self, streams: list[FakeStream], sounds: list[Float]) -> list[Said]:
        return [stream.hear(sound) for stream, sound in zip(streams, sounds, strict=True)]


class FakeEngine(Engine):
    """The real cards and the real model of notes; the sound's are fake.

    Args:
        version: what the versions of its models end with.
        gain: of what the models of sound say.
    """

    def __init__(self, version: str = "", gain: float = 1.0) -> None:
        super().__init__()
        self.audio = FakeAudio(gain)  # type: ignore[assignment]
        self.cards = {
            name: replace(card, version=card.version + version) for name, card in Engine().cards.items()
        }

    warm_cells = 3  # their heirs know all that they knew
