"""A small network that listens for turns: the emotion of each cell by itself, and whether it changes there.

A curve's estimate hears seconds around its cell, which is right for a level and wrong for a boundary. Here a
cell is judged by a second and a half, beside the seven cells around it and by how both differ from all that
was heard of the channel so far (the speaker, the line); a change by how the two seconds before differ from
those after. All come from the sums of cells that the front end keeps anyway. Where the speech model's encoder
runs too, what it makes of the same second and a half (`deep_view`) is averaged in, in the log domain: one has
learned from joined speech and statistics, the other from whole clips and frames, so the two err apart.

Conventions: sums of cells [n, N_SUMS] (see pooling); cells beyond either end count nothing; the sums of a
channel so far, [n, N_SUMS], reach as far ahead as a cell's window does. Change is in log-odds, 0 at the first
cell. The labels are those of the speech model, in its order.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from moodstream.models.experts import ExpertNetwork
from moodstream.models.pooling import N_STATISTICS, N_SUMS, statistics

PAST, FUTURE = 4, 3  # cells before and after a cell that anything here looks at, besides the channel so far
NEAR, AROUND = (-1, 1), (-3, 3)  # what the emotion of a cell is judged by
SIDES = (((-4, -1), (0, 3)), ((-2, -1), (0, 1)))  # what is compared for a change


@dataclass(frozen=True)
class TurnShape:
    """Everything that fixes the layers; stored in the model card."""

    labels: tuple[str, ...]
    hidden: int = 96
    members: int = 3  # networks for the emotion that are averaged
    change_hidden: int = 64
    dropout: float = 0.3
    change_dropout: float = 0.5
    deep_share: float = 0.35  # of the speech model's encoder in what is said of an emotion

    def asdict(self) -> dict[str, Any]:
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def of(cls, values: dict[str, Any]) -> "TurnShape":
        restored: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
        return cls(**restored)


def _mlp(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Dropout(dropout / 2),
        nn.Linear(inputs, hidden),
        nn.SiLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, outputs),
    )


class TurnNetwork(nn.Module):
    """Emotion of cells and changes between them, from sums."""

    def __init__(self, shape: TurnShape) -> None:
        super().__init__()
        self.shape = shape
        self.emotion = nn.ModuleList(
            _mlp(4 * N_STATISTICS, shape.hidden, len(shape.labels), shape.dropout)
            for _ in range(shape.members)
        )
        self.change = _mlp(4 * N_STATISTICS, shape.change_hidden, 1, shape.change_dropout)
        self.register_buffer("center", torch.zeros(N_STATISTICS))
        for name, rows in (("scale", 1), ("context_scale", 1), ("side_scale", 2)):
            self.register_buffer(name, torch.ones(rows, N_STATISTICS))
        self.register_buffer("temperature", torch.ones(1))
        self.center: Tensor
        self.scale: Tensor
        self.context_scale: Tensor  # of differences to the channel
        self.side_scale: Tensor  # of differences between two sides
        self.temperature: Tensor  # calibration: logits are divided by it

    def forward(self, sums: Tensor, so_far: Tensor, deep: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits [n, K] and log-odds of a change [n] from sums [n, N_SUMS] and those of the channel.

        Args:
            deep: what the speech model's encoder says of the cells, see `deep_view`.
        """
        inputs = self.emotion_inputs(*emotion_statistics(sums, so_far))
        change = self.change(self.change_inputs(*side_differences(sums)))[:, 0]
        return self.logits(inputs, deep), change

    def logits(self, inputs: Tensor, deep: Tensor | None = None) -> Tensor:
        """Calibrated logits [n, K] by `emotion_inputs` and, where that is known, `deep_view` [n, K]."""
        said = torch.stack([torch.log_softmax(member(inputs), 1) for member in self.emotion]).mean(0)
        if deep is not None:
            said = torch.lerp(said, deep, self.shape.deep_share)
        return said / self.temperature

    def emotion_inputs(self, near: Tensor, around: Tensor, channel: Tensor) -> Tensor:
        """What the emotion is read from, [n, 4 N_STATISTICS]."""
        parts = (
            (near - self.center) * self.scale,
            (around - self.center) * self.scale,
            (near - channel) * self.context_scale,
            (around - channel) * self.context_scale,
        )
        return torch.cat([part.clamp(-4, 4) for part in parts], 1)

    def change_inputs(self, wide: Tensor, close: Tensor) -> Tensor:
        """What a change is read from, [n, 4 N_STATISTICS]."""
        wide = (wide * self.side_scale[0]).clamp(-4, 4)
        close = (close * self.side_scale[1]).clamp(-4, 4)
        return torch.cat((wide, wide.abs(), close, close.abs()), 1)


def deep_view(speech: ExpertNetwork, learned: Tensor) -> Tensor:
    """What the speech model's shared deep view says of windows, [n, K] log-probabilities.

    Args:
        learned: its learned sums [n, gates + 2 c] of a cell and its neighbours, as `emotion_statistics`.
    """
    return torch.log_softmax(speech.views(speech.embed(learned)).logits[:, 0], 1)


def emotion_statistics(sums: Tensor, so_far: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Statistics [n, N_STATISTICS] of a cell with its neighbours, of the seven around it, of its channel."""
    near, around = _statistics(sums, (NEAR, AROUND))
    return near, around, statistics(so_far)


def side_differences(sums: Tensor) -> tuple[Tensor, Tensor]:
    """How statistics differ after a cell's start from before it, [n, N_STATISTICS], far and near."""
    before, after, close_before, close_after = _statistics(sums, [span for side in SIDES for span in side])
    return after - before, close_after - close_before


def _statistics(sums: Tensor, spans: Sequence[tuple[int, int]]) -> Tensor:
    """Statistics [spans, n, N_STATISTICS] of several spans of cells around each cell."""
    return statistics(torch.stack([shifted_sums(sums, *span) for span in spans]))


def shifted_sums(sums: Tensor, first: int, last: int) -> Tensor:
    """The sum of cells `i + first` to `i + last` for each cell `i`, [n, m]; always added in one order."""
    n = len(sums)
    padded = nn.functional.pad(sums, (0, 0, max(-first, 0), max(last, 0)))
    start = first + max(-first, 0)
    total = padded[start : start + n].clone()
    for shift in range(1, last - first + 1):
        total += padded[start + shift : start + shift + n]
    return total


def channel_so_far(sums: Tensor, before: Tensor | None = None) -> Tensor:
    """Sums of a channel up to `FUTURE` cells after each cell, [n, N_SUMS] in double precision.

    Args:
        sums: [n, N_SUMS], what is held. before: [N_SUMS], everything before that; nothing when None.
    """
    start = torch.zeros(N_SUMS, dtype=torch.float64) if before is None else before
    running = torch.cat((start[None], sums.double())).cumsum(0)[1:]
    ahead = torch.arange(len(sums)).add(FUTURE).clamp(max=max(len(sums) - 1, 0))
    return running[ahead]
