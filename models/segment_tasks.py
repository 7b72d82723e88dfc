"""What segments are learned of which clips: statistics of 5 s of music, of 1.5 s of speech.

A *way* to learn is a recipe, whether audio without labels joins, and whether some segments are exchanged, so
that it is known which labels are wrong. See `segment_study`, which compares ways.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from moodstream.models import music, speech
from moodstream.models.audio_task import Data, ready
from moodstream.models.calibration import softmax
from moodstream.models.corpora import read_corpora
from moodstream.models.examples import Example, Prepared, Progress
from moodstream.models.fingerprint import digest
from moodstream.models.music_fitting import (
    SEGMENT_CELLS,
    SEGMENT_HOP,
    SEGMENTS,
    MusicRecipe,
    fit,
    prepare_sums,
)
from moodstream.models.music_network import all_statistics, segment_network
from moodstream.models.pooling import LEVEL_STATISTICS, statistics
from moodstream.models.segment_views import Cuts, SpanViews, spans_of
from moodstream.models.self_learning import Rows, SelfRecipe

Shares = npt.NDArray[np.float64]
KERNEL_TEMPERATURE = 1.8  # of the calibration of kernels alone
TRIM_DB = 35.0  # below the loudest cell: not part of a clip (as in `joined`)
HIDDEN = 128  # units of the network of music


@dataclass(frozen=True)
class Way:
    """One way to learn segments."""

    recipe: SelfRecipe
    unlabelled: bool = False
    exchanged: float = 0.0  # share of the segments that come from another clip


@dataclass(frozen=True)
class Material:
    """Segments of a task, and how to begin learning them."""

    task: str
    examples: Sequence[Example]
    views: SpanViews
    columns: list[tuple[str, int]]  # corpus and index of the label
    network: Callable[[SpanViews, Rows], tuple[nn.Module, SpanViews]]  # a new one, and what it is to hear
    alike: list[str]  # [n] segments are exchanged for others of the same: speaker, corpus
    seeds: tuple[int, ...]
    ways: dict[str, Way]
    alone: Callable[[Rows, Rows, int], Shares] | None  # who learned, who is asked, seed -> [asked, labels]

    @cached_property
    def clip(self) -> Rows:
        """[n] the example of each segment."""
        return self.views.cuts.clip

    @cached_property
    def fingerprint(self) -> str:
        """The hash of all segments and their labels."""
        views, cuts = self.views, self.views.cuts
        parts = (views.values, views.labels, views.allowed, cuts.clip, cuts.start, cuts.first, cuts.last)
        return digest("".join(digest(np.asarray(part).tobytes()) for part in parts))

    @cached_property
    def column(self) -> Rows:
        """[n] the column of each segment's label, -1 for none."""
        labels = self.views.labels
        column: Rows = np.where(labels.sum(1).numpy() > 0, labels.argmax(1).numpy(), -1)
        return column


def _labels(
    examples: Sequence[Example], cuts: Cuts, labelled: Sequence[str]
) -> tuple[list[tuple[str, int]], Tensor, Tensor]:
    """Columns, labels and what is allowed, [n, columns]; who has no label is of each corpus in turn."""
    seen = {(e.corpus, int(np.argmax(e.scores))) for e in examples if e.corpus in labelled and e.scores}
    columns = sorted(seen, key=lambda pair: (labelled.index(pair[0]), pair[1]))
    labels = torch.zeros(len(cuts.clip), len(columns))
    owner = np.array([labelled.index(corpus) for corpus, _ in columns])
    allowed = np.zeros(labels.shape, bool)
    for i, clip in enumerate(cuts.clip):
        example = examples[clip]
        if example.corpus in labelled and example.scores:
            labels[i, columns.index((example.corpus, int(np.argmax(example.scores))))] = 1
            allowed[i] = owner == labelled.index(example.corpus)
        else:
            allowed[i] = owner == i % len(labelled)
    return columns, labels, torch.from_numpy(allowed)


