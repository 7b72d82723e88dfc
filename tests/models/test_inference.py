import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moodstream.models.base import EMOTIONS
from moodstream.models.features import N_COLUMNS
from moodstream.models.inference import Encoder
from moodstream.models.network import FrameEncoder, Shape
from moodstream.models.pooling import cell_sums


def an_encoder(seed: int, **shape: object) -> FrameEncoder:
    torch.manual_seed(seed)
    encoder = FrameEncoder(Shape(EMOTIONS, **shape)).eval().requires_grad_(False)  # type: ignore[arg-type]
    encoder.center.normal_()
    encoder.scale.uniform_(0.5, 3)
    for block in encoder.blocks:
        block.norm.weight.uniform_(0.5, 1.5)  # type: ignore[operator,union-attr]
        block.norm.bias.normal_()  # type: ignore[operator,union-attr]
    return encoder


ENCODERS = {
    "plain": an_encoder(0),
    "tiny": an_encoder(1, channels=8, gates=2, dilations=(1,)),
    "centred": an_encoder(2, channels=24, centre=0.8, centre_past=3, centre_future=1),
    "centred on what follows, in long steps": an_encoder(
        3, channels=16, stride=4, dilations=(1, 2, 4), centre=0.5, centre_past=0, centre_future=2
    ),
}


def sound(length: int) -> torch.Tensor:
    """Frames, with those beyond `length` as the padding of a stream is: zeros."""
    frames = torch.zeros(-(-length // 32) * 32, N_COLUMNS)
    frames[:length] = 0.5 * torch.randn(length, N_COLUMNS, generator=torch.Generator().manual_seed(length))
    return frames


@pytest.mark.parametrize("name", ENCODERS)
@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(0, 4), max_size=5), length=st.integers(1, 300), saved=st.booleans())
def test_pieces_give_what_one_pass_gives(name: str, cuts: list[int], length: int, saved: bool) -> None:
    encoder, frames = ENCODERS[name], sound(length)
    sums = cell_sums(frames, length)
    running, parts, at = Encoder(encoder), [], 0
    memory = alone(running)
    for cells in cuts:
        end = min(at + cells, len(sums) - 1)
        told, memory = running.push(memory, frames[None, 32 * at : 32 * end], sums[None, at:end])
        parts.append(told[0])
        at = end
        if saved:
            running = Encoder(encoder)
    told, _ = running.push(memory, frames[None, 32 * at :], sums[None, at:], True, length - 32 * at)
    whole = encoder(frames[None], (torch.arange(len(frames)) < length)[None])[0]
    np.testing.assert_allclose(torch.cat([*parts, told[0]]), whole, atol=2e-5, rtol=1e-5)


def alone(running: Encoder) -> list[torch.Tensor]:
    return [part[None] for part in running.start()]


@pytest.mark.parametrize("name", ENCODERS)
def test_a_batch_is_its_single_members(name: str) -> None:
    running, frames = Encoder(ENCODERS[name]), torch.stack([sound(320), sound(319)])
    sums = torch.stack([cell_sums(each) for each in frames])
    memory = [torch.cat([part[None]] * 2) for part in running.start()]
    single = [alone(running) for _ in frames]
    for cells in (slice(0, 3), slice(3, 4), slice(4, 10)):
        here = frames[:, 32 * cells.start : 32 * cells.stop]
        told, memory = running.push(memory, here, sums[:, cells])
        for i in range(2):
            mine, single[i] = running.push(single[i], here[i : i + 1], sums[i : i + 1, cells])
            np.testing.assert_allclose(mine[0], told[i], atol=1e-5, rtol=1e-5)


def test_memory_does_not_grow() -> None:
    running, sizes = Encoder(ENCODERS["centred"]), set()
    memory = alone(running)
    for _ in range(6):
        frames = sound(128)
        _, memory = running.push(memory, frames[None], cell_sums(frames)[None])
        sizes.add(sum(part.numel() for part in memory))
    assert len(sizes) == 1
