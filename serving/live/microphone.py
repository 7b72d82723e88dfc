"""Microphones: sound that comes over WebSockets, heard in this process by the live job's own session.

    frames ─▶ Sound.push ─▶ (one thread for all) Stream ─▶ work: one batch for all ─▶ board ─▶ rows

A frame becomes the packet that it would be on Kafka, and a `Stream` (`transforms/stream.py`) makes rows of
it; so the rows are those of a live job on the same bytes. Nothing is stored: what is known of a sound goes
with it.

The models are loaded by the thread, once, when the first sound comes. How much may wait, how long a sound may
be, how many there may be at once and how far one may run ahead of the clock is bounded (`Limits`).

Conventions: `push`, `end` and `drop` are called in the event loop, `wake` is called by the thread.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pyarrow as pa

from moodstream.serving.access.redaction import Judging
from moodstream.serving.live.board import TABLES, Board
from moodstream.serving.live.rows import shown
from moodstream.transforms.elements import Packet
from moodstream.transforms.engine import Engine
from moodstream.transforms.errors import DecodeError, MoodstreamError
from moodstream.transforms.live import work
from moodstream.transforms.order import Arrival
from moodstream.transforms.session import Settings
from moodstream.transforms.stream import LiveSettings, Stream
from moodstream.transforms.streamed import media_type, open_decoder
from moodstream.transforms.track import merge

MEDIA_ID = "microphone"
TYPES = ("audio/l16", "audio/pcmu", "audio/pcma", "audio/opus", "audio/ogg", "audio/webm")
_ROUND_BYTES = 256 << 10  # that one sound may be heard of before the others have their turn
_log = logging.getLogger(__name__)


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
        while self.frames and heard < _ROUND_BYTES:
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


class Microphones:
    """All sounds of this process.

    Args:
        judging: whose emotions may leave the service.
        limits: how much.
        engine: makes the models.
    """

    def __init__(
        self, judging: Judging, limits: Limits | None = None, engine: Callable[[], Engine] | None = None
    ) -> None:
        self.judging, self.limits = judging, limits or Limits()
        self._engine = (engine or Engine)()  # loads nothing yet
        self._sounds: list[Sound] = []
        self._stirred = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self.heard = 0  # sounds, from the start

    def __len__(self) -> int:
        return len(self._sounds)

    @property
    def loaded(self) -> bool:
        """Whether the models are there: the first sound waits for them."""
        return "audio" in vars(self._engine)

    def open(self, content_type: str, wake: Callable[[], None], *, one_voice: bool = False) -> Sound:
        """A new sound.

        Raises:
            RefusedSoundError: of a type that is not taken, or there are too many.
        """
        _check(content_type)
        if len(self._sounds) >= self.limits.sounds:
            detail = f"{self.limits.sounds} microphones are open"
            raise RefusedSoundError(Refusal(1013, 503, "Not now", detail, "try again in a while"))
        self.heard += 1
        settings = Settings(one_voice=one_voice)  # nobody has a role here: he hears about himself
        now_ms = int(time.time() * 1000)
        name = f"{MEDIA_ID}/{self.heard}@{now_ms}"
        stream = Stream(MEDIA_ID, 0, name, MEDIA_ID, now_ms, self._engine, settings, LiveSettings())
        sound = Sound(stream, content_type, self.limits, wake)
        with self._stirred:
            self._sounds.append(sound)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="microphones", daemon=True)
                self._thread.start()
        return sound

    def push(self, sound: Sound, frame: bytes) -> None:
        """The next frame of a sound.

        Raises:
            RefusedSoundError: it, or all of them, are too large.
        """
        sound.take(frame)
        self._stir()

    def end(self, sound: Sound) -> None:
        """No more frames come; the rest is told."""
        sound.ending = True
        self._stir()

    def drop(self, sound: Sound) -> None:
        """Whoever sent it has gone: forget it."""
        sound.dropped = True
        self._stir()

    def close(self) -> None:
        """Hear no more."""
        self._stopped = True
        self._stir()

    def _stir(self) -> None:
        with self._stirred:
            self._stirred.notify()

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        try:
            while (due := self._wait()) is not None:
                self._round(due)
        finally:
            for sound in self._sounds:
                sound.refuse(Refusal(1011, 500, "Nobody listens any more", what_to_do="try again"))

    def _wait(self) -> list[Sound] | None:
        """The sounds that have something to do, as soon as there are any; None when it is over."""
        with self._stirred:
            while not self._stopped:
                self._sounds = [sound for sound in self._sounds if not (sound.dropped or sound.over)]
                now_s = time.monotonic()
                waits = {id(sound): sound.due_s(now_s) for sound in self._sounds}
                due = [sound for sound in self._sounds if waits[id(sound)] == 0.0]
                if due:
                    return due
                self._stirred.wait(min((wait for wait in waits.values() if wait is not None), default=None))
        return None

    def _round(self, sounds: Iterable[Sound]) -> None:
        """Hear what waits, all in one batch, and tell what comes of it."""
        heard = []
        for sound in sounds:
            try:
                sound.hear()
            except MoodstreamError as error:  # no models, as far as is known
                _log.error("the microphone hears nothing: %s", error)
                sound.refuse(
                    Refusal(1011, 501, "Nobody can listen here", str(error), "tell whoever runs the service")
                )
                continue
            heard.append(sound)
        due = [sound for sound in heard if sound.stream.session.is_due]
        for sound, rows in zip(due, work([[sound.stream.session] for sound in due]), strict=True):
            merge(sound.stream.rows, rows)
        for sound in heard:
            sound.tell(self.judging)


def _check(content_type: str) -> None:
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
