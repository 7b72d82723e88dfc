"""Episodes: against an exhaustive and an unblocked reference, however the cells are cut, bounded."""

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodstream.models.paths import PathCosts, best_path
from moodstream.transforms.diarize import DiarizeSettings, EpisodeSegmenter, Run

LABELS = ("neutral", "happiness", "sadness")


def random_cells(seed: int, n: int, size: int = 3, gaps: float = 0.0, sharp: float = 2.0):
    """Scores that stay with a label for a while, with noise; valence and arousal at random."""
    random = np.random.default_rng(seed)
    truth = np.repeat(random.integers(0, size, n), random.integers(1, 12, n))[:n]
    logits = random.normal(0, 1, (n, size)) + sharp * np.eye(size)[truth]
    scores = np.exp(logits)
    scores /= scores.sum(axis=1, keepdims=True)
    estimated = random.random(n) >= gaps
    if gaps:
        estimated &= np.repeat(random.random(n) > 0.2, random.integers(1, 9, n))[:n]
    valence, arousal = random.uniform(-1, 1, (2, n))
    scores[~estimated] = np.nan
    return scores.astype(np.float32), estimated, valence.astype(np.float32), arousal.astype(np.float32)


def segment(cells, options: DiarizeSettings, cuts: tuple[int, ...] = (), labels=LABELS) -> list[Run]:
    segmenter = EpisodeSegmenter(labels[: cells[0].shape[1]], options)
    edges = [0, *sorted(min(cut, len(cells[1])) for cut in cuts), len(cells[1])]
    runs = []
    for low, high in itertools.pairwise(edges):
        runs += segmenter.push(*(column[low:high] for column in cells))
    return runs + segmenter.flush()


def path_score(scores, path, options) -> float:
    """What a label sequence is worth; minus infinity where a run is too short."""
    runs = [(label, len(list(cells))) for label, cells in itertools.groupby(path)]
    if len(runs) > 1 and min(length for _, length in runs) < options.shortest_cells:
        return -np.inf
    evidence = np.log(np.maximum(scores.astype(np.float64), options.floor))
    return evidence[np.arange(len(path)), list(path)].sum() - options.switch_cost * (len(runs) - 1)


def segmental_reference(scores, options) -> list[tuple[int, int, int]]:
    """The best path by dynamic programming over whole runs, unblocked: [(start, end, label)]."""
    evidence = np.log(np.maximum(scores.astype(np.float64), options.floor))
    sums = np.vstack([np.zeros(evidence.shape[1]), np.cumsum(evidence, axis=0)])
    n, size = evidence.shape
    best = {(0, None): (0.0, None)}
    for end in range(1, n + 1):
        for label in range(size):
            for start in range(end):
                if end - start < options.shortest_cells and not (start == 0 and end == n):
                    continue
                for before in [None] if start == 0 else [k for k in range(size) if k != label]:
                    if (start, before) not in best:
                        continue
                    value = best[start, before][0] + sums[end, label] - sums[start, label]
                    value -= options.switch_cost * (start > 0)
                    if (end, label) not in best or value > best[end, label][0]:
                        best[end, label] = (value, (start, before))
    node = max((k for k in best if k[0] == n), key=lambda k: best[k][0])
    runs = []
    while node[0]:
        parent = best[node][1]
        runs.append((parent[0], node[0], node[1]))
        node = parent
    return runs[::-1]


def final(runs: list[Run]) -> list[Run]:
    return [run for run in runs if run.is_final]


