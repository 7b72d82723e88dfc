"""Segments lie where they should, and their views stay within their clips."""

import numpy as np
import pytest
import torch

from moodstream.models.music_network import N_FIXED, all_statistics
from moodstream.models.segment_views import Cuts, SpanViews, spans_of, swapped


def test_spans_are_the_sums_of_their_cells() -> None:
    sums = np.random.default_rng(0).random((30, N_FIXED)).astype(np.float32)
    values, cuts = spans_of(sums, {0: (0, 20), 1: (20, 24)}, 10, 5, all_statistics)
    assert cuts.clip.tolist() == [0, 0, 0, 1]
    assert cuts.start.tolist() == [0, 5, 10, 11]
    assert len(values) == 12
    for segment, (start, stop) in enumerate([(0, 10), (5, 15), (10, 20), (20, 24)]):
        whole = all_statistics(torch.from_numpy(sums[start:stop].sum(0)))
        torch.testing.assert_close(values[cuts.start[segment]], whole, rtol=1e-3, atol=1e-3)


def test_views_of_spans() -> None:
    values = torch.arange(40.0)[:, None].expand(-1, 50) / 40
    cuts = Cuts(np.array([0, 1]), np.array([10, 30]), np.array([0, 29]), np.array([28, 39]))
    views = SpanViews(values, cuts, torch.eye(2), torch.ones(2, 2) > 0, noise=0.0)
    draw = np.random.default_rng(0)
    weak = torch.stack([views.weak(np.array([0, 1]), draw)[:, 0] * 40 for _ in range(50)]).round()
    assert sorted(set(weak[:, 0].tolist())) == [7, 8, 9, 10, 11, 12, 13]
    assert sorted(set(weak[:, 1].tolist())) == [29, 30, 31, 32, 33]
    strong = torch.stack([views.strong(np.array([1]), draw) for _ in range(50)])
    assert float((strong == 0).float().mean()) == pytest.approx(0.15, abs=0.03)


def test_exchanged_segments_come_from_another_label_of_the_same_speaker() -> None:
    clip = np.repeat(np.arange(8), 5)
    at = np.arange(40)
    labels = torch.eye(2)[torch.from_numpy(clip % 2)]
    labels[30:] = 0  # clips 6 and 7 have none
    speaker = [str(i) for i in clip // 4]
    cuts, truth = swapped(Cuts(clip, at, at, at), labels, speaker, 0.5, seed=1)
    moved = np.flatnonzero(truth != at)
    assert 5 < len(moved) < 25
    assert moved.max() < 30
    assert (clip[truth[moved]] % 2 != clip[moved] % 2).all()
    assert (clip[truth] // 4 == clip // 4).all()
    assert np.array_equal(cuts.start, truth)
    assert np.array_equal(cuts.clip, clip)
