"""The network all audio models share: an encoder of frames, pooling by cells, and a head.

Conventions: frames [b, 32 n, F >= N_BASE] at 64 a second, cells of half a second; `valid` [b, 32 n] marks
true frames, padding counts nothing, so a batch equals its single members. The encoder is a stack of dilated
residual convolutions, each exactly streamable (`inference`).

The head has two branches over the same window: `wide` is linear in the fixed statistics (fitted by itself,
strongly regularised), `deep` sees the learned embedding joined with the statistics. Their outputs are
averaged. Where ratings are few, a third branch takes the place of the linear one for the dimensions: kernel
ridge regression on the statistics of the rated examples themselves, which stay in the weights as landmarks.
"""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from moodstream.models.base import CELL_FRAMES, DIMENSIONS
from moodstream.models.features import N_BASE, N_MELS
from moodstream.models.pooling import N_STATISTICS, loudness_weight, moments, statistics

CENTRED = 1 + N_MELS  # of the fixed sums of a cell, what centring needs: weight, weighted log-mel bands


@dataclass(frozen=True)
class Shape:
    """Everything that fixes a network's layers; stored in the model card."""

    labels: tuple[str, ...]
    channels: int = 64
    dilations: tuple[int, ...] = (1, 2, 4, 8, 4)
    gates: int = 4  # attention gates, each for an equal share of the channels
    hidden: int = 128
    corpora: tuple[str, ...] = ()  # with a head of their own beside the shared one (training only)
    past_cells: int = 4  # the window of a cell in a curve
    future_cells: int = 3
    dropout: float = 0.3
    landmarks: int = 0  # rated examples kept for the kernel branch, 0: no such branch
    stride: int = 2  # frames to a step of the encoder
    centre: float = 0.0  # share of the mean log-mel around a cell that its frames are freed from
    centre_past: int = 7  # cells around it that this mean is of
    centre_future: int = 2
    conditions: tuple[str, ...] = ()  # ways a corpus is heard, each with experts of its own (`experts`)

    def asdict(self) -> dict[str, Any]:
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Shape":
        restored: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
        return cls(**restored)

    @property
    def reach(self) -> int:
        """Frames beyond a cell, on either side, that its embeddings depend on, centring apart."""
        return self.stride * sum(self.dilations)


class Output(NamedTuple):
    """What a head says: mean [..., 3], log of the deviation [..., 3], logits [..., K]."""

    mean: Tensor
    log_std: Tensor
    logits: Tensor


