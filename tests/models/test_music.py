"""Targets, variants and measures of the music model, and what the installed one holds."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from moodstream.models import corpora, music, registry
from moodstream.models.audio import load_network
from moodstream.models.base import RATE_HZ
from moodstream.models.features import frames_of
from moodstream.models.pooling import cell_sums

try:
    DATA: Path | None = corpora.data_folder()
except FileNotFoundError:
    DATA = None
needs_data = pytest.mark.skipif(DATA is None, reason="no corpora (MOODSTREAM_DATA)")
needs_model = pytest.mark.skipif(
    not (registry.FOLDER / "music" / registry.CARD).is_file(), reason="the music model is not installed"
)


def test_place_of_moods() -> None:
    only = np.eye(9)
    for i, mood in enumerate(corpora.MOODS):
        assert music.place_of_moods(only[i]) == pytest.approx(music.PLACES[mood])
    half = music.place_of_moods(
        0.4 * only[corpora.MOODS.index("tension")] + 0.4 * only[corpora.MOODS.index("sadness")]
    )
    assert half == pytest.approx((-0.8, 0.05))
    assert music.place_of_moods(np.zeros(9)) == (0, 0)


def test_centres_lie_in_their_quadrants() -> None:
    names = list(music.CENTRES)
    assert [names.index(q) for q, (_, arousal) in music.CENTRES.items() if arousal > 0] == list(music.UPPER)
    assert [names.index(q) for q, (valence, _) in music.CENTRES.items() if valence > 0] == list(music.RIGHT)


@needs_data
def test_examples_carry_the_labels_of_their_corpus() -> None:
    rows = corpora.read_corpora(["4qaed", "emotify", "emomusic"], DATA)
    by_corpus = {
        name: [e for e in music.examples(rows) if e.corpus == name] for name in rows["corpus"].unique()
    }
    assert {name: len(some) for name, some in by_corpus.items()} == {
        "4qaed": 203,
        "emotify": 400,
        "emomusic": 10,
    }
    assert all(e.scores and sum(e.scores) == 1 for e in by_corpus["4qaed"])
    assert not any(e.scores for e in by_corpus["emotify"])
    targets = np.array([e.target for some in by_corpus.values() for e in some])
    assert np.abs(targets[:, :2]).max() <= 1
    assert np.isnan(targets[:, 2]).all()


def test_variants_repeat_and_stay_in_range() -> None:
    draw = np.random.default_rng(0)
    sound = (0.3 * draw.standard_normal(RATE_HZ)).astype(np.float32)
    for seed in range(6):
        first = music.vary(sound, np.random.default_rng(seed))
        assert np.array_equal(first, music.vary(sound, np.random.default_rng(seed)))
        assert np.abs(first).max() <= 1
        assert len(first) == pytest.approx(RATE_HZ, rel=0.07)


def test_measure_by_hand() -> None:
    scores = [[0.5, 0.3, 0.1, 0.1], [0.4, 0.0, 0.3, 0.3], [0.1, 0.2, 0.6, 0.1], [0.2, 0.5, 0.1, 0.2]]
    table = pl.DataFrame(
        {
            "corpus": ["4qaed"] * 4,
            "group": list("abcd"),
            "label": [0, 1, 2, 3],
            "scores": scores,
            "window_hits": [1.0, 0.5, 0, 0],
        }
    )
    found = {name: value.value for name, value in music.measure(table).items()}
    assert found.pop("4qaed 4Q accuracy, windows of a curve") == pytest.approx(0.375)
    assert found == {"4qaed 4Q accuracy": 0.5, "4qaed arousal accuracy": 0.5, "4qaed valence accuracy": 0.5}


@needs_model
class TestInstalledModel:
    def test_card_holds_the_gate(self) -> None:
        card = registry.read_card("music")
        assert card.metrics["4qaed 4Q accuracy"][0] >= 0.60
        assert card.lookahead_s <= 2.5
        for name in ("valence", "arousal"):
            assert card.calibration["coverage"][name] == pytest.approx(0.9, abs=0.02)

    @needs_data
    def test_level_says_little(self) -> None:
        network = load_network("music")
        sound = corpora.read_sound(DATA / "music" / "demo_media" / "macleod_vibe_ace.ogg")  # type: ignore[operator]
        loud, soft = (self.scores(network, sound[: 15 * RATE_HZ] * gain) for gain in (1.0, 0.1))
        assert np.abs(loud - soft).max() < 0.1

    @staticmethod
    def scores(network: object, sound: np.ndarray) -> np.ndarray:
        import torch

        frames = frames_of(sound)
        frames = torch.nn.functional.pad(frames, (0, 0, 0, -len(frames) % 32))
        valid = torch.ones(1, len(frames), dtype=torch.bool)
        with torch.inference_mode():
            learned = network.encoder(frames[None], valid).sum(1)  # type: ignore[attr-defined]
            output = network.heads(learned, cell_sums(frames).sum(0, keepdim=True))[0]  # type: ignore[attr-defined]
            return np.asarray(torch.softmax(output.logits, -1)[0])

    def test_no_group_is_in_two_folds_of_the_stored_predictions(self) -> None:
        table = pl.read_parquet(registry.FOLDER / "music" / "predictions.parquet")
        assert table.group_by("group").agg(pl.col("fold").n_unique())["fold"].max() == 1
        assert table["fold"].n_unique() == 5
