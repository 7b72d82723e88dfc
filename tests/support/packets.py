"""Records of Kafka without a Kafka, and rows to compare."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from moodstream.models.base import Float
from moodstream.transforms.elements import Packet, Record
from moodstream.transforms.packets import headers_of
from moodstream.transforms.tables import KEYS
from moodstream.transforms.track import Rows


def l16(samples: Float) -> bytes:
    """Samples [channels, n] as big-endian 16-bit PCM."""
    return np.clip(np.round(samples.T * 32768), -32768, 32767).astype(">i2").tobytes()


def cut(
    media_id: str,
    data: bytes,
    content_type: str,
    sizes: Iterable[int],
    bytes_a_second: int,
    *,
    part: str = "audio",
    role: str = "",
) -> Iterator[Packet]:
    """Bytes as packets of these sizes (the last one takes what is left) and a final empty one."""
    at = seq = 0
    for size in [*sizes, len(data)]:
        piece = data[at : at + size]
        if piece or size == 0:
            pts_ms = at * 1000 // bytes_a_second
            yield Packet(media_id, seq, piece, content_type, pts_ms, part, role)
            seq, at = seq + 1, at + len(piece)
    pts_ms = at * 1000 // bytes_a_second
    yield Packet(media_id, seq, b"", content_type, pts_ms, part, role, final=True)


def record(packet: Packet, offset: int, time_ms: int, partition: int = 0) -> Record:
    """The record that a packet becomes."""
    headers = tuple(headers_of(packet, "test:", time_ms))
    return Record("packets", partition, offset, time_ms, packet.media_id.encode(), packet.data, headers)


def listed(rows: Rows, name: str) -> list[dict[str, Any]]:
    """The rows of one table in the order of key and revision."""
    found = pa.concat_tables(rows[name]).to_pylist() if rows.get(name) else []
    return sorted(found, key=lambda row: [str(row.get(c)).rjust(9) for c in (*KEYS[name], "revision")])


def difference(found: Any, wanted: Any, atol: float = 1e-4) -> str:
    """Where two rows (or tables, or values) differ; empty where they do not."""
    if isinstance(wanted, dict):
        if found.keys() != wanted.keys():
            return f"keys {found.keys() ^ wanted.keys()}"
        return next((f"{k}: {d}" for k in wanted if (d := difference(found[k], wanted[k], atol))), "")
    if isinstance(wanted, list | tuple):
        if len(found) != len(wanted):
            return f"{len(found)} instead of {len(wanted)}"
        pairs = zip(found, wanted, strict=True)
        return next((f"[{i}] {d}" for i, (a, b) in enumerate(pairs) if (d := difference(a, b, atol))), "")
    if isinstance(wanted, float) and isinstance(found, float):
        return "" if found == wanted or abs(found - wanted) <= atol else f"{found} instead of {wanted}"
    return "" if found == wanted else f"{found!r} instead of {wanted!r}"
