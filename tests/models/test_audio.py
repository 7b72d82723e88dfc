from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moodstream.models import registry
from moodstream.models.audio import AudioModels
from moodstream.models.base import ACTIVITIES, EMOTIONS, QUADRANTS, AudioEstimates
from moodstream.models.network import MoodNetwork, Shape
from moodstream.models.registry import Card
from tests.support.reference import reference

TASKS = {"speech": EMOTIONS, "music": QUADRANTS, "activity": ACTIVITIES}


def a_card(task: str) -> Card:
    return Card(task, "1.0+x", task, list(TASKS[task]), [], 0, 0, {}, "", {}, 0, "", [], {}, {}, "", {})


def a_network(task: str, past: int, future: int) -> MoodNetwork:
    centre = 0.7 * (task == "music")
    shape = Shape(TASKS[task], past_cells=past, future_cells=future, centre=centre, centre_future=1)
    network = MoodNetwork(shape).requires_grad_(False)
    network.wide.normal_(0, 0.05)
    network.deep.normal_(0, 0.2)
    return network


@pytest.fixture(scope="module")
def models() -> AudioModels:
    """Untrained networks with windows of different lengths."""
    torch.manual_seed(0)
    networks = [a_network("speech", 4, 3), a_network("music", 7, 2), a_network("activity", 1, 0)]
    networks[1].known[2] = 0
    return AudioModels(networks, [a_card(task) for task in TASKS])


def sound(samples: int, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    time = np.arange(samples) / 16_000
    tone = np.sin(2 * np.pi * 180 * time + 3 * np.sin(5 * time)) * (np.sin(3 * time) > 0)
    return (0.1 * tone + 0.01 * draw.standard_normal(samples)).astype(np.float32)


def table(*estimates: AudioEstimates) -> np.ndarray:
    """All numbers, a row a cell."""
    rows = [
        np.concatenate(
            [e.activity, *(part for m in (e.speech, e.music) for part in (m.mean, m.std, m.scores))], 1
        )
        for e in estimates
    ]
    return np.concatenate(rows)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40_000), st.booleans()), max_size=8), st.integers(1, 130_000))
def test_stream_is_the_unblocked_reference(
    models: AudioModels, cuts: list[tuple[int, bool]], length: int
) -> None:
    samples = sound(length)
    stream, parts, at = models.stream(), [], 0
    for size, saved in cuts:
        parts.append(stream.push(samples[at : at + size]))
        at += size
        if saved:
            state = stream.state()
            stream = models.stream()
            stream.restore(state)
    parts += [stream.push(samples[at:]), stream.flush()]
    cells = 0
    for part in parts:
        assert part.start == part.speech.start == part.music.start == cells
        assert len(part) == len(part.speech) == len(part.music)
        cells += len(part)
    assert cells == -(-length // 8000)
    np.testing.assert_allclose(table(*parts), table(reference(models, samples)), atol=1e-5, rtol=1e-4)


def test_a_long_stream_forgets_only_what_no_window_needs(models: AudioModels) -> None:
    samples = sound(160_000)
    stream = models.stream()
    parts = [stream.push(samples[at : at + 4321]) for at in range(0, len(samples), 4321)]
    found = table(*parts, stream.flush())
    np.testing.assert_allclose(found, table(reference(models, samples)), atol=1e-5, rtol=1e-4)


def test_cells_come_within_the_declared_lookahead(models: AudioModels) -> None:
    stream = models.stream()
    ahead_s = 1.0 + 1.0 + 0.5 + 16 / 64 + 195 / 16_000  # window, reach of the encoder, centring, front end
    assert len(stream.push(sound(int((0.5 + ahead_s) * 16_000) - 600))) == 0
    assert len(stream.push(sound(1200))) == 1


def test_state_stays_small(models: AudioModels) -> None:
    stream = models.stream()
    sizes = []
    for i in range(6):
        stream.push(sound(52_345, seed=i))
        state = stream.state()
        sizes.append(sum(part.nbytes for part in (*state["memory"], state["base"], state["bands"])))
    assert max(sizes) < 200 * 1024


def test_snapshot_of_other_models_is_refused(models: AudioModels) -> None:
    cards = [replace(models.cards[0], version="2.0+y"), *models.cards[1:]]
    other = AudioModels(models.networks, cards)
    with pytest.raises(ValueError, match=r"2\.0"):
        other.stream().restore(models.stream().state())


def test_batch_is_its_single_members(models: AudioModels) -> None:
    sounds = [sound(n, seed=n) for n in (1, 300, 8000, 33_333, 64_000, 12_345)]
    together = table(models.estimate(sounds))
    alone = np.concatenate([table(models.estimate([each])) for each in sounds])
    np.testing.assert_allclose(together, alone, atol=1e-5, rtol=1e-5)


def test_probabilities_and_unknown_dimensions(models: AudioModels) -> None:
    found = models.estimate([sound(20_000)])
    for scores in (found.activity, found.speech.scores, found.music.scores):
        np.testing.assert_allclose(scores.sum(1), 1, atol=1e-5)
    assert np.isnan(found.music.mean[:, 2]).all()
    assert np.isnan(found.music.std[:, 2]).all()
    assert np.isfinite(found.speech.mean).all()


def test_nothing_gives_nothing(models: AudioModels) -> None:
    assert len(models.estimate([])) == 0
    assert len(models.stream().flush()) == 0
    assert len(models.stream().push(np.zeros(0, np.float32))) == 0


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_digital_silence_and_constants_are_finite(models: AudioModels, value: float) -> None:
    stream = models.stream()
    found = table(stream.push(np.full(50_000, value, np.float32)), stream.flush())
    assert np.isfinite(np.delete(found, [5 + 6 + 9 + 2, 5 + 6 + 9 + 5], 1)).all()


def test_a_model_of_another_task_is_refused(models: AudioModels) -> None:
    with pytest.raises(ValueError, match="not speech"):
        AudioModels(models.networks, [models.cards[1], *models.cards[1:]])


def test_missing_models_are_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no model 'speech'"):
        AudioModels.load(folder=tmp_path)


def test_models_survive_the_disk(models: AudioModels, tmp_path: Path) -> None:
    for network, card in zip(models.networks, models.cards, strict=True):
        stored = replace(card, shape=network.shape.asdict())
        registry.write_model(stored, network.state_dict(), tmp_path)
    loaded = AudioModels.load(folder=tmp_path)
    sounds = [sound(20_000)]
    np.testing.assert_array_equal(table(loaded.estimate(sounds)), table(models.estimate(sounds)))
