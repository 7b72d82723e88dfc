from dataclasses import replace

import numpy as np
import pytest
import torch

from moodstream.models.base import CELL_FRAMES
from moodstream.models.examples import Example, Prepared
from moodstream.models.expert_fitting import ExpertRecipe, altered, channel_sums, fit_experts
from moodstream.models.experts import ExpertNetwork
from moodstream.models.features import N_BASE, N_COLUMNS, N_MELS
from moodstream.models.fitting import predict
from moodstream.models.metrics import uar
from moodstream.models.network import Shape
from moodstream.models.pooling import LEVEL_PER_DB, MEL_PER_DB, N_SUMS, cell_sums

SHAPE = Shape(
    ("a", "b", "c"),
    channels=8,
    gates=2,
    dilations=(1, 2),
    hidden=16,
    corpora=("one", "two"),
    landmarks=20,
    stride=4,
    centre=0.8,
    conditions=("as recorded", "by telephone"),
)
QUICK = ExpertRecipe(steps=6, batch=8, sharpness=0.02)


def toy(speakers: int = 6) -> Prepared:
    """Two corpora, "one" with labels a and b, "two" with b and c; every speaker with a colour of its own."""
    draw = np.random.default_rng(0)
    examples, frames, sums = [], [], []
    place = draw.normal(0, 0.25, (3, N_COLUMNS))
    apart = draw.normal(0, 1.0, (2, N_COLUMNS))
    for c, labels in enumerate(((0, 1), (1, 2))):
        for speaker in range(speakers):
            voice = draw.normal(0, 0.5, N_COLUMNS)
            for label in labels * 3:
                scores = tuple(float(i == label) for i in range(3))
                target = (label - 1.0, 0.0, np.nan)
                name = ("one", "two")[c]
                examples.append(
                    Example(
                        f"{len(examples)}",
                        lambda: np.zeros(0, np.float32),
                        name,
                        f"{speaker}",
                        scores,
                        target,
                    )
                )
                clean = (
                    0.3 * draw.standard_normal((3 * CELL_FRAMES, N_COLUMNS)) + place[label] + voice + apart[c]
                )
                clean[:, 64] = 0.0  # equally loud
                for heard in (clean, np.where(np.arange(N_COLUMNS) % 3, clean, 0.0)):
                    frames.append(heard[:, :N_BASE].astype(np.float16))
                    sums.append(cell_sums(torch.from_numpy(heard).float()).numpy())
    items = len(frames)
    return Prepared(
        examples,
        2,
        np.concatenate(frames),
        np.concatenate(sums),
        3 * np.arange(items + 1),
        np.full(items, 3 * CELL_FRAMES),
    )


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return toy()


@pytest.fixture(scope="module")
def network(prepared: Prepared) -> ExpertNetwork:
    rows = np.flatnonzero([example.group != "0" for example in prepared.examples])
    return fit_experts(prepared, SHAPE, rows, replace(QUICK, steps=0))


def unheard(prepared: Prepared) -> np.ndarray:
    return np.flatnonzero([example.group == "0" for example in prepared.examples])


def test_experts_know_new_speakers(prepared: Prepared, network: ExpertNetwork) -> None:
    rows = unheard(prepared)
    truth = np.array([np.argmax(prepared.examples[row].scores) for row in rows])
    for own in (False, True):
        said = predict(network, prepared, rows, own=own)
        assert uar(truth, said.logits.argmax(1)) > 0.7
    known = predict(network, prepared, rows, own=True, channels=channel_sums(prepared))
    assert uar(truth, known.logits.argmax(1)) > 0.9
    assert not np.allclose(known.logits, said.logits)


