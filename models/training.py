"""Training and measuring models by name: `train("speech", data)` and `evaluate("speech", data)`.

The way of a training:

    TASK.study(data)  ->  a study (study.Study): examples, how to fit, what to measure
      ->  5 folds, groups kept apart: fit on four, predict the fifth (harness.cross_validate)
      ->  calibration, measures with group-bootstrap intervals over the pooled predictions (TASK.measure)
      ->  one fit on everything  ->  weights, card, licence (registry.write_model) and predictions (Parquet)

Every fit is kept (checkpoints), so a training that was stopped goes on. Evaluating checks that what is
stored belongs together and to the data (evaluation), fits a fold again and compares. A new task is a module
with a `TASK` (audio_task.Task, if it listens to sound) and a word in TASKS.
"""

import importlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, cast

import polars as pl

from moodstream.models import cross, evaluation, harness, registry, unseen
from moodstream.models.audio_task import Data
from moodstream.models.checkpoints import Checkpoints
from moodstream.models.examples import Progress, silent
from moodstream.models.registry import Card
from moodstream.models.reliability import reliability
from moodstream.models.study import Measures, Study

# The module of `moodstream.models` that holds the TASK of each name.
TASKS = {
    "speech": "speech",
    "music": "music",
    "symbolic": "symbolic_training",
    "listener": "listener_training",
    "activity": "activity",
    "diarization": "diarization",
    "small": "distil",
    "fusion": "fusion",
}
PREDICTIONS = harness.PREDICTIONS


class Trainable(Protocol):
    """What the module of a task, `TASKS[name]`, calls TASK."""

    @property
    def name(self) -> str: ...

    @property
    def corpora(self) -> Collection[str]: ...

    @property
    def measure(self) -> Callable[[pl.DataFrame], Measures]: ...

    def study(
        self, data: Data | None, corpora: Sequence[str], smoke: bool, cache: Data | None, progress: Progress
    ) -> Study:
        """The task with its data read; `data` may be a folder of the user's own (audio_task.own)."""


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found; each group of measures with its 95 % intervals."""

    card: Card
    measures: Measures  # of the stored predictions, out of fold; of those made anew with `full`
    cross: Measures  # on corpora that were left out, where that was measured
    reliable: Measures  # the uncertainties, on groups that had no part in setting them
    unseen: Measures  # of the weights that ship, on data that they were not trained on, where there is some
    notes: list[str]  # what was checked, and what to know


def train(
    task: str,
    data: Data | None,
    out: Data | None = None,
    *,
    folds: int = 5,
    seed: int = 0,
    seeds: int = 1,
    corpora: Sequence[str] = (),
    name: str | None = None,
    smoke: bool = False,
    fresh: bool = False,
    cache: Data | None = None,
    progress: Progress = silent,
) -> Card:
    """Cross-validate, fit on everything and write `out/<name>/`: weights, card, licence and predictions.

    Args:
        task: one of TASKS.
        data: the folder of corpora, or of the user's own recordings (see corpora.read_folder).
        out: the folder of models; the installed ones when None. folds: groups are kept apart.
        seed: the first one, of the fit that ships. seeds: how many to measure with, counting up.
        corpora: train on these alone. name: of the model; its task when None.
        smoke: a few seconds' worth of everything, to see that it runs; the model is useless.
        fresh: fit again what an earlier run has kept.
        cache: see examples.cache_folder. progress: told what is being done and how far it is.

    Raises:
        ValueError: no such task. DataError: no such corpus, or too few groups. FileNotFoundError: no data.
    """
    return train_task(
        task_named(task), data, out, folds=folds, seed=seed, seeds=seeds, corpora=corpora, name=name,
        smoke=smoke, fresh=fresh, cache=cache, progress=progress,
    )  # fmt: skip


def train_task(
    task: Trainable,
    data: Data | None,
    out: Data | None = None,
    *,
    folds: int = 5,
    seed: int = 0,
    seeds: int = 1,
    corpora: Sequence[str] = (),
    name: str | None = None,
    smoke: bool = False,
    fresh: bool = False,
    cache: Data | None = None,
    progress: Progress = silent,
) -> Card:
    """`train` for a task that has no name yet."""
    study = task.study(data, corpora, smoke, cache, progress)
    study = replace(study, card=replace(study.card, name=name or task.name))
    return harness.train(
        study,
        Path(out) if out else registry.FOLDER,
        folds=folds,
        seeds=range(seed, seed + seeds),
        kept=Checkpoints(study, cache, fresh),
        progress=progress,
    )


def evaluate(
    model: str,
    data: Data | None = None,
    folder: Data | None = None,
    *,
    stored: bool = False,
    full: bool = False,
    leave_one_out: bool = False,
    cache: Data | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Check and measure a model (see `evaluation` for what is checked, `cross` for `leave_one_out`).

    Args:
        model: its name. data: as for `train`. folder: of models; the installed ones when None.
        stored: only what needs no data: check and measure the stored predictions.
        full: fit every fold anew, not only one.
        leave_one_out: measure on each corpus what the others teach, and keep it with the model.

    Raises:
        evaluation.StaleError: what is stored does not belong together, or a fit made now says otherwise.
        FileNotFoundError: no such model, or no data. DataError: `leave_one_out` with a single corpus.
    """
    card = registry.read_card(model, Path(folder) if folder else registry.FOLDER)
    return evaluate_task(
        task_named(card.task), data, folder, name=model, stored=stored, full=full,
        leave_one_out=leave_one_out, cache=cache, progress=progress,
    )  # fmt: skip


def evaluate_task(
    task: Trainable,
    data: Data | None = None,
    folder: Data | None = None,
    *,
    name: str | None = None,
    stored: bool = False,
    full: bool = False,
    leave_one_out: bool = False,
    cache: Data | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """`evaluate` for a task that has no name yet."""
    models = Path(folder) if folder else registry.FOLDER
    card = registry.read_card(name or task.name, models)
    table = evaluation.predictions(card, models)
    measures = harness.measure(task.measure, table)
    evaluation.check_measures(card, measures)
    notes = ["stored: weights, predictions, folds and measures belong together"]
    fresh: Measures = {}
    if not stored:
        study = task.study(data, tuple(card.corpora), False, cache, progress)
        notes += ["data and recipe are those of the training", *evaluation.check_study(card, study)]
        if leave_one_out:
            kept = Checkpoints(study, cache)
            left_out = cross.leave_one_out(study, card.seed, kept, progress)
            found = cross.measure_left_out(left_out, card.dimensions)
            card = evaluation.store_cross(card, left_out, found, models)
        else:
            again, worst = evaluation.compared(card, table, study, full, progress)
            what = "all folds" if full else "one fold"
            notes.append(f"{what} fitted anew: {worst:.4f} from the stored, allowed {evaluation.TOLERANCE}")
            measures = harness.measure(task.measure, again) if full else measures
        try:
            fresh = unseen.measure(card, models, data, cache)
        except FileNotFoundError as error:
            notes.append(f"not measured on data that the weights never saw: {error}")
    said = evaluation.cross_predictions(card, models)
    crossed = {} if said is None else cross.measure_left_out(said, card.dimensions)
    return Evaluation(card, measures, crossed, reliability(table, card.dimensions), fresh, notes)


def task_named(name: str) -> Trainable:
    """A task by its name.

    Raises:
        ValueError: no such task.
    """
    if name not in TASKS:
        raise ValueError(f"task is {name!r}, allowed are {', '.join(TASKS)}")
    return cast(Trainable, importlib.import_module(f"moodstream.models.{TASKS[name]}").TASK)
