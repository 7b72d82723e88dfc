"""Harmony: truths by construction (chords, keys, tone against noise), gain, streams against the whole."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moodstream.models import harmony
from moodstream.models.harmony import HarmonyStream, harmony_of, harmony_statistics

SCALE = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
CHORD_AT = 2 * harmony._FRAME  # where the likeness to major, to minor, … begins
KEY_AT = harmony.N_STATISTICS - 6


def tones(pitches: list[tuple[int, ...]], seconds: float = 1.0) -> np.ndarray:
    """Chords, one after the other, each note with five falling overtones."""
    time = np.arange(int(16_000 * seconds)) / 16_000
    parts = []
    for chord in pitches:
        part = np.zeros(len(time))
        for pitch in chord:
            hertz = 440 * 2 ** ((pitch - 69) / 12)
            part += sum(np.sin(2 * np.pi * k * hertz * time) / k**2 for k in range(1, 6))
        parts.append(part * np.exp(-1.5 * time))
    return (0.1 * np.concatenate(parts)).astype(np.float32)


def described(sound: np.ndarray) -> np.ndarray:
    return harmony_statistics(harmony_of(sound).sum(0)).numpy()


@pytest.mark.parametrize("root", [0, 3, 7, 10])
def test_a_major_chord_is_more_like_major_and_a_minor_one_like_minor(root: int) -> None:
    major = described(tones([(48 + root, 52 + root, 55 + root, 60 + root)] * 4))
    minor = described(tones([(48 + root, 51 + root, 55 + root, 60 + root)] * 4))
    assert major[CHORD_AT] - major[CHORD_AT + 1] > 0.15
    assert minor[CHORD_AT + 1] - minor[CHORD_AT] > 0.15


@pytest.mark.parametrize("tonic", [0, 5, 8])
@pytest.mark.parametrize("mode", ["major", "minor"])
def test_the_mode_of_a_scale(mode: str, tonic: int) -> None:
    degrees = [0, *SCALE[mode], 12, 0, 7, 0]  # the tonic and the fifth are heard most
    found = described(tones([(55 + tonic + degree,) for degree in degrees], 0.5))
    assert (found[KEY_AT + 2] > 0) == (mode == "major")


def test_tones_have_contrast_and_tonality_and_noise_has_not() -> None:
    noise = described((0.1 * np.random.default_rng(0).standard_normal(64_000)).astype(np.float32))
    tone = described(tones([(60, 64, 67)] * 4))
    assert (tone[3:5] > noise[3:5] + 0.5).all()
    assert tone[7] > 1.8 * noise[7]


def test_more_notes_begin_where_more_are_played() -> None:
    slow, fast = (described(tones([(60,), (67,)] * n, 4 / (2 * n))) for n in (2, 8))
    assert fast[8] > 1.5 * slow[8]


def test_harmony_that_moves_changes_more() -> None:
    still = described(tones([(60, 64, 67)] * 6))
    moving = described(tones([(60, 64, 67), (61, 65, 68), (66, 70, 73)] * 2))
    change = CHORD_AT + len(harmony.CHORDS) + 2
    assert moving[change] > 2 * still[change]


@pytest.mark.parametrize("gain", [0.03, 3.0])
def test_the_gain_says_nothing(gain: float) -> None:
    sound = tones([(60, 64, 67), (57, 60, 64), (53, 57, 60), (55, 59, 62)])
    sound += 0.002 * np.random.default_rng(0).standard_normal(len(sound)).astype(np.float32)
    np.testing.assert_allclose(described(gain * sound), described(sound), atol=0.05)


def test_silence_is_finite() -> None:
    assert np.isfinite(described(np.zeros(20_000, np.float32))).all()
    assert harmony_of(np.zeros(0, np.float32)).shape == (0, harmony.N_SUMS)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30_000), st.booleans()), max_size=6), st.integers(0, 90_000))
def test_a_stream_gives_the_cells_of_the_whole(cuts: list[tuple[int, bool]], length: int) -> None:
    sound = tones([(50, 62, 65), (52, 59, 64), (48, 60, 67, 70)], 2.0)[:length]
    stream, parts, at = HarmonyStream(), [], 0
    for size, saved in cuts:
        parts.append(stream.push(sound[at : at + size]))
        at += size
        if saved:
            state = stream.state()
            stream = HarmonyStream()
            stream.restore(state)
    parts.append(stream.flush(sound[at:]))
    whole = harmony_of(sound)
    assert len(whole) == -(-length // 8000)
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-4, rtol=1e-4)
