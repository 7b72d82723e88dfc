"""Packing: the sound of a file as the bytes of a codec, a piece for each stretch of time.

A file that is coded so already goes out as it is, cut where its sound says; any other is encoded. The pieces
together are what a file of that kind holds, and what live hears in them is what `analyze` hears in the file.

    l16, pcmu        samples
    mp3, aac         frames: MP3, AAC in ADTS
    ogg, opus        Opus in Ogg, or its packets alone, each behind its length
    mp4, ts, webm    fragmented mp4 and MPEG-TS with AAC, WebM with Opus

Conventions: pieces are `(start_ms, end_ms, bytes)` in media time.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import cast

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream

from moodstream.transforms.bytestream import read_fully
from moodstream.transforms.containers import HEAD_BYTES, container_of
from moodstream.transforms.decode import AudioFile
from moodstream.transforms.elements import Clip
from moodstream.transforms.errors import MediaError
from moodstream.transforms.sources import open_bytes
from moodstream.transforms.streamed import mulaw, open_decoder

Float = npt.NDArray[np.float32]
Piece = tuple[int, int, bytes]
CODECS = ("l16", "pcmu", "mp3", "aac", "ogg", "opus", "mp4", "ts", "webm")
_CUT_BYTES = 1_024
_LAYOUTS = {1: "mono", 2: "stereo"}
_OPUS_PRESKIP = 312  # samples that the encoder is late


@dataclass(frozen=True)
class _Kind:
    """How a codec is written."""

    content_type: str
    container: str  # FFmpeg's name of the muxer
    encoder: str
    sample_format: str
    rates_hz: tuple[int, ...]  # that the encoder takes, the one for all others first
    own: str = ""  # name of the container of files that are coded so already
    options: Callable[[int], dict[str, str]] = field(default=lambda packet_ms: {})


_MPEG_RATES = (44_100, 48_000, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000)
_FRAGMENTS = "frag_keyframe+empty_moov+default_base_moof"
_KINDS = {
    "mp3": _Kind(
        "audio/mpeg", "mp3", "libmp3lame", "fltp", _MPEG_RATES, "mp3", lambda _: {"write_xing": "0"}
    ),
    "aac": _Kind("audio/aac", "adts", "aac", "fltp", _MPEG_RATES, "aac"),
    "ogg": _Kind(
        "audio/ogg",
        "ogg",
        "libopus",
        "flt",
        (48_000,),
        "ogg",
        lambda packet_ms: {"page_duration": str(1000 * packet_ms)},
    ),
    "mp4": _Kind(
        "audio/mp4",
        "mp4",
        "aac",
        "fltp",
        _MPEG_RATES,
        options=lambda packet_ms: {"movflags": _FRAGMENTS, "frag_duration": str(1000 * packet_ms)},
    ),
    "ts": _Kind("video/mp2t", "mpegts", "aac", "fltp", _MPEG_RATES, "mpegts"),
    "webm": _Kind(
        "audio/webm",
        "webm",
        "libopus",
        "flt",
        (48_000,),
        "matroska",
        lambda packet_ms: {"live": "1", "cluster_time_limit": str(packet_ms)},
    ),
}


@dataclass(frozen=True)
class Packed:
    """A sound as a codec's bytes."""

    content_type: str
    channels: int
    pieces: Iterator[Piece]


def pack_as_is(source: str, codec: str, packet_ms: int) -> Packed | None:
    """The bytes of a file that is coded so already; None where it is not, or cannot be read as it comes.

    Raises:
        ReadError: it cannot be read.
    """
    kind = _KINDS.get(codec)
    if kind is None or not kind.own:
        return None
    with open_bytes(source) as file:
        head = read_fully(file, HEAD_BYTES)
    if container_of(head) != kind.own:
        return None
    decoder = open_decoder(kind.content_type)
    try:
        for _ in decoder.push(head):
            pass
    except MediaError:
        return None
    if not decoder.channels:
        return None
    return Packed(kind.content_type, decoder.channels, _cut(source, kind.content_type, packet_ms))


def _cut(source: str, content_type: str, packet_ms: int) -> Iterator[Piece]:
    """A file's bytes, cut where so much of its sound is in them."""
    decoder, held, samples, start_ms, at_ms = open_decoder(content_type), b"", 0, 0, 0
    with open_bytes(source) as file:
        while data := read_fully(file, _CUT_BYTES):
            held += data
            try:
                for one in decoder.push(data):
                    samples += one.samples.shape[1] if isinstance(one, Clip) else one.samples
            except MediaError:
                continue  # whoever receives it says what is wrong with it
            at_ms = samples * 1000 // decoder.rate_hz if decoder.rate_hz else 0
            if at_ms >= start_ms + packet_ms:
                yield start_ms, at_ms, held
                start_ms, held = at_ms, b""
    if held:
        yield start_ms, at_ms, held


