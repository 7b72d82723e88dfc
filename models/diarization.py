"""The diarization model: which emotion when, in speech that changes (`turns.TurnNetwork`).

It learns from joined recordings (`joined`) of acted speech; speakers are kept apart in the folds. RAVDESS
is joined from the four emotions that diarization is measured with (Wang et al. 2023: neutral, happiness,
sadness, anger) and from all of its eight; EMO-DB and ASED add languages.

Measured are the stretches of `paths.best_path` over out-of-fold predictions: EDER (as in
`metrics.diarization_error`: neutral is a label like any other, the denominator the whole recording without
its pauses, the mean over recordings) and boundaries within half a second. Beside it stands what knows nothing
of emotion: neutral throughout; loud cells angry, the others neutral. `same` has no boundary, so each one
found there is false.
"""

import os
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor, nn

from moodstream.models import licences
from moodstream.models.base import DIMENSIONS, EMOTIONS, HOP, RATE_HZ, STEP_MS
from moodstream.models.corpora import DataError, assign_folds, read_corpora, read_sound
from moodstream.models.examples import Example, Prepared, Progress, prepare, silent
from moodstream.models.features import LOOKAHEAD_FRAMES, RIGHT
from moodstream.models.joined import Joined, join, squeeze, trim
from moodstream.models.metrics import bootstrap, boundary_f1, diarization_error
from moodstream.models.paths import JOINED, PathCosts, best_path
from moodstream.models.pooling import quiet_cells
from moodstream.models.registry import Card
from moodstream.models.study import Calibration, Item, Measures, Rows, Study
from moodstream.models.turns import (
    FUTURE,
    PAST,
    TurnNetwork,
    TurnShape,
    channel_so_far,
    emotion_statistics,
    side_differences,
)

FOUR = ("neutral", "happiness", "sadness", "anger")
TOLERANCE_S = 0.5
CELL_S = STEP_MS / 1000
# By corpus: (name of the set, kind of recording, emotions or all, how many of each speaker).
SETS: dict[str, list[tuple[str, str, tuple[str, ...], int]]] = {
    "ravdess": [
        ("events", "events", FOUR, 10),
        ("stretches", "stretches", FOUR, 10),
        ("same", "same", FOUR, 4),
        ("eight emotions", "stretches", EMOTIONS, 8),
    ],
    "emodb": [("other corpora", "stretches", EMOTIONS, 16)],
    "ased": [("other corpora", "stretches", EMOTIONS, 3)],
}
LIMITS = [
    "learned from joined clips of acted speech: how an emotion changes within a breath it has never heard",
    "a boundary lies on the grid of half seconds",
    "English, German and Amharic only",
]
Span = tuple[float, float, str]


@dataclass(frozen=True)
class Recipe:
    """How to fit."""

    steps: int = 1200
    batch: int = 128
    rate: float = 1.5e-3  # at its peak
    decay: float = 0.1
    smoothing: float = 0.05


@dataclass(frozen=True)
class Recording:
    """A joined recording and where it belongs."""

    corpus: str
    group: str
    name: str  # of its set
    labels: tuple[str, ...]  # those it was drawn from
    joined: Joined


def recordings(
    corpora: Sequence[str], data: str | os.PathLike[str] | None, every: int = 1
) -> list[Recording]:
    """The joined recordings of every `every`th speaker."""
    made = []
    rows = read_corpora([name for name in SETS if name in corpora], data)
    for (corpus, group), mine in sorted(rows.group_by(["corpus", "group"])):
        if zlib.crc32(str(group).encode()) % every:
            continue
        clips: dict[str, list[Any]] = {}
        for row in mine.iter_rows(named=True):
            sound = trim(read_sound(row["file"], row["start_ms"], row["end_ms"], row["channel"]))
            if len(sound) >= RATE_HZ // 2:
                clips.setdefault(row["emotion"], []).append(sound)
        for name, kind, labels, count in SETS[str(corpus)]:
            chosen = {label: sounds for label, sounds in clips.items() if label in labels}
            if len(chosen) < 2:
                continue
            draw = np.random.default_rng(zlib.crc32(f"{corpus}/{group}/{name}".encode()))
            known = tuple(label for label in labels if label in set(rows.filter(corpus=corpus)["emotion"]))
            made += [
                Recording(str(corpus), str(group), name, known, join(kind, chosen, draw))
                for _ in range(count)
            ]
    return made


