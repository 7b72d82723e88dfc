"""Completeness: is all of a media file there, by what its header promises and how its last bytes look?

FFmpeg reads a file that was cut off without a word. Every check here is silent on a whole file, and on one
whose recorder could not come back to fill in its sizes; a file that is cut in a lucky place may pass.
"""

import io
from typing import BinaryIO

_UNKNOWN_SIZE = 0x7FFF_0000  # recorders write sizes from here up when they cannot come back to fix them
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")
_MAX_PADDING = 4_096
_MPEG_KBPS = {  # by (version is 1, layer)
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def promised_bytes(head: bytes, container: str) -> int:
    """How many bytes the header says there are until the samples end; 0 where it does not say.

    Args:
        head: the first 64 KiB of the file.
        container: its name, by `containers.container_of`.
    """
    if container in ("wav", "aiff", "caf"):
        return _end_of_samples(head, container)
    if container == "avi":
        return _sane(8 + int.from_bytes(head[4:8], "little"))
    if container == "au":
        return _sane(int.from_bytes(head[4:8], "big") + int.from_bytes(head[8:12], "big"))
    if container == "asf":
        at = head.find(_ASF_FILE_PROPERTIES)
        return int.from_bytes(head[at + 40 : at + 48], "little") if at >= 0 else 0
    if container == "matroska":
        return _end_of_segment(head)
    return 0


def _sane(size: int) -> int:
    return size if size < _UNKNOWN_SIZE else 0


def _end_of_samples(head: bytes, container: str) -> int:
    """The end of the chunk that holds the samples: RIFF, AIFF and CAF differ in how they write its size."""
    at, width = (8, 8) if container == "caf" else (12, 4)
    wanted = b"SSND" if container == "aiff" else b"data"
    while at + 4 + width <= len(head):
        size = int.from_bytes(head[at + 4 : at + 4 + width], "little" if container == "wav" else "big")
        if head[at : at + 4] == wanted:
            return _sane(at + 4 + width + size) if size else 0
        at += 4 + width + size + (size % 2 if width == 4 else 0)
    return 0


def _end_of_segment(head: bytes) -> int:
    """The end of a Matroska file's one segment, which holds everything. Source: RFC 8794, section 4."""
    size, at = _vint(head, 4)
    at += size
    if head[at : at + 4] != b"\x18\x53\x80\x67":
        return 0
    size, at = _vint(head, at + 4)
    return at + size if size else 0


def _vint(data: bytes, at: int) -> tuple[int, int]:
    """A number of EBML and where it ends; 0 for the one that says "unknown"."""
    length = 9 - data[at].bit_length() if at < len(data) and data[at] else 1
    value = int.from_bytes(data[at : at + length], "big") & ((1 << 7 * length) - 1)
    return (0 if value == (1 << 7 * length) - 1 else value), at + length


def promised_frames(head: bytes) -> int:
    """How many frames an mp3 promises in its Xing or Info tag; 0 where it has none.

    Source: the LAME tag, http://gabriel.mp3-tech.org/mp3infotag.html
    """
    at = 0
    while head[at : at + 3] == b"ID3" and len(head) >= at + 10:
        size = head[at + 6 : at + 10]
        at += 10 + (size[0] << 21 | size[1] << 14 | size[2] << 7 | size[3])
    frame = head[at : at + 200]
    if frame_bytes(frame[:6]) == 0:
        return 0
    for offset in (4 + 9, 4 + 17, 4 + 32):
        tag = frame[offset : offset + 12]
        if tag[:4] in (b"Xing", b"Info") and len(tag) == 12 and tag[7] & 1:
            return int.from_bytes(tag[8:12], "big")
    return 0


def frame_bytes(header: bytes) -> int:
    """Length in bytes of the MPEG or ADTS frame that starts with these six bytes; 0 where it cannot be told.

    Source: ISO/IEC 11172-3, 2.4.2.3; ISO/IEC 13818-7, 6.2 (ADTS).
    """
    if len(header) >= 6 and header[0] == 0xFF and header[1] & 0xF6 == 0xF0:
        return (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0
    version, layer = (header[1] >> 3) & 3, 4 - ((header[1] >> 1) & 3)
    bit_rate, rate = header[2] >> 4, (header[2] >> 2) & 3
    if version == 1 or layer == 4 or bit_rate in (0, 15) or rate == 3:
        return 0
    rate_hz = (44_100, 48_000, 32_000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    bps = 1000 * _MPEG_KBPS[version == 3, layer][bit_rate - 1]
    padding = (header[2] >> 1) & 1
    if layer == 1:
        return (12 * bps // rate_hz + padding) * 4
    samples = 576 if layer == 3 and version != 3 else 1152
    return samples // 8 * bps // rate_hz + padding


def is_filler(packet: bytes) -> bool:
    """Whether a packet that does not decode is none: a tag between or behind frames, or a little padding."""
    return packet.startswith(_TAGS) or (len(packet) <= _MAX_PADDING and not any(packet))


def ogg_is_whole(tail: bytes) -> bool:
    """Whether the last Ogg page is all there.

    Args:
        tail: the last 128 KiB of the file, or all of it.
    """
    at = tail.rfind(b"OggS")
    while at >= 0 and len(tail) - at >= 27 and tail[at + 4] != 0:  # a chance match inside a page
        at = tail.rfind(b"OggS", 0, at)
    if at < 0:
        return True
    segments = tail[at + 26] if len(tail) - at >= 27 else 255
    lacing = tail[at + 27 : at + 27 + segments]
    return len(lacing) == segments and at + 27 + segments + sum(lacing) <= len(tail)


def mp4_is_whole(file: BinaryIO) -> bool:
    """Whether the last box of an mp4 ends where the file ends; leaves the file at its start."""
    end, at = file.seek(0, io.SEEK_END), 0
    while at + 8 <= end:
        file.seek(at)
        header = file.read(16)
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[8:], "big")
        if size < 8:  # 0: to the end of the file
            at = end if size == 0 else end + 1
        at += size
    file.seek(0)
    return at <= end
