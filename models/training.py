"""Training and measuring models: `train("speech", data, out)` and `evaluate("speech", data)`.

The way of a training, the same for every task on the audio network:

    rows (corpora.read_corpora)  ->  examples (Task.examples)  ->  features on disk (examples.prepare)
      ->  5 folds, groups kept apart: fit on four, predict the fifth (fitting.fit, fitting.predict)
      ->  calibration, measures with group-bootstrap intervals over the pooled predictions (Task.measure)
      ->  one fit on everything  ->  weights, card (registry.write_model) and predictions (Parquet)

A new task is one module with a `Task`, and `train` and `evaluate` of it:

    TASK = Task(
        name="music", labels=QUADRANTS, dimensions=(True, True, False),
        corpora={"4qaed": 1.0}, licences={"4qaed": "…"}, read=read_corpora, examples=examples,
        measure=measure, shape=Shape(QUADRANTS), recipe=Recipe(…), variants=4, limits=[…],
    )
    train, evaluate = partial(train_task, TASK), partial(evaluate_task, TASK)

`examples(rows)` gives one `Example` a row, in order: what to hear, corpus, group, `scores` over the labels
(None where not labelled so) and `target` (valence, arousal, dominance; NaN where unknown). An example's
sound is any callable, so mixtures can be made on the fly. A corpus without a certain label never learns nor
predicts it: the shared head is masked to what the corpus has, and each corpus has a head of its own beside
the shared one, in training only.

Predictions are a frame with a row an example: corpus, group, fold, label (index of the top true score, -1
for none), true_<dimension>, <dimension>, <dimension>_std, and `scores` / `own_scores` (lists over the
labels, softmax over those that the corpus has), by the shared head that is shipped and by the corpus's own;
`window_hits` is the share of the example's windows, as a curve has them, that its corpus's head gets right.
"""

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from moodstream.models import registry
from moodstream.models.augment import augment
from moodstream.models.base import DIMENSIONS, HOP, RATE_HZ, STEP_MS
from moodstream.models.calibration import calibrate
from moodstream.models.corpora import assign_folds, read_folder
from moodstream.models.examples import Augment, Example, Prepared, Progress, prepare, silent
from moodstream.models.features import LEFT, LOOKAHEAD_FRAMES, PAST_FRAMES, RIGHT
from moodstream.models.fitting import Predictions, Recipe, fit, predict
from moodstream.models.metrics import Interval
from moodstream.models.network import STRIDE, MoodNetwork, Shape
from moodstream.models.registry import Card

TASKS = ("speech", "music", "symbolic", "activity")
PREDICTIONS = "predictions.parquet"
Data = str | os.PathLike[str]
Measures = dict[str, Interval]


@dataclass(frozen=True)
class Task:
    """Everything that tells one task on the audio network from another."""

    name: str
    labels: tuple[str, ...]
    dimensions: tuple[bool, bool, bool]  # which of valence, arousal, dominance the task has
    corpora: dict[str, float]  # name: how much it counts
    licences: dict[str, str]
    read: Callable[[Sequence[str], Data | None], pl.DataFrame]  # corpora.read_corpora, or one's own
    examples: Callable[[pl.DataFrame], list[Example]]
    measure: Callable[[pl.DataFrame], Measures]  # of the predictions
    shape: Shape  # labels and corpora are filled in
    recipe: Recipe
    variants: int = 4  # the sound itself and augmented ones
    by_cell: bool = False  # predictions have a row a cell, from its window, rather than a row an example
    augment: Augment = augment
    limits: list[str] = field(default_factory=list)
    version: str = "1.0"
    licence: str = "weights: non-commercial research (the corpora's licences); code: Apache-2.0"


def train(
    task: str,
    data: Data | None,
    out: Data | None = None,
    *,
    folds: int = 5,
    seed: int = 0,
    smoke: bool = False,
    cache: Data | None = None,
    progress: Progress = silent,
) -> Card:
    """Cross-validate, fit on everything and write `out/<task>/`: weights, card and predictions.

    Args:
        task: one of TASKS.
        data: the folder of corpora, or of the user's own recordings (see corpora.read_folder).
        out: the folder of models; the installed ones when None. folds: groups are kept apart.
        smoke: a few seconds' worth of everything, to see that it runs; the model is useless.
        cache: see examples.cache_folder. progress: told what is being done and how far it is.

    Raises:
        ValueError: no such task, or too few groups. FileNotFoundError: no data.
    """
    card: Card = _module(task).train(
        data, out, folds=folds, seed=seed, smoke=smoke, cache=cache, progress=progress
    )
    return card


def evaluate(
    task: str,
    data: Data | None,
    model: Data | None = None,
    *,
    full: bool = False,
    cache: Data | None = None,
    progress: Progress = silent,
) -> Measures:
    """Measure again: one fold (all with `full`) is fitted anew and must agree with the stored predictions.

    Args:
        model: the folder of models; the installed ones when None.

    Raises:
        ValueError: the fold predicted anew differs from the stored predictions; no such task.
        FileNotFoundError: no such model, or no data.
    """
    measures: Measures = _module(task).evaluate(data, model, full=full, cache=cache, progress=progress)
    return measures


