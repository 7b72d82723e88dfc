"""A service in a thread, at a real port, and a browser that follows its events."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import orjson
import uvicorn
from fastapi import FastAPI

from moodstream.serving.running import listen

Said = tuple[str, int, dict[str, Any]]


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The app at a free port; gives its URL."""
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("the service did not start")
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()


def told(lines: Iterator[str]) -> Iterator[Said]:
    """Lines of a stream as events: kind, id, what it says."""
    kind, number = "", 0
    for line in lines:
        name, _, text = line.partition(": ")
        if name == "event":
            kind = text
        elif name == "id":
            number = int(text)
        elif not name and text:  # a heartbeat
            yield "", number, {"calls": [], "closed": [], "alerts": [], "episodes": [], "summaries": []}
        elif name == "data":
            yield kind, number, orjson.loads(text)


@contextmanager
def following(url: str, last_id: int | None = None, **query: str) -> Iterator[Iterator[Said]]:
    """What `/v1/live` says."""
    headers = {} if last_id is None else {"last-event-id": str(last_id)}
    with httpx.stream("GET", f"{url}/v1/live", params=query, headers=headers, timeout=30) as answer:
        if answer.status_code != 200:
            raise RuntimeError(f"{answer.status_code}: {answer.read().decode()}")
        yield told(answer.iter_lines())


def until(seen: Iterator[Said], holds: Callable[[list[Said]], object], seconds: float = 120) -> list[Said]:
    """Events up to the one with which it holds."""
    found: list[Said] = []
    end_s = time.monotonic() + seconds
    while not holds(found):
        if time.monotonic() > end_s:
            raise TimeoutError(f"{len(found)} events came")
        found.append(next(seen))
    return found


def cells(events: list[Said], media_id: str, channel: str = "customer") -> list[list[Any]]:
    """The half seconds of a channel, in the order of telling."""
    return [
        row
        for _, _, said in events
        for call in said["calls"]
        if call["media_id"] == media_id
        for one in call["channels"]
        if one["channel"] == channel
        for row in one["rows"]
    ]