@pytest.mark.parametrize("shortest", [1, 2, 3])
@pytest.mark.parametrize("seed", range(8))
def test_is_the_best_of_all_label_sequences(seed, shortest):
    options = DiarizeSettings(
        shortest_cells=shortest, switch_cost=1.0, floor=0.01, report_cells=2, lag_cells=60
    )
    cells = random_cells(seed, 8)
    best = max(itertools.product(range(3), repeat=8), key=lambda path: path_score(cells[0], path, options))
    path = [
        LABELS.index(run.label)
        for run in final(segment(cells, options))
        for _ in range(run.start_cell, run.end_cell)
    ]
    assert path == list(best)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 90),
    st.integers(1, 7),
    st.floats(0, 8),
    st.integers(1, 20),
    st.integers(1, 3),
)
def test_equals_the_unblocked_reference(seed, n, shortest, cost, report, size):
    options = DiarizeSettings(shortest_cells=shortest, switch_cost=cost, report_cells=report, lag_cells=200)
    cells = random_cells(seed, n, size)
    got = [(run.start_cell, run.end_cell, LABELS.index(run.label)) for run in final(segment(cells, options))]
    assert got == segmental_reference(cells[0], options)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 200),
    st.lists(st.integers(0, 200), max_size=6),
    st.integers(8, 40),
    st.floats(0, 8),
)
def test_cuts_snapshots_and_gaps_do_not_change_a_report(seed, n, cuts, lag, cost):
    options = DiarizeSettings(shortest_cells=3, switch_cost=cost, lag_cells=lag, report_cells=4)
    cells = random_cells(seed, n, 3, gaps=0.1, sharp=0.5)
    whole = segment(cells, options)
    assert segment(cells, options, tuple(cuts)) == whole
    segmenter, resumed = EpisodeSegmenter(LABELS, options), []
    for index in range(n):
        resumed += segmenter.push(*(column[index : index + 1] for column in cells))
        state = pickle.dumps(segmenter.state())
        segmenter = EpisodeSegmenter(LABELS, options)
        segmenter.restore(pickle.loads(state))
    assert resumed + segmenter.flush() == whole


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 300), st.integers(4, 30), st.floats(0, 10), st.floats(0.0, 3.0))
def test_episodes_are_well_formed_even_when_the_lag_decides(seed, n, lag, cost, sharp):
    options = DiarizeSettings(
        shortest_cells=3, switch_cost=cost, lag_cells=lag, report_cells=3, bridge_cells=2
    )
    cells = random_cells(seed, n, 3, gaps=0.05, sharp=sharp)
    scores, estimated, valence, arousal = cells
    runs = segment(cells, options)
    settled = final(runs)
    assert [run.episode for run in settled] == list(range(len(settled)))
    assert {run.episode for run in runs} == {run.episode for run in settled}  # nothing is left hanging
    covered = np.zeros(n, int)
    for run in settled:
        inside = slice(run.start_cell, run.end_cell)
        covered[inside] += 1
        assert estimated[run.start_cell]
        assert estimated[run.end_cell - 1]
        keep = estimated[inside]
        label = LABELS.index(run.label)
        assert run.confidence == pytest.approx(scores[inside, label][keep].mean(), abs=1e-6)
        assert run.valence_mean == pytest.approx(valence[inside][keep].mean(), abs=1e-6)
        assert run.arousal_mean == pytest.approx(arousal[inside][keep].mean(), abs=1e-6)
        revisions = [other.revision for other in runs if other.episode == run.episode]
        assert revisions == list(range(len(revisions)))
        assert {other.start_cell for other in runs if other.episode == run.episode} == {run.start_cell}
    assert (covered[estimated] == 1).all()
    for before, after in itertools.pairwise(settled):
        if not (
            before.end_cell < after.start_cell and after.start_cell - before.end_cell > options.bridge_cells
        ):
            assert before.label != after.label
            keep = estimated[before.start_cell : before.end_cell].sum()
            assert keep >= options.shortest_cells


def test_a_long_pause_ends_an_episode_and_a_short_one_does_not():
    options = DiarizeSettings(bridge_cells=3)
    scores = np.tile(np.float32([0.8, 0.1, 0.1]), (40, 1))
    estimated = np.ones(40, bool)
    estimated[10:13] = False  # bridged
    estimated[20:24] = False  # not
    estimated[37:] = False  # the end
    runs = final(segment((scores, estimated, scores[:, 0], scores[:, 1]), options))
    assert [(run.start_cell, run.end_cell) for run in runs] == [(0, 20), (24, 37)]


