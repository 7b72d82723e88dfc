"""Fragments: fragmented mp4, bytes in, coded packets of its first sound out.

An mp4 is a row of boxes. `moov` says once what the tracks are; then each `moof` says where in the `mdat`
behind it the samples of each track lie. Only the sound's samples are kept, each until it is whole: pictures
pass by. An mp4 that is not in fragments has one `moov` about everything, at its end or as large as the file
is long: it cannot be played live and is refused.

Sizes may lie: a header is at most `MAX_PENDING` long, and an `mdat` ends where its samples end.

Source: ISO/IEC 14496-12 (boxes), 14496-14 and 14496-1 (`esds`), Opus in ISOBMFF 0.6.8 (`dOps`).
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from moodstream.transforms.errors import DecodeError
from moodstream.transforms.units import MAX_PENDING, Format, Unit, format_of

_AAC, _MP3 = {0x40, 0x66, 0x67, 0x68}, {0x69, 0x6B}  # object types
_MAX_HELD = 500  # units that wait for pictures
_MAX_SAMPLES = 1 << 16  # in a run: more than 20 minutes of AAC
_SLACK = 65_536  # bytes that an mdat may have behind its last sample
_PLAIN = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ -_\xa9")


@dataclass
class _Track:
    """What `moov` says of a track."""

    number: int = 0
    kind: bytes = b""  # soun, vide, ...
    ticks: int = 0
    format: Format | None = None
    codec: bytes = b""
    starts: int = 0  # media time at which it begins to be played (edit list)
    late_s: Fraction = Fraction(0)  # an empty edit before
    samples: int = 0  # that moov itself lists
    duration: int = 0  # of a sample, unless said otherwise
    size: int = 0


class Fragments:
    """The first sound of a fragmented mp4."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self._data = b""
        self._at = 0  # bytes of the stream before `_data`
        self._skip_to = 0  # bytes of the stream until here are of no interest
        self._scanning = False  # looks for the next moof
        self._joined = False  # something was lost, perhaps what says how to decode
        self._format: Format | None = None
        self._tracks: list[_Track] = []
        self._sound = 0  # number of the track
        self._wanted: list[tuple[int, int, int]] = []  # samples to come: where, how long, time stamp
        self._end = 0  # where the samples of all tracks of this fragment end
        self._checks = False  # whether the next box must be the mdat of this fragment
        self._next: dict[int, int] = {}  # by track, where the next fragment goes on in time
        self._zero_s: Fraction | None = None
        self._held: list[Unit] = []
        self._released = False

    def push(self, data: bytes) -> list[Unit]:
        self._data += data
        units: list[Unit] = []
        while self._step(units):
            pass
        return self._timed(units)

    def flush(self) -> list[Unit]:
        if self._wanted or (self._data and not self._scanning):
            self.complaints.append("its last fragment is incomplete")
        self._data, self._wanted, self._released, self._checks = b"", [], True, False
        return self._timed([])

    def resync(self) -> None:
        self._at, self._data = self._at + len(self._data), b""
        self._wanted, self._scanning, self._skip_to, self._joined = [], True, 0, True
        self._checks = False

    def state(self) -> dict[str, Any]:
        return {
            "data": self._data,
            "at": self._at,
            "skip_to": self._skip_to,
            "scanning": self._scanning,
            "joined": self._joined,
            "format": None if self._format is None else self._format.state(),
            "sound": self._sound,
            "tracks": [_plain(track) for track in self._tracks],
            "wanted": [list(one) for one in self._wanted],
            "end": [self._end, int(self._checks)],
            "next": [[number, at] for number, at in self._next.items()],
            "zero": None if self._zero_s is None else [self._zero_s.numerator, self._zero_s.denominator],
            "held": [[unit.data, unit.pts] for unit in self._held],
            "released": self._released,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._data, self._at, self._skip_to = state["data"], state["at"], state["skip_to"]
        self._scanning, self._sound = state["scanning"], state["sound"]
        self._end, checks = state["end"]
        self._checks = bool(checks)
        self._joined = state["joined"]
        self._format = None if state["format"] is None else format_of(state["format"])
        self._tracks = [_track(plain) for plain in state["tracks"]]
        self._wanted = [(at, size, pts) for at, size, pts in state["wanted"]]
        self._next = dict(state["next"])
        self._zero_s = None if state["zero"] is None else Fraction(*state["zero"])
        self._released = state["released"]
        if self._format is not None:
            self._held = [Unit(self._format, data, pts) for data, pts in state["held"]]

    # ------------------------------------------------------------ boxes

    def _step(self, units: list[Unit]) -> bool:
        """Go on by one box or sample; False where more bytes are needed."""
        if self._checks and len(self._data) >= 16:
            self._check()
        if self._checks:
            return False
        if self._wanted:
            at, size, pts = self._wanted[0]
            self._drop(at - self._at)
            if self._at < at or len(self._data) < size:
                return False
            if self._format is not None:
                units.append(Unit(self._format, self._data[:size], pts))
            self._wanted.pop(0)
            self._drop(size)
            return True
        if self._at < self._skip_to:
            self._drop(self._skip_to - self._at)
            return bool(self._data)
        if self._scanning:
            return self._scan()
        return self._box()

    def _drop(self, size: int) -> None:
        size = max(0, min(size, len(self._data)))
        self._data, self._at = self._data[size:], self._at + size

    def _scan(self) -> bool:
        places = [at for name in (b"moof", b"moov") if (at := self._data.find(name, 4)) >= 0]
        found = min(places, default=-1)
        if found < 0:
            self._drop(len(self._data) - 7)
            return False
        self._drop(found - 4)
        if int.from_bytes(self._data[:4], "big") > MAX_PENDING:
            self._drop(8)
        else:
            self._scanning = False
        return True

    def _box(self) -> bool:
        if len(self._data) < 8:
            return False
        size, kind, head = int.from_bytes(self._data[:4], "big"), self._data[4:8], 8
        if size == 1:
            if len(self._data) < 16:
                return False
            size, head = int.from_bytes(self._data[8:16], "big"), 16
        if (size < head and size != 0) or not _PLAIN.issuperset(kind):
            return self._lie(f"no box begins with {self._data[:8]!r}")
        if kind == b"mdat":
            return self._enter(self._at + size if size else None, head)
        if kind in (b"moov", b"moof"):
            if not head < size <= MAX_PENDING:
                return self._lie(f"a box {kind.decode()} of {size} bytes")
            if len(self._data) < size:
                return False
            body = self._data[head:size]
            self._headers(kind, body)
            self._drop(size)
            return True
        if size == 0 or size > MAX_PENDING:
            return self._lie(f"a box {kind!r} of {size} bytes")
        self._skip_to = self._at + size
        return True

    def _lie(self, message: str) -> bool:
        self.complaints.append(message)
        self._drop(1)
        self._scanning = True
        return True

    def _check(self) -> None:
        """After a moof: does its mdat end where its samples do? They are found whatever it says."""
        self._checks = False
        size, kind = int.from_bytes(self._data[:4], "big"), self._data[4:8]
        size = int.from_bytes(self._data[8:16], "big") if size == 1 else size
        if kind == b"mdat" and size and self._at + size > self._end + _SLACK:
            self.complaints.append(f"a box mdat of {size} bytes that are not in it")

    def _enter(self, stop: int | None, head: int) -> bool:
        """An mdat begins: what lies in it is known already."""
        if self._format is None and not self._joined:
            raise DecodeError("not_fragmented", "sound before its index: it cannot be played as it comes")
        self._wanted = [one for one in self._wanted if one[0] >= self._at]
        if stop is None or stop > max(self._end, self._at + head) + _SLACK:
            self.complaints.append("a box mdat that is longer than what is in it")
            self._scanning = True
            self._skip_to = max(self._end, self._at + head)
        else:
            self._skip_to = stop
        return True

    def _headers(self, kind: bytes, body: bytes) -> None:
        try:
            if kind == b"moov":
                self._moov(body)
            else:
                self._moof(body)
        except (struct.error, IndexError) as error:
            self.complaints.append(f"a box {kind.decode()} that contradicts itself: {error}")

    # ------------------------------------------------------------ moov

    def _moov(self, body: bytes) -> None:
        boxes = list(_boxes(body))
        self._tracks = [_read_track(inner, _movie_ticks(boxes)) for kind, inner in boxes if kind == b"trak"]
        sounds = [track for track in self._tracks if track.kind == b"soun"]
        extends = [inner for kind, inner in boxes if kind == b"mvex"]
        if not sounds:
            raise DecodeError("no_audio", "an mp4 without sound")
        sound = next((track for track in sounds if track.format is not None), None)
        if sound is None or sound.format is None:
            raise DecodeError("no_codec", f"AAC, MP3 and Opus in mp4, not {sounds[0].codec!r}")
        if not extends or any(track.samples for track in self._tracks):
            raise DecodeError("not_fragmented", "an mp4 must come in fragments to be played as it comes")
        for kind, inner in _boxes(extends[0]):
            if kind == b"trex":
                number, _, duration, size = struct.unpack_from(">4xIIII", inner)
                for track in self._tracks:
                    if track.number == number:
                        track.duration, track.size = duration, size
        self._joined = False
        self._sound, self._format, self._next = sound.number, sound.format, {}
        self._released = self._released or not any(track.kind == b"vide" for track in self._tracks)

    # ------------------------------------------------------------ moof

    def _moof(self, body: bytes) -> None:
        base = self._at
        end = base
        for kind, traf in _boxes(body):
            if kind != b"traf":
                continue
            for track, at, size, pts in self._samples(traf, base):
                end = max(end, at + size)
                if track.number == self._sound and size <= MAX_PENDING:
                    self._wanted.append((at, size, pts))
                elif track.kind == b"vide" and self._zero_s is None and track.ticks and not self._released:
                    self._zero_s = Fraction(pts, track.ticks) + track.late_s
        self._wanted.sort()
        self._wanted = [one for one in self._wanted if one[0] >= base]
        self._end = self._skip_to = end
        self._checks = end > base

    def _samples(self, traf: bytes, base: int) -> Iterator[tuple[_Track, int, int, int]]:
        """Track, place, size and time stamp of each sample of a track's fragment."""
        boxes = list(_boxes(traf))
        (header,) = [inner for kind, inner in boxes if kind == b"tfhd"] or [b""]
        flags, number = struct.unpack_from(">II", header)
        track = next((one for one in self._tracks if one.number == number), None)
        if track is None:
            return
        at, fields = 8, {0x01: base, 0x02: 0, 0x08: track.duration, 0x10: track.size, 0x20: 0}
        for flag, width in ((0x01, 8), (0x02, 4), (0x08, 4), (0x10, 4), (0x20, 4)):
            if flags & flag:
                fields[flag] = int.from_bytes(header[at : at + width], "big")
                at += width
        time = self._next.get(number, 0)
        for kind, inner in boxes:
            if kind == b"tfdt":
                time = int.from_bytes(inner[4 : 12 if inner[0] else 8], "big")
        place = fields[0x01]
        for kind, inner in boxes:
            if kind == b"trun":
                run, time = _run(inner, fields, place, time)
                for where, size, pts in run:
                    yield track, where, size, pts - track.starts
                    place = where + size
        self._next[number] = time

    def _timed(self, units: list[Unit]) -> list[Unit]:
        """Units, once it is known where the pictures start."""
        if self._released and self._zero_s is None and not self._held:
            return units
        self._held += units
        if self._zero_s is None and not self._released and len(self._held) < _MAX_HELD:
            return []
        self._released = True
        held, self._held = self._held, []
        return [replace(unit, format=replace(unit.format, zero_s=self._zero_s)) for unit in held]


def _run(
    run: bytes, fields: Mapping[int, int], place: int, time: int
) -> tuple[list[tuple[int, int, int]], int]:
    """Place, size and time stamp of each sample of a run, and the time at its end."""
    flags, count = struct.unpack_from(">II", run)
    version, flags, at = flags >> 24, flags & 0xFFFFFF, 8
    if flags & 0x01:
        place = fields[0x01] + struct.unpack_from(">i", run, at)[0]
        at += 4
    at += 4 if flags & 0x04 else 0
    width = 4 * sum(bool(flags & flag) for flag in (0x100, 0x200, 0x400, 0x800))
    if count > _MAX_SAMPLES or count * width > len(run) - at:
        raise IndexError(f"a run of {count} samples in {len(run)} bytes")
    samples = []
    for _ in range(count):
        values = {0x100: fields[0x08], 0x200: fields[0x10], 0x400: 0, 0x800: 0}
        for flag in values:
            if flags & flag:
                signed = bool(version) and flag == 0x800
                values[flag] = int.from_bytes(run[at : at + 4], "big", signed=signed)
                at += 4
        samples.append((place, values[0x200], time + values[0x800]))
        place, time = place + values[0x200], time + values[0x100]
    return samples, time


def _boxes(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(body):
        size, kind = struct.unpack_from(">I4s", body, at)
        head = 8
        if size == 1:
            size, head = int.from_bytes(body[at + 8 : at + 16], "big"), 16
        size = size or len(body) - at
        if size < head or at + size > len(body):
            raise IndexError(f"a box {kind!r} of {size} bytes inside {len(body)}")
        yield kind, body[at + head : at + size]
        at += size


def _inside(body: bytes, *path: bytes) -> bytes:
    """The first box at a path; empty where there is none."""
    for name in path:
        body = next((inner for kind, inner in _boxes(body) if kind == name), b"")
    return body


def _movie_ticks(boxes: list[tuple[bytes, bytes]]) -> int:
    header = next((inner for kind, inner in boxes if kind == b"mvhd"), b"")
    return int.from_bytes(header[20:24] if header[:1] == b"\1" else header[12:16], "big")


def _read_track(trak: bytes, movie_ticks: int) -> _Track:
    track = _Track()
    header, media = _inside(trak, b"tkhd"), _inside(trak, b"mdia", b"mdhd")
    track.number = int.from_bytes(header[20:24] if header[:1] == b"\1" else header[12:16], "big")
    track.ticks = int.from_bytes(media[20:24] if media[:1] == b"\1" else media[12:16], "big")
    track.kind = _inside(trak, b"mdia", b"hdlr")[8:12]
    _read_edits(_inside(trak, b"edts", b"elst"), track, movie_ticks)
    table = _inside(trak, b"mdia", b"minf", b"stbl")
    track.samples = int.from_bytes(_inside(table, b"stsz")[8:12], "big")
    if track.kind == b"soun" and track.ticks:
        entries = list(_boxes(_inside(table, b"stsd")[8:]))
        if entries:
            track.codec = entries[0][0]
            track.format = _read_entry(*entries[0], track)
    return track


def _read_edits(edits: bytes, track: _Track, movie_ticks: int) -> None:
    """Empty edits delay a track; the first other one says where its media begins."""
    if len(edits) < 8:
        return
    wide, at = edits[0] == 1, 8
    for _ in range(min(int.from_bytes(edits[4:8], "big"), 16)):
        duration, start = struct.unpack_from(">Qq" if wide else ">Ii", edits, at)
        at += 20 if wide else 12
        if start >= 0:
            track.starts = start
            return
        if movie_ticks:
            track.late_s += Fraction(duration, movie_ticks)


def _read_entry(codec: bytes, entry: bytes, track: _Track) -> Format | None:
    """How a track's sound is to be decoded; None where it cannot."""
    version = int.from_bytes(entry[8:10], "big")
    inner = entry[28 + {1: 16, 2: 36}.get(version, 0) :]
    rate_hz = int.from_bytes(entry[24:26], "big") or track.ticks
    skip = track.starts * rate_hz // track.ticks
    if codec == b".mp3":
        return Format("mp3float", b"", track.ticks, skip)
    if codec == b"Opus" and len(head := _inside(inner, b"dOps")) >= 11:
        preskip, rate, gain = struct.unpack_from(">HIh", head, 2)
        extradata = struct.pack("<8sBBHIhB", b"OpusHead", 1, head[1], preskip, rate, gain, head[10])
        return Format("opus", extradata + head[11:], track.ticks, preskip)
    if codec != b"mp4a":
        return None
    kind, config = _read_esds(_inside(inner, b"esds")[4:])
    if kind in _AAC:
        return Format("aac", config, track.ticks, skip)
    return Format("mp3float", b"", track.ticks, skip) if kind in _MP3 else None


def _read_esds(data: bytes) -> tuple[int, bytes]:
    """Object type and decoder's configuration out of nested descriptors."""
    kind, at = 0, 0
    while at + 2 <= len(data):
        tag, size, at = data[at], 0, at + 1
        while at < len(data):
            byte, at = data[at], at + 1
            size = size << 7 | byte & 0x7F
            if not byte & 0x80:
                break
        if tag == 0x03:
            at += 3
        elif tag == 0x04:
            kind, at = data[at], at + 13
        elif tag == 0x05:
            return kind, data[at : at + size]
        else:
            at += size
    return kind, b""


def _plain(track: _Track) -> dict[str, Any]:
    return {
        "number": track.number,
        "kind": track.kind,
        "ticks": track.ticks,
        "starts": track.starts,
        "late": [track.late_s.numerator, track.late_s.denominator],
        "duration": track.duration,
        "size": track.size,
    }


def _track(plain: Mapping[str, Any]) -> _Track:
    return _Track(
        plain["number"],
        plain["kind"],
        plain["ticks"],
        starts=plain["starts"],
        late_s=Fraction(*plain["late"]),
        duration=plain["duration"],
        size=plain["size"],
    )
