"""Tune the episode segmenter on joined recordings: python infra/tune_diarization.py --help.

There is no corpus of emotions that change within a recording, so recordings are made as Wang et al. (2023)
made theirs: clips of one RAVDESS speaker, silence trimmed, joined to 2 to 6 stretches (of 1 to 6 clips, so 2
to 12 s) of different emotions, every other one neutral or calm in half of the recordings; a fifth of the
recordings stays with one emotion, to count false boundaries. Speakers are unseen: a network is fitted for
each of four folds of speakers, and its labels' temperature is set on its own test clips (one number).

Tuned on the recordings of half of the speakers, reported on the other half, beside what needs no segmenter:
all neutral; loud anger and quiet neutral; the best label of each cell. EDER is as released: neutral is a
label, the denominator the whole recording.
"""

import argparse
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from moodstream.models.audio_task import fold_examples
from moodstream.models.base import CELL_FRAMES, EMOTIONS, HOP, RATE_HZ, STEP_MS, Float
from moodstream.models.calibration import best_temperature
from moodstream.models.corpora import read_corpora
from moodstream.models.examples import Example, prepare
from moodstream.models.features import frames_of
from moodstream.models.fitting import Recipe, fit, predict
from moodstream.models.metrics import boundary_f1, diarization_error
from moodstream.models.network import MoodNetwork
from moodstream.models.pooling import cell_sums, window_sums
from moodstream.models.speech import TASK
from moodstream.transforms.diarize import SPEECH, DiarizeSettings, EpisodeSegmenter

CELL = RATE_HZ * STEP_MS // 1000
TOLERANCE_CELLS = 2  # a boundary within a second is a hit
TRIM_DB, SILENT_DB = 35.0, 40.0  # below the loudest 16 ms: not part of a clip; a cell: no estimate
SWITCH_COSTS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
SHORTEST = (1, 2, 4, 6)
FLOORS = (0.005, 0.02, 0.05)

Span = tuple[float, float, str]  # in cells


@dataclass(frozen=True)
class Recording:
    """A joined recording, its cells' scores by a network that does not know the speaker, and the truth."""

    speaker: str
    truth: list[Span]
    cells: int
    scores: Float  # [cells, 9]
    level_db: Float  # [cells]

    @property
    def estimated(self) -> npt.NDArray[np.bool_]:
        loud: npt.NDArray[np.bool_] = self.level_db > self.level_db.max() - SILENT_DB
        return loud


