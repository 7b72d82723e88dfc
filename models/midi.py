"""MIDI bytes into notes: tempo changes, sustain pedal, hanging notes, drums, bar lines.

Goal: what a listener would hear, as arrays, in time and memory proportional to the file.

Conventions: notes pair as in `pretty_midi` (a note-off closes every open note of its pitch, channel and
track that began before it); ticks become seconds by the tempo changes of all tracks; tracks of every type
(0, 1, 2) sound together; channel 10 is drums. The pedal (controller 64) prolongs a note that is released
while it is down until it comes up or the same key is struck again. A note that is never released ends with
its track. Bar lines restart at every change of the time signature.

The bytes are read here rather than by `mido` and `pretty_midi`: those take 18 s and 850 MB for a million
notes and refuse files of more than 10^7 ticks, which is 2.9 hours at the usual resolution. The tests compare
both on real files.

Source: Standard MIDI Files 1.0 (MIDI Manufacturers Association, RP-001).
"""

from array import array
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from moodstream.models.base import Notes

MAX_BYTES = 32 * 2**20  # four million notes
MAX_HOURS = 48.0
MAX_BARS = 1_000_000

_DEFAULT_TEMPO_US = 500_000  # microseconds a quarter note: 120 a minute
_DRUM_CHANNEL = 9
_PEDAL = 64
_NOTE_OFF, _NOTE_ON, _CONTROL, _PROGRAM = 0x80, 0x90, 0xB0, 0xC0
_DATA_BYTES = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}
_META, _TEMPO, _TIME_SIGNATURE = 0xFF, 0x51, 0x58

_Ticks = npt.NDArray[np.int64]
_Seconds = npt.NDArray[np.float64]


class MidiError(ValueError):
    """These bytes give no notes; `error` says why in a word: not_midi, corrupt or no_notes."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error


@dataclass
class _Events:
    """What the tracks say, in ticks; the note columns have one value a note."""

    start: "array[int]" = field(default_factory=lambda: array("q"))
    end: "array[int]" = field(default_factory=lambda: array("q"))
    pitch: "array[int]" = field(default_factory=lambda: array("h"))
    velocity: "array[int]" = field(default_factory=lambda: array("h"))
    program: "array[int]" = field(default_factory=lambda: array("h"))
    channel: "array[int]" = field(default_factory=lambda: array("h"))
    pedal: "array[int]" = field(default_factory=lambda: array("q"))  # tick << 5 | channel << 1 | down
    tempo: list[tuple[int, int]] = field(default_factory=list)  # tick, microseconds a quarter note
    meter: list[tuple[int, int, int]] = field(default_factory=list)  # tick, numerator, denominator
    end_tick: int = 0


def parse_midi(data: bytes) -> Notes:
    """The notes of a Standard MIDI File (also wrapped in RIFF), sorted by onset, then pitch.

    Raises:
        MidiError: `not_midi` when the bytes are something else; `corrupt` when they break off,
            contradict the format, or exceed MAX_BYTES, MAX_HOURS or MAX_BARS; `no_notes` when nothing sounds.
    """
    if len(data) > MAX_BYTES:
        _corrupt(f"larger than {MAX_BYTES} bytes")
    division, tracks = _tracks(data)
    events = _Events()
    for first, last in tracks:
        _read_track(data, first, last, events)
    if not len(events.start):
        raise MidiError("no_notes", f"{len(tracks)} tracks, but no note in them")
    ticks_per_quarter, smpte = _resolution(division)
    clock = _Clock([] if smpte else events.tempo, ticks_per_quarter, 1e6 if smpte else _DEFAULT_TEMPO_US)
    return _notes(events, clock)


def _corrupt(message: str) -> NoReturn:
    raise MidiError("corrupt", message)


# ---------------------------------------------------------------- bytes


def _tracks(data: bytes) -> tuple[int, list[tuple[int, int]]]:
    """The header's division, and the byte span of each track chunk."""
    at = 0
    if data[:4] == b"RIFF" and data[8:12] == b"RMID" and data[12:16] == b"data":
        at = 20
    if data[at : at + 4] != b"MThd":
        raise MidiError("not_midi", f"no MThd header, the file begins with {data[:4]!r}")
    size = int.from_bytes(data[at + 4 : at + 8], "big")
    if size < 6 or at + 8 + size > len(data):
        _corrupt(f"the header says {size} bytes and breaks off")
    count = int.from_bytes(data[at + 10 : at + 12], "big")
    division = int.from_bytes(data[at + 12 : at + 14], "big")
    at += 8 + size
    spans: list[tuple[int, int]] = []
    while len(spans) < count:
        if at + 8 > len(data):
            _corrupt(f"breaks off at byte {len(data)}: {len(spans)} of {count} tracks")
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "big")
        at += 8
        if at + size > len(data):
            _corrupt(f"breaks off at byte {len(data)} inside a chunk of {size} bytes")
        if name == b"MTrk":
            spans.append((at, at + size))
        at += size
    return division, spans


