"""Decoding: a file, URI or stream of bytes in, blocks of samples out.

Conventions: float32 samples, [channels, n], full scale 1, at the file's own rate. Sample 0 is the zero of the
media: where a soundtrack starts late or time stamps have a gap, zeros fill it, so that the index of a sample
is its time. Formats that can be streamed are read without seeking, so that a file gives the samples that the
same bytes give live (a seekable mp3 would have its padding trimmed). Memory does not grow with the length.

What can be wrong is said as `DecodeError.error`. At opening:

    not_media    no container we know, or nothing in it decodes
    no_audio     pictures without sound
    no_codec     a codec that FFmpeg was built without
    too_wide     a sample rate or channel count that no recording has

and after the last good block, so that the caller already has all that decodes:

    truncated    the file ends before its own header says, or in the middle of a frame (also at opening)
    corrupt      stretches that do not decode, with sound behind them
    non_finite   NaN, infinite or absurdly large samples (they became zeros; no block at all if all are)
    too_long     longer than `max_hours`, or next to nothing that goes on for hours: a decompression bomb
"""

import math
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Discard, Disposition

from moodstream.transforms import completeness, containers
from moodstream.transforms.bytestream import ByteStream, SeekableBytes, read_fully
from moodstream.transforms.elements import Clip
from moodstream.transforms.errors import DecodeError, ReadError
from moodstream.transforms.frames import Clock, Decoder
from moodstream.transforms.sources import open_bytes

Float = npt.NDArray[np.float32]

BLOCK_FRAMES = 65_536
MAX_HOURS = 24.0
_RATES_HZ = (1_000, 768_000)
_MAX_CHANNELS = 64
_ABSURD = 1e6  # float files with integer values reach 32,768; nothing sensible reaches this
_MIN_BYTES_A_SECOND = 16  # over an hour; real codecs need ten times that for silence, bombs a tenth
_MAX_TAG_CHARS = 1_000
_FULL_SCALE = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31, "s64": 2.0**63}


def open_audio(
    source: str | Path | BinaryIO, *, max_hours: float = MAX_HOURS, block_frames: int = BLOCK_FRAMES
) -> "AudioFile":
    """Open the sound of an audio or video file.

    Args:
        source: a path, an fsspec URI, or a binary file (which stays open; it need not be seekable, except for
            mp4 with its index at the end).
        max_hours: where to stop, so that a decompression bomb ends.
        block_frames: about how many samples a block has; rounded down so that blocks start on whole ms.

    Raises:
        ReadError: `missing`, `unreadable` or `empty`.
        DecodeError: see the top of this module; also while iterating, after the last good block.

    Example:
        >>> import io
        >>> open_audio(io.BytesIO(b"not sound at all"))
        Traceback (most recent call last):
            ...
        moodstream.transforms.errors.DecodeError: not a format we know
    """
    if not isinstance(source, str | Path):
        return AudioFile(source, max_hours=max_hours, block_frames=block_frames)
    file = open_bytes(str(source))
    try:
        return AudioFile(file, max_hours=max_hours, block_frames=block_frames, owned=True)
    except BaseException:
        file.close()
        raise


def decode(source: str | Path | BinaryIO, *, max_hours: float = MAX_HOURS) -> Clip:
    """The whole sound of a file at once: for short files and for tests.

    Raises:
        ReadError, DecodeError: as `open_audio`, whatever was decoded until then.
    """
    with open_audio(source, max_hours=max_hours) as file:
        blocks = [clip.samples for clip in file]
        return Clip(0, file.rate_hz, np.concatenate(blocks, axis=1))


