"""Events: what changed, four times a second at most, made once for all who look, and kept for those who
resume.

A *tick* is what changed on the board since the tick before. It becomes bytes once for everybody who follows
all calls, and once for each media that somebody follows alone. The last ticks stay in a ring: a browser that
comes back says by `Last-Event-ID` what it had last and gets the rest; where that is too long ago, or of
another process, it gets a `reset` with everything as it stands now.

A snapshot holds all that ticks up to its id told, and nothing more; so nobody is told a row twice or misses
one.

Conventions: all of this runs in one event loop, but for the board, which the feed fills under a lock. Ids
begin at the time of the start in ms and grow by one a tick, so they are never those of an earlier process.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from moodstream.serving.live.board import Board
from moodstream.serving.live.pieces import Changes

TICK_S = 0.25
HEARTBEAT_S = 10.0
KEPT_S = 120.0  # the ring
_MOST_TICKS = int(KEPT_S / TICK_S)
_MOST_BYTES = 24 << 20  # of the ring, as all are told; in memory it is up to three times that
_MOST_SNAPSHOTS = 32  # kept until the next tick
_AT_ONCE = 256 << 10  # bytes that a browser that is behind is given in one piece
_HEARTBEAT = b": still here\n\n"


class SlowError(Exception):
    """Somebody takes events more slowly than they come."""


@dataclass(slots=True)
class Tick:
    """What changed at once."""

    number: int
    at: str
    changes: Changes
    _made: dict[str | None, bytes] = field(default_factory=dict)  # by media; None: all
    _about: frozenset[str] | None = None

    def event(self, media_id: str | None) -> bytes:
        """What is sent to those who follow this media; empty where it says nothing of it."""
        made = self._made.get(media_id)
        if made is None:
            if media_id is not None and media_id not in self._media():
                return b""
            changes = self.changes if media_id is None else self.changes.of(media_id)
            made = self._made[media_id] = event("rows", self.number, changes.to_json(self.at))
        return made

    def _media(self) -> frozenset[str]:
        """Which it says something of."""
        if self._about is None:
            self._about = self.changes.media_ids()
        return self._about


def event(kind: str, number: int, data: bytes) -> bytes:
    """One server-sent event.

    Example:
        >>> event("rows", 7, b"{}")
        b'id: 7\\nevent: rows\\ndata: {}\\n\\n'
    """
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, kind.encode(), data)


class Events:
    """The ticks of a board, and who follows them.

    Args:
        board: what is told of; whoever fills it holds `lock` and calls `stir` afterwards.
        tick_s: the time between two ticks, at least.
    """

    def __init__(self, board: Board, tick_s: float = TICK_S) -> None:
        self.board, self.lock = board, threading.Lock()
        self.tick_s = tick_s
        self.clients = 0
        self.sent = 0  # events, to all together
        self.dropped = 0  # clients that were too slow
        self._number = int(time.time() * 1000)
        self._ring: deque[Tick] = deque()
        self._bytes = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stirred = asyncio.Event()
        self._ticked = asyncio.Event()
        self._snapshots: dict[str | None, tuple[int, bytes]] = {}

    @property
    def number(self) -> int:
        """The id of the newest tick."""
        return self._number

    def stir(self) -> None:
        """The board has changed; may be called from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stirred.set)

    def forget(self, media_id: str, now_s: float) -> None:
        """Drop what is known of a media, also what browsers could still ask for again; from any thread."""
        with self.lock:
            self.board.forget(media_id, now_s)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._forget_ticks)

    def _forget_ticks(self) -> None:
        self._ring.clear()
        self._snapshots.clear()
        self._bytes = 0
        self._stirred.set()

    async def run(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Tick until cancelled."""
        self._loop = asyncio.get_running_loop()
        last_s, tidied_s = clock() - self.tick_s, clock()
        while True:
            try:
                await asyncio.wait_for(self._stirred.wait(), 1.0)
            except TimeoutError:
                pass
            else:
                await asyncio.sleep(max(0.0, last_s + self.tick_s - clock()))
                self._stirred.clear()
                last_s = clock()
            if clock() - tidied_s > 1.0:
                tidied_s = clock()
                with self.lock:
                    self.board.tidy(tidied_s)
            self.tick()

    def tick(self) -> bool:
        """Let all who follow know what changed; whether anything did."""
        with self.lock:
            changes = self.board.take()
        if not changes:
            return False
        self._number += 1
        tick = Tick(self._number, now(), changes)
        self._bytes += len(tick.event(None))
        self._ring.append(tick)
        while len(self._ring) > _MOST_TICKS or (self._bytes > _MOST_BYTES and len(self._ring) > 1):
            self._bytes -= len(self._ring.popleft().event(None))
        self._snapshots.clear()
        ticked, self._ticked = self._ticked, asyncio.Event()
        ticked.set()
        return True

    async def snapshot(self, media_id: str | None = None) -> tuple[int, bytes]:
        """The id of the newest tick, and everything as it stood then."""
        while True:
            ticked = self._ticked
            with self.lock:
                is_changed = self.board.is_changed
                if not is_changed:
                    if media_id not in self._snapshots:
                        if len(self._snapshots) >= _MOST_SNAPSHOTS:
                            self._snapshots.clear()
                        data = self.board.snapshot(media_id).to_json(now())
                        self._snapshots[media_id] = self._number, data
                    return self._snapshots[media_id]
            self._stirred.set()
            await ticked.wait()

    async def follow(
        self, media_id: str | None = None, last_id: int | None = None, heartbeat_s: float = HEARTBEAT_S
    ) -> AsyncIterator[bytes]:
        """Events for one browser: a snapshot or what it missed, then ticks as they come, for ever.

        Raises:
            SlowError: it is so far behind that what it must get next is no longer there.
        """
        if last_id is None or not self._has(last_id):
            number, data = await self.snapshot(media_id)
            yield event("snapshot" if last_id is None else "reset", number, data)
            last_id = number
        while True:
            ticked = self._ticked
            if not self._has(last_id):
                raise SlowError(f"{self._number - last_id} events behind")
            data, last_id = self._after(last_id, media_id)
            if data:
                yield data
            if last_id == self._number and ticked is self._ticked:
                try:
                    await asyncio.wait_for(ticked.wait(), heartbeat_s)
                except TimeoutError:
                    yield _HEARTBEAT

    def _has(self, last_id: int) -> bool:
        """Whether all ticks after this one are in the ring."""
        first = self._ring[0].number if self._ring else self._number + 1
        return first - 1 <= last_id <= self._number

    def _after(self, last_id: int, media_id: str | None) -> tuple[bytes, int]:
        """What comes next, and the id that it reaches."""
        pieces, size = [], 0
        for at in range(len(self._ring) - (self._number - last_id), len(self._ring)):
            tick = self._ring[at]
            pieces.append(tick.event(media_id))
            size, last_id = size + len(pieces[-1]), tick.number
            self.sent += bool(pieces[-1])
            if size >= _AT_ONCE:
                break
        return b"".join(pieces), last_id


def now() -> str:
    """The time in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
