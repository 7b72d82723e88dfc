"""The gate: what every request passes before a handler sees it, and every answer before it leaves."""

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moodstream.serving.access.audit import told
from moodstream.serving.access.guard import Access
from moodstream.serving.access.refusal import RefusedError, answer

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "font-src 'self'; connect-src 'self'; media-src 'self' blob:; worker-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
}


def install(app: FastAPI, access: Access) -> None:
    """Put the gate before an app: call it last, so that it is outermost."""
    app.state.access = access
    app.add_exception_handler(RefusedError, answer)
    app.add_middleware(Gate, access=access)


class Gate:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})

        async def leave(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                self._write_down(scope, state, message["status"])
            await send(message)

        await self.app(scope, receive, leave)

    def _write_down(self, scope: Scope, state: dict[str, object], status: int) -> None:
        if self.access.audit is None:
            return
        for reading in told(state):
            client = scope.get("client") or ("", 0)
            self.access.audit.write(
                reading, status=status, method=scope["method"], path=scope["path"], address=client[0]
            )
