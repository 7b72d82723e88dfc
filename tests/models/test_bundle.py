"""Channels in one batch: each hears what it would hear alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moodstream.models.audio import AudioModels
from moodstream.models.base import ACTIVITIES, EMOTIONS, HAS_SPEECH, QUADRANTS, AudioEstimates, Float, decide
from moodstream.models.bundle import CellStream
from moodstream.models.experts import ExpertNetwork
from moodstream.models.judging import VOICED_WEIGHT, trust
from moodstream.models.network import MoodNetwork, Shape
from moodstream.models.pooling import N_SUMS, cell_sums
from moodstream.models.registry import Card
from tests.support.reference import reference_frames

TASKS = {"speech": EMOTIONS, "music": QUADRANTS, "activity": ACTIVITIES}


@pytest.fixture(scope="module")
def models() -> AudioModels:
    torch.manual_seed(0)
    networks, cards = [], []
    for task, past, future in (("speech", 4, 2), ("music", 5, 2), ("activity", 2, 1)):
        centre = 0.7 * (task == "speech")
        shape = Shape(
            TASKS[task],
            channels=16,
            dilations=(1, 2, 4),
            past_cells=past,
            future_cells=future,
            centre=centre,
            centre_future=1,
        )
        network = MoodNetwork(shape).requires_grad_(False)
        network.wide.normal_(0, 0.05)
        network.deep.normal_(0, 0.2)
        if task == "activity":
            network.deep[0, -1, 2 * 3 + ACTIVITIES.index("speech")] = 5.0  # whatever is not silent
        networks.append(network)
        cards.append(
            Card(task, "1.0+x", task, list(TASKS[task]), [], 0, 0, {}, "", {}, 0, "", [], {}, {}, "", {})
        )
    return AudioModels(networks, cards)


@pytest.fixture(scope="module")
def experts(models: AudioModels) -> AudioModels:
    """The same with experts for speech, who say something else where the speaker is known."""
    torch.manual_seed(1)
    shape = Shape(
        EMOTIONS,
        channels=16,
        dilations=(1, 2),
        past_cells=4,
        future_cells=2,
        corpora=("one", "two"),
        stride=4,
        landmarks=2,
        conditions=("as recorded", "by telephone"),
    )
    network = ExpertNetwork(shape).requires_grad_(False)
    network.wide.normal_(0, 0.05)
    network.relative.normal_(0, 0.05)
    return AudioModels([network, *models.networks[1:]], models.cards)


def sound(samples: int, seed: int) -> Float:
    draw = np.random.default_rng(seed)
    time = np.arange(samples) / 16_000
    tone = np.sin(2 * np.pi * (150 + 20 * seed) * time + 3 * np.sin(5 * time)) * (np.sin(3 * time) > 0)
    return (0.1 * tone + 0.01 * draw.standard_normal(samples)).astype(np.float32)


def rows(of: AudioEstimates) -> Float:
    """All numbers, a row a cell, its number first."""
    parts = (part for m in (of.speech, of.music) for part in (m.mean, m.std, m.scores))
    return np.concatenate([of.start + np.arange(len(of))[:, None], of.activity, *parts], 1)


def heard(stream: CellStream, pieces: list[Float]) -> tuple[Float, Float]:
    """Final and early rows of a stream that hears pieces and ends."""
    said = [stream.models.push([stream], [piece])[0] for piece in pieces]
    final = [rows(one.final) for one in said] + [rows(stream.flush())]
    return np.concatenate(final), np.concatenate([rows(one.early) for one in said])


@settings(max_examples=8, deadline=None)
@given(st.lists(st.lists(st.integers(0, 20_000), min_size=3, max_size=3), min_size=1, max_size=6))
def test_each_hears_in_company_what_it_hears_alone(models: AudioModels, cuts: list[list[int]]) -> None:
    sounds = [sound(70_000, seed) for seed in range(3)]
    together = [models.stream(early=True) for _ in sounds]
    final, early, at = [[], [], []], [[], [], []], [0, 0, 0]
    for sizes in [*cuts, [8_000] * 3, [8_000] * 3]:
        pieces = [sounds[i][at[i] : at[i] + size] for i, size in enumerate(sizes)]
        for i, one in enumerate(models.push(together, pieces)):
            final[i].append(rows(one.final))
            early[i].append(rows(one.early))
            at[i] += sizes[i]
    for i, stream in enumerate(together):
        ended = rows(stream.flush(sounds[i][at[i] :]))
        whole = [sounds[i][: min(at[i], 70_000)]]
        alone = models.stream(early=True)
        said = models.push([alone], whole)[0]
        expected = np.concatenate([rows(said.final), rows(alone.flush(sounds[i][at[i] :]))])
        np.testing.assert_allclose(np.concatenate([*final[i], ended]), expected, atol=2e-5, rtol=1e-4)
        np.testing.assert_allclose(np.concatenate(early[i]), rows(said.early), atol=2e-5, rtol=1e-4)


def test_an_early_word_comes_within_half_a_second_and_is_on_what_is_known(models: AudioModels) -> None:
    samples, stream, told = sound(96_000, 1), models.stream(early=True), 0
    frames = reference_frames(samples)
    sums = cell_sums(frames[: len(frames) // 32 * 32])
    network = models.networks[0]
    for end in range(8_000, 96_001, 8_000):
        early = models.push([stream], [samples[end - 8_000 : end]])[0].early
        assert early.start + len(early) >= end // 8_000 - 1
        for i in range(len(early)):
            cell = early.start + i
            learned = network.encoder(
                frames[None, : 32 * (cell + 1)], torch.ones(1, 32 * (cell + 1), dtype=torch.bool)
            )
            known = learned[0, max(cell - 4, 0) : max(cell - 1, 0)].sum(0, keepdim=True)
            fixed = sums[max(cell - 4, 0) : cell + 1].sum(0, keepdim=True)
            expected = network.heads(known, fixed)[0].mean.numpy()
            np.testing.assert_allclose(early.speech.mean[i : i + 1], expected, atol=1e-4)
            told += 1
    assert told >= 10


@settings(max_examples=6, deadline=None)
@given(st.lists(st.integers(0, 20_000), min_size=1, max_size=8))
def test_one_voice_is_judged_by_how_it_usually_sounds(experts: AudioModels, cuts: list[int]) -> None:
    samples = sound(96_000, 2)
    stream, pieces, at = experts.stream(one_voice=True, early=True), [], 0
    for size in cuts:
        pieces.append(samples[at : at + size])
        at += size
    final, _ = heard(stream, [*pieces, samples[at:]])
    once, _ = heard(experts.stream(one_voice=True, early=True), [samples])
    np.testing.assert_allclose(final, once, atol=2e-5, rtol=1e-4)
    anybody, _ = heard(experts.stream(), [samples])
    assert np.abs(once[-1] - anybody[-1]).max() > 1e-3


def test_a_speaker_is_known_by_how_long_the_voice_was_heard() -> None:
    sums = torch.ones(3, N_SUMS)
    sums[:, VOICED_WEIGHT] = torch.tensor([0.0, 0.5, 1.0])
    assert trust(sums, torch.tensor([200, 20, 200])).tolist() == [0.0, 0.25, 1.0]


def test_sparing_judges_only_where_something_is_heard(models: AudioModels) -> None:
    samples = [sound(100_000, 2)]
    samples[0][30_000:60_000] = 0
    full, _ = heard(models.stream(), samples)
    spared = models.stream(sparing=True)
    said = models.push([spared], samples)[0].final
    talks = HAS_SPEECH[decide(said.activity)]
    assert talks.any()
    assert not talks.all()
    assert np.isnan(said.speech.mean[~talks]).all()
    here = rows(said)[talks][:, : 1 + 5 + 6 + 9]
    np.testing.assert_allclose(here, full[: len(talks)][talks][:, : here.shape[1]], atol=1e-6)


def test_who_does_not_listen_says_nothing(models: AudioModels) -> None:
    samples = sound(100_000, 3)
    both = models.push([models.stream()], [samples])[0].final
    quiet = models.push([models.stream(speech=False, music=False)], [samples])[0].final
    assert len(quiet) >= len(both)
    np.testing.assert_allclose(quiet.activity[: len(both)], both.activity, atol=1e-6)
    assert np.isnan(quiet.speech.mean).all()
    assert np.isnan(quiet.music.mean).all()
    assert len(quiet.speech) == len(quiet.music) == len(quiet)
