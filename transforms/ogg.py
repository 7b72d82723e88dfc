"""OggPages and OpusPackets: Opus, bytes in, packets out.

A page of Ogg holds packets cut into segments of up to 255 bytes, and says with its granule how many samples
the packets that end on it reach. Pages cannot be told from their middle, so a page is read when all of it is
there: Ogg is late by a page.

Raw packets come as RTP would bring them, one a record; or, with `framing=length`, each behind its length in
two bytes, any number a record and cut anywhere.

Source: RFC 3533 (pages), RFC 7845 (Opus in Ogg), RFC 6716, 3.1 (how long a packet is).
"""

import struct
from collections.abc import Mapping
from typing import Any

from moodstream.transforms.errors import DecodeError
from moodstream.transforms.units import Format, Unit, format_of

RATE_HZ = 48_000  # of Opus, always
_PAGE = struct.Struct("<4sBBqIIIB")
_CONTINUED, _FIRST, _LAST = 1, 2, 4
_MAX_PACKET = 65_535
_MAX_RAW = 7_656  # bytes: six frames of the longest kind


def opus_samples(packet: bytes) -> int:
    """How many samples at 48 kHz a packet of Opus decodes to; 0 for what is none.

    Example:
        >>> opus_samples(bytes([0xFC, 0, 0])), opus_samples(bytes([0x03, 2]))
        (960, 960)
    """
    if not packet:
        return 0
    config, code = packet[0] >> 3, packet[0] & 3
    if config < 12:
        frame = (480, 960, 1920, 2880)[config % 4]
    elif config < 16:
        frame = (480, 960)[config % 2]
    else:
        frame = (120, 240, 480, 960)[config % 4]
    frames = 1 if code == 0 else 2 if code < 3 else packet[1] & 63 if len(packet) > 1 else 0
    return frame * frames if frame * frames <= 5_760 else 0


def opus_head(channels: int, preskip: int) -> bytes:
    """The header of a stream of Opus."""
    return struct.pack("<8sBBHIhB", b"OpusHead", 1, channels, preskip, RATE_HZ, 0, 0)


