"""Packets: what is sent comes back, and what breaks a rule is refused with a word for it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodstream.transforms.elements import Packet, Record
from moodstream.transforms.errors import PacketError
from moodstream.transforms.packets import MAX_BYTES, MAX_ID_CHARS, headers_of, read_packet

GOOD = Packet("calls/7.wav", 3, b"\0\1", "audio/PCMU", 1_500, "audio", "agent,customer")


def record_of(packet: Packet, **columns: object) -> Record:
    headers = tuple(headers_of(packet, "test:", 1_700_000_000_000))
    whole = Record("t", 0, 7, 0, packet.media_id.encode(), packet.data, headers)
    return replace(whole, **columns)  # type: ignore[arg-type]


def with_header(name: str, value: bytes | None) -> Record:
    whole = record_of(GOOD)
    kept = tuple(pair for pair in whole.headers if pair[0] != name)
    return replace(whole, headers=kept if value is None else (*kept, (name, value)))


IDS = st.text(min_size=1, max_size=80).filter(str.isprintable)


@given(IDS, st.integers(0, 1 << 53), st.binary(max_size=99), st.integers(0, 1 << 40), st.booleans())
def test_what_is_sent_comes_back(media_id: str, seq: int, data: bytes, pts_ms: int, final: bool) -> None:
    packet = Packet(media_id, seq, data, "audio/L16;rate=8000", pts_ms, "left", "agent", final)
    assert read_packet(record_of(packet)) == packet


def test_names_in_paths_are_only_names() -> None:
    packet = replace(GOOD, media_id="../../etc/passwd'; DROP TABLE media; --")
    assert read_packet(record_of(packet)).media_id == packet.media_id


@pytest.mark.parametrize(
    ("record", "error"),
    [
        (record_of(GOOD, key=b"another"), "headers"),
        (record_of(GOOD, key=b"\xff\xfe"), "bad_id"),
        (record_of(replace(GOOD, media_id="x" * (MAX_ID_CHARS + 1))), "bad_id"),
        (record_of(replace(GOOD, media_id="two\nlines")), "bad_id"),
        (record_of(replace(GOOD, media_id="")), "bad_id"),
        (record_of(GOOD, value=None), "empty"),
        (record_of(GOOD, value=bytes(MAX_BYTES + 1)), "too_large"),
        (record_of(GOOD, headers=()), "headers"),
        (record_of(GOOD, headers=tuple((f"h{i}", b"") for i in range(65))), "headers"),
        (with_header("seq", None), "headers"),
        (with_header("seq", b"-1"), "headers"),
        (with_header("seq", "٣".encode()), "headers"),
        (with_header("seq", b"9" * 40), "headers"),
        (with_header("pts_ms", b"1.5"), "headers"),
        (with_header("part", b"../up"), "headers"),
        (with_header("role", b"\xff"), "headers"),
        (with_header("role", b"x" * 5_000), "headers"),
        (replace(record_of(GOOD), headers=(*record_of(GOOD).headers, ("seq", b"4"))), "headers"),
    ],
)
def test_what_breaks_a_rule_is_refused(record: Record, error: str) -> None:
    with pytest.raises(PacketError) as refused:
        read_packet(record)
    assert refused.value.error == error


def test_a_final_packet_may_be_empty_and_what_is_not_said_has_a_default() -> None:
    headers = (("seq", b"0"), ("pts_ms", b"0"), ("final", b"true"))
    packet = read_packet(Record("t", 0, 7, 0, b"m", None, headers))
    assert packet == Packet("m", 0, b"", "", 0, "audio", "", True)
