"""TsPackets: an MPEG transport stream, bytes in, frames of its first sound out.

188 bytes make a packet of one elementary stream, named by its PID; tables say which PID is what. The sound is
ADTS AAC, MP3 or MP2. Where there are pictures, the sound may start later than they: their first time stamp is
waited for, with the sound held until then.

Source: ISO/IEC 13818-1, 2.4.3 (packets, PES) and 2.4.4 (tables).
"""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

from moodstream.transforms.errors import DecodeError
from moodstream.transforms.frames_mpeg import MpegFrames
from moodstream.transforms.units import Unit

TICKS = 90_000
_SIZE = 188
_SOUND = {0x03: "mp3", 0x04: "mp3", 0x0F: "aac"}
_OTHER_SOUND = {0x11, 0x81, 0x87, 0x82, 0x83}  # AAC in LATM, AC-3, E-AC-3, DTS, TrueHD
_PICTURES = {0x01, 0x02, 0x10, 0x1B, 0x24, 0x33, 0xEA}
_MAX_HELD = 500  # units that wait for pictures: some 10 s
_MAX_SECTION = 4_096


class TsPackets:
    """The sound of one program."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self._data = b""
        self._frames: MpegFrames | None = None
        self._kind = ""
        self._pmt: int | None = None
        self._sound: int | None = None  # PIDs
        self._pictures: int | None = None
        self._zero: int | None = None  # time stamp of the first picture
        self._held: list[Unit] = []  # until it is known
        self._released = False
        self._sections: dict[int, bytes] = {}
        self._flowing = False  # a PES packet of the sound has begun
        self._joined = False  # bytes are missing before these

    def push(self, data: bytes) -> list[Unit]:
        self._data += data
        units: list[Unit] = []
        at = 0
        while len(self._data) - at >= _SIZE:
            if self._data[at] != 0x47:
                at = self._search(at)
                continue
            self._joined = False
            units += self._packet(self._data[at : at + _SIZE])
            at += _SIZE
        self._data = self._data[at:]
        return self._timed(units)

    def flush(self) -> list[Unit]:
        if self._data:
            self.complaints.append("it ends in the middle of a packet")
        self._data = b""
        units = self._frames.flush() if self._frames is not None else []
        self._collect()
        self._released = True
        return self._timed(units)

    def resync(self) -> None:
        self._data, self._flowing, self._sections, self._joined = b"", False, {}, True
        if self._frames is not None:
            self._frames.resync()

    def state(self) -> dict[str, Any]:
        return {
            "data": self._data,
            "kind": self._kind,
            "frames": None if self._frames is None else self._frames.state(),
            "pids": [self._pmt, self._sound, self._pictures],
            "zero": self._zero,
            "held": [[unit.data, unit.pts] for unit in self._held],
            "released": self._released,
            "sections": [[pid, data] for pid, data in self._sections.items()],
            "flowing": self._flowing,
            "joined": self._joined,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._data, self._kind = state["data"], state["kind"]
        self._pmt, self._sound, self._pictures = state["pids"]
        self._zero, self._released, self._flowing = state["zero"], state["released"], state["flowing"]
        self._sections, self._joined = dict(state["sections"]), state["joined"]
        if state["frames"] is not None:
            self._frames = MpegFrames(self._kind, TICKS, tagged=False)
            self._frames.restore(state["frames"])
            self._held = [Unit(self._frames.format, data, pts) for data, pts in state["held"]]

    def _search(self, at: int) -> int:
        """Where packets begin again: at a sync byte that another one follows."""
        if not self.complaints and not self._joined:
            self.complaints.append("bytes that are no packet of a transport stream")
            self._joined = True
            if self._frames is not None:
                self._frames.resync()
        found = self._data.find(b"\x47", at + 1)
        while 0 <= found < len(self._data) - _SIZE and self._data[found + _SIZE] != 0x47:
            found = self._data.find(b"\x47", found + 1)
        return found if found >= 0 else len(self._data)

    def _packet(self, packet: bytes) -> list[Unit]:
        starts, pid = bool(packet[1] & 0x40), (packet[1] & 0x1F) << 8 | packet[2]
        control = packet[3] >> 4 & 3
        at = 4 if control & 1 else _SIZE
        if control == 3:
            at = 5 + packet[4]
        if packet[1] & 0x80 or packet[3] & 0xC0 or at >= _SIZE:  # damaged, scrambled, nothing in it
            return []
        payload = packet[at:]
        if pid == self._sound:
            return self._sounds(payload, starts=starts)
        if pid == self._pictures and starts and self._zero is None and not self._released:
            self._zero = _pes_header(payload)[0]
        elif pid == 0 or pid == self._pmt:
            self._section(pid, payload, starts=starts)
        return []

    def _sounds(self, payload: bytes, *, starts: bool) -> list[Unit]:
        pts = None
        if starts:
            pts, at = _pes_header(payload)
            payload, self._flowing = payload[at:], True
        if not self._flowing or self._frames is None:
            return []
        units = self._frames.push(payload, pts)
        self._collect()
        return units

    def _collect(self) -> None:
        if self._frames is not None:
            self.complaints += self._frames.complaints
            self._frames.complaints.clear()

    def _timed(self, units: list[Unit]) -> list[Unit]:
        """Units, once it is known where the pictures start."""
        if self._pictures is None and not self._held:
            return units
        self._held += units
        if self._zero is None and not self._released and len(self._held) < _MAX_HELD:
            return []
        self._released = True
        held, self._held = self._held, []
        zero_s = None if self._zero is None else Fraction(self._zero, TICKS)
        return [replace(unit, format=replace(unit.format, zero_s=zero_s)) for unit in held]

    # ------------------------------------------------------------ tables

    def _section(self, pid: int, payload: bytes, *, starts: bool) -> None:
        if starts:
            self._sections[pid] = payload[1 + payload[0] :]
        elif pid in self._sections:
            self._sections[pid] = (self._sections[pid] + payload)[:_MAX_SECTION]
        section = self._sections.get(pid, b"")
        size = 3 + ((section[1] & 0x0F) << 8 | section[2]) if len(section) >= 3 else _MAX_SECTION
        if len(section) < size or size < 12:
            return
        del self._sections[pid]
        body = section[8 : size - 4]
        if pid == 0 and section[0] == 0x00:
            programs = [body[i : i + 4] for i in range(0, len(body) - 3, 4)]
            real = [one for one in programs if one[:2] != b"\0\0"]
            if real and self._pmt is None:
                self._pmt = (real[0][2] & 0x1F) << 8 | real[0][3]
        elif pid == self._pmt and section[0] == 0x02 and self._sound is None:
            self._choose(body)

    def _choose(self, body: bytes) -> None:
        """The streams of the program.

        Raises:
            DecodeError: `no_codec` or `no_audio`, where it has no sound that can be decoded.
        """
        at = 4 + ((body[2] & 0x0F) << 8 | body[3]) if len(body) >= 4 else len(body)
        types: list[tuple[int, int]] = []
        while at + 5 <= len(body):
            types.append((body[at], (body[at + 1] & 0x1F) << 8 | body[at + 2]))
            at += 5 + ((body[at + 3] & 0x0F) << 8 | body[at + 4])
        self._pictures = next((pid for kind, pid in types if kind in _PICTURES), None)
        for kind, pid in types:
            if kind in _SOUND:
                self._kind, self._sound = _SOUND[kind], pid
                self._frames = MpegFrames(self._kind, TICKS, tagged=False)
                return
        if any(kind in _OTHER_SOUND for kind, _ in types):
            raise DecodeError("no_codec", "of transport streams, ADTS AAC and MP3 can be decoded")
        if types:
            raise DecodeError("no_audio", "a transport stream without sound")


def _pes_header(payload: bytes) -> tuple[int | None, int]:
    """The time stamp in a PES packet's header, and where its payload begins."""
    if len(payload) < 9 or payload[:3] != b"\0\0\1":
        return None, 0
    at = 9 + payload[8]
    stamp = payload[9:14]
    if not payload[7] & 0x80 or len(stamp) < 5:
        return None, at
    pts = (stamp[0] >> 1 & 7) << 30 | stamp[1] << 22 | (stamp[2] >> 1) << 15 | stamp[3] << 7 | stamp[4] >> 1
    return pts, at
