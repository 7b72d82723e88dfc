"""State: what a step remembers, as bytes that another process (or a later version) can read or refuse.

Conventions: a state is made of dictionaries with text keys, lists, tuples, bytes, numbers, None and numpy
arrays, as the `state()` of the steps gives it. The bytes begin with `MAGIC` and the version of the layout;
numbers come back bit by bit. Bytes of floats are regrouped before they are compressed (all first bytes, then
all second ones, ...): signs and exponents repeat, the rest is noise.
"""

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from moodstream.transforms.errors import MoodstreamError

VERSION = 2  # 1: one part of sound a stream
MAGIC = b"moodstate"
_HEAD = struct.Struct(">9sHII")
_LEVEL = 1  # of zstd: more costs several times as long for a hundredth
_MOST = 256 << 20  # bytes of a state that was compressed


class StateError(MoodstreamError):
    """Bytes that are no state, or of a version that this one cannot read."""


def pack(state: Mapping[str, Any]) -> bytes:
    """A state as bytes.

    Raises:
        TypeError: something in it that is none of the kinds above.

    Example:
        >>> unpack(pack({"cells": 3, "mean": np.float32([0.5])}))["mean"].dtype
        dtype('float32')
    """
    blobs: list[bytes] = []
    words = json.dumps(_plain(state, blobs), separators=(",", ":")).encode()
    sizes = struct.pack(f">{len(blobs)}I", *map(len, blobs))
    body = b"".join([struct.pack(">I", len(blobs)), sizes, words, b"\0", *blobs])
    head = _HEAD.pack(MAGIC, VERSION, len(words), len(body))
    return head + bytes(pa.Codec("zstd", _LEVEL).compress(body, asbytes=True))


def unpack(data: bytes) -> dict[str, Any]:
    """The state that `pack` was given.

    Raises:
        StateError: not a state, damaged, or of another version of the layout.
    """
    if len(data) < _HEAD.size or not data.startswith(MAGIC):
        raise StateError(f"not a state: it begins with {data[:12]!r}")
    _, version, words, length = _HEAD.unpack_from(data)
    if version != VERSION:
        raise StateError(f"a state of layout {version}, this version of moodstream reads {VERSION}")
    try:
        body = pa.Codec("zstd").decompress(data[_HEAD.size :], min(length, _MOST), asbytes=True)
        (count,) = struct.unpack_from(">I", body)
        sizes = struct.unpack_from(f">{count}I", body, 4)
        at = 4 + 4 * count
        plain = json.loads(body[at : at + words])
    except (OSError, struct.error, ValueError) as error:
        raise StateError(f"a damaged state: {error}") from error
    at += words + 1
    blobs = []
    for size in sizes:
        blobs.append(body[at : at + size])
        at += size
    found: dict[str, Any] = _restored(plain, blobs)
    return found


def _plain(value: Any, blobs: list[bytes]) -> Any:
    """The value as JSON, what has bytes being a tagged list: `["a", number, dtype, shape]`, ..."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return ["f", repr(float(value))] if value != value or abs(value) == float("inf") else float(value)
    if isinstance(value, np.generic):
        return _plain(value.item(), blobs)
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value)
        blobs.append(array.reshape(-1).view(np.uint8).reshape(-1, array.itemsize).T.tobytes())
        return ["a", len(blobs) - 1, array.dtype.str, list(value.shape)]
    if isinstance(value, bytes):
        blobs.append(value)
        return ["b", len(blobs) - 1]
    if isinstance(value, list | tuple):
        return ["l" if isinstance(value, list) else "t", [_plain(each, blobs) for each in value]]
    if isinstance(value, Mapping):
        return {_text(name): _plain(each, blobs) for name, each in value.items()}
    raise TypeError(f"a state cannot hold {type(value).__name__}")


def _text(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a state's keys are text, not {name!r}")
    return name


def _restored(plain: Any, blobs: list[bytes]) -> Any:
    if isinstance(plain, dict):
        return {name: _restored(each, blobs) for name, each in plain.items()}
    if not isinstance(plain, list):
        return plain
    kind, *rest = plain
    if kind == "a":
        number, dtype, shape = rest
        kind_of = np.dtype(dtype)
        grouped = np.frombuffer(blobs[number], np.uint8).reshape(kind_of.itemsize, -1)
        return np.ascontiguousarray(grouped.T).reshape(-1).view(kind_of).reshape(shape)
    if kind == "b":
        return blobs[rest[0]]
    if kind == "f":
        return float(rest[0])
    items = [_restored(each, blobs) for each in rest[0]]
    return items if kind == "l" else tuple(items)
