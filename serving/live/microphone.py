"""Microphones: all sounds that come over WebSockets, heard together in one thread of this process.

    frames ─▶ Sound ─▶ Stream ─▶ work: one batch for all ─▶ board ─▶ rows

The models are loaded by the thread, once, when the first sound comes. Nothing is stored: what is known of a
sound goes with it. How much may wait, how long a sound may be, how many there may be at once and how far one
may run ahead of the clock is bounded (`Limits`).

Conventions: `open`, `push`, `end` and `drop` are called in the event loop, a sound's `wake` by the thread.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable

from moodstream.serving.access.redaction import Judging
from moodstream.serving.live.sound import MEDIA_ID, Limits, Refusal, RefusedSoundError, Sound, check
from moodstream.transforms.engine import Engine
from moodstream.transforms.errors import MoodstreamError
from moodstream.transforms.live import work
from moodstream.transforms.session import Settings
from moodstream.transforms.stream import LiveSettings, Stream
from moodstream.transforms.track import merge

_log = logging.getLogger(__name__)


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
        check(content_type)
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
