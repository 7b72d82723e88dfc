"""What ships, on data that it was not trained on, where such exists.

Out-of-fold figures are of sisters of the model that ships; here it is that model itself. Music: every
EVERYth piece of VGMIDI, rendered, which listeners rated and of which it heard none. Activity: a video with
exact boundaries. Speech and MIDI: all labelled data that is to be had teaches them, so there is nothing.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from moodstream.models import music
from moodstream.models.audio import load_network
from moodstream.models.audio_task import Data, own
from moodstream.models.base import ACTIVITIES, STEP_MS, decide
from moodstream.models.calibration import softmax
from moodstream.models.corpora import data_folder, read_corpora, read_sound
from moodstream.models.examples import Example, prepare
from moodstream.models.fitting import predict
from moodstream.models.metrics import accuracy, auroc, bootstrap, pearson, uar
from moodstream.models.music_fitting import prepare_sums
from moodstream.models.music_network import MusicNetwork
from moodstream.models.network import MoodNetwork
from moodstream.models.registry import Card
from moodstream.models.rendering import render
from moodstream.models.study import Measures

EVERY, LONGEST_S = 4, 60  # of VGMIDI's pieces, and how much of each is rendered


def measure(card: Card, folder: Path, data: Data | None = None, cache: Data | None = None) -> Measures:
    """Measures of an installed model; none where there is no data that it has not seen."""
    if own(data) or card.task not in ("music", "activity"):
        return {}
    network = load_network(card.name, folder)
    return _rendered(network, data, cache) if card.task == "music" else _video(network, data, cache)


def _rendered(network: MusicNetwork, data: Data | None, cache: Data | None) -> Measures:
    rows = read_corpora(["vgmidi"], data)[::EVERY]
    examples = [
        replace(example, key=f"{example.key}, {LONGEST_S} s", sound=partial(render, row["file"], LONGEST_S))
        for example, row in zip(music.examples(rows), rows.iter_rows(named=True), strict=True)
    ]
    said = music.predict(network, prepare_sums(examples, cache), np.arange(len(examples)))[0]
    groups = np.array([example.group for example in examples])
    measures = {}
    for i, name in enumerate(("valence", "arousal")):
        truth = rows[name].to_numpy()
        high = truth > np.median(truth)
        measures[f"rendered VGMIDI, AUC {name}"] = bootstrap(auroc, groups, high, said[:, i])
        measures[f"rendered VGMIDI, r {name}"] = bootstrap(pearson, groups, truth, said[:, i])
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
