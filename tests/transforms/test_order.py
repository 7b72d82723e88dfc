"""Order: each packet once, in order, whatever arrives, and nobody waits for ever."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodstream.transforms.elements import Packet
from moodstream.transforms.errors import PacketError
from moodstream.transforms.order import MAX_WAITING, Arrival, Order, Turn
from moodstream.transforms.state import pack, unpack


def arrival(seq: int, stamp_ms: int = 0, size: int = 1) -> Arrival:
    return Arrival(Packet("m", seq, bytes(size), "audio/PCMU"), stamp_ms, seq)


def seqs(turns: list[Turn]) -> list[int]:
    return [turn.arrival.packet.seq for turn in turns]


@given(st.integers(0, 1_000), st.integers(1, 60))
def test_every_packet_once_and_in_order_wherever_it_goes_on(seed: int, count: int) -> None:
    draw = random.Random(seed)
    packets = [seq for seq in range(count) for _ in range(draw.choice([1, 1, 2]))]
    packets.sort(key=lambda seq: seq + draw.uniform(0, 8))
    order, given_out = Order(window_ms=10_000), []
    for at, seq in enumerate(packets):
        given_out += seqs(order.push(arrival(seq, at)))
        if draw.random() < 0.3:
            state, order = unpack(pack(order.state())), Order(window_ms=10_000)
            order.restore(state)
    assert given_out + seqs(order.flush()) == list(range(count))
    assert order.duplicates == len(packets) - count
    assert order.lost == 0


def test_what_is_missing_is_given_up_when_the_clock_says_so() -> None:
    order = Order(window_ms=2_000)
    assert seqs(order.push(arrival(0, 100))) == [0]
    assert order.push(arrival(3, 500)) == []
    assert order.push(arrival(2, 900)) == []
    assert order.deadline_ms == 2_500
    assert order.expire(2_499) == []
    turns = order.expire(2_500)
    assert seqs(turns) == [2, 3]
    assert [turn.lost for turn in turns] == [1, 0]
    assert order.push(arrival(1, 2_600)) == []
    assert (order.duplicates, order.lost, order.deadline_ms) == (1, 1, None)


def test_only_so_much_may_wait() -> None:
    order = Order()
    for seq in range(1, MAX_WAITING + 1):
        assert order.push(arrival(seq)) == []
    turns = order.push(arrival(MAX_WAITING + 1))
    assert seqs(turns) == list(range(1, MAX_WAITING + 2))
    assert turns[0].lost == 1
    order = Order()
    assert order.push(arrival(1, size=5 << 20)) == []
    assert seqs(order.push(arrival(2, size=5 << 20))) == [1, 2]


def sent(seq: int, pts_ms: int, data: bytes, stamp_ms: int = 0) -> Arrival:
    return Arrival(Packet("m", seq, data, "audio/PCMU", pts_ms), stamp_ms, seq)


def test_a_sender_that_restarts_counts_anew_and_goes_on() -> None:
    for pts_of in (
        lambda seq: 20_000 + 500 * seq,
        lambda seq: 500 * seq,
    ):  # its clock goes on, or begins anew
        order = Order()
        for seq in range(20):
            order.push(sent(seq, 500 * seq, b"first %d" % seq))
        found = [turn for seq in range(3) for turn in order.push(sent(seq, pts_of(seq), b"again %d" % seq))]
        assert seqs(found) == [0, 1, 2]
        assert [turn.is_restart for turn in found] == [True, False, False]
        assert (order.restarts, order.duplicates, order.lost) == (1, 0, 0)
        state, order = unpack(pack(order.state())), Order()
        order.restore(state)
        assert order.push(sent(1, pts_of(1), b"again 1")) == []  # a late duplicate is one, also elsewhere
        assert order.duplicates == 1


def test_what_waits_when_the_sender_restarts_comes_first() -> None:
    order = Order()
    order.push(sent(0, 0, b"a"))
    order.push(sent(2, 1_000, b"c"))
    turns = order.push(sent(0, 5_000, b"anew"))
    assert seqs(turns) == [2, 0]
    assert [(turn.lost, turn.is_restart) for turn in turns] == [(1, False), (0, True)]


def test_a_number_with_other_bytes_is_refused() -> None:
    order = Order()
    for seq in range(20):
        order.push(sent(seq, 500 * seq, b"%d" % seq))
    with pytest.raises(PacketError):
        order.push(sent(15, 7_500, b"other bytes"))
    with pytest.raises(PacketError):
        order.push(sent(900_000, 7_500, b"far ahead"))


def test_a_stream_that_began_long_ago_is_joined_where_it_is() -> None:
    order = Order()
    assert seqs(order.push(sent(900_000, 10**9, b"x"))) == [900_000]
    assert order.lost == 0


def test_what_is_remembered_of_the_past_is_bounded() -> None:
    order = Order()
    for seq in range(5_000):
        order.push(sent(seq, 500 * seq, b"%d" % seq))
    assert len(pack(order.state())) < 8_000
    order.push(sent(3, 1_500, b"3"))
    assert order.duplicates == 1