def trim(sound: Float) -> Float:
    """The sound without the silence at its ends."""
    frames = sound[: len(sound) // HOP * HOP].reshape(-1, HOP)
    power = np.sqrt((frames**2).mean(axis=1))
    loud = np.flatnonzero(power > power.max() * 10 ** (-TRIM_DB / 20))
    return sound[loud[0] * HOP : (loud[-1] + 1) * HOP]


def plan(draw: np.random.Generator, clips: dict[str, list[int]], same: bool) -> list[tuple[str, list[int]]]:
    """Stretches of a recording: emotion, and the clips of each (1 to 6)."""
    count = int(draw.integers(2, 7))
    emotional = [name for name in clips if name not in ("neutral", "calm")]
    if same:
        labels = [str(draw.choice(list(clips)))] * count
    elif draw.random() < 0.5:
        labels = [str(draw.choice(emotional if i % 2 else ["neutral", "calm"])) for i in range(count)]
    else:
        labels = [str(draw.choice(list(clips)))]
        while len(labels) < count:
            labels.append(str(draw.choice([name for name in clips if name != labels[-1]])))
    return [
        (name, draw.choice(clips[name], min(int(draw.integers(1, 7)), len(clips[name])), False).tolist())
        for name in labels
    ]


@torch.inference_mode()
def cell_scores(network: MoodNetwork, sound: Float) -> Float:
    """Probabilities [cells, 9] as in a curve: the window of every cell."""
    frames = frames_of(sound)
    length = len(frames)
    frames = torch.nn.functional.pad(frames, (0, 0, 0, -length % CELL_FRAMES))
    valid = (torch.arange(len(frames)) < length)[None]
    past, future = network.shape.past_cells, network.shape.future_cells
    learned = window_sums(network.encoder(frames[None], valid)[0], past, future)
    fixed = window_sums(cell_sums(frames, length), past, future)
    scores: Float = torch.softmax(network.heads(learned, fixed)[0].logits, 1).numpy()
    return scores


def recordings(
    network: MoodNetwork,
    examples: list[Example],
    rows: npt.NDArray[np.int64],
    each: int,
    same: bool,
    seed: int,
) -> Iterator[Recording]:
    """`each` joined recordings of every speaker among the rows."""
    by_speaker: dict[str, dict[str, list[int]]] = {}
    for row in rows.tolist():
        label = EMOTIONS[int(np.argmax(examples[row].scores or ()))]
        by_speaker.setdefault(examples[row].group, {}).setdefault(label, []).append(row)
    for number, (speaker, clips) in enumerate(sorted(by_speaker.items())):
        draw = np.random.default_rng((seed, number, same))
        for _ in range(each):
            sounds, truth, at = [], [], 0
            for label, members in plan(draw, clips, same):
                sound = np.concatenate([trim(examples[row].sound()) for row in members])
                sounds.append(sound)
                truth.append((at / CELL, (at + len(sound)) / CELL, label))
                at += len(sound)
            whole = np.concatenate(sounds)
            scores = cell_scores(network, whole)
            padded = np.pad(whole, (0, len(scores) * CELL - len(whole))).reshape(-1, CELL)
            level = 10 * np.log10((padded**2).mean(axis=1) + 1e-12)
            yield Recording(speaker, truth, len(scores), scores, level.astype(np.float32))


def found(recording: Recording, settings: DiarizeSettings) -> list[Span]:
    """The segmenter's episodes."""
    flat = np.zeros(recording.cells, np.float32)
    segmenter = EpisodeSegmenter(EMOTIONS, settings)
    runs = segmenter.push(recording.scores, recording.estimated, flat, flat) + segmenter.flush()
    return [(run.start_cell, run.end_cell, run.label) for run in runs if run.is_final]


def runs_of(labels: list[str]) -> list[Span]:
    """One label a cell as spans."""
    spans, at = [], 0
    for label, members in itertools.groupby(labels):
        length = len(list(members))
        spans.append((float(at), float(at + length), label))
        at += length
    return spans


def loud_is_anger(recording: Recording) -> list[Span]:
    """The cheat: cells above the recording's median level are anger, the others neutral."""
    loud = recording.level_db > np.median(recording.level_db)
    return runs_of(["anger" if above else "neutral" for above in loud])


def best_cells(recording: Recording) -> list[Span]:
    """No segmenter: the best label of each cell."""
    return runs_of([EMOTIONS[i] for i in recording.scores.argmax(axis=1)])


def measure(chosen: list[Recording], estimate: Callable[[Recording], list[Span]]) -> dict[str, float]:
    """Mean EDER, pooled boundary precision, recall and F1 (within 1 s), stretches found for each true one."""
    rates, hits, said, true, stretches, minutes = [], 0.0, 0, 0, 0, 0.0
    for recording in chosen:
        end = recording.truth[-1][1]
        spans = [(a, min(b, end), label) for a, b, label in estimate(recording) if a < end]
        merged = merge_equal(recording.truth)
        rates.append(diarization_error(merged, spans, end).rate)
        boundaries, guesses = [span[0] for span in merged[1:]], [span[0] for span in spans[1:]]
        if boundaries and guesses:
            hits += boundary_f1(boundaries, guesses, TOLERANCE_CELLS)[0] * len(guesses)
        said, true, stretches = said + len(guesses), true + len(boundaries), stretches + len(spans)
        minutes += end * STEP_MS / 60_000
    return {
        "eder": float(np.mean(rates)),
        "precision": hits / max(said, 1),
        "recall": hits / max(true, 1),
        "f1": 2 * hits / max(said + true, 1),
        "boundaries_a_minute": said / minutes,
        "true_a_minute": true / minutes,
    }


def merge_equal(truth: list[Span]) -> list[Span]:
    """Neighbouring stretches of one label as one."""
    merged: list[Span] = []
    for start, end, label in truth:
        if merged and merged[-1][2] == label:
            start = merged.pop()[0]
        merged.append((start, end, label))
    return merged


def main() -> None:
    """Fit, join, tune, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of corpora; by default MOODSTREAM_DATA")
    parser.add_argument("--steps", type=int, default=0, help="of the deep branch; 0: the linear branch alone")
    parser.add_argument("--each", type=int, default=8, help="joined recordings of each speaker")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write every figure there")
    args = parser.parse_args()
    torch.set_num_threads(1)

    examples = TASK.examples(read_corpora(["ravdess"], args.data))
    prepared = prepare(examples, 1, seed=args.seed)
    shape = replace(TASK.shape, labels=EMOTIONS, corpora=("ravdess",))
    recipe: Recipe = replace(TASK.recipe, steps=args.steps)
    fold_of = fold_examples(examples, 4, args.seed)
    joined: list[Recording] = []
    same: list[Recording] = []
    for fold in range(4):
        held_out = np.flatnonzero(fold_of == fold)
        network = fit(prepared, shape, np.flatnonzero(fold_of != fold), recipe, seed=args.seed)
        logits = predict(network, prepared, held_out).logits.astype(np.float64)
        truth = np.array([np.argmax(examples[row].scores or ()) for row in held_out])
        network.temperature.fill_(best_temperature(logits, truth))
        accuracy = float((logits.argmax(1) == truth).mean())
        print(
            f"fold {fold}: accuracy {accuracy:.3f}, temperature {float(network.temperature):.2f}", flush=True
        )
        joined += recordings(network, examples, held_out, args.each, same=False, seed=args.seed)
        same += recordings(network, examples, held_out, max(args.each // 4, 1), same=True, seed=args.seed)

    speakers = sorted({recording.speaker for recording in joined})
    tuned_on = [recording for recording in joined + same if recording.speaker in speakers[::2]]
    unseen = [recording for recording in joined if recording.speaker in speakers[1::2]]
    steady = [recording for recording in same if recording.speaker in speakers[1::2]]
    table: list[dict[str, Any]] = []
    for cost, shortest, floor in itertools.product(SWITCH_COSTS, SHORTEST, FLOORS):
        settings = replace(SPEECH, switch_cost=cost, shortest_cells=shortest, floor=floor)
        row = measure(tuned_on, partial(found, settings=settings))
        table.append({"switch_cost": cost, "shortest_cells": shortest, "floor": floor} | row)
    table.sort(key=lambda row: row["eder"] - 0.5 * row["f1"])
    print(f"\n{len(tuned_on)} recordings to tune on; best by EDER - F1 / 2:")
    for row in table[:8]:
        print("  ", {name: round(value, 3) for name, value in row.items()})

    best = replace(SPEECH, **{name: table[0][name] for name in ("switch_cost", "shortest_cells", "floor")})
    ways: dict[str, Callable[[Recording], list[Span]]] = {
        "all neutral": lambda recording: [(0, recording.cells, "neutral")],
        "loud is anger": loud_is_anger,
        "best label of each cell": best_cells,
        "segmenter, as committed": partial(found, settings=SPEECH),
        "segmenter, tuned here": partial(found, settings=best),
    }
    report = {}
    print(f"\n{len(unseen)} recordings of other speakers, and {len(steady)} of one emotion:")
    for name, way in ways.items():
        report[name] = measure(unseen, way) | {
            "same_emotion_boundaries_a_minute": measure(steady, way)["boundaries_a_minute"]
        }
        print(f"  {name:24}", {key: round(value, 3) for key, value in report[name].items()})
    if args.json:
        args.json.write_text(json.dumps({"report": report, "grid": table}, indent=1))


if __name__ == "__main__":
    main()