@dataclass(frozen=True)
class Cells:
    """All cells of all recordings, one after the other."""

    recordings: list[Recording]
    prepared: Prepared
    owner: Rows  # [n] index of the recording
    label: Rows  # [n] index into EMOTIONS, -1 in a pause
    change: Rows  # [n] 1 where the label changes, 0 where it does not, -1 too near to say

    def of(self, row: int) -> slice:
        """Where the cells of a recording are."""
        return slice(int(self.prepared.cells[row]), int(self.prepared.cells[row + 1]))


def cells_of(made: list[Recording], prepared: Prepared) -> Cells:
    """The truth about every cell."""
    owner, label, change = [], [], []
    for row, recording in enumerate(made):
        n = int(prepared.cells[row + 1] - prepared.cells[row])
        starts, joined = np.arange(n) * CELL_S, recording.joined
        mine, turn = np.full(n, -1), np.zeros(n, int)
        for start, end, name in joined.spans:
            shared = np.minimum(starts + CELL_S, end) - np.maximum(starts, start)
            mine[shared >= CELL_S / 2] = EMOTIONS.index(name)
        for start, end in joined.pauses:
            mine[(starts >= start) & (starts + CELL_S <= end)] = -1
        for (_, end, _), (start, _, _) in zip(joined.spans, joined.spans[1:], strict=False):
            turn[(starts >= end - 1.5 * CELL_S) & (starts <= start + 1.5 * CELL_S)] = -1
            turn[(starts >= end - 0.5 * CELL_S) & (starts <= start + 0.5 * CELL_S)] = 1
        owner.append(np.full(n, row))
        label.append(mine)
        change.append(turn)
    return Cells(made, prepared, *map(np.concatenate, (owner, label, change)))


def _statistics(cells: Cells, rows: Rows) -> tuple[npt.NDArray[np.int64], list[Tensor]]:
    """Indices of all cells of `rows`, and what they are judged by."""
    index, parts = [], []
    for row in rows:
        here = cells.of(int(row))
        sums = torch.from_numpy(np.array(cells.prepared.sums[here]))
        so_far = channel_so_far(sums).float()
        parts.append((*emotion_statistics(sums, so_far), *side_differences(sums)))
        index.append(np.arange(here.start, here.stop))
    return np.concatenate(index), [torch.cat(column) for column in zip(*parts, strict=True)]


