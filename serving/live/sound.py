"""Sound: one microphone's sound on its way through the live job's own session, and what is not taken.

A frame becomes the packet that it would be on Kafka, and a `Stream` (`transforms/stream.py`) makes rows of
it; so the rows are those of a live job on the same bytes.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from moodstream.serving.access.redaction import Judging
from moodstream.serving.live.board import TABLES, Board
from moodstream.serving.live.rows import shown
from moodstream.transforms.elements import Packet
from moodstream.transforms.errors import DecodeError
from moodstream.transforms.order import Arrival
from moodstream.transforms.stream import Stream
from moodstream.transforms.streamed import media_type, open_decoder

MEDIA_ID = "microphone"
TYPES = ("audio/l16", "audio/pcmu", "audio/pcma", "audio/opus", "audio/ogg", "audio/webm")
_ROUND_BYTES = 256 << 10  # that one sound may be heard of before the others have their turn


@dataclass(frozen=True)
class Limits:
    """How much of it."""

    sounds: int = 8  # at once
    seconds: float = 3_600  # of one sound
    frame_bytes: int = 256 << 10
    total_bytes: int = 1 << 30  # of one sound
    waiting_bytes: int = 1 << 20  # not heard yet; more is not read from the wire
    ahead_s: float = 30.0  # of the clock, by who sends faster than he speaks
    silent_s: float = 60.0  # without a frame
    letters: int = 5  # frames that cannot be decoded


@dataclass(frozen=True)
class Refusal:
    """Why a sound is heard no longer, or not at all.

    Args:
        code: the WebSocket's close code.
        status: what HTTP would say.
    """

    code: int
    status: int
    title: str
    detail: str = ""
    what_to_do: str = ""


class RefusedSoundError(Exception):
    """A sound that is not taken."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.title)
        self.refusal = refusal


class Sound:
    """One sound, while it lasts.

    Args:
        stream: what hears it.
        content_type: of all its frames.
        limits: how much there may be of it.
        wake: called when there are rows on the board, or the end has come.
    """

    def __init__(self, stream: Stream, content_type: str, limits: Limits, wake: Callable[[], None]) -> None:
        self.stream, self.content_type, self.limits, self.wake = stream, content_type, limits, wake
        self.board, self.lock = Board(max_calls=1), threading.Lock()
        self.refusal: Refusal | None = None
        self.over = False  # nothing more will be told
        self.ending = self.dropped = False
        self.frames: deque[bytes] = deque()
        self.waiting = 0  # bytes that were not heard yet
        self.began_s = time.monotonic()
        self._total = self._seq = self._letters = 0

    @property
    def is_full(self) -> bool:
        """Whether frames should wait on the wire."""
        return self.waiting >= self.limits.waiting_bytes

    def due_s(self, now_s: float) -> float | None:
        """In how many seconds there is something to do for it; None: nothing until something comes."""
        if not self.frames:
            return 0.0 if self.ending else None
        ahead_s = self.stream.session.position_ms() / 1000 - (now_s - self.began_s)
        return max(0.0, ahead_s - self.limits.ahead_s)

    def take(self, frame: bytes) -> None:
        """A frame came.

        Raises:
            RefusedSoundError: too large, or too much in all.
        """
        self._total += len(frame)
        if len(frame) > self.limits.frame_bytes:
            raise RefusedSoundError(_too_large(f"a frame of {len(frame)} bytes", self.limits.frame_bytes))
        if self._total > self.limits.total_bytes:
            raise RefusedSoundError(_too_large(f"{self._total} bytes", self.limits.total_bytes))
        with self.lock:
            if frame:
                self.frames.append(frame)
                self.waiting += len(frame)

    # ------------------------------------------------------------ in the thread

    def hear(self) -> None:
        """The frames that wait, as far as it is its turn; `work` makes rows of them."""
        stream, heard = self.stream, 0
        while self.frames and heard < _ROUND_BYTES and not self.due_s(time.monotonic()):
            with self.lock:
                frame = self.frames.popleft()
                self.waiting -= len(frame)
            heard += len(frame)
            now_ms = int(time.time() * 1000)
            pts_ms = stream.session.position_ms()
            packet = Packet(MEDIA_ID, self._seq, frame, self.content_type, pts_ms)
            stream.push(Arrival(packet, now_ms, self._seq))
            self._seq += 1
        if stream.session.position_ms() > self.limits.seconds * 1000:
            with self.lock:
                self.frames.clear()
                self.waiting = 0
            self.ending = True
            self.refusal = Refusal(
                1008,
                413,
                "That is long enough",
                f"one sound may last {self.limits.seconds:g} s",
                "begin a new one; for more use `moodstream live`",
            )

    def tell(self, judging: Judging) -> None:
        """Put rows where they are sent from; the last ones where no more frames come."""
        is_last = self.ending and not self.frames
        if is_last and self._seq:
            self.stream.finish()
        rows = self.stream.take_rows()
        found = {
            name: shown(name, pa.concat_tables(rows[name]), judging) for name in TABLES if rows.get(name)
        }
        letters = [row for table in rows.get("dead_letter", ()) for row in table.to_pylist()]
        self._letters += len(letters)
        if letters and (self._letters >= self.limits.letters or (is_last and not found)):
            self.refuse(
                Refusal(
                    1007,
                    422,
                    "This sound cannot be decoded",
                    f"{self.content_type[:80]}: {letters[-1]['message']}"[:400],
                    "send what the content type says",
                )
            )
        with self.lock:
            for name, ones in found.items():
                self.board.put(name, ones, time.monotonic())
        self.over = self.over or is_last
        if found or self.over:
            self.wake()

    def refuse(self, refusal: Refusal) -> None:
        """It is heard no longer."""
        self.refusal = self.refusal or refusal
        self.over = self.dropped = True
        self.wake()


def _too_large(what: str, limit: int) -> Refusal:
    return Refusal(
        1009, 413, "Too large", f"{what}, at most {limit}", "send less at once, ten frames a second"
    )


def check(content_type: str) -> None:
    """Whether sound of this type is heard.

    Raises:
        RefusedSoundError: it is not.
    """
    wrong = "" if media_type(content_type)[0] in TYPES else "is not taken"
    try:
        if not wrong:
            open_decoder(content_type)
    except DecodeError as error:
        wrong = str(error)
    if wrong:
        what_to_do = (
            "audio/L16;rate=16000;channels=1, audio/PCMU;rate=8000, audio/opus, audio/ogg or audio/webm"
        )
        detail = f"{content_type[:80]!r}: {wrong}"
        raise RefusedSoundError(Refusal(1003, 415, "This sound is not understood", detail, what_to_do))
