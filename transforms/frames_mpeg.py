"""MpegFrames: MP3 (and MP2) or ADTS AAC, bytes in, frames out.

A frame says how long it is, so finding frames is finding the first one. One that follows another is believed
at once; after anything else a header counts only if a second one lies where the first says it ends. Tags
between frames are skipped. The Xing frame of an MP3 is no sound; where it names the encoder's delay, so many
samples are skipped. The padding at the end stays: nobody knows the end of a stream before it comes.

Source: ISO/IEC 11172-3, 2.4.1; ISO/IEC 13818-7, 6.2; the LAME tag, http://gabriel.mp3-tech.org/mp3infotag.html
"""

import re
from collections.abc import Mapping
from typing import Any

from moodstream.transforms.completeness import frame_bytes, is_filler
from moodstream.transforms.units import Format, Unit

_HEAD = 10  # bytes that tell a frame or a tag
_DECODER_DELAY = 529  # samples that every MP3 decoder adds
_LAME = (b"LAME", b"Lavf", b"Lavc")  # encoders whose tag names the delay
_RATE_BYTES = (0x10, 0xEF)


def _header(kind: str) -> re.Pattern[bytes]:
    """What may be the first bytes of a frame: finds it faster than looking at each byte in Python."""
    if kind == "aac":
        return re.compile(rb"\xff[\xf0\xf1\xf8\xf9]")
    seconds = [b for b in range(0xE0, 0x100) if b & 0x06 and b & 0x18 != 0x08]  # a layer, a version
    thirds = [b for b in range(*_RATE_BYTES) if b & 0x0C != 0x0C]  # a bit rate, a sample rate
    one, two = (b"".join(b"\\x%02x" % byte for byte in some) for some in (seconds, thirds))
    return re.compile(b"\xff[" + one + b"][" + two + b"]")


_HEADERS = {kind: _header(kind) for kind in ("mp3", "aac")}
_SAME = {"mp3": bytes([0xFF, 0xFE, 0x0C]), "aac": bytes([0xFF, 0xFE, 0xFC])}  # bits that a stream keeps