def fit(cells: Cells, rows: Rows, recipe: Recipe, seed: int, progress: Progress = silent) -> TurnNetwork:
    """A network that learned from the recordings `rows`."""
    torch.manual_seed(seed)
    network = TurnNetwork(TurnShape(EMOTIONS))
    index, (near, around, channel, wide, close) = _statistics(cells, rows)
    label, turn = torch.from_numpy(cells.label[index]), torch.from_numpy(cells.change[index])
    first = torch.from_numpy(np.diff(cells.owner[index], prepend=-1) != 0)
    voiced = (label >= 0).nonzero()[:, 0]
    turns = ((turn >= 0) & ~first).nonzero()[:, 0]

    def inverse(values: Tensor) -> Tensor:
        return 1 / values.std(0).clamp(min=1e-3)

    network.center.copy_(near[voiced].mean(0))
    network.scale.copy_(inverse(near[voiced]))
    network.context_scale.copy_(inverse((near - channel)[voiced]))
    network.side_scale.copy_(torch.stack((inverse(wide[turns]), inverse(close[turns]))))

    owners = cells.owner[index]
    allowed = torch.tensor([[name in each.labels for name in EMOTIONS] for each in cells.recordings])[owners]
    places = {name: i for i, name in enumerate(dict.fromkeys(each.corpus for each in cells.recordings))}
    corpus = torch.tensor([places[each.corpus] for each in cells.recordings])[owners]
    joint = corpus * len(EMOTIONS) + label.clamp(min=0)
    count = torch.bincount(joint[voiced]).float()
    total = torch.bincount(corpus[voiced]).float()
    chance = (1 / count[joint[voiced]] * total[corpus[voiced]].sqrt()).double().numpy()
    draw = np.random.default_rng(seed)
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=recipe.rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, recipe.steps)
    size = (recipe.steps, len(network.emotion), recipe.batch)
    order = draw.choice(voiced.numpy(), size, p=chance / chance.sum())
    network.train()
    for step in range(recipe.steps):
        some = torch.from_numpy(order[step].ravel())
        inputs = network.emotion_inputs(near[some], around[some], channel[some])
        members = zip(network.emotion, torch.split(inputs, recipe.batch), strict=True)
        logits = torch.cat([member(mine) for member, mine in members])
        logits = logits.masked_fill(~allowed[some], -30.0)
        even = allowed[some].float() / allowed[some].sum(1, keepdim=True)
        aim = (1 - recipe.smoothing) * nn.functional.one_hot(
            label[some], len(EMOTIONS)
        ) + recipe.smoothing * even
        loss = -(aim * torch.log_softmax(logits, 1)).sum(1).mean() * len(network.emotion)
        other = turns[torch.from_numpy(draw.integers(0, len(turns), recipe.batch))]
        said = network.change(network.change_inputs(wide[other], close[other]))[:, 0]
        loss = loss + nn.functional.binary_cross_entropy_with_logits(said, turn[other].float())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            progress("steps", step / recipe.steps)
    return network.eval()


@torch.inference_mode()
def predict(network: TurnNetwork, cells: Cells, rows: Rows) -> pl.DataFrame:
    """One row a cell; the first row of a recording also holds its truth."""
    tables = []
    for row in rows.tolist():
        here, recording = cells.of(row), cells.recordings[row]
        sums = torch.from_numpy(np.array(cells.prepared.sums[here]))
        logits, change = network(sums, channel_so_far(sums).float())
        known = np.array([name in recording.labels for name in EMOTIONS])
        masked = np.where(known, logits.numpy().astype(np.float64), -1e4)
        n, joined = len(sums), recording.joined
        truth = [[a, b, float(EMOTIONS.index(name))] for a, b, name in joined.spans]
        unknown = np.full(n, np.nan)
        columns: dict[str, Any] = {
            "example": np.full(n, row),
            "corpus": [recording.corpus] * n,
            "group": [recording.group] * n,
            "set": [recording.name] * n,
            "telephone": [joined.telephone] * n,
            "label": cells.label[here],
            "rated": [False] * n,
            "quiet": quiet_cells(sums).numpy(),
            "level": sums[:, 0].numpy(),
            "change": np.r_[0.0, change.numpy()[1:].astype(np.float64)].round(4),
            "logits": masked.tolist(),
            "own_logits": masked.tolist(),
            "spans": [truth] + [None] * (n - 1),
            "pauses": [[list(pause) for pause in joined.pauses]] + [None] * (n - 1),
        }
        for name in DIMENSIONS:
            columns |= {f"true_{name}": unknown, name: unknown, f"{name}_std": unknown}
        schema = {"spans": pl.List(pl.List(pl.Float64)), "pauses": pl.List(pl.List(pl.Float64))}
        tables.append(pl.DataFrame(columns, schema_overrides=schema))
    return pl.concat(tables)


@dataclass(frozen=True)
class Heard:
    """What was predicted for one recording, and the truth, pauses cut out of it."""

    group: str
    name: str
    telephone: bool
    truth: list[Span]
    pauses: list[tuple[float, float]]
    cells: npt.NDArray[np.int64]  # those that are not silence
    scores: npt.NDArray[np.float64]  # [n, K], of those
    change: npt.NDArray[np.float64]
    level: npt.NDArray[np.float64]

    def spans(self, stretches: Sequence[tuple[int, int, int]]) -> list[Span]:
        """Stretches of sounding cells in seconds, pauses cut out; a gap belongs to what precedes it."""
        edges = [float(self.cells[start]) * CELL_S for start, _, _ in stretches[1:]]
        end = self.truth[-1][1] + sum(stop - start for start, stop in self.pauses)
        names = [EMOTIONS[label] for _, _, label in stretches]
        spans = squeeze(list(zip([0.0, *edges], [*edges, end], names, strict=True)), self.pauses)
        return _merged(
            [(a, min(b, self.truth[-1][1]), name) for a, b, name in spans if a < self.truth[-1][1]]
        )


