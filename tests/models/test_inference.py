import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moodstream.models.base import EMOTIONS
from moodstream.models.features import N_COLUMNS
from moodstream.models.inference import Stack, Stems, step_weights
from moodstream.models.network import EncoderStream, FrameEncoder, Shape


def an_encoder(seed: int, **shape: object) -> FrameEncoder:
    torch.manual_seed(seed)
    encoder = FrameEncoder(Shape(EMOTIONS, **shape)).eval().requires_grad_(False)  # type: ignore[arg-type]
    encoder.center.normal_()
    encoder.scale.uniform_(0.5, 3)
    for block in encoder.blocks:
        block.norm.weight.uniform_(0.5, 1.5)  # type: ignore[operator,union-attr]
        block.norm.bias.normal_()  # type: ignore[operator,union-attr]
    return encoder


@pytest.fixture(scope="module")
def encoders() -> list[FrameEncoder]:
    return [an_encoder(0), an_encoder(1, channels=8, gates=2, dilations=(1,)), an_encoder(2, channels=24)]


def frames(count: int) -> torch.Tensor:
    return 0.5 * torch.randn(count, N_COLUMNS, generator=torch.Generator().manual_seed(count))


@settings(max_examples=25, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 60), max_size=6),
    length=st.integers(1, 300),
    saved=st.booleans(),
)
def test_pieces_give_what_the_network_gives(
    encoders: list[FrameEncoder], cuts: list[int], length: int, saved: bool
) -> None:
    sound = torch.zeros(-(-length // 32) * 32, N_COLUMNS)
    sound[:length] = frames(length)
    stems = Stems(encoders)
    streams = [EncoderStream(encoder) for encoder in encoders]
    stacks = [Stack(encoder) for encoder in encoders]
    slow, fast, at = [[] for _ in encoders], [[] for _ in encoders], 0
    for size in [min(2 * cut, length // 2 * 2) for cut in cuts]:
        part = sound[at : min(at + size, length // 2 * 2)]
        at += len(part)
        started, weight = stems(part), step_weights(part)
        for i, (stream, stack) in enumerate(zip(streams, stacks, strict=True)):
            slow[i].append(stream.push(part))
            fast[i].append(stack.push(started[i], weight))
            if saved:
                stacks[i] = Stack(encoders[i])
                stacks[i].restore(stack.state())
    rest = sound[at:]
    started, weight = stems(rest), step_weights(rest, length - at)
    for i, (stream, stack) in enumerate(zip(streams, stacks, strict=True)):
        slow[i].append(stream.push(rest, last=True, length=length - at))
        fast[i].append(stack.push(started[i], weight, True, -(-(length - at) // 2)))
        np.testing.assert_allclose(torch.cat(fast[i]), torch.cat(slow[i]), atol=1e-5, rtol=1e-5)


def test_padding_weighs_nothing() -> None:
    weight = step_weights(frames(64), 31)
    assert weight.shape == (32, 1)
    assert (weight[16:] == 0).all()
    assert 0 < float(weight[15]) < float(step_weights(frames(64))[15])  # one of its two frames is true
    assert torch.equal(step_weights(frames(64))[:15], weight[:15])


def test_without_encoders_there_are_no_stems() -> None:
    assert Stems([])(frames(32)) == []
