"""A task of a few made sounds: what training does, in a second."""

from functools import partial

import numpy as np
import polars as pl

from moodstream.models.audio_task import Task
from moodstream.models.examples import Example
from moodstream.models.fitting import Recipe
from moodstream.models.metrics import bootstrap, uar
from moodstream.models.network import Shape
from moodstream.models.study import Measures

LABELS = ("low", "high", "noisy")


def make(label: int, seed: int, seconds: float = 1.2) -> np.ndarray:
    draw = np.random.default_rng(seed)
    time = np.arange(int(seconds * 16_000)) / 16_000
    hertz = (120, 320, 120)[label] * draw.uniform(0.9, 1.1)
    tone = sum(np.sin(2 * np.pi * k * hertz * time) / k for k in range(1, 6))
    noise = draw.standard_normal(len(time)) * (0.05 if label == 2 else 0.002)
    return (0.05 * tone + noise).astype(np.float32)


def toy_examples(rows: pl.DataFrame | None = None) -> list[Example]:
    """Two corpora of eight speakers; the second has no label "noisy" but ratings."""
    found = []
    for i in range(48):
        corpus, label = ("a", i % 3) if i < 24 else ("b", i % 2)
        target = (np.nan,) * 3 if corpus == "a" else (label - 0.5, 0.8 * label - 0.4, np.nan)
        scores = tuple(float(k == label) for k in range(3))
        found.append(Example(f"toy{i}", partial(make, label, i), corpus, f"{corpus}{i % 8}", scores, target))
    return found


def measure(table: pl.DataFrame) -> Measures:
    guess = np.array(table["scores"].to_list()).argmax(1)
    return {"UAR": bootstrap(uar, table["group"].to_numpy(), table["label"].to_numpy(), guess)}


TOY = Task(
    name="toy",
    labels=LABELS,
    dimensions=(True, True, False),
    corpora={"a": 1.0, "b": 1.0},
    read=lambda names, data: pl.DataFrame({"corpus": ["a"] * 48}),
    examples=toy_examples,
    measure=measure,
    shape=Shape(LABELS, channels=16, dilations=(1, 2), hidden=16),
    recipe=Recipe(steps=15, batch=8, crop_cells=(2, 3)),
    variants=2,
)