def heard(table: pl.DataFrame) -> list[Heard]:
    """The recordings of a table of predictions (calibrated: with `scores`)."""
    found = []
    for rows in table.partition_by("example", maintain_order=True):
        first = rows.row(0, named=True)
        pauses = [(a, b) for a, b in first["pauses"]]
        truth = squeeze([(a, b, EMOTIONS[int(label)]) for a, b, label in first["spans"]], pauses)
        quiet = rows["quiet"].to_numpy()
        cells = np.flatnonzero(~quiet) if not quiet.all() else np.arange(len(quiet))
        change = rows["change"].to_numpy()
        bounds = zip(np.r_[0, cells[:-1] + 1], cells + 1, strict=True)
        found.append(
            Heard(
                group=first["group"],
                name=first["set"],
                telephone=first["telephone"],
                truth=_merged(truth),
                pauses=pauses,
                cells=cells,
                scores=np.array(rows["scores"].to_list())[cells],
                change=np.array([change[a:b].max() for a, b in bounds]),
                level=rows["level"].to_numpy()[cells],
            )
        )
    return found


def diarized(one: Heard, costs: PathCosts = JOINED) -> list[Span]:
    """The model's stretches."""
    return one.spans(best_path(one.scores, one.change, costs))


def neutral(one: Heard) -> list[Span]:
    """A cheat: neutral throughout."""
    return [(0.0, one.truth[-1][1], "neutral")]


def loud_is_anger(one: Heard) -> list[Span]:
    """A cheat: cells above the recording's median level are anger, the others neutral."""
    loud = one.level > np.median(one.level)
    edges = [0, *(np.flatnonzero(np.diff(loud)) + 1).tolist(), len(loud)]
    names = [EMOTIONS.index("anger" if loud[start] else "neutral") for start in edges[:-1]]
    return one.spans(list(zip(edges[:-1], edges[1:], names, strict=True)))


WAYS = {"": diarized, ", all neutral": neutral, ", loud is anger": loud_is_anger}


def measure(table: pl.DataFrame) -> Measures:
    """EDER and boundary F1 of each set of recordings, by the model and by cheats."""
    measures: Measures = {}
    every = [one for one in heard(table) if one.name != "other corpora"]
    for name in dict.fromkeys(one.name for one in every):
        chosen = [one for one in every if one.name == name]
        groups = [one.group for one in chosen]
        if len(set(groups)) < 2:
            continue
        for way, estimate in WAYS.items():
            rates, hits, said, true, minutes = score(chosen, estimate).T
            measures[f"{name} EDER{way}"] = bootstrap(_mean, groups, rates)
            if true.sum():
                measures[f"{name} boundary F1{way}"] = bootstrap(_f1, groups, hits, said, true)
            else:
                measures[f"{name}, false boundaries a minute{way}"] = bootstrap(_ratio, groups, said, minutes)
        lines = np.array([one.telephone for one in chosen])
        if len({one.group for one in chosen if one.telephone}) > 1:
            rates = score([one for one in chosen if one.telephone], diarized)[:, 0]
            measures[f"{name} EDER, by telephone"] = bootstrap(_mean, np.array(groups)[lines], rates)
    return measures


def score(chosen: Sequence[Heard], estimate: Any) -> npt.NDArray[np.float64]:
    """By recording: EDER, boundaries hit, found and true, minutes; [n, 5]."""
    rows = []
    for one in chosen:
        spans, end = estimate(one), one.truth[-1][1]
        true, found = [span[0] for span in one.truth[1:]], [span[0] for span in spans[1:]]
        hits = boundary_f1(true, found, TOLERANCE_S)[0] * len(found)
        rows.append((diarization_error(one.truth, spans, end).rate, hits, len(found), len(true), end / 60))
    return np.array(rows)


