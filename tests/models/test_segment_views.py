"""Segments lie where they should, and their views stay within their clips."""

import numpy as np
import pytest
import torch

from moodstream.models.base import CELL_FRAMES
from moodstream.models.examples import Example, Prepared
from moodstream.models.features import COLUMNS, N_BASE, N_MELS
from moodstream.models.music_network import N_FIXED, all_statistics
from moodstream.models.pooling import N_SUMS
from moodstream.models.segment_views import (
    Cuts,
    FrameViews,
    SpanViews,
    frames_of_clips,
    spans_of,
    swapped,
    trimmed,
)


def prepared_of(lengths: list[int]) -> Prepared:
    """Clips whose frames count up, one after the other, all equally loud."""
    cells = np.append(0, np.cumsum([-(-n // CELL_FRAMES) for n in lengths]))
    frames = np.zeros((cells[-1] * CELL_FRAMES, N_BASE), np.float16)
    frames[:, 0] = np.arange(len(frames))
    some = [Example(str(i), lambda: np.zeros(0, np.float32), "c", str(i)) for i in range(len(lengths))]
    sums = np.zeros((cells[-1], N_SUMS), np.float32)
    return Prepared(some, 1, frames, sums, cells, np.array(lengths))


def test_segments_of_frames_cover_the_clip_and_nothing_else() -> None:
    frames, cuts = frames_of_clips(prepared_of([200, 40, 96]), [0, 1, 2], 64, 32)
    assert cuts.clip.tolist() == [0] * 5 + [1] + [2] * 2
    assert cuts.start[:5].tolist() == [0, 32, 64, 96, 128]
    assert frames[cuts.start[5] : cuts.start[5] + 64, 0].tolist() == [
        *range(224, 264),
        *range(224, 248),
    ]  # repeated
    assert (cuts.last + 64 <= len(frames)).all()
    assert (cuts.start >= cuts.first).all()
    assert (cuts.start <= cuts.last).all()


def test_silence_at_the_ends_is_no_part_of_a_clip() -> None:
    frames = np.zeros((100, N_BASE), np.float16)
    level = COLUMNS.descriptors.start
    frames[:, level] = -2.0
    frames[20:60, level] = 1.0
    frames[30, level] = -2.0  # a pause is
    assert len(trimmed(frames)) == 40
    assert len(trimmed(frames[:10])) == 10


def test_views_stay_in_their_clip() -> None:
    frames, cuts = frames_of_clips(prepared_of([200, 40, 96]), [0, 1, 2], 64, 32)
    labels = torch.ones(len(cuts.clip), 1)
    views = FrameViews(frames, cuts, labels, labels > 0, 64, colour=0, level=0, shift=0, bands=0, moments=0)
    draw = np.random.default_rng(0)
    rows = np.arange(len(cuts.clip))
    for _ in range(20):
        for view in (views.weak(rows, draw), views.strong(rows, draw)):
            assert view.shape == (len(rows), 64, N_BASE)
            for row, one in zip(rows, view[..., 0], strict=True):
                inside = frames[cuts.first[row] : cuts.last[row] + 64, 0]
                assert inside.min() <= one.min()
                assert one.max() <= inside.max()


def test_strong_views_change_the_bands_alone() -> None:
    draw = np.random.default_rng(0)
    frames = torch.randn(64, N_BASE).half()
    cuts = Cuts(*np.zeros((4, 1), np.int64))
    views = FrameViews(frames, cuts, torch.ones(1, 1), torch.ones(1, 1) > 0, 64, speed=0, far=0)
    plain, strong = views.plain(np.arange(1)), views.strong(np.arange(1), draw)
    assert torch.equal(plain[..., N_MELS:], strong[..., N_MELS:])
    assert float((plain - strong)[..., :N_MELS].abs().mean()) > 0.05


def test_spans_are_the_sums_of_their_cells() -> None:
    sums = np.random.default_rng(0).random((30, N_FIXED)).astype(np.float32)
    values, cuts = spans_of(sums, np.array([0, 20, 24, 30]), np.array([0, 1]), 10, 5)
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
