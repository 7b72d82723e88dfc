"""How the small student learns: from what the speech model says, not from labels.

A teacher is fitted on the same examples as the student may know (fold by fold the teacher of that fold, found
in the cache after `train speech`), then asked about very many windows: stretches of its training sounds and
of their augmented variants, of recordings nobody labelled (calls, meetings), and joins of two of these.
Sums of cells add up, so none of this runs the encoder more than once a sound. The student is fitted to
means, deviations and scores by small batches; how far it stays behind its teacher on sounds that neither
knew is measured with it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import cast

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moodstream.models import speech
from moodstream.models.audio_task import Data, Task, audio_study, own, ready, tabulate
from moodstream.models.base import CELL_FRAMES, DIMENSIONS, EMOTIONS, Float
from moodstream.models.checkpoints import Checkpoints
from moodstream.models.corpora import read_corpora
from moodstream.models.examples import Example, Prepared, Progress, example_of, prepare, silent
from moodstream.models.experts import ExpertNetwork
from moodstream.models.fitting import Predictions
from moodstream.models.harness import calibrated
from moodstream.models.metrics import bootstrap, ccc, paired_bootstrap
from moodstream.models.network import MoodNetwork, Output
from moodstream.models.pooling import window_sums
from moodstream.models.small import Packed, SmallNetwork, SmallShape
from moodstream.models.study import Calibration, Measures, Rows, Study

UNLABELLED = ("callcentre", "ami_mini")
Teacher = MoodNetwork | ExpertNetwork


@dataclass(frozen=True)
class DistilRecipe:
    """How to fit the student."""

    windows: int = 60_000  # that the teacher is asked about
    steps: int = 4000
    batch: int = 256
    rate: float = 4e-3
    decay: float = 1e-3
    whole: float = 0.3  # chance of a whole sound rather than a stretch of it
    joined: float = 0.25  # chance that a second stretch follows
    cells: tuple[int, int] = (3, 8)  # length of a stretch
    unlabelled: float = 0.1  # share of the windows
    means: float = 6.0  # weight of the dimensions in the loss, whose variance is about a tenth


class Student(nn.Module):
    """The student, and what its teacher says of every example: kept until they have been compared."""

    def __init__(self, shape: SmallShape, examples: int) -> None:
        super().__init__()
        self.network = SmallNetwork(shape)
        self.register_buffer("teacher", torch.zeros(examples, len(DIMENSIONS)))
        self.teacher: Tensor


@dataclass(frozen=True)
class SmallTask:
    """The student of a task on the audio network (a training.Trainable)."""

    teacher: Task
    recipe: DistilRecipe
    shape: SmallShape
    unlabelled: tuple[str, ...] = UNLABELLED
    name: str = "small"

    @property
    def corpora(self) -> Sequence[str]:
        return tuple(self.teacher.corpora)

    def measure(self, table: pl.DataFrame) -> Measures:
        """The teacher's measures of the student, and how much lower it is than its teacher where rated."""
        measures = {  # it has one head
            name: value
            for name, value in self.teacher.measure(table).items()
            if not name.endswith(", shared head")
        }
        for (corpus,), rows in sorted(table.group_by("corpus", maintain_order=True)):
            for name in DIMENSIONS:
                judged = rows.filter(pl.col("rated") & pl.col(f"true_{name}").is_not_nan())
                if judged.height > 1:
                    groups, truth, student, teacher = (
                        judged[column].to_numpy()
                        for column in ("group", f"true_{name}", name, f"teacher_{name}")
                    )
                    measures[f"{corpus} CCC {name}, its teacher"] = bootstrap(ccc, groups, truth, teacher)
                    less = paired_bootstrap(ccc, groups, truth, teacher, student)
                    measures[f"{corpus} CCC {name}, minus its teacher's"] = less
        return measures

    def study(
        self,
        data: Data | None,
        corpora: Sequence[str] = (),
        smoke: bool = False,
        cache: Data | None = None,
        progress: Progress = silent,
    ) -> Study:
        """See `audio_task.Task.study`."""
        examples, prepared, shape, task = ready(self.teacher, data, smoke, 0, cache, progress, corpora)
        teachers = replace(audio_study(task, data, examples, prepared, shape), smoke=smoke)
        recipe = replace(self.recipe, windows=500, steps=20) if smoke else self.recipe
        calls = [] if own(data) or smoke else unlabelled(self.unlabelled, data)
        more = prepare(calls, 1, cache, 0, progress) if calls else None
        kept = Checkpoints(teachers, cache)
        small = replace(self.shape, labels=task.labels)

        def fit(rows: Rows, seed: int, said: Progress) -> nn.Module:
            teacher = cast(Teacher, kept.fitted(rows, seed, said))
            student = Student(small, len(examples))
            student.network = distil(teacher, prepared, rows, more, small, recipe, seed)
            student.teacher.copy_(ask(teacher, prepared, np.arange(len(examples))).mean)
            return student

        card = replace(
            teachers.card,
            name=self.name,
            task=self.name,
            limits=[
                "learned from what the speech model says: its errors are that model's, and some of its own",
                *teachers.card.limits,
            ],
        )
        return replace(
            teachers,
            card=card,
            settings={
                "teacher": teachers.settings,
                "recipe": asdict(recipe),
                "shape": small.asdict(),
                "unlabelled": [example.key.rsplit("/", 1)[-1] for example in calls],
            },
            code=("distil", *teachers.code),
            new=lambda: Student(small, len(examples)),
            fit=fit,
            predict=lambda network, rows: _predicted(cast(Student, network), prepared, shape.corpora, rows),
            measure=self.measure,
            ship=_shipped,
        )


