"""Do notes estimated from sound help to tell how music feels? Measured two ways, out of fold and paired.

    python -m infra.notes_from_audio [--data DIR] [--seeds 3]

1. *Statistics*: the music model with its statistics of pitches, onsets, chords and key (models.harmony)
   against the same without them. This is what ships.
2. *Notes*: pitches that stand out, frame by frame, made into notes for the symbolic model, whose quadrants
   are pooled with those of the music model, the exponent found on the other folds. Measured, not shipped.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from moodstream.models import harmony, music
from moodstream.models.audio_task import fold_examples
from moodstream.models.base import Float, Notes
from moodstream.models.calibration import softmax
from moodstream.models.corpora import read_corpora
from moodstream.models.examples import Example
from moodstream.models.metrics import accuracy, paired_bootstrap
from moodstream.models.music_fitting import Labels, MusicRecipe, Sounds, fit, prepare_sums
from moodstream.models.symbolic import SymbolicModel

STARTS, ENDS = 1.4, 0.6  # salience at which a note begins, and below which it ends
FRAME_S = harmony.HOP / 16_000
EXPONENTS = np.linspace(0, 1, 11)


@torch.inference_mode()
def notes_of(sound: Float) -> Notes:
    """Notes of a sound [n]: pitches that stand out for two frames or more, as loud as they stand out."""
    frames = -(-len(sound) // harmony.HOP)
    padded = np.concatenate([np.zeros(harmony.LEFT), sound, np.zeros(harmony.WINDOW + harmony.HOP)])
    windows = torch.from_numpy(padded.astype(np.float32)).unfold(0, harmony.WINDOW, harmony.HOP)[:frames]
    salience = harmony.salience_of(windows).numpy()
    found = []
    for pitch, line in enumerate(salience.T):
        start = None
        for t, value in enumerate((*line, 0.0)):
            if start is None and value > STARTS:
                start = t
            elif start is not None and value < ENDS:
                if t - start >= 2:
                    found.append((start, t, pitch + harmony.LOWEST, line[start:t].max()))
                start = None
    found.sort()
    start_s, end_s, pitches, height = (
        (np.array(column) for column in zip(*found, strict=True)) if found else (np.zeros(0),) * 4
    )
    return Notes(
        start_s=start_s * FRAME_S,
        end_s=end_s * FRAME_S,
        pitch=pitches.astype(np.int16),
        velocity=np.clip(25 * height, 1, 127).astype(np.int16),
        program=np.zeros(len(start_s), np.int16),
        drum=np.zeros(len(start_s), np.bool_),
        bars_s=np.arange(0, len(sound) / 16_000, 2.0),
        end_of_media_s=len(sound) / 16_000,
    )


def without_and_with(
    some: list[Example], truth: Labels, sounds: Sounds, seeds: Sequence[int]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Out-of-fold predictions without and with the statistics of harmony, the same folds for both."""
    shape, recipe = music.shape_of(truth), MusicRecipe()
    tables: list[list[pl.DataFrame]] = [[], []]
    for seed in seeds:
        fold_of = fold_examples(some, 5, seed)
        for fold in range(5):
            learned, asked = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
            for kind, weight in enumerate((0.0, recipe.harmony)):
                network = fit(sounds, truth, learned, shape, replace(recipe, harmony=weight), seed)
                table = music.tabulate(some, truth, network, sounds, asked)
                tables[kind].append(table.with_columns(seed=pl.lit(seed), fold=pl.lit(fold)))
    return pl.concat(tables[0]).sort("seed", "example"), pl.concat(tables[1]).sort("seed", "example")


def report(name: str, first: pl.DataFrame, second: pl.DataFrame) -> None:
    """Print how much higher the accuracies of the second are, on the same resampled groups."""
    for corpus in ("4qaed", "emopia"):
        one, two = (table.filter(corpus=corpus) for table in (first, second))
        if not one.height:
            continue
        groups, label = one["group"].to_numpy(), one["label"].to_numpy()
        logits = [np.array(table["logits"].to_list()) for table in (one, two)]
        for kind in ("4Q", "arousal", "valence"):
            right = (
                label if kind == "4Q" else np.isin(label, music.UPPER if kind == "arousal" else music.RIGHT)
            )
            guesses = [guess(values, kind) for values in logits]
            before, after = (accuracy(right, said) for said in guesses)
            gain = paired_bootstrap(accuracy, groups, right, guesses[0], guesses[1])
            print(f"{name:12s} {corpus:7s} {kind:8s} {before:.3f} -> {after:.3f}, gain {gain}")


def guess(logits: npt.NDArray[np.float64], kind: str) -> npt.NDArray[np.int64]:
    """The quadrant, or whether the half that `kind` asks for is likelier."""
    if kind == "4Q":
        return logits.argmax(1)
    scores = softmax(logits)
    return (scores[:, list(music.UPPER if kind == "arousal" else music.RIGHT)].sum(1) > 0.5).astype(np.int64)


def pooled(table: pl.DataFrame, notes: npt.NDArray[np.float64]) -> pl.DataFrame:
    """The table with the logits of notes [examples, 4] added, as much as helps on the other folds."""
    parts = []
    for (_, fold), rows in table.group_by("seed", "fold", maintain_order=True):
        others = table.filter((pl.col("fold") != fold) & (pl.col("seed") == rows["seed"][0]))
        label, logits = others["label"].to_numpy(), np.array(others["logits"].to_list())
        added = notes[others["example"].to_numpy()]
        losses = [
            -np.log(softmax(logits + e * added)[np.arange(len(label)), label] + 1e-9).mean()
            for e in EXPONENTS
        ]
        best = EXPONENTS[int(np.argmin(losses))]
        said = np.array(rows["logits"].to_list()) + best * notes[rows["example"].to_numpy()]
        parts.append(rows.with_columns(logits=pl.Series(said.tolist())))
    return pl.concat(parts).sort("seed", "example")


def main() -> None:
    """Print both measurements."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = read_corpora(list(music.CORPORA), arguments.data)
    some, truth = music.examples(rows), music.labels_of(rows, music.CORPORA)
    sounds = prepare_sums(some)
    without, with_them = without_and_with(some, truth, sounds, range(arguments.seeds))
    report("statistics", without, with_them)
    model = SymbolicModel.load()
    heard = [i for i, example in enumerate(some) if example.corpus == "4qaed"]
    logits = np.zeros((len(some), 4))
    for i in heard:
        logits[i] = np.log(np.maximum(model.piece(notes_of(some[i].sound())).scores[0], 1e-6))
    label = np.array([int(np.argmax(some[i].scores or ())) for i in heard])
    print(f"notes alone, 4qaed: 4Q {accuracy(label, logits[heard].argmax(1)):.3f}")
    real = with_them.filter(corpus="4qaed")
    report("notes", real, pooled(real, logits))


if __name__ == "__main__":
    main()
