"""What segments are learned of which clips: music by statistics of 5 s, speech by frames of 1 s.

A *way* to learn is a recipe, whether audio without labels joins, and whether some segments are exchanged, so
that it is known which labels are wrong. See `segment_study`, which compares ways.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from moodstream.models import music, speech
from moodstream.models.audio_task import Data, ready
from moodstream.models.corpora import read_corpora
from moodstream.models.examples import Example, Progress
from moodstream.models.music_fitting import SEGMENT_CELLS, SEGMENT_HOP, SEGMENTS, prepare_sums
from moodstream.models.music_network import segment_network
from moodstream.models.network import FrameEncoder, Shape
from moodstream.models.pooling import LEVEL_STATISTICS, moments
from moodstream.models.segment_views import Cuts, FrameViews, SpanViews, frames_of_clips, spans_of
from moodstream.models.self_learning import Rows, SelfRecipe

Views = SpanViews | FrameViews
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
    views: Views
    columns: list[tuple[str, int]]  # corpus and index of the label
    network: Callable[
        [Views, Rows], tuple[nn.Module, Views]
    ]  # a new one for the segments that it learns from
    alike: list[str]  # [n] segments are exchanged for others of the same: speaker, corpus
    seeds: tuple[int, ...]
    ways: dict[str, Way]

    @cached_property
    def clip(self) -> Rows:
        """[n] the example of each segment."""
        return self.views.cuts.clip

    @cached_property
    def column(self) -> Rows:
        """[n] the column of each segment's label, -1 for none."""
        labels = self.views.labels
        column: Rows = np.where(labels.sum(1).numpy() > 0, labels.argmax(1).numpy(), -1)
        return column


class FramesNetwork(nn.Module):
    """The encoder of frames of the speech model with one head."""

    def __init__(self, shape: Shape, columns: int) -> None:
        super().__init__()
        self.shape = shape
        self.encoder = FrameEncoder(shape)
        self.hidden = nn.Linear(2 * shape.channels, shape.hidden)
        self.dropout = nn.Dropout(shape.dropout)
        self.out = nn.Linear(shape.hidden, columns)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames [b, 32 n, F] to logits [b, columns]."""
        shape = self.shape
        learned = self.encoder(frames, torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device))
        gates, first, second = torch.split(learned.sum(1), [shape.gates, shape.channels, shape.channels], -1)
        weight = gates.repeat_interleave(shape.channels // shape.gates, -1).clamp(min=1e-9)
        joined = self.dropout(torch.cat(moments(weight, first, second), -1))
        out: Tensor = self.out(self.dropout(nn.functional.silu(self.hidden(joined))))
        return out


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
    values, cuts = spans_of(sounds.sums, sounds.cells, real, SEGMENT_CELLS, SEGMENT_HOP)
    columns, labels, allowed = _labels(examples, cuts, ["4qaed"])

    def network(views: Views, rows: Rows) -> tuple[nn.Module, Views]:
        learned = views.plain(rows)
        scale = 1 / learned.std(0).clamp(min=1e-3)
        scale[LEVEL_STATISTICS] = 0
        placed = ((values - learned.mean(0)) * scale).clamp(-4, 4)
        made = segment_network(values.shape[1], len(columns), HIDDEN)
        return made, replace(views, values=placed)  # type: ignore[call-arg]

    alike = [examples[i].corpus for i in cuts.clip]
    recipe = replace(SEGMENTS, judged=True, warm=10, temperature=0.7, mixing=0.3, guessed=0.5)
    views = SpanViews(values, cuts, labels, allowed)
    return Material("music", examples, views, columns, network, alike, (0, 1, 2), ways(recipe))


def _speech(data: Data | None, cache: Data | None, progress: Progress) -> Material:
    examples, prepared, shape, _ = ready(speech.TASK, data, cache=cache, progress=progress)
    heard = np.flatnonzero([example.corpus != "ravdess_song" for example in examples])
    frames, cuts = frames_of_clips(prepared, heard, 64, 32)
    columns, labels, allowed = _labels(examples, cuts, ["ravdess", "emodb", "ased"])

    def network(views: Views, rows: Rows) -> tuple[nn.Module, Views]:
        made = FramesNetwork(shape, len(columns))
        learned = views.plain(rows[:: max(len(rows) // 1000, 1)]).flatten(0, 1)
        made.encoder.center.copy_(learned.mean(0))
        made.encoder.scale.copy_(1 / learned.std(0).clamp(min=1e-3))
        return made, views

    alike = [f"{examples[i].corpus} {examples[i].group}" for i in cuts.clip]
    recipe = SelfRecipe(
        epochs=20, steps=60, ema=0.995, warm=14, temperature=0.7, mixing=0.3, guessed=0.5, believed=0.2
    )
    views = FrameViews(frames, cuts, labels, allowed, 64)
    return Material("speech", examples, views, columns, network, alike, (0,), ways(recipe))


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
