"""Codec: FFmpeg's decoder of one sound, as something that can be saved.

A decoder cannot be saved; the last coded packets can, and one that hears them again goes on as the old one
would have. How many it takes, its *pre-roll*:

    MP3      10 frames (0.26 s at 44.1 kHz): its bit reservoir reaches back a few, at low rates more
    AAC      3 frames (70 ms), windows overlap by one; see below
    Opus     0.5 s: 80 ms by RFC 7845, but the last 1e-4 takes longer
    Vorbis   2 packets

AAC fills bands with noise from a generator that runs on from the first frame (PNS), so no pre-roll would
give the same samples. Its decoder is therefore opened anew every 64 frames, in batch and live alike, which
makes the noise the same whoever decodes and wherever they began. HE-AAC (frames of 2,048 samples) is left
alone: its headers are too rare; after a restore, its upper band returns within two seconds.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, cast

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.packet import Packet

from moodstream.transforms.ogg import opus_samples

_PREROLL = {"mp3float": 10, "aac": 3, "vorbis": 2}  # coded packets
_OPUS = 24_000  # samples at 48 kHz
_MOST = 64  # coded packets
_EVERY = {"aac": 64}  # coded packets after which a decoder is opened anew
_LONG_FRAME = 2_048  # samples: HE-AAC
_LONG_PREROLL = 48


class Codec:
    """One sound's decoder.

    Args:
        name: FFmpeg's name of the decoder.
        extradata: its configuration.
    """

    def __init__(self, name: str, extradata: bytes = b"") -> None:
        self.name, self.extradata = name, extradata
        self._recent: deque[bytes] = deque()
        self._since = 0  # coded packets that this decoder has heard
        self._long = False
        self._context: AudioCodecContext | None = None

    def decode(self, packet: "Packet[Any] | None") -> list[AudioFrame]:
        """The frames of a coded packet; None at the end.

        Raises:
            av.FFmpegError: it does not decode.
        """
        every = 0 if self._long else _EVERY.get(self.name, 0)
        if every and self._since >= every:
            self._context, self._since = None, 0
            self._forget(_PREROLL[self.name])
        if self._context is None:
            self._context = self._open()
        if packet is None:
            return self._context.decode(None)
        self._recent.append(bytes(packet))
        self._since += 1
        if not every:
            self._forget(_LONG_PREROLL if self._long else _PREROLL.get(self.name, _MOST))
        frames = self._context.decode(packet)
        self._long = self._long or (bool(every) and any(f.samples >= _LONG_FRAME for f in frames))
        return frames

    def park(self) -> None:
        """Give back FFmpeg's memory; the next packet opens another decoder."""
        self._context = None

    def state(self) -> dict[str, Any]:
        """Everything needed to go on elsewhere, as plain Python."""
        return {
            "name": self.name,
            "extradata": self.extradata,
            "recent": list(self._recent),
            "since": self._since,
            "long": self._long,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()`."""
        self.name, self.extradata = state["name"], state["extradata"]
        self._recent, self._since = deque(state["recent"]), state["since"]
        self._long, self._context = state["long"], None

    def _forget(self, keep: int) -> None:
        recent = self._recent
        while len(recent) > keep:
            recent.popleft()
        if self.name == "opus":
            held = sum(map(opus_samples, recent))
            while len(recent) > 1 and held - opus_samples(recent[0]) >= _OPUS:
                held -= opus_samples(recent.popleft())

    def _open(self) -> AudioCodecContext:
        """A decoder that has heard what was last."""
        context = cast(AudioCodecContext, av.CodecContext.create(self.name, "r"))
        if self.extradata:
            context.extradata = self.extradata
        context.thread_count = 1
        for data in self._recent:
            try:
                context.decode(av.Packet(data))
            except av.FFmpegError:
                continue  # what it leans on is not there any more
        return context
