"""CodedStream: a coded sound that comes in packets, cut anywhere, decoded as it comes.

A demuxer (`transforms/units.py`) gives coded packets, FFmpeg's decoder (`transforms/codec.py`) samples: the
ones that batch uses, so the samples are those of the same bytes as a file. Encoder delay is skipped, gaps in
the time stamps are filled and late sound starts late as in `transforms/decode.py`.

What a packet may amount to is bounded (`MAX_PACKET_S`), and so is what little may go on for hours.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame

from moodstream.transforms.codec import Codec
from moodstream.transforms.completeness import is_filler
from moodstream.transforms.decode import BLOCK_FRAMES, Float, Sound
from moodstream.transforms.elements import Clip
from moodstream.transforms.errors import DecodeError
from moodstream.transforms.frames import Clock
from moodstream.transforms.units import Demuxer, Format, Lost, Unit, format_of

MAX_PACKET_S = 300  # of sound in one packet; whoever works it off lets all others wait
_MIN_BYTES_A_SECOND = 16  # over an hour; real codecs need ten times that for silence
_RATES_HZ = (1_000, 384_000)
_MAX_CHANNELS = 8


class CodedStream:
    """The sound of one part of a media.

    Args:
        demuxer: what finds the coded packets.

    Attributes:
        rate_hz, channels: of the samples; 0 until the first ones are there.
        keeps_time: whether its own time stamps say how long a gap is.
    """

    def __init__(self, demuxer: Demuxer) -> None:
        self.rate_hz = self.channels = 0
        self.keeps_time = False
        self._demuxer = demuxer
        self._format: Format | None = None
        self._shape: tuple[str, str] | None = None  # of all samples: format, layout
        self._codec: Codec | None = None
        self._clock: Clock | None = None
        self._skip = 0  # samples
        self._bytes = 0
        self._given = 0  # samples
        self._refused = self._broken = False
        self._converters: dict[tuple[int, int, str], av.AudioResampler] = {}

    def push(self, data: bytes) -> Iterator["Clip | Lost"]:
        """Take the next bytes; give the sound that is ready.

        Raises:
            DecodeError: what was wrong, after the last good clip. `no_codec`, `no_audio`, `not_fragmented`
                and `too_wide` are said once: the stream stays silent from then on.
        """
        if self._refused:
            return
        self._bytes += len(data)
        try:
            yield from self._decode(self._demuxer.push(data))
        except DecodeError as error:
            self._refused = self._refused or error.error != "too_long"
            raise
        self._complain("corrupt")

    def flush(self) -> Iterator["Clip | Lost"]:
        """The stream ended: give the rest.

        Raises:
            DecodeError: `truncated` where it breaks off.
        """
        if self._refused:
            return
        yield from self._decode(self._demuxer.flush())
        self._complain("truncated")
        if self._bytes and not self.rate_hz:
            raise DecodeError("not_media", "nothing in it decodes")

    def resync(self) -> None:
        """Bytes are missing from here on."""
        self._demuxer.resync()
        self._broken = True

    def park(self) -> None:
        """Give back the decoder; the next packet opens another, with its pre-roll."""
        if self._codec is not None:
            self._codec.park()
        self._converters.clear()

    def state(self) -> dict[str, Any]:
        return {
            "demuxer": self._demuxer.state(),
            "format": None if self._format is None else self._format.state(),
            "shape": None if self._shape is None else [self.rate_hz, self.channels, *self._shape],
            "codec": None if self._codec is None else self._codec.state(),
            "clock": None if self._clock is None else self._clock.state(),
            "counts": [self._skip, self._bytes, self._given, int(self._refused), int(self._broken)],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._demuxer.restore(state["demuxer"])
        self.keeps_time = state["format"] is not None and bool(state["format"]["ticks"])
        self._format = None if state["format"] is None else format_of(state["format"])
        if state["codec"] is not None:
            self._codec = Codec("")
            self._codec.restore(state["codec"])
        self._skip, self._bytes, self._given, refused, broken = state["counts"]
        self._refused, self._broken = bool(refused), bool(broken)
        if state["shape"] is not None:
            self.rate_hz, self.channels, *shape = state["shape"]
            self._shape = (shape[0], shape[1])
        if state["clock"] is not None and self._format is not None:
            self._clock = self._new_clock(self._format, None)
            self._clock.restore(state["clock"])
        self.park()

    # ------------------------------------------------------------ decoding

    def _decode(self, units: list[Unit]) -> Iterator["Clip | Lost"]:
        """Clips of one block each, the last one shorter."""
        fifo, sound = av.AudioFifo(), Sound(self.channels)
        ready: list[Float] = []
        held = count = 0
        for unit in units:
            if unit.format != self._format:
                self._begin(unit.format)
            for frame in self._frames(unit):
                gap, begin, length = self._place(unit, frame)
                sound = sound if self._given or held or ready else Sound(self.channels)
                if gap:
                    ready += [sound.take(fifo, held)] if held else []
                    held = 0
                    if self._broken:
                        yield from self._clips(ready)
                        yield Lost(gap)
                        ready = []
                    else:
                        ready.append(np.zeros((self.channels, min(gap, self._limit)), np.float32))
                self._broken = self._broken and unit.pts is None
                frame.pts = None  # or the fifo demands that stamps be exact
                fifo.write(frame)
                if begin:
                    ready += [sound.take(fifo, held)] if held else []
                    fifo.read(begin)
                    held = 0
                held += length
                if begin + length < frame.samples:
                    ready += [sound.take(fifo, held)] if held else []
                    fifo.read(frame.samples - begin - length)
                    held = 0
                count += length + (gap if ready else 0)
            if held >= BLOCK_FRAMES or (ready and sum(part.shape[1] for part in ready) >= BLOCK_FRAMES):
                ready += [sound.take(fifo, held)] if held else []
                held = 0
                yield from self._clips(ready)
                ready = []
            if count > self._limit:
                yield from self._clips(ready)
                raise DecodeError("too_long", f"a packet of more than {MAX_PACKET_S} s of sound")
        ready += [sound.take(fifo, held)] if held else []
        yield from self._clips(ready)
        if sound.bad:
            raise DecodeError("non_finite", f"{sound.bad} samples are NaN, infinite or absurd")
        self._check_endless()

    @property
    def _limit(self) -> int:
        return MAX_PACKET_S * self.rate_hz

    def _clips(self, parts: list[Float]) -> Iterator[Clip]:
        if not parts:
            return
        samples = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        if samples.shape[1]:
            start_ms = self._given * 1000 // self.rate_hz
            self._given += samples.shape[1]
            yield Clip(start_ms, self.rate_hz, samples)

    def _check_endless(self) -> None:
        seconds = self._given / self.rate_hz if self.rate_hz else 0.0
        if seconds > 3600 and self._bytes < _MIN_BYTES_A_SECOND * seconds:
            self._refused = True
            raise DecodeError("too_long", f"{self._bytes} bytes go on for more than an hour")

    def _complain(self, error: str) -> None:
        complaints, self._demuxer.complaints = self._demuxer.complaints, []
        if complaints:
            raise DecodeError(error, complaints[0])

    def _begin(self, form: Format) -> None:
        """A sound starts, or one that is coded differently follows."""
        extradata = _without_preskip(form.extradata)
        if self._codec is None or (self._codec.name, self._codec.extradata) != (form.codec, extradata):
            self._codec = Codec(form.codec, extradata)
        self._format, self._skip, self.keeps_time = form, form.skip, bool(form.ticks)

    def _frames(self, unit: Unit) -> Iterator[AudioFrame]:
        """What a coded packet decodes to, in the shape of the first one."""
        if self._codec is None:
            raise RuntimeError("a coded packet before its format")
        try:
            frames = self._codec.decode(av.Packet(unit.data))
        except av.FFmpegError as error:
            if self._shape is not None and not is_filler(unit.data):
                self._demuxer.complaints.append(f"a packet of {unit.format.codec} does not decode: {error}")
            return
        for frame in frames:
            yield from self._shaped(frame)

    def _shaped(self, frame: AudioFrame) -> Iterator[AudioFrame]:
        """A frame as it is, or converted where its shape is not that of the first one."""
        if self._shape is None:
            rate_hz, channels = frame.sample_rate, frame.layout.nb_channels
            if not _RATES_HZ[0] <= rate_hz <= _RATES_HZ[1] or channels > _MAX_CHANNELS:
                raise DecodeError("too_wide", f"{rate_hz} Hz and {channels} channels")
            self.rate_hz, self.channels = rate_hz, channels
            self._shape = (frame.format.name, frame.layout.name)
        shape = (frame.sample_rate, frame.layout.nb_channels, frame.format.name)
        if shape == (self.rate_hz, self.channels, self._shape[0]):
            yield frame
            return
        try:
            if shape not in self._converters:
                self._converters[shape] = av.AudioResampler(*self._shape, self.rate_hz)
            yield from self._converters[shape].resample(frame)
        except (av.FFmpegError, ValueError) as error:
            self._demuxer.complaints.append(str(error))

    def _place(self, unit: Unit, frame: AudioFrame) -> tuple[int, int, int]:
        """How many zeros belong before a frame, where in it the sound begins, and how long it is."""
        begin = min(self._skip, frame.samples)
        self._skip -= begin
        length = max(frame.samples - begin - unit.discard, 0)
        if not length:
            return 0, frame.samples, 0
        pts = unit.pts
        if pts is not None:
            pts += begin * unit.format.ticks // self.rate_hz
        if self._clock is None:
            self._clock = self._new_clock(unit.format, pts)
        return self._clock.advance(pts, length), begin, length

    def _new_clock(self, form: Format, first: int | None) -> Clock:
        return Clock(Fraction(1, form.ticks) if form.ticks else None, self.rate_hz, first, form.zero_s)


def _without_preskip(extradata: bytes) -> bytes:
    """A header of Opus that skips nothing: what belongs to nobody is skipped here, once."""
    if not extradata.startswith(b"OpusHead"):
        return extradata
    return extradata[:10] + b"\0\0" + extradata[12:]
