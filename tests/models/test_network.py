import pytest
import torch

from moodstream.models.features import N_COLUMNS
from moodstream.models.network import EncoderStream, MoodNetwork, Shape
from moodstream.models.pooling import N_SUMS, cell_sums

SHAPE = Shape(("a", "b", "c"), corpora=("one", "two"))


@pytest.fixture(scope="module")
def network() -> MoodNetwork:
    torch.manual_seed(0)
    network = MoodNetwork(SHAPE).eval().requires_grad_(False)
    network.wide.normal_(0, 0.05)
    network.deep.normal_(0, 0.3)
    return network


def frames(cells: int, seed: int = 0) -> torch.Tensor:
    return 0.5 * torch.randn(32 * cells, N_COLUMNS, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("sizes", [[8], [1, 1, 0, 1, 5], [3, 5], [0, 7, 1]])
@pytest.mark.parametrize("missing", [0, 1, 2, 13, 31])
def test_stream_is_one_pass_over_everything(network: MoodNetwork, sizes: list[int], missing: int) -> None:
    x = frames(8)
    valid = torch.arange(256)[None] < 256 - missing
    stream, parts, at = EncoderStream(network.encoder), [], 0
    for size in sizes[:-1]:
        parts.append(stream.push(x[at : at + 32 * size]))
        at += 32 * size
    parts.append(stream.push(x[at:], last=True, length=256 - missing - at))
    expected = network.encoder(x[None], valid)[0]
    torch.testing.assert_close(torch.cat(parts), expected, atol=1e-5, rtol=1e-5)


def test_stream_looks_ahead_as_far_as_it_says(network: MoodNetwork) -> None:
    stream = EncoderStream(network.encoder)
    steps = SHAPE.lookahead_steps
    assert len(stream.push(frames(3)[: 2 * (16 + steps) - 2])) == 0
    assert len(stream.push(frames(3)[:2])) == 1


def test_state_restores(network: MoodNetwork) -> None:
    x = frames(5)
    first, second = EncoderStream(network.encoder), EncoderStream(network.encoder)
    before = first.push(x[:70])
    second.restore([part.clone() for part in first.state()])
    after = second.push(x[70:], last=True, length=90)
    expected = network.encoder(x[None], torch.ones(1, 160, dtype=torch.bool))[0]
    torch.testing.assert_close(torch.cat((before, after)), expected, atol=1e-5, rtol=1e-5)


def test_batch_is_its_single_members(network: MoodNetwork) -> None:
    lengths = [256, 97, 1, 200]
    x = torch.stack([frames(8, seed) for seed in range(4)])
    valid = torch.arange(256)[None] < torch.tensor(lengths)[:, None]
    fixed = torch.stack([cell_sums(each, n).sum(0) for each, n in zip(x, lengths, strict=True)])
    together = network(x, valid, fixed)[0]
    for i, length in enumerate(lengths):
        size = -(-length // 32) * 32
        alone = network(x[i : i + 1, :size], valid[i : i + 1, :size], fixed[i : i + 1])[0]
        for one, all_of_them in zip(alone, together, strict=True):
            torch.testing.assert_close(one[0], all_of_them[i], atol=1e-5, rtol=1e-5)


def test_each_corpus_adds_its_own_head(network: MoodNetwork) -> None:
    learned, fixed = torch.rand(2, 132) + 0.1, cell_sums(frames(2)).reshape(2, N_SUMS)
    shared, own = network.heads(learned, fixed, torch.tensor([0, 1]))
    again = network.heads(learned, fixed, torch.tensor([0, 0]))[1]
    torch.testing.assert_close(own.logits[0], again.logits[0])
    assert not torch.allclose(own.logits[1], again.logits[1])
    assert not torch.allclose(own.logits, shared.logits)


def test_shape_survives_a_card() -> None:
    assert Shape.of(SHAPE.asdict()) == SHAPE
