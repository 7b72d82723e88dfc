"""MidiRuns: notes as they are played, in runs of timed messages.

A packet `audio/midi;format=messages;division=480` holds events as the track of a MIDI file does: the time
since the event before (ticks, as a number of variable length), then the message. `division` is how many ticks
a quarter has; tempo and meter are events like all others. The first packet's first time counts from 0; runs
may be cut anywhere. Together they are the one track of a MIDI file, and count as that when the part ends.

Where packets are missing, what is incomplete is dropped, and the next run begins where its `pts_ms` says.

Source: Standard MIDI Files 1.0; MIDI 1.0, table 1 (lengths of messages), running status.
"""

from collections.abc import Mapping
from typing import Any

from moodstream.transforms.errors import NotesError, PacketError

MAX_BYTES = 4 << 20
MAX_DIVISION = 32_767
_TEMPO = 500_000  # us a quarter, until an event says otherwise
_META, _END, _SET_TEMPO = 0xFF, 0x2F, 0x51
_LENGTHS = {0x8: 2, 0x9: 2, 0xA: 2, 0xB: 2, 0xC: 1, 0xD: 1, 0xE: 2}


class MidiRuns:
    """The one track of a MIDI file that comes in runs.

    Args:
        division: ticks a quarter.

    Example:
        >>> runs = MidiRuns(480)
        >>> runs.push(bytes.fromhex("00903c40 8360803c"), 0)
        >>> runs.push(bytes.fromhex("00"), 500)
        >>> runs.file()[22:].hex(" ")
        '00 90 3c 40 83 60 80 3c 00 00 ff 2f 00'
    """

    def __init__(self, division: int) -> None:
        self.division = division
        self._track = bytearray()
        self._rest = b""
        self._status = 0  # of the message before, for those that leave it out
        self._tempo = _TEMPO
        self._us = 0.0  # where the last event is
        self._late = 0  # ticks that the next event is later than it says
        self._broken = False

    def push(self, data: bytes, pts_ms: int, *, lost: bool = False) -> None:
        """The next run.

        Args:
            data: events, cut anywhere.
            pts_ms: where its first event is; read only where something is missing before it.
            lost: whether something is.

        Raises:
            NotesError: `corrupt`: bytes that are no event; what was before them counts.
            PacketError: `too_large`: more than any piece has.
        """
        if lost or self._broken:
            self._rest, self._status, self._broken = b"", 0, False
            self._late = max(0, round((pts_ms * 1000 - self._us) * self.division / self._tempo))
        if len(self._track) + len(self._rest) + len(data) > MAX_BYTES:
            raise PacketError("too_large", f"notes of more than {MAX_BYTES} bytes")
        data, at = self._rest + data, 0
        try:
            while (event := read_event(data, at, self._status)) is not None:
                ticks, message, at = event
                self._take(ticks, message)
        except NotesError:
            self._rest, self._broken = b"", True
            raise
        self._rest = data[at:]

    @property
    def is_empty(self) -> bool:
        """Whether there was no message at all."""
        return not self._track

    def file(self) -> bytes:
        """All of it as a MIDI file."""
        track = bytes(self._track) + _number(self._late) + bytes([_META, _END, 0])
        head = b"MThd" + (6).to_bytes(4, "big") + b"\0\0\0\1" + self.division.to_bytes(2, "big")
        return head + b"MTrk" + len(track).to_bytes(4, "big") + track

    def state(self) -> dict[str, Any]:
        """Everything needed to go on elsewhere, as plain Python."""
        return {
            "track": bytes(self._track),
            "rest": self._rest,
            "numbers": [self._status, self._tempo, self._late, int(self._broken)],
            "us": self._us,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()` with the same division."""
        self._track, self._rest, self._us = bytearray(state["track"]), state["rest"], state["us"]
        self._status, self._tempo, self._late, broken = state["numbers"]
        self._broken = bool(broken)

    def _take(self, ticks: int, message: bytes) -> None:
        ticks, self._late = ticks + self._late, 0
        self._status = message[0] if message[0] < 0xF0 else 0
        if message[0] == _META and message[1] == _END:
            self._late = ticks
            return
        self._us += ticks * self._tempo / self.division
        if message[0] == _META and message[1] == _SET_TEMPO and len(message) == 6:
            self._tempo = int.from_bytes(message[3:], "big") or _TEMPO
        self._track += _number(ticks) + message


def read_event(data: bytes, at: int, status: int) -> tuple[int, bytes, int] | None:
    """The event that begins at a place: ticks before it, its message with its status byte, where it ends.

    Args:
        data: a track, or a piece of one.
        at: where the event begins.
        status: the first byte of the message before, if that may be left out; else 0.

    Returns:
        None where the event is not all there.

    Raises:
        NotesError: `corrupt`: no event begins so.
    """
    ticks, at = _read_number(data, at)
    if at < 0 or at >= len(data):
        return None
    if data[at] >= 0x80:
        status, at = data[at], at + 1
    if status in (_META, 0xF0, 0xF7):
        kind = b"" if status != _META else data[at : at + 1]
        size, body = _read_number(data, at + len(kind))
        if body < 0 or len(data) < body + size:
            if size > MAX_BYTES:
                raise NotesError("corrupt", f"an event of {size} bytes")
            return None
        return ticks, bytes([status]) + data[at : body + size], body + size
    length = _LENGTHS.get(status >> 4)
    if length is None:
        raise NotesError("corrupt", f"no message begins with {status or data[at]:#04x}")
    message = data[at : at + length]
    if any(byte >= 0x80 for byte in message):
        raise NotesError("corrupt", f"a message {status:#04x} with the data {message.hex(' ')}")
    return (ticks, bytes([status]) + message, at + length) if len(message) == length else None


def events_of(file: bytes) -> tuple[int, list[tuple[int, bytes]]]:
    """A MIDI file for a sender: ticks a quarter, and when (ms) which event is due, with its ticks before it.

    Raises:
        NotesError: `corrupt`: it is no MIDI file, or its time is not in ticks a quarter.
    """
    division = int.from_bytes(file[12:14], "big")
    if file[:4] != b"MThd" or not 0 < division <= MAX_DIVISION:
        raise NotesError("corrupt", "not a MIDI file in ticks a quarter")
    found: list[tuple[int, int, bytes]] = []  # tick, order, message
    place, end = 8 + int.from_bytes(file[4:8], "big"), 0
    while place + 8 <= len(file):
        size = int.from_bytes(file[place + 4 : place + 8], "big")
        track = file[place + 8 : place + 8 + size] if file[place : place + 4] == b"MTrk" else b""
        place, at, tick, status = place + 8 + size, 0, 0, 0
        while (event := read_event(track, at, status)) is not None:
            ticks, message, at = event
            tick, status = tick + ticks, message[0] if message[0] < 0xF0 else 0
            if message[:2] != bytes([_META, _END]):
                found.append((tick, len(found), message))
        end = max(end, tick)
    events, tick, us, tempo = [], 0, 0.0, _TEMPO
    for until, _, message in [*sorted(found), (end, 0, bytes([_META, _END, 0]))]:
        us += (until - tick) * tempo / division
        if message[:2] == bytes([_META, _SET_TEMPO]) and len(message) == 6:
            tempo = int.from_bytes(message[3:], "big") or _TEMPO
        events.append((int(us / 1000), _number(until - tick) + message))
        tick = until
    return division, events


def _read_number(data: bytes, at: int) -> tuple[int, int]:
    """A number of variable length and where it ends; below 0 where it does not."""
    value = 0
    for step, byte in enumerate(data[at : at + 4]):
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + step + 1
    if len(data) - at >= 4:
        raise NotesError("corrupt", f"{data[at : at + 4].hex(' ')} is no number")
    return 0, -1


def _number(value: int) -> bytes:
    found = [value & 0x7F]
    while value := value >> 7:
        found.append(value & 0x7F | 0x80)
    return bytes(reversed(found))
