"""Trained networks made ready to run on one stream: the same numbers as `network`, fewer and larger steps.

`network` is written to be read and trained; each of its steps is a call into torch that takes longer than
its arithmetic when a push is short. Here the weights are taken apart once: standardisation is folded into
the stem, the stems of all networks are one product, taps are one strided copy, and what a head does not use
is not computed. Nothing is approximated: tests compare with `network` to 1e-5.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from moodstream.models.features import N_BASE
from moodstream.models.network import CELL_STEPS, STRIDE, Block, FrameEncoder
from moodstream.models.pooling import loudness_weight


class Stems:
    """The first layer of several encoders as one product."""

    @torch.inference_mode()
    def __init__(self, encoders: Sequence[FrameEncoder]) -> None:
        scales = [encoder.scale.repeat(STRIDE) for encoder in encoders]
        weights = [encoder.stem.weight * scale for encoder, scale in zip(encoders, scales, strict=True)]
        biases = [
            encoder.stem.bias - weight @ encoder.center.repeat(STRIDE)
            for encoder, weight in zip(encoders, weights, strict=True)
        ]
        self._norms = [encoder.stem_norm for encoder in encoders]
        self._widths = [encoder.stem.out_features for encoder in encoders]
        if encoders:
            self._weight, self._bias = torch.cat(weights).contiguous(), torch.cat(biases)

    def __call__(self, frames: Tensor) -> list[Tensor]:
        """Frames [2 t, F] -> what goes into the blocks of each encoder, [t, c]."""
        if not self._widths:
            return []
        pairs = frames[:, :N_BASE].reshape(len(frames) // STRIDE, STRIDE * N_BASE)
        x = F.silu(F.linear(pairs, self._weight, self._bias), inplace=True)
        parts = torch.split(x, self._widths, 1)
        return [
            F.layer_norm(part, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
            for part, norm in zip(parts, self._norms, strict=True)
        ]


def step_weights(frames: Tensor, length: int | None = None) -> Tensor:
    """Loudness weight [t, 1] of encoder steps from frames [2 t, F]; frames from `length` on weigh nothing."""
    weight = loudness_weight(frames)
    if length is not None and length < len(frames):
        weight[length:] = 0.0
    return weight.reshape(len(weight) // STRIDE, STRIDE, 1).mean(1)


class Stack:
    """The blocks of an encoder fed piece by piece: a network.EncoderStream after the stem.

    State: what each block still needs (2 x dilation steps), embeddings and weights of an unfinished cell.
    """

    def __init__(self, encoder: FrameEncoder) -> None:
        self._encoder = encoder
        self._blocks = [block for block in encoder.blocks if isinstance(block, Block)]
        channels = encoder.stem.out_features
        self._caches = [torch.zeros(d, channels) for d in encoder.dilations]
        self._weights = torch.zeros(0, 1)
        self._ready = torch.zeros(0, channels)

    def push(self, x: Tensor, weight: Tensor, last: bool = False, steps: int | None = None) -> Tensor:
        """Take steps [t, c] and their weights [t, 1]; give the sums [m, gates + 2 c] of complete cells.

        Args:
            last: the sound ends here, give everything; whole cells must be complete with padding.
            steps: how many of them are true, the rest being padding (only with `last`).
        """
        missing = 0 if steps is None else len(x) - steps  # padded steps stay zero in each layer
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
        whole = len(self._ready) // CELL_STEPS * CELL_STEPS
        sums = _sums(self._encoder, self._ready[:whole], self._weights[:whole])
        self._ready, self._weights = self._ready[whole:].clone(), self._weights[whole:].clone()
        return sums

    def state(self) -> list[Tensor]:
        return [*self._caches, self._weights, self._ready]

    def restore(self, state: Sequence[Tensor]) -> None:
        *self._caches, self._weights, self._ready = state


def _block(block: Block, held: Tensor) -> Tensor:
    """[t + 2 dilation, c] -> [t, c]."""
    d, c = block.dilation, held.shape[1]
    t = len(held) - 2 * d
    taps = held.as_strided((t, 3, c), (c, d * c, 1)).reshape(t, 3 * c)
    h = F.silu(F.linear(taps, block.taps.weight, block.taps.bias), inplace=True)
    y = F.linear(h, block.mix.weight, block.mix.bias).add_(held[d:-d])
    return F.layer_norm(y, (c,), block.norm.weight, block.norm.bias, block.norm.eps)


def _sums(encoder: FrameEncoder, x: Tensor, weight: Tensor) -> Tensor:
    """Embeddings [16 n, c] and weights [16 n, 1] -> sums of cells [n, gates + 2 c]."""
    t, c = x.shape
    gates = F.linear(x, encoder.gate.weight, encoder.gate.bias).sigmoid_().add_(0.02).mul_(weight)
    g = gates.shape[1]
    weighted = (x.reshape(t, g, c // g) * gates[..., None]).reshape(t, c)
    every = torch.cat((gates, weighted, weighted * x), 1)
    return every.reshape(t // CELL_STEPS, CELL_STEPS, g + 2 * c).sum(1)