def _merged(spans: Sequence[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end, name in spans:
        if merged and merged[-1][2] == name:
            start = merged.pop()[0]
        merged.append((start, end, name))
    return merged


def _mean(values: npt.ArrayLike) -> float:
    return float(np.mean(np.asarray(values)))


def _f1(hits: npt.NDArray[Any], said: npt.NDArray[Any], true: npt.NDArray[Any]) -> float:
    return float(2 * hits.sum() / max(said.sum() + true.sum(), 1))


def _ratio(said: npt.NDArray[Any], minutes: npt.NDArray[Any]) -> float:
    return float(said.sum() / minutes.sum())


class DiarizationTask:
    """The task, as the harness sees it."""

    name = "diarization"
    corpora = tuple(SETS)
    measure = staticmethod(measure)

    def study(
        self,
        data: str | os.PathLike[str] | None,
        corpora: Sequence[str] = (),
        smoke: bool = False,
        cache: str | os.PathLike[str] | None = None,
        progress: Progress = silent,
    ) -> Study:
        """Its study, the recordings joined and their features computed.

        Raises:
            DataError: no such corpus. FileNotFoundError: no data.
        """
        if unknown := [name for name in corpora if name not in SETS]:
            raise DataError(f"corpus is {unknown[0]!r}, diarization has {', '.join(SETS)}")
        recipe = replace(Recipe(), steps=4) if smoke else Recipe()
        made = recordings(corpora or list(SETS), data, every=8 if smoke else 1)
        examples = [_example(i, one) for i, one in enumerate(made)]
        cells = cells_of(made, prepare(examples, 1, cache, 0, progress))
        return Study(
            card=_draft(list(dict.fromkeys(one.corpus for one in made))),
            items=[_item(one) for one in examples],
            settings={
                "recipe": asdict(recipe),
                "shape": TurnShape(EMOTIONS).asdict(),
                "path": asdict(JOINED),
            },
            code=("diarization", "turns", "joined"),
            assign=partial(_assign, examples),
            new=lambda: TurnNetwork(TurnShape(EMOTIONS)),
            fit=lambda rows, seed, said: fit(cells, rows, recipe, seed, said),
            predict=lambda network, rows: predict(cast(TurnNetwork, network), cells, rows),
            measure=measure,
            ship=_calibrated,
            smoke=smoke,
            kept_apart="speakers",
        )


def _calibrated(network: nn.Module, calibration: Calibration) -> nn.Module:
    with torch.no_grad():
        network.get_buffer("temperature").fill_(calibration["temperature"])
    return network


def _example(number: int, one: Recording) -> Example:
    joined = one.joined
    sizes = [size for _, _, size in joined.parts]
    made_of = zlib.crc32(repr((joined.spans, sizes, joined.seed)).encode())
    key = f"joined:{one.corpus}/{one.group}/{one.name}/{number}:{made_of}"
    return Example(key=key, sound=joined.sound, corpus=one.corpus, group=one.group)


def _assign(examples: Sequence[Example], folds: int, seed: int) -> Rows:
    rows = pl.DataFrame({"group": [one.group for one in examples], "label": [one.corpus for one in examples]})
    return assign_folds(rows, folds, seed, "label")


def _item(example: Example) -> Item:
    return Item(example.key, example.corpus, example.group)


def _draft(corpora: Sequence[str]) -> Card:
    ahead = (LOOKAHEAD_FRAMES * HOP + RIGHT - HOP) / RATE_HZ
    return Card(
        name="diarization",
        version="1.0",
        task="diarization",
        labels=list(EMOTIONS),
        dimensions=[],
        lookahead_s=round(FUTURE * CELL_S + ahead, 3),
        past_s=PAST * CELL_S,
        corpora={name: licences.of(name).stated for name in corpora},
        folds="",
        metrics={},
        seed=0,
        date="",
        limits=LIMITS,
        prior={},
        calibration={},
        licence="",
    )


TASK = DiarizationTask()
