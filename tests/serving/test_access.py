"""Who is let in: keys, scopes, rates, sessions, origins; and what is asked for on loopback: nothing."""

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Request, WebSocket
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse

from moodstream.serving.access import gate, keys, session
from moodstream.serving.access.audit import audit
from moodstream.serving.access.guard import Access, require
from moodstream.serving.access.keys import Keys, digest, make, read, write
from moodstream.serving.access.limits import Buckets, Limits, Rate, subscriber
from moodstream.serving.access.principal import Principal
from moodstream.serving.config import ServeConfig
from moodstream.transforms.errors import UsageError

HERE = "http://127.0.0.1:8080"
Make = Callable[..., TestClient]


def application(config: ServeConfig, limits: Limits | None = None) -> FastAPI:
    """A service of three routes, behind the gate."""
    app = FastAPI()
    app.include_router(session.router)

    @app.get("/v1/curve")
    def curve(request: Request, who: Annotated[Principal, Depends(require("read"))], media: str = "m") -> Any:
        audit(request, who, "curve", [media])
        return who.name

    @app.post("/v1/search")
    async def search(who: Annotated[Principal, Depends(require("read"))]) -> Any:
        return who.name

    @app.get("/metrics")
    def metrics(who: Annotated[Principal, Depends(require("admin"))]) -> Any:
        return who.name

    @app.websocket("/v1/microphone")
    async def microphone(socket: WebSocket, who: Annotated[Principal, Depends(require("live"))]) -> None:
        audit(socket, who, "microphone", [])
        await socket.accept()
        await socket.send_text(who.name)
        await socket.close()

    gate.install(app, Access(config, limits))
    return app


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


@pytest.fixture
def board(key_file: Path) -> str:
    """A key of somebody who may read and look at what runs."""
    return add(key_file, "board", "read", "live")


def add(path: Path, name: str, *scopes: str, days: int | None = None) -> str:
    key, entry = make(name, scopes, days)
    write(path, {**(read(path) if path.exists() else {}), entry.id: entry})
    return key


