import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchaudio.transforms import MelSpectrogram

from moodstream.models.base import HOP, RATE_HZ
from moodstream.models.features import (
    COLUMNS,
    DESCRIPTORS,
    LEFT,
    N_COLUMNS,
    N_FFT,
    N_MELS,
    PITCH,
    RANGES_HZ,
    VOICING,
    WINDOW,
    FrontEnd,
    frames_of,
)
from tests.support.reference import reference_frames


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    """A gliding harmonic tone with pauses, in noise."""
    draw = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    phase = 2 * np.pi * np.cumsum(150 + 60 * np.sin(2 * np.pi * 0.7 * time)) / RATE_HZ
    tone = sum(np.sin(k * phase) / k for k in range(1, 12)) * (np.sin(2 * np.pi * 1.3 * time) > -0.4)
    return (0.1 * tone + 0.003 * draw.standard_normal(len(time))).astype(np.float32)


def tone(hertz: float, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return (0.2 * sum(np.sin(2 * np.pi * k * hertz * time) / k for k in range(1, 9))).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 9000), max_size=12), st.integers(1, 40_000))
def test_frames_do_not_depend_on_the_cuts(cuts: list[int], length: int) -> None:
    samples = sound(2.5)[:length]
    front, parts, at = FrontEnd(), [], 0
    for size in cuts:
        parts.append(front.push(samples[at : at + size]))
        at += size
    parts += [front.push(samples[at:]), front.flush()]
    torch.testing.assert_close(torch.cat(parts), reference_frames(samples), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("length", [0, 1, 249, 250, 251, 8000, 12_345])
def test_a_frame_for_every_hop_begun(length: int) -> None:
    assert frames_of(sound(1.0)[:length]).shape == (-(-length // HOP), N_COLUMNS)


def test_log_mel_is_that_of_torchaudio() -> None:
    samples = sound(1.0)
    spectrogram = MelSpectrogram(
        RATE_HZ, N_FFT, WINDOW, HOP, 50.0, RATE_HZ / 2, n_mels=N_MELS, center=False, mel_scale="htk"
    )
    around = (N_FFT - WINDOW) // 2
    padded = torch.nn.functional.pad(torch.from_numpy(samples), (LEFT + around, N_FFT))
    expected = (torch.log(spectrogram(padded).T[: len(samples) // HOP] + 1e-6) + 4) / 4
    torch.testing.assert_close(frames_of(samples)[:, COLUMNS.mel], expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("hertz", [80.0, 110.0, 220.0, 431.0])
def test_pitch_of_a_tone_is_its_frequency(hertz: float) -> None:
    frames = frames_of(tone(hertz))[8:-8]
    assert frames[:, VOICING].min() > 0.9
    octaves = frames[:, PITCH] / frames[:, VOICING]
    assert torch.allclose(octaves, torch.tensor(np.log2(hertz / 110)).float(), atol=0.02)


def test_noise_has_no_pitch() -> None:
    noise = 0.1 * np.random.default_rng(1).standard_normal(RATE_HZ).astype(np.float32)
    assert frames_of(noise)[:, VOICING].mean() < 0.1


def test_level_is_the_mean_square() -> None:
    samples = tone(200.0)
    level = frames_of(samples)[10:-10, COLUMNS.descriptors.start + DESCRIPTORS.index("level")]
    assert torch.allclose(10 ** (2 * level - 4), torch.tensor(np.mean(samples**2)), rtol=0.05)


@pytest.mark.parametrize(("hertz", "expected"), [(1, 0), (2.2, 1), (4.5, 2), (8, 3), (13, 4), (20, 5)])
def test_modulation_shows_in_its_own_range(hertz: float, expected: int) -> None:
    time = np.arange(6 * RATE_HZ) / RATE_HZ
    noise = np.random.default_rng(2).standard_normal(len(time))
    samples = (0.05 * noise * np.exp(1.5 * np.sin(2 * np.pi * hertz * time))).astype(np.float32)
    bands = frames_of(samples)[128:-32, COLUMNS.modulation].unflatten(1, (16, len(RANGES_HZ)))
    assert int(bands.std(0)[8:].mean(0).argmax()) == expected


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0])
def test_constants_give_finite_numbers(value: float) -> None:
    assert torch.isfinite(frames_of(np.full(9000, value, np.float32))).all()


def test_state_goes_on_where_it_was() -> None:
    samples = sound(2.0)
    first, second = FrontEnd(), FrontEnd()
    before = first.push(samples[:11_111])
    second.restore({name: value.copy() for name, value in first.state().items()})
    after = torch.cat((second.push(samples[11_111:]), second.flush()))
    torch.testing.assert_close(torch.cat((before, after)), frames_of(samples), atol=1e-5, rtol=1e-5)
