"""Streamed: sound that comes in packets, decoded as it comes.

One small object a stream: `push` takes the bytes of the next packet and gives the clips that became ready,
`flush` the rest; where the bytes are cut does not matter. What the same bytes give as a file, they give here.

    audio/L16;rate=R;channels=C   16-bit linear PCM, big-endian (RFC 2586); R defaults to 8,000, C to 1
    audio/PCMU, audio/PCMA        G.711 mu-law and A-law, the same parameters
    audio/mpeg                    MP3
    audio/aac                     AAC in ADTS
    audio/ogg                     Opus in Ogg
    audio/opus;channels=C         packets of Opus, one a record; with `framing=length` any number, cut
                                  anywhere, each behind its length in two bytes (big-endian). `preskip=N` is
                                  the encoder's delay in samples at 48 kHz; C defaults to 2 (RFC 7587)
    video/mp2t                    MPEG-TS with AAC or MP3; pictures are passed over, here and below
    video/mp4, audio/mp4          fragmented mp4 with AAC, MP3 or Opus
    video/webm, audio/webm        WebM or Matroska with Opus, Vorbis, AAC or MP3
    audio/midi                    a MIDI file, perhaps in pieces
    audio/midi;format=messages    runs of timed messages (transforms/midi_runs.py)

Conventions: clips are float32 [channels, n], full scale 1.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from moodstream.transforms.coded import CodedStream
from moodstream.transforms.elements import Clip
from moodstream.transforms.errors import DecodeError
from moodstream.transforms.fragments import Fragments
from moodstream.transforms.frames_mpeg import MpegFrames
from moodstream.transforms.midi_runs import MAX_DIVISION, MidiRuns
from moodstream.transforms.mpegts import TsPackets
from moodstream.transforms.ogg import OggPages, OpusPackets
from moodstream.transforms.units import Demuxer, Lost
from moodstream.transforms.webm import Clusters

MIDI_TYPES = frozenset({"audio/midi", "audio/x-midi", "audio/mid"})
_RATES_HZ = (1_000, 384_000)
_MAX_CHANNELS = 2
_MAX_PRESKIP = 48_000


class StreamDecoder(Protocol):
    """One stream's way from bytes to sound.

    Attributes:
        rate_hz, channels: of the sound; 0 where nothing is known yet.
        keeps_time: whether its own time stamps say how long a gap is, and `push` gives it as `Lost`.
    """

    rate_hz: int
    channels: int
    keeps_time: bool

    def push(self, data: bytes) -> Iterable[Clip | Lost]:
        """Take the next bytes; give the sound that is ready.

        Raises:
            DecodeError: bytes that are not what was announced, after the last good clip; the stream may go
                on with the next packet.
        """

    def flush(self) -> Iterable[Clip | Lost]:
        """The stream ended: give the rest.

        Raises:
            DecodeError: `truncated` where it breaks off.
        """

    def resync(self) -> None:
        """Bytes are missing from here on: forget what is incomplete."""

    def park(self) -> None:
        """Nothing comes for a while: give back what the next packet can open again."""

    def state(self) -> dict[str, Any]:
        """Everything needed to go on elsewhere, as plain Python and numpy."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()` of a stream of the same type."""


_CODED: dict[str, Callable[[], Demuxer]] = {
    "audio/mpeg": lambda: MpegFrames("mp3"),
    "audio/mp3": lambda: MpegFrames("mp3"),
    "audio/aac": lambda: MpegFrames("aac"),
    "audio/aacp": lambda: MpegFrames("aac"),
    "audio/ogg": OggPages,
    "application/ogg": OggPages,
    "video/mp2t": TsPackets,
    "video/mp4": Fragments,
    "audio/mp4": Fragments,
    "video/webm": Clusters,
    "audio/webm": Clusters,
    "video/x-matroska": Clusters,
    "audio/x-matroska": Clusters,
}


def media_type(content_type: str) -> tuple[str, dict[str, str]]:
    """A content type in lower case, and its parameters.

    Example:
        >>> media_type("audio/L16; rate=8000; channels=2")
        ('audio/l16', {'rate': '8000', 'channels': '2'})
    """
    name, *pairs = (word.strip() for word in content_type.split(";"))
    parameters = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    return name.lower(), {key.strip().lower(): value.strip().strip('"') for key, value in parameters.items()}


def is_midi(content_type: str) -> bool:
    """Whether a content type is that of notes."""
    return media_type(content_type)[0] in MIDI_TYPES


def open_runs(content_type: str) -> MidiRuns | None:
    """What gathers the notes of this content type, if they come as timed messages.

    Raises:
        DecodeError: `too_wide` for a division that no file has.
    """
    _, parameters = media_type(content_type)
    if not is_midi(content_type) or parameters.get("format") != "messages":
        return None
    return MidiRuns(_parameter(parameters, "division", 480, 1, MAX_DIVISION))


