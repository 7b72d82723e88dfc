"""The music model: valence, arousal and the four quadrants from recordings of music.

Only quadrants of 203 songs (4QAED), the moods of 400 (Emotify) and ratings of ten (emoMusic) are known. So
valence and arousal rest on weak targets: the middle of a quadrant, the mean place of listeners' moods.
With so little to learn from, the fixed statistics carry the model and the encoder is small. The level of a
recording says how it was mastered, not how it feels: the statistics that it shifts are left out, and training
turns every song up and down.
Source: quadrants after Panda et al. (2018), Novel audio features for music emotion recognition; places of the
nine GEMS moods by us, after Vuoskoski & Eerola (2011), Measuring music-induced emotion, figure 1.
"""

import numpy as np
import numpy.typing as npt
import polars as pl

from moodstream.models.audio_task import Task
from moodstream.models.augment import Generator, add_noise, change_speed, tilt
from moodstream.models.base import QUADRANTS, Float
from moodstream.models.corpora import MOODS, read_corpora
from moodstream.models.examples import Example, example_of
from moodstream.models.fitting import Recipe
from moodstream.models.metrics import accuracy, bootstrap, ccc
from moodstream.models.network import Shape
from moodstream.models.pooling import LEVEL_STATISTICS
from moodstream.models.study import Measures

CENTRES = {"Q1": (0.5, 0.5), "Q2": (-0.5, 0.5), "Q3": (-0.5, -0.5), "Q4": (0.5, -0.5)}  # valence, arousal
PLACES = {  # valence, arousal of music that gives rise to each mood
    "amazement": (0.4, 0.3),
    "solemnity": (-0.1, -0.3),
    "tenderness": (0.4, -0.5),
    "nostalgia": (-0.1, -0.4),
    "calmness": (0.5, -0.8),
    "power": (0.2, 0.8),
    "joyful_activation": (0.8, 0.7),
    "tension": (-0.8, 0.6),
    "sadness": (-0.8, -0.5),
}
WEAK = 0.5  # weight of a target that was derived from a quadrant or from moods
UPPER = (0, 1)  # quadrants of high arousal
RIGHT = (0, 3)  # quadrants of positive valence


def examples(rows: pl.DataFrame) -> list[Example]:
    """One example a row of `corpora.read_corpora`; rows need a quadrant, moods or ratings."""
    return [_example(row) for row in rows.iter_rows(named=True)]


def _example(row: dict[str, object]) -> Example:
    quadrant, moods = row["quadrant"], row["moods"]
    if row["valence"] is not None:
        target = (float(str(row["valence"])), float(str(row["arousal"])))
    elif quadrant:
        target = CENTRES[str(quadrant)]
    else:
        target = place_of_moods(np.asarray(moods, np.float64))
    scores = tuple(float(name == quadrant) for name in QUADRANTS) if quadrant else None
    return example_of(row, scores, (*target, np.nan), WEAK)


def place_of_moods(shares: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Valence and arousal, -1..1, of the share of listeners [9] that felt each mood: their mean place."""
    places = np.array([PLACES[mood] for mood in MOODS])
    valence, arousal = shares @ places / max(float(shares.sum()), 1e-6)
    return float(valence), float(arousal)


def vary(samples: Float, draw: Generator) -> Float:
    """Another pressing of the same song: speed, equaliser, a little noise, and any level."""
    out = change_speed(samples, 1 + draw.uniform(-0.06, 0.06)) if draw.random() < 0.5 else samples
    if draw.random() < 0.7:
        out = tilt(out, draw.uniform(0, 6), draw)
    if draw.random() < 0.3:
        out = add_noise(out, draw.uniform(20, 45), draw)
    out = out * 10 ** (draw.uniform(-30, 6) / 20)
    peak = np.abs(out).max(initial=0)
    return np.asarray(out / max(peak, 1.0), np.float32)


def measure(table: pl.DataFrame) -> Measures:
    """Accuracy of quadrant and of the signs of arousal and valence; CCC where quadrants are not known."""
    measures: Measures = {}
    for (corpus,), rows in sorted(table.group_by("corpus", maintain_order=True)):
        groups, truth = rows["group"].to_numpy(), rows["label"].to_numpy()
        if (truth >= 0).all():
            scores = np.array(rows["scores"].to_list())
            measures[f"{corpus} 4Q accuracy"] = bootstrap(accuracy, groups, truth, scores.argmax(1))
            windows = bootstrap(lambda hits: float(hits.mean()), groups, rows["window_hits"])
            measures[f"{corpus} 4Q accuracy, windows of a curve"] = windows
            for name, half in (("arousal", UPPER), ("valence", RIGHT)):
                guess = scores[:, half].sum(1) > 0.5
                measures[f"{corpus} {name} accuracy"] = bootstrap(
                    accuracy, groups, np.isin(truth, half), guess
                )
        else:
            for name in ("valence", "arousal"):
                columns = (rows[f"true_{name}"].to_numpy(), rows[name].to_numpy())
                kind = " (targets from moods)" if corpus == "emotify" else ""
                measures[f"{corpus} CCC {name}{kind}"] = bootstrap(ccc, groups, *columns)
    return measures


TASK = Task(
    name="music",
    labels=QUADRANTS,
    dimensions=(True, True, False),
    corpora={"4qaed": 1.0, "emotify": 1.0, "emomusic": 0.1},
    read=read_corpora,
    examples=examples,
    measure=measure,
    shape=Shape(
        labels=QUADRANTS,
        channels=8,
        dilations=(1,),
        gates=2,
        hidden=256,
        past_cells=11,
        future_cells=2,
        dropout=0.5,
    ),
    recipe=Recipe(
        steps=600,
        crop_cells=(10, 20),
        clean=0.4,
        deep_share=1.0,
        target_weight=0.3,
        ignored=tuple(LEVEL_STATISTICS),
    ),
    variants=3,
    augment=vary,
    limits=[
        "613 excerpts of 15 to 45 seconds, most of them Western popular and classical music",
        "valence and arousal rest on quadrants and moods, not on ratings: directions rather than amounts",
        "valence is the hard dimension: see its accuracy and its std",
    ],
)
