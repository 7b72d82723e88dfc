"""The same sound in every coding that packets may have; made once a process.

python -m tests.support.coded_media     what each costs: lag of the sound behind its bytes, size of a snapshot
"""

import io
import tempfile
from functools import cache
from pathlib import Path

from moodstream.transforms.decode import decode
from moodstream.transforms.elements import Clip
from moodstream.transforms.state import pack
from moodstream.transforms.streamed import open_decoder
from tests.support.media_files import encode, sound

FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "400000"}
LONG = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "1300000"}
SHORT_CLUSTERS = {"cluster_time_limit": "300"}
DELAYED = {"movflags": "frag_keyframe+delay_moov", "frag_duration": "700000"}
KINDS = {  # name: content type, extension, rate, channels, how it is encoded
    "mp3": ("audio/mpeg", "mp3", 44_100, 2, {}),
    "mp3_low": ("audio/mpeg", "mp3", 22_050, 1, {"bit_rate": 16_000}),
    "aac": ("audio/aac", "aac", 44_100, 2, {}),
    "ogg": ("audio/ogg", "opus", 48_000, 2, {}),
    "ts": ("video/mp2t", "ts", 44_100, 2, {}),
    "ts_film": ("video/mp2t", "ts", 44_100, 2, {"pictures_s": 3.0, "late_s": 0.5}),
    "ts_mp3": ("video/mp2t", "ts", 44_100, 2, {"codec": "libmp3lame"}),
    "mp4": ("audio/mp4", "mp4", 44_100, 2, {"options": FRAGMENTED}),
    "mp4_he": ("audio/mp4", "mp4", 22_050, 2, {"options": FRAGMENTED}),
    "mp4_edited": ("audio/mp4", "mp4", 44_100, 2, {"options": DELAYED}),
    "mp4_film": ("video/mp4", "mp4", 44_100, 2, {"pictures_s": 3.0, "late_s": 0.5, "options": FRAGMENTED}),
    "mp4_long_film": ("video/mp4", "mp4", 44_100, 2, {"pictures_s": 4.0, "options": LONG}),
    "mp4_opus": ("audio/mp4", "mp4", 48_000, 2, {"codec": "libopus", "options": FRAGMENTED}),
    "mp4_opus_edited": ("audio/mp4", "mp4", 48_000, 2, {"codec": "libopus", "options": DELAYED}),
    "mp4_mp3": ("audio/mp4", "mp4", 44_100, 2, {"codec": "libmp3lame", "options": FRAGMENTED}),
    "webm": ("audio/webm", "webm", 48_000, 2, {"options": SHORT_CLUSTERS}),
    "webm_film": ("video/webm", "webm", 48_000, 2, {"pictures_s": 3.0, "late_s": 0.5}),
    "webm_vorbis": ("audio/webm", "webm", 44_100, 2, {"codec": "vorbis"}),
}


class Pipe(io.RawIOBase):
    """Bytes that can only be read on."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


@cache
def coded(kind: str, seconds: float = 2.7, seed: int = 1) -> bytes:
    """The bytes of a file of this kind."""
    _, extension, rate_hz, channels, how = KINDS[kind]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"sound.{extension}")
        data = encode(path, sound(seconds, rate_hz, channels, seed), rate_hz, **how).read_bytes()  # type: ignore[arg-type]
    return as_he(data) if kind.endswith("_he") else data


def as_he(data: bytes) -> bytes:
    """Stereo AAC at 22,050 Hz in an mp4, declared to be HE-AAC: decoders make 44,100 Hz of it.

    No encoder of HE-AAC can be had, so its frames bring no high band of their own. All else is as in earnest:
    twice the rate, 2,048 samples a frame, a decoder that remembers more.
    """
    low = _bits((2, 5), (7, 4), (2, 4), (0, 3))  # what it is, 22,050 Hz, two channels
    high = _bits((5, 5), (7, 4), (2, 4), (4, 4), (2, 5), (0, 3))  # the same, made 44,100 Hz by SBR
    at = data.index(low, data.index(b"esds"))
    return data[:at] + high.ljust(5, b"\0") + data[at + 5 :]  # before, "no SBR" stood in the other three


def _bits(*fields: tuple[int, int]) -> bytes:
    """Numbers of so many bits, one after the other."""
    value = size = 0
    for number, width in fields:
        value, size = value << width | number, size + width
    return (value << -size % 8).to_bytes(-(-size // 8), "big")


@cache
def decoded(kind: str, seconds: float = 2.7, seed: int = 1) -> Clip:
    """What batch hears in it."""
    return decode(Pipe(coded(kind, seconds, seed)))  # type: ignore[arg-type]


def lag_ms(kind: str, seconds: float = 20.0) -> tuple[float, float]:
    """How far the sound stays behind the bytes, ms: the mean, and the most, after the first second."""
    data, stream, heard, lags = coded(kind, seconds), open_decoder(KINDS[kind][0]), 0, []
    for at in range(0, len(data), 64):
        heard += sum(one.samples.shape[1] for one in stream.push(data[at : at + 64]) if isinstance(one, Clip))
        now_s = seconds * at / len(data)
        if now_s > 1 and stream.rate_hz:
            lags.append(1000 * max(now_s - heard / stream.rate_hz, 0.0))
    return sum(lags) / len(lags), max(lags)


def state_bytes(kind: str, seconds: float = 20.0) -> int:
    """The most that a snapshot holds of a decoder."""
    data, stream, most = coded(kind, seconds), open_decoder(KINDS[kind][0]), 0
    for at in range(0, len(data), 4_000):
        for _ in stream.push(data[at : at + 4_000]):
            pass
        most = max(most, len(pack(stream.state())))
    return most


def main() -> None:
    """Print what docs/packets.md says of each coding."""
    print("| coding | mean lag, ms | largest lag, ms | snapshot, kB |\n|---|---|---|---|")
    for kind in KINDS:
        mean, most = lag_ms(kind)
        print(f"| {kind} ({KINDS[kind][0]}) | {mean:.0f} | {most:.0f} | {state_bytes(kind) / 1000:.1f} |")


if __name__ == "__main__":
    main()
