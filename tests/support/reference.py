"""The audio models written a second time, the slow and plain way: whole sounds, loops, no state.

Nothing runs on this; tests compare the streaming code with it. It shares the weights, the scaling constants
and the head with that code, but none of its blocking: the power spectrum of all frames by `torch.stft`,
filters over time as sums over an index, convolutions by `torch.nn.functional.conv1d`, windows cell by cell.
"""

import numpy as np
import torch
from torch import Tensor

from moodstream.models.audio import AudioModels, Network
from moodstream.models.base import CELL_FRAMES, HOP, AudioEstimates, Estimates, Float
from moodstream.models.features import (
    COLUMNS,
    LEFT,
    LOOKAHEAD_FRAMES,
    N_BASE,
    N_MELS,
    PAST_FRAMES,
    WINDOW,
    base_columns,
)
from moodstream.models.features import _constants as constants
from moodstream.models.harmony import harmony_of
from moodstream.models.judging import hush
from moodstream.models.music_network import MusicNetwork
from moodstream.models.network import FrameEncoder
from moodstream.models.pooling import cell_sums, loudness_weight


def reference_frames(samples: Float) -> Tensor:
    """Frames [ceil(n / 250), N_COLUMNS] of a whole sound [n]."""
    count = -(-len(samples) // HOP)
    sound = np.concatenate([np.zeros(LEFT), samples, np.zeros(WINDOW + HOP)]).astype(np.float32)
    windows = np.stack([sound[HOP * t : HOP * t + WINDOW] for t in range(count)])
    base = base_columns(torch.from_numpy(windows), None)
    held = torch.cat([base[:1]] * PAST_FRAMES + [base] + [base[-1:]] * LOOKAHEAD_FRAMES)
    at = PAST_FRAMES + torch.arange(count)

    def slope(values: Tensor) -> Tensor:  # [h, c] -> [h, c], only right away from the ends
        return sum((k * (values.roll(-k, 0) - values.roll(k, 0)) for k in (1, 2, 3)), torch.zeros(())) / 28.0

    cepstra = held[:, COLUMNS.mel] @ constants().dct
    deltas = slope(torch.cat((cepstra, held[:, COLUMNS.descriptors]), 1))
    accelerations = slope(deltas[:, :20])
    bands = torch.stack([held[:, 4 * b : 4 * b + 4].mean(1) for b in range(16)], 1)
    modulation = []
    for taps in constants().filters:
        filtered = torch.zeros(count, 16)
        for k, tap in enumerate(taps):
            filtered += tap * bands[at - PAST_FRAMES + k]
        modulation.append(filtered)
    joined = 3.0 * torch.stack(modulation, 2).flatten(1)
    return torch.cat((base, cepstra[at], 4.0 * deltas[at], 8.0 * accelerations[at], joined), 1)


def reference_encoder(network: Network, frames: Tensor) -> Tensor:
    """Embeddings [t / stride, c] of frames [t, F], each layer one "same" convolution over everything."""
    encoder = network.encoder
    x = encoder.start(reference_centred(encoder, frames)[None])
    for block, d in zip(encoder.blocks, encoder.dilations, strict=True):
        channels = x.shape[2]
        kernel = block.taps.weight.reshape(channels, 3, channels).permute(0, 2, 1)  # type: ignore[union-attr,operator]
        h = torch.nn.functional.conv1d(x.transpose(1, 2), kernel, block.taps.bias, padding=d, dilation=d)  # type: ignore[union-attr,arg-type]
        x = block.norm(x + block.mix(torch.nn.functional.silu(h.transpose(1, 2))))  # type: ignore[operator]
    return x[0]


def reference_centred(encoder: FrameEncoder, frames: Tensor) -> Tensor:
    """Base columns of frames [t, F], their bands less a share of the mean around each cell.

    Zeros, which are centred too, follow where the last step of the encoder is not complete.
    """
    padding = frames.new_zeros(-len(frames) % encoder.stride, N_BASE)
    base = torch.cat((frames[:, :N_BASE], padding))
    if not encoder.centre:
        return base
    weight = loudness_weight(frames)
    past, future = encoder.around
    for cell in range(-(-len(frames) // CELL_FRAMES)):
        near = slice(max(cell - past, 0) * CELL_FRAMES, (cell + future + 1) * CELL_FRAMES)
        mean = (weight[near] * frames[near, :N_MELS]).sum(0) / weight[near].sum()
        base[cell * CELL_FRAMES : (cell + 1) * CELL_FRAMES, :N_MELS] -= encoder.centre * (
            mean - encoder.center[:N_MELS]
        )
    return base


@torch.inference_mode()
def reference(models: AudioModels, samples: Float) -> AudioEstimates:
    """What a stream must give for a whole sound [n], n >= 1: all its cells."""
    frames = reference_frames(samples)
    cells = -(-len(frames) // CELL_FRAMES)
    played = harmony_of(samples)
    speech, music, activity = (_estimates(network, frames, cells, played) for network in models.networks)
    padded = torch.nn.functional.pad(frames, (0, 0, 0, -len(frames) % CELL_FRAMES))
    return hush(AudioEstimates(0, activity.scores, speech, music), cell_sums(padded, len(frames)))


def _estimates(network: Network, frames: Tensor, cells: int, played: Tensor) -> Estimates:
    every, steps = _learned(network, frames)
    means, stds, scores = [], [], []
    for cell in range(cells):
        first = max(cell - network.shape.past_cells, 0)
        last = min(cell + network.shape.future_cells + 1, cells)
        learned = every[first * steps : last * steps].sum(0, keepdim=True)
        part = frames[first * CELL_FRAMES : last * CELL_FRAMES]
        padded = torch.nn.functional.pad(part, (0, 0, 0, -len(part) % CELL_FRAMES))
        fixed = cell_sums(padded, len(part)).sum(0, keepdim=True)
        if isinstance(network, MusicNetwork):
            fixed = torch.cat((fixed, played[first:last].sum(0, keepdim=True)), 1)
        output = network.heads(learned, fixed)[0]
        means.append(torch.where(network.known > 0, output.mean, torch.nan))
        stds.append(torch.where(network.known > 0, output.log_std.exp().clamp(0.01, 2.0), torch.nan))
        scores.append(torch.softmax(output.logits, -1))
    return Estimates(0, *(torch.cat(part).numpy() for part in (means, stds, scores)))


def _learned(network: Network, frames: Tensor) -> tuple[Tensor, int]:
    """Sums of single steps [t, gates + 2 c], and how many are a cell; none where no network listens."""
    if network.encoder is None:
        return torch.zeros(0, 0), 0
    x = reference_encoder(network, frames)
    weight = loudness_weight(frames)
    stride, steps = network.encoder.stride, network.encoder.cell_steps
    weight = torch.cat((weight, torch.zeros(-len(frames) % stride, 1)))
    weight = sum((weight[i::stride] for i in range(stride)), torch.zeros(())) / stride
    gates = (0.02 + torch.sigmoid(network.encoder.gate(x))) * weight
    spread = gates.repeat_interleave(x.shape[1] // gates.shape[1], 1)
    return torch.cat((gates, spread * x, spread * x * x), 1), steps
