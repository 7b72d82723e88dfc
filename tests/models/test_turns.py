"""The network that listens for turns, and the paths that are found in what it says."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from moodstream.models import diarization
from moodstream.models.audio import AudioModels
from moodstream.models.base import ACTIVITIES, CELL_FRAMES, EMOTIONS, QUADRANTS, Turns
from moodstream.models.diarization import Heard, diarized, loud_is_anger, neutral, score
from moodstream.models.experts import ExpertNetwork
from moodstream.models.features import frames_of
from moodstream.models.network import MoodNetwork, Shape
from moodstream.models.paths import PathCosts, best_path
from moodstream.models.pooling import N_SUMS, cell_sums
from moodstream.models.registry import Card
from moodstream.models.turns import (
    FUTURE,
    NEAR,
    PAST,
    TurnNetwork,
    TurnShape,
    channel_so_far,
    deep_view,
    shifted_sums,
)


@torch.inference_mode()
def cells_turns(
    network: TurnNetwork,
    sums: torch.Tensor,
    so_far: torch.Tensor,
    starts: bool = True,
    deep: torch.Tensor | None = None,
) -> Turns:
    """What a network says about n cells, of which the first is the first of the channel if it `starts`."""
    logits, change = network(sums, so_far.float(), deep)
    odds = change.numpy().copy()
    odds[: int(starts)] = 0.0
    return Turns(torch.softmax(logits, 1).numpy(), odds)


def cells(n: int, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(n, N_SUMS, generator=draw) + 0.5


@pytest.fixture(scope="module")
def network() -> TurnNetwork:
    torch.manual_seed(0)
    return TurnNetwork(TurnShape(EMOTIONS)).eval()


def test_shifted_sums_are_sums_of_the_cells_around() -> None:
    some = cells(7).double()
    for first, last in ((-4, -1), (0, 3), (-1, 1)):
        expected = [some[max(i + first, 0) : max(i + last + 1, 0)].sum(0) for i in range(7)]
        assert torch.allclose(shifted_sums(some, first, last), torch.stack(expected))


def test_a_cell_needs_its_neighbours_and_the_sums_before_only(network: TurnNetwork) -> None:
    some = cells(20)
    whole = cells_turns(network, some, channel_so_far(some))
    for start in (5, 9):
        held = some[start - PAST : start + FUTURE + 1]
        before = channel_so_far(some[: start - PAST])[-1]
        part = cells_turns(network, held, channel_so_far(held, before), starts=False).cut(PAST, PAST + 1)
        assert np.abs(part.scores - whole.scores[start : start + 1]).max() < 1e-5
        assert abs(part.change[0] - whole.change[start]) < 1e-4
    assert whole.change[0] == 0


def learned_sums(speech: ExpertNetwork, frames: torch.Tensor) -> torch.Tensor:
    """What the encoder makes of the cells of a sound, [n, gates + 2 c]."""
    n = -(-len(frames) // CELL_FRAMES) * CELL_FRAMES
    padded = torch.nn.functional.pad(frames, (0, 0, 0, n - len(frames)))
    with torch.inference_mode():
        learned: torch.Tensor = speech.encoder(padded[None], torch.arange(n)[None] < len(frames))[0]
    return learned


def test_what_the_speech_model_hears_moves_the_emotion_and_not_the_change(network: TurnNetwork) -> None:
    some, share = cells(9), network.shape.deep_share
    plain, change = network(some, channel_so_far(some).float())
    sure = torch.full((9, len(EMOTIONS)), -9.0)
    sure[:, 3] = 0.0
    moved, same = network(some, channel_so_far(some).float(), deep=sure)
    assert torch.allclose(moved, (1 - share) * plain + share * sure, atol=1e-6)
    assert torch.equal(change, same)
    assert 0 < share < 1


def exhaustive(scores: np.ndarray, change: np.ndarray, costs: PathCosts) -> float:
    """The worth of the best of all label sequences."""
    evidence = np.log(np.maximum(scores, costs.floor))
    price = np.maximum(costs.switch_cost - costs.change_weight * change, 0)
    best = -np.inf
    for path in itertools.product(range(scores.shape[1]), repeat=len(scores)):
        lengths = [len(list(run)) for _, run in itertools.groupby(path)]
        if len(lengths) > 1 and min(lengths) < costs.shortest_cells:
            continue
        worth = evidence[np.arange(len(path)), list(path)].sum()
        worth -= sum(price[i] for i in range(1, len(path)) if path[i] != path[i - 1])
        best = max(best, float(worth))
    return best


@pytest.mark.parametrize("shortest", [1, 2, 3])
def test_no_path_is_better(shortest: int) -> None:
    draw = np.random.default_rng(shortest)
    for _ in range(15):
        scores, change = draw.dirichlet(np.full(3, 0.6), 7), draw.normal(0, 2, 7)
        costs = PathCosts(draw.uniform(0, 4), shortest, 0.02, draw.uniform(0, 2))
        found = best_path(scores, change, costs)
        assert found[0][0] == 0
        assert found[-1][1] == 7
        worth = sum(np.log(np.maximum(scores[a:b, label], costs.floor)).sum() for a, b, label in found)
        worth -= sum(max(costs.switch_cost - costs.change_weight * change[a], 0) for a, _, _ in found[1:])
        assert worth == pytest.approx(exhaustive(scores, change, costs))
    assert best_path(np.zeros((0, 3)), np.zeros(0), costs) == []


def a_recording() -> Heard:
    """Two seconds neutral, two seconds anger, twice as loud, after a pause of one second."""
    scores = np.full((8, len(EMOTIONS)), 0.01)
    scores[:4, EMOTIONS.index("neutral")] = scores[4:, EMOTIONS.index("anger")] = 0.9
    return Heard(
        group="one",
        name="stretches",
        telephone=False,
        truth=[(0.0, 2.0, "neutral"), (2.0, 4.0, "anger")],
        pauses=[(2.0, 3.0)],
        cells=np.array([0, 1, 2, 3, 6, 7, 8, 9]),
        scores=scores,
        change=np.r_[np.full(4, -2.0), 3.0, np.full(3, -2.0)],
        level=np.r_[np.ones(4), np.full(4, 2.0)],
    )


def test_what_is_found_is_scored_without_the_pauses() -> None:
    one = a_recording()
    assert diarized(one) == one.truth
    assert score([one], diarized)[0] == pytest.approx([0, 1, 1, 1, 4 / 60])
    assert score([one], neutral)[0] == pytest.approx([0.5, 0, 0, 1, 4 / 60])
    assert score([one], loud_is_anger)[0][0] == 0


def test_sets_hold_the_four_emotions_of_the_source() -> None:
    assert {
        labels for name, _, labels, _ in diarization.SETS["ravdess"] if name in ("events", "stretches")
    } == {("neutral", "happiness", "sadness", "anger")}


@pytest.fixture(params=["statistics alone", "a speech encoder, too"])
def speech(request: pytest.FixtureRequest) -> MoodNetwork | ExpertNetwork:
    torch.manual_seed(0)
    shape = Shape(EMOTIONS, channels=8, dilations=(1,), hidden=8, past_cells=2, future_cells=1)
    if request.param == "statistics alone":
        return MoodNetwork(shape)
    return ExpertNetwork(replace(shape, corpora=("one",), conditions=("as recorded",), landmarks=4)).eval()


def test_a_stream_hears_what_the_whole_sound_holds_however_it_is_cut(
    network: TurnNetwork, speech: MoodNetwork | ExpertNetwork
) -> None:
    names = {"speech": EMOTIONS, "music": QUADRANTS, "activity": ACTIVITIES, "diarization": EMOTIONS}
    cards = {
        task: Card(task, "1.0+x", task, list(labels), [], 0, 0, {}, "", {}, 0, "", [], {}, {}, "", {})
        for task, labels in names.items()
    }
    listening = cards.pop("diarization")
    others = [
        MoodNetwork(Shape(names[task], channels=8, dilations=(1,), hidden=8, past_cells=2, future_cells=1))
        for task in ("music", "activity")
    ]
    models = AudioModels([speech, *others], list(cards.values()), (network, listening))
    sound = (0.1 * np.random.default_rng(0).standard_normal(16_000 * 9 + 700)).astype(np.float32)
    frames = frames_of(sound)
    padded = torch.nn.functional.pad(frames, (0, 0, 0, -len(frames) % 32))
    sums = cell_sums(padded, len(frames))
    deep = None
    if isinstance(speech, ExpertNetwork):
        deep = deep_view(speech, shifted_sums(learned_sums(speech, frames), *NEAR))
    expected = cells_turns(network, sums, channel_so_far(sums), deep=deep)
    for cuts in ([], [3_000, 50_001, 50_002, 120_000]):
        stream = models.stream()
        parts = []
        for piece in np.split(sound, cuts):
            parts.append(stream.push(piece).speech.turns)
            state, stream = stream.state(), models.stream()
            stream.restore(state)
        parts.append(stream.flush().speech.turns)
        assert all(part is not None for part in parts)
        scores = np.concatenate([part.scores for part in parts if part])
        change = np.concatenate([part.change for part in parts if part])
        assert np.abs(scores - expected.scores).max() < 1e-5
        assert np.abs(change - expected.change).max() < 1e-4
