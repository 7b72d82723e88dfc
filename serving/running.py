"""Runs the service until it is stopped: one process, one event loop."""

import logging
import socket

import click
import uvicorn
from fastapi import FastAPI

from moodstream.pipelines.monitor import serving
from moodstream.pipelines.privacy import said
from moodstream.pipelines.prometheus import import_prometheus
from moodstream.serving.access import wire
from moodstream.serving.config import ServeConfig
from moodstream.serving.service import build
from moodstream.serving.store.store import Store
from moodstream.sinks.layout import check
from moodstream.transforms.errors import UsageError

_LEAVE_S = 5  # what is under way may take so long when it is stopped


class _Health:
    """Whether the service lives and serves all of its lake, for those who restart it or send work to it."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    @property
    def alive(self) -> bool:
        """False where only a restart helps."""
        store: Store | None = self._app.state.store
        return store is None or store.alive

    @property
    def ready(self) -> bool:
        store: Store | None = self._app.state.store
        return store is not None and store.state.ready

    def __str__(self) -> str:
        return "ready" if self.ready else "starting" if self.alive else "dead"


class _Monitored:
    """The service's measures and health at a port of their own, which needs no key."""

    def __init__(self, app: FastAPI) -> None:
        self.registry, self.health = app.state.measures.registry, _Health(app)


def run(config: ServeConfig, metrics_port: int | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        metrics_port: where measures and health are for whoever can reach it, beside `/metrics` with a key.

    Raises:
        MissingExtraError: measures are asked for, and prometheus-client is not installed.
        UsageError: there is no lake, no place for the cache, or the port cannot be had.
        StoreError: what it needs cannot be read.
    """
    check(config.lake)
    app = build(config)
    listening = listen(config.host, config.port)
    port = listening.getsockname()[1]
    log = logging.getLogger(__name__)
    log.info("%s; %s", config.lake, said(config.emotions_for, config.responsible))
    shown = f"[{config.host}]" if ":" in config.host else config.host
    click.echo(f"moodstream serves {config.lake} at http://{shown}:{port}/  (Ctrl-C stops it)", err=True)
    settings = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        timeout_graceful_shutdown=_LEAVE_S,
        timeout_keep_alive=30,
        ws_max_size=1 << 20,
        **wire.settings(),
    )
    server = uvicorn.Server(settings)
    monitored = None
    if metrics_port is not None:
        import_prometheus()
        monitored = _Monitored(app)
    with listening, serving(monitored, metrics_port):
        try:
            server.run(sockets=[listening])
        except SystemExit:  # it could not start, and has said so only to the log
            if app.state.failed is not None:
                raise app.state.failed from None
            raise


def listen(host: str, port: int) -> socket.socket:
    """A socket that others can connect to.

    Raises:
        UsageError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise UsageError(f"cannot listen at {host}:{port}: {error.strerror or error}") from error
    return listening