def unlabelled(corpora: Sequence[str], data: Data | None) -> list[Example]:
    """What people say in calls and meetings, turn by turn, without labels."""
    if not corpora:
        return []
    rows = read_corpora(corpora, data).filter(pl.col("end_ms") - pl.col("start_ms") >= 1000)
    return [example_of(row, None, (np.nan,) * 3, 0.0) for row in rows.iter_rows(named=True)]


def distil(
    teacher: Teacher,
    prepared: Prepared,
    rows: Rows,
    more: Prepared | None,
    shape: SmallShape,
    recipe: DistilRecipe,
    seed: int = 0,
) -> SmallNetwork:
    """A student fitted to what `teacher` says about windows of the examples `rows`, and of all of `more`.

    The same one for the same arguments and threads.
    """
    draw = np.random.default_rng(seed)
    items = (rows[:, None] * prepared.variants + np.arange(prepared.variants)).ravel()
    corpus = np.array([prepared.examples[row].corpus for row in rows])
    share = np.array([1 / np.sqrt(np.sum(corpus == name)) for name in corpus])  # between fair and as they are
    chance = np.repeat(share, prepared.variants)
    pools = [(prepared, items, chance / chance.sum(), recipe.windows)]
    if more is not None:
        every = np.arange(len(more.examples) * more.variants)
        pools.append(
            (more, every, np.full(len(every), 1 / len(every)), int(recipe.windows * recipe.unlabelled))
        )
    z, truth = [], []
    for sounds, which, weight, count in pools:
        one, said = _windows(teacher, sounds, which, weight, count, recipe, draw)
        z.append(one)
        truth.append(said)
    told = Output(*(torch.cat(part) for part in zip(*truth, strict=True)))
    return _fit(teacher, torch.cat(z), told, shape, recipe, seed)


def ask(teacher: Teacher, prepared: Prepared, rows: Rows) -> Output:
    """What the teacher's shared head says of whole, unaltered sounds."""
    items = rows * prepared.variants
    learned, fixed, _ = _sums(teacher, prepared, items)
    with torch.inference_mode():
        whole = [torch.stack([cells.sum(0) for cells in part]) for part in (learned, fixed)]
        return Output(*(value.clone() for value in teacher.heads(whole[0], whole[1])[0]))


def _sums(
    teacher: Teacher, prepared: Prepared, items: Rows
) -> tuple[list[Tensor], list[Tensor], npt.NDArray[np.int64]]:
    """Learned and fixed sums of the cells of each item, and how many cells each has."""
    learned, fixed = [], []
    with torch.inference_mode():
        for item in items:
            span = (int(prepared.cells[item]), int(prepared.cells[item + 1]))
            frames = np.asarray(prepared.frames[span[0] * CELL_FRAMES : span[1] * CELL_FRAMES], np.float32)
            valid = torch.arange(len(frames)) < int(prepared.lengths[item])
            learned.append(teacher.encoder(torch.from_numpy(frames)[None], valid[None])[0])
            fixed.append(torch.from_numpy(np.array(prepared.sums[span[0] : span[1]])))
    return learned, fixed, np.array([len(part) for part in fixed])


