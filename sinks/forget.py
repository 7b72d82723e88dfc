"""Erases media from a lake or a folder of Parquet files: rows, old versions, and what logs say of them.

Delta Lake keeps what was deleted: old files until somebody removes them, and in its log the first and last
media id of every file there ever was. So, table by table, the media rows first (readers see a media by
those):

1. files that count are swapped for ones without the rows, in one commit. It carries the mark of `compact`,
   so the two do not rewrite the same file at once; appends pass beside it.
2. files that do not count any more and hold the rows are removed at once, whatever the retention. A reader
   who has listed such a file and not read it yet fails, and finds the new ones when he asks again.
3. the log's entries are written anew without those ids, in place: same versions, same times. The newest
   version becomes a checkpoint, and older checkpoints that hold an id are removed.

All of it can be stopped anywhere and given again: what is to do is seen from what is there. `look` reads it
all once more: every file on disk, committed or not, every entry of the log.

Beside writers: a file that no log names may be a writer's, to be committed in a moment. If it holds the media
and is younger than `IN_THE_MAKING_S`, it stays, and counts as left. Rows that come after the erasure are
those of a new analysis, but for streams, whose late rows are kept out (`sinks/forgotten.py`).
"""

import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction

from moodstream.sinks.compact import GUARD, statistics
from moodstream.sinks.forgotten import Marks
from moodstream.sinks.lake import patiently
from moodstream.sinks.layout import STORED, TABLES, WRITE_ID, check, file_spans, read, write_id_at
from moodstream.sinks.parquet_rows import MEDIA_ID, beside, rows_of, without
from moodstream.transforms.errors import StoreError

IN_THE_MAKING_S = 24 * 3600.0
ORDER = ("media", *(table for table in TABLES if table != "media"))
_AT_WORK = "a writer is at work: give the command again when it has ended"
_TRIES = 20
_BOUNDS = ("minValues", "maxValues")


@dataclass(frozen=True)
class Looked:
    """What one place was searched for, and what was there.

    Args:
        place: a table, a topic, a folder.
        searched: what was read, in words.
        left: rows, entries or records of the media that are still there.
        why: why they are, if any.
    """

    place: str
    searched: str
    left: int = 0
    why: str = ""