def pack(
    audio: AudioFile, clips: Iterable[Float], codec: str, packet_ms: int, channels: int | None = None
) -> Packed:
    """Samples, encoded.

    Args:
        audio: says rate and channels.
        clips: its samples, [1 or 2, n] each.
        codec: one of `CODECS`.
        packet_ms: how much sound a piece holds.
        channels: of the clips; those of `audio`, two at most, if None.
    """
    channels = channels or min(audio.channels, 2)
    blocks = _blocks(clips, max(1, packet_ms * audio.rate_hz // 1000))
    if codec in ("l16", "pcmu"):
        kind = f"audio/{codec.upper()};rate={audio.rate_hz};channels={channels}"
        return Packed(kind, channels, _samples(blocks, audio.rate_hz, codec))
    if codec == "opus":
        kind = f"audio/opus;channels={channels};framing=length;preskip={_OPUS_PRESKIP}"
        return Packed(kind, channels, _opus(blocks, audio.rate_hz, channels))
    return Packed(
        _KINDS[codec].content_type,
        channels,
        _encoded(blocks, audio.rate_hz, channels, _KINDS[codec], packet_ms),
    )


def _blocks(clips: Iterable[Float], size: int) -> Iterator[Float]:
    """Clips [channels, n] in blocks of one length, the last one shorter."""
    held: Float | None = None
    for clip in clips:
        held = clip if held is None else np.concatenate([held, clip], axis=1)
        while held.shape[1] >= size:
            yield held[:, :size]
            held = held[:, size:]
    if held is not None and held.shape[1]:
        yield held


def _samples(blocks: Iterable[Float], rate_hz: int, codec: str) -> Iterator[Piece]:
    at = 0
    for block in blocks:
        start_ms, at = at * 1000 // rate_hz, at + block.shape[1]
        if codec == "pcmu":
            data = mulaw(block.T)
        else:
            data = np.clip(np.round(block.T * 32768), -32768, 32767).astype(">i2").tobytes()
        yield start_ms, at * 1000 // rate_hz, data


def _frames(block: Float, rate_hz: int, resample: av.AudioResampler) -> list[av.AudioFrame]:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), "fltp", _LAYOUTS[len(block)])
    frame.sample_rate = rate_hz
    frame.pts = None
    return resample.resample(frame)


def _opus(blocks: Iterable[Float], rate_hz: int, channels: int) -> Iterator[Piece]:
    """Packets of 20 ms, each behind its length."""
    encoder = av.AudioCodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, _LAYOUTS[channels], "flt"
    encoder.open()
    resample = av.AudioResampler("flt", _LAYOUTS[channels], 48_000, frame_size=encoder.frame_size)

    def framed(frames: list[av.AudioFrame | None]) -> bytes:
        packets = [bytes(packet) for frame in frames for packet in encoder.encode(frame)]
        return b"".join(len(packet).to_bytes(2, "big") + packet for packet in packets)

    at = end_ms = 0
    for block in blocks:
        start_ms, at = end_ms, at + block.shape[1]
        end_ms = at * 1000 // rate_hz
        if data := framed([*_frames(block, rate_hz, resample)]):
            yield start_ms, end_ms, data
    if data := framed([*resample.resample(None), None]):
        yield end_ms, end_ms, data


class _Written:
    """A file that can only be written on, and gives what was."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        data, self._parts = b"".join(self._parts), []
        return data


def _encoded(
    blocks: Iterable[Float], rate_hz: int, channels: int, kind: _Kind, packet_ms: int
) -> Iterator[Piece]:
    written = _Written()
    options = {"flush_packets": "1", **kind.options(packet_ms)}
    out = av.open(written, "w", format=kind.container, options=options)
    to_hz = rate_hz if rate_hz in kind.rates_hz else kind.rates_hz[0]
    stream = cast(AudioStream, out.add_stream(kind.encoder, rate=to_hz, layout=_LAYOUTS[channels]))
    stream.codec_context.format = kind.sample_format
    stream.codec_context.open()
    size = stream.codec_context.frame_size or 1_024
    resample = av.AudioResampler(kind.sample_format, _LAYOUTS[channels], to_hz, frame_size=size)
    at = start_ms = end_ms = 0
    for block in blocks:
        at += block.shape[1]
        end_ms = at * 1000 // rate_hz
        for frame in _frames(block, rate_hz, resample):
            out.mux(stream.encode(frame))
        if data := written.take():
            yield start_ms, end_ms, data
            start_ms = end_ms
    for last in [*resample.resample(None), None]:
        out.mux(stream.encode(last))
    out.close()
    if data := written.take():
        yield start_ms, end_ms, data
