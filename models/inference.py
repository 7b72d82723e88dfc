"""Trained encoders made ready to run on one stream: the same numbers as `network`, fewer and larger steps.

`network` is written to be read and trained; each of its steps is a call into torch that takes longer than
its arithmetic when a push is short. Here the weights are taken apart once: standardisation is folded into
the stem, taps are one strided copy, and what a head does not use is not computed. Nothing is approximated:
tests compare with `network` to 1e-5.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from moodstream.models.base import CELL_FRAMES
from moodstream.models.features import N_BASE, N_MELS
from moodstream.models.network import CENTRED, Block, FrameEncoder
from moodstream.models.pooling import loudness_weight


class EncoderStream:
    """A frame encoder fed cell by cell: the sums of cells come out as of one pass over the whole sound.

    State: cells that wait for what follows them to be centred, what each block still needs (2 x dilation
    steps), embeddings and weights of cells that are not complete.
    """

    @torch.inference_mode()
    def __init__(self, encoder: FrameEncoder) -> None:
        self._encoder = encoder
        self._stem = encoder.stem.weight * encoder.scale.repeat(encoder.stride)
        self._bias = encoder.stem.bias - self._stem @ encoder.center.repeat(encoder.stride)
        bands = self._stem.reshape(len(self._stem), encoder.stride, N_BASE)[..., :N_MELS].sum(1)
        self._centring = encoder.centre * bands.T  # what the mean of the bands takes from a step, [64, c]
        self._blocks = [block for block in encoder.blocks if isinstance(block, Block)]
        channels = encoder.stem.out_features
        self._frames = torch.zeros(0, N_BASE)
        self._sums = torch.zeros(encoder.around[0], CENTRED)  # of cells before, then of those that wait
        self._caches = [torch.zeros(d, channels) for d in encoder.dilations]
        self._weights = torch.zeros(0, 1)
        self._ready = torch.zeros(0, channels)

    @torch.inference_mode()
    def push(self, frames: Tensor, sums: Tensor, last: bool = False, length: int | None = None) -> Tensor:
        """Take whole cells; give the sums [m, gates + 2 c] of those that became complete.

        Args:
            frames: [32 n, >= N_BASE]. sums: [n, >= CENTRED], the fixed sums of the same cells.
            last: the sound ends here, give everything.
            length: how many of `frames` are true, the rest being padding (only with `last`).
        """
        padding = 0 if length is None else len(frames) - length
        frames = frames[:, :N_BASE]
        around = None
        if self._encoder.centre:
            frames, around = self._centred(frames, sums, last)
        weight = loudness_weight(frames)
        if padding:
            weight[-padding:] = 0.0
        return self._run(self._start(frames, around), weight, last, padding // self._encoder.stride)

    def state(self) -> list[Tensor]:
        return [self._frames, self._sums, *self._caches, self._weights, self._ready]

    def restore(self, state: Sequence[Tensor]) -> None:
        self._frames, self._sums, *self._caches, self._weights, self._ready = state

    def _centred(self, frames: Tensor, sums: Tensor, last: bool) -> tuple[Tensor, Tensor]:
        """The cells whose surroundings are known by now, and the mean log-mel there less the usual."""
        past, future = self._encoder.around
        frames = torch.cat((self._frames, frames))
        held = torch.cat((self._sums, sums[:, :CENTRED]))
        if last:
            held = F.pad(held, (0, 0, 0, future))
        n = max(len(held) - past - future, 0)
        self._frames, self._sums = frames[n * CELL_FRAMES :].clone(), held[n:].clone()
        near = held[:n].clone()
        for shift in range(1, past + future + 1):
            near += held[shift : shift + n]
        mean = near[:, 1:] / near[:, :1].clamp(min=1e-9)
        return frames[: n * CELL_FRAMES], mean - self._encoder.center[:N_MELS]

    def _start(self, frames: Tensor, around: Tensor | None) -> Tensor:
        """Frames [stride t, N_BASE] -> what goes into the blocks, [t, c].

        Args:
            around: [cells, 64] what the bands are to be freed from: the stem being linear, after it.
        """
        stride, norm = self._encoder.stride, self._encoder.stem_norm
        groups = frames.reshape(len(frames) // stride, stride * N_BASE)
        x = F.linear(groups, self._stem, self._bias)
        if around is not None:
            cells = x.view(len(around), self._encoder.cell_steps, x.shape[1])
            cells -= (around @ self._centring)[:, None]
        x = F.silu(x, inplace=True)
        return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)

    def _run(self, x: Tensor, weight: Tensor, last: bool, missing: int) -> Tensor:
        """Steps [t, c], of which the last `missing` are padding and stay zero in each layer, to sums."""
        encoder = self._encoder
        weight = weight.reshape(len(x), encoder.stride, 1).mean(1)
        if missing:
            x[-missing:] = 0.0
        for i, block in enumerate(self._blocks):
            d = block.dilation
            after = [x.new_zeros(d, x.shape[1])] if last else []
            held = torch.cat((self._caches[i], x, *after))
            if len(held) <= 2 * d:
                self._caches[i], x = held, x[:0]
                continue
            if not last:
                self._caches[i] = held[-2 * d :].clone()
            x = _block(block, held)
            if missing:
                x[-missing:] = 0.0
        self._ready = torch.cat((self._ready, x)) if len(self._ready) else x
        self._weights = torch.cat((self._weights, weight)) if len(self._weights) else weight
        whole = len(self._ready) // encoder.cell_steps * encoder.cell_steps
        sums = _sums(encoder, self._ready[:whole], self._weights[:whole])
        self._ready, self._weights = self._ready[whole:].clone(), self._weights[whole:].clone()
        return sums


def _block(block: Block, held: Tensor) -> Tensor:
    """[t + 2 dilation, c] -> [t, c]."""
    d, c = block.dilation, held.shape[1]
    t = len(held) - 2 * d
    taps = held.as_strided((t, 3, c), (c, d * c, 1)).reshape(t, 3 * c)
    h = F.silu(F.linear(taps, block.taps.weight, block.taps.bias), inplace=True)
    y = F.linear(h, block.mix.weight, block.mix.bias).add_(held[d:-d])
    return F.layer_norm(y, (c,), block.norm.weight, block.norm.bias, block.norm.eps)


def _sums(encoder: FrameEncoder, x: Tensor, weight: Tensor) -> Tensor:
    """Embeddings and weights of whole cells, [t, c] and [t, 1] -> [n, gates + 2 c]."""
    t, c = x.shape
    gates = F.linear(x, encoder.gate.weight, encoder.gate.bias).sigmoid_().add_(0.02).mul_(weight)
    g = gates.shape[1]
    weighted = (x.reshape(t, g, c // g) * gates[..., None]).reshape(t, c)
    every = torch.cat((gates, weighted, weighted * x), 1)
    return every.reshape(t // encoder.cell_steps, encoder.cell_steps, g + 2 * c).sum(1)
