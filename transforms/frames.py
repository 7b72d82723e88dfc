"""Frames: what FFmpeg's decoder gives for one stream of a container, and where each frame lies in time."""

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from moodstream.transforms.codec import Codec
from moodstream.transforms.completeness import is_filler
from moodstream.transforms.errors import DecodeError

_SLACK_MS = 40  # time stamps may be off by this much before they count: containers round, clocks wander
_MAX_GAP_MS = 3_600_000  # a longer jump is a new clock, not silence


class Decoder:
    """Frames of one stream, all of one shape; packets that do not decode are counted, not raised."""

    def __init__(self, container: InputContainer, stream: AudioStream) -> None:
        if stream.codec_context is None:
            raise DecodeError("no_codec", "its sound is in a codec that cannot be decoded here")
        stream.codec_context.thread_count = 1
        self.stream = stream
        self._codec: Codec | None = None
        if stream.codec_context.codec.name == "aac":
            self._codec = Codec("aac", stream.codec_context.extradata or b"")
        self.message = ""
        self.bad_packets = 0  # with good ones behind them
        self.bad_tail = 0  # since the last good one
        self.packets = 0
        self._last: Packet[AudioStream] | None = None
        self._packets = container.demux(stream)
        self._frames = self._decode()
        first = next(self._frames, None)
        if first is None:
            detail = self.message or "it holds no sound"
            raise DecodeError("truncated" if self.packets else "not_media", f"nothing decodes: {detail}")
        self.bad_packets = 0  # a stream that was joined on its way starts so
        self.first = first
        self._shape = _shape(first)
        self._layout = first.layout.name
        self._converters: dict[tuple[int, int, str], av.AudioResampler] = {}

    def __iter__(self) -> Iterator[AudioFrame]:
        for frame in itertools.chain([self.first], self._frames):
            if _shape(frame) == self._shape:
                yield frame
            else:
                for converted in self._convert(frame):
                    converted.pts, converted.time_base = None, self.first.time_base
                    yield converted

    @property
    def last(self) -> bytes:
        """The last packet that decoded."""
        return bytes(self._last) if self._last is not None else b""

    def _decode(self) -> Iterator[AudioFrame]:
        while True:
            try:
                packet = next(self._packets, None)
            except (av.FFmpegError, OSError) as error:
                self.message, self.bad_tail = str(error), self.bad_tail + 1
                return
            if packet is None:
                return
            try:
                frames = self._codec.decode(packet) if self._codec is not None else packet.decode()
            except av.FFmpegError as error:
                if not is_filler(bytes(packet)):
                    self.message, self.bad_tail = str(error), self.bad_tail + 1
                continue
            if packet.size:
                self.packets += 1
                self._last = packet
            if frames:
                self.bad_packets, self.bad_tail = self.bad_packets + self.bad_tail, 0
            yield from frames

    def _convert(self, frame: AudioFrame) -> Iterator[AudioFrame]:
        rate_hz, _, sample_format = self._shape
        try:
            if _shape(frame) not in self._converters:
                self._converters[_shape(frame)] = av.AudioResampler(sample_format, self._layout, rate_hz)
            yield from self._converters[_shape(frame)].resample(frame)
        except (av.FFmpegError, ValueError) as error:
            self.message, self.bad_packets = str(error), self.bad_packets + 1


def _shape(frame: AudioFrame) -> tuple[int, int, str]:
    return frame.sample_rate, frame.layout.nb_channels, frame.format.name


class Clock:
    """Where frames lie by their time stamps, against where they would lie end to end."""

    def __init__(
        self, base: Fraction | None, rate_hz: int, first: int | None, zero_s: Fraction | None
    ) -> None:
        """
        Args:
            base: seconds that one tick of the time stamps lasts.
            rate_hz: of the samples.
            first: the time stamp of the first frame.
            zero_s: the time stamp at which the pictures start: the sound may start later.
        """
        base = base or Fraction(1, rate_hz)
        self._ticks, self._samples = base.denominator, base.numerator * rate_hz
        self._slack = _SLACK_MS * rate_hz // 1000
        self._max_gap = _MAX_GAP_MS * rate_hz // 1000
        self.gaps = 0  # how many there were after the start
        self._position = 0  # samples until now, with the filled gaps
        self._origin = first  # this time stamp lies at sample `_offset`
        self._offset = 0
        if first is not None and zero_s is not None:
            self._offset = max(0, round((first * base - zero_s) * rate_hz))

    def advance(self, pts: int | None, samples: int) -> int:
        """Take the next frame; give the number of zero samples that belong before it."""
        gap = 0
        if pts is not None:
            if self._origin is None:
                self._origin, self._offset = pts, self._position
            gap = (pts - self._origin) * self._samples // self._ticks + self._offset - self._position
            if not -self._slack <= gap <= self._max_gap:  # another clock starts: a chained stream, a wrap
                self._origin, self._offset, gap = pts, self._position, 0
            elif gap <= self._slack and self._position > 0:
                gap = 0
        self.gaps += bool(gap and self._position)
        self._position += gap + samples
        return gap

    def rebase(self) -> None:
        """The next time stamp follows what was, whatever it says."""
        self._origin = None

    def state(self) -> list[Any]:
        """Everything that changes, as plain Python."""
        return [self.gaps, self._position, self._origin, self._offset]

    def restore(self, state: Sequence[Any]) -> None:
        """Go on from a `state()`."""
        self.gaps, self._position, self._origin, self._offset = state
