import numpy as np
import torch

from moodstream.models.base import CELL_FRAMES
from moodstream.models.features import N_COLUMNS, N_MELS, VOICING, frames_of
from moodstream.models.pooling import (
    N_STATISTICS,
    N_SUMS,
    cell_sums,
    loudness_weight,
    quiet_cells,
    statistics,
    window_sums,
)


def frames(cells: int, seed: int = 0) -> torch.Tensor:
    values = 0.5 * torch.randn(CELL_FRAMES * cells, N_COLUMNS, generator=torch.Generator().manual_seed(seed))
    values[:, VOICING] = values[:, VOICING].abs().clamp(max=1)
    return values


def test_statistics_are_weighted_means_and_deviations() -> None:
    x = frames(3)
    weight = loudness_weight(x).double()
    mean = (weight * x).sum(0) / weight.sum()
    deviation = ((weight * (x - mean) ** 2).sum(0) / weight.sum() + 1e-4).sqrt()
    found = statistics(cell_sums(x).sum(0))
    assert found.shape == (N_STATISTICS,)
    torch.testing.assert_close(found[:N_MELS], mean[:N_MELS].float(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[96 : 96 + N_COLUMNS], deviation.float(), atol=1e-4, rtol=1e-4)


def test_padding_counts_nothing() -> None:
    x = frames(2)
    other = x.clone()
    other[50:] = 3.0
    torch.testing.assert_close(cell_sums(x, 50), cell_sums(other, 50))
    assert not torch.allclose(cell_sums(x, 50), cell_sums(other, 51))


def test_windows_are_sums_of_their_cells() -> None:
    cells = cell_sums(frames(9))
    assert cells.shape == (9, N_SUMS)
    windows = window_sums(cells, past=4, future=3)
    for i in range(9):
        torch.testing.assert_close(windows[i], cells[max(i - 4, 0) : i + 4].sum(0), atol=1e-3, rtol=1e-5)


def test_silence_around_a_sound_hardly_counts() -> None:
    draw = np.random.default_rng(0)
    loud = (0.1 * draw.standard_normal(32_000)).astype(np.float32)
    quiet = np.concatenate([loud, np.zeros(16_000, np.float32)])
    means = [
        statistics(cell_sums(torch.nn.functional.pad(f, (0, 0, 0, -len(f) % 32)), len(f)).sum(0))[:N_MELS]
        for f in (frames_of(loud), frames_of(quiet))
    ]
    assert (means[0] - means[1]).abs().mean() < 0.1  # an unweighted mean moves by 0.8


def test_digital_silence_is_finite() -> None:
    silence = frames_of(np.zeros(16_000, np.float32))
    assert torch.isfinite(statistics(cell_sums(silence))).all()
    assert torch.isfinite(statistics(torch.zeros(N_SUMS))).all()


def test_a_quiet_cell_is_quiet_and_a_soft_one_is_not() -> None:
    noise = np.random.default_rng(0).standard_normal(8_000).astype(np.float32)
    for level_db, quiet in ((-70, True), (-55, False)):
        sums = cell_sums(frames_of(noise * np.float32(10 ** (level_db / 20))))
        assert quiet_cells(sums).tolist() == [quiet]
    assert quiet_cells(cell_sums(frames_of(np.zeros(8_000, np.float32)))).tolist() == [True]
