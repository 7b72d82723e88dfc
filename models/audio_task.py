"""Tasks on the audio network: what tells one from another, and the study (study.Study) that comes of it.

The way of the data:

    rows (corpora.read_corpora)  ->  examples (Task.examples)  ->  features on disk (examples.prepare)
      ->  fit, predict (fitting)  ->  a table of predictions (tabulate)

A task is one module with a `TASK`:

    TASK = Task(
        name="music", labels=QUADRANTS, dimensions=(True, True, False),
        corpora={"4qaed": 1.0}, read=read_corpora, examples=examples,
        measure=measure, shape=Shape(QUADRANTS), recipe=Recipe(…), variants=4, limits=[…],
    )

`examples(rows)` gives one `Example` a row, in order: what to hear, corpus, group, `scores` over the labels
(None where not labelled so) and `target` (valence, arousal, dominance; NaN where unknown). An example's
sound is any callable, so mixtures can be made on the fly. A corpus without a certain label never learns nor
predicts it: the shared head is masked to what the corpus has, and each corpus has a head of its own beside
the shared one, in training only.

Predictions are a frame with a row an example: corpus, group, seed, fold, label (index of the top true score,
-1 for none), true_<dimension>, <dimension>, <dimension>_std, and `scores` / `own_scores` (lists over the
labels, softmax over those that the corpus has), by the shared head that is shipped and by the corpus's own;
`window_hits` is the share of the example's windows, as a curve has them, that its corpus's head gets right.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import nn

from moodstream.models import licences
from moodstream.models.augment import augment
from moodstream.models.base import CELL_FRAMES, DIMENSIONS, HOP, RATE_HZ, STEP_MS
from moodstream.models.corpora import DataError, assign_folds, data_folder, read_corpora, read_folder
from moodstream.models.examples import Augment, Example, Prepared, Progress, prepare, silent
from moodstream.models.expert_fitting import channel_sums
from moodstream.models.experts import ExpertNetwork
from moodstream.models.features import LEFT, LOOKAHEAD_FRAMES, PAST_FRAMES, RIGHT
from moodstream.models.fingerprint import PACKAGE
from moodstream.models.fitting import Predictions, Recipe, fit, predict
from moodstream.models.harness import calibrated
from moodstream.models.network import MoodNetwork, Shape
from moodstream.models.registry import Card
from moodstream.models.study import Calibration, Item, Measures, Rows, Study

Data = str | os.PathLike[str]


@dataclass(frozen=True)
class Task:
    """Everything that tells one task on the audio network from another."""

    name: str
    labels: tuple[str, ...]
    dimensions: tuple[bool, bool, bool]  # which of valence, arousal, dominance the task has
    corpora: dict[str, float]  # name: how much it counts
    read: Callable[[Sequence[str], Data | None], pl.DataFrame]  # corpora.read_corpora, or one's own
    examples: Callable[[pl.DataFrame], list[Example]]
    measure: Callable[[pl.DataFrame], Measures]  # of the predictions
    shape: Shape  # labels and corpora are filled in
    recipe: Recipe
    variants: int = 4  # the sound itself and augmented ones
    by_cell: bool = False  # predictions have a row a cell, from its window, rather than a row an example
    augment: Augment = augment
    network: Callable[[Shape], nn.Module] = MoodNetwork
    fit: Callable[..., nn.Module] = fit  # prepared, shape, rows, recipe, balance, seed, progress
    limits: list[str] = field(default_factory=list)
    version: str = "1.0"

    def study(
        self,
        data: Data | None,
        corpora: Sequence[str] = (),
        smoke: bool = False,
        cache: Data | None = None,
        progress: Progress = silent,
    ) -> Study:
        """The study of this task, its features being computed where they are not cached.

        Args:
            data: the folder of corpora, or of the user's own recordings.
            corpora: only these, all when empty. smoke: few examples, fewer steps.

        Raises:
            DataError: the task or the folder has no such corpus. FileNotFoundError: no data.
        """
        examples, prepared, shape, task = ready(self, data, smoke, 0, cache, progress, corpora)
        return replace(audio_study(task, data, examples, prepared, shape), smoke=smoke)


def audio_study(
    task: Task, data: Data | None, examples: list[Example], prepared: Prepared, shape: Shape
) -> Study:
    """The study of a task whose features are at hand (see `ready`)."""
    return Study(
        card=_draft(task, examples, shape, own(data)),
        items=[_item(example, _root(data)) for example in examples],
        settings={
            "recipe": asdict(task.recipe),
            "shape": shape.asdict(),
            "balance": task.corpora,
            "variants": [prepared.variants, task.augment.__qualname__],
        },
        code=tuple(dict.fromkeys(["augment", "features", *_module(task.fit), *_module(task.examples)])),
        assign=partial(fold_examples, examples),
        new=lambda: task.network(shape),
        fit=lambda rows, seed, said: task.fit(prepared, shape, rows, task.recipe, task.corpora, seed, said),
        predict=lambda network, rows: _predicted(task, prepared, cast(MoodNetwork, network), rows),
        measure=task.measure,
        ship=lambda network, calibration: _shipped(task, network, calibration),
    )


def ready(
    task: Task,
    data: Data | None,
    smoke: bool = False,
    seed: int = 0,
    cache: Data | None = None,
    progress: Progress = silent,
    corpora: Sequence[str] = (),
) -> tuple[list[Example], Prepared, Shape, Task]:
    """A task's examples, their features, the shape for their corpora, and the task as it is to be fitted.

    Args:
        seed: of the augmentation; the same one for all seeds of a training. See `Task.study` for the others.
    """
    if own(data):
        if task.read is not read_corpora:
            raise DataError(f"{task.name} is made from the corpora, not from a folder of one's own")
        rows = read_folder(cast(Data, data))
        known = rows["corpus"].unique().sort().to_list()
    else:
        known = list(task.corpora)
    if unknown := [name for name in corpora if name not in known]:
        raise DataError(f"corpus is {unknown[0]!r}, {task.name} has {', '.join(known)}")
    if own(data):
        rows = rows.filter(pl.col("corpus").is_in(corpora or known))
    else:
        rows = task.read([name for name in known if name in (corpora or known)], data)
        task = replace(task, corpora={n: v for n, v in task.corpora.items() if n in (corpora or known)})
    if smoke:
        rows = rows.filter(pl.int_range(pl.len()).over("corpus") % 12 == 0)
        task = replace(task, recipe=replace(task.recipe, steps=min(task.recipe.steps, 4)), variants=1)
    examples = task.examples(rows)
    names = tuple(dict.fromkeys(example.corpus for example in examples))
    prepared = prepare(examples, task.variants, cache, seed, progress, task.augment)
    return examples, prepared, replace(task.shape, labels=task.labels, corpora=names), task


def own(data: Data | None) -> bool:
    """Whether a folder holds recordings of the user's own rather than the corpora."""
    return data is not None and any(Path(data).glob("*.csv"))


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
    cells = [shape.future_cells, shape.past_cells]
    reach = -(-shape.reach // CELL_FRAMES)  # streams run on whole cells
    cells[0] += reach + (shape.centre_future if shape.centre else 0)
    cells[1] += reach + (shape.centre_past if shape.centre else 0)
    ahead, past = LOOKAHEAD_FRAMES * HOP + RIGHT - HOP, PAST_FRAMES * HOP + LEFT
    ahead_s, past_s = (
        n * STEP_MS / 1000 + more / RATE_HZ for n, more in zip(cells, (ahead, past), strict=True)
    )
    return round(ahead_s, 3), round(past_s, 3)


def _predicted(task: Task, prepared: Prepared, network: MoodNetwork, rows: Rows) -> pl.DataFrame:
    shared = predict(network, prepared, rows, windows=task.by_cell)
    own_head = predict(network, prepared, rows, own=True, windows=task.by_cell)
    windows = predict(network, prepared, rows, own=True, windows=True)
    table = tabulate(prepared.examples, shared, own_head, windows, network.shape)
    if isinstance(network, ExpertNetwork):
        table = table.with_columns(normalised=_normalised(network, prepared, rows))
    return table


def _normalised(network: ExpertNetwork, prepared: Prepared, rows: Rows) -> pl.Series:
    """The index of the label found with speaker normalisation, among those of the example's corpus."""
    said = predict(network, prepared, rows, own=True, channels=channel_sums(prepared))
    allowed = [network.shape.corpora.index(prepared.examples[row].corpus) for row in said.row]
    return pl.Series(np.where(network.allowed[allowed].numpy() > 0, said.logits, -np.inf).argmax(1))


def _shipped(task: Task, network: nn.Module, calibration: Calibration) -> nn.Module:
    calibrated(network, calibration)
    network.get_buffer("known").copy_(torch.tensor(task.dimensions).float())
    return shared_only(network) if isinstance(network, MoodNetwork) else network


def _draft(task: Task, examples: Sequence[Example], shape: Shape, owned: bool) -> Card:
    corpora = shape.corpora if owned else task.corpora
    lookahead_s, past_s = context(shape)
    learned = np.any([example.scores or (0.0,) * len(task.labels) for example in examples], 0)
    never = [name for name, known in zip(task.labels, learned, strict=True) if not known]
    note = [f"never learned, no corpus having them: {', '.join(never)}"] if never else []
    return Card(
        name=task.name,
        version=task.version,
        task=task.name,
        labels=list(task.labels),
        dimensions=[name for name, has in zip(DIMENSIONS, task.dimensions, strict=True) if has],
        lookahead_s=lookahead_s,
        past_s=past_s,
        corpora={name: licences.of(name).stated for name in corpora},
        folds="",
        metrics={},
        seed=0,
        date="",
        limits=[*task.limits, *note],
        prior=_prior(examples, task),
        calibration={},
        licence="",
    )


def _item(example: Example, root: str) -> Item:
    label = int(np.argmax(example.scores)) if example.scores else -1
    truth = [example.scores, example.target, example.weight]
    return Item(
        example.key.replace(root, "") if root else example.key, example.corpus, example.group, label, truth
    )


def _root(data: Data | None) -> str:
    """What is cut off the names of files, so that they are the same wherever the data lies."""
    if own(data):
        return f"{Path(cast(Data, data))}/"
    try:
        return f"{data_folder(data)}/"
    except FileNotFoundError:  # a task of sounds that are no files
        return ""


def _module(function: Callable[..., Any]) -> list[str]:
    name = function.__module__
    return [name.removeprefix(PACKAGE)] if name.startswith(PACKAGE) else []


def _prior(examples: Sequence[Example], task: Task) -> dict[str, list[float]]:
    rated = np.array([example.target for example in examples if example.weight >= 1] or [(np.nan,) * 3])
    if np.isnan(rated).all():
        rated = np.array([example.target for example in examples])
    return {
        name: [round(float(np.nanmean(rated[:, i])), 4), round(float(np.nanvar(rated[:, i])), 4)]
        for i, name in enumerate(DIMENSIONS)
        if task.dimensions[i] and np.isfinite(rated[:, i]).any()
    }
