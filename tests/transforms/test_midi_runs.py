"""Runs of timed messages: the notes of the file they come from, and what is broken in them is told."""

import io
from pathlib import Path

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodstream.transforms.errors import NotesError, PacketError
from moodstream.transforms.midi_runs import MAX_BYTES, MidiRuns
from moodstream.transforms.notes import read_notes
from moodstream.transforms.state import pack, unpack

SONG = Path(__file__).resolve().parents[2] / "demo/songs/empty_house.mid"


def track_of(path: Path) -> tuple[int, bytes]:
    """Ticks a quarter, and all events of a file as one track with running status."""
    file, out = mido.MidiFile(path), io.BytesIO()
    merged = mido.MidiFile(type=0, ticks_per_beat=file.ticks_per_beat)
    merged.tracks.append(mido.merge_tracks(file.tracks))
    merged.save(file=out)
    return file.ticks_per_beat, out.getvalue()[22:]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 300), st.booleans()), max_size=20))
def test_the_notes_are_those_of_the_file(cuts: list[tuple[int, bool]]) -> None:
    division, track = track_of(SONG)
    runs, at = MidiRuns(division), 0
    for size, moves in [*cuts, (len(track), False)]:
        runs.push(track[at : at + size], 0)
        at += size
        if moves:
            state, runs = unpack(pack(runs.state())), MidiRuns(division)
            runs.restore(state)
    found, wanted = read_notes(io.BytesIO(runs.file())), read_notes(SONG)
    np.testing.assert_allclose(found.start_s, wanted.start_s, atol=1e-9)
    np.testing.assert_array_equal(found.pitch, wanted.pitch)
    assert found.end_of_media_s == pytest.approx(wanted.end_of_media_s)


def test_after_lost_packets_time_is_that_of_the_sender() -> None:
    runs = MidiRuns(500)  # at the usual tempo a tick is a ms
    runs.push(bytes.fromhex("00903c40 8360803c"), 0)  # incomplete: its last byte is lost
    runs.push(bytes.fromhex("0a903e40 64803e00"), 10_000, lost=True)
    notes = read_notes(io.BytesIO(runs.file()))
    assert notes.start_s[-1] == pytest.approx(10.010)


@pytest.mark.parametrize("garbage", ["ffffffffff", "00f43c00", "00908080", "00c0ff"])
def test_what_is_no_event_is_told_and_the_next_run_counts(garbage: str) -> None:
    runs = MidiRuns(500)
    runs.push(bytes.fromhex("00903c40 6480 3c00"), 0)
    with pytest.raises(NotesError) as refused:
        runs.push(bytes.fromhex(garbage), 1_000)
    assert refused.value.error == "corrupt"
    runs.push(bytes.fromhex("00904040 64804000"), 2_000)
    notes = read_notes(io.BytesIO(runs.file()))
    np.testing.assert_allclose(notes.start_s, [0.0, 2.0], atol=1e-3)


def test_a_first_message_without_its_status_is_no_message() -> None:
    with pytest.raises(NotesError):
        MidiRuns(480).push(bytes.fromhex("003c40"), 0)


def test_more_than_any_piece_has_is_refused() -> None:
    runs, much = MidiRuns(480), bytes.fromhex("00903c40") * (1 << 18)
    for _ in range(3):
        runs.push(much, 0)
    with pytest.raises(PacketError) as refused:
        runs.push(much + much, 0)
    assert refused.value.error == "too_large"
    assert len(runs.file()) <= MAX_BYTES + 100
