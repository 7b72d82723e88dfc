"""What was forgotten stays forgotten: marks that keep rows of a stream from landing again.

Topics are read later than they are written: rows of a call may still be on their way when it is erased from a
store, and a call that runs goes on writing. So a store keeps, beside its tables, a mark for each media that
was forgotten: the SHA-256 of its id, and when. Rows of streams that began before that do not land any more.
An analysis that begins later is another matter: somebody has sent the media again.

Conventions: times are milliseconds since 1970, by the broker's stamps. A mark says nothing to who does not
know the id, and goes after `KEPT_DAYS`, when no topic can hold the rows any more.
"""

import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from moodstream.transforms.errors import StoreError

FILE = "_forgotten.json"  # beside the tables of a lake
KEPT_DAYS = 90
_DAY_MS = 86_400_000


def digest(media_id: str) -> str:
    return hashlib.sha256(media_id.encode()).hexdigest()


def began_ms(analysis_id: str) -> int | None:
    """When a live analysis (`topic/partition/offset@ms`) began; None if it is none.

    Example:
        >>> began_ms("packets/0/17@1790000000000"), began_ms("1f3a")
        (1790000000000, None)
    """
    _, at, stamp = analysis_id.rpartition("@")
    return int(stamp) if at and stamp.isdigit() else None


def without(rows: pa.Table, marks: Mapping[str, int]) -> pa.Table:
    """Rows of streams that were not forgotten.

    Args:
        marks: by digest of a media id, when it was forgotten.
    """
    if not marks or not len(rows):
        return rows
    names = rows["media_id"].to_pylist()
    until = {name: marks.get(digest(name)) for name in set(names)}
    if not any(until.values()):
        return rows
    allowed = []
    for name, analysis in zip(names, rows["analysis_id"].to_pylist(), strict=True):
        marked, began = until[name], began_ms(analysis)
        allowed.append(marked is None or began is None or began > marked)
    return rows.filter(pa.array(allowed, pa.bool_()))


class Marks:
    """The marks of a lake; read again when they change.

    Args:
        folder: of the lake.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._seen: tuple[int, int] | None = None
        self._marks: dict[str, int] = {}

    def read(self) -> dict[str, int]:
        """As they are now.

        Raises:
            StoreError: they cannot be read.
        """
        try:
            found = self.path.stat()
            stamp = found.st_mtime_ns, found.st_ino
            if stamp != self._seen:
                self._marks, self._seen = json.loads(self.path.read_bytes()), stamp
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise StoreError(f"cannot read what was forgotten, {self.path}: {error}") from error
        return self._marks

    def add(self, media_ids: Iterable[str], at_ms: int) -> None:
        """Mark media as forgotten now.

        Raises:
            StoreError: it cannot be written.
        """
        beside = self.path.with_name(f".{FILE}.{secrets.token_hex(4)}")
        try:
            with (self.path.parent / f".{FILE}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                kept = {name: at for name, at in self.read().items() if at > at_ms - KEPT_DAYS * _DAY_MS}
                kept |= {digest(media_id): at_ms for media_id in media_ids}
                with beside.open("w") as file:
                    json.dump(kept, file)
                    file.flush()
                    os.fsync(file.fileno())
                beside.replace(self.path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise StoreError(f"cannot write {self.path}: {error}") from error
