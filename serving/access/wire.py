"""The wire: clients that are too slow, or send too much before a request is one, are dropped.

What the gate cannot see: a request whose headers never end, and an answer that nobody takes. Uvicorn itself
waits for both for ever.

* The first byte of a request must come within `FIRST_S` of connecting, its headers end within `HEADERS_S`
  of that and have at most `HEADERS_BYTES`.
* A client that does not take what waits for it for `STALLED_S` is cut off. (What waits is some 64 KiB, three
  quarters of which must go: 1.6 kB/s are enough.) A player that pauses stops taking its file; it gets
  `PAUSED_S`, and asks for the rest anew after that.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

FIRST_S = 20.0
HEADERS_S = 10.0
HEADERS_BYTES = 32 << 10
STALLED_S = 30.0
PAUSED_S = 600.0
PAUSING = ("/v1/sound",)
MOST_CONNECTIONS = 2_000
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def settings() -> dict[str, Any]:
    """What `uvicorn.Config` is to be given."""
    return {"http": Guarded, "limit_concurrency": MOST_CONNECTIONS}


class Guarded(HttpToolsProtocol):
    """Uvicorn's protocol, with the limits above."""

    _reading: asyncio.TimerHandle | None = None  # runs while headers are awaited
    _writing: asyncio.TimerHandle | None = None  # runs while the client takes nothing
    _unread = 0  # bytes since the last request was complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._reading = self.loop.call_later(FIRST_S, self._drop)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_reading()
        self._stop_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unread += len(data)
        super().data_received(data)
        if self._reading is not None and self._unread > HEADERS_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self._drop_gently()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._stop_reading()
        self._reading = self.loop.call_later(HEADERS_S, self._drop)

    def on_headers_complete(self) -> None:
        self._stop_reading()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._unread = 0

    def handle_websocket_upgrade(self) -> None:
        self._stop_reading()
        super().handle_websocket_upgrade()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._writing is None:
            path = self.cycle.scope["path"] if self.cycle is not None else ""
            self._writing = self.loop.call_later(PAUSED_S if path in PAUSING else STALLED_S, self._drop)

    def resume_writing(self) -> None:
        self._stop_writing()
        super().resume_writing()

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _stop_writing(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def _drop(self) -> None:
        """Without waiting for what is in the buffer."""
        self.transport.abort()

    def _drop_gently(self) -> None:
        self._stop_reading()
        self.transport.close()