def _module(task: str) -> Any:
    if task not in TASKS:
        raise ValueError(f"task is {task!r}, allowed are {', '.join(TASKS)}")
    return importlib.import_module(f"moodstream.models.{task}")


def train_task(
    task: Task,
    data: Data | None,
    out: Data | None = None,
    *,
    folds: int = 5,
    seed: int = 0,
    smoke: bool = False,
    cache: Data | None = None,
    progress: Progress = silent,
) -> Card:
    """`train` for a task on the audio network."""
    examples, prepared, shape, task = _ready(task, data, smoke, seed, cache, progress)
    fold_of = fold_examples(examples, folds, seed)
    chosen = range(2 if smoke else folds)
    table = cross_validate(task, prepared, shape, fold_of, seed, progress, chosen)
    table, calibration = calibrate(table, task.labels)
    measures = task.measure(table)

    everything = np.arange(len(examples))
    network = fit(
        prepared, shape, everything, task.recipe, task.corpora, seed, _within(progress, "final fit")
    )
    network.temperature.fill_(calibration["temperature"])
    network.std_scale.copy_(torch.tensor([calibration["std_scale"].get(name, 1.0) for name in DIMENSIONS]))
    network.known.copy_(torch.tensor(task.dimensions).float())
    shipped = shared_only(network)
    lookahead_s, past_s = context(shipped.shape)
    card = Card(
        name=task.name,
        version=task.version,
        task=task.name,
        labels=list(task.labels),
        dimensions=[name for name, has in zip(DIMENSIONS, task.dimensions, strict=True) if has],
        lookahead_s=lookahead_s,
        past_s=past_s,
        corpora={name: task.licences.get(name, "the user's own") for name in shape.corpora},
        folds=f"{folds} folds, groups (speakers, artists) kept apart, pooled out-of-fold predictions",
        metrics={name: [round(x, 4) for x in (v.value, v.low, v.high)] for name, v in measures.items()},
        seed=seed,
        date=datetime.now(UTC).date().isoformat(),
        limits=task.limits,
        prior=_prior(examples, task),
        calibration=calibration,
        licence=task.licence,
        shape=shipped.shape.asdict(),
    )
    folder = Path(out) if out else registry.FOLDER
    card = registry.write_model(card, shipped.state_dict(), folder)
    table.write_parquet(folder / task.name / PREDICTIONS, compression="zstd")
    return card


def evaluate_task(
    task: Task,
    data: Data | None,
    model: Data | None = None,
    *,
    full: bool = False,
    cache: Data | None = None,
    progress: Progress = silent,
) -> Measures:
    """`evaluate` for a task on the audio network."""
    folder = Path(model) if model else registry.FOLDER
    card = registry.read_card(task.name, folder)
    table = pl.read_parquet(folder / task.name / PREDICTIONS)
    examples, prepared, shape, task = _ready(task, data, False, card.seed, cache, progress)
    fold_of = table.unique("example").sort("example")["fold"].to_numpy()
    if len(examples) != len(fold_of):
        raise ValueError(f"the model was measured on {len(fold_of)} examples, the data has {len(examples)}")
    folds = sorted(set(fold_of.tolist())) if full else [int(fold_of.min())]
    again = cross_validate(task, prepared, shape, fold_of, card.seed, progress, folds)
    again, _ = calibrate(again, task.labels, card.calibration)
    stored = table.filter(pl.col("fold").is_in(folds))
    difference = np.abs(np.array(again["scores"].to_list()) - np.array(stored["scores"].to_list())).mean()
    if difference > 0.02:  # threads and processors round differently, and training amplifies that
        raise ValueError(
            f"fold {folds} predicted anew differs from the stored one by {difference:.3f} on average"
        )
    return task.measure(again if full else table)


def fold_examples(examples: Sequence[Example], folds: int, seed: int) -> npt.NDArray[np.int64]:
    """A fold for every example, groups kept apart, corpora and labels spread evenly.

    Raises:
        ValueError: fewer groups than folds.
    """
    top = [
        example.corpus + (str(int(np.argmax(example.scores))) if example.scores else "")
        for example in examples
    ]
    rows = pl.DataFrame({"group": [example.group for example in examples], "label": top})
    return assign_folds(rows, folds, seed, "label")


