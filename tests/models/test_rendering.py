"""MIDI to sound, where fluidsynth is installed."""

import shutil
from pathlib import Path

import mido
import numpy as np
import pytest

from moodstream.models import rendering


def a_midi(path: Path, pitch: int = 69) -> Path:
    file = mido.MidiFile(ticks_per_beat=480)
    track = mido.MidiTrack()
    track.append(mido.Message("note_on", note=pitch, velocity=100, time=0))
    track.append(mido.Message("note_off", note=pitch, velocity=0, time=960))
    file.tracks.append(track)
    file.save(path)
    return path


def installed() -> bool:
    try:
        rendering.soundfont()
    except FileNotFoundError:
        return False
    return shutil.which("fluidsynth") is not None


@pytest.mark.skipif(not installed(), reason="fluidsynth and a soundfont are not installed")
def test_a_note_sounds_at_its_pitch(tmp_path: Path) -> None:
    sound = rendering.render(a_midi(tmp_path / "a.mid"))
    assert 0.9 < len(sound) / 16_000 < 10
    spectrum = np.abs(np.fft.rfft(sound[:16_000]))
    assert abs(int(spectrum[100:1000].argmax()) + 100 - 440) <= 3
    assert len(rendering.render(tmp_path / "a.mid", 0.5)) == 8000


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOODSTREAM_SOUNDFONT", str(tmp_path / "none.sf2"))
    with pytest.raises(FileNotFoundError, match=r"none\.sf2"):
        rendering.soundfont()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="fluidsynth"):
        rendering.render(tmp_path / "a.mid")
