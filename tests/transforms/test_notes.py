"""MIDI into notes: what pretty_midi hears, plus pedal and hanging notes; broken bytes end as NotesError."""

import io
import struct
from pathlib import Path

import mido
import numpy as np
import pretty_midi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodstream.models import midi as module
from moodstream.models.base import Notes
from moodstream.transforms.errors import NotesError
from moodstream.transforms.notes import read_notes

Message = mido.Message


def midi(*tracks: list[mido.Message], kind: int = 1, ticks: int = 480) -> bytes:
    """A file of tracks whose messages carry delta ticks."""
    file = mido.MidiFile(type=kind, ticks_per_beat=ticks)
    for messages in tracks:
        file.tracks.append(mido.MidiTrack(messages))
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def on(pitch: int, time: int = 0, velocity: int = 64, channel: int = 0) -> mido.Message:
    return Message("note_on", note=pitch, velocity=velocity, time=time, channel=channel)


def off(pitch: int, time: int = 0, channel: int = 0) -> mido.Message:
    return Message("note_off", note=pitch, time=time, channel=channel)


def pedal(value: int, time: int = 0, channel: int = 0) -> mido.Message:
    return Message("control_change", control=64, value=value, time=time, channel=channel)


def read(data: bytes) -> Notes:
    return read_notes(io.BytesIO(data))


def error_of(data: bytes) -> str:
    with pytest.raises(NotesError) as caught:
        read(data)
    return caught.value.error


@pytest.fixture(scope="session")
def music(corpora: Path) -> Path:
    return corpora / "music"


def test_tempo_changes_move_everything_after_them() -> None:
    tempo = mido.MetaMessage
    data = midi(
        [
            tempo("set_tempo", tempo=500_000),
            on(60),
            tempo("set_tempo", tempo=1_000_000, time=480),
            off(60, 480),
        ]
    )
    notes = read(data)
    assert notes.start_s.tolist() == [0.0]
    assert notes.end_s == pytest.approx([1.5])
    assert notes.end_of_media_s == pytest.approx(1.5)


def test_a_tempo_change_on_another_track_counts() -> None:
    data = midi([on(60), off(60, 960)], [mido.MetaMessage("set_tempo", tempo=250_000)])
    assert read(data).end_s == pytest.approx([0.5])


def test_pedal_holds_until_it_comes_up() -> None:
    notes = read(midi([pedal(127), on(60), off(60, 480), pedal(0, 960), on(62), off(62, 480)]))
    assert notes.pitch.tolist() == [60, 62]
    assert notes.end_s == pytest.approx([1.5, 2.0])


def test_pedal_holds_until_the_same_key_is_struck_again() -> None:
    notes = read(midi([pedal(127), on(60), off(60, 480), on(60, 480), off(60, 480), pedal(0, 480)]))
    assert notes.end_s == pytest.approx([1.0, 2.0])


def test_pedal_of_another_channel_or_below_half_does_nothing() -> None:
    notes = read(midi([pedal(127, channel=1), pedal(63), on(60), off(60, 480), pedal(0, 960)]))
    assert notes.end_s == pytest.approx([0.5])


def test_a_pedal_never_released_ends_with_the_media() -> None:
    notes = read(midi([pedal(127), on(60), off(60, 480), on(61, 480), off(61, 480)]))
    assert notes.end_s == pytest.approx([1.5, 1.5])


def test_pedal_on_one_track_holds_notes_of_its_channel_on_another() -> None:
    notes = read(midi([pedal(100), pedal(0, 1920)], [on(60), off(60, 480)]))
    assert notes.end_s == pytest.approx([2.0])


def test_a_hanging_note_ends_with_its_track() -> None:
    notes = read(midi([on(60), on(64, 480), off(64, 480), mido.MetaMessage("end_of_track", time=480)]))
    assert dict(zip(notes.pitch.tolist(), notes.end_s.tolist(), strict=True)) == pytest.approx(
        {60: 1.5, 64: 1.0}
    )
    assert notes.end_of_media_s == pytest.approx(1.5)


def test_drums_programs_and_velocity() -> None:
    notes = read(
        midi(
            [
                Message("program_change", program=40),
                on(60, velocity=99),
                on(36, channel=9),
                off(60, 240),
                off(36, channel=9),
            ]
        )
    )
    assert notes.drum.tolist() == [True, False]
    assert notes.program.tolist() == [0, 40]
    assert notes.velocity.tolist() == [64, 99]


def test_running_status_and_type_zero() -> None:
    body = bytes.fromhex("00903c40 83603c00 003e40 83603e00 00ff2f00")  # note_on of velocity 0 is an off
    data = b"MThd" + struct.pack(">LHHH", 6, 0, 1, 480) + b"MTrk" + struct.pack(">L", len(body)) + body
    notes = read(data)
    assert notes.pitch.tolist() == [60, 62]
    assert notes.start_s == pytest.approx([0, 0.5])
    riff = b"RIFF" + struct.pack("<L", len(data) + 12) + b"RMIDdata" + struct.pack("<L", len(data)) + data
    assert read(riff).pitch.tolist() == [60, 62]


def test_smpte_division_counts_frames() -> None:
    data = bytearray(midi([on(60), off(60, 1000)]))
    data[12:14] = bytes([256 - 25, 40])  # 25 frames of 40 ticks: a tick is a millisecond
    assert read(bytes(data)).end_s == pytest.approx([1.0])