class MpegFrames:
    """The frames of one stream.

    Args:
        kind: `mp3` or `aac`.
        ticks: of the time stamps that `push` is told, a second.
        tagged: whether a first frame may be a Xing tag; not inside other containers.
    """

    def __init__(self, kind: str, ticks: int = 0, *, tagged: bool = True) -> None:
        self.kind = kind
        self.format = Format("mp3float" if kind == "mp3" else "aac", ticks=ticks)
        self.complaints: list[str] = []
        self._tagged = tagged
        self._data = b""
        self._marks: list[tuple[int, int]] = []  # time stamps, and from which byte of `_data` they count
        self._skip = 0  # bytes of a tag that are still to come
        self._like = b""  # the header of the frame before, where the next one must follow
        self._begun = False
        self._joined = False  # something is missing before these: what is no frame is no wonder

    def push(self, data: bytes, pts: int | None = None) -> list[Unit]:
        """The next bytes; `pts` is the time of the first frame that begins in them."""
        if pts is not None:
            self._marks.append((len(self._data), pts))
        self._data += data
        return self._take(last=False)

    def flush(self) -> list[Unit]:
        return self._take(last=True)

    def resync(self) -> None:
        self._data, self._marks, self._skip, self._like = b"", [], 0, b""
        self._begun = self._joined = True

    def state(self) -> dict[str, Any]:
        return {
            "format": self.format.state(),
            "data": self._data,
            "marks": [list(mark) for mark in self._marks],
            "skip": self._skip,
            "like": self._like,
            "begun": self._begun,
            "joined": self._joined,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._data, self._skip, self._like = state["data"], state["skip"], state["like"]
        self._marks = [(at, pts) for at, pts in state["marks"]]
        self._begun, self._joined = state["begun"], state["joined"]
        saved = state["format"]
        self.format = Format(saved["codec"], saved["extradata"], saved["ticks"], saved["skip"])

    def _take(self, *, last: bool) -> list[Unit]:
        data, at, units = self._data, 0, []
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
                at += step
                continue
            if len(data) - at < _HEAD and not last:
                break
            head = data[at : at + _HEAD]
            self._skip = _tag_bytes(head)
            if self._skip:
                self._like = b""
                continue
            size = self._frame(data, at, last=last)
            if size is None:
                break
            if not size:
                at = self._search(data, at)
                continue
            if len(data) - at < size:
                if last:
                    self.complaints.append("it ends in the middle of a frame")
                    at = len(data)
                break
            frame = data[at : at + size]
            self._joined = False
            if not self._is_tag(frame):
                units.append(Unit(self.format, frame, self._stamp(at)))
            at += size
        self._data = data[at:]
        self._marks = [(max(mark - at, 0), pts) for mark, pts in self._marks]
        return units

    def _frame(self, data: bytes, at: int, *, last: bool) -> int | None:
        """Length of the frame that begins here; 0 where none does, None where more bytes must tell."""
        head = data[at : at + 6]
        size = frame_bytes(head) if self._is_header(head) else 0
        if not size or self._follows(head):
            return size
        after = data[at + size : at + size + _HEAD]
        if len(after) < _HEAD and not last:
            return None
        if not after or _tag_bytes(after) or (self._is_header(after) and _alike(self.kind, head, after)):
            self._like = head[:3]
            return size
        return 0

    def _is_header(self, head: bytes) -> bool:
        return _HEADERS[self.kind].match(head) is not None

    def _follows(self, head: bytes) -> bool:
        return bool(self._like) and _alike(self.kind, self._like, head)

    def _search(self, data: bytes, at: int) -> int:
        """Where a frame may begin next; what lies before is lost."""
        found = _HEADERS[self.kind].search(data, at + 1)
        tag = data.find(b"ID3", at + 1, found.start() if found else len(data))
        place = tag if tag >= 0 else found.start() if found else max(at + 1, len(data) - 2)
        if not (self.complaints or self._joined or is_filler(data[at:place])):
            self.complaints.append(f"bytes that are no frame of {self.kind}")
            self._joined = True
        self._like = b""
        return place

    def _stamp(self, at: int) -> int | None:
        """The time stamp of the frame that begins here, if it is the first behind one."""
        pts = None
        while self._marks and self._marks[0][0] <= at:
            pts = self._marks.pop(0)[1]
        return pts

    def _is_tag(self, frame: bytes) -> bool:
        """Whether the first frame is a Xing tag; takes the delay from it."""
        first, self._begun = not self._begun, True
        if not first or not self._tagged or self.kind != "mp3":
            return False
        is_one, is_mono = frame[1] & 0x08, frame[3] & 0xC0 == 0xC0
        offset = 4 + ((17 if is_mono else 32) if is_one else (9 if is_mono else 17))
        tag = frame[offset:]
        if frame[36:40] == b"VBRI":
            return True
        if tag[:4] not in (b"Xing", b"Info"):
            return False
        flags = int.from_bytes(tag[4:8], "big")
        at = 8 + 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
        if tag[at : at + 4] in _LAME:
            delay = int.from_bytes(tag[at + 21 : at + 24], "big") >> 12
            self.format = Format(self.format.codec, ticks=self.format.ticks, skip=delay + _DECODER_DELAY)
        return bool(flags & 3)


def _alike(kind: str, one: bytes, two: bytes) -> bool:
    return all((a ^ b) & mask == 0 for a, b, mask in zip(one, two, _SAME[kind], strict=False))


def _tag_bytes(head: bytes) -> int:
    """Length of the tag that begins with these bytes; 0 where none does."""
    if head.startswith(b"ID3") and len(head) == _HEAD:
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        return _HEAD + size + (_HEAD if head[5] & 0x10 else 0)
    return 128 if head.startswith(b"TAG") else 0
