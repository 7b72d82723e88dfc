"""How the small student learns: from what the speech model says, not from labels.

A teacher is fitted on the same examples as the student may know (fold by fold the teacher of that fold, found
in the cache after `train speech`), then asked about very many windows: stretches of its training sounds and
of their augmented variants, of recordings nobody labelled (calls, meetings), and joins of two of these.
Sums of cells add up, so a step hears some sounds once and compares what student and teacher say of many
windows of them. The student is fitted to means, deviations and scores; how far it stays behind its teacher on
sounds that neither knew is measured with it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moodstream.models import speech
from moodstream.models.audio_task import Data, Task, audio_study, own, ready, tabulate
from moodstream.models.base import CELL_FRAMES, DIMENSIONS, EMOTIONS
from moodstream.models.checkpoints import Checkpoints
from moodstream.models.corpora import read_corpora
from moodstream.models.examples import Example, Prepared, Progress, example_of, prepare, silent
from moodstream.models.experts import ExpertNetwork
from moodstream.models.features import N_BASE, N_MELS
from moodstream.models.fitting import Predictions
from moodstream.models.harness import calibrated
from moodstream.models.metrics import bootstrap, ccc, paired_bootstrap
from moodstream.models.network import MoodNetwork, Output
from moodstream.models.pooling import LEVEL_PER_DB, MEL_PER_DB, window_sums
from moodstream.models.small import Packed, SmallNetwork, SmallShape
from moodstream.models.study import Calibration, Measures, Rows, Study

UNLABELLED = ("callcentre", "ami_mini")
Teacher = MoodNetwork | ExpertNetwork


@dataclass(frozen=True)
class DistilRecipe:
    """How to fit the student."""

    steps: int = 2000
    sounds: int = 32  # in a step
    batch: int = 192  # windows of them
    rate: float = 4e-3
    decay: float = 1e-3
    whole: float = 0.3  # chance of a whole sound rather than a stretch of it
    joined: float = 0.25  # chance that a second stretch follows
    cells: tuple[int, int] = (3, 8)  # length of a stretch
    longest: int = 10  # cells that are heard of a sound at once
    unlabelled: float = 0.1  # share of the sounds
    level_db: float = 6.0  # deviation of a gain that the student's encoder hears, and the teacher's does not
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
        recipe = replace(self.recipe, steps=20) if smoke else self.recipe
        calls = [] if own(data) or smoke else unlabelled(self.unlabelled, data)
        more = prepare(calls, 1, cache, 0, progress) if calls else None
        kept = Checkpoints(teachers, cache)
        small = replace(self.shape, labels=task.labels)

        def fit(rows: Rows, seed: int, said: Progress) -> nn.Module:
            teacher = cast(Teacher, kept.fitted(rows, seed, said))
            student = Student(small, len(examples))
            student.network = distil(teacher, prepared, rows, more, small, recipe, seed, said)
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
    progress: Progress = silent,
) -> SmallNetwork:
    """A student fitted to what `teacher` says about windows of the examples `rows`, and of all of `more`.

    The same one for the same arguments and threads.
    """
    corpus = np.array([prepared.examples[row].corpus for row in rows])
    share = np.array([1 / np.sqrt(np.sum(corpus == name)) for name in corpus])  # between fair and as they are
    items = (rows[:, None] * prepared.variants + np.arange(prepared.variants)).ravel()
    pools = [Pool.of(prepared, items, np.repeat(share, prepared.variants))]
    if more is not None and recipe.unlabelled:
        every = np.arange(len(more.examples) * more.variants)
        pools.append(Pool.of(more, every, np.ones(len(every))))
    torch.manual_seed(seed)
    student = SmallNetwork(shape)
    student.center.copy_(teacher.center)
    student.scale.copy_(teacher.scale)
    if student.encoder is not None:
        student.encoder.center.copy_(teacher.encoder.center)
        student.encoder.scale.copy_(teacher.encoder.scale)
    optimizer = torch.optim.AdamW(student.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, recipe.steps, pct_start=0.1)
    draw = np.random.default_rng(seed)
    for step in range(recipe.steps):
        pool = pools[int(len(pools) > 1 and draw.random() < recipe.unlabelled)]
        error = _error(teacher, student, pool.some(recipe, draw), recipe, draw)
        optimizer.zero_grad()
        error.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            progress("student", step / recipe.steps)
    return student.eval()


class Heard(NamedTuple):
    """Some sounds, padded to one length: b of n cells."""

    frames: Tensor  # [b, 32 n, N_BASE]
    valid: Tensor  # [b, 32 n]
    fixed: Tensor  # [b, n, N_SUMS]
    cells: npt.NDArray[np.int64]  # [b] how many of the cells are true


@dataclass(frozen=True)
class Pool:
    """Sounds to draw from."""

    prepared: Prepared
    items: Rows
    chance: npt.NDArray[np.float64]  # of each item

    @classmethod
    def of(cls, prepared: Prepared, items: Rows, weight: npt.NDArray[np.float64]) -> "Pool":
        """The pool of some items, drawn as often as `weight` says."""
        return cls(prepared, items, weight / weight.sum())

    def some(self, recipe: DistilRecipe, draw: np.random.Generator) -> Heard:
        """Sounds drawn from it, of long ones a part."""
        parts = []
        for item in self.items[draw.choice(len(self.items), recipe.sounds, p=self.chance)]:
            frames, length = _frames(self.prepared, int(item))
            first = int(draw.integers(max(len(frames) // CELL_FRAMES - recipe.longest, 0) + 1))
            span = slice(first, first + recipe.longest)
            begin, end = first * CELL_FRAMES, span.stop * CELL_FRAMES
            parts.append(
                (frames[begin:end], min(length, end) - begin, _fixed(self.prepared, int(item))[span])
            )
        heard, lengths, fixed = zip(*parts, strict=True)
        padded = nn.utils.rnn.pad_sequence(list(heard), batch_first=True)
        valid = torch.arange(padded.shape[1]) < torch.tensor(lengths)[:, None]
        summed = nn.utils.rnn.pad_sequence(list(fixed), batch_first=True)
        return Heard(padded, valid, summed, np.array([len(part) for part in fixed]))


def _error(
    teacher: Teacher, student: SmallNetwork, heard: Heard, recipe: DistilRecipe, draw: np.random.Generator
) -> Tensor:
    """How differently student and teacher judge windows of what is heard."""
    chosen = _stretches(heard, recipe, draw)
    fixed = chosen @ heard.fixed.flatten(0, 1)
    with torch.no_grad():
        learned = chosen @ teacher.encoder(heard.frames, heard.valid).flatten(0, 1)
        told = teacher.heads(learned, fixed)[0]
    mine = fixed[:, :0]
    if student.encoder is not None:
        frames = _louder(heard.frames, draw.normal(0, recipe.level_db, len(heard.frames)))
        mine = chosen @ student.encoder(frames, heard.valid).flatten(0, 1)
    said = student(mine, fixed)
    error = ((said.mean - told.mean) ** 2).sum(1).mean()
    spread = ((said.log_std - told.log_std) ** 2).sum(1).mean()
    labels = F.cross_entropy(said.logits, torch.softmax(told.logits, 1))
    return recipe.means * error + 0.1 * spread + labels


def _louder(frames: Tensor, decibels: npt.NDArray[np.float64]) -> Tensor:
    """Base columns [b, t, N_BASE] of sounds that are so much louder, by decibels [b]."""
    more = torch.zeros(N_BASE)
    more[:N_MELS], more[N_MELS] = MEL_PER_DB, LEVEL_PER_DB
    return frames + torch.from_numpy(decibels).float()[:, None, None] * more


def _stretches(heard: Heard, recipe: DistilRecipe, draw: np.random.Generator) -> Tensor:
    """Which cells make up each window, [batch, b n] of 0 and 1: stretches of one sound or of two."""
    sounds, most = heard.fixed.shape[:2]
    chosen = np.zeros((recipe.batch, sounds, most), np.float32)
    for window in chosen:
        for _ in range(1 + int(draw.random() < recipe.joined)):
            sound = int(draw.integers(sounds))
            cells = int(heard.cells[sound])
            size = cells
            if draw.random() >= recipe.whole:
                size = min(int(draw.integers(recipe.cells[0], recipe.cells[1] + 1)), cells)
            start = int(draw.integers(cells - size + 1))
            window[sound, start : start + size] = 1
    return torch.from_numpy(chosen).flatten(1)


def ask(teacher: Teacher, prepared: Prepared, rows: Rows) -> Output:
    """What the teacher's shared head says of whole, unaltered sounds."""
    items = rows * prepared.variants
    learned = torch.stack([cells.sum(0) for cells in _learned(teacher, prepared, items)])
    fixed = torch.stack([_fixed(prepared, int(item)).sum(0) for item in items])
    with torch.inference_mode():
        return Output(*(value.clone() for value in teacher.heads(learned, fixed)[0]))


