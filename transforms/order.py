"""Order: packets as they arrive in, packets as they were sent out.

Packets in order pass at once. One that is ahead of its turn waits for those before it, until the clock has
moved on by the window; then those are given up, and what waited passes. The clock is what the caller says
it is (broker stamps), never the time of day, so that a replay decides as the first run did.

A number that was given, given up or is waiting is a duplicate and dropped. But a sender may have restarted
and count from 0 again: then the first of its packets are not those that had these numbers, or it goes back in
`seq` and forward in `pts_ms`. Such a packet begins a new count, and the stream goes on with it. One that has
a recent number with other bytes, and neither sign, is refused.

Conventions: `seq` counts from 0.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from moodstream.transforms.elements import Packet
from moodstream.transforms.errors import PacketError

WINDOW_MS = 2_000
MAX_WAITING = 1_024  # packets
MAX_WAITING_BYTES = 8 << 20
MAX_AHEAD = 100_000  # packets: a `seq` that is further ahead is no packet of this stream
_FIRST, _RECENT = 8, 256  # packets whose content is remembered


@dataclass(frozen=True, slots=True)
class Arrival:
    """A packet, when it came by the broker's clock, and where it lies in its partition."""

    packet: Packet
    stamp_ms: int
    offset: int


@dataclass(frozen=True, slots=True)
class Turn:
    """A packet whose turn it is, and what is missing before it."""

    arrival: Arrival
    lost: int = 0  # packets
    is_restart: bool = False  # the sender began anew: nobody knows how many


class Order:
    """The packets of one part of a media, each once and in order.

    Example:
        >>> order = Order()
        >>> packets = [Arrival(Packet("m", seq, b"", "audio/PCMU"), 0, seq) for seq in (0, 2, 1, 1)]
        >>> [[turn.arrival.packet.seq for turn in order.push(packet)] for packet in packets]
        [[0], [], [1, 2], []]
    """

    def __init__(self, window_ms: int = WINDOW_MS) -> None:
        self.window_ms = window_ms
        self.next = 0
        self.duplicates = 0
        self.lost = 0
        self.restarts = 0
        self._waiting: dict[int, Arrival] = {}
        self._bytes = 0
        self._marks: dict[int, int] = {}  # checksums by `seq`
        self._last_pts_ms = -1

    @property
    def deadline_ms(self) -> int | None:
        """Until when by the clock packets may wait (see `expire`); None where nothing waits."""
        if not self._waiting:
            return None
        return min(arrival.stamp_ms for arrival in self._waiting.values()) + self.window_ms

    def push(self, arrival: Arrival) -> list[Turn]:
        """Take a packet; give those whose turn it is.

        Raises:
            PacketError: `seq`: far ahead of all others, or a number that had other bytes.
        """
        packet = arrival.packet
        if packet.seq > self.next + MAX_AHEAD:
            if self._marks:
                raise PacketError("seq", f"seq {packet.seq} when {self.next} is expected")
            self.next = packet.seq  # the first one of a stream that began long ago
        mark = zlib.crc32(packet.data, packet.pts_ms & 0xFFFFFFFF)
        if packet.seq < self.next or packet.seq in self._waiting:
            if not self._is_restart(packet, mark):
                self.duplicates += 1
                return []
            return self.begin(arrival)
        self._remember(packet, mark)
        self._waiting[packet.seq] = arrival
        self._bytes += len(packet.data)
        turns = self._pass()
        while len(self._waiting) > MAX_WAITING or self._bytes > MAX_WAITING_BYTES:
            turns += self._give_up()
        return turns

    def begin(self, arrival: Arrival) -> list[Turn]:
        """Count anew from this packet on; what waited comes before it."""
        turns = self.flush()
        self.restarts += 1
        self.next, self._marks, self._last_pts_ms = arrival.packet.seq, {}, -1
        first, *rest = self.push(arrival)
        return [*turns, replace(first, is_restart=True), *rest]

    def _is_restart(self, packet: Packet, mark: int) -> bool:
        known = self._marks.get(packet.seq)
        if known == mark:
            return False
        if packet.pts_ms > self._last_pts_ms or (known is not None and packet.seq < _FIRST):
            return True
        if known is not None:
            raise PacketError("seq", f"seq {packet.seq} came before, with other bytes")
        return False

    def _remember(self, packet: Packet, mark: int) -> None:
        self._last_pts_ms = max(self._last_pts_ms, packet.pts_ms)
        self._marks[packet.seq] = mark
        if len(self._marks) > _FIRST + 2 * _RECENT:
            newest = sorted(self._marks)[-_RECENT:]
            self._marks = {seq: self._marks[seq] for seq in (*range(_FIRST), *newest) if seq in self._marks}

    def expire(self, clock_ms: int) -> list[Turn]:
        """The clock has reached this time: give up what was waited for too long."""
        turns: list[Turn] = []
        while (deadline := self.deadline_ms) is not None and deadline <= clock_ms:
            turns += self._give_up()
        return turns

    def flush(self) -> list[Turn]:
        """No more packets come: everything that waits."""
        turns: list[Turn] = []
        while self._waiting:
            turns += self._give_up()
        return turns

    def state(self) -> dict[str, Any]:
        """Everything needed to go on elsewhere, as plain Python; what waits is in it with its bytes."""
        return {
            "next": self.next,
            "duplicates": self.duplicates,
            "lost": self.lost,
            "restarts": self.restarts,
            "marks": np.array(list(self._marks.items()), np.int64).reshape(-1, 2),
            "last_pts_ms": self._last_pts_ms,
            "waiting": [[one.stamp_ms, one.offset, *_plain(one.packet)] for one in self._waiting.values()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()`."""
        self.next, self.duplicates, self.lost = state["next"], state["duplicates"], state["lost"]
        self.restarts, self._last_pts_ms = state["restarts"], state["last_pts_ms"]
        self._marks = {int(seq): int(mark) for seq, mark in state["marks"]}
        self._waiting, self._bytes = {}, 0
        for stamp_ms, offset, *packet in state["waiting"]:
            arrival = Arrival(Packet(*packet), stamp_ms, offset)
            self._waiting[arrival.packet.seq] = arrival
            self._bytes += len(arrival.packet.data)

    def _pass(self, lost: int = 0) -> list[Turn]:
        turns = []
        while (arrival := self._waiting.pop(self.next, None)) is not None:
            self._bytes -= len(arrival.packet.data)
            turns.append(Turn(arrival, lost))
            lost = 0
            self.next += 1
        return turns

    def _give_up(self) -> list[Turn]:
        """Skip to the first packet that waits."""
        first = min(self._waiting)
        lost, self.next = first - self.next, first
        self.lost += lost
        return self._pass(lost)


def _plain(packet: Packet) -> tuple[Any, ...]:
    return (
        packet.media_id,
        packet.seq,
        packet.data,
        packet.content_type,
        packet.pts_ms,
        packet.part,
        packet.role,
        packet.final,
        packet.source,
        packet.dataref,
    )
