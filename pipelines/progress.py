"""How far a run has come: written by the workers, read and shown by the main process.

Workers may be other processes, which share nothing with the main one but a folder of the run. Each writes
its own append-only file there (`ProgressLog`); the main process reads what was added (`ProgressTail`) and
sums it up (`Meter`). A position is absolute, so a bundle that is tried again counts once.
Progress is a courtesy: when its folder cannot be written the analysis goes on; the sink says what is wrong.
"""

import contextlib
import json
import os
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event, Thread

RATE_S = 60.0  # the pace of work is that of the last so many seconds
EVERY_S = 0.25  # a worker says at most this often how far it is


@dataclass(frozen=True)
class Progress:
    """Something happened: `plan` (so much is asked for), `skip` (done before), `advance` or `done`."""

    event: str
    media_id: str = ""
    media: int = 1  # plan, skip: how many media this speaks of
    size: int = 0  # bytes of the media, or of all that are planned
    seconds: float = 0.0  # advance, done: position reached in the media
    of_seconds: float | None = None  # how long the media is, when its container says so
    dead_letters: int = 0


OnProgress = Callable[[Progress], None]


class ProgressLog:
    """One worker's own file of events. It travels to the worker pickled, and opens the file there."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = str(folder)
        self._file: int | None = None
        self._told_s = 0.0

    def __getstate__(self) -> dict[str, object]:
        return {"folder": self.folder, "_file": None, "_told_s": 0.0}

    def advance(self, media_id: str, seconds: float, of_seconds: float | None = None, size: int = 0) -> None:
        """Say that `seconds` of the media are analysed; cheap to call often, most calls write nothing."""
        now = time.monotonic()
        if now - self._told_s >= EVERY_S:
            self._told_s = now
            self._write(Progress("advance", media_id, 1, size, seconds, of_seconds))

    def done(self, media_id: str, seconds: float, size: int = 0, dead_letters: int = 0) -> None:
        """Say that the media is finished, whatever came of it."""
        self._write(Progress("done", media_id, 1, size, seconds, seconds, dead_letters))

    def _write(self, progress: Progress) -> None:
        line = json.dumps(asdict(progress)).encode() + b"\n"
        with contextlib.suppress(OSError):
            if self._file is None:
                name = f"{os.getpid()}-{uuid.uuid4().hex[:12]}.jsonl"
                flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY
                self._file = os.open(Path(self.folder, name), flags, 0o600)
            os.write(self._file, line)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class ProgressTail:
    """Reads what the workers of a run added to its folder since the last look."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._offsets: dict[str, int] = {}

    def poll(self) -> list[Progress]:
        """The events since the last call; a line still being written waits for the next one."""
        events: list[Progress] = []
        for path in sorted(self.folder.glob("*.jsonl")):
            offset = self._offsets.get(path.name, 0)
            with path.open("rb") as file:
                file.seek(offset)
                whole, newline, _ = file.read().rpartition(b"\n")
            self._offsets[path.name] = offset + len(whole) + len(newline)
            events += [Progress(**json.loads(line)) for line in whole.splitlines()]
        return events

    @contextlib.contextmanager
    def follow(self, on_progress: OnProgress, every_s: float = EVERY_S) -> Iterator[None]:
        """Hand every event to `on_progress` from a thread while the block runs, the last ones at its end."""
        stop = Event()

        def watch() -> None:
            while not stop.wait(every_s):
                for event in self.poll():
                    on_progress(event)

        thread = Thread(target=watch, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            for event in self.poll():
                on_progress(event)


class Meter:
    """Sums up the events of a run; memory grows with the media under way, not with those done.

    Args:
        clock: seconds from any zero; the wall clock of the run, passed in so that tests can turn it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began_s: float | None = None
        self._marks: deque[tuple[float, float]] = deque()  # when, bytes worked: the last RATE_S seconds
        self._planned_bytes = 0
        self._skipped_bytes = 0.0
        self._done_bytes = 0
        self._done_seconds = 0.0
        self._under_way: dict[str, Progress] = {}
        self.planned = 0
        self.done = 0
        self.skipped = 0
        self.dead_letters = 0

    def take(self, event: Progress) -> None:
        """Count one event."""
        if event.event == "plan":
            self.planned += event.media
            self._planned_bytes += event.size
        elif event.event == "skip":
            self.skipped += event.media
            average = self._planned_bytes / max(self.planned, 1)
            self._skipped_bytes += event.size or event.media * average
        else:
            if self._began_s is None:
                self._began_s = self._clock()
            if event.event == "done":
                self._under_way.pop(event.media_id, None)
                self.done += 1
                self.dead_letters += event.dead_letters
                self._done_bytes += event.size
                self._done_seconds += event.seconds
            else:
                self._under_way[event.media_id] = event
            now = self._clock()
            if not self._marks or now - self._marks[-1][0] >= 1:
                self._marks.append((now, self._worked_bytes))
            while now - self._marks[0][0] > RATE_S and len(self._marks) > 2:
                self._marks.popleft()

    @property
    def seconds(self) -> float:
        """Seconds of sound analysed so far."""
        return self._done_seconds + sum(event.seconds for event in self._under_way.values())

    @property
    def elapsed_s(self) -> float:
        """Seconds since the first sign of work: the workers' start-up says nothing about their speed."""
        return 0.0 if self._began_s is None else self._clock() - self._began_s

    @property
    def times_real(self) -> float | None:
        """Seconds of sound a second of wall clock, over all workers."""
        return self.seconds / self.elapsed_s if self.elapsed_s >= 1 else None

    @property
    def _worked_bytes(self) -> float:
        """Bytes of the media analysed so far, with the shares of those under way as far as they are known."""
        worked = float(self._done_bytes)
        for event in self._under_way.values():
            length_s = event.of_seconds
            if not length_s and self._done_seconds:  # as long a byte as those already done
                length_s = event.size * self._done_seconds / max(self._done_bytes, 1)
            if length_s:
                worked += event.size * min(event.seconds / length_s, 1.0)
        return worked

    @property
    def fraction(self) -> float | None:
        """Share of the bytes asked for that is done, or None while there is nothing to tell it by."""
        if not self._planned_bytes:
            return None
        done = self._worked_bytes + self._skipped_bytes
        return min(done / self._planned_bytes, 1.0) if done else None

    @property
    def left_s(self) -> float | None:
        """Seconds of wall clock to the end, by the bytes that remain and the pace of the last minute.

        None while nobody can know.
        """
        if not self._marks:
            return None
        worked, (since_s, before) = self._worked_bytes, self._marks[0]
        took_s = self._clock() - since_s
        if worked <= before or took_s < 1:
            return None
        return took_s * max(self._planned_bytes - self._skipped_bytes - worked, 0) / (worked - before)

    @property
    def finished(self) -> bool:
        return self.done + self.skipped >= self.planned

    def line(self) -> str:
        """The state in one line: `12/40 media · 1.3 h · 640x real time · 2.0 min left`."""
        parts = [f"{self.done + self.skipped:,}/{self.planned:,} media", span(self.seconds)]
        if self.times_real:
            parts.append(f"{self.times_real:,.0f}x real time")
        if self.left_s is not None and not self.finished:
            parts.append(f"{span(self.left_s)} left")
        if self.skipped:
            parts.append(f"{self.skipped:,} done before")
        if self.dead_letters:
            parts.append(f"{self.dead_letters:,} dead letters")
        return " · ".join(parts)


def span(seconds: float) -> str:
    """A length of time in the unit people would use.

    Example:
        >>> span(42), span(600), span(9000)
        ('42 s', '10.0 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"
