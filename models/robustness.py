"""What a model loses when the sound is worse than what it learned from: telephone lines, babble, level.

Conventions: out of fold like every other figure, by each corpus's own head, on the examples of the task
itself under each of `degrade.CONDITIONS`. A *drop* is clean minus degraded on the same examples, so its
interval is a paired one: groups are resampled, the same ones for both.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import polars as pl

from moodstream.models.audio_task import Data, Task, audio_study, ready
from moodstream.models.base import DIMENSIONS
from moodstream.models.checkpoints import Checkpoints
from moodstream.models.degrade import CONDITIONS, Condition, degraded
from moodstream.models.examples import Prepared, Progress, prepare, silent
from moodstream.models.fitting import predict
from moodstream.models.harness import Course
from moodstream.models.metrics import bootstrap, ccc, paired_bootstrap, uar
from moodstream.models.network import MoodNetwork
from moodstream.models.study import Measures


def measure_degraded(
    task: Task,
    data: Data | None,
    *,
    conditions: Sequence[str] = tuple(CONDITIONS),
    folds: int = 5,
    seed: int = 0,
    smoke: bool = False,
    cache: Data | None = None,
    progress: Progress = silent,
) -> Measures:
    """Measures by corpus and condition, and the drops, with 95 % intervals.

    Args:
        task: one on the audio network.
        conditions: of `degrade.CONDITIONS`; the others are compared with the first.
        cache: for features and the networks of the folds, those of `training.train` being found there.

    Raises:
        ValueError: no such condition.
    """
    if unknown := [name for name in conditions if name not in CONDITIONS]:
        raise ValueError(f"condition is {unknown[0]!r}, allowed are {', '.join(CONDITIONS)}")
    examples, prepared, shape, task = ready(task, data, smoke, 0, cache, progress)
    study = audio_study(task, data, examples, prepared, shape)
    kept, fold_of = Checkpoints(study, cache), study.assign(folds, seed)
    course = Course(progress, folds)
    heard = {
        name: prepared
        if CONDITIONS[name] == Condition()
        else prepare(degraded(examples, name, seed), 1, cache, seed, progress)
        for name in conditions
    }
    tables: dict[str, list[pl.DataFrame]] = {name: [] for name in conditions}
    for fold in range(folds):
        fitted = kept.fitted(np.flatnonzero(fold_of != fold), seed, course.stage(f"fold {fold + 1}"))
        for name, sounds in heard.items():
            tables[name].append(
                _predictions(cast(MoodNetwork, fitted), sounds, np.flatnonzero(fold_of == fold))
            )
        course.finish()
    return compare({name: pl.concat(parts).sort("example") for name, parts in tables.items()})


def _predictions(network: MoodNetwork, prepared: Prepared, rows: npt.NDArray[np.int64]) -> pl.DataFrame:
    """What the corpora's own heads say, beside the truth."""
    said = predict(network, prepared, rows, own=True)
    examples = [prepared.examples[row] for row in rows]
    none = (0.0,) * said.logits.shape[1]
    truth = np.array([example.scores or none for example in examples])
    corpora = np.array([example.corpus for example in examples])
    guess = np.zeros(len(rows), np.int64)
    for corpus in set(corpora):
        mine = corpora == corpus
        has = np.any([e.scores or none for e in prepared.examples if e.corpus == corpus], 0)
        guess[mine] = np.where(has, said.logits[mine], -np.inf).argmax(1)
    columns = {
        "example": rows,
        "corpus": corpora,
        "group": [example.group for example in examples],
        "label": np.where(truth.any(1), truth.argmax(1), -1),
        "guess": guess,
        "rated": [example.weight >= 1 for example in examples],
    }
    for i, name in enumerate(DIMENSIONS):
        columns[f"true_{name}"] = [example.target[i] for example in examples]
        columns[name] = said.mean[:, i]
    return pl.DataFrame(columns)


def compare(said: Mapping[str, pl.DataFrame]) -> Measures:
    """Measures of each table by corpus, and by how much each lies below the first.

    Args:
        said: by condition; the same examples in the same order in each.
    """
    measures: Measures = {}
    first = next(iter(said))
    asked = {"UAR": (uar, "label", "guess")} | {
        f"CCC {name}": (ccc, f"true_{name}", name) for name in DIMENSIONS
    }
    for (corpus,), clean in sorted(said[first].group_by("corpus", maintain_order=True)):
        for what, (measure, truth, guess) in asked.items():
            keep = (clean["label"] >= 0) if what == "UAR" else clean["rated"] & clean[truth].is_not_nan()
            if keep.sum() < 2 or clean.filter(keep)[truth].n_unique() < 2:
                continue
            groups, right = (clean.filter(keep)[name].to_numpy() for name in ("group", truth))
            says = {
                name: table.filter(pl.col("corpus") == corpus).filter(keep)[guess].to_numpy()
                for name, table in said.items()
            }
            for name, answers in says.items():
                measures[f"{corpus} {what}, {name}"] = bootstrap(measure, groups, right, answers)
                if name != first:
                    drop = paired_bootstrap(measure, groups, right, answers, says[first])
                    measures[f"{corpus} {what}, drop by {name}"] = drop
    return measures
