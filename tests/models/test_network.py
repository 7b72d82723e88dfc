import pytest
import torch

from moodstream.models.features import N_COLUMNS
from moodstream.models.network import MoodNetwork, Shape
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


def test_centring_takes_away_what_stays(network: MoodNetwork) -> None:
    shape = Shape(("a",), channels=8, gates=2, dilations=(1,), stride=4, centre=1.0)
    torch.manual_seed(0)
    encoder = MoodNetwork(shape).eval().requires_grad_(False).encoder
    x, colour = frames(4), torch.linspace(-1, 1, 64)
    valid = torch.ones(1, 128, dtype=torch.bool)
    other = torch.cat((x[:, :64] + colour, x[:, 64:]), 1)
    torch.testing.assert_close(encoder(x[None], valid), encoder(other[None], valid), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(network.encoder(x[None], valid), network.encoder(other[None], valid), atol=1e-2)


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