def _music(data: Data | None, cache: Data | None, progress: Progress) -> Material:
    rows = read_corpora(list(music.CORPORA), data)
    examples = music.examples(rows)  # with the rendered ones: the folds are those of the task
    sounds = prepare_sums(examples, cache, progress)
    real = np.flatnonzero([example.corpus != music.RENDERED for example in examples])
    clips = dict(zip(real.tolist(), sounds.whole(real), strict=True))
    values, cuts = spans_of(sounds.sums, clips, SEGMENT_CELLS, SEGMENT_HOP, all_statistics)
    columns, labels, allowed = _labels(examples, cuts, ["4qaed"])
    views = SpanViews(values, cuts, labels, allowed)
    truth, shape = music.labels_of(rows, music.CORPORA), music.shape_of(music.labels_of(rows, music.CORPORA))

    def alone(learned: Rows, asked: Rows, seed: int) -> Shares:
        kernel = fit(sounds, truth, learned, replace(shape, segments=0), MusicRecipe(), seed)
        logits = music.predict(kernel, sounds, asked)[0][:, 6:] / KERNEL_TEMPERATURE
        return softmax(logits)

    recipe = replace(SEGMENTS, judged=True, warm=10, temperature=0.7, mixing=0.3, guessed=0.5)
    alike = [examples[i].corpus for i in cuts.clip]
    new = partial(_placed, len(columns), LEVEL_STATISTICS)
    return Material("music", examples, views, columns, new, alike, (0, 1, 2), ways(recipe), alone)


def _speech(data: Data | None, cache: Data | None, progress: Progress) -> Material:
    examples, prepared, _, _ = ready(speech.TASK, data, cache=cache, progress=progress)
    heard = [i for i, example in enumerate(examples) if example.corpus != "ravdess_song"]
    clips = {i: _loud(prepared, i * prepared.variants) for i in heard}
    values, cuts = spans_of(prepared.sums, clips, 3, 1, statistics)
    columns, labels, allowed = _labels(examples, cuts, ["ravdess", "emodb", "ased"])
    views = SpanViews(values, cuts, labels, allowed, far=1)
    recipe = replace(SEGMENTS, steps=60, judged=True, warm=10, temperature=0.7, mixing=0.3, guessed=0.5)
    alike = [f"{examples[i].corpus} {examples[i].group}" for i in cuts.clip]
    new = partial(_placed, len(columns), [])
    return Material("speech", examples, views, columns, new, alike, (0,), ways(recipe), None)


def _placed(
    columns: int, ignored: Sequence[int], views: SpanViews, rows: Rows
) -> tuple[nn.Module, SpanViews]:
    """A new network, and the views standardised by the segments that it is to learn from."""
    learned = views.plain(rows)
    scale = 1 / learned.std(0).clamp(min=1e-3)
    scale[list(ignored)] = 0
    placed = ((views.values - learned.mean(0)) * scale).clamp(-4, 4)
    return segment_network(placed.shape[1], columns, HIDDEN), replace(views, values=placed)


def _loud(prepared: Prepared, item: int) -> tuple[int, int]:
    """The cells of an item without the silence at its ends: those far less loud than the loudest."""
    begin, end = int(prepared.cells[item]), int(prepared.cells[item + 1])
    weight = prepared.sums[begin:end, 0]
    loud = begin + np.flatnonzero(weight >= weight.max() * 10 ** (-TRIM_DB / 10 * 0.2))
    return int(loud[0]), int(loud[-1]) + 1


def ways(recipe: SelfRecipe) -> dict[str, Way]:
    """Plain training first; what others add to it, one thing after the other."""
    plain = replace(recipe, judged=False, mixing=0.0)
    return {
        "plain": Way(plain),
        "mixup": Way(replace(plain, mixing=recipe.mixing)),
        "self-learning": Way(recipe),
        "self-learning, unlabelled too": Way(recipe, unlabelled=True),
        "plain, 30 % exchanged": Way(plain, exchanged=0.3),
        "self-learning, 30 % exchanged": Way(recipe, exchanged=0.3),
    }


MATERIALS: dict[str, Callable[[Data | None, Data | None, Progress], Material]] = {
    "music": _music,
    "speech": _speech,
}