def _learned(network: Teacher | SmallNetwork, prepared: Prepared, items: Rows) -> list[Tensor]:
    """Sums of the cells of each item, by the network's encoder: [n, gates + 2 c]."""
    heard = []
    with torch.no_grad():
        for item in items:
            frames, length = _frames(prepared, int(item))
            if network.encoder is None:
                heard.append(torch.zeros(len(frames) // CELL_FRAMES, 0))
            else:
                valid = torch.arange(len(frames)) < length
                heard.append(network.encoder(frames[None], valid[None])[0])
    return heard


def _frames(prepared: Prepared, item: int) -> tuple[Tensor, int]:
    """Base columns [32 n, N_BASE] of an item, and how many of them are true."""
    start, end = (int(cell) * CELL_FRAMES for cell in prepared.cells[item : item + 2])
    return torch.from_numpy(np.asarray(prepared.frames[start:end], np.float32)), int(prepared.lengths[item])


def _fixed(prepared: Prepared, item: int) -> Tensor:
    """Fixed sums [n, N_SUMS] of the cells of an item."""
    return torch.from_numpy(np.array(prepared.sums[prepared.cells[item] : prepared.cells[item + 1]]))


@torch.inference_mode()
def _predicted(student: Student, prepared: Prepared, corpora: tuple[str, ...], rows: Rows) -> pl.DataFrame:
    network = Packed.of(student.network).unpacked()  # as it ships
    whole, windows = [], []
    for row in rows:
        item = row * prepared.variants
        (learned,), fixed = _learned(network, prepared, np.array([item])), _fixed(prepared, int(item))
        heard, summed = (
            window_sums(part, network.shape.past_cells, network.shape.future_cells)
            for part in (learned, fixed)
        )
        whole.append(_said(network, learned.sum(0, keepdim=True), fixed.sum(0, keepdim=True), row))
        windows.append(_said(network, heard, summed, row))
    said, near = (_joined(parts) for parts in (whole, windows))
    shape = replace(speech.TASK.shape, labels=network.shape.labels, corpora=corpora)
    table = tabulate(prepared.examples, said, said, near, shape)
    taught = student.teacher[torch.from_numpy(rows)].numpy()
    return table.with_columns(pl.Series(f"teacher_{name}", taught[:, i]) for i, name in enumerate(DIMENSIONS))


def _said(network: SmallNetwork, learned: Tensor, fixed: Tensor, row: int) -> Predictions:
    (output,) = network.heads(learned, fixed)
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


TASK = SmallTask(speech.TASK, DistilRecipe(), SmallShape(EMOTIONS, hidden=60, channels=24, any_gain=True))
