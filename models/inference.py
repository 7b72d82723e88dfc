"""Trained encoders made ready to run on many streams at once: the same numbers as `network`, in fewer steps.

`network` is written to be read and trained; each of its steps is a call into torch that takes longer than
its arithmetic when a push is short. Here the weights are taken apart once (standardisation is folded into
the stem, taps are one strided copy, what a head does not use is not computed), and streams that are equally
far go through as one batch. Nothing is approximated: tests compare with `network` to 1e-5.

Conventions: the memory of a stream is a list of tensors; that of a batch has one more dimension in front.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from moodstream.models.base import CELL_FRAMES
from moodstream.models.features import N_BASE, N_MELS
from moodstream.models.network import CENTRED, Block, FrameEncoder
from moodstream.models.pooling import loudness_weight

Memory = list[Tensor]


class Encoder:
    """A frame encoder fed cell by cell: the sums of cells come out as of one pass over the whole sound.

    Memory of a stream: cells that wait for what follows them to be centred, what each block still needs
    (2 x dilation steps), embeddings and weights of cells that are not complete.
    """

    @torch.inference_mode()
    def __init__(self, encoder: FrameEncoder) -> None:
        self._encoder = encoder
        self._stem = encoder.stem.weight * encoder.scale.repeat(encoder.stride)
        self._bias = encoder.stem.bias - self._stem @ encoder.center.repeat(encoder.stride)
        bands = self._stem.reshape(len(self._stem), encoder.stride, N_BASE)[..., :N_MELS].sum(1)
        self._centring = encoder.centre * bands.T  # what the mean of the bands takes from a step, [64, c]
        self._blocks = [block for block in encoder.blocks if isinstance(block, Block)]

    def start(self) -> Memory:
        """The memory of a stream before its first cell."""
        encoder, channels = self._encoder, self._encoder.stem.out_features
        return [
            torch.zeros(0, N_BASE),  # frames of the cells that wait
            torch.zeros(encoder.around[0], CENTRED),  # sums of cells before those, then of those
            *(torch.zeros(d, channels) for d in encoder.dilations),
            torch.zeros(0, 1),
            torch.zeros(0, channels),
        ]

    @torch.inference_mode()
    def push(
        self, memory: Memory, frames: Tensor, sums: Tensor, last: bool = False, length: int | None = None
    ) -> tuple[Tensor, Memory]:
        """Take whole cells of b streams; give the sums [b, m, gates + 2 c] of those that became complete.

        Args:
            memory: of the streams. frames: [b, 32 n, >= N_BASE].
            sums: [b, n, >= CENTRED], the fixed sums of the same cells.
            last: the sound ends here, give everything.
            length: how many of `frames` are true, the rest being padding (only with `last`).
        """
        waiting, before, *caches, weights, ready = memory
        padding = 0 if length is None else frames.shape[1] - length
        frames = frames[..., :N_BASE]
        around = None
        if self._encoder.centre:
            frames, around, waiting, before = self._centred(waiting, before, frames, sums, last)
        weight = loudness_weight(frames)
        if padding:
            weight[:, -padding:] = 0.0
        stride, missing = self._encoder.stride, padding // self._encoder.stride
        weight = weight.reshape(len(weight), weight.shape[1] // stride, stride, 1).mean(2)
        x, caches = self._blockwise(self._start(frames, around), caches, last, missing)
        ready, weights = torch.cat((ready, x), 1), torch.cat((weights, weight), 1)
        whole = ready.shape[1] // self._encoder.cell_steps * self._encoder.cell_steps
        told = _sums(self._encoder, ready[:, :whole], weights[:, :whole])
        return told, [waiting, before, *caches, kept(weights, whole), kept(ready, whole)]

    def _centred(
        self, waiting: Tensor, before: Tensor, frames: Tensor, sums: Tensor, last: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The cells whose surroundings are known by now, the mean log-mel there less the usual, [b, n, 64];
        what waits after that."""
        past, future = self._encoder.around
        frames = torch.cat((waiting, frames), 1)
        held = torch.cat((before, sums[..., :CENTRED]), 1)
        if last:
            held = F.pad(held, (0, 0, 0, future))
        n = max(held.shape[1] - past - future, 0)
        near = held[:, :n].clone()
        for shift in range(1, past + future + 1):
            near += held[:, shift : shift + n]
        mean = near[..., 1:] / near[..., :1].clamp(min=1e-9) - self._encoder.center[:N_MELS]
        ready = frames[:, : n * CELL_FRAMES]
        return ready, mean, kept(frames, n * CELL_FRAMES), kept(held, n)

    def _start(self, frames: Tensor, around: Tensor | None) -> Tensor:
        """Frames [b, stride t, N_BASE] -> what goes into the blocks, [b, t, c].

        Args:
            around: [b, cells, 64] what the bands are to be freed from: the stem being linear, after it.
        """
        stride, norm = self._encoder.stride, self._encoder.stem_norm
        groups = frames.reshape(len(frames), frames.shape[1] // stride, stride * N_BASE)
        x = F.linear(groups, self._stem, self._bias)
        if around is not None:
            cells = x.view(len(x), around.shape[1], self._encoder.cell_steps, x.shape[2])
            cells -= (around @ self._centring)[:, :, None]
        x = F.silu(x, inplace=True)
        return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)

    def _blockwise(self, x: Tensor, caches: Memory, last: bool, missing: int) -> tuple[Tensor, Memory]:
        """Steps [b, t, c], of which the last `missing` are padding and stay zero in each layer."""
        if missing:
            x[:, -missing:] = 0.0
        after: Memory = []
        for block, cache in zip(self._blocks, caches, strict=True):
            d = block.dilation
            end = [x.new_zeros(len(x), d, x.shape[2])] if last else []
            held = torch.cat((cache, x, *end), 1)
            if held.shape[1] <= 2 * d:
                after.append(held)
                x = x[:, :0]
                continue
            after.append(kept(held, held.shape[1] - 2 * d))
            x = _block(block, held)
            if missing:
                x[:, -missing:] = 0.0
        return x, after


def kept(held: Tensor, start: int) -> Tensor:
    """`held[:, start:]`, without holding on to much more memory than that."""
    rest = held[:, start:]
    return rest.clone() if 2 * rest.shape[1] < held.shape[1] else rest


def _block(block: Block, held: Tensor) -> Tensor:
    """[b, t + 2 dilation, c] -> [b, t, c]."""
    d, (b, length, c) = block.dilation, held.shape
    t = length - 2 * d
    taps = held.as_strided((b, t, 3, c), (length * c, c, d * c, 1)).reshape(b, t, 3 * c)
    h = F.silu(F.linear(taps, block.taps.weight, block.taps.bias), inplace=True)
    y = F.linear(h, block.mix.weight, block.mix.bias).add_(held[:, d:-d])
    return F.layer_norm(y, (c,), block.norm.weight, block.norm.bias, block.norm.eps)


def _sums(encoder: FrameEncoder, x: Tensor, weight: Tensor) -> Tensor:
    """Embeddings and weights of whole cells, [b, t, c] and [b, t, 1] -> [b, n, gates + 2 c]."""
    b, t, c = x.shape
    gates = F.linear(x, encoder.gate.weight, encoder.gate.bias).sigmoid_().add_(0.02).mul_(weight)
    g = gates.shape[2]
    weighted = (x.reshape(b, t, g, c // g) * gates[..., None]).reshape(b, t, c)
    every = torch.cat((gates, weighted, weighted * x), 2)
    return every.reshape(b, t // encoder.cell_steps, encoder.cell_steps, g + 2 * c).sum(2)