class OggPages:
    """The packets of the first stream of Opus in an Ogg."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self._data = b""
        self._serial: int | None = None
        self._format: Format | None = None
        self._packet = b""  # begun on a page before
        self._joined = False  # something is missing before these: what is no page is no wonder
        self._headers = 0  # packets of headers seen
        self._end: int | None = None  # where the packets until now reach

    def push(self, data: bytes) -> list[Unit]:
        self._data += data
        units: list[Unit] = []
        at = 0
        while len(self._data) - at >= _PAGE.size:
            if self._data[at : at + 5] != b"OggS\0":
                found = self._data.find(b"OggS\0", at + 1)
                at = found if found >= 0 else len(self._data) - 4
                self._lost()
                continue
            count = self._data[at + 26]
            lacing = self._data[at + 27 : at + 27 + count]
            size = 27 + count + sum(lacing)
            if len(lacing) < count or len(self._data) - at < size:
                break
            self._joined = False
            units += self._page(self._data[at : at + size], lacing)
            at += size
        self._data = self._data[at:]
        return units

    def flush(self) -> list[Unit]:
        if self._data:
            self.complaints.append("it ends in the middle of a page")
        self._data = b""
        return []

    def resync(self) -> None:
        self._data, self._packet, self._end, self._joined = b"", b"", None, True

    def state(self) -> dict[str, Any]:
        return {
            "data": self._data,
            "serial": self._serial,
            "format": None if self._format is None else self._format.state(),
            "packet": self._packet,
            "joined": self._joined,
            "headers": self._headers,
            "end": self._end,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._data, self._serial, self._packet = state["data"], state["serial"], state["packet"]
        self._headers, self._end, self._joined = state["headers"], state["end"], state["joined"]
        self._format = None if state["format"] is None else format_of(state["format"])

    def _lost(self) -> None:
        self._packet = b""
        if not self.complaints and not self._joined:
            self.complaints.append("bytes that are no page of Ogg")
            self._joined = True

    def _page(self, page: bytes, lacing: bytes) -> list[Unit]:
        _, _, flags, granule, serial, *_ = _PAGE.unpack_from(page)
        if flags & _FIRST:
            self._begin(page[27 + len(lacing) :], serial)
        if serial != self._serial or self._format is None:
            return []
        packets = self._packets(page, lacing, continued=bool(flags & _CONTINUED))
        packets, dropped = packets[max(2 - self._headers, 0) :], len(packets)
        self._headers += dropped - len(packets)
        return self._units(packets, granule, is_last=bool(flags & _LAST))

    def _begin(self, packet: bytes, serial: int) -> None:
        """A stream starts: the first one, or the next of a chain."""
        if packet.startswith(b"OpusHead") and len(packet) >= 19:
            self._serial, self._headers, self._packet, self._end = serial, 0, b"", None
            preskip = int.from_bytes(packet[10:12], "little")
            self._format = Format("opus", packet, RATE_HZ, preskip)
        elif packet.startswith((b"\x01vorbis", b"\x7fFLAC", b"Speex")):
            raise DecodeError("no_codec", f"of Ogg, packets of Opus can be decoded, not of {packet[:8]!r}")

    def _packets(self, page: bytes, lacing: bytes, *, continued: bool) -> list[bytes]:
        """The packets that end on a page."""
        held, self._packet = self._packet if continued else b"", b""
        skip = continued and not held  # its beginning was lost
        packets, at = [], 27 + len(lacing)
        for length in lacing:
            held += page[at : at + length]
            at += length
            if length < 255:
                if not skip:
                    packets.append(held)
                held, skip = b"", False
        if not skip:
            self._packet = held[: _MAX_PACKET + 1]
        return packets

    def _units(self, packets: list[bytes], granule: int, *, is_last: bool) -> list[Unit]:
        if self._format is None or not packets:
            return []
        lengths = [opus_samples(packet) for packet in packets]
        start = self._end
        if start is None:
            start = max(granule - sum(lengths), 0) if is_last else granule - sum(lengths)
        units = [Unit(self._format, packets[0], start), *(Unit(self._format, one) for one in packets[1:])]
        reached = start + sum(lengths)
        if is_last and (over := reached - granule) > 0 and lengths[-1]:
            units[-1] = Unit(self._format, packets[-1], units[-1].pts, min(over, lengths[-1]))
        self._end = granule if granule >= 0 else reached
        return units


class OpusPackets:
    """Raw packets of Opus.

    Args:
        channels: 1 or 2.
        preskip: samples at 48 kHz at the start that are the encoder's delay.
        framed: whether each packet stands behind its length in two bytes.
    """

    def __init__(self, channels: int, preskip: int, *, framed: bool) -> None:
        self.complaints: list[str] = []
        self._format = Format("opus", opus_head(channels, preskip), skip=preskip)
        self._framed = framed
        self._data = b""

    def push(self, data: bytes) -> list[Unit]:
        if not self._framed:
            return self._units([data] if data else [])
        data, at, packets = self._data + data, 0, []
        while len(data) - at >= 2:
            size = int.from_bytes(data[at : at + 2], "big")
            if size > _MAX_RAW:  # no length: whatever this is, the next record begins anew
                self.complaints.append("bytes that are no packet of Opus")
                at = len(data)
            if len(data) - at - 2 < size:
                break
            packets.append(data[at + 2 : at + 2 + size])
            at += 2 + size
        self._data = data[at:]
        return self._units(packets)

    def flush(self) -> list[Unit]:
        if self._data:
            self.complaints.append("it ends in the middle of a packet")
        self._data = b""
        return []

    def resync(self) -> None:
        self._data = b""

    def state(self) -> dict[str, Any]:
        return {"data": self._data}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._data = state["data"]

    def _units(self, packets: list[bytes]) -> list[Unit]:
        good = [packet for packet in packets if opus_samples(packet)]
        if len(good) < len(packets):
            self.complaints.append("bytes that are no packet of Opus")
        return [Unit(self._format, packet) for packet in good]
