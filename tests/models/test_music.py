"""Targets, variants and measures of the music model, and what the installed one holds."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from moodstream.models import corpora, music, registry
from moodstream.models.audio import load_network
from moodstream.models.base import RATE_HZ
from moodstream.models.music_fitting import sums_of

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
    labels = music.labels_of(rows, music.CORPORA)
    assert not labels.rendered.any()
    known = {name: rows["corpus"].to_numpy() == name for name in ("4qaed", "emotify", "emomusic")}
    assert [int(mine.sum()) for mine in known.values()] == [203, 400, 10]
    assert np.array_equal(np.isfinite(labels.quadrants).all(1), known["4qaed"])
    assert np.array_equal(np.isfinite(labels.moods).all(1), known["emotify"])
    assert (labels.quadrants[known["4qaed"]].sum(1) == 1).all()
    assert np.abs(labels.dimensions).max() <= 1
    weights = [labels.weight[mine].sum() for mine in known.values()]
    assert weights[0] == pytest.approx(weights[1]) == pytest.approx(10 * weights[2])


def test_midi_is_heard_rendered(tmp_path: Path) -> None:
    files = [tmp_path / "a.mid", tmp_path / "b.mp3"]
    for file in files:
        file.write_bytes(b"x")
    rows = corpora.conform(
        pl.DataFrame({"file": ["a.mid", "b.mp3"], "quadrant": ["Q1", "Q3"], "corpus": "x"}), tmp_path
    )
    first, second = music.examples(rows)
    assert first.key.startswith("rendered")
    assert not second.key.startswith("rendered")
    assert music.labels_of(rows, {}).rendered.tolist() == [True, False]


def test_measure_by_hand() -> None:
    scores = [[0.5, 0.3, 0.1, 0.1], [0.4, 0.0, 0.3, 0.3], [0.1, 0.2, 0.6, 0.1], [0.2, 0.5, 0.1, 0.2]]
    table = pl.DataFrame(
        {
            "corpus": ["4qaed"] * 4,
            "group": list("abcd"),
            "label": [0, 1, 2, 3],
            "scores": scores,
            "window_hits": [1.0, 0.5, 0, 0],
            "mean_logits": [[1.0, 0, 0, 0]] * 4,
        }
    )
    found = {name: value.value for name, value in music.measure(table).items()}
    assert found.pop("4qaed 4Q accuracy, windows of a curve") == pytest.approx(0.375)
    assert found.pop("4qaed 4Q accuracy, mean of windows") == 0.25
    assert found == {"4qaed 4Q accuracy": 0.5, "4qaed arousal accuracy": 0.5, "4qaed valence accuracy": 0.5}


def test_measure_of_moods_is_the_mean_correlation() -> None:
    draw = np.random.default_rng(0)
    truth = draw.random((40, 9))
    said = truth.copy()
    said[:, 0] = -truth[:, 0]
    table = pl.DataFrame(
        {
            "corpus": ["emotify"] * 40,
            "group": [str(i) for i in range(40)],
            "label": [-1] * 40,
            **{name: draw.random(40) for name in ("true_valence", "valence", "true_arousal", "arousal")},
            "true_moods": truth.tolist(),
            "moods": said.tolist(),
        }
    )
    assert music.measure(table)["emotify moods, mean r"].value == pytest.approx(7 / 9)


@needs_model
class TestInstalledModel:
    def test_card_holds_the_gate(self) -> None:
        card = registry.read_card("music")
        for name, least in (
            ("4qaed 4Q accuracy", 0.67),
            ("4qaed arousal accuracy", 0.89),
            ("4qaed valence accuracy", 0.71),
            ("emotify moods, mean r", 0.50),
        ):
            assert card.metrics[name][0] >= least
        assert card.lookahead_s <= 2.5
        for name in ("valence", "arousal"):
            assert card.calibration["coverage"][name] == pytest.approx(0.9, abs=0.02)

    @needs_data
    def test_level_says_little(self) -> None:
        network = load_network("music")
        sound = corpora.read_sound(DATA / "music" / "demo_media" / "macleod_vibe_ace.ogg")  # type: ignore[operator]
        loud, soft = (
            torch.softmax(network.heads(sums[:, :0], sums)[0].logits, -1)
            for sums in (sums_of(sound[: 15 * RATE_HZ] * gain).sum(0)[None] for gain in (1.0, 0.1))
        )
        assert float((loud - soft).abs().max()) < 0.1

    def test_no_group_is_in_two_folds_of_the_stored_predictions(self) -> None:
        table = pl.read_parquet(registry.FOLDER / "music" / "predictions.parquet")
        assert table.group_by("seed", "group").agg(pl.col("fold").n_unique())["fold"].max() == 1
        assert table["fold"].n_unique() == 5