def test_one_odd_cell_does_not_make_an_episode():
    scores = np.tile(np.float32([0.9, 0.05, 0.05]), (40, 1))
    scores[20] = [0.0, 1.0, 0.0]
    runs = final(
        segment((scores, np.ones(40, bool), scores[:, 0], scores[:, 0]), DiarizeSettings(shortest_cells=1))
    )
    assert [run.label for run in runs] == ["neutral"]


def test_state_does_not_grow():
    """Undecidable input (equal scores) is the worst case: every path stays in the running."""
    options = DiarizeSettings(lag_cells=60, switch_cost=0.0, shortest_cells=4)
    segmenter = EpisodeSegmenter(LABELS, options)
    sizes = []
    for seed in range(30):
        cells = random_cells(seed, 200, sharp=0.0)
        if seed % 2:
            cells[0][:] = 1 / 3
        segmenter.push(*cells)
        sizes.append(len(segmenter.state()["stretch"]["cells"]))
    assert max(sizes) <= options.lag_cells + options.report_cells


def test_provisional_reports_follow_the_position_in_the_media():
    options = DiarizeSettings(report_cells=10)
    scores = np.tile(np.float32([0.9, 0.05, 0.05]), (25, 1))
    runs = segment((scores, np.ones(25, bool), scores[:, 0], scores[:, 0]), options, cuts=(3, 7, 11))
    assert [(run.end_cell, run.revision, run.is_final) for run in runs] == [
        (10, 0, False),
        (20, 1, False),
        (25, 2, True),
    ]


def test_refuses_arrays_that_do_not_fit():
    segmenter = EpisodeSegmenter(LABELS)
    flat = np.zeros(2, np.float32)
    with pytest.raises(ValueError, match="shape"):
        segmenter.push(np.zeros((2, 4), np.float32), np.ones(2, bool), flat, flat)
    with pytest.raises(ValueError, match="without scores"):
        segmenter.push(np.full((2, 3), np.nan, np.float32), np.ones(2, bool), flat, flat)
    with pytest.raises(ValueError, match="0 labels"):
        EpisodeSegmenter(())
    with pytest.raises(ValueError, match="shortest_cells"):
        DiarizeSettings(shortest_cells=0)


@pytest.mark.parametrize("seed", range(12))
def test_with_changes_heard_it_is_the_best_path_of_the_whole(seed: int) -> None:
    random = np.random.default_rng(seed)
    scores, _, valence, arousal = random_cells(seed, 60)
    change = random.normal(-1, 2, 60).astype(np.float32)
    options = DiarizeSettings(shortest_cells=int(random.integers(1, 5)), switch_cost=2.0)
    costs = PathCosts(2.0, options.shortest_cells, options.floor)
    cells = (scores, np.ones(60, bool), valence, arousal, change)
    runs = final(segment(cells, options, cuts=(7, 20, 21)))
    assert [(r.start_cell, r.end_cell, LABELS.index(r.label)) for r in runs] == best_path(
        scores, change, costs
    )


def test_a_change_in_a_bridged_pause_counts_for_the_cell_after_it() -> None:
    scores = np.repeat([[0.6, 0.3, 0.1], [0.3, 0.6, 0.1]], 4, axis=0).astype(np.float32)
    estimated = np.ones(9, bool)
    estimated[4] = False
    scores = np.insert(scores, 4, np.nan, axis=0)
    level = np.zeros(9, np.float32)
    options = DiarizeSettings(shortest_cells=2, switch_cost=6.0)
    for heard, expected in ((0.0, 1), (6.0, 2)):
        change = np.zeros(9, np.float32)
        change[4] = heard
        assert len(final(segment((scores, estimated, level, level, change), options))) == expected
