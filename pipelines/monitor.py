"""Measures and health of a long run by HTTP.

`GET /metrics` is Prometheus' text; `/healthz` is 503 where only a restart helps; `/readyz` is 503 while
nothing is worked off (at the start, and while Kafka or the store cannot be reached).
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Protocol

from moodstream.pipelines.prometheus import import_prometheus
from moodstream.transforms.errors import UsageError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class Healthy(Protocol):
    """How a run is: alive unless only a restart helps, ready when it works; and that in words."""

    @property
    def alive(self) -> bool: ...
    @property
    def ready(self) -> bool: ...


class Monitored(Protocol):
    """What a run tells of itself."""

    @property
    def registry(self) -> "CollectorRegistry": ...
    @property
    def health(self) -> Healthy: ...


def _handler(metrics: Monitored) -> type[BaseHTTPRequestHandler]:
    client = import_prometheus()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._say(200, client.generate_latest(metrics.registry), client.CONTENT_TYPE_LATEST)
            elif path in ("/healthz", "/readyz"):
                good = metrics.health.alive if path == "/healthz" else metrics.health.ready
                self._say(200 if good else 503, f"{metrics.health}\n".encode())
            else:
                self._say(404, b"/metrics, /healthz or /readyz\n")

        def _say(self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Requests are not worth a line."""

    return Handler


@contextmanager
def serving(metrics: Monitored | None, port: int | None) -> Iterator[int | None]:
    """Serve measures and health while inside; yields the port, which the system chooses where 0 is given.

    Args:
        metrics: what is served; None: nothing is.
        port: where.

    Raises:
        UsageError: the port cannot be had.
    """
    if metrics is None or port is None:
        yield None
        return
    try:
        server = ThreadingHTTPServer(("", port), _handler(metrics))
    except OSError as error:
        raise UsageError(f"cannot serve measures at port {port}: {error}") from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
