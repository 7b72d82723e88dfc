"""Keys: shown once when they are made, kept as hashes in a file.

    keys:
    - id: 4f1c9a20
      name: board
      scopes: [read, live]
      sha256: 9f86d081…
      made: '2026-03-01'
      until: '2027-03-01'      # the first day on which it is not valid any more; may be left out

A key is `mood_<id>_<secret>`, and the secret is 256 random bits. So one round of SHA-256 is enough: a slow
hash (scrypt, Argon2) protects words that people choose, which can be guessed; nobody guesses 256 bits, and a
slow hash would give whoever sends wrong keys the CPU of the service. The id, which is no secret, finds the
entry; the hashes are compared in constant time.

The file is read again when it changes, at most once a second: a removed key is refused from then on, and its
sessions with it. A file that cannot be read any more is said in the log; if it is gone, no key is valid, if
it is broken, those of before are until it is mended.
"""

import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from moodstream.serving.access.principal import SCOPES, Principal
from moodstream.transforms.errors import UsageError

LONGEST = 200  # characters of what may be a key at all
_LOOK_S = 1.0
_SHAPE = re.compile(r"mood_([0-9a-f]{8})_[A-Za-z0-9_-]{43}")
_NAME = re.compile(r"[\w .@+-]{1,64}")
_NOBODY = hashlib.sha256(b"").hexdigest()
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One line of the file."""

    id: str
    name: str
    scopes: frozenset[str]
    sha256: str
    made: date
    until: date | None = None

    @property
    def is_valid(self) -> bool:
        return self.until is None or datetime.now(UTC).date() < self.until

    @property
    def principal(self) -> Principal:
        return Principal(self.name, self.scopes, self.id)

    def as_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {"id": self.id, "name": self.name, "scopes": sorted(self.scopes)}
        found |= {"sha256": self.sha256, "made": self.made.isoformat()}
        return found | ({} if self.until is None else {"until": self.until.isoformat()})


def make(name: str, scopes: Iterable[str], days: int | None = None) -> tuple[str, Entry]:
    """A new key, and what is kept of it.

    Args:
        name: who gets it.
        days: how long it is valid; for ever if None.

    Raises:
        UsageError: a name or scope that cannot be.
    """
    wanted = frozenset(scopes)
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name[:80]!r}: a name has 1 to 64 letters, digits, spaces and . @ + -")
    if not wanted or not wanted <= set(SCOPES):
        raise UsageError(f"scopes are {', '.join(SCOPES)}, not {', '.join(sorted(wanted)) or 'none'}")
    number, today = secrets.token_hex(4), datetime.now(UTC).date()
    key = f"mood_{number}_{secrets.token_urlsafe(32)}"
    until = None if days is None else today + timedelta(days=days)
    return key, Entry(number, name, wanted, digest(key), today, until)


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def read(path: Path) -> dict[str, Entry]:
    """The entries of a file by id.

    Raises:
        UsageError: there is no such file, others may write to it, or it is not one of keys.
    """
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & (stat.S_IWGRP | stat.S_IWOTH):
                raise UsageError(f"others may write to {path}: chmod 600 {path}")
            found = yaml.safe_load(file)
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the keys in {path}: {error}") from error
    listed = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(listed, list):
        raise UsageError(f"{path} has no list `keys`; `moodstream keys add {path} --name NAME` makes it")
    entries = [_entry(path, number, one) for number, one in enumerate(listed)]
    by_id = {entry.id: entry for entry in entries}
    if len(by_id) != len(entries):
        raise UsageError(f"{path} has two keys of the same id")
    return by_id


def _entry(path: Path, number: int, one: Any) -> Entry:
    try:
        days = {name: _day(one[name]) for name in ("made", "until") if name in one}
        entry = Entry(str(one["id"]), str(one["name"]), frozenset(one["scopes"]), str(one["sha256"]), **days)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: key {number + 1} is not complete: {error!r}") from error
    if not re.fullmatch(r"[0-9a-f]{64}", entry.sha256) or not entry.scopes <= set(SCOPES):
        raise UsageError(f"{path}: key {number + 1} ({entry.name}) has no SHA-256 or unknown scopes")
    return entry


def _day(text: Any) -> date:
    return text if isinstance(text, date) else date.fromisoformat(str(text))


def write(path: Path, entries: Mapping[str, Entry]) -> None:
    """Replace a file, so that readers see it whole, old or new; only its owner may read it.

    Raises:
        UsageError: it cannot be written.
    """
    text = yaml.safe_dump({"keys": [entry.as_dict() for entry in entries.values()]}, sort_keys=False)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise UsageError(f"cannot write {path}: {error}") from error


class Keys:
    """The keys of a file, as it is now.

    Raises:
        UsageError: it cannot be read, or holds no key.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries = read(path)
        if not self._entries:
            raise UsageError(f"{path} holds no key: `moodstream keys add {path} --name NAME` makes one")
        self._seen, self._looked = self._stamp(), time.monotonic()

    def find(self, key: str) -> Principal | None:
        """Whose key it is; None if it is nobody's."""
        shape = _SHAPE.fullmatch(key) if len(key) <= LONGEST else None
        entry = self._current().get(shape[1]) if shape else None
        same = hmac.compare_digest(digest(key), entry.sha256 if entry else _NOBODY)
        return entry.principal if entry and same and entry.is_valid else None

    def by_id(self, number: str) -> Principal | None:
        """Who has the key of this id, if it is still valid."""
        entry = self._current().get(number)
        return entry.principal if entry and entry.is_valid else None

    def _stamp(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino

    def _current(self) -> dict[str, Entry]:
        if time.monotonic() - self._looked >= _LOOK_S:
            self._looked = time.monotonic()
            stamp = self._stamp()
            if stamp is None:
                _log.error("%s is gone: no key is valid", self.path)
                self._entries, self._seen = {}, None
            elif stamp != self._seen:
                self._read_again(stamp)
        return self._entries

    def _read_again(self, stamp: tuple[int, int]) -> None:
        self._seen = stamp
        try:
            self._entries = read(self.path)
        except UsageError as error:
            _log.error("%s; the keys of before stay valid", error)
