"""Who read which call: one JSON line a request, written before the answer leaves.

    {"time": "…Z", "who": "board", "key": "a1b2c3", "what": "curve", "media": ["call-17"], "status": 200,
     "method": "GET", "path": "/v1/curve", "from": "10.0.0.7"}

A handler says what it is about to show (`audit`); the gate writes the line when the status is known and
before the first byte goes out, so nothing was read that is not in the log. If the line cannot be written
(disk full), the answer is not sent.

Each line is one write to a file opened for appending: a crash of this process loses none. It is forced to
the disk within a second (`SYNC_S`): a power cut may lose that much. A file of 64 MiB is renamed after the
time and a new one begun; none is ever deleted here.
"""

import os
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson
from starlette.requests import HTTPConnection

from moodstream.serving.access.principal import Principal
from moodstream.transforms.errors import StoreError

SYNC_S = 1.0
ROTATE_BYTES = 64 << 20
MOST_MEDIA = 1000  # named in one line; how many there were is always said
_STATE = "audited"


@dataclass(frozen=True)
class Reading:
    """What a handler shows to whom."""

    who: Principal
    what: str
    media: tuple[str, ...]


def audit(request: HTTPConnection, principal: Principal, what: str, media_ids: Iterable[str]) -> None:
    """Say what this request is about to show; the gate writes it down before the answer leaves.

    Args:
        what: a short word: curve, episodes, search, ...
        media_ids: of which media, calls at least.
    """
    told: list[Reading] = request.scope.setdefault("state", {}).setdefault(_STATE, [])
    told.append(Reading(principal, what, tuple(dict.fromkeys(media_ids))))


def told(state: dict[str, object]) -> Sequence[Reading]:
    """What the handlers of a request said, from its state."""
    found = state.get(_STATE, ())
    return found if isinstance(found, list) else ()


class AuditLog:
    """The file of readings; any thread may write.

    Args:
        path: appended to; its folder is made.

    Raises:
        StoreError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._unsynced: threading.Timer | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._open()
        except OSError as error:
            raise StoreError(f"cannot write the audit log {path}: {error}") from error

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, reading: Reading, *, status: int, method: str, path: str, address: str) -> None:
        """Append one line.

        Raises:
            StoreError: it cannot be written.
        """
        line = orjson.dumps(
            {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "who": reading.who.name,
                "key": reading.who.key,
                "what": reading.what,
                "media": reading.media[:MOST_MEDIA],
                "count": len(reading.media),
                "status": status,
                "method": method,
                "path": path,
                "from": address,
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
        with self._lock:
            try:
                if os.fstat(self._file).st_size + len(line) > ROTATE_BYTES:
                    self._rotate()
                if os.write(self._file, line) != len(line):
                    raise OSError("the line was cut short")
            except OSError as error:
                raise StoreError(f"cannot write the audit log {self.path}: {error}") from error
            if self._unsynced is None:
                self._unsynced = threading.Timer(SYNC_S, self._sync)
                self._unsynced.daemon = True
                self._unsynced.start()

    def _rotate(self) -> None:
        os.fsync(self._file)
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{time.time_ns() % 1_000_000_000:09d}"
        self.path.rename(self.path.with_name(f"{self.path.stem}-{stamp}{self.path.suffix}"))
        os.close(self._file)
        self._file = self._open()

    def _sync(self) -> None:
        with self._lock:
            self._unsynced = None
            if self._file >= 0:
                os.fsync(self._file)

    def close(self) -> None:
        with self._lock:
            if self._unsynced is not None:
                self._unsynced.cancel()
                self._unsynced = None
            if self._file >= 0:
                os.fsync(self._file)
                os.close(self._file)
                self._file = -1