def test_bars_follow_the_time_signature() -> None:
    signature = mido.MetaMessage("time_signature", numerator=3, denominator=4)
    notes = read(midi([signature, on(60), off(60, 480 * 7)]))
    assert notes.bars_s == pytest.approx([0, 1.5, 3.0])


@pytest.mark.parametrize("data", [b"", b"MT", b"RIFF\0\0\0\0WAVEfmt ", b"some text", bytes(range(256)) * 4])
def test_other_bytes_are_not_midi(data: bytes) -> None:
    assert error_of(data) == "not_midi"


def test_no_notes() -> None:
    assert error_of(midi([mido.MetaMessage("track_name", name="empty")])) == "no_notes"
    assert error_of(midi([on(60), off(60)])) == "no_notes"  # it has no length


def test_truncated_anywhere_is_corrupt(music: Path) -> None:
    data = next((music / "vgmidi" / "midi").glob("*.mid")).read_bytes()
    read(data)
    for size in range(14, len(data), 97):
        assert error_of(data[:size]) == "corrupt"


def test_giant_ticks_are_bounded() -> None:
    long = [on(60), off(60, 0x0FFFFFFF)]
    assert error_of(midi(long, ticks=1)) == "corrupt"  # four years
    slow = mido.MetaMessage("time_signature", numerator=255, denominator=1)
    assert error_of(midi([slow, *long], ticks=1)) == "corrupt"  # four years in few bars
    signature = mido.MetaMessage("time_signature", numerator=1, denominator=64)
    tempo = mido.MetaMessage("set_tempo", tempo=1)
    assert error_of(midi([tempo, signature, *long], ticks=16)) == "corrupt"  # minutes, but 10^8 bars
    assert error_of(b"MThd" + struct.pack(">LHHH", 6, 0, 1, 0) + midi([on(60), off(60, 9)])[14:]) == "corrupt"


def test_a_file_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 40)
    assert error_of(midi([on(60), off(60, 9)] * 20)) == "corrupt"


def notes_or_error(data: bytes) -> str:
    """How reading ends; what comes out must hold together."""
    try:
        notes = read(data)
    except NotesError as error:
        return error.error
    assert len(notes) > 0
    assert (np.diff(notes.start_s) >= 0).all()
    assert (notes.end_s >= notes.start_s).all()
    assert notes.end_s.max() <= notes.end_of_media_s + 1e-9
    assert np.isfinite(notes.bars_s).all()
    return "fine"


@given(st.binary(max_size=300))
def test_random_tracks_never_surprise(body: bytes) -> None:
    header = b"MThd" + struct.pack(">LHHH", 6, 1, 1, 96) + b"MTrk" + struct.pack(">L", len(body))
    assert notes_or_error(header + body) in {"corrupt", "no_notes", "fine"}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_mutated_real_files_never_surprise(data: st.DataObject, music: Path) -> None:
    content = bytearray((music / "emopia" / "midi" / "Q1_0vLPYiPN7qY_0.mid").read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    assert notes_or_error(bytes(content)) in {"not_midi", "corrupt", "no_notes", "fine"}


def test_fifty_real_files_as_pretty_midi_reads_them(music: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_pedalled", lambda events, start, end, key: end)  # it has no pedal
    files = (
        sorted((music / "emopia" / "midi").glob("*.mid"))[::36]
        + sorted((music / "vgmidi" / "midi").glob("*.mid"))[::8]
    )
    assert len(files) >= 50
    compared = 0
    for path in files:
        file = mido.MidiFile(path)
        close_hanging_notes(file)
        metas_elsewhere = any(m.type in ("set_tempo", "time_signature") for t in file.tracks[1:] for m in t)
        expected = pretty_midi.PrettyMIDI(mido_object=file)
        rows = sorted(
            (n.start, n.pitch, n.end, n.velocity, i.program, i.is_drum)
            for i in expected.instruments
            for n in i.notes
        )
        mine = read_notes(path)
        columns = (mine.start_s, mine.pitch, mine.end_s, mine.velocity, mine.program, mine.drum)
        got = sorted(zip(*(c.tolist() for c in columns), strict=True))
        np.testing.assert_allclose(np.array(got, float), np.array(rows, float), atol=1e-9, err_msg=path.name)
        if not metas_elsewhere:  # which it ignores
            bars = expected.get_downbeats()
            assert 0 <= len(bars) - len(mine.bars_s) <= 1, (
                path.name
            )  # its rounding may add one at the very end
            np.testing.assert_allclose(mine.bars_s, bars[: len(mine.bars_s)], atol=1e-3, err_msg=path.name)
            compared += 1
    assert compared >= 40


def close_hanging_notes(file: mido.MidiFile) -> None:
    for track in file.tracks:
        sounding: set[tuple[int, int]] = set()
        for message in track:
            if message.type == "note_on" and message.velocity > 0:
                sounding.add((message.channel, message.note))
            elif message.type in ("note_on", "note_off"):
                sounding.discard((message.channel, message.note))
        end = track.pop() if track and track[-1].type == "end_of_track" else None
        wait = end.time if end else 0
        for channel, pitch in sorted(sounding):
            track.append(off(pitch, wait, channel))
            wait = 0
        track.append(mido.MetaMessage("end_of_track", time=wait))
