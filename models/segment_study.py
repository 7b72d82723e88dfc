"""Does self-learning help? Segments learned in several ways, out of fold, paired with plain training.

Every way has the same network, steps, seed and folds, and as many segments a step; all that differs is what
`self_learning.SelfRecipe` says and whether audio without labels joins. Music: quadrants of 4QAED by spans of
5 s, unlabelled are Emotify and emoMusic; speech: emotion words of RAVDESS, EmoDB and ASED by 1 s, unlabelled
are TAVA and URDU. A clip is judged by the mean of what is said about its segments.

Where a segment's own label is unknown, nobody can say whether judgements are right. So some ways are measured
on clips a share of whose segments, in training only, was exchanged for segments of other clips of the same
artist or speaker: these have known wrong labels, and the segments that are asked about have none exchanged.

Conventions: `Outcome.shares` [segments, columns], a column for every word of every labelled corpus; folds and
seeds are those of the task that ships, so its out-of-fold predictions can be joined with those made here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from moodstream.models import registry
from moodstream.models.audio_task import Data, fold_examples
from moodstream.models.corpora import DataError
from moodstream.models.examples import Progress, cache_folder, silent
from moodstream.models.fingerprint import code_hash, digest
from moodstream.models.harness import PREDICTIONS, Course
from moodstream.models.metrics import accuracy, auroc, bootstrap, paired_bootstrap, uar
from moodstream.models.segment_tasks import MATERIALS, Material, Way
from moodstream.models.segment_views import swapped
from moodstream.models.self_learning import Rows, by_clip, fit_segments, predict_segments
from moodstream.models.study import Measures

EXPONENTS = np.linspace(0, 2, 9)  # of these networks beside what ships
Shares = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """What was said out of fold about the labelled segments, all seeds one after the other."""

    segment: Rows  # [n]
    seed: Rows
    fold: Rows
    shares: Shares  # [n, columns]
    chance: npt.NDArray[np.float64]  # [m] that the labels learned from were judged to be right with
    right: npt.NDArray[np.bool_]  # [m] whether they are: the segment was not exchanged


def self_learning(
    task: str,
    data: Data | None,
    *,
    ways: Sequence[str] = (),
    folds: int = 5,
    smoke: bool = False,
    cache: Data | None = None,
    progress: Progress = silent,
) -> Measures:
    """Measures of every way, and how much higher they are than those of plain training.

    Args:
        task: "music" or "speech". ways: these alone, all when empty.
        smoke: one seed, two folds, two epochs. progress: told what is being done.

    Raises:
        DataError: no such task or way. FileNotFoundError: no data.
    """
    if task not in MATERIALS:
        raise DataError(f"task is {task!r}, self-learning is measured for {', '.join(MATERIALS)}")
    material = MATERIALS[task](data, cache, progress)
    if unknown := [name for name in ways if name not in material.ways]:
        raise DataError(f"way is {unknown[0]!r}, known are {', '.join(material.ways)}")
    chosen = {name: way for name, way in material.ways.items() if name in (ways or material.ways)}
    if smoke:
        folds, material = 2, replace(material, seeds=material.seeds[:1])
        chosen = {
            name: replace(way, recipe=replace(way.recipe, epochs=2, steps=2, warm=1))
            for name, way in chosen.items()
        }
    course = Course(progress, len(chosen) * len(material.seeds) * folds)
    found = {name: outcome(material, way, name, folds, cache, course) for name, way in chosen.items()}
    return measure(material, found) | joined_measures(material, found)


def outcome(
    material: Material, way: Way, name: str, folds: int, cache: Data | None, course: Course
) -> Outcome:
    """What one way comes to, every fit being kept in the cache."""
    parts: list[Outcome] = []
    for seed in material.seeds:
        fold_of = fold_examples(material.examples, folds, seed)[material.clip]
        for fold in range(folds):
            said = course.stage(f"{name}, seed {seed}, fold {fold + 1}")
            parts.append(_fold(material, way, seed, fold, fold_of, cache, said))
            course.finish()
    return Outcome(
        np.concatenate([part.segment for part in parts]),
        np.concatenate([part.seed for part in parts]),
        np.concatenate([part.fold for part in parts]),
        np.concatenate([part.shares for part in parts]),
        np.concatenate([part.chance for part in parts]),
        np.concatenate([part.right for part in parts]),
    )


def _fold(
    material: Material, way: Way, seed: int, fold: int, fold_of: Rows, cache: Data | None, progress: Progress
) -> Outcome:
    has = material.column >= 0
    rows = np.flatnonzero((fold_of != fold) & (has | way.unlabelled))
    asked = np.flatnonzero((fold_of == fold) & has)
    views, truth = material.views, np.arange(len(has))
    if way.exchanged:
        cuts, truth = swapped(views.cuts, views.labels, material.alike, way.exchanged, seed)
        views = replace(views, cuts=cuts)
    torch.manual_seed(seed)
    network, views = material.network(views, rows)
    code = code_hash(["self_learning", "segment_views"])
    content = [code, material.fingerprint, str(network), asdict(way), seed, fold, fold_of.tolist()]
    path = cache_folder(cache) / "segments" / f"{material.task}-{digest(content)}.npz"
    if not path.is_file():
        learned, chance = fit_segments(network, views, rows, way.recipe, seed, progress)
        shares = predict_segments(learned, replace(views, cuts=material.views.cuts), asked)
        labelled = material.column[rows] >= 0
        right = (truth == np.arange(len(truth)))[rows][labelled]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".part").open("wb") as file:
            np.savez(file, shares=shares, chance=chance[labelled], right=right)
        path.with_suffix(".part").rename(path)
    kept = np.load(path)
    size = np.ones(len(asked), np.int64)
    return Outcome(asked, seed * size, fold * size, kept["shares"], kept["chance"], kept["right"])


def measure(material: Material, found: Mapping[str, Outcome]) -> Measures:
    """Accuracy (music) or UAR (speech) of clips and of segments, and what each way gains.

    The gain is on the first way that learned from the same segments, with none or as many exchanged.
    """
    measures: Measures = {}
    share = {name: material.ways[name].exchanged for name in found}
    first = {name: next(other for other in found if share[other] == share[name]) for name in found}
    score = accuracy if material.task == "music" else uar
    word = "accuracy" if material.task == "music" else "UAR"
    for corpus in dict.fromkeys(corpus for corpus, _ in material.columns):
        for what, table in (("clips", clips_of), ("segments", segments_of)):
            tables = {name: table(material, one, corpus) for name, one in found.items()}
            for name, mine in tables.items():
                plain = tables[first[name]]
                title = f"{corpus} {word} of {what}, {name}"
                measures[title] = bootstrap(score, mine.groups, mine.label, mine.guess)
                if name != first[name]:
                    gain = paired_bootstrap(score, mine.groups, mine.label, plain.guess, mine.guess)
                    measures[f"{title}, gain"] = gain
    for name, one in found.items():
        if 0 < one.right.mean() < 1 and np.ptp(one.chance) > 0:
            groups = np.arange(len(one.chance)) % 50  # which segments were exchanged is chance
            title = f"exchanged segments found, AUROC, {name}"
            measures[title] = bootstrap(auroc, groups, one.right, one.chance)
    return measures


def joined_measures(material: Material, found: Mapping[str, Outcome]) -> Measures:
    """What ships, and what it gains by a geometric mean, its exponent found on the other folds.

    What ships is the installed model out of fold; of music, the kernels that it has beside segments.
    """
    measures: Measures = {}
    score = accuracy if material.task == "music" else uar
    some = {name: one for name, one in found.items() if not material.ways[name].exchanged}
    for corpus in dict.fromkeys(corpus for corpus, _ in material.columns):
        tables = {name: clips_of(material, one, corpus) for name, one in some.items()}
        asked = next(iter(tables.values()))
        ships = shipped(material, asked) if material.alone is None else kernels(material, asked)
        if ships is None:
            continue
        alone = asked.index[ships.argmax(1)]
        measures[f"{corpus} as shipped"] = bootstrap(score, asked.groups, asked.label, alone)
        for name, mine in tables.items():
            both = pooled(ships, mine)
            measures[f"{corpus} shipped joined with {name}"] = bootstrap(score, mine.groups, mine.label, both)
            gain = paired_bootstrap(score, mine.groups, mine.label, alone, both)
            measures[f"{corpus} shipped joined with {name}, gain"] = gain
    return measures


@dataclass(frozen=True)
class Table:
    """Clips or segments of one corpus, out of fold."""

    example: Rows
    seed: Rows
    fold: Rows
    groups: npt.NDArray[np.str_]
    label: Rows  # index of the task's label
    shares: Shares  # [n, labels of the corpus]
    index: Rows  # [labels of the corpus] of the task's labels

    @property
    def guess(self) -> Rows:
        """[n] the likeliest label."""
        return self.index[self.shares.argmax(1)]


def segments_of(material: Material, one: Outcome, corpus: str) -> Table:
    """The segments of one corpus."""
    wanted = [i for i, (name, _) in enumerate(material.columns) if name == corpus]
    index = np.array([material.columns[i][1] for i in wanted])
    mine = np.isin(material.column[one.segment], wanted)
    segment = one.segment[mine]
    example = material.clip[segment]
    groups = np.array([material.examples[i].group for i in example])
    label = np.array([material.columns[c][1] for c in material.column[segment]])
    return Table(example, one.seed[mine], one.fold[mine], groups, label, one.shares[mine][:, wanted], index)


def clips_of(material: Material, one: Outcome, corpus: str) -> Table:
    """The clips of one corpus, by the means of their segments."""
    table = segments_of(material, one, corpus)
    who, shares = by_clip(
        table.shares.astype(np.float32), table.seed * len(material.examples) + table.example
    )
    first = np.unique(table.seed * len(material.examples) + table.example, return_index=True)[1]
    return replace(
        table,
        example=who % len(material.examples),
        shares=shares,
        **{name: getattr(table, name)[first] for name in ("seed", "fold", "groups", "label")},
    )


def shipped(material: Material, asked: Table) -> Shares | None:
    """What the installed model said of these clips; None if it is not there or has other folds."""
    path = registry.FOLDER / material.task / PREDICTIONS
    if not path.is_file():
        return None
    stored = pl.read_parquet(path)
    column = "own_scores" if "own_scores" in stored.columns else "scores"
    wanted = pl.DataFrame({"example": asked.example, "seed": asked.seed, "at": range(len(asked.seed))})
    kinds = [pl.col(name).cast(pl.Int64) for name in ("example", "seed", "fold")]
    rows = wanted.join(stored.with_columns(kinds), on=["example", "seed"], how="left").sort("at")
    if rows["fold"].null_count() or (rows["fold"].to_numpy() != asked.fold).any():
        return None
    scores: Shares = np.array(rows[column].to_list())[:, asked.index]
    return scores


def kernels(material: Material, asked: Table) -> Shares:
    """What a model without segments says of these clips, fitted to the other folds of each."""
    said = np.zeros(asked.shares.shape)
    if material.alone is not None:
        for seed in np.unique(asked.seed):
            fold_of = fold_examples(material.examples, int(asked.fold.max()) + 1, int(seed))
            for fold in np.unique(asked.fold):
                mine = (asked.seed == seed) & (asked.fold == fold)
                learned = np.flatnonzero(fold_of != fold)
                said[mine] = material.alone(learned, asked.example[mine], int(seed))[:, asked.index]
    return said


def pooled(ships: Shares, mine: Table) -> Rows:
    """Labels [n] by both, in every fold with the exponent that fits the other folds of its seed best."""
    guess = np.zeros(len(mine.label), np.int64)
    truth = (mine.label[:, None] == mine.index).argmax(1)
    logs = [np.log(part + 1e-6) for part in (ships, mine.shares)]
    for seed in np.unique(mine.seed):
        for fold in np.unique(mine.fold):
            here = (mine.seed == seed) & (mine.fold == fold)
            others = np.flatnonzero((mine.seed == seed) & ~here)
            losses = []
            for exponent in EXPONENTS:
                said = logs[0][others] + exponent * logs[1][others]
                said -= np.log(np.exp(said).sum(1, keepdims=True))
                losses.append(-said[np.arange(len(others)), truth[others]].mean())
            best = EXPONENTS[int(np.argmin(losses))]
            guess[here] = mine.index[(logs[0][here] + best * logs[1][here]).argmax(1)]
    return guess
