"""The networks as graphs that ONNX can hold: one call from frames (or samples, or notes) to estimates.

A stream's bookkeeping is left out: a graph takes a stretch as a whole, any length and any number of them, and
gives one estimate each, pooled over all of it. Inputs and outputs of each are in its docstring and, with
units and versions, in the metadata of the file (`onnx_export`). The steps are those of `network`, written
without anything that an exporter would turn into a constant (the number of frames, of sounds, of notes).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moodstream.models.base import CELL_FRAMES, HOP
from moodstream.models.features import (
    COLUMNS,
    LEFT,
    LOOKAHEAD_FRAMES,
    N_BASE,
    N_CEPSTRA,
    N_FFT,
    N_MELS,
    PAST_FRAMES,
    PITCH,
    VOICING,
    WINDOW,
    Spectra,
    _constants,
    described,
)
from moodstream.models.music_network import N_FIXED, SHARPNESS, MusicNetwork, all_statistics
from moodstream.models.network import FrameEncoder, Output
from moodstream.models.note_network import NoteNetwork
from moodstream.models.pooling import loudness_weight


class FrontEndGraph(nn.Module):
    """`samples` [n], n a multiple of 8,000 -> `frames` [n / 250, 244]; as FrontEnd, flushed at once."""

    def __init__(self) -> None:
        super().__init__()
        _constants()  # computed now, or an exporter would trace how

    def forward(self, samples: Tensor) -> Tensor:
        hops = F.pad(samples, (LEFT, 3 * HOP - LEFT)).reshape(-1, HOP)
        windows = torch.cat((hops[:-3], hops[1:-2], hops[2:-1]), 1)[:, :WINDOW]
        base = described(spectra(windows), None)
        before = base[:1].expand(PAST_FRAMES, -1)
        return all_columns(torch.cat((before, base, base[-1:].expand(LOOKAHEAD_FRAMES, -1))))


class AudioGraph(nn.Module):
    """`frames` [b, 32 n, 244], `lengths` [b] -> what the head says of each of b sounds.

    `lengths` counts the true frames, what follows is padding and weighs nothing. Gives valence, arousal and
    dominance [b, 3] (what the model does not know is 0), their standard deviations [b, 3] and the
    probabilities of its labels [b, K].
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        valid = torch.arange(frames.shape[1])[None] < lengths[:, None]
        weight = loudness_weight(frames) * valid[..., None]
        fixed = sums_of(frames, weight)
        encoder = self.network.encoder
        learned = fixed[:, :0] if encoder is None else encoded(encoder, frames, valid, weight)
        return answer(self.network.heads(learned, fixed)[0], self.network.known)


