from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import polars as pl
import pytest
import torch

from moodstream.models import fitting, registry, training
from moodstream.models.audio import load_network
from moodstream.models.audio_task import context, fold_examples
from moodstream.models.augment import add_noise, augment, change_speed, through_telephone
from moodstream.models.calibration import best_temperature, calibrate, softmax
from moodstream.models.corpora import read_sound
from moodstream.models.examples import Example, prepare
from moodstream.models.fitting import Targets, fit, predict
from moodstream.models.network import Output
from moodstream.models.speech import TASK as SPEECH
from tests.support.toy_task import TOY, make, toy_examples


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_training_learns_and_writes_a_model(trained: tuple[Path, Path]) -> None:
    out, _ = trained
    card = registry.read_card("toy", out)
    assert card.metrics["UAR"][0] > 0.9
    assert card.dimensions == ["valence", "arousal"]
    assert card.corpora == {"a": "the user's own", "b": "the user's own"}
    assert card.prior["valence"] == pytest.approx([0.0, 0.25], abs=0.01)
    network = load_network("toy", out)
    assert network.shape.corpora == ()
    assert network.known.tolist() == [1, 1, 0]
    assert float(network.temperature) == pytest.approx(card.calibration["temperature"])
    table = pl.read_parquet(out / "toy" / training.PREDICTIONS)
    assert table["example"].to_list() == list(range(48))
    by_group = table.group_by("group").agg(pl.col("fold").n_unique())
    assert by_group["fold"].max() == 1
    noisy = np.array(table.filter(pl.col("corpus") == "b")["scores"].to_list())[:, 2]
    assert noisy.max() == 0  # corpus b has no such label


def test_the_same_seed_gives_the_same_weights(trained: tuple[Path, Path]) -> None:
    prepared = prepare(toy_examples(), 2, trained[1])
    shape = replace(TOY.shape, corpora=("a", "b"))
    rows = np.arange(48)
    first, same, other = (
        fit(prepared, shape, rows, TOY.recipe, seed=seed).state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["deep"], other["deep"])


def test_windows_give_a_row_a_cell(trained: tuple[Path, Path]) -> None:
    prepared = prepare(toy_examples(), 2, trained[1])
    network = fit(
        prepared, replace(TOY.shape, corpora=("a", "b")), np.arange(48), replace(TOY.recipe, steps=0)
    )
    found = predict(network, prepared, np.array([3, 5]), windows=True)
    assert found.row.tolist() == [3, 3, 3, 5, 5, 5]
    assert float(network.deep_share) == 0


@pytest.mark.parametrize("landmarks", [10, 40])
def test_the_kernel_branch_learns_the_ratings(trained: tuple[Path, Path], landmarks: int) -> None:
    prepared = prepare(toy_examples(), 2, trained[1])
    shape = replace(TOY.shape, corpora=("a", "b"), landmarks=landmarks)
    network = fit(prepared, shape, np.arange(40), replace(TOY.recipe, steps=0))
    found = predict(network, prepared, np.arange(40, 48)).mean
    truth = np.array([toy_examples()[row].target for row in range(40, 48)])
    np.testing.assert_allclose(found[:, :2], truth[:, :2], atol=0.25)
    assert int((network.pull[:-1].abs().sum(1) > 0).sum()) == min(landmarks, 16)  # the rated ones
    assert network.pull[:, 2].abs().max() == 0  # nobody rated dominance


def test_features_come_from_the_cache_the_second_time(tmp_path: Path) -> None:
    first = prepare(toy_examples()[:4], 2, tmp_path)
    silent = [replace(example, sound=lambda: np.zeros(5, np.float32)) for example in toy_examples()[:4]]
    second = prepare(silent, 2, tmp_path)
    np.testing.assert_array_equal(first.sums, second.sums)
    assert first.cells.tolist() == list(range(0, 25, 3))


@pytest.mark.parametrize("torn", [0, 700, -700])
def test_features_go_on_where_they_were_stopped(tmp_path: Path, torn: int) -> None:
    heard: list[str] = []

    def hearing(example: Example) -> Example:
        return replace(example, sound=lambda: heard.append(example.key) or example.sound())

    def stop(what: str, share: float) -> None:
        if share >= 0.5:
            raise KeyboardInterrupt

    examples = [hearing(example) for example in toy_examples()[:6]]
    with pytest.raises(KeyboardInterrupt):
        prepare(examples, 2, tmp_path, progress=stop)
    assert heard == ["toy0", "toy1", "toy2"]
    raw = next((tmp_path / "features").glob("*/frames.raw"))  # half written, or lost
    raw.write_bytes(raw.read_bytes() + b"x" * torn if torn >= 0 else raw.read_bytes()[:torn])
    found = prepare(examples, 2, tmp_path)
    assert heard[3:] == [f"toy{i}" for i in range(3 if torn >= 0 else 0, 6)]
    whole = prepare(toy_examples()[:6], 2, tmp_path / "other")
    for name in ("frames", "sums", "cells", "lengths"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))