def open_decoder(content_type: str) -> StreamDecoder:
    """A decoder for a stream of this content type.

    Raises:
        DecodeError: `no_codec` for a type that cannot be decoded packet by packet, `too_wide` for a rate or
            channel count that no recording has.
    """
    name, parameters = media_type(content_type)
    if name in PcmStream.TYPES:
        return PcmStream(
            name,
            _parameter(parameters, "rate", 8_000, *_RATES_HZ),
            _parameter(parameters, "channels", 1, 1, _MAX_CHANNELS),
        )
    if name == "audio/opus":
        return CodedStream(
            OpusPackets(
                _parameter(parameters, "channels", 2, 1, _MAX_CHANNELS),
                _parameter(parameters, "preskip", 0, 0, _MAX_PRESKIP),
                framed=parameters.get("framing") == "length",
            )
        )
    if name not in _CODED:
        raise DecodeError("no_codec", f"packets of {content_type[:80]!r} cannot be decoded")
    return CodedStream(_CODED[name]())


def _parameter(parameters: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = parameters.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and low <= int(text) <= high):
        raise DecodeError("too_wide", f"{name}={text[:40]}, expected {low} to {high}")
    return int(text)


class PcmStream:
    """Samples without a header: linear, mu-law or A-law.

    Example:
        >>> stream = PcmStream("audio/l16", 8_000, 1)
        >>> stream.push(b"\\x40"), stream.push(b"\\x00")[0].samples.tolist()
        ([], [[0.5]])
    """

    TYPES = frozenset({"audio/l16", "audio/pcmu", "audio/pcma"})

    def __init__(self, name: str, rate_hz: int, channels: int) -> None:
        self.name, self.rate_hz, self.channels = name, rate_hz, channels
        self._frame = channels * (2 if name == "audio/l16" else 1)  # bytes
        self._rest = b""
        self._taken = 0  # samples a channel
        self.keeps_time = False

    def push(self, data: bytes) -> list[Clip]:
        data = self._rest + data
        whole = len(data) // self._frame * self._frame
        self._rest = data[whole:]
        if not whole:
            return []
        if self.name == "audio/l16":
            samples = np.frombuffer(data[:whole], ">i2").astype(np.float32) * np.float32(1 / 32768)
        else:
            samples = _companded(self.name)[np.frombuffer(data[:whole], np.uint8)]
        clip = Clip(
            self._taken * 1000 // self.rate_hz,
            self.rate_hz,
            np.ascontiguousarray(samples.reshape(-1, self.channels).T),
        )
        self._taken += clip.samples.shape[1]
        return [clip]

    def flush(self) -> list[Clip]:
        self._rest = b""  # less than one sample of every channel
        return []

    def resync(self) -> None:
        self._rest = b""

    def park(self) -> None:
        """There is nothing to give back."""

    def state(self) -> dict[str, Any]:
        return {"rest": self._rest, "taken": self._taken}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._rest, self._taken = state["rest"], state["taken"]


@cache
def _companded(name: str) -> npt.NDArray[np.float32]:
    """The samples that the 256 codes of G.711 stand for. Source: ITU-T G.711, tables 1 and 2."""
    code = np.arange(256)
    if name == "audio/pcmu":
        code = ~code & 0xFF
        magnitude = ((code & 0x0F) << 3) + 0x84
        values = (magnitude << ((code & 0x70) >> 4)) - 0x84
        signed = np.where(code & 0x80, -values, values)
    else:
        code = code ^ 0x55
        segment = (code & 0x70) >> 4
        step = (code & 0x0F) << 4
        values = np.where(segment == 0, step + 8, (step + 0x108) << np.maximum(segment - 1, 0))
        signed = np.where(code & 0x80, values, -values)
    return (signed / 32768).astype(np.float32)


def midi_is_whole(data: bytes) -> bool:
    """Whether a Standard MIDI File has all the tracks that its header promises."""
    if len(data) < 14 or not data.startswith(b"MThd"):
        return False
    at, tracks = 8 + int.from_bytes(data[4:8], "big"), int.from_bytes(data[10:12], "big")
    while tracks and at + 8 <= len(data):
        tracks -= data[at : at + 4] == b"MTrk"
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "big")
    return not tracks and at <= len(data)


def mulaw(samples: npt.NDArray[np.float32]) -> bytes:
    """Samples as mu-law, each as the code that comes nearest; for senders.

    Example:
        >>> mulaw(np.float32([0.0, 1.0])).hex()
        'ff80'
    """
    values = _companded("audio/pcmu").astype(np.float64)
    order = np.argsort(values, kind="stable")
    middle = (values[order][1:] + values[order][:-1]) / 2
    codes = order[np.searchsorted(middle, samples)].astype(np.uint8)
    return np.where(codes == 127, 255, codes).astype(np.uint8).tobytes()  # both are zero
