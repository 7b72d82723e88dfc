"""The gate and the wire: sizes, times, headers, and clients that are slow or go; on a real server."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import uvicorn
from fastapi import BackgroundTasks, Depends, FastAPI, Request
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient

from moodstream.serving.access import gate, wire
from moodstream.serving.access.guard import Access, require
from moodstream.serving.access.keys import make, write
from moodstream.serving.access.limits import Limits
from moodstream.serving.access.principal import Principal
from moodstream.serving.config import ServeConfig

SHORT = Limits(body_bytes=1000, body_s=0.4, answer_s=0.4, slow=(("/v1/sound", 5.0),))


class Seen:
    """What handlers noticed."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.stopped = threading.Event()
        self.sent = 0


def application(folder: Path, seen: Seen) -> FastAPI:
    app = FastAPI()

    @app.get("/quick")
    def quick() -> str:
        return "quick"

    @app.post("/echo")
    async def echo(request: Request) -> int:
        return len(await request.body())

    @app.get("/thread")
    @app.get("/v1/sound")
    def thread(request: Request) -> str:
        if request.state.cancelled.wait(2):
            seen.cancelled.set()
        return "late"

    @app.get("/await")
    async def waits() -> str:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            seen.cancelled.set()
            raise
        return "late"

    @app.get("/endless")
    async def endless() -> StreamingResponse:
        async def chunks() -> Any:
            try:
                while True:
                    seen.sent += 1
                    yield b"x" * 65_536
                    await asyncio.sleep(0)
            finally:
                seen.stopped.set()

        return StreamingResponse(chunks())

    @app.get("/drip")
    async def drip() -> StreamingResponse:
        async def chunks() -> Any:
            for _ in range(12):
                yield b"tick\n"
                await asyncio.sleep(0.1)

        return StreamingResponse(chunks())

    @app.get("/bug")
    def bug() -> None:
        raise ZeroDivisionError

    gate.install(app, Access(ServeConfig(folder), SHORT))
    return app


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def server(
    tmp_path: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], socket.socket]]:
    """A real server; gives connections to it."""
    for name, value in (("FIRST_S", 0.5), ("HEADERS_S", 0.5), ("STALLED_S", 0.5)):
        monkeypatch.setattr(wire, name, value)
    listening = socket.create_server(("127.0.0.1", 0))
    settings = uvicorn.Config(
        application(tmp_path, seen), log_config=None, timeout_graceful_shutdown=1, **wire.settings()
    )
    running = uvicorn.Server(settings)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    while not running.started:
        time.sleep(0.01)
    with contextlib.ExitStack() as stack:

        def connect() -> socket.socket:
            found = stack.enter_context(socket.create_connection(listening.getsockname()))
            found.settimeout(5)
            return found

        yield connect
    running.should_exit = True
    thread.join()