class Block(nn.Module):
    """Residual block: three taps `dilation` steps apart, a point-wise layer, a norm over channels."""

    def __init__(self, channels: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.dilation = dilation
        self.taps = nn.Linear(3 * channels, channels)
        self.mix = nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[b, t + 2 dilation, c] -> [b, t, c]: no padding here, so that a stream can bring its own."""
        d = self.dilation
        middle = x[:, d:-d]
        taps = torch.cat((x[:, : -2 * d], middle, x[:, 2 * d :]), -1)
        h = nn.functional.silu(self.taps(taps))
        out: Tensor = self.norm(middle + self.mix(self.dropout(h)))
        return out


class FrameEncoder(nn.Module):
    """Base columns of frames to embeddings and gates, `stride` frames to one step.

    With `centre`, the log-mel bands are taken relative to their mean over the cells around: what is left is
    movement, and who speaks, into what, in which room matters less.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(N_BASE))
        self.register_buffer("scale", torch.ones(N_BASE))
        self.center: Tensor
        self.scale: Tensor
        self.stride, self.centre = shape.stride, shape.centre
        self.around = (shape.centre_past, shape.centre_future)
        self.cell_steps = CELL_FRAMES // shape.stride
        self.stem = nn.Linear(shape.stride * N_BASE, shape.channels)
        self.stem_norm = nn.LayerNorm(shape.channels)
        self.dilations = shape.dilations
        self.blocks = nn.ModuleList(Block(shape.channels, d, shape.dropout / 2) for d in shape.dilations)
        self.gate = nn.Linear(shape.channels, shape.gates)

    def start(self, frames: Tensor) -> Tensor:
        """Frames [b, stride t, F], centred if they are to be -> [b, t, c], before the blocks."""
        base = (frames[..., :N_BASE] - self.center) * self.scale
        groups = base.reshape(len(base), base.shape[1] // self.stride, self.stride * N_BASE)
        out: Tensor = self.stem_norm(nn.functional.silu(self.stem(groups)))
        return out

    def centred(self, frames: Tensor, sums: Tensor) -> Tensor:
        """Frames [b, 32 n, F] less their share of the mean of the cells around, [b, 32 n, N_BASE].

        Args:
            sums: [b, past + n + future, >= CENTRED], of the cells and of those around them (0 where none is).
        """
        past, future = self.around
        n = sums.shape[1] - past - future
        near = sums[..., :CENTRED].unfold(1, past + 1 + future, 1).sum(-1)  # [b, n, CENTRED]
        mean = near[..., 1:] / near[..., :1].clamp(min=1e-9)
        bands = frames[..., :N_MELS].reshape(len(frames), n, CELL_FRAMES, N_MELS)
        bands = (bands - self.centre * (mean - self.center[:N_MELS])[:, :, None]).flatten(1, 2)
        return torch.cat((bands, frames[..., N_MELS:N_BASE]), -1)

    def forward(self, frames: Tensor, valid: Tensor) -> Tensor:
        """Sums of cells [b, n, 2 c + gates] of frames [b, 32 n, F]."""
        steps = _any_step(valid, self.stride)
        weight = loudness_weight(frames) * valid[..., None]
        if self.centre:
            weighted = torch.cat((weight, weight * frames[..., :N_MELS]), -1)
            cells = weighted.reshape(len(frames), -1, CELL_FRAMES, CENTRED).sum(2)
            frames = self.centred(frames, nn.functional.pad(cells, (0, 0, *self.around)))
        x = self.start(frames) * steps
        for block, d in zip(self.blocks, self.dilations, strict=True):
            x = block(nn.functional.pad(x, (0, 0, d, d))) * steps
        return self.sums(x, weight.reshape(len(weight), -1, self.stride, 1).mean(2))

    def sums(self, x: Tensor, weight: Tensor) -> Tensor:
        """Embeddings and loudness weights of whole cells, [b, t, c] and [b, t, 1] -> [b, n, gates + 2 c]."""
        gates = (0.02 + torch.sigmoid(self.gate(x))) * weight
        spread = gates.repeat_interleave(x.shape[-1] // gates.shape[-1], -1)
        weighted = spread * x
        every = torch.cat((gates, weighted, weighted * x), -1)
        return every.reshape(len(x), x.shape[1] // self.cell_steps, self.cell_steps, every.shape[2]).sum(2)


def _any_step(valid: Tensor, stride: int) -> Tensor:
    """[b, stride t] -> [b, t, 1]: steps with a true frame."""
    return valid.reshape(len(valid), valid.shape[1] // stride, stride).any(2)[..., None]


class MoodNetwork(nn.Module):
    """Encoder and head of one task."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.encoder = FrameEncoder(shape)
        heads = 1 + len(shape.corpora)
        values = len(DIMENSIONS) + len(shape.labels)
        joined = 2 * shape.channels + N_STATISTICS
        self.wide = nn.Parameter(torch.zeros(heads, N_STATISTICS + 1, values))
        self.hidden = nn.Linear(joined, shape.hidden)
        self.dropout = nn.Dropout(shape.dropout)
        self.deep = nn.Parameter(torch.randn(heads, shape.hidden + 1, values + len(DIMENSIONS)) * 0.02)
        for name, size in (("center", N_STATISTICS), ("temperature", 1), ("std_scale", 3), ("known", 3)):
            self.register_buffer(name, torch.zeros(size) if name == "center" else torch.ones(size))
        self.register_buffer("scale", torch.ones(N_STATISTICS))
        self.register_buffer("deep_share", torch.tensor([0.5]))
        if shape.landmarks:
            self.register_buffer("landmarks", torch.zeros(shape.landmarks, N_STATISTICS))
            self.register_buffer("pull", torch.zeros(shape.landmarks + 1, len(DIMENSIONS)))
        self.landmarks: Tensor
        self.pull: Tensor  # of each landmark on the dimensions; the last row is the bias
        self.center: Tensor
        self.scale: Tensor
        self.temperature: Tensor  # calibration: logits are divided by it
        self.std_scale: Tensor  # calibration: deviations are multiplied by it
        self.known: Tensor  # [3] 1 where the task has this dimension
        self.deep_share: Tensor

    def standardize(self, fixed: Tensor) -> Tensor:
        """Standardised statistics of summed cells [..., N_SUMS], bounded lest the unheard-of explode."""
        return ((statistics(fixed) - self.center) * self.scale).clamp(-4, 4)

    def forward(
        self, frames: Tensor, valid: Tensor, fixed: Tensor, corpus: Tensor | None = None
    ) -> list[Output]:
        """One output a member of the batch, pooled over all its cells.

        Args:
            frames: [b, 32 n, F]. valid: [b, 32 n]. fixed: [b, N_SUMS], summed over the cells.
            corpus: [b] index of the corpus; then the corpus's own head is given after the shared one.
        """
        return self.heads(self.encoder(frames, valid).sum(1), fixed, corpus)

    def heads(self, learned: Tensor, fixed: Tensor, corpus: Tensor | None = None) -> list[Output]:
        """Outputs of windows from the sums of their cells, learned [b, gates + 2 c] and fixed [b, N_SUMS]."""
        z = self.standardize(fixed)
        h = self.embed(learned, z)
        outputs = [self._output(z, h, self.wide[0], self.deep[0])]
        if corpus is not None:
            wide = self.wide[0] + self.wide[1 + corpus]
            deep = self.deep[0] + self.deep[1 + corpus]
            outputs.append(self._output(z, h, wide, deep))
        return outputs

    def embed(self, learned: Tensor, z: Tensor) -> Tensor:
        """The deep branch's hidden layer [b, hidden]."""
        shape = self.shape
        gates, first, second = torch.split(learned, [shape.gates, shape.channels, shape.channels], -1)
        weight = gates.repeat_interleave(shape.channels // shape.gates, -1).clamp(min=1e-9)
        mean, deviation = moments(weight, first, second)
        joined = torch.cat((mean, deviation, self.dropout(z)), -1)
        out: Tensor = self.dropout(nn.functional.silu(self.hidden(joined)))
        return out

    def deep_output(self, h: Tensor, corpus: Tensor | None = None) -> Output:
        """The deep branch alone, as it is trained."""
        weight = self.deep[0] if corpus is None else self.deep[0] + self.deep[1 + corpus]
        return _split(_affine(h, weight))

    def kernel(self, z: Tensor) -> Tensor:
        """Dimensions [b, 3] by likeness to the landmarks: kernel ridge regression."""
        return _affine(likeness(z, self.landmarks), self.pull)

    def _output(self, z: Tensor, h: Tensor, wide: Tensor, deep: Tensor) -> Output:
        mean, log_std, logits = _split(_affine(h, deep))
        shallow = _affine(z, wide)
        share = self.deep_share
        numbers = self.kernel(z) if self.shape.landmarks else shallow[..., :3]
        mean = torch.lerp(numbers, mean, share).clamp(-1, 1)
        logits = torch.lerp(shallow[..., 3:], logits, share)
        return Output(mean, log_std + self.std_scale.log(), logits / self.temperature)


def likeness(z: Tensor, others: Tensor) -> Tensor:
    """Gaussian kernel [b, m] of standardised statistics [b, n] and [m, n]."""
    distance = (z**2).sum(1, keepdim=True) + (others**2).sum(1) - 2 * z @ others.T
    return torch.exp(-0.4 / z.shape[1] * distance.clamp(min=0))


def _affine(x: Tensor, weight: Tensor) -> Tensor:
    """x [b, n] by weight [n + 1, m] or [b, n + 1, m], the last row being the bias."""
    if weight.dim() == 2:
        return x @ weight[:-1] + weight[-1]
    return torch.einsum("bn,bnm->bm", x, weight[:, :-1]) + weight[:, -1]


def _split(values: Tensor) -> Output:
    return Output(values[..., :3], values[..., 3:6].clamp(-4, 1), values[..., 6:])