@pytest.fixture
def serve(tmp_path: Path, key_file: Path) -> Iterator[Make]:
    with ExitStack() as stack:

        def begin(
            *, keyed: bool = True, limits: Limits | None = None, base_url: str = "", **more: Any
        ) -> TestClient:
            config = ServeConfig(tmp_path / "lake", keys=key_file if keyed else None, **more)
            app = application(config, limits)
            stack.callback(app.state.access.close)
            return stack.enter_context(TestClient(app, base_url=base_url or HERE))

        yield begin


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def refused(answer: Any, status: int) -> str:
    """That an answer is a problem, with what to do; what it says."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["what_to_do"]
    return str(problem["detail"])


# ---------------------------------------------------------------- keys


def test_on_loopback_nobody_needs_a_key(serve: Make) -> None:
    client = serve(keyed=False)
    assert client.get("/v1/curve").status_code == 200
    assert client.get("/metrics").json() == "anyone on this machine"
    for _ in range(500):
        assert client.get("/v1/curve").status_code == 200  # and nobody counts


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_elsewhere_it_does_not_start_without_keys(tmp_path: Path, host: str) -> None:
    with pytest.raises(UsageError, match="needs keys"):
        Access(ServeConfig(tmp_path, host=host))


def test_an_empty_or_strange_file_of_keys_is_refused_at_the_start(tmp_path: Path, key_file: Path) -> None:
    config = ServeConfig(tmp_path, host="0.0.0.0", keys=key_file)
    for text, why in [
        (None, "cannot read"),
        ("", "no list"),
        ("keys: []", "holds no key"),
        ("keys: [{id: a}]", "not complete"),
        (
            "keys: [{id: a, name: b, scopes: [all], sha256: " + "0" * 64 + ", made: 2026-01-01}]",
            "unknown scopes",
        ),
        ("keys: [{id: a, name: b, scopes: [read], sha256: 12, made: 2026-01-01}]", "no SHA-256"),
        ("keys: [{id: a, name: b, scopes: [read], sha256: " + "0" * 64 + ", made: soon}]", "not complete"),
        ("{", "cannot read"),
    ]:
        if text is not None:
            key_file.write_text(text)
        with pytest.raises(UsageError, match=why):
            Access(config)
    _, entry = make("a", ["read"])
    write(key_file, {entry.id: entry})
    key_file.chmod(0o666)
    with pytest.raises(UsageError, match="chmod 600"):
        Access(config)


def test_a_key_is_not_in_its_file(key_file: Path, board: str) -> None:
    text = key_file.read_text()
    assert board not in text
    assert board.rsplit("_", 1)[1] not in text
    assert hashlib.sha256(board.encode()).hexdigest() in text
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert re.fullmatch(r"mood_[0-9a-f]{8}_[\w-]{43}", board)


def test_a_key_opens_what_its_scopes_say(serve: Make, board: str) -> None:
    client = serve()
    assert client.get("/v1/curve", headers=bearer(board)).json() == "board"
    assert "scope admin" in refused(client.get("/metrics", headers=bearer(board)), 403)
    answer = client.get("/v1/curve")
    refused(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"


def test_wrong_keys_open_nothing(serve: Make, board: str) -> None:
    client = serve()
    number = board[5:13]
    other, _ = make("x", ["read"])
    changed = board[:-1] + ("A" if board[-1] != "A" else "B")
    wrong = [
        other,
        changed,
        board[:-1],
        board + "A",
        "",
        number,
        digest(board),
        f"mood_{number}_",
        "a" * 5000,
    ]
    for key in wrong[:8]:
        refused(client.get("/v1/curve", headers=bearer(key)), 401)
    refused(client.get("/v1/curve", headers={"Authorization": f"Basic {board}"}), 401)
    refused(client.get("/v1/curve", params={"key": board}), 401)  # addresses are logged
    refused(client.get("/v1/curve", headers={"Cookie": f"moodstream={board}"}), 401)


def test_many_wrong_keys_are_slowed_down_and_right_ones_are_not(serve: Make, board: str) -> None:
    client = serve()
    for _ in range(10):
        refused(client.get("/v1/curve", headers=bearer("wrong")), 401)
    answer = client.get("/v1/curve", headers=bearer("wrong"))
    refused(answer, 429)
    assert 1 <= int(answer.headers["retry-after"]) <= 5
    assert client.get("/v1/curve", headers=bearer(board)).status_code == 200


def test_a_key_ends_on_its_day(key_file: Path, serve: Make) -> None:
    key = add(key_file, "short", "read", days=0)
    refused(serve().get("/v1/curve", headers=bearer(key)), 401)


def test_a_removed_key_ends_with_its_sessions(
    key_file: Path, board: str, serve: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_LOOK_S", 0.0)
    client = serve()
    assert client.post("/v1/session", json={"key": board}).status_code == 200
    assert client.get("/v1/curve").status_code == 200
    other = add(key_file, "other", "read")
    write(key_file, {number: entry for number, entry in read(key_file).items() if entry.name == "other"})
    refused(client.get("/v1/curve"), 401)
    refused(client.get("/v1/curve", headers=bearer(board)), 401)
    assert client.get("/v1/curve", headers=bearer(other)).status_code == 200


def test_a_broken_file_keeps_the_keys_and_a_missing_one_none(
    key_file: Path, board: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_LOOK_S", 0.0)
    known = Keys(key_file)
    text = key_file.read_text()
    key_file.write_text("keys: [")
    os.utime(key_file, ns=(1, 1))
    assert known.find(board) is not None
    key_file.write_text(text)
    assert known.find(board) is not None
    key_file.unlink()
    assert known.find(board) is None
    key_file.write_text(text)
    key_file.chmod(0o600)
    assert known.find(board) is not None


def test_comparison_takes_the_same_time_path(
    monkeypatch: pytest.MonkeyPatch, key_file: Path, board: str
) -> None:
    """Known or unknown id, every candidate is hashed and compared once, by `hmac.compare_digest`."""
    compared: list[tuple[str, str]] = []
    monkeypatch.setattr(
        keys.hmac, "compare_digest", lambda one, other: compared.append((one, other)) or one == other
    )
    known = Keys(key_file)
    stranger, _ = make("x", ["read"])
    assert known.find(board)
    assert known.find(stranger) is None
    assert known.find("nonsense") is None
    assert [len(one) for pair in compared for one in pair] == [64] * 6


# ---------------------------------------------------------------- rates


def test_a_key_asks_only_so_often(serve: Make, board: str) -> None:
    client = serve(limits=Limits(per_key=Rate(0.5, 3)))
    for _ in range(3):
        assert client.get("/v1/curve", headers=bearer(board)).status_code == 200
    answer = client.get("/v1/curve", headers=bearer(board))
    refused(answer, 429)
    assert answer.headers["retry-after"] == "2"


def test_an_address_asks_only_so_often_with_or_without_a_key(serve: Make, board: str) -> None:
    client = serve(limits=Limits(per_address=Rate(0.5, 3)))
    for _ in range(3):
        client.get("/nothing")
    refused(client.get("/v1/curve", headers=bearer(board)), 429)


def test_buckets_fill_again_and_are_few() -> None:
    now = [0.0]
    buckets = Buckets(Rate(2, 4), most=3, clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(5)] == [0, 0, 0, 0, 0.5]
    now[0] = 1.0
    assert [buckets.take("a") for _ in range(3)] == [0, 0, 0.5]
    now[0] = 1000.0
    assert [buckets.take("a") for _ in range(5)] == [0, 0, 0, 0, 0.5]
    for name in "bcdefgh":
        buckets.take(name)
    assert len(buckets._left) == 3


def test_a_subscriber_has_one_bucket() -> None:
    assert subscriber("2001:db8:1:2:aaaa::1") == subscriber("2001:db8:1:2:bbbb::9")
    assert subscriber("2001:db8:1:3::1") != subscriber("2001:db8:1:2::1")
    assert subscriber("::ffff:192.0.2.1") == subscriber("192.0.2.1")


# ---------------------------------------------------------------- sessions


def test_a_session_is_a_cookie_that_is_no_key(serve: Make, board: str) -> None:
    client = serve()
    answer = client.post("/v1/session", json={"key": board})
    assert answer.json() == {"name": "board", "scopes": ["live", "read"]}
    assert answer.headers["cache-control"] == "no-store"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie
    assert board not in cookie
    assert digest(board) not in cookie
    assert client.get("/v1/curve").json() == "board"
    kept = client.cookies["moodstream"]
    assert kept not in repr(vars(client.app.state.access.sessions))  # nor is the cookie itself kept
    out = client.delete("/v1/session", headers={"Origin": HERE})
    assert out.status_code == 204
    refused(client.get("/v1/curve", headers={"Cookie": f"moodstream={kept}"}), 401)


def test_over_https_the_cookie_stays_there(serve: Make, board: str) -> None:
    client = serve(base_url="https://mood.example")
    cookie = client.post("/v1/session", json={"key": board}).headers["set-cookie"]
    assert cookie.startswith("__Host-moodstream=")
    assert "Secure" in cookie
    assert client.get("/v1/curve").json() == "board"


def test_sessions_end(serve: Make, board: str) -> None:
    client = serve()
    client.post("/v1/session", json={"key": board})
    client.app.state.access.sessions._clock = lambda: time.monotonic() + 13 * 3600
    refused(client.get("/v1/curve"), 401)


def test_a_wrong_key_makes_no_session(serve: Make, board: str) -> None:
    client = serve()
    answer = client.post("/v1/session", json={"key": board + "A"})
    refused(answer, 401)
    assert "set-cookie" not in answer.headers
    for body in ({}, {"key": 5}, {"key": "a" * 300}, {"key": board, "more": 1}, []):
        assert client.post("/v1/session", json=body).status_code == 422


# ---------------------------------------------------------------- other web pages


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8080", "10.0.0.1"]
)
def test_a_name_that_leads_here_by_a_trick_is_refused(serve: Make, host: str) -> None:
    """DNS rebinding: the page of evil.example asks evil.example, which is 127.0.0.1 by now."""
    client = serve(keyed=False)
    refused(client.get("/v1/curve", headers={"Host": host}), 421)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:1", "LOCALHOST", "[::1]:8080"])
def test_our_own_names_are_not(serve: Make, host: str) -> None:
    assert serve(keyed=False).get("/v1/curve", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["a b", "a/b", "user@127.0.0.1", "127.0.0.1:port", "<script>", "[::1", "a" * 300]
)
def test_what_is_no_host_is_refused(serve: Make, board: str, host: str) -> None:
    refused(serve().get("/v1/curve", headers={"Host": host, **bearer(board)}), 400)


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"])
def test_behind_a_proxy_keys_are_needed(serve: Make, board: str, header: str) -> None:
    refused(serve(keyed=False).get("/v1/curve", headers={header: "10.0.0.7"}), 403)
    assert serve().get("/v1/curve", headers={header: "10.0.0.7", **bearer(board)}).status_code == 200


def test_another_page_cannot_send_with_our_cookie(serve: Make, board: str) -> None:
    client = serve()
    client.post("/v1/session", json={"key": board})
    assert client.post("/v1/search", headers={"Origin": HERE}).status_code == 200
    assert client.post("/v1/search", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200
    for headers in (
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "http://[::1"},
        {"Origin": HERE, "Sec-Fetch-Site": "cross-site"},
        {"Origin": HERE, "Sec-Fetch-Site": "same-site"},
    ):
        refused(client.post("/v1/search", headers=headers), 403)


@pytest.mark.parametrize("keyed", [True, False])
def test_another_page_cannot_send_at_all(serve: Make, board: str, keyed: bool) -> None:
    client = serve(keyed=keyed)
    evil = {"Origin": "https://evil.example"}
    refused(client.post("/v1/search", headers=evil | bearer(board)), 403)
    refused(client.post("/v1/session", json={"key": board}, headers=evil), 403)  # nor log somebody in
    refused(client.get("/v1/curve", headers={"Sec-Fetch-Site": "cross-site"} | bearer(board)), 403)
    follows = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/v1/curve", headers=follows | bearer(board)).status_code == 200
    assert client.post("/v1/search", headers=bearer(board)).status_code == 200  # a program


def test_no_answer_is_for_other_origins(serve: Make) -> None:
    headers = serve(keyed=False).get("/v1/curve").headers
    assert "access-control-allow-origin" not in headers
    assert headers["cross-origin-resource-policy"] == "same-origin"


# ---------------------------------------------------------------- WebSockets


def test_a_socket_needs_a_key_a_scope_and_our_origin(serve: Make, key_file: Path, board: str) -> None:
    client = serve()
    reader = add(key_file, "reader", "read")
    client = serve()
    place = "/v1/microphone"
    with client.websocket_connect(place, headers=bearer(board)) as socket:
        assert socket.receive_text() == "board"
    for headers, status in [
        ({}, 401),
        (bearer(reader), 403),
        (bearer(board) | {"Origin": "https://evil.example"}, 403),
        (bearer(board) | {"Sec-Fetch-Site": "cross-site"}, 403),
    ]:
        with (
            pytest.raises(WebSocketDenialResponse) as denied,
            client.websocket_connect(place, headers=headers),
        ):
            pass
        refused(denied.value, status)


def test_a_socket_takes_the_cookie_from_our_page_only(serve: Make, board: str) -> None:
    client = serve()
    client.post("/v1/session", json={"key": board})
    cookie = {"Cookie": f"moodstream={client.cookies['moodstream']}", "Host": "127.0.0.1:8080"}
    with client.websocket_connect("/v1/microphone", headers=cookie | {"Origin": HERE}) as socket:
        assert socket.receive_text() == "board"
    for origin in ({"Origin": "http://127.0.0.1:81"}, {}):
        with (
            pytest.raises(WebSocketDenialResponse) as denied,
            client.websocket_connect("/v1/microphone", headers=cookie | origin),
        ):
            pass
        refused(denied.value, 403)


def test_without_keys_a_page_of_somebody_else_cannot_open_a_socket(serve: Make) -> None:
    client = serve(keyed=False)
    headers = {"Origin": "https://evil.example", "Host": "127.0.0.1:8080"}
    with pytest.raises(WebSocketDenialResponse) as denied:
        client.websocket_connect("/v1/microphone", headers=headers).__enter__()
    refused(denied.value, 403)


# ---------------------------------------------------------------- the audit log


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_who_read_what_is_written_down_before_it_leaves(serve: Make, tmp_path: Path, board: str) -> None:
    client = serve()
    log = tmp_path / "lake/_audit/audit.jsonl"  # with keys there is one, asked for or not
    hostile = 'call "1"\r\n{"who": "nobody"}'
    client.get("/v1/curve", params={"media": hostile}, headers=bearer(board))
    (line,) = lines(log)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "who": "board",
        "key": board[5:13],
        "what": "curve",
        "media": [hostile],
        "count": 1,
        "status": 200,
        "method": "GET",
        "path": "/v1/curve",
        "from": "testclient",
    }
    with client.websocket_connect("/v1/microphone", headers=bearer(board)):
        pass
    assert lines(log)[1]["what"] == "microphone"
    client.get("/v1/curve")  # nobody read anything
    assert len(lines(log)) == 2
    assert board not in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_written_down_is_not_answered(
    serve: Make, tmp_path: Path, board: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(audit=tmp_path / "audit.jsonl")

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("moodstream.serving.access.audit.os.write", full)
    answer = client.get("/v1/curve", headers=bearer(board))
    refused(answer, 503)
    assert "board" not in answer.text
    monkeypatch.undo()
    assert client.get("/v1/curve", headers=bearer(board)).json() == "board"


def test_a_long_log_is_continued_in_a_new_file(
    serve: Make, tmp_path: Path, board: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moodstream.serving.access.audit.ROTATE_BYTES", 700)
    client = serve(audit=tmp_path / "who/audit.jsonl")
    for number in range(10):
        client.get("/v1/curve", params={"media": str(number)}, headers=bearer(board))
    parts = sorted((tmp_path / "who").iterdir())
    assert len(parts) > 3
    assert all(part.stat().st_size <= 700 for part in parts)
    told = [line["media"][0] for part in parts for line in lines(part)]
    assert sorted(told) == [str(number) for number in range(10)]


def test_on_loopback_a_log_is_kept_where_asked_for(serve: Make, tmp_path: Path) -> None:
    serve(keyed=False).get("/v1/curve")
    assert not (tmp_path / "lake").exists()
    serve(keyed=False, audit=tmp_path / "a.jsonl").get("/v1/curve")
    assert lines(tmp_path / "a.jsonl")[0]["who"] == "anyone on this machine"