class MusicGraph(nn.Module):
    """As AudioGraph, with `harmony` [b, harmony.N_SUMS] besides; also gives the moods [b, moods]."""

    def __init__(self, network: MusicNetwork) -> None:
        super().__init__()
        self.network = network
        all_statistics(torch.zeros(1, N_FIXED))  # what it makes once is made now, or it would be traced

    def forward(
        self, frames: Tensor, lengths: Tensor, harmony: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        network = self.network
        valid = torch.arange(frames.shape[1])[None] < lengths[:, None]
        sums = sums_of(frames, loudness_weight(frames) * valid[..., None])
        values = all_statistics(torch.cat((sums, harmony), 1))
        size = network.rendered.pull.shape[1]
        told = network.heard(values)
        said = torch.lerp(told[:, :size], network.rendered(values), network.share(values))
        none = torch.zeros_like(said[:, :1])
        mean = torch.cat((said[:, :2].clamp(-1, 1), none), 1)
        log_std = torch.cat((said[:, 2:4].clamp(-4, 1), none), 1) + network.std_scale.log()
        output = Output(mean, log_std, SHARPNESS * said[:, 4:] / network.temperature)
        return *answer(output, network.known), told[:, size:].clamp(0, 1)


class NotesGraph(nn.Module):
    """`long`, `near`, `far` [n, note_statistics.N_STATISTICS] -> valence and arousal, deviations, quadrants.

    Statistics of the notes in three windows around each of n half seconds, see note_network.
    """

    def __init__(self, network: NoteNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, long: Tensor, near: Tensor, far: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, std, scores = self.network(long, near, far)
        return mean.clamp(-1, 1), std, scores


def spectra(windows: Tensor) -> Spectra:
    """features._spectra, all at once: of windows [t, 640]."""
    constants = _constants()
    spectrum = torch.fft.rfft(windows * constants.window, n=N_FFT)
    power = spectrum.real**2 + spectrum.imag**2
    return Spectra(
        torch.cat((power[:, : len(constants.lower)] @ constants.lower, power @ constants.upper), 1),
        power[:, 3:128].amax(1),
        power[:, 128:320].amax(1),
        power[:, 3:257].sqrt() @ constants.correlation,
    )


def all_columns(held: Tensor) -> Tensor:
    """features.with_derived: frames [PAST + t + LOOKAHEAD, N_BASE] -> [t, N_COLUMNS]."""
    constants = _constants()
    t = held.shape[0] - PAST_FRAMES - LOOKAHEAD_FRAMES
    near = held[PAST_FRAMES - 6 : PAST_FRAMES + t + 6]
    cepstra = near[:, COLUMNS.mel] @ constants.dct
    deltas = _slope(torch.cat((cepstra, near[:, COLUMNS.descriptors]), 1))
    accelerations = _slope(deltas[:, :N_CEPSTRA])
    bands = held[:, COLUMNS.mel] @ constants.bands
    filtered = F.conv1d(bands.T[:, None], constants.filters[:, None])
    return torch.cat(
        (
            held[PAST_FRAMES : PAST_FRAMES + t],
            cepstra[6:-6],
            4.0 * deltas[3:-3],
            8.0 * accelerations,
            3.0 * filtered.permute(2, 0, 1).reshape(t, -1),
        ),
        1,
    )


def _slope(x: Tensor) -> Tensor:
    """features' slope over seven frames, as a filter: [t, c] -> [t - 6, c]."""
    taps = torch.arange(-3.0, 4.0) / 28.0
    return F.conv1d(x.T[:, None], taps[None, None])[:, 0].T


def encoded(encoder: FrameEncoder, frames: Tensor, valid: Tensor, weight: Tensor) -> Tensor:
    """Learned sums [b, gates + 2 c] of sounds: FrameEncoder.forward over all cells."""
    stride = encoder.stride
    b, t = frames.shape[0], frames.shape[1] // stride
    steps = valid.reshape(b, t, stride).any(2)[..., None]
    heard = centred(encoder, frames, weight) if encoder.centre else frames[..., :N_BASE]
    base = (heard - encoder.center) * encoder.scale
    x = encoder.stem_norm(F.silu(encoder.stem(base.reshape(b, t, stride * N_BASE)))) * steps
    for block, d in zip(encoder.blocks, encoder.dilations, strict=True):
        x = block(F.pad(x, (0, 0, d, d))) * steps
    gates = (0.02 + torch.sigmoid(encoder.gate(x))) * weight.reshape(b, t, stride, 1).mean(2)
    weighted = gates.repeat_interleave(x.shape[2] // gates.shape[2], 2) * x
    return torch.cat((gates, weighted, weighted * x), 2).sum(1)


def centred(encoder: FrameEncoder, frames: Tensor, weight: Tensor) -> Tensor:
    """FrameEncoder.centred: base columns [b, 32 n, N_BASE] less a share of the mean of the cells around."""
    b, n = frames.shape[0], frames.shape[1] // CELL_FRAMES
    bands = frames[..., :N_MELS]
    cells = torch.cat((weight, weight * bands), -1).reshape(b, n, CELL_FRAMES, 1 + N_MELS).sum(2)
    width = sum(encoder.around) + 1
    near = F.avg_pool1d(F.pad(cells.transpose(1, 2), encoder.around), width, 1).transpose(1, 2) * width
    mean = near[..., 1:] / near[..., :1].clamp(min=1e-9)
    less = encoder.centre * (mean - encoder.center[:N_MELS])
    moved = bands.reshape(b, n, CELL_FRAMES, N_MELS) - less[:, :, None]
    return torch.cat((moved.reshape(b, n * CELL_FRAMES, N_MELS), frames[..., N_MELS:N_BASE]), -1)


def sums_of(frames: Tensor, weight: Tensor) -> Tensor:
    """Fixed sums [b, N_SUMS] of sounds: pooling.cell_sums over all cells, given the weights [b, t, 1]."""
    voicing = frames[..., VOICING : VOICING + 1]
    slopes = frames[..., COLUMNS.deltas.start + N_CEPSTRA : COLUMNS.deltas.stop]
    pitch = frames[..., PITCH : PITCH + 1] / (voicing + 1e-3)
    voiced = torch.cat((frames[..., :PITCH], pitch, voicing, slopes), -1)
    weighted, hearing = weight * frames, weight * voicing
    heard = hearing * voiced
    squared = heard[..., N_MELS:] * voiced[..., N_MELS:]
    return torch.cat((weight, weighted, weighted * frames, hearing, heard, squared), -1).sum(1)


def answer(output: Output, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, deviation and probabilities as `audio` gives them; 0 where a dimension is not known."""
    std = output.log_std.exp().clamp(0.01, 2.0)
    return output.mean * known, std * known, torch.softmax(output.logits, -1)
