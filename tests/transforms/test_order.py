"""Order: each packet once, in order, whatever arrives, and nobody waits for ever."""

import random

from hypothesis import given
from hypothesis import strategies as st

from moodstream.transforms.elements import Packet
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
