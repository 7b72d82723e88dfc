"""The network of the music model: kernel regression on the statistics of a window, for labels of every kind.

A few hundred songs are too few for layers to learn what to listen for; likeness to each of them, over fixed
statistics (`pooling`, `harmony`), does better. Songs stay in the weights as *landmarks*; every kind of label
(place on the plane, quadrant, moods) has its own pull of each landmark, found by ridge regression on the
examples that have such labels. Rendered piano sounds like nothing recorded, and what is loud or soft in it is
meant so: it has landmarks of its own, and a gate on the same statistics says how much they count.

Beside the kernel of recordings stands a small network that learned quadrants from *segments* of 5 s with the
labels of their clips (`self_learning`): with every clip in many pieces there are enough for a layer, and the
two err apart.

Conventions: `fixed` are summed cells [..., pooling.N_SUMS + harmony.N_SUMS]; valence, arousal, dominance as
everywhere, dominance unknown. Source: Nyström approximation, Williams and Seeger (2001), eq. 10.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from moodstream.models import harmony, pooling
from moodstream.models.network import Output

N_FIXED = pooling.N_SUMS + harmony.N_SUMS
N_ALL = pooling.N_STATISTICS + harmony.N_STATISTICS
SHARPNESS = 8.0  # logits for each unit of a regressed indicator, before calibration
_N = 2  # dimensions: valence and arousal


@dataclass(frozen=True)
class MusicShape:
    """Everything that fixes the layers; stored in the model card."""

    labels: tuple[str, ...]
    moods: tuple[str, ...]
    mood_shares: tuple[float, ...] = ()  # of listeners, the mean over the songs: what is usual
    recorded: int = 613  # landmarks among recordings
    rendered: int = 600  # and among renders
    segments: int = 0  # hidden units of the network of segments; 0: none
    past_cells: int = 11  # the window of a cell in a curve
    future_cells: int = 2

    def asdict(self) -> dict[str, Any]:
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "MusicShape":
        restored: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
        return cls(**restored)


class KernelHead(nn.Module):
    """Numbers [n, k] of windows by their likeness to landmarks."""

    def __init__(self, landmarks: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(N_ALL))
        self.register_buffer("scale", torch.ones(N_ALL))
        self.register_buffer("weight", torch.ones(N_ALL))
        self.register_buffer("landmarks", torch.zeros(landmarks, N_ALL))
        self.register_buffer("pull", torch.zeros(landmarks + 1, outputs))
        self.center: Tensor
        self.scale: Tensor
        self.weight: Tensor  # of each statistic in the distance
        self.landmarks: Tensor
        self.pull: Tensor  # the last row is the bias

    def place(self, values: Tensor) -> Tensor:
        """Statistics [n, N_ALL] as points whose distances count; bounded lest the unheard-of explode."""
        return ((values - self.center) * self.scale).clamp(-4, 4) * self.weight

    def forward(self, values: Tensor) -> Tensor:
        """Outputs of statistics [n, N_ALL]."""
        return likeness(self.place(values), self.landmarks) @ self.pull[:-1] + self.pull[-1]


class MusicNetwork(nn.Module):
    """Sums of a window to place, quadrant and moods."""

    encoder = None  # nothing is learned frame by frame

    def __init__(self, shape: MusicShape) -> None:
        super().__init__()
        self.shape = shape
        outputs = 2 * _N + len(shape.labels)
        self.recorded = KernelHead(shape.recorded, outputs + len(shape.moods))
        self.rendered = KernelHead(shape.rendered, outputs)
        if shape.segments:
            self.segments = segment_network(N_ALL, len(shape.labels), shape.segments).requires_grad_(False)
            self.register_buffer("segment_share", torch.zeros(1))
        self.segment_share: Tensor  # of its logits, beside those of the kernel, before calibration
        for name, value in (
            ("gate", torch.zeros(N_ALL + 1)),  # logit that a sound is rendered, the last one the bias
            ("temperature", torch.ones(1)),
            ("std_scale", torch.ones(3)),
            ("known", torch.tensor([1.0, 1.0, 0.0])),
        ):
            self.register_buffer(name, value)
        self.gate: Tensor
        self.temperature: Tensor  # calibration: logits are divided by it
        self.std_scale: Tensor  # calibration: deviations are multiplied by it
        self.known: Tensor  # [3] 1 where the task has this dimension

    def heads(self, learned: Tensor, fixed: Tensor) -> list[Output]:
        """Calibrated output of windows by their sums [n, N_FIXED]; of learned ones it needs none, [n, 0]."""
        return [self.told(fixed)[0]]

    def told(self, fixed: Tensor) -> tuple[Output, Tensor]:
        """What `heads` and `moods` say, at once."""
        values = all_statistics(fixed)
        heard, size = self.heard(values), self.rendered.pull.shape[1]
        said = torch.lerp(heard[:, :size], self.rendered(values), self.share(values))
        return self.output(said), heard[:, size:].clamp(0, 1)

    def heard(self, values: Tensor) -> Tensor:
        """Outputs of what was learned from recordings, the moods last, by statistics [n, N_ALL]."""
        said = self.recorded(values)
        if not self.shape.segments:
            return said
        first, last = 2 * _N, 2 * _N + len(self.shape.labels)
        more = self.segment_share / SHARPNESS * self.segments(self.segment_place(values))
        return torch.cat((said[:, :first], said[:, first:last] + more, said[:, last:]), 1)

    def segment_place(self, values: Tensor) -> Tensor:
        """Statistics [n, N_ALL] as the network of segments takes them."""
        head = self.recorded
        return ((values - head.center) * head.scale).clamp(-4, 4) * (head.weight > 0)

    def output(self, said: Tensor) -> Output:
        """Outputs [n, 4 + labels] of a head as mean, log deviation and logits, calibrated."""
        none = torch.zeros(len(said), 1)
        mean = torch.cat((said[:, :_N].clamp(-1, 1), none), 1)
        log_std = torch.cat((said[:, _N : 2 * _N].clamp(-4, 1), none), 1) + self.std_scale.log()
        return Output(mean, log_std, SHARPNESS * said[:, 2 * _N :] / self.temperature)

    def moods(self, fixed: Tensor) -> Tensor:
        """Share of listeners, 0..1, that would feel each mood, [n, moods], in windows by their sums."""
        return self.told(fixed)[1]

    def share(self, values: Tensor) -> Tensor:
        """How much the rendered landmarks count, [n, 1] in 0..1, by statistics [n, N_ALL]."""
        head = self.recorded
        z = ((values - head.center) * head.scale).clamp(-4, 4)
        return torch.sigmoid(z @ self.gate[:-1] + self.gate[-1])[:, None]


def segment_network(inputs: int, labels: int, hidden: int) -> nn.Sequential:
    """Standardised statistics [n, inputs] of segments to logits [n, labels]."""
    layers = (nn.Linear(inputs, hidden), nn.SiLU(), nn.Dropout(0.3), nn.Linear(hidden, labels))
    return nn.Sequential(nn.Dropout(0.2), *layers)


def all_statistics(fixed: Tensor) -> Tensor:
    """Statistics [..., N_ALL] of summed cells [..., N_FIXED]."""
    parts = torch.split(fixed, [pooling.N_SUMS, harmony.N_SUMS], -1)
    return torch.cat((pooling.statistics(parts[0]), harmony.harmony_statistics(parts[1])), -1)


def likeness(points: Tensor, others: Tensor) -> Tensor:
    """Gaussian kernel [n, m] of points [n, d] and [m, d]."""
    distance = torch.linalg.vector_norm(others, dim=1).square() - 2 * points @ others.T
    distance += torch.linalg.vector_norm(points, dim=1, keepdim=True).square()
    return torch.exp(-distance.clamp(min=0))
