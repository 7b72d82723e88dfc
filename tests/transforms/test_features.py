"""Musical context: tones of known key, clicks of known tempo, levels of known range."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from moodstream.transforms.errors import MissingExtraError
from moodstream.transforms.features import LONGEST_S, MusicalContext

RATE_HZ = 16_000


def tone(pitches: list[int], seconds: float) -> np.ndarray:
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    partials = [(440 * 2 ** ((pitch - 69) / 12) * k, 0.5**k) for pitch in pitches for k in (1, 2, 3)]
    return (0.1 * sum(gain * np.sin(2 * np.pi * hz * time) for hz, gain in partials)).astype(np.float32)


def cadence(root: int, third: int) -> np.ndarray:
    """I IV V I three times: unmistakably in the key of the root."""
    chords = [(root, third), (root + 5, third), (root + 7, 4), (root, third)]  # V is major in both modes
    return np.concatenate([tone([at, at + step, at + 7], 1.5) for at, step in chords] * 3)


def clicks(tempo_bpm: float, seconds: int = 30) -> np.ndarray:
    sound = np.random.default_rng(0).normal(0, 0.003, RATE_HZ * seconds)
    time = np.arange(1600)
    for at in np.arange(0, seconds - 0.2, 60 / tempo_bpm):
        start = int(at * RATE_HZ)
        sound[start : start + 1600] += 0.6 * np.exp(-time / 200) * np.sin(2 * np.pi * 300 * time / RATE_HZ)
    return sound.astype(np.float32)


def context(sound=(), loudness=(), block: int = 10**9):
    musical = MusicalContext()
    for low in range(0, len(sound), block):
        musical.push(sound[low : low + block])
    for low in range(0, len(loudness), block):
        musical.push_loudness(loudness[low : low + block])
    return musical


@pytest.fixture(autouse=True, scope="module")
def _needs_essentia():
    pytest.importorskip("essentia", reason="needs the extra `features`: pip install 'moodstream[features]'")


@pytest.mark.parametrize(
    ("root", "third", "key"), [(60, 4, "C major"), (57, 3, "A minor"), (62, 4, "D major")]
)
def test_key_of_a_cadence(root, third, key):
    assert context(cadence(root, third)).finish()[1] == key


@pytest.mark.parametrize("tempo_bpm", [90, 120])
def test_tempo_of_clicks(tempo_bpm):
    assert context(clicks(tempo_bpm)).finish()[0]["tempo_bpm"] == pytest.approx(tempo_bpm, rel=0.02)


@pytest.mark.parametrize(("levels", "expected"), [((-20, -30), 10), ((-20, -15), 5), ((-40, -20), 20)])
def test_loudness_range_of_ebu_tech_3342(levels, expected):
    """Minimum requirements 1 to 3: 20 s at each of two levels, +-1 LU."""
    loudness = np.repeat(np.float32(levels), 40)
    assert context(loudness=loudness).finish()[0]["loudness_range_lu"] == pytest.approx(expected, abs=1)


def test_integrated_loudness_leaves_out_silence_and_quiet():
    loudness = np.float32([-20.0] * 40 + [np.nan] * 40 + [-90] * 40 + [-45] * 40)
    assert context(loudness=loudness).finish()[0]["loudness_integrated_lufs"] == pytest.approx(-20, abs=0.1)


def test_cuts_and_snapshots_change_nothing():
    sound = clicks(100, 12)
    loudness = np.random.default_rng(1).uniform(-50, -10, 300).astype(np.float32)
    whole = context(sound, loudness).finish()
    assert context(sound, loudness, block=7777).finish() == whole
    assert context(loudness=loudness, block=1).finish() == context(loudness=loudness).finish()
    musical = context(sound[:50_000], loudness[:3])
    resumed = MusicalContext()
    resumed.restore(pickle.loads(pickle.dumps(musical.state())))
    resumed.push(sound[50_000:])
    resumed.push_loudness(loudness[3:])
    assert resumed.finish() == whole


def test_silence_and_too_little_have_no_key():
    assert context(np.zeros(RATE_HZ * 20, np.float32), np.full(40, np.nan, np.float32)).finish() == ({}, None)
    assert context(clicks(120, 4)).finish() == ({}, None)
    assert MusicalContext().finish() == ({}, None)


def test_memory_is_bounded():
    musical = MusicalContext()
    for _ in range(LONGEST_S + 60):
        musical.push(np.ones(RATE_HZ, np.float32))
    assert sum(map(len, musical.state()["_sound"])) == LONGEST_S * RATE_HZ


def test_without_essentia_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "essentia", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'moodstream\[features\]'"):
        MusicalContext()


def test_importing_the_module_does_not_import_essentia():
    code = "import sys, moodstream.transforms.features; sys.exit('essentia' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
