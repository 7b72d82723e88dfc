"""The small student: speech valence, arousal, dominance and emotions, in less than sixty thousand bytes.

Two layers over the statistics of a window (pooling.statistics) and over what an encoder of frames hears, a
sixth of the size of the speech model's. Weights are stored as int8 with a step for each row (`Packed`), under
SIZE bytes, and unpacked to float32 when they are loaded: at this size the processor gains nothing from eight
bits, the disk and the wire do. How it learns: `distil`. Source: Wagner et al. (2024), Wav2Small, arXiv
2408.13920.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from moodstream.models import registry
from moodstream.models.base import DIMENSIONS
from moodstream.models.network import FrameEncoder, Output, Shape
from moodstream.models.pooling import N_STATISTICS, louder, moments, statistics

PARAMETERS, SIZE = 72_000, 60_000  # at most so many weights, and bytes on disk
_N = len(DIMENSIONS)


@dataclass(frozen=True)
class SmallShape:
    """Everything that fixes the layers; stored in the model card."""

    labels: tuple[str, ...]
    hidden: int = 96
    past_cells: int = 4  # the window of a cell in a curve
    future_cells: int = 3
    channels: int = 0  # of the encoder of frames; 0: there is none
    dilations: tuple[int, ...] = (1, 2, 4)
    gates: int = 4
    stride: int = 4
    centre: float = 0.8
    centre_past: int = 7
    centre_future: int = 1
    any_gain: bool = False  # statistics are freed of the gain of the recording, as the teacher's are

    def asdict(self) -> dict[str, Any]:
        return asdict(self) | {"labels": list(self.labels), "dilations": list(self.dilations)}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "SmallShape":
        restored: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
        return cls(**restored)

    @property
    def encoder(self) -> Shape:
        """The shape of the encoder of frames."""
        own = {field.name for field in fields(self)} - {"hidden", "any_gain"}
        return Shape(dropout=0.0, **{name: getattr(self, name) for name in own})

    @property
    def reach(self) -> int:
        """Frames beyond a cell, on either side, that its embeddings depend on, centring apart."""
        return self.encoder.reach


class SmallNetwork(nn.Module):
    """Statistics and embeddings of a window to what the speech model's head says."""

    def __init__(self, shape: SmallShape) -> None:
        super().__init__()
        self.shape = shape
        self.encoder = FrameEncoder(shape.encoder) if shape.channels else None
        self.first = nn.Linear(N_STATISTICS + 2 * shape.channels, shape.hidden)
        self.second = nn.Linear(shape.hidden, 2 * _N + len(shape.labels))
        for name, value in (
            ("center", torch.zeros(N_STATISTICS)),
            ("scale", torch.ones(N_STATISTICS)),
            ("temperature", torch.ones(1)),
            ("std_scale", torch.ones(_N)),
            ("known", torch.ones(_N)),
        ):
            self.register_buffer(name, value)
        self.register_buffer("louder", louder(20), persistent=False)
        self.louder: Tensor
        self.center: Tensor
        self.scale: Tensor
        self.temperature: Tensor  # calibration: logits are divided by it
        self.std_scale: Tensor  # calibration: deviations are multiplied by it
        self.known: Tensor  # [3] 1 where it has this dimension

    def forward(self, learned: Tensor, fixed: Tensor) -> Output:
        """Mean, log deviation and logits of windows, not calibrated.

        Args:
            learned: [n, gates + 2 c], the encoder's sums; [n, 0] where there is none. fixed: [n, N_SUMS].
        """
        z = self.standardize(fixed)
        if self.shape.channels:
            z = torch.cat((z, self.embed(learned)), -1)
        values = self.second(nn.functional.silu(self.first(z)))
        return Output(values[..., :_N], values[..., _N : 2 * _N].clamp(-4, 1), values[..., 2 * _N :])

    def standardize(self, fixed: Tensor) -> Tensor:
        """Standardised statistics of summed cells [..., N_SUMS], bounded."""
        z = (statistics(fixed) - self.center) * self.scale
        if self.shape.any_gain:
            gain = nn.functional.normalize(self.louder * self.scale, dim=0)
            z = z - (z @ gain)[..., None] * gain
        return z.clamp(-4, 4)

    def embed(self, learned: Tensor) -> Tensor:
        """Means and deviations [n, 2 c] of embeddings by their sums."""
        shape = self.shape
        gates, first, second = torch.split(learned, [shape.gates, shape.channels, shape.channels], -1)
        weight = gates.repeat_interleave(shape.channels // shape.gates, -1).clamp(min=1e-9)
        return torch.cat(moments(weight, first, second), -1)

    def heads(self, learned: Tensor, fixed: Tensor) -> list[Output]:
        """Calibrated outputs of windows by their sums, see `forward`."""
        mean, log_std, logits = self(learned, fixed)
        return [Output(mean.clamp(-1, 1), log_std + self.std_scale.log(), logits / self.temperature)]


class Packed(nn.Module):
    """The same with its weights as int8: what is on the disk."""

    def __init__(self, shape: SmallShape) -> None:
        super().__init__()
        self.shape = shape
        for name, value in _rounded(SmallNetwork(shape)).items():
            self.register_buffer(name, value)

    @classmethod
    def of(cls, network: SmallNetwork) -> "Packed":
        """A network, each row of its weights rounded to 255 steps of its own."""
        packed = cls(network.shape)
        packed.load_state_dict(_rounded(network))
        return packed.eval()

    def unpacked(self) -> SmallNetwork:
        """The network in float32, ready to use."""
        network = SmallNetwork(self.shape)
        mine, state = self.state_dict(), {}
        for name in network.state_dict():
            value = mine[_flat(name)]
            if value.dtype == torch.int8:
                value = value.float() * mine[_step(name)][:, None]
            state[name] = value
        network.load_state_dict(state)
        return network.eval().requires_grad_(False)


def load_small(name: str = "small", folder: Path = registry.FOLDER) -> SmallNetwork:
    """The network of an installed small model (see `registry.read_weights` for what it raises)."""
    packed = Packed(SmallShape.of(registry.read_card(name, folder).shape))
    packed.load_state_dict(registry.read_weights(name, folder))
    return packed.unpacked()


def _rounded(network: SmallNetwork) -> dict[str, Tensor]:
    """The state of a network, matrices as int8 and a step for each of their rows."""
    state = {}
    for name, value in network.state_dict().items():
        if value.dim() == 2:
            step = value.abs().amax(1).clamp(min=1e-12) / 127
            state[_flat(name)], state[_step(name)] = (value / step[:, None]).round().to(torch.int8), step
        else:
            state[_flat(name)] = value
    return state


def _flat(name: str) -> str:
    return name.replace(".", "_")


def _step(name: str) -> str:
    return _flat(name).removesuffix("weight") + "step"