def test_the_gain_of_a_recording_changes_nothing(network: ExpertNetwork) -> None:
    frames = 0.3 * torch.randn(3 * CELL_FRAMES, N_COLUMNS, generator=torch.Generator().manual_seed(0))
    frames[:, N_BASE - 1] = 0.5  # half voiced
    louder = frames.clone()
    louder[:, :N_MELS] += 12 * MEL_PER_DB
    louder[:, N_MELS] += 12 * LEVEL_PER_DB
    learned = torch.ones(1, 2 + 2 * 8)
    soft, loud = (network.heads(learned, cell_sums(each).sum(0)[None])[0] for each in (frames, louder))
    for one, other in zip(soft, loud, strict=True):
        torch.testing.assert_close(one, other, atol=0.02, rtol=0.02)


def test_a_corpus_never_says_what_it_never_heard(prepared: Prepared, network: ExpertNetwork) -> None:
    said = predict(network, prepared, unheard(prepared), own=True)
    one = np.array([prepared.examples[row].corpus == "one" for row in said.row])
    power = np.exp(said.logits)
    np.testing.assert_allclose(power.sum(1), 1, atol=1e-4)
    assert power[one, 2].max() < 1e-4
    assert power[~one, 0].max() < 1e-4


def test_the_gate_hears_the_telephone(prepared: Prepared, network: ExpertNetwork) -> None:
    for condition in range(2):
        sums = torch.from_numpy(prepared.sums.reshape(-1, 2, 3, N_SUMS)[:, condition].sum(1))
        like = network.standardize(sums) @ network.gate[:-1] + network.gate[-1]
        assert ((like.argmax(1) // 2) == condition).float().mean() > 0.9


def test_an_untrusted_channel_changes_nothing(prepared: Prepared, network: ExpertNetwork) -> None:
    sums = torch.from_numpy(prepared.sums[:4])
    learned = torch.rand(4, 2 + 2 * 8) + 0.1
    plain = network.heads(learned, sums)[0]
    again = network.heads(learned, sums, channel=(sums.flip(0), torch.zeros(4)))[0]
    torch.testing.assert_close(plain.logits, again.logits)


def test_a_batch_is_its_single_members(network: ExpertNetwork) -> None:
    x = 0.5 * torch.randn(3, 128, N_COLUMNS, generator=torch.Generator().manual_seed(0))
    lengths = [128, 70, 3]
    valid = torch.arange(128)[None] < torch.tensor(lengths)[:, None]
    fixed = torch.stack([cell_sums(each, n).sum(0) for each, n in zip(x, lengths, strict=True)])
    together = network(x, valid, fixed)[0]
    for i, n in enumerate(lengths):
        size = -(-n // CELL_FRAMES) * CELL_FRAMES
        alone = network(x[i : i + 1, :size], valid[i : i + 1, :size], fixed[i : i + 1])[0]
        for one, every in zip(alone, together, strict=True):
            torch.testing.assert_close(one[0], every[i], atol=1e-5, rtol=1e-4)


def test_the_same_twice_and_another_with_another_seed(prepared: Prepared) -> None:
    rows = np.arange(len(prepared.examples))
    first, again, other = (fit_experts(prepared, SHAPE, rows, QUICK, seed=seed) for seed in (0, 0, 1))
    for name, value in first.state_dict().items():
        torch.testing.assert_close(value, again.state_dict()[name], atol=1e-5, rtol=0)
    assert not torch.allclose(first.deep.weight, other.deep.weight)
    assert int((first.pull[:-1].abs().sum(1) > 0).sum()) == SHAPE.landmarks


def test_what_is_altered_stays_a_sound(prepared: Prepared) -> None:
    frames, valid = altered(prepared, np.arange(8), ExpertRecipe(), np.random.default_rng(0))
    assert frames.shape == (8, 6 * CELL_FRAMES, N_BASE)
    assert valid.sum(1).min() >= 3 * CELL_FRAMES / 1.16
    assert torch.isfinite(frames).all()
    still = ExpertRecipe(shift=0, speed=0, colour=0, level_db=0, bands=0, moments=0, crop_cells=(3, 3))
    frames, _ = altered(prepared, np.array([5]), still, np.random.default_rng(0))
    expected = prepared.frames[15 * CELL_FRAMES : 18 * CELL_FRAMES].astype(np.float32)
    np.testing.assert_allclose(frames[0], expected, atol=2e-3)