def _resolution(division: int) -> tuple[int, bool]:
    """Ticks a quarter note; or ticks a second, and True, when the file counts frames (SMPTE)."""
    if division & 0x8000:
        frames = {29: 30}.get(256 - (division >> 8), 256 - (division >> 8))
        division = frames * (division & 0xFF)
        smpte = True
    else:
        smpte = False
    if division == 0:
        _corrupt("the header's time division is zero")
    return division, smpte


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A variable-length quantity, and the position after it."""
    value = 0
    for position in range(at, at + 4):
        byte = data[position]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, position + 1
    _corrupt(f"a number of more than four bytes at byte {at}")


def _read_track(data: bytes, at: int, last: int, events: _Events) -> None:
    """Append one track's events. One loop on purpose: it is the hot path of a long file."""
    data = data[:last]
    tick = status = 0
    program = [0] * 16
    sounding: dict[int, list[tuple[int, int, int]]] = {}  # channel << 7 | pitch: tick, velocity, program
    try:
        while at < last:
            byte = data[at]
            if byte < 0x80:
                tick += byte
                at += 1
            else:
                delta, at = _number(data, at)
                tick += delta
            byte = data[at]
            if byte >= 0x80:
                at += 1
                if byte >= 0xF0:
                    at = _read_other(data, at, byte, tick, events)
                    continue
                status = byte
            elif not status:
                _corrupt(f"a message without status at byte {at}")
            kind = status & 0xF0
            first = data[at]
            second = 0
            if _DATA_BYTES[kind] == 2:
                second = data[at + 1]
                at += 2
            else:
                at += 1
            if (first | second) & 0x80:
                _corrupt(f"a status byte where data belongs, before byte {at}")
            channel = status & 0x0F
            if kind == _NOTE_ON and second:
                key = channel << 7 | first
                opened = (tick, second, program[channel])
                if key in sounding:
                    sounding[key].append(opened)
                else:
                    sounding[key] = [opened]
            elif kind <= _NOTE_ON:
                key = channel << 7 | first
                if key in sounding:
                    _release(sounding, key, tick, events)
            elif kind == _PROGRAM:
                program[channel] = first
            elif kind == _CONTROL and first == _PEDAL:
                events.pedal.append(tick << 5 | channel << 1 | second >> 6)
    except IndexError:
        _corrupt(f"a track breaks off inside a message at byte {last}")
    for key in list(sounding):
        _release(sounding, key, tick, events)
    events.end_tick = max(events.end_tick, tick)


def _release(sounding: dict[int, list[tuple[int, int, int]]], key: int, tick: int, events: _Events) -> None:
    """Close the notes of a key that began before `tick`; where some did, one that begins just now goes on."""
    notes = sounding.pop(key)
    kept = [note for note in notes if note[0] == tick]
    if len(kept) < len(notes):
        for start, velocity, program in notes:
            if start != tick:
                events.start.append(start)
                events.end.append(tick)
                events.pitch.append(key & 0x7F)
                events.velocity.append(velocity)
                events.program.append(program)
                events.channel.append(key >> 7)
        if kept:
            sounding[key] = kept


def _read_other(data: bytes, at: int, status: int, tick: int, events: _Events) -> int:
    """A meta or system exclusive event: note tempo and meter, and give the position after it."""
    if status == _META:
        kind = data[at]
        size, at = _number(data, at + 1)
        body = data[at : at + size]
        if kind == _TEMPO and size == 3:
            events.tempo.append((tick, int.from_bytes(body, "big")))
        elif kind == _TIME_SIGNATURE and size >= 2 and body[0] > 0 and body[1] <= 6:
            events.meter.append((tick, body[0], 2 ** body[1]))
    elif status in (0xF0, 0xF7):
        size, at = _number(data, at)
    else:
        _corrupt(f"an undefined status byte {status:#x} at byte {at - 1}")
    if at + size > len(data):
        raise IndexError
    return at + size


