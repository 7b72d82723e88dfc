"""The folder of an index: shards, and one small file that says which of them count.

    index.json      what readers see
    pending.json    what a build has made so far; it becomes index.json when the build is done
    lock            held by whoever builds
    *.arcs          shards (`shard.py`)

`index.json` is replaced in one step, so readers see the old index or the new one, and a build that was killed
goes on from `pending.json`. Shards that neither names are removed at the end of a build.
"""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from moodstream.serving.search import shard
from moodstream.serving.search.entries import Entries, concat
from moodstream.transforms.errors import StoreError, UsageError

FOLDER = "_index"  # beside the tables of a lake; its readers ignore it
FORMAT = 1  # another one: the index is built anew
INDEX, PENDING, LOCK = "index.json", "pending.json", "lock"


@dataclass(frozen=True)
class Manifest:
    """Which shards count, and what they were made of."""

    format: int = FORMAT
    version: str = ""  # names this state of the index
    base: str = ""  # pending: the version it is to replace
    emotions_for: str = "customer"
    responsible: str = ""
    shards: dict[str, int] = field(default_factory=dict)  # file name to entries
    without: str = ""  # the file of writes that have no entry
    models: dict[str, dict[str, int]] = field(default_factory=dict)  # model to version to entries

    @property
    def tracks(self) -> int:
        return sum(self.shards.values())

    def files(self) -> set[str]:
        return {*self.shards, *([self.without] if self.without else [])}


def load(folder: Path, name: str = INDEX) -> Manifest | None:
    """What readers see, or what a build has made so far; None where there is none of this format.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        told = json.loads((folder / name).read_bytes())
        return Manifest(**told) if told.get("format") == FORMAT else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{folder / name} is damaged ({error}): make the index again with --rebuild"
        ) from error


def drop_damaged(folder: Path) -> None:
    """Remove what cannot be read of what a folder says of itself."""
    for name in (INDEX, PENDING):
        try:
            load(folder, name)
        except StoreError:
            (folder / name).unlink(missing_ok=True)


def save(folder: Path, manifest: Manifest, name: str = INDEX) -> None:
    """Replace it in one step.

    Raises:
        StoreError: the disk is full or read-only.
    """
    partial = folder / f".{name}.{os.getpid()}"
    try:
        with partial.open("w") as file:
            json.dump(asdict(manifest), file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / name)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StoreError(f"cannot write {folder / name}: {error}") from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of the folder, which is made if need be.

    Raises:
        UsageError: another build holds it.
        StoreError: the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("w")
    except OSError as error:
        raise StoreError(f"cannot write the index {folder}: {error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"the index {folder} is being built already") from error
        yield


def among(numbers: npt.NDArray[np.int64], growing: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which numbers are among others that grow; none of them is negative.

    Example:
        >>> among(np.array([3, 4]), np.array([1, 3])).tolist()
        [True, False]
    """
    found: npt.NDArray[np.bool_] = np.append(growing, -1)[np.searchsorted(growing, numbers)] == numbers
    return found


class Draft:
    """An index in the making: a manifest, and the shards it names.

    Args:
        folder: of the index.
        manifest: what to begin with.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    def add(self, entries: Entries) -> None:
        """Put entries into the emptiest shard that is not full, and what does not fit into new ones."""
        shards = dict(self.manifest.shards)
        parts = [entries]
        room = {name: rows for name, rows in shards.items() if rows < shard.FULL}
        if room and len(entries):
            name = min(room, key=lambda one: room[one])
            parts.insert(0, self._read(name))
            del shards[name]
        shards |= self._written(parts)
        self.manifest = replace(self.manifest, shards=shards)

    def keep(self, writes: npt.NDArray[np.int64]) -> int:
        """Forget what belongs to none of these writes: its shards are written anew without it.

        Returns:
            How many entries went.
        """
        gone = 0
        ordered = np.sort(writes)
        shards = dict(self.manifest.shards)
        for name in list(shards):
            entries = self._read(name)
            kept = np.flatnonzero(among(entries.arrays["write_id"], ordered))
            if len(kept) < len(entries):
                gone += len(entries) - len(kept)
                del shards[name]
                shards |= self._written([entries.take(kept)])
        self.manifest = replace(self.manifest, shards=shards)
        return gone

    def writes(self) -> npt.NDArray[np.int64]:
        """The writes that are in it, with entries or without; growing."""
        found = [self._read(name).arrays["write_id"] for name in self.manifest.shards]
        return np.sort(np.concatenate([self.without(), *found]))

    def without(self) -> npt.NDArray[np.int64]:
        """The writes that are in it without entries."""
        if not self.manifest.without:
            return np.zeros(0, np.int64)
        found: npt.NDArray[np.int64] = np.load(self.folder / self.manifest.without)
        return found

    def set_without(self, writes: npt.NDArray[np.int64]) -> None:
        """Say which writes have no entries."""
        if np.array_equal(writes, self.without()):
            return
        name = f"{secrets.token_hex(8)}.npy"
        try:
            np.save(self.folder / name, writes)
        except OSError as error:
            raise StoreError(f"cannot write {self.folder / name}: {error}") from error
        self.manifest = replace(self.manifest, without=name)

    def save(self) -> None:
        """Keep what was made so far, for a build that is killed."""
        save(self.folder, self.manifest, PENDING)
        self.sweep()

    def publish(self) -> Manifest:
        """Let readers see it, and remove what nobody needs any more."""
        models: dict[str, dict[str, int]] = {}
        for name in self.manifest.shards:
            _count_models(self._read(name), models)
        version = secrets.token_hex(8)
        self.manifest = replace(self.manifest, version=version, base="", models=models)
        save(self.folder, self.manifest)
        (self.folder / PENDING).unlink(missing_ok=True)
        self.sweep()
        return self.manifest

    def sweep(self) -> None:
        """Remove what neither the draft nor what readers see names."""
        seen = load(self.folder)
        named = self.manifest.files() | (seen.files() if seen else set())
        for file in self.folder.iterdir():
            if file.suffix in (shard.SUFFIX, ".npy") and file.name not in named:
                file.unlink(missing_ok=True)

    def _read(self, name: str) -> Entries:
        """A shard.

        Raises:
            StoreError: it is damaged or gone.
        """
        try:
            return shard.read(self.folder / name)
        except FileNotFoundError as error:
            raise StoreError(f"{self.folder / name} is gone: make the index again with --rebuild") from error

    def _written(self, parts: list[Entries]) -> dict[str, int]:
        """Write entries into new shards, none too full."""
        whole = concat(parts)
        made = {}
        for begin in range(0, len(whole), shard.FULL):
            end = min(begin + shard.FULL, len(whole))
            some = whole if end - begin == len(whole) else whole.take(np.arange(begin, end))
            name = f"{secrets.token_hex(8)}{shard.SUFFIX}"
            shard.write(self.folder / name, some)
            made[name] = len(some)
        return made


def _count_models(entries: Entries, models: dict[str, dict[str, int]]) -> None:
    (model, names), (version, numbers) = entries.words["model"], entries.words["model_version"]
    pairs = model.astype(np.int64) * len(numbers) + version
    for pair in np.flatnonzero(counts := np.bincount(pairs, minlength=1)).tolist():
        name, number = names[pair // len(numbers)] or "", numbers[pair % len(numbers)] or ""
        versions = models.setdefault(name, {})
        versions[number] = versions.get(number, 0) + int(counts[pair])