def test_weights_balance_corpora_and_labels(trained: tuple[Path, Path]) -> None:
    prepared = prepare(toy_examples(), 2, trained[1])
    rows = np.array([0, 3, 6, 1, 24, 25])  # corpus a: low three times, high once; b: one each
    targets = Targets.of(prepared, replace(TOY.shape, corpora=("a", "b")), rows, {"b": 3.0})
    assert targets.weight[[0, 3, 6]].sum().item() == pytest.approx(0.125)
    assert targets.weight[1].item() == pytest.approx(0.125)
    assert targets.weight[[24, 25]].tolist() == pytest.approx([0.375, 0.375])
    assert targets.allowed.tolist() == [[True, True, True], [True, True, False]]


def test_a_label_that_a_corpus_lacks_costs_it_nothing(trained: tuple[Path, Path]) -> None:
    prepared = prepare(toy_examples(), 2, trained[1])
    targets = Targets.of(prepared, replace(TOY.shape, corpora=("a", "b")), np.arange(48), {})
    owner = torch.tensor([0, 30])  # of a, which has "noisy", and of b, which has not
    none = torch.zeros(2, 3)
    losses = [
        fitting.losses(Output(none, none, torch.tensor([[0, 0, value]] * 2)), targets, owner, TOY.recipe, 0.0)
        for value in (0.0, 5.0)
    ]
    assert losses[1][0] > losses[0][0] + 1
    assert losses[1][1] == losses[0][1]


def test_folds_keep_groups_apart() -> None:
    examples = toy_examples()
    fold_of = fold_examples(examples, 4, 0)
    groups = {(example.group, fold) for example, fold in zip(examples, fold_of.tolist(), strict=True)}
    assert len(groups) == 16
    with pytest.raises(ValueError, match="count is 17"):
        fold_examples(examples, 17, 0)


def test_temperature_makes_scores_honest() -> None:
    draw = np.random.default_rng(0)
    logits = draw.standard_normal((4000, 3)) * 2
    truth = np.array([draw.choice(3, p=row) for row in softmax(logits)])
    assert best_temperature(logits * 2.5, truth) == pytest.approx(2.5, rel=0.08)


def test_intervals_cover_what_they_promise() -> None:
    draw = np.random.default_rng(0)
    values = draw.standard_normal(500)
    table = pl.DataFrame(
        {
            "label": [-1] * 500,
            "rated": [True] * 500,
            "logits": [[0.0, 0.0]] * 500,
            "own_logits": [[0.0, 0.0]] * 500,
        }
        | {f"true_{name}": values for name in ("valence", "arousal", "dominance")}
        | {name: np.zeros(500) for name in ("valence", "arousal", "dominance")}
        | {f"{name}_std": np.full(500, 0.25) for name in ("valence", "arousal", "dominance")}
    )
    found, calibration = calibrate(table, ("a", "b"))
    assert calibration["coverage"]["valence"] == pytest.approx(0.9, abs=0.005)
    assert calibration["std_scale"]["valence"] == pytest.approx(4, rel=0.1)
    again, _ = calibrate(table, ("a", "b"), calibration)
    assert again["valence_std"].to_list() == found["valence_std"].to_list()


def test_augmentation_does_what_it_says() -> None:
    samples = make(1, 0, 2.0)
    assert len(change_speed(samples, 1.25)) == pytest.approx(len(samples) / 1.25, abs=2)
    noisy = add_noise(samples, 10.0, np.random.default_rng(0)) - samples
    assert 10 * np.log10(np.mean(samples**2) / np.mean(noisy**2)) == pytest.approx(10, abs=0.01)
    spectrum = np.abs(np.fft.rfft(through_telephone(np.random.default_rng(0).standard_normal(16_000)))) ** 2
    assert spectrum[5000:].mean() < 0.02 * spectrum[500:3000].mean()
    changed = augment(samples, np.random.default_rng(3))
    np.testing.assert_array_equal(changed, augment(samples, np.random.default_rng(3)))
    assert np.abs(changed).max() <= 1


def test_a_folder_of_ones_own_trains(tmp_path: Path) -> None:
    """Speech, from a csv of four speakers: the whole way, in its smoke version."""
    rows = []
    for i in range(48):
        label = i % 2
        path = tmp_path / f"{i}.wav"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
            pcm = (make(label, i) * 20_000).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
            frame.rate = 16_000
            container.mux([*stream.encode(frame), *stream.encode(None)])
        rows.append((path.name, ("sadness", "anger")[label], f"s{i % 4}"))
    assert len(read_sound(tmp_path / "0.wav")) == 19_200
    pl.DataFrame(rows, ["file", "emotion", "group"], orient="row").write_csv(tmp_path / "mine.csv")
    said: list[str] = []
    card = training.train(
        "speech",
        tmp_path,
        tmp_path / "out",
        folds=2,
        smoke=True,
        cache=tmp_path / "cache",
        progress=lambda what, share: said.append(what),
    )
    assert card.corpora == {"mine": "the user's own"}
    assert "mine UAR" in card.metrics
    assert said[0] == "features"
    assert any(one.startswith("seed 0, fold 2: steps (UAR ") for one in said)
    assert any(one.startswith("final fit: steps (UAR ") for one in said)


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed are speech"):
        training.train("smell", None)


def test_the_context_stays_within_three_seconds() -> None:
    ahead_s, past_s = context(SPEECH.shape)
    cells = 2 + 2 + 1  # after the cell, that the encoder reaches into, that centring looks at
    assert ahead_s == pytest.approx(cells / 2 + 16 / 64 + 195 / 16_000, abs=1e-3)
    assert ahead_s <= 3
    assert past_s < 10