def forget(path: str | Path, media_ids: Iterable[str]) -> int:
    """Erase media from a lake or a folder of Parquet files.

    Returns:
        How many rows were there that counted or might have: those of files that are not history.

    Raises:
        UsageError: there is no lake.
        StoreError: the disk is full or read-only, or writers were faster again and again.
    """
    folder, names = Path(path), pa.array(sorted(set(media_ids)), pa.string())
    check(folder)
    if not len(names):
        return 0
    try:
        Marks(folder).add(names.to_pylist(), time.time_ns() // 1_000_000)
        erased = 0
        for table in ORDER:
            if is_delta(folder / table):
                erased += patiently(lambda t=table: _swap(folder / t, t, names), f"forget in {path}")  # type: ignore[misc]
            elif (folder / table).is_dir():
                erased += _replace(folder / table, table, names)
        for table in ORDER:
            if is_delta(folder / table):
                _remove_history(folder / table, names)
                _clean_log(folder / table, set(names.to_pylist()))
    except (OSError, DeltaError, pa.ArrowException) as error:
        raise StoreError(f"cannot forget in {path}: {error}") from error
    return erased


def look(path: str | Path, media_ids: Iterable[str]) -> Iterator[Looked]:
    """Read every file of every table for rows of these media, and every entry of the logs for their ids.

    Raises:
        UsageError: there is no lake. StoreError: something cannot be read.
    """
    folder, names = Path(path), pa.array(sorted(set(media_ids)), pa.string())
    check(folder)
    for table in ORDER:
        if (folder / table).is_dir():
            try:
                yield from _look(folder / table, names)
            except (OSError, DeltaError, pa.ArrowException) as error:
                raise StoreError(f"cannot read {folder / table}: {error}") from error


def older_than(path: str | Path, moment: datetime) -> list[str]:
    """Media of which nothing was written since, in no table, counted or not.

    Raises:
        UsageError: there is no lake.
    """
    folder, limit = Path(path), write_id_at(moment.timestamp())
    check(folder)
    newest: dict[str, int] = {}
    for table in ORDER:
        rows = read(folder, table, [MEDIA_ID, WRITE_ID])
        for name, last in rows.group_by(MEDIA_ID).agg(pl.col(WRITE_ID).max()).iter_rows():
            newest[name] = max(newest.get(name, last), last)
    return sorted(name for name, last in newest.items() if last < limit)


def is_delta(folder: Path) -> bool:
    return (folder / "_delta_log").is_dir()


# ---------------------------------------------------------------- files that count


def _swap(folder: Path, table: str, names: pa.Array) -> int:
    """Swap a Delta table's files for ones without the media, in one commit; how many rows went."""
    delta = DeltaTable(folder)
    now_ms = time.time_ns() // 1_000_000
    actions: list[AddAction | RemoveAction] = []
    made: list[Path] = []
    erased = 0
    try:
        for name, count in file_spans(delta).select("name", "rows").iter_rows():
            here = rows_of(folder / name, names)
            if not here:
                continue
            erased += here
            actions.append(RemoveAction(name, True, now_ms, (folder / name).stat().st_size, {}))
            if here < count:
                new = folder / f"part-{uuid.uuid4()}-compacted.zstd.parquet"
                made.append(new)
                without(folder / name, names, new, STORED[table])
                told = statistics(pq.read_table(new, columns=[MEDIA_ID, "take", WRITE_ID], partitioning=None))
                actions.append(AddAction(new.name, new.stat().st_size, {}, now_ms, True, told))
        if actions:
            guard = CommitProperties(
                app_transactions=[Transaction(GUARD, delta.version())], max_commit_retries=100
            )
            delta.create_write_transaction(actions, "append", STORED[table], commit_properties=guard)
    except FileNotFoundError as error:
        _unlink(made)
        raise CommitFailedError(f"its files have changed: {error}") from error
    except (OSError, DeltaError, pa.ArrowException):
        _unlink(made)
        raise
    return erased


def _unlink(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)


def _replace(folder: Path, table: str, names: pa.Array) -> int:
    """Replace the files of a folder of Parquet files; each is there before and after, one or the other."""
    erased = 0
    for file in sorted(folder.glob("*.parquet")):
        here = rows_of(file, names)
        if here:
            hidden = beside(file)
            if without(file, names, hidden, STORED[table]):
                hidden.replace(file)
            else:
                file.unlink()
            erased += here
    _unlink(file for file in folder.glob(".*.part") if _age_s(file) > IN_THE_MAKING_S)  # of killed writers
    return erased


# ---------------------------------------------------------------- what Delta keeps


def _remove_history(folder: Path, names: pa.Array) -> None:
    """Remove files that hold the media and belong to the table no more.

    What the log has named before, and the newest version, read after that, does not name, will never belong
    to it again; what the log does not name may be a writer's.
    """
    files = sorted(file for file in folder.iterdir() if file.is_file())
    committed = _committed(folder)
    live = {Path(name).name for name in file_spans(DeltaTable(folder))["name"]}
    for file in files:
        if file.name in live:
            continue
        is_old = _age_s(file) > IN_THE_MAKING_S
        here = _held(file, names)
        if (is_old or file.name in committed) and (here is None or here):
            file.unlink(missing_ok=True)
    _unlink(file for file in _unfinished(folder) if _age_s(file) > IN_THE_MAKING_S)


def _held(file: Path, names: pa.Array) -> int | None:
    """How many rows of the media are in a file, 0 if it is gone; None if it cannot be read (yet)."""
    try:
        return rows_of(file, names) if file.suffix == ".parquet" else None
    except FileNotFoundError:
        return 0
    except pa.ArrowInvalid:
        return None


def _committed(folder: Path) -> set[str]:
    """The files that the log has ever named, as far as it goes back."""
    found = set()
    for file in _entries(folder):
        for action in _actions(file):
            for kind in ("add", "remove"):
                if kind in action:
                    found.add(action[kind]["path"])
    return found


def _entries(folder: Path) -> list[Path]:
    """What the log says of each version."""
    return sorted((folder / "_delta_log").glob("*.json"))


def _unfinished(folder: Path) -> list[Path]:
    """What is in the log's folder and no entry: of a writer at work, or one that was killed."""
    return sorted(file for file in (folder / "_delta_log").iterdir() if file.suffix in (".tmp", ".part"))


def _actions(file: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in file.read_bytes().splitlines() if line.strip()]
    except FileNotFoundError:
        return []  # compaction takes entries that are old


def _named(action: dict[str, Any], media_ids: set[str]) -> dict[str, Any] | None:
    """The statistics of an action, if a media id in them is one of these."""
    told = (action.get("add") or action.get("remove") or {}).get("stats")
    found: dict[str, Any] = json.loads(told) if told else {}
    bounds = {(found.get(name) or {}).get(MEDIA_ID) for name in _BOUNDS}
    return found if bounds & media_ids else None


def _clean_log(folder: Path, media_ids: set[str]) -> None:
    """Take the ids out of the log, and have a checkpoint without them."""
    for file in _entries(folder):
        actions, changed = _actions(file), False
        for action in actions:
            found = _named(action, media_ids)
            if found is not None:
                for name in _BOUNDS:
                    (found.get(name) or {}).pop(MEDIA_ID, None)
                action["add" if "add" in action else "remove"]["stats"] = json.dumps(found)
                changed = True
        if changed:
            _rewrite(file, "".join(f"{json.dumps(action, separators=(',', ':'))}\n" for action in actions))
    old = [file for file in _checkpoints(folder) if _count_in_checkpoint(file, media_ids)]
    if old:
        version = _checkpoint(folder)
        for file in old:
            if int(file.name.partition(".")[0]) < version:
                file.unlink(missing_ok=True)


def _checkpoint(folder: Path) -> int:
    """Make one of the newest version, and return that; others who clean may take files from under us."""
    for tries in range(_TRIES):
        try:
            delta = DeltaTable(folder)
            delta.create_checkpoint()
        except DeltaError as error:
            reason: Exception = error
            time.sleep(0.05 * (1 + tries))
        else:
            return delta.version()
    raise reason


def _rewrite(file: Path, text: str) -> None:
    """Replace an entry in one step; its time stays, for those who count versions by it."""
    was = file.stat()
    hidden = beside(file)
    try:
        with hidden.open("w", encoding="utf-8") as written:
            written.write(text)
            written.flush()
            os.fsync(written.fileno())
        os.utime(hidden, ns=(was.st_atime_ns, was.st_mtime_ns))
        hidden.replace(file)
    except OSError:
        hidden.unlink(missing_ok=True)
        raise


def _checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / "_delta_log").glob("*.checkpoint*.parquet"))


