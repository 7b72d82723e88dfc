"""A receiver of alerts that behaves as badly as it is told to."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class HookServer:
    """A real HTTP server on a port of its own, that can stop and come back there.

    `script` says what becomes of the next requests: a status, `hang` (no answer), `drip` (an answer that
    never ends), `close` (the connection ends); 200 when it is empty.
    """

    def __init__(self) -> None:
        self.script: list[int | str] = []
        self.seen: list[tuple[dict[str, str], bytes]] = []  # headers in lower case, and body
        self.taken: list[str] = []  # idempotency keys that were answered with 200
        self.retry_after: str | None = None
        self._server: ThreadingHTTPServer | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?desk=1"

    def start(self) -> None:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook._answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> "HookServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append((headers, body))
        what = self.script.pop(0) if self.script else 200
        if what == "hang":
            time.sleep(20)
        elif what == "drip":
            request.wfile.write(b"HTTP/1.1 200 OK\r\n")
            for number in range(200):
                request.wfile.write(f"X-{number}: 1\r\n".encode())
                time.sleep(0.1)
        elif what != "close":
            if what == 200:
                self.taken.append(headers["idempotency-key"])
            request.send_response(int(what))
            if self.retry_after is not None:
                request.send_header("Retry-After", self.retry_after)
            request.send_header("Content-Length", "0")
            request.end_headers()
