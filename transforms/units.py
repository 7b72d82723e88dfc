"""Units: what a container holds, one coded packet at a time; the common ground of all demuxers.

A demuxer takes bytes, cut anywhere, and gives the units of the one sound in them, as FFmpeg's own demuxers
would; pictures pass by unread. It keeps what it needs for the next unit and nothing of the past, so its state
is small. FFmpeg's demuxers want to pull from a file and cannot be saved; these are pushed, and can.

    MpegFrames (transforms/frames_mpeg.py)   audio/mpeg, audio/aac
    OggPages   (transforms/ogg.py)           audio/ogg
    OpusPackets (transforms/ogg.py)          audio/opus
    TsPackets  (transforms/mpegts.py)        video/mp2t
    Fragments  (transforms/fragments.py)     video/mp4, audio/mp4
    Clusters   (transforms/webm.py)          video/webm, audio/webm

Conventions: time stamps count `Format.ticks` a second; None where the container has none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

MAX_PENDING = 4 << 20  # bytes: no header, page or coded packet of sound is longer


@dataclass(frozen=True, slots=True)
class Format:
    """How the units of a sound are to be decoded."""

    codec: str  # FFmpeg's name of the decoder
    extradata: bytes = b""
    ticks: int = 0  # of time stamps, a second
    skip: int = 0  # samples at the start that belong to nobody: the encoder's delay
    zero_s: Fraction | None = None  # where pictures start; None without pictures

    def state(self) -> dict[str, Any]:
        """As plain Python."""
        zero = None if self.zero_s is None else [self.zero_s.numerator, self.zero_s.denominator]
        return {
            "codec": self.codec,
            "extradata": self.extradata,
            "ticks": self.ticks,
            "skip": self.skip,
            "zero": zero,
        }


def format_of(state: Mapping[str, Any]) -> Format:
    """The format that gave this `state()`."""
    zero = None if state["zero"] is None else Fraction(*state["zero"])
    return Format(state["codec"], state["extradata"], state["ticks"], state["skip"], zero)


@dataclass(frozen=True, slots=True)
class Unit:
    """One coded packet."""

    format: Format
    data: bytes
    pts: int | None = None
    discard: int = 0  # samples at its end that belong to nobody


@dataclass(frozen=True, slots=True)
class Lost:
    """Sound that never came: so many samples of every channel."""

    samples: int


class Demuxer(Protocol):
    """Bytes in, units out."""

    complaints: list[str]  # what was wrong since somebody took them

    def push(self, data: bytes) -> list[Unit]:
        """Take the next bytes; give the units that are whole.

        Raises:
            DecodeError: this stream can never be read: `no_codec`, `no_audio`, `not_fragmented`.
        """

    def flush(self) -> list[Unit]:
        """The stream ended: give the rest."""

    def resync(self) -> None:
        """Bytes are missing from here on: forget what is incomplete, find the next beginning."""

    def state(self) -> dict[str, Any]:
        """Everything needed to go on elsewhere, as plain Python."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()`."""