def _count_in_checkpoint(file: Path, media_ids: set[str]) -> int:
    try:
        rows = pq.read_table(file, partitioning=None)
    except FileNotFoundError:
        return 0
    kinds = [kind for kind in ("add", "remove") if kind in rows.column_names]
    actions = ({kind: row} for kind in kinds for row in rows[kind].to_pylist() if row)
    return sum(_named(action, media_ids) is not None for action in actions)


def _age_s(file: Path) -> float:
    try:
        return time.time() - file.stat().st_mtime
    except FileNotFoundError:
        return 0.0


# ---------------------------------------------------------------- the proof


def _look(folder: Path, names: pa.Array) -> Iterator[Looked]:
    left = young = rows = count = 0
    for file in sorted(file for file in folder.iterdir() if file.is_file()):
        here = _held(file, names)  # what was compacted meanwhile is in another file
        if here is None:
            young += _age_s(file) > 0 and not file.name.startswith(".probe")
        else:
            left, rows, count = left + here, rows + _rows(file), count + 1
    searched = f"{count} files with {rows:,} rows, old versions included"
    yield Looked(folder.name, searched, left, _AT_WORK if left else "")
    if is_delta(folder):
        entries, checkpoints, wanted = _entries(folder), _checkpoints(folder), set(names.to_pylist())
        left = sum(_named(action, wanted) is not None for file in entries for action in _actions(file))
        left += sum(_count_in_checkpoint(file, wanted) for file in checkpoints)
        searched = f"log of {len(entries)} versions, {len(checkpoints)} checkpoints"
        yield Looked(folder.name, searched, left, _AT_WORK if left else "")
        young += len(_unfinished(folder))
    if young:
        yield Looked(folder.name, f"{young} files that cannot be read yet", young, _AT_WORK)


def _rows(file: Path) -> int:
    try:
        return int(pq.read_metadata(file).num_rows)
    except FileNotFoundError:
        return 0
