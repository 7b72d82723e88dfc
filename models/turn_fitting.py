"""Fitting a `TurnNetwork` to joined recordings, beside a speech model that never heard their speakers.

The speech model's encoder is part of what is judged out of fold, so a fit holds both: the network that was
fitted here, and the speech model that it is to work with.
"""

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor, nn

from moodstream.models.augment import change_speed
from moodstream.models.base import CELL_FRAMES, DIMENSIONS, EMOTIONS, RATE_HZ, STEP_MS, Float
from moodstream.models.corpora import read_corpora, read_sound
from moodstream.models.examples import Prepared, Progress, silent
from moodstream.models.experts import ExpertNetwork
from moodstream.models.fitting import item_frames
from moodstream.models.inference import Encoder
from moodstream.models.joined import Clips, Joined, join, trim
from moodstream.models.pooling import quiet_cells
from moodstream.models.study import Rows
from moodstream.models.turns import (
    NEAR,
    TurnNetwork,
    TurnShape,
    channel_so_far,
    deep_view,
    emotion_statistics,
    shifted_sums,
    side_differences,
)

FOUR = ("neutral", "happiness", "sadness", "anger")
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


@dataclass(frozen=True)
class Recipe:
    """How to fit."""

    steps: int = 3000
    batch: int = 128
    rate: float = 1.5e-3  # at its peak
    decay: float = 0.1
    smoothing: float = 0.05
    mixed: float = 0.5  # chance of a batch whose cells are mixed two by two (Zhang et al. 2018)
    mixture: float = 1.0  # both parameters of the beta distribution of their shares
    takes: int = 8  # of the recordings of each speaker that is learned from; the first alone is measured
    speed: float = 0.15  # largest relative change of it in all takes but the first: as if others spoke


@dataclass(frozen=True)
class Recording:
    """A joined recording and where it belongs."""

    corpus: str
    group: str
    name: str  # of its set
    labels: tuple[str, ...]  # those it was drawn from
    joined: Joined


def recordings(
    corpora: Sequence[str],
    data: str | os.PathLike[str] | None,
    every: int = 1,
    takes: int = 1,
    speed: float = 0.0,
) -> list[Recording]:
    """The joined recordings of every `every`th speaker.

    Args:
        takes: how often, each with other chances: those of the first come first.
        speed: by how much at most a speaker is slower or faster, and lower or higher, in a later take.
    """
    made: list[list[Recording]] = [[] for _ in range(takes)]
    rows = read_corpora([name for name in SETS if name in corpora], data)
    for (corpus, group), mine in sorted(rows.group_by(["corpus", "group"])):
        if zlib.crc32(str(group).encode()) % every:
            continue
        clips: dict[str, list[Float]] = {}
        for row in mine.iter_rows(named=True):
            sound = trim(read_sound(row["file"], row["start_ms"], row["end_ms"], row["channel"]))
            if len(sound) >= RATE_HZ // 2:
                clips.setdefault(row["emotion"], []).append(sound)
        there = set(rows.filter(corpus=corpus)["emotion"])
        for take in range(takes):
            heard = _as_if_another(clips, f"{corpus}/{group}/{take}", speed) if take else clips
            for name, kind, labels, count in SETS[str(corpus)]:
                chosen = {label: sounds for label, sounds in heard.items() if label in labels}
                if len(chosen) < 2:
                    continue
                known = tuple(label for label in labels if label in there)
                what = f"{corpus}/{group}/{name}" + (f"/{take}" if take else "")
                draw = np.random.default_rng(zlib.crc32(what.encode()))
                made[take] += [
                    Recording(str(corpus), str(group), name, known, join(kind, chosen, draw))
                    for _ in range(count)
                ]
    return [one for take in made for one in take]


def _as_if_another(clips: Clips, what: str, spread: float) -> Clips:
    """The clips of a speaker at another speed, the same for all of them, by the chance that `what` names."""
    factor = 1 + np.random.default_rng(zlib.crc32(what.encode())).uniform(-spread, spread)
    return {label: [change_speed(sound, factor) for sound in sounds] for label, sounds in clips.items()}


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


