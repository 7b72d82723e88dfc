"""Shards: up to 65,536 entries in one file that never changes, mapped into memory as it is.

    magic (8 bytes) · length of the header (8 bytes) · header (JSON) · arrays, each at a multiple of 64 bytes

A shard that is to change is written anew under another name; who has the old one open keeps it.
"""

import json
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from moodstream.serving.search.arcs import Cells
from moodstream.serving.search.entries import TEXTS, Array, Entries, shape_of
from moodstream.transforms.errors import StoreError

FULL = 1 << 16  # entries
SUFFIX = ".arcs"
_MAGIC = b"arcs\x00\x00\x00\x01"
_ALIGNED = 64
_CELLS = ("cells.at", "cells.codes", "cells.first")


def write(path: Path, entries: Entries) -> None:
    """Write a shard: it is there as a whole or not at all.

    Raises:
        StoreError: the disk is full or read-only.
    """
    arrays = dict(_arrays(entries))
    listed: dict[str, list[Any]] = {}
    at = 0
    for name, values in arrays.items():
        listed[name] = [values.dtype.str, list(values.shape), at]
        at += -(-values.nbytes // _ALIGNED) * _ALIGNED
    words = {name: list(names) for name, (_, names) in entries.words.items()}
    header = json.dumps({"rows": len(entries), "arrays": listed, "words": words}).encode()
    header += b" " * (-(len(header) + 16) % _ALIGNED)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(_MAGIC + len(header).to_bytes(8, "little") + header)
            for values in arrays.values():
                file.write(np.ascontiguousarray(values).data)
                file.write(b"\0" * (-values.nbytes % _ALIGNED))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StoreError(f"cannot write {path}: {error}") from error


def read(path: Path) -> Entries:
    """Map a shard into memory; what is not looked at is not read.

    Raises:
        FileNotFoundError: it is gone: another index took its place.
        StoreError: it is not a shard, or cut short.
    """
    with path.open("rb") as file:
        try:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:  # of no bytes
            raise StoreError(f"{path} is damaged: make the index again with --rebuild") from error
    try:
        if mapped[:8] != _MAGIC:
            raise ValueError("another beginning")
        length = int.from_bytes(mapped[8:16], "little")
        header = json.loads(mapped[16 : 16 + length])
        arrays = {}
        for name, (kind, shape, at) in header["arrays"].items():
            count = int(np.prod(shape))
            arrays[name] = np.frombuffer(mapped, np.dtype(kind), count, 16 + length + at).reshape(shape)
        return _entries(header, arrays)
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is damaged ({error}): make the index again with --rebuild") from error


def _arrays(entries: Entries) -> Iterator[tuple[str, Array]]:
    yield from entries.arrays.items()
    cells = entries.cells
    yield from zip(_CELLS, (cells.at, cells.codes, cells.first), strict=True)
    for name, (codes, _) in entries.words.items():
        yield f"words.{name}", codes
    for name in TEXTS:
        texts = pa.concat_arrays([entries.texts[name]])  # begins at its buffers' start
        _, at, data = texts.buffers()
        offsets = (
            np.frombuffer(at, np.int32)[texts.offset : texts.offset + len(texts) + 1]
            if at
            else np.zeros(1, np.int32)
        )
        letters = np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)
        yield f"texts.{name}.at", offsets - offsets[0]
        yield f"texts.{name}", letters[offsets[0] : offsets[-1]]


def _entries(header: dict[str, Any], arrays: dict[str, Array]) -> Entries:
    rows = header["rows"]
    texts = {}
    for name in TEXTS:
        at, letters = arrays.pop(f"texts.{name}.at"), arrays.pop(f"texts.{name}")
        texts[name] = pa.StringArray.from_buffers(rows, pa.py_buffer(at), pa.py_buffer(letters))
    words = {name: (arrays.pop(f"words.{name}"), tuple(names)) for name, names in header["words"].items()}
    at, codes, first = (arrays.pop(name) for name in _CELLS)
    for name, values in arrays.items():
        if values.shape != (*shape_of(name)[0], rows):
            raise ValueError(f"{name} of shape {values.shape} for {rows} entries")
    return Entries(arrays, Cells(at, codes, first), words, texts)
