"""The small student: speech valence, arousal, dominance and emotions from the fixed statistics alone.

Two layers over the statistics of a window (pooling.statistics), fifty thousand weights. Nothing is run frame
by frame but the front end, which all models share, so where it takes the place of the speech model no
encoder runs for speech. Weights are stored as int8 with a step for each row (`Packed`), under SIZE bytes, and
unpacked to float32 when they are loaded: at this size the processor gains nothing from eight bits, the disk
and the wire do. How it learns: `distil`. Source: Wagner et al. (2024), Wav2Small, arXiv 2408.13920.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from moodstream.models import registry
from moodstream.models.base import DIMENSIONS
from moodstream.models.network import Output
from moodstream.models.pooling import N_STATISTICS, statistics

PARAMETERS, SIZE = 72_000, 60_000  # at most so many weights, and bytes on disk
_N = len(DIMENSIONS)
_LAYERS = ("first", "second")


@dataclass(frozen=True)
class SmallShape:
    """Everything that fixes the layers; stored in the model card."""

    labels: tuple[str, ...]
    hidden: int = 96
    past_cells: int = 4  # the window of a cell in a curve
    future_cells: int = 3

    def asdict(self) -> dict[str, Any]:
        return asdict(self) | {"labels": list(self.labels)}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "SmallShape":
        return cls(**{**values, "labels": tuple(values["labels"])})


class SmallNetwork(nn.Module):
    """Statistics of a window to what the speech model's head says."""

    encoder = None  # nothing is learned frame by frame

    def __init__(self, shape: SmallShape) -> None:
        super().__init__()
        self.shape = shape
        self.first = nn.Linear(N_STATISTICS, shape.hidden)
        self.second = nn.Linear(shape.hidden, 2 * _N + len(shape.labels))
        for name, value in _constants().items():
            self.register_buffer(name, value)
        self.center: Tensor
        self.scale: Tensor
        self.temperature: Tensor  # calibration: logits are divided by it
        self.std_scale: Tensor  # calibration: deviations are multiplied by it
        self.known: Tensor  # [3] 1 where it has this dimension

    def forward(self, z: Tensor) -> Output:
        """Standardised statistics [n, N_STATISTICS] to mean, log deviation and logits, not calibrated."""
        values = self.second(nn.functional.silu(self.first(z)))
        return Output(values[..., :_N], values[..., _N : 2 * _N].clamp(-4, 1), values[..., 2 * _N :])

    def standardize(self, fixed: Tensor) -> Tensor:
        """Standardised statistics of summed cells [..., N_SUMS], bounded."""
        return ((statistics(fixed) - self.center) * self.scale).clamp(-4, 4)

    def heads(self, learned: Tensor, fixed: Tensor) -> list[Output]:
        """Calibrated outputs of windows by their sums [n, N_SUMS]; of learned ones it needs none, [n, 0]."""
        mean, log_std, logits = self(self.standardize(fixed))
        return [Output(mean.clamp(-1, 1), log_std + self.std_scale.log(), logits / self.temperature)]


class Packed(nn.Module):
    """The same with its weights as int8: what is on the disk."""

    def __init__(self, shape: SmallShape) -> None:
        super().__init__()
        self.shape = shape
        outputs = 2 * _N + len(shape.labels)
        for name, rows, columns in (
            ("first", shape.hidden, N_STATISTICS),
            ("second", outputs, shape.hidden),
        ):
            self.register_buffer(f"{name}_weight", torch.zeros(rows, columns, dtype=torch.int8))
            self.register_buffer(f"{name}_step", torch.zeros(rows))
            self.register_buffer(f"{name}_bias", torch.zeros(rows))
        for name, value in _constants().items():
            self.register_buffer(name, value)

    @classmethod
    def of(cls, network: SmallNetwork) -> "Packed":
        """A network, each row of its weights rounded to 255 steps of its own."""
        packed = cls(network.shape)
        state = {name: value for name, value in network.state_dict().items() if "." not in name}
        for name in _LAYERS:
            layer = getattr(network, name)
            step = layer.weight.detach().abs().amax(1).clamp(min=1e-12) / 127
            state[f"{name}_weight"] = (layer.weight.detach() / step[:, None]).round().to(torch.int8)
            state[f"{name}_step"], state[f"{name}_bias"] = step, layer.bias.detach()
        packed.load_state_dict(state)
        return packed.eval()

    def unpacked(self) -> SmallNetwork:
        """The network in float32, ready to use."""
        network = SmallNetwork(self.shape)
        state = {name: value for name, value in self.state_dict().items() if name in _constants()}
        for name in _LAYERS:
            weight, step, bias = (getattr(self, f"{name}_{part}") for part in ("weight", "step", "bias"))
            state |= {f"{name}.weight": weight.float() * step[:, None], f"{name}.bias": bias}
        network.load_state_dict(state)
        return network.eval().requires_grad_(False)


def load_small(name: str = "small", folder: Path = registry.FOLDER) -> SmallNetwork:
    """The network of an installed small model (see `registry.read_weights` for what it raises)."""
    packed = Packed(SmallShape.of(registry.read_card(name, folder).shape))
    packed.load_state_dict(registry.read_weights(name, folder))
    return packed.unpacked()


def _constants() -> dict[str, Tensor]:
    return {
        "center": torch.zeros(N_STATISTICS),
        "scale": torch.ones(N_STATISTICS),
        "temperature": torch.ones(1),
        "std_scale": torch.ones(_N),
        "known": torch.ones(_N),
    }