class Fit(nn.Module):
    """What one fit comes to: the network, and the speech model whose encoder it is to work with."""

    def __init__(self, turns: TurnNetwork, speech: ExpertNetwork) -> None:
        super().__init__()
        self.turns, self.speech = turns, speech


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
    known = torch.tensor([[name in each.labels for name in EMOTIONS] for each in cells.recordings])[owners]
    draw = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, recipe.steps)
    size = (recipe.steps, len(network.emotion), recipe.batch)
    order = draw.choice(voiced.numpy(), size, p=_chances(cells, index, label, voiced))
    mine_at = np.arange(len(network.emotion) * recipe.batch).reshape(-1, recipe.batch)  # by member
    network.train()
    for step in range(recipe.steps):
        some = torch.from_numpy(order[step].ravel())
        inputs, allowed = network.emotion_inputs(near[some], around[some], channel[some]), known[some]
        even = allowed.float() / allowed.sum(1, keepdim=True)
        truth = nn.functional.one_hot(label[some], len(EMOTIONS))
        aim = torch.lerp(truth.float(), even, recipe.smoothing)
        if draw.random() < recipe.mixed:
            other = torch.from_numpy(draw.permuted(mine_at, axis=1).ravel())
            share = float(draw.beta(recipe.mixture, recipe.mixture))
            inputs, aim = torch.lerp(inputs[other], inputs, share), torch.lerp(aim[other], aim, share)
            allowed = allowed | allowed[other]
        members = zip(network.emotion, torch.split(inputs, recipe.batch), strict=True)
        logits = torch.cat([member(mine) for member, mine in members]).masked_fill(~allowed, -30.0)
        loss = -(aim * torch.log_softmax(logits, 1)).sum(1).mean() * len(network.emotion)
        at = turns[torch.from_numpy(draw.integers(0, len(turns), recipe.batch))]
        said = network.change(network.change_inputs(wide[at], close[at]))[:, 0]
        loss = loss + nn.functional.binary_cross_entropy_with_logits(said, turn[at].float())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            progress("steps", step / recipe.steps)
    return network.eval()


def _chances(
    cells: Cells, index: npt.NDArray[np.int64], label: Tensor, voiced: Tensor
) -> npt.NDArray[np.float64]:
    """How often each voiced cell is drawn: a corpus's labels evenly, corpora by the root of their size."""
    places = {name: i for i, name in enumerate(dict.fromkeys(each.corpus for each in cells.recordings))}
    corpus = torch.tensor([places[each.corpus] for each in cells.recordings])[cells.owner[index]]
    joint = corpus * len(EMOTIONS) + label.clamp(min=0)
    count = torch.bincount(joint[voiced]).float()
    total = torch.bincount(corpus[voiced]).float()
    chance = (1 / count[joint[voiced]] * total[corpus[voiced]].sqrt()).double().numpy()
    return np.asarray(chance / chance.sum())


@torch.inference_mode()
def predict(fitted: Fit, cells: Cells, rows: Rows) -> pl.DataFrame:
    """One row a cell; the first row of a recording also holds its truth."""
    tables = []
    encoder = Encoder(fitted.speech.encoder)
    for row in rows.tolist():
        here, recording = cells.of(row), cells.recordings[row]
        sums = torch.from_numpy(np.array(cells.prepared.sums[here]))
        deep = _deep(fitted.speech, encoder, cells, row, sums)
        logits, change = fitted.turns(sums, channel_so_far(sums).float(), deep=deep)
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


def _deep(speech: ExpertNetwork, encoder: Encoder, cells: Cells, row: int, sums: Tensor) -> Tensor:
    """What the speech model's encoder says of the cells of a recording, [n, K]."""
    frames = torch.from_numpy(item_frames(cells.prepared, row))
    padded = nn.functional.pad(frames, (0, 0, 0, len(sums) * CELL_FRAMES - len(frames)))
    memory = [part[None] for part in encoder.start()]
    (learned,), _ = encoder.push(memory, padded[None], sums[None], True, len(frames))
    return deep_view(speech, shifted_sums(learned, *NEAR))