class AudioFile:
    """The sound of one file, read once from start to end by iterating over its blocks.

    Attributes:
        kind: `video` where there are moving pictures, else `audio`.
        rate_hz: the file's own sample rate; all blocks have it, even if the file changes it on the way.
        channels: how many channels every block has.
        tags: the file's own tags, names in lower case.
        frames: how many samples a channel were given so far.
    """

    def __init__(self, file: BinaryIO, *, max_hours: float, block_frames: int, owned: bool = False) -> None:
        self.frames = 0
        self._file = file if owned else None
        try:
            head = read_fully(file, containers.HEAD_BYTES)
        except OSError as error:
            raise ReadError("unreadable", str(error)) from error
        if not head:
            raise ReadError("empty", "the file has no bytes")
        self._name = containers.container_of(head)
        self._promised_bytes = completeness.promised_bytes(head, self._name)
        self._promised_frames = completeness.promised_frames(head) if self._name == "mp3" else 0
        streamed = self._name in containers.STREAMED or not file.seekable()
        self._bytes = ByteStream(file, head) if streamed else SeekableBytes(file)
        self._is_whole = streamed or self._name != "mp4" or completeness.mp4_is_whole(file)
        self._container = self._open_container()
        try:
            films = [s for s in self._container.streams.video if not s.disposition & Disposition.attached_pic]
            self.kind = "video" if films else "audio"
            self._decoder = Decoder(self._container, self._pick_stream())
            first = self._decoder.first
            self.rate_hz, self.channels = first.sample_rate, first.layout.nb_channels
            if not _RATES_HZ[0] <= self.rate_hz <= _RATES_HZ[1] or self.channels > _MAX_CHANNELS:
                raise DecodeError("too_wide", f"{self.rate_hz} Hz and {self.channels} channels")
        except BaseException as error:
            self._container.close()
            if self._bytes.error is not None:
                raise ReadError("unreadable", str(self._bytes.error)) from error
            if isinstance(error, DecodeError) and not self._is_whole:
                raise DecodeError("truncated", f"its index is incomplete: {error}") from error
            raise
        starts = [s.start_time * s.time_base for s in films if s.start_time is not None and s.time_base]
        base = self._decoder.stream.time_base
        self._clock = Clock(base, self.rate_hz, first.pts, min(starts, default=None))
        unit = self.rate_hz // math.gcd(self.rate_hz, 1000)  # every block starts on a whole millisecond
        self._block_frames = max(1, block_frames // unit) * unit
        self._max_frames = int(max_hours * 3600 * self.rate_hz)
        self._sound = Sound(self.channels)
        self._endless = ""
        tags = {**self._decoder.stream.metadata, **self._container.metadata}
        self.tags = {name.lower(): value[:_MAX_TAG_CHARS] for name, value in tags.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back FFmpeg's memory, and the file if `open_audio` opened it."""
        self._container.close()
        if self._file is not None:
            self._file.close()

    @property
    def duration_ms(self) -> int:
        """Length of what was given so far."""
        return (self.frames * 1000 + self.rate_hz // 2) // self.rate_hz

    def __iter__(self) -> Iterator[Clip]:
        total = withheld = 0
        for block in self._blocks():
            total += block.shape[1]
            if self._sound.bad == self._sound.decoded:  # zeros only: wait whether a good sample comes
                withheld += block.shape[1]
            else:
                while withheld:
                    silence = np.zeros((self.channels, min(withheld, self._block_frames)), np.float32)
                    withheld -= silence.shape[1]
                    yield from self._clips(silence)
                yield from self._clips(block)
            self._endless = self._why_endless(total)
            if self._endless:
                break
        self._complain()

    def _why_endless(self, frames: int) -> str:
        """Why so many samples are too many; empty where they are not."""
        seconds = frames / self.rate_hz
        if frames > self._max_frames:
            return f"longer than {self._max_frames / self.rate_hz / 3600:g} hours"
        if seconds > 3600 and self._bytes.count < _MIN_BYTES_A_SECOND * seconds:
            return f"{self._bytes.count} bytes go on for more than an hour"
        return ""

    def _clips(self, samples: Float) -> Iterator[Clip]:
        samples = samples[:, : self._max_frames - self.frames]
        if samples.shape[1]:
            start_ms = self.frames * 1000 // self.rate_hz
            self.frames += samples.shape[1]
            yield Clip(start_ms, self.rate_hz, samples)

    def _blocks(self) -> Iterator[Float]:
        """Blocks of one length, the last one shorter, from frames of any length and the gaps between."""
        fifo, held = av.AudioFifo(), 0
        cut = _Cutter(self._block_frames)
        for frame in self._decoder:
            gap = self._clock.advance(frame.pts, frame.samples)
            if gap and held:
                yield from cut.push(self._sound.take(fifo, held))
                held = 0
            for at in range(0, gap, self._block_frames):
                n = min(gap - at, self._block_frames)
                yield from cut.push(np.zeros((self.channels, n), np.float32))
            held += frame.samples
            frame.pts = None  # or the fifo demands that stamps be exact
            fifo.write(frame)
            while held >= cut.missing:
                held -= cut.missing
                yield from cut.push(self._sound.take(fifo, cut.missing))
        if held:
            yield from cut.push(self._sound.take(fifo, held))
        yield from cut.flush()

    # ------------------------------------------------------------ opening and checking

    def _open_container(self) -> InputContainer:
        options = {"format_whitelist": containers.DEMUXERS}
        if self._name in containers.PROBE_PACKETS:
            options["max_probe_packets"] = str(containers.PROBE_PACKETS[self._name])
        try:
            return av.open(
                cast(BinaryIO, self._bytes), "r", metadata_errors="replace", container_options=options
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            if self._bytes.error is not None:
                raise ReadError("unreadable", str(self._bytes.error)) from error
            if not self._is_whole:
                raise DecodeError("truncated", "it ends before its index (moov)") from error
            known = f"looks like {self._name} but is broken" if self._name else "not a format we know"
            raise DecodeError("not_media", known) from error

    def _pick_stream(self) -> AudioStream:
        streams = self._container.streams
        if not streams.audio:
            if self.kind == "video":
                raise DecodeError("no_audio", "pictures without sound")
            raise DecodeError("not_media", "there is no sound in it")
        stream = streams.best("audio") or streams.audio[0]
        for other in streams:
            if other is not stream:
                other.discard = Discard.all
        return cast(AudioStream, stream)

    def _complain(self) -> None:
        """Raise what was wrong with the file, now that all that decodes was given."""
        sound, decoder = self._sound, self._decoder
        if self._bytes.error is not None:
            raise ReadError("unreadable", str(self._bytes.error))
        if sound.bad == sound.decoded:
            raise DecodeError("non_finite", "every sample is NaN, infinite or absurd")
        if self._endless:
            raise DecodeError("too_long", self._endless)
        if cut := self._cut_off():
            raise DecodeError("truncated", f"{cut}; {self.duration_ms} ms were decoded")
        lost = decoder.bad_packets
        if self._name == "flac":  # where a gap is always a frame that was dropped
            lost += self._clock.gaps
        if lost:
            raise DecodeError(
                "corrupt", f"{lost} stretches do not decode ({decoder.message or 'frames lost'})"
            )
        if sound.bad:
            raise DecodeError("non_finite", f"{sound.bad} samples are NaN, infinite or absurd")

    def _cut_off(self) -> str:
        """How we know that the end of the file is missing; empty where it is not."""
        decoder, stream, name = self._decoder, self._decoder.stream, self._name
        if decoder.bad_tail:
            return f"its end does not decode ({decoder.message})"
        if not self._bytes.reaches(self._promised_bytes):
            return f"it has less than the {self._promised_bytes} bytes that it should have"
        if decoder.packets < self._promised_frames - 1:
            return f"it has {decoder.packets} of {self._promised_frames} frames"
        if name in ("mp3", "aac") and len(decoder.last) < completeness.frame_bytes(decoder.last[:6]):
            return "it ends in the middle of a frame"
        if name == "ogg" and not completeness.ogg_is_whole(self._bytes.tail):
            return "it ends in the middle of a page"
        if name == "mpegts" and self._bytes.count % 188:
            return "it ends in the middle of a packet"
        if name == "flac" and stream.duration and stream.time_base:
            promised = round(stream.duration * stream.time_base * self.rate_hz)
            if self.frames < promised:
                return f"it has {self.frames} of {promised} samples"
        return "" if self._is_whole else "its last part is incomplete"


class Sound:
    """Samples out of FFmpeg's own formats, with what is not a number made zero and counted."""

    def __init__(self, channels: int) -> None:
        self._channels = channels
        self.decoded = 0
        self.bad = 0

    def take(self, fifo: av.AudioFifo, n: int) -> Float:
        """The next n samples a channel, [channels, n]."""
        frame = fifo.read(n)
        if frame is None:
            raise IndexError(f"{n} samples are more than the fifo holds")
        data: npt.NDArray[Any] = frame.to_ndarray()
        if not frame.format.is_planar:
            data = data.reshape(-1, self._channels).T
        self.decoded += data.size
        kind = frame.format.name.removesuffix("p")
        if kind in _FULL_SCALE:
            samples = data.astype(np.float32)
            if kind == "u8":
                samples -= 128
            samples *= np.float32(1 / _FULL_SCALE[kind])
            return np.ascontiguousarray(samples)
        if not max(data.max(), -data.min()) < _ABSURD:  # true for NaN too
            good = np.abs(data) < _ABSURD
            self.bad += data.size - int(good.sum())
            data = np.where(good, data, 0)
        return np.ascontiguousarray(data, dtype=np.float32)


class _Cutter:
    """Cuts arrays [channels, n] of any length into blocks of one length."""

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self._parts: list[Float] = []
        self.missing = frames  # until the next block is full

    def push(self, samples: Float) -> Iterator[Float]:
        while samples.shape[1] > 0:
            part = samples[:, : self.missing]
            samples = samples[:, part.shape[1] :]
            self._parts.append(part)
            self.missing -= part.shape[1]
            if self.missing == 0:
                yield from self.flush()

    def flush(self) -> Iterator[Float]:
        parts, self._parts, self.missing = self._parts, [], self._frames
        if parts:
            yield parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
