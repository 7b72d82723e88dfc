"""What the first and last bytes of a media file say: its container, and whether all of it is there.

FFmpeg finds the format itself; this module answers what it does not tell: may the file be read as a stream
(then batch reads it exactly as live does), and did the file end before what its header promises.
"""

STREAMED = frozenset({"mp3", "aac", "wav", "flac", "ogg", "matroska", "mpegts", "amr", "au", "ac3"})
# Demuxers we let FFmpeg choose from: no playlists (hls, concat, dash), which would open further files.
DEMUXERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,eac3,flac,flv,iff,m4v,matroska,mov,mp3,mpc,mpc8,"
    "mpeg,mpegts,ogg,rm,tta,voc,w64,wav,webm,wv"
)
HEAD_BYTES = 65_536
_UNKNOWN_SIZE = 0x7FFF_0000  # recorders write sizes from here up when they cannot come back to fix them
_TRAILING_TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"3DI", b"ID3")
_MPEG_KBPS = {  # by (version is 1, layer)
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def container_of(head: bytes) -> str:
    """Name the container by its magic bytes; `""` for one we do not know.

    Args:
        head: the first bytes of the file, 189 or more when it has them.
    """
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp", b"moof"):
        return "mp4"
    magics = {
        b"fLaC": "flac",
        b"OggS": "ogg",
        b"\x1a\x45\xdf\xa3": "matroska",
        b"#!AMR": "amr",
        b".snd": "au",
        b"\x0b\x77": "ac3",
        b"\x30\x26\xb2\x75": "asf",
    }
    for magic, name in magics.items():
        if head.startswith(magic):
            return name
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"FORM" and head[8:11] == b"AIF":
        return "aiff"
    if head[:1] == b"\x47" and head[188:189] == b"\x47":
        return "mpegts"
    if head[:3] == b"ID3":
        return "mp3"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return "aac" if head[1] & 0x06 == 0 else "mp3"
    return ""


def promise_of(head: bytes) -> int:
    """What the header promises: bytes of a WAV file, frames of an mp3; 0 where it promises nothing."""
    if head[:4] == b"RIFF":
        return _wav_end(head)
    return _mp3_frames(head) if container_of(head) == "mp3" else 0


def _wav_end(head: bytes) -> int:
    """Where the samples end, in bytes. A size that nobody came back to fill in promises nothing."""
    at = 12
    while head[8:12] == b"WAVE" and at + 8 <= len(head):
        name, size = head[at : at + 4], int.from_bytes(head[at + 4 : at + 8], "little")
        if name == b"data":
            return at + 8 + size if 0 < size < _UNKNOWN_SIZE else 0
        at += 8 + size + size % 2
    return 0


def mpeg_frame_bytes(header: bytes) -> int:
    """Length in bytes of the MPEG audio frame that starts with these four bytes; 0 where it cannot be told.

    Source: ISO/IEC 11172-3, 2.4.2.3.
    """
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


def is_trailing_tag(packet: bytes) -> bool:
    """Whether a packet that does not decode is only a tag behind the last frame."""
    return packet.startswith(_TRAILING_TAGS)


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


def _mp3_frames(head: bytes) -> int:
    """How many frames an mp3 promises in its Xing or Info tag.

    Source: the LAME tag, http://gabriel.mp3-tech.org/mp3infotag.html
    """
    at = 0
    while head[at : at + 3] == b"ID3" and len(head) >= at + 10:
        size = head[at + 6 : at + 10]
        at += 10 + (size[0] << 21 | size[1] << 14 | size[2] << 7 | size[3])
    frame = head[at : at + 200]
    if mpeg_frame_bytes(frame[:4]) == 0:
        return 0
    for offset in (4 + 9, 4 + 17, 4 + 32):
        tag = frame[offset : offset + 12]
        if tag[:4] in (b"Xing", b"Info") and len(tag) == 12 and tag[7] & 1:
            return int.from_bytes(tag[8:12], "big")
    return 0
