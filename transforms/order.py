"""Order: packets as they arrive in, packets as they were sent out.

Packets in order pass at once. One that is ahead of its turn waits for those before it, until the clock has
moved on by the window; then those are given up, and what waited passes. The clock is what the caller says
it is (broker stamps), never the time of day, so that a replay decides as the first run did.

Conventions: `seq` counts from 0; a number that was given, given up or is waiting is a duplicate and dropped.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moodstream.transforms.elements import Packet

WINDOW_MS = 2_000
MAX_WAITING = 1_024  # packets
MAX_WAITING_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Arrival:
    """A packet, when it came by the broker's clock, and where it lies in its partition."""

    packet: Packet
    stamp_ms: int
    offset: int


@dataclass(frozen=True, slots=True)
class Turn:
    """A packet whose turn it is, and how many before it never came."""

    arrival: Arrival
    lost: int = 0


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
        self._waiting: dict[int, Arrival] = {}
        self._bytes = 0

    @property
    def deadline_ms(self) -> int | None:
        """Until when by the clock packets may wait (see `expire`); None where nothing waits."""
        if not self._waiting:
            return None
        return min(arrival.stamp_ms for arrival in self._waiting.values()) + self.window_ms

    def push(self, arrival: Arrival) -> list[Turn]:
        """Take a packet; give those whose turn it is."""
        seq = arrival.packet.seq
        if seq < self.next or seq in self._waiting:
            self.duplicates += 1
            return []
        self._waiting[seq] = arrival
        self._bytes += len(arrival.packet.data)
        turns = self._pass()
        while len(self._waiting) > MAX_WAITING or self._bytes > MAX_WAITING_BYTES:
            turns += self._give_up()
        return turns

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
            "waiting": [[one.stamp_ms, one.offset, *_plain(one.packet)] for one in self._waiting.values()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()`."""
        self.next, self.duplicates, self.lost = state["next"], state["duplicates"], state["lost"]
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
    )
