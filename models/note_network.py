"""The network over windows of notes: kernels over statistics, two levels, three heads.

Conventions: statistics [n, N_STATISTICS] of `note_statistics`, of three windows around each cell: `LONG` says
what piece this is, `NEAR` and `FAR` what goes on just now, for listeners who take some seconds to answer.
First the quadrant is judged, from clips with quadrants; then the *level* of valence and arousal, from rated
bars and from what the quadrants say; then the *movement* around it, linear in how the shorter windows differ
from the long one, so that it is zero where nothing differs. Each is a sum over remembered examples, weighted
by likeness (Gaussian kernel), so a fit has a closed form (`symbolic_fitting`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from moodstream.models.base import QUADRANTS
from moodstream.models.note_statistics import N_STATISTICS

LONG, NEAR, FAR = (240, 16), (24, 0), (48, -4)  # cells before and after the one that is judged
N_DIMENSIONS = 2  # valence, arousal
FLOOR = 0.02  # of a quadrant's score, which is about 0 to 1, before it becomes a logit
SPREAD = 4.0  # deviations from the mean beyond which a statistic says nothing more


@dataclass(frozen=True)
class NoteShape:
    """What fixes the sizes of the network; stored in the model card."""

    projected: int = 0  # dimensions of a window
    clips: int = 0  # remembered examples with quadrants
    bars: int = 0  # remembered examples with ratings

    def asdict(self) -> dict[str, Any]:
        return asdict(self)


class Likeness(nn.Module):
    """A sum over remembered examples, weighted by likeness: [n, k] -> [n, outputs]."""

    examples: Tensor
    weights: Tensor
    mean: Tensor
    narrowness: Tensor

    def __init__(self, examples: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("examples", torch.zeros(examples, inputs))
        self.register_buffer("weights", torch.zeros(examples, outputs))
        self.register_buffer("mean", torch.zeros(outputs))
        self.register_buffer("narrowness", torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        squares = x.square().sum(1, keepdim=True) + self.examples.square().sum(1)
        distance = (squares - 2 * x @ self.examples.T).clamp(min=0)
        return self.mean + torch.exp(-self.narrowness * distance) @ self.weights


class NoteNetwork(nn.Module):
    """Windows of notes to estimates."""

    center: Tensor
    scale: Tensor
    projection: Tensor
    judged_scale: Tensor
    movement: Tensor
    temperature: Tensor
    std_scale: Tensor

    def __init__(self, shape: NoteShape) -> None:
        super().__init__()
        self._make(shape)

    def _make(self, shape: NoteShape) -> None:
        self.shape = shape
        d, k = shape.projected, len(QUADRANTS)
        self.register_buffer("center", torch.zeros(N_STATISTICS))
        self.register_buffer("scale", torch.ones(N_STATISTICS))  # one over the deviation
        self.register_buffer("projection", torch.zeros(N_STATISTICS, d))
        self.quadrants = Likeness(shape.clips, d, k)
        self.register_buffer("judged_scale", torch.ones(k))  # of the quadrants' scores as inputs
        self.levels = Likeness(shape.bars, 2 * (d + k), 2 * N_DIMENSIONS)
        self.register_buffer("movement", torch.zeros(2 * d, N_DIMENSIONS))
        self.register_buffer("temperature", torch.ones(1))  # logits are divided by it
        self.register_buffer("std_scale", torch.ones(N_DIMENSIONS))  # deviations are multiplied by it

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As in torch, and sizes come with what is loaded: how much is remembered depends on the data."""
        self._make(
            NoteShape(
                projected=state_dict["projection"].shape[1],
                clips=len(state_dict["quadrants.examples"]),
                bars=len(state_dict["levels.examples"]),
            )
        )
        return super().load_state_dict(state_dict, *args, **kwargs)

    def project(self, statistics: Tensor) -> Tensor:
        """[n, N_STATISTICS] -> [n, projected]."""
        return ((statistics - self.center) * self.scale).clamp(-SPREAD, SPREAD) @ self.projection

    def described(self, *windows: Tensor) -> Tensor:
        """Projected windows [n, d], each with its quadrants beside it."""
        parts = []
        for z in windows:
            parts += [z, (self.quadrants(z) - self.quadrants.mean) * self.judged_scale]
        return torch.cat(parts, 1)

    def forward(self, long: Tensor, near: Tensor, far: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean [n, 2], deviation [n, 2] and scores [n, 4] of cells, from the statistics of their windows."""
        long, near, far = self.project(long), self.project(near), self.project(far)
        scores = torch.softmax(self.quadrants(long).clamp(min=FLOOR).log() / self.temperature, 1)
        said = self.levels(self.described(long, near))
        level, log_std = said[:, :N_DIMENSIONS], said[:, N_DIMENSIONS:]
        moved = torch.cat((near - long, far - long), 1) @ self.movement
        return level + moved, log_std.clamp(-4, 1).exp() * self.std_scale, scores
