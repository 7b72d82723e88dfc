"""Forgets media in what the service keeps beside a lake: the index of arcs, and its cache.

The index is brought up to the lake, from which the media is gone already; the cache overwrites their pages.
Then both are read: every shard for the number that a media id becomes, every cache by its key, and each file
beside the tables, whatever it is, byte by byte for the id itself. Only the audit log still names it: who read
what is kept, so that the one who was forgotten can be told.
"""

import mmap
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from moodstream.serving.access.guard import AUDIT_FOLDER
from moodstream.serving.search.build import update
from moodstream.serving.search.entries import key_of
from moodstream.serving.search.folder import INDEX, load
from moodstream.serving.search.shard import SUFFIX, read
from moodstream.serving.store import cache
from moodstream.sinks.forget import Looked
from moodstream.sinks.layout import TABLES
from moodstream.transforms.errors import StoreError, UsageError

SHORTEST = 6  # bytes of an id that are looked for as such: fewer are found in any file
_AGAIN = "give the command again"


def forget_beside(lake: Path, index: Path, caches: Path, media_ids: set[str]) -> None:
    """Forget media that the lake holds no more.

    Raises:
        StoreError: something cannot be written, or the index is being built at this moment.
    """
    if caches.is_dir():
        for media_id in sorted(media_ids):
            cache.forget(caches, media_id)
    manifest = load(index) if (index / INDEX).exists() else None
    if manifest is not None:
        try:
            update(lake, index, emotions_for=manifest.emotions_for, responsible=manifest.responsible)
        except UsageError as error:
            raise StoreError(str(error)) from error


def look_beside(lake: Path, index: Path, caches: Path, media_ids: set[str]) -> Iterator[Looked]:
    """Read what lies beside the tables for these media.

    Raises:
        StoreError: something cannot be read.
    """
    try:
        if index.is_dir():
            yield _look_index(index, media_ids)
        for path in sorted(caches.glob("lake-*.sqlite")):
            yield _look_cache(path, media_ids)
        for folder in dict.fromkeys((lake, index, caches)):
            if folder.is_dir():
                yield from _look_files(lake, folder, media_ids)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"cannot read what lies beside {lake}: {error}") from error


def _look_index(index: Path, media_ids: set[str]) -> Looked:
    keys = np.array([key_of(media_id) for media_id in media_ids])
    shards = sorted(index.glob(f"*{SUFFIX}"))
    left = entries = 0
    for shard in shards:
        told = read(shard)
        entries += len(told)
        left += int(np.isin(told.arrays["key"], keys.astype(told.arrays["key"].dtype)).sum())
    return Looked(index.name, f"{len(shards)} shards with {entries:,} entries", left, _AGAIN if left else "")


def _look_cache(path: Path, media_ids: set[str]) -> Looked:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        (every,) = connection.execute("SELECT count(*) FROM media").fetchone()
        query = "SELECT count(*) FROM media WHERE media_id = ?"
        left = sum(connection.execute(query, (name,)).fetchone()[0] for name in media_ids)
    return Looked(path.parent.name, f"cache of {every:,} media", left, _AGAIN if left else "")


def _look_files(lake: Path, folder: Path, media_ids: set[str]) -> Iterator[Looked]:
    """Every file of a folder, but for the tables, byte by byte."""
    wanted = [name.encode() for name in media_ids if len(name.encode()) >= SHORTEST]
    told = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.stat().st_size]
    files = [file for file in told if not (folder == lake and file.relative_to(lake).parts[0] in TABLES)]
    if folder == lake:
        kept = [file for file in files if file.relative_to(lake).parts[0] == AUDIT_FOLDER]
        files = [file for file in files if file not in kept]
        here = sum(_holds(file, wanted) for file in kept)
        if here:
            why = "kept: who read it; remove the files when the law does not ask for them any more"
            yield Looked(AUDIT_FOLDER, f"{here} of {len(kept)} files name it", 0, why)
    left = sum(_holds(file, wanted) for file in files)
    size = sum(file.stat().st_size for file in files)
    searched = f"{len(files)} other files, {size:,} bytes of them"
    yield Looked(f"{folder.name}/", searched, left, _AGAIN if left else "")


def _holds(file: Path, wanted: list[bytes]) -> bool:
    try:
        with file.open("rb") as opened:
            if not file.stat().st_size:
                return False
            with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return any(content.find(each) >= 0 for each in wanted)
    except FileNotFoundError:
        return False
