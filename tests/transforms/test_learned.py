"""Joining sound and notes as was learned: analytic truths, and what must hold for any numbers."""

import numpy as np
import pytest

from moodstream.models import fusion, registry
from moodstream.transforms.engine import Engine
from moodstream.transforms.learned import JOINED, Learned, Said

NAN = np.nan
SHAPE = {
    "modalities": list(JOINED),
    "exponents": [0.5, 1.0],
    "trust": [[2.0, 1.0], [1.0, 1.0]],
    "correlation": [0.5, 0.0],
}


def said(valence: float, arousal: float, std: float, scores: tuple[float, ...]) -> Said:
    return Said(
        np.array([[valence, arousal, NAN]], np.float32),
        np.array([[std, std, NAN]], np.float32),
        np.array([scores], np.float32),
    )


MUSIC = said(0.6, 0.2, 0.2, (0.7, 0.1, 0.1, 0.1))
NOTES = said(0.0, 0.4, 0.2, (0.1, 0.7, 0.1, 0.1))
SILENT = said(NAN, NAN, NAN, (NAN,) * 4)


def test_precision_is_trusted_as_learned() -> None:
    joined = Learned.of(SHAPE).join(MUSIC, NOTES)
    assert joined.mean[0, :2] == pytest.approx([(2 * 0.6 + 0) / 3, 0.3])
    assert np.isnan(joined.mean[0, 2])
    shares = np.array([2 / 3, 1 / 3])
    correlated = ((shares * 0.2) ** 2).sum() + 2 * shares.prod() * 0.5 * 0.04
    assert joined.std[0, :2] == pytest.approx([correlated**0.5, 0.2 / 2**0.5])


def test_scores_are_pooled_with_the_exponents() -> None:
    expected = np.array([0.7**0.5 * 0.1, 0.1**0.5 * 0.7, 0.1**1.5, 0.1**1.5])
    joined = Learned.of(SHAPE).join(MUSIC, NOTES)
    assert joined.scores[0] == pytest.approx(expected / expected.sum(), abs=1e-6)


@pytest.mark.parametrize("first", [True, False])
def test_who_is_alone_comes_through_unchanged(first: bool) -> None:
    alone = Learned.of(SHAPE).join(MUSIC, SILENT) if first else Learned.of(SHAPE).join(SILENT, MUSIC)
    for name in ("mean", "std", "scores"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(MUSIC, name))


def test_nobody_says_nothing() -> None:
    joined = Learned.of(SHAPE).join(SILENT, SILENT)
    assert np.isnan(joined.mean).all()
    assert np.isnan(joined.scores).all()


def test_other_modalities_are_refused() -> None:
    with pytest.raises(ValueError, match="speech"):
        Learned.of({**SHAPE, "modalities": ["speech", "music"]})


def test_the_network_says_the_same() -> None:
    """What is learned in `models` is what is applied here."""
    torch = pytest.importorskip("torch")
    network = fusion.FusionNetwork()
    network.exponents.copy_(torch.tensor([0.4, 0.7]))
    network.trust.copy_(torch.tensor([[1.6, 0.6], [2.0, 0.5]]))
    network.correlation.copy_(torch.tensor([0.8, 0.6]))
    joined = Learned.of(network.shape.asdict()).join(MUSIC, NOTES)
    mean, std = network.weigh(
        *(
            torch.tensor(np.stack([getattr(one, name)[:, :2] for one in (MUSIC, NOTES)], 1))
            for name in ("mean", "std")
        )
    )
    logits = network.pool(torch.tensor(np.stack([MUSIC.scores, NOTES.scores], 1)))
    np.testing.assert_allclose(joined.mean[:, :2], mean, atol=1e-5)
    np.testing.assert_allclose(joined.std[:, :2], std, atol=1e-5)
    np.testing.assert_allclose(joined.scores, torch.softmax(logits, 1), atol=1e-5)


@pytest.mark.skipif(
    not (registry.FOLDER / "fusion" / registry.CARD).is_file(), reason="fusion is not installed"
)
def test_the_installed_fusion_is_never_worse_than_the_better_one() -> None:
    metrics = registry.read_card("fusion").metrics
    gains = {
        name: values[0] for name, values in metrics.items() if name.startswith("fused minus the better one")
    }
    assert len(gains) == 5
    assert min(gains.values()) >= -0.005
    assert Engine().versions()["fusion"] == registry.read_card("fusion").version