def _windows(
    teacher: Teacher,
    prepared: Prepared,
    items: Rows,
    chance: Float | npt.NDArray[np.float64],
    count: int,
    recipe: DistilRecipe,
    draw: np.random.Generator,
) -> tuple[Tensor, Output]:
    """Standardised statistics of `count` windows, and what the teacher says of them."""
    learned, fixed, lengths = _sums(teacher, prepared, items)

    def stretch(at: int) -> tuple[int, slice]:
        if draw.random() < recipe.whole:
            return at, slice(None)
        size = int(draw.integers(recipe.cells[0], recipe.cells[1] + 1))
        start = int(draw.integers(max(int(lengths[at]) - size, 0) + 1))
        return at, slice(start, start + size)

    z, told = [], []
    with torch.inference_mode():
        for start in range(0, count, 1000):
            many = min(1000, count - start)
            picks = [[stretch(int(at))] for at in draw.choice(len(items), many, p=chance)]
            for pick in picks:
                if draw.random() < recipe.joined:
                    pick.append(stretch(int(draw.integers(len(items)))))
            sums = [
                torch.stack(
                    [sum((part[at][span].sum(0) for at, span in pick), torch.zeros(())) for pick in picks]
                )
                for part in (learned, fixed)
            ]
            z.append(teacher.standardize(sums[1]))
            told.append(teacher.heads(sums[0], sums[1])[0])
    return torch.cat(z).clone(), Output(*(torch.cat(part).clone() for part in zip(*told, strict=True)))


def _fit(
    teacher: Teacher, z: Tensor, told: Output, shape: SmallShape, recipe: DistilRecipe, seed: int
) -> SmallNetwork:
    torch.manual_seed(seed)
    student = SmallNetwork(shape)
    student.center.copy_(teacher.center)
    student.scale.copy_(teacher.scale)
    optimizer = torch.optim.AdamW(student.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, recipe.steps, pct_start=0.1)
    scores = torch.softmax(told.logits, 1)
    draw = torch.Generator().manual_seed(seed)
    for _ in range(recipe.steps):
        chosen = torch.randint(len(z), (recipe.batch,), generator=draw)
        said = student(z[chosen])
        error = ((said.mean - told.mean[chosen]) ** 2).sum(1).mean()
        spread = ((said.log_std - told.log_std[chosen]) ** 2).sum(1).mean()
        labels = F.cross_entropy(said.logits, scores[chosen])
        loss = recipe.means * error + 0.1 * spread + labels
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return student.eval()


@torch.inference_mode()
def _predicted(student: Student, prepared: Prepared, corpora: tuple[str, ...], rows: Rows) -> pl.DataFrame:
    network = student.network
    whole, windows = [], []
    for row in rows:
        start, end = (int(prepared.cells[row * prepared.variants + i]) for i in (0, 1))
        fixed = torch.from_numpy(np.array(prepared.sums[start:end]))
        cells = window_sums(fixed, network.shape.past_cells, network.shape.future_cells)
        whole.append(_said(network, fixed.sum(0, keepdim=True), row))
        windows.append(_said(network, cells, row))
    said, near = (_joined(parts) for parts in (whole, windows))
    shape = replace(speech.TASK.shape, labels=network.shape.labels, corpora=corpora)
    table = tabulate(prepared.examples, said, said, near, shape)
    taught = student.teacher[torch.from_numpy(rows)].numpy()
    return table.with_columns(pl.Series(f"teacher_{name}", taught[:, i]) for i, name in enumerate(DIMENSIONS))


def _said(network: SmallNetwork, fixed: Tensor, row: int) -> Predictions:
    (output,) = network.heads(fixed[:, :0], fixed)
    mean, std, logits = output.mean.numpy(), output.log_std.exp().numpy(), output.logits.numpy()
    return Predictions(np.full(len(mean), row), mean, std, logits)


def _joined(parts: list[Predictions]) -> Predictions:
    return Predictions(
        *(np.concatenate([getattr(p, name) for p in parts]) for name in ("row", "mean", "std", "logits"))
    )


def _shipped(student: nn.Module, calibration: Calibration) -> nn.Module:
    network = cast(Student, student).network
    calibrated(network, calibration)
    return Packed.of(network)


TASK = SmallTask(speech.TASK, DistilRecipe(), SmallShape(EMOTIONS))
