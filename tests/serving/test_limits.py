"""Work that takes too long, or that nobody waits for any more, ends."""

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from moodstream.serving.api import work
from moodstream.serving.config import ServeConfig
from moodstream.serving.deadline import StoppedError
from moodstream.serving.service import build
from moodstream.serving.store.store import Store
from tests.serving.conftest import listening

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Makes lists of media take for ever; says how each began and ended."""
    told: list[str] = []

    def page(self: Store, *_: Any) -> None:
        told.append("began")
        try:
            with self._cache.reading() as connection:
                connection.execute(ENDLESS).fetchone()
        except StoppedError:
            told.append("stopped")
            raise

    monkeypatch.setattr(Store, "page", page)
    return told


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_query_ends_when_its_client_goes(served_lake: Path, tmp_path: Path, endless: list[str]) -> None:
    with listening(build(ServeConfig(served_lake, cache=tmp_path))) as url:
        address = urlsplit(url)
        with socket.create_connection((str(address.hostname), address.port or 0)) as client:
            client.sendall(b"GET /v1/media HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            until(lambda: endless == ["began"])
        until(lambda: endless == ["began", "stopped"])
        assert httpx.get(f"{url}/v1/curve?media=song.wav").status_code == 200


def test_a_query_ends_when_its_time_is_over(served_lake: Path, tmp_path: Path, endless: list[str]) -> None:
    app = build(ServeConfig(served_lake, cache=tmp_path))
    app.state.access.limits = replace(app.state.access.limits, answer_s=0.5)
    with listening(app) as url:
        answer = httpx.get(f"{url}/v1/media", timeout=20)
        assert answer.status_code == 503
        assert answer.json()["what_to_do"]
        until(lambda: endless == ["began", "stopped"])


def test_too_many_are_told_to_wait(
    served_lake: Path, tmp_path: Path, endless: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "WAITING", 0)
    app = build(ServeConfig(served_lake, cache=tmp_path))
    app.state.access.limits = replace(app.state.access.limits, answer_s=3.0)
    found: list[int] = []
    with listening(app) as url:

        def ask() -> None:
            found.append(httpx.get(f"{url}/v1/media", timeout=20).status_code)

        threads = [threading.Thread(target=ask) for _ in range(work.THREADS)]
        for thread in threads:
            thread.start()
        until(lambda: endless.count("began") == work.THREADS)
        refused = httpx.get(f"{url}/v1/curve?media=song.wav")
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert httpx.get(f"{url}/health").status_code == 200
        for thread in threads:
            thread.join(20)
        assert found == [503] * work.THREADS
        assert httpx.get(f"{url}/v1/curve?media=song.wav").status_code == 200