def ask(method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def everything(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            found += part
    return found


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


# ---------------------------------------------------------------- sizes and times


def test_a_large_body_is_refused_before_it_is_read(server: Any) -> None:
    for headers, body in [
        (("Content-Length: 1001",), b""),
        (("Content-Length: 99999999999999999999",), b""),
        (("Transfer-Encoding: chunked",), b"7d0\r\n" + b"a" * 2000 + b"\r\n0\r\n\r\n"),
    ]:
        connection = server()
        connection.sendall(ask("POST", "/echo", *headers, body=body))
        assert status(everything(connection)) in (413, 400)
    connection = server()
    connection.sendall(ask("POST", "/echo", "Content-Length: 1000", "Connection: close", body=b"a" * 1000))
    answer = everything(connection)
    assert status(answer) == 200
    assert answer.endswith(b"1000")


def test_a_body_that_drips_is_given_up(server: Any) -> None:
    connection = server()
    connection.sendall(ask("POST", "/echo", "Content-Length: 500", body=b"a"))
    began = time.monotonic()
    answer = everything(connection)
    assert status(answer) == 408
    assert 0.3 < time.monotonic() - began < 3
    assert b"what_to_do" in answer


def test_headers_that_never_end_are_given_up(server: Any) -> None:
    for begun in (b"", b"GET /quick HTTP/1.1\r\nHost: 127.0.0.1\r\n"):
        connection = server()
        connection.sendall(begun)
        began = time.monotonic()
        with contextlib.suppress(OSError):
            for _ in range(30):  # a byte now and then, as slow attackers do
                time.sleep(0.1)
                if begun:
                    connection.sendall(b"X")
        assert everything(connection) == b""
        assert time.monotonic() - began < 5


def test_headers_too_large_are_refused(server: Any) -> None:
    connection = server()
    with contextlib.suppress(OSError):
        connection.sendall(b"GET /quick HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X-A: " + b"a" * 40_000)
    with contextlib.suppress(OSError):
        assert everything(connection)[:12] in (b"HTTP/1.1 431", b"HTTP/1.1 400", b"")
    connection = server()
    connection.sendall(ask("GET", "/quick", "Connection: close"))
    assert status(everything(connection)) == 200  # and the server is well


def test_keep_alive_and_pipelines_still_work(server: Any) -> None:
    connection = server()
    for _ in range(3):
        time.sleep(0.3)
        connection.sendall(ask("GET", "/quick"))
        assert status(connection.recv(65_536)) == 200
    connection.sendall(ask("GET", "/quick") * 2 + ask("GET", "/quick", "Connection: close"))
    assert everything(connection).count(b"200 OK") == 3


@pytest.mark.parametrize("path", ["/thread", "/await"])
def test_an_answer_that_does_not_begin_is_given_up(server: Any, seen: Seen, path: str) -> None:
    connection = server()
    connection.sendall(ask("GET", path))
    began = time.monotonic()
    answer = everything(connection)
    assert status(answer) == 503
    assert time.monotonic() - began < 1.5
    assert seen.cancelled.wait(3)  # and its handler is told


def test_some_answers_may_take_longer(server: Any) -> None:
    connection = server()
    connection.sendall(ask("GET", "/v1/sound", "Connection: close"))
    assert status(everything(connection)) == 200


def test_a_stream_goes_on_after_the_time_for_its_beginning(server: Any) -> None:
    connection = server()
    connection.sendall(ask("GET", "/drip", "Connection: close"))
    assert everything(connection).count(b"tick") == 12


@pytest.mark.parametrize("path", ["/thread", "/await"])
def test_who_goes_has_his_request_cancelled(server: Any, seen: Seen, path: str) -> None:
    connection = server()
    connection.sendall(ask("GET", path))
    time.sleep(0.15)
    connection.close()
    assert seen.cancelled.wait(1)


def test_who_takes_nothing_is_dropped(server: Any, seen: Seen) -> None:
    connection = server()
    connection.sendall(ask("GET", "/endless"))
    assert seen.stopped.wait(8)
    sent = seen.sent
    time.sleep(0.3)
    assert seen.sent == sent  # nothing goes on behind
    taken = len(everything(connection))
    assert taken < sent * 65_536  # the rest was thrown away


def test_who_reads_slowly_but_reads_is_not_dropped(
    server: Any, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "STALLED_S", 1.5)  # a busy machine may stop both for a while
    connection = server()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    connection.sendall(ask("GET", "/endless"))
    until = time.monotonic() + 4.5
    while time.monotonic() < until:
        assert connection.recv(262_144)
        time.sleep(0.02)
    assert not seen.stopped.is_set()


def test_a_stream_ends_with_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody follows events; his key is removed."""
    monkeypatch.setattr(gate, "LOOK_AGAIN_S", 0.05)
    monkeypatch.setattr("moodstream.serving.access.keys._LOOK_S", 0.0)
    file = tmp_path / "keys.yaml"
    (key, mine), (_, other) = make("mine", ["live"]), make("other", ["live"])
    write(file, {one.id: one for one in (mine, other)})
    app, ended = FastAPI(), threading.Event()

    @app.get("/events")
    async def events(who: Annotated[Principal, Depends(require("live"))]) -> StreamingResponse:
        async def ticks() -> Any:
            try:
                while True:
                    yield b"tick\n"
                    await asyncio.sleep(0.02)
            finally:
                ended.set()

        return StreamingResponse(ticks())

    gate.install(app, Access(ServeConfig(tmp_path, keys=file), SHORT))

    async def follow() -> int:
        taken = 0

        async def send(message: Any) -> None:
            nonlocal taken
            taken += len(message.get("body", b""))
            if taken == 25:
                write(file, {other.id: other})

        async def receive() -> Any:
            await asyncio.Event().wait()

        headers = [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {key}".encode())]
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/events",
            "raw_path": b"/events",
            "query_string": b"",
        }
        scope |= {"headers": headers, "client": ("127.0.0.1", 1), "scheme": "http", "root_path": ""}
        await asyncio.wait_for(app(scope, receive, send), 5)  # type: ignore[arg-type]
        await asyncio.sleep(0.1)
        return taken

    assert asyncio.run(follow()) >= 25
    assert ended.is_set()


# ---------------------------------------------------------------- headers


@pytest.fixture
def client(tmp_path: Path, seen: Seen) -> Iterator[TestClient]:
    app = application(tmp_path, seen)
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as found:
        yield found


@pytest.mark.parametrize("path", ["/quick", "/nothing", "/bug", "/%07"])
def test_every_answer_has_the_headers_of_safety(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"


def test_headers_twice_or_too_many_are_refused(client: TestClient) -> None:
    twice = [("Host", "127.0.0.1"), ("Host", "evil.example")]
    assert client.get("/quick", headers=twice).status_code == 400
    assert client.get("/quick", headers=[("Authorization", "a"), ("Authorization", "b")]).status_code == 400
    assert client.get("/quick", headers={f"X-{number}": "" for number in range(80)}).status_code == 400
    assert client.get("/quick", params={"a": "b" * 9000}).status_code == 414


def test_a_long_answer_with_work_after_it_is_not_cut(tmp_path: Path) -> None:
    """What a handler does after its answer is done, although the client has what it wants."""
    app, done = FastAPI(), threading.Event()

    async def later() -> None:
        await asyncio.sleep(0.1)
        done.set()

    @app.get("/x")
    async def answer(tasks: BackgroundTasks) -> str:
        tasks.add_task(later)
        return "x"

    gate.install(app, Access(ServeConfig(tmp_path), SHORT))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert client.get("/x").json() == "x"
        assert done.wait(1)
