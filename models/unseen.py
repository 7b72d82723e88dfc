"""What ships, on data that it was not trained on, where such exists.

Out-of-fold figures are of sisters of the model that ships; here it is that model itself. Music:
rendered MIDI, which the symbolic corpora label and the activity model alone learned from. Activity: a video
with exact boundaries. Speech and MIDI: all labelled data that is to be had teaches them, so there is nothing.
"""

from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from moodstream.models.audio import load_network
from moodstream.models.audio_task import Data, own
from moodstream.models.base import ACTIVITIES, STEP_MS, decide
from moodstream.models.calibration import softmax
from moodstream.models.corpora import data_folder, read_corpora, read_sound
from moodstream.models.examples import Example, prepare
from moodstream.models.fitting import predict
from moodstream.models.metrics import accuracy, auroc, bootstrap, uar
from moodstream.models.network import MoodNetwork
from moodstream.models.registry import Card
from moodstream.models.study import Measures

UPPER, RIGHT = (0, 1), (0, 3)  # quadrants of high arousal, of positive valence


def measure(card: Card, folder: Path, data: Data | None = None, cache: Data | None = None) -> Measures:
    """Measures of an installed model; none where there is no data that it has not seen."""
    judge = {"music": _rendered, "activity": _video}.get(card.task)
    if judge is None or own(data) or ("midi_audio_pairs" in card.corpora and card.task == "music"):
        return {}
    return judge(load_network(card.name, folder), data, cache)


def _rendered(network: MoodNetwork, data: Data | None, cache: Data | None) -> Measures:
    from moodstream.models import music

    rows = read_corpora(["midi_audio_pairs"], data)
    examples = music.examples(rows.filter(pl.col("quadrant").is_not_null()))
    said = predict(network, prepare(examples, cache=cache), np.arange(len(examples)))
    truth = np.array([int(np.argmax(example.scores or (1.0,))) for example in examples])
    groups = np.array([f"{i}" for i in range(len(examples))])
    measures = {"rendered MIDI, 4Q accuracy": bootstrap(accuracy, groups, truth, said.logits.argmax(1))}
    for i, (name, half) in enumerate((("valence", RIGHT), ("arousal", UPPER))):
        high = np.isin(truth, half)
        measures[f"rendered MIDI, AUC {name}"] = bootstrap(auroc, groups, high, said.mean[:, i])
    return measures


def _video(network: MoodNetwork, data: Data | None, cache: Data | None) -> Measures:
    folder = data_folder(data) / "video" / "demo_stream"
    spans = pl.read_csv(folder / "segments.csv")
    file = folder / "demo_stream.mp4"
    example = Example(f"{file}:{file.stat().st_size}", partial(read_sound, file), "activity", "video")
    said = predict(network, prepare([example], cache=cache), np.arange(1), windows=True)
    scores = softmax(said.logits.astype(np.float64))
    start_s = np.arange(len(scores)) * STEP_MS / 1000
    span = np.searchsorted(spans["end_s"].to_numpy(), start_s, side="right")
    known = span < spans.height
    truth = np.array([ACTIVITIES.index(kind) for kind in spans["kind"]])[span[known]]
    guess = decide(np.asarray(scores[known], np.float32))
    groups = span[known].astype(str)
    return {
        "video of ours, UAR": bootstrap(uar, groups, truth, guess),
        "video of ours, accuracy": bootstrap(accuracy, groups, truth, guess),
    }