# ---------------------------------------------------------------- ticks to seconds


class _Clock:
    """Turns ticks into seconds."""

    def __init__(self, tempo: list[tuple[int, int]], ticks_per_quarter: int, initial_us: float) -> None:
        self.ticks_per_quarter = ticks_per_quarter
        changes = sorted(tempo, key=lambda change: change[0])  # stable: the last of one tick counts
        self._ticks: _Ticks = np.array([0, *(tick for tick, _ in changes)], np.int64)
        quarter_us = np.array([initial_us, *(us for _, us in changes)], np.float64)
        self._scale = quarter_us / 1e6 / ticks_per_quarter
        spans = np.diff(self._ticks) * self._scale[:-1]
        self._seconds = np.concatenate([[0.0], np.cumsum(spans)])

    def __call__(self, ticks: _Ticks | _Seconds) -> _Seconds:
        index = np.searchsorted(self._ticks, ticks, side="right") - 1
        seconds: _Seconds = self._seconds[index] + (ticks - self._ticks[index]) * self._scale[index]
        return seconds


def _bars(meter: list[tuple[int, int, int]], ticks_per_quarter: int, end_tick: int) -> _Seconds:
    """Bar lines from 0 to before `end_tick`, in ticks (fractional where a bar is no whole number of them)."""
    changes = {0: (4, 4)} | {tick: (upper, lower) for tick, upper, lower in sorted(meter) if tick < end_tick}
    ticks = [*changes, end_tick]
    lengths = [4 * ticks_per_quarter * upper / lower for upper, lower in changes.values()]
    counts = [(b - a) / length for (a, b), length in zip(pairwise(ticks), lengths, strict=True)]
    if sum(counts) > MAX_BARS:
        _corrupt(f"{sum(counts):.0f} bars, more than {MAX_BARS}")
    lines = [np.arange(a, b, length) for (a, b), length in zip(pairwise(ticks), lengths, strict=True)]
    return np.concatenate(lines)


def _pedalled(events: _Events, start: _Ticks, end: _Ticks, key: _Ticks) -> _Ticks:
    """The notes' ends in ticks, with the sustain pedal applied; `key` is channel << 7 | pitch."""
    if not events.pedal:
        return end
    order = np.lexsort((start, key))
    again = np.full(len(start), np.iinfo(np.int64).max)  # when the same key is struck the next time
    same = key[order][1:] == key[order][:-1]
    again[order[:-1][same]] = start[order[1:][same]]
    held = end.copy()
    pedal = np.array(events.pedal, np.int64)
    pedal = pedal[np.argsort(pedal >> 5, kind="stable")]
    for channel in np.unique(pedal >> 1 & 15):
        moves = pedal[pedal >> 1 & 15 == channel]
        ticks, down = moves >> 5, (moves & 1).astype(bool)
        # for each move, the tick of the next release at or after it
        release = np.where(down, events.end_tick, ticks)
        release = np.minimum.accumulate(release[::-1])[::-1]
        notes = np.flatnonzero(key >> 7 == channel)
        last = np.searchsorted(ticks, end[notes], side="right") - 1
        sustained = notes[(last >= 0) & down[last]]
        last = np.searchsorted(ticks, end[sustained], side="right") - 1
        held[sustained] = np.maximum(end[sustained], np.minimum(release[last], again[sustained]))
    return held


def _notes(events: _Events, clock: _Clock) -> Notes:
    start = np.array(events.start, np.int64)
    end = np.array(events.end, np.int64)
    pitch = np.array(events.pitch, np.int16)
    channel = np.array(events.channel, np.int64)
    end_s = float(clock(np.array([events.end_tick]))[0])
    if end_s > MAX_HOURS * 3600:
        _corrupt(f"lasts {end_s / 3600:.0f} hours, more than {MAX_HOURS:.0f}")
    held = _pedalled(events, start, end, channel << 7 | pitch)
    bars = _bars(events.meter, clock.ticks_per_quarter, int(end.max()))
    order = np.lexsort((pitch, start))
    return Notes(
        start_s=clock(start)[order],
        end_s=clock(held)[order],
        pitch=pitch[order],
        velocity=np.array(events.velocity, np.int16)[order],
        program=np.array(events.program, np.int16)[order],
        drum=channel[order] == _DRUM_CHANNEL,
        bars_s=clock(bars),
        end_of_media_s=end_s,
    )
