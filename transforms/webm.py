"""Clusters: WebM and Matroska, bytes in, coded packets of the first sound out.

A tree of elements: `Tracks` says once what there is; then clusters of blocks, each block a piece of one
track. Pictures pass by; where there are any, the first of their time stamps is waited for, as the sound may
start later than they.

Source: RFC 8794 (EBML), RFC 9559 (Matroska), and the Opus mapping (CodecDelay, DiscardPadding).
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from moodstream.transforms.errors import DecodeError
from moodstream.transforms.ogg import RATE_HZ
from moodstream.transforms.units import MAX_PENDING, Format, Unit, format_of

_SEGMENT, _INFO, _TRACKS, _CLUSTER = 0x18538067, 0x1549A966, 0x1654AE6B, 0x1F43B675
_TIMECODE, _SIMPLE, _GROUP, _BLOCK, _DISCARD = 0xE7, 0xA3, 0xA0, 0xA1, 0x75A2
_ENTERED = {_SEGMENT, _CLUSTER, _GROUP}
_WHOLE = {_INFO, _TRACKS, _TIMECODE, _DISCARD}
_TOP = (b"\x1f\x43\xb6\x75", b"\x16\x54\xae\x6b")  # where reading can start again: clusters
_CODECS = {"A_OPUS": "opus", "A_VORBIS": "vorbis", "A_AAC": "aac", "A_MPEG/L3": "mp3float"}
_MAX_HELD = 500
_EBML = 0x1A45DFA3
_UNKNOWN = -1


@dataclass
class _Track:
    number: int = 0
    kind: int = 0  # 1 pictures, 2 sound
    codec: str = ""
    private: bytes = b""
    delay_ns: int = 0
    rate_hz: float = 0.0


class Clusters:
    """The first sound of a WebM."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self._data = b""
        self._skip = 0  # bytes that are of no interest
        self._scanning = False
        self._format: Format | None = None
        self._delay = 0  # of the sound, in ticks
        self._sound = self._pictures = 0  # numbers of tracks
        self._ticks = 1_000
        self._rate_hz = 0
        self._time = 0  # of the cluster
        self._group = 0  # bytes of a group that are still to come
        self._block: tuple[bytes, int] | None = None  # of the sound, in a group that has not ended
        self._zero: int | None = None
        self._held: list[Unit] = []
        self._released = False

    def push(self, data: bytes) -> list[Unit]:
        self._data += data
        units: list[Unit] = []
        while self._step(units):
            pass
        return self._timed(units)

    def flush(self) -> list[Unit]:
        if (self._data or self._skip) and not self._scanning:
            self.complaints.append("its last cluster is incomplete")
        units: list[Unit] = []
        self._end_group(units, 0)
        self._data, self._released = b"", True
        return self._timed(units)

    def resync(self) -> None:
        self._data, self._skip, self._group, self._block, self._scanning = b"", 0, 0, None, True

    def state(self) -> dict[str, Any]:
        return {
            "data": self._data,
            "skip": self._skip,
            "scanning": self._scanning,
            "format": None if self._format is None else self._format.state(),
            "numbers": [
                self._delay,
                self._sound,
                self._pictures,
                self._ticks,
                self._rate_hz,
                self._time,
                self._group,
            ],
            "block": None if self._block is None else list(self._block),
            "zero": self._zero,
            "held": [[unit.data, unit.pts, unit.discard] for unit in self._held],
            "released": self._released,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._data, self._skip, self._scanning = state["data"], state["skip"], state["scanning"]
        self._format = None if state["format"] is None else format_of(state["format"])
        self._delay, self._sound, self._pictures, self._ticks, *rest = state["numbers"]
        self._rate_hz, self._time, self._group = rest
        self._block = None if state["block"] is None else (state["block"][0], state["block"][1])
        self._zero, self._released = state["zero"], state["released"]
        if self._format is not None:
            self._held = [Unit(self._format, *one) for one in state["held"]]

    # ------------------------------------------------------------ elements

    def _step(self, units: list[Unit]) -> bool:
        """Go on by one element; False where more bytes are needed."""
        if self._skip:
            size = min(self._skip, len(self._data))
            self._skip -= size
            self._consume(size)
            if not self._skip:
                self._end_group(units, 0, when_over=True)
            return bool(self._data)
        if self._scanning:
            return self._scan()
        name, at = _number(self._data, 0, keep=True)
        size, head = _number(self._data, at) if at else (0, 0)
        if not head:
            return False if len(self._data) < 12 else self._lie("bytes that are no element")
        if name in _ENTERED:
            return self._descend(name, size, head, units)
        if size == _UNKNOWN:
            return self._lie("an element without an end")
        if name in _WHOLE or name in (_SIMPLE, _BLOCK):
            return self._read(name, size, head, units)
        if size > MAX_PENDING and name not in (0xEC, _EBML) and not self._is_known(name):
            return self._lie(f"an element of {size} bytes")
        self._consume(head)
        self._skip = size
        return True

    def _is_known(self, name: int) -> bool:
        """Whether it may be long: attachments, cues, tags."""
        return name in (0x1941A469, 0x1C53BB6B, 0x1254C367)

    def _consume(self, size: int) -> None:
        self._data = self._data[size:]
        if self._group:
            self._group = max(self._group - size, 0)

    def _lie(self, message: str) -> bool:
        self.complaints.append(message)
        self._data, self._group, self._block, self._scanning = self._data[1:], 0, None, True
        return True

    def _scan(self) -> bool:
        found = [at for top in _TOP if (at := self._data.find(top)) >= 0]
        if not found:
            self._data = self._data[-3:]
            return False
        self._data, self._scanning = self._data[min(found) :], False
        return True

    def _descend(self, name: int, size: int, head: int, units: list[Unit]) -> bool:
        self._end_group(units, 0)
        self._consume(head)
        if name == _GROUP:
            if size == _UNKNOWN or size > 16 * MAX_PENDING:
                return self._lie("a group of blocks without an end")
            self._group = size
        return True

    def _read(self, name: int, size: int, head: int, units: list[Unit]) -> bool:
        """An element that is read as a whole, unless it is a block of pictures."""
        if name in (_SIMPLE, _BLOCK):
            number, at = _number(self._data, head)
            if not at or len(self._data) < at + 3:
                return len(self._data) >= head + 12 and self._lie("a block without a head")
            if number != self._sound or self._format is None:
                self._see(number, at)
                self._consume(head)
                self._skip = size
                return True
        if size > MAX_PENDING:
            return self._lie(f"an element of {size} bytes")
        if len(self._data) < head + size:
            return False
        body = self._data[head : head + size]
        self._take(name, body, units)
        self._consume(head + size)
        self._end_group(units, 0, when_over=True)
        return True

    def _take(self, name: int, body: bytes, units: list[Unit]) -> None:
        value = int.from_bytes(body, "big", signed=name == _DISCARD)
        if name == _TIMECODE:
            self._time = value
        elif name == _INFO:
            scale = next(
                (int.from_bytes(inner, "big") for key, inner in _elements(body) if key == 0x2AD7B1), 0
            )
            self._ticks = 10**9 // scale if scale else 1_000
        elif name == _TRACKS:
            self._choose(body)
        elif name == _DISCARD:
            self._end_group(units, value * self._rate_hz // 10**9)
        else:
            at = _number(body, 0)[1]
            pts = self._time + int.from_bytes(body[at : at + 2], "big", signed=True) - self._delay
            if name == _BLOCK and self._group:
                self._block = (body[at + 2 :], pts)
            else:
                self._give(body[at + 2 :], pts, 0, units)

    def _see(self, number: int, at: int) -> None:
        """A block of pictures passes: where do they start?"""
        if number == self._pictures and self._pictures and self._zero is None and not self._released:
            self._zero = self._time + int.from_bytes(self._data[at : at + 2], "big", signed=True)

    def _end_group(self, units: list[Unit], discard: int, *, when_over: bool = False) -> None:
        if self._block is not None and not (when_over and self._group):
            (block, pts), self._block = self._block, None
            self._give(block, pts, max(discard, 0), units)

    def _give(self, block: bytes, pts: int, discard: int, units: list[Unit]) -> None:
        if self._format is None or not block:
            return
        try:
            pieces = _laced(block)
        except IndexError as error:
            self.complaints.append(f"a block that contradicts itself: {error}")
            return
        for number, piece in enumerate(pieces):
            is_last = number == len(pieces) - 1
            units.append(Unit(self._format, piece, None if number else pts, discard if is_last else 0))

    def _choose(self, body: bytes) -> None:
        tracks = [_read_track(inner) for key, inner in _elements(body) if key == 0xAE]
        sounds = [track for track in tracks if track.kind == 2]
        if not sounds:
            raise DecodeError("no_audio", "a WebM without sound")
        sound = next((track for track in sounds if track.codec in _CODECS), None)
        if sound is None:
            raise DecodeError("no_codec", f"of WebM, {', '.join(_CODECS)} can be decoded")
        codec = _CODECS[sound.codec]
        self._rate_hz = RATE_HZ if codec == "opus" else round(sound.rate_hz)
        skip = 0 if codec == "vorbis" else round(sound.delay_ns * self._rate_hz / 10**9)  # its first has none
        self._delay = round(sound.delay_ns * self._ticks / 10**9)
        self._sound, self._format = sound.number, Format(codec, sound.private, self._ticks, skip)
        self._pictures = next((track.number for track in tracks if track.kind == 1), 0)

    def _timed(self, units: list[Unit]) -> list[Unit]:
        """Units, once it is known where the pictures start."""
        if not self._pictures and not self._held:
            return units
        self._held += units
        if self._zero is None and not self._released and len(self._held) < _MAX_HELD:
            return []
        self._released = True
        held, self._held = self._held, []
        zero_s = None if self._zero is None else Fraction(self._zero, self._ticks)
        return [replace(unit, format=replace(unit.format, zero_s=zero_s)) for unit in held]


def _number(data: bytes, at: int, *, keep: bool = False) -> tuple[int, int]:
    """A number of variable length and where it ends; 0 as its end where it is not all there or none.

    `_UNKNOWN` stands for "unknown". `keep` keeps the marker, as names of elements do.
    """
    if at >= len(data) or not data[at]:
        return 0, 0
    length = 9 - data[at].bit_length()
    if at + length > len(data):
        return 0, 0
    value = int.from_bytes(data[at : at + length], "big")
    if keep:
        return value, at + length
    value &= (1 << 7 * length) - 1
    return (_UNKNOWN if value == (1 << 7 * length) - 1 else value), at + length


def _elements(body: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(body):
        name, after = _number(body, at, keep=True)
        size, start = _number(body, after) if after else (0, 0)
        if not start or size == _UNKNOWN or start + size > len(body):
            return
        yield name, body[start : start + size]
        at = start + size


def _read_track(entry: bytes) -> _Track:
    track = _Track()
    for name, inner in _elements(entry):
        value = int.from_bytes(inner[:8], "big")
        match name:
            case 0xD7:
                track.number = value
            case 0x83:
                track.kind = value
            case 0x86:
                track.codec = inner.rstrip(b"\0").decode("latin-1")
                track.codec = "A_AAC" if track.codec.startswith("A_AAC") else track.codec
            case 0x63A2:
                track.private = inner
            case 0x56AA:
                track.delay_ns = value
            case 0xE1:
                track.rate_hz = next((_real(one) for key, one in _elements(inner) if key == 0xB5), 8_000.0)
    return track


def _real(data: bytes) -> float:
    if len(data) not in (4, 8):
        return 0.0
    return float(struct.unpack(">f" if len(data) == 4 else ">d", data)[0])


def _laced(block: bytes) -> list[bytes]:
    """The coded packets in a block, after its head; its first byte has the flags."""
    lacing, body = block[0] >> 1 & 3, block[1:]
    if not lacing:
        return [body]
    count, at = body[0] + 1, 1
    if lacing == 2:
        size = (len(body) - 1) // count
        return [body[1 + i * size : 1 + (i + 1) * size] for i in range(count)]
    sizes: list[int] = []
    for number in range(count - 1):
        if lacing == 1:
            size = 0
            while True:
                size, at = size + body[at], at + 1
                if body[at - 1] < 255:
                    break
        else:
            value, after = _number(body, at)
            if not after or value == _UNKNOWN:
                raise IndexError("a length that is none")
            bias = (1 << 7 * (after - at) - 1) - 1
            size, at = (value if not number else sizes[-1] + value - bias), after
        if size < 0:
            raise IndexError("a length below 0")
        sizes.append(size)
    pieces = []
    for size in sizes:
        pieces.append(body[at : at + size])
        at += size
    return [*pieces, body[at:]]
