"""The gate: what every request passes before a handler sees it, and every answer before it leaves.

    sizes, names, origin, rate ─▶ body, whole and in time ─▶ handler, in time ─▶ audit ─▶ headers ─▶ out

When the time is up, or the client has gone, the handler is cancelled where it awaits; what runs in a thread
can look at `request.state.cancelled` (a `threading.Event`) and stop. The answer does not wait for it.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from moodstream.serving.access.audit import told
from moodstream.serving.access.guard import Access, address_of
from moodstream.serving.access.origin import check_host, check_origin
from moodstream.serving.access.refusal import RefusedError, answer
from moodstream.transforms.errors import StoreError

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "font-src 'self'; connect-src 'self'; media-src 'self' blob:; worker-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cache-Control": "private, no-cache",
}
LOOK_AGAIN_S = 30.0  # how often a stream that goes on looks whether its key is still valid
_ONCE = (b"host", b"authorization", b"content-length", b"content-type", b"origin", b"transfer-encoding")
_log = logging.getLogger(__name__)
Measure = Callable[[Scope, int, float], None]


def install(app: FastAPI, access: Access, measure: Measure | None = None) -> None:
    """Put the gate before an app, outside of what answers for mistakes in handlers, too.

    Args:
        measure: told of each request: its scope, status, and seconds until its answer began.
    """
    app.state.access = access
    app.add_exception_handler(RefusedError, answer)
    inside = app.build_middleware_stack
    app.build_middleware_stack = lambda: Gate(inside(), access, measure)  # type: ignore[method-assign]


class Gate:
    """An ASGI application around another."""

    def __init__(self, app: ASGIApp, access: Access, measure: Measure | None = None) -> None:
        self.app, self.access, self.measure = app, access, measure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _Passage(self, scope, receive, send).run()
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = WebSocket(scope, receive, send)

        async def leave(message: Message) -> None:
            if message["type"] == "websocket.accept":
                self.write_down(scope, 101)
            await send(message)

        try:
            self.check(scope)
        except RefusedError as refusal:
            await receive()
            await answer(socket, refusal)
            return
        await self.app(scope, receive, leave)

    def check(self, scope: Scope) -> None:
        """All that can be said before the body.

        Raises:
            RefusedError: it goes no further.
        """
        connection, limits = HTTPConnection(scope), self.access.limits
        names = [name for name, _ in scope["headers"]]
        if len(names) > limits.headers or any(names.count(name) > 1 for name in _ONCE):
            raise RefusedError(400, "too many headers, or one twice", "send each header once")
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > limits.url_bytes:
            raise RefusedError(414, "the address is too long", f"at most {limits.url_bytes} bytes")
        if any(ord(letter) < 32 or ord(letter) == 127 for letter in scope["path"]):
            raise RefusedError(404, "no path here has control characters", "what there is: /openapi.json")
        headers = connection.headers
        check_host(headers, is_open=self.access.is_open, host=self.access.config.host)
        check_origin(headers, scope.get("method", "GET"), is_socket=scope["type"] == "websocket")
        self.access.hold_address(connection)

    def write_down(self, scope: Scope, status: int) -> None:
        """The audit log's lines, before anything leaves.

        Raises:
            StoreError: they cannot be written.
        """
        if self.access.audit is None:
            return
        for reading in told(scope["state"]):
            self.access.audit.write(
                reading,
                status=status,
                method=scope.get("method", "WEBSOCKET"),
                path=scope["path"],
                address=address_of(HTTPConnection(scope)),
            )


class _Passage:
    """One request on its way through."""

    def __init__(self, gate: Gate, scope: Scope, receive: Receive, send: Send) -> None:
        self.gate, self.scope, self._receive, self._send = gate, scope, receive, send
        self.cancelled, self.gone = threading.Event(), asyncio.Event()
        scope.setdefault("state", {})["cancelled"] = self.cancelled
        self.began = time.monotonic()
        self.has_started = self.has_ended = self.is_over = False
        self.body: bytes | None = b""

    async def run(self) -> None:
        try:
            self.gate.check(self.scope)
            self.body = await self._read()
        except RefusedError as refusal:
            await self._refuse(refusal, close=True)
            return
        except ConnectionResetError:
            return
        task = asyncio.create_task(self._handle())
        watch = asyncio.create_task(self._watch())
        try:
            await self._wait(task, watch)
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            watch.cancel()
            self.cancelled.set()
            self.is_over = True

    async def _handle(self) -> None:
        await self.gate.app(self.scope, self._replay, self._leave)

    async def _wait(self, task: "asyncio.Task[Any]", watch: "asyncio.Task[Any]") -> None:
        within = self.gate.access.limits.answer_within(self.scope["path"])
        done, _ = await asyncio.wait({task, watch}, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        if not done and not self.has_started:
            self.cancelled.set()
            _let_go(task)
            refusal = RefusedError(503, f"there was no answer within {within:g} s", "ask for less at a time")
            await self._refuse(refusal, close=True)
            return
        while not done and self.gate.access.still_lets_in(self.scope):
            done, _ = await asyncio.wait(
                {task, watch}, timeout=LOOK_AGAIN_S, return_when=asyncio.FIRST_COMPLETED
            )
        if task not in done and not self.has_ended:  # the client has gone, or may not see more
            self.cancelled.set()
            _let_go(task)
            return
        await task  # it may have more to do after its answer

    async def _read(self) -> bytes:
        """The body.

        Raises:
            RefusedError: 413 too large, 408 too slow. ConnectionResetError: the client has gone.
        """
        headers, limits = HTTPConnection(self.scope).headers, self.gate.access.limits
        length = headers.get("content-length")
        if length is None and "transfer-encoding" not in headers:
            return b""
        too_large = RefusedError(413, "the body is too large", f"at most {limits.body_bytes} bytes")
        if length is not None and (not length.isdigit() or int(length) > limits.body_bytes):
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(limits.body_s):
                while True:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise ConnectionResetError
                    body += message.get("body", b"")
                    if len(body) > limits.body_bytes:
                        raise too_large
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            raise RefusedError(
                408, f"the body did not come within {limits.body_s:g} s", "send it again"
            ) from None

    async def _replay(self) -> Message:
        """What the handler receives: the body at once, then nothing until the client goes."""
        if self.body is not None:
            body, self.body = self.body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _watch(self) -> None:
        """Ends when the client has gone."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.cancelled.set()
        self.gone.set()

    async def _leave(self, message: Message) -> None:
        if self.is_over:
            return  # the client has gone, or has been told that the time is up
        if message["type"] == "http.response.start":
            try:
                self.gate.write_down(self.scope, message["status"])
            except StoreError as error:
                _log.error("nothing is answered: %s", error)
                self.is_over = True
                refusal = RefusedError(503, "what is read cannot be written down", "tell whoever runs this")
                await self._refuse(refusal, close=True)
                return
            self._dress(message)
        elif not message.get("more_body", False):
            self.has_ended = True
        await self._send(message)

    def _dress(self, message: Message) -> None:
        """Add what every answer has."""
        self.has_started = True
        headers = MutableHeaders(scope=message)
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
        if self.gate.measure is not None:
            self.gate.measure(self.scope, message["status"], time.monotonic() - self.began)

    async def _refuse(self, refusal: RefusedError, *, close: bool) -> None:
        if close:
            refusal.headers["Connection"] = "close"

        async def leave(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._dress(message)
            await self._send(message)

        await refusal.response(self.scope["path"][:500])(self.scope, self._receive, leave)


def _let_go(task: "asyncio.Task[Any]") -> None:
    """Cancel without waiting: a thread that it waits for ends when it ends."""
    task.cancel()
    task.add_done_callback(_swallow)


def _swallow(task: "asyncio.Task[Any]") -> None:
    with contextlib.suppress(asyncio.CancelledError):
        error = task.exception()
        if error is not None:
            _log.warning("after its time, a handler failed: %r", error)