def cross_validate(
    task: Task,
    prepared: Prepared,
    shape: Shape,
    fold_of: npt.NDArray[np.int64],
    seed: int,
    progress: Progress = silent,
    folds: Sequence[int] = range(5),
) -> pl.DataFrame:
    """Out-of-fold predictions of all examples in `folds`, in their order (columns: see above)."""
    tables = []
    for fold in folds:
        rows = np.flatnonzero(fold_of != fold)
        held_out = np.flatnonzero(fold_of == fold)
        said = _within(progress, f"fold {fold + 1}")
        network = fit(prepared, shape, rows, task.recipe, task.corpora, seed, said)
        shared = predict(network, prepared, held_out, windows=task.by_cell)
        own = predict(network, prepared, held_out, own=True, windows=task.by_cell)
        windows = predict(network, prepared, held_out, own=True, windows=True)
        table = tabulate(prepared.examples, shared, own, windows, shape)
        tables.append(table.with_columns(fold=pl.lit(fold)))
    return pl.concat(tables).sort("example", maintain_order=True)


def tabulate(
    examples: Sequence[Example], shared: Predictions, own: Predictions, windows: Predictions, shape: Shape
) -> pl.DataFrame:
    """Predictions beside the truth, one row an example."""
    columns: dict[str, Any] = {
        "example": shared.row,
        "corpus": [examples[row].corpus for row in shared.row],
        "group": [examples[row].group for row in shared.row],
        "label": [int(np.argmax(examples[row].scores)) if examples[row].scores else -1 for row in shared.row],
        "rated": [examples[row].weight >= 1 for row in shared.row],
    }
    for i, name in enumerate(DIMENSIONS):
        columns[f"true_{name}"] = [examples[row].target[i] for row in shared.row]
        columns[name], columns[f"{name}_std"] = shared.mean[:, i], shared.std[:, i]
        columns[f"own_{name}"] = own.mean[:, i]
    none = [0.0] * len(shape.labels)
    has = {
        name: np.any([example.scores or none for example in examples if example.corpus == name], 0)
        for name in shape.corpora
    }
    allowed = {row: has[examples[row].corpus] for row in shared.row.tolist()}
    for name, said in (("logits", shared), ("own_logits", own)):
        rows = said.row.tolist()
        columns[name] = np.where(np.stack([allowed[row] for row in rows]), said.logits, -1e4).tolist()
    masked = np.where(np.stack([allowed[row] for row in windows.row.tolist()]), windows.logits, -1e4)
    hits = masked.argmax(1) == np.array(
        [np.argmax(examples[row].scores or none) for row in windows.row.tolist()]
    )
    share = np.bincount(windows.row, hits) / np.maximum(np.bincount(windows.row), 1)
    columns["window_hits"] = share[shared.row]
    return pl.DataFrame(columns)


def shared_only(network: MoodNetwork) -> MoodNetwork:
    """The same network without the heads of single corpora: what is shipped."""
    small = MoodNetwork(replace(network.shape, corpora=()))
    state = network.state_dict()
    state["wide"], state["deep"] = state["wide"][:1], state["deep"][:1]
    small.load_state_dict(state)
    return small.eval()


def context(shape: Shape) -> tuple[float, float]:
    """Seconds of sound that a stream waits for after a cell, and that it looks at before it."""
    frames = STRIDE * shape.lookahead_steps
    ahead = (frames + LOOKAHEAD_FRAMES) * HOP + RIGHT - HOP
    past = max(frames, PAST_FRAMES) * HOP + LEFT
    cells = (shape.future_cells * STEP_MS / 1000, shape.past_cells * STEP_MS / 1000)
    return round(cells[0] + ahead / RATE_HZ, 3), round(cells[1] + past / RATE_HZ, 3)


def _ready(
    task: Task, data: Data | None, smoke: bool, seed: int, cache: Data | None, progress: Progress
) -> tuple[list[Example], Prepared, Shape, Task]:
    if data is not None and any(Path(data).glob("*.csv")):
        rows = read_folder(data)
    else:
        rows = task.read(list(task.corpora), data)
    if smoke:
        rows = rows.filter(pl.int_range(pl.len()).over("corpus") % 12 == 0)
        task = replace(task, recipe=replace(task.recipe, steps=min(task.recipe.steps, 4)), variants=1)
    examples = task.examples(rows)
    corpora = tuple(dict.fromkeys(example.corpus for example in examples))
    prepared = prepare(examples, task.variants, cache, seed, progress, task.augment)
    return examples, prepared, replace(task.shape, labels=task.labels, corpora=corpora), task


def _within(progress: Progress, stage: str) -> Progress:
    return lambda what, share: progress(f"{stage}: {what}", share)


def _prior(examples: Sequence[Example], task: Task) -> dict[str, list[float]]:
    rated = np.array([example.target for example in examples if example.weight >= 1] or [(np.nan,) * 3])
    if np.isnan(rated).all():
        rated = np.array([example.target for example in examples])
    return {
        name: [round(float(np.nanmean(rated[:, i])), 4), round(float(np.nanvar(rated[:, i])), 4)]
        for i, name in enumerate(DIMENSIONS)
        if task.dimensions[i] and np.isfinite(rated[:, i]).any()
    }
