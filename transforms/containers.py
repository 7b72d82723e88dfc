"""Containers: their names by the first bytes, and which of them may be read as a stream.

FFmpeg finds the format itself; this says what it does not tell.
"""

# Read without seeking, so that batch gives what the same bytes give live.
STREAMED = frozenset({"mp3", "aac", "wav", "flac", "ogg", "matroska", "mpegts", "amr", "au", "ac3"})
# Demuxers we let FFmpeg choose from: no playlists (hls, concat, dash), which would open further files.
DEMUXERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,eac3,flac,flv,iff,m4v,matroska,mov,mp3,mpc,mpc8,"
    "mpeg,mpegts,ogg,rm,tta,voc,w64,wav,webm,wv"
)
HEAD_BYTES = 65_536
# FFmpeg looks for other codecs inside PCM (DTS in a WAV) for 2,500 packets, 4 ms for a clip of 3 s. DTS shows
# in the first packets or never.
PROBE_PACKETS = {"wav": 4}


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
        b"caff": "caf",
    }
    for magic, name in magics.items():
        if head.startswith(magic):
            return name
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[:4] == b"FORM" and head[8:11] == b"AIF":
        return "aiff"
    if head[:1] == b"\x47" and head[188:189] == b"\x47":
        return "mpegts"
    if head[:3] == b"ID3":
        return "mp3"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return "aac" if head[1] & 0x06 == 0 else "mp3"
    return ""
