"""Packets: records of Kafka as packets of a stream, and back.

A record is a CloudEvent in Kafka's binary mode: its headers are text, its value is the payload as it is.

    key, ce_subject   the media id
    ce_specversion, ce_id, ce_source, ce_type, ce_time    as CloudEvents wants them
    content-type      audio/L16;rate=8000;channels=2, audio/PCMU, audio/midi, ... (see transforms/streamed.py)
    seq               0, 1, 2, ... within a part
    pts_ms            media position of the first sample or byte: says how long a gap is
    part              which stream of the media this is (`audio`, `midi`, ...); `audio` if missing
    role              who is on the channels, with commas: `agent,customer`; empty where nobody was told apart
    final             `true` on the last packet of a part, whose value may be empty
    ce_dataref        where the payload is, instead of a value (claim check, see transforms/claims.py)

Conventions: a value is at most `MAX_BYTES`; ids are at most `MAX_ID_CHARS` printable characters. What breaks
a rule is a `PacketError`, and a dead letter in the end: other packets do not notice.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from moodstream.transforms.elements import Packet, Record
from moodstream.transforms.errors import PacketError

MAX_BYTES = 8 << 20
MAX_HEADERS, MAX_HEADER_BYTES = 64, 4_096
MAX_ID_CHARS = 512
MAX_NUMBER = 1 << 53
TYPE = "org.moodstream.packet"
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def read_packet(record: Record) -> Packet:
    """The packet in a record.

    Raises:
        PacketError: `headers` (too many, missing, contradicting, no numbers), `bad_id`, `too_large`, `empty`.
    """
    headers = _texts(record.headers)
    media_id = _media_id(record, headers)
    if record.value is not None and len(record.value) > MAX_BYTES:
        raise PacketError("too_large", f"{len(record.value)} bytes, at most {MAX_BYTES}")
    final = headers.get("final", "").lower() in ("true", "1")
    dataref = headers.get("ce_dataref", "")
    if dataref and record.value:
        raise PacketError("headers", "a value, and a ce_dataref that says where another one is")
    if record.value is None and not final and not dataref:
        raise PacketError("empty", "a record without a value that is not the final one")
    part = headers.get("part", "audio")
    if not _WORD.fullmatch(part):
        raise PacketError("headers", f"part {part[:80]!r}, expected letters, digits, dots and dashes")
    return Packet(
        media_id=media_id,
        seq=_number(headers, "seq"),
        data=record.value or b"",
        content_type=headers.get("content-type", ""),
        pts_ms=_number(headers, "pts_ms"),
        part=part,
        role=headers.get("role", ""),
        final=final,
        source=headers.get("ce_source", ""),
        dataref=dataref,
    )


def headers_of(packet: Packet, source: str, time_ms: int) -> list[tuple[str, bytes]]:
    """The headers under which a packet is sent.

    Args:
        packet: what is sent.
        source: who sends it, a URI.
        time_ms: when its first sample was, ms since 1970.
    """
    when = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    texts = {
        "ce_specversion": "1.0",
        "ce_id": f"{packet.media_id}/{packet.part}/{packet.seq}",
        "ce_source": source,
        "ce_type": TYPE,
        "ce_time": when,
        "ce_subject": packet.media_id,
        "content-type": packet.content_type,
        "seq": str(packet.seq),
        "pts_ms": str(packet.pts_ms),
        "part": packet.part,
        "role": packet.role,
        "final": "true" if packet.final else "false",
    }
    if packet.dataref:
        texts["ce_dataref"] = packet.dataref
    return [(name, text.encode()) for name, text in texts.items()]


def _texts(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for number, (name, value) in enumerate(headers):
        if number >= MAX_HEADERS:
            raise PacketError("headers", f"more than {MAX_HEADERS} headers")
        if value is None or len(value) > MAX_HEADER_BYTES:
            raise PacketError(
                "headers", f"header {name[:80]!r} is empty or longer than {MAX_HEADER_BYTES} bytes"
            )
        try:
            text = value.decode()
        except UnicodeDecodeError as error:
            raise PacketError("headers", f"header {name[:80]!r} is not text: {error}") from error
        if texts.setdefault(name.lower(), text) != text:
            raise PacketError("headers", f"header {name[:80]!r} says two things")
    return texts


def _media_id(record: Record, headers: dict[str, str]) -> str:
    try:
        key = record.key.decode() if record.key else ""
    except UnicodeDecodeError as error:
        raise PacketError("bad_id", f"the key is not text: {error}") from error
    subject = headers.get("ce_subject", key)
    if key and subject != key:
        raise PacketError(
            "headers", f"key {key[:80]!r} and ce_subject {subject[:80]!r} contradict each other"
        )
    if not 0 < len(subject) <= MAX_ID_CHARS or not subject.isprintable():
        raise PacketError("bad_id", f"media id {subject[:80]!r}: 1 to {MAX_ID_CHARS} printable characters")
    return subject


def _number(headers: dict[str, str], name: str) -> int:
    text = headers.get(name)
    if text is None:
        raise PacketError("headers", f"header {name!r} is missing")
    if not (text.isascii() and text.isdigit()) or len(text) > 16 or int(text) > MAX_NUMBER:
        raise PacketError("headers", f"{name} is {text[:80]!r}, expected a whole number from 0")
    return int(text)
