"""The routes of what runs now: events, a snapshot, and the microphone."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from moodstream.pipelines.kafka_options import cluster_of
from moodstream.serving.access.audit import audit
from moodstream.serving.access.guard import require
from moodstream.serving.access.principal import Principal
from moodstream.serving.api.documented import problems
from moodstream.serving.api.parameters import MediaId
from moodstream.serving.api.problems import Problem
from moodstream.serving.config import ServeConfig
from moodstream.serving.live.events import Events, SlowError
from moodstream.serving.live.feed import Feed
from moodstream.serving.live.hearing import microphone
from moodstream.serving.live.microphone import Microphones
from moodstream.sinks.cluster import Topics

MAX_CLIENTS = 256
_SEND_S = 10.0  # so long a browser may take for what it is sent
_LISTS = ("alerts", "calls", "episodes", "closed", "summaries")
_SAID: dict[str, Any] = {
    "type": "object",
    "required": ["at", *_LISTS],
    "properties": {
        "at": {"type": "string", "format": "date-time"},
        **{name: {"type": "array", "items": {}} for name in _LISTS},
    },
}
_log = logging.getLogger(__name__)

router = APIRouter(tags=["live"])
router.add_api_websocket_route("/v1/microphone", microphone)


@asynccontextmanager
async def feeding(app: FastAPI) -> AsyncIterator[None]:
    """While the service runs: microphones, and what the result topics say where it was told of a broker.

    They are at `app.state.microphones` and `app.state.feed`.
    """
    config: ServeConfig = app.state.config
    microphones = app.state.microphones = Microphones(config)
    if config.bootstrap is None:
        try:
            yield
        finally:
            microphones.close()
        return
    cluster = cluster_of(config.bootstrap, tuple(f"{name}={value}" for name, value in config.kafka.items()))
    feed = app.state.feed = Feed(cluster, Topics(config.prefix), config)
    ticking = asyncio.create_task(feed.events.run())
    ticking.add_done_callback(_tell)
    feed.start()
    try:
        yield
    finally:
        ticking.cancel()
        microphones.close()
        await asyncio.to_thread(feed.stop)


def _tell(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("no more live events", exc_info=error)


def _feed(request: Request) -> Feed:
    feed: Feed | None = request.app.state.feed
    if feed is None:
        raise Problem(
            404,
            "No live rows here",
            "the service was started without a broker",
            "start it with --bootstrap HOST:PORT, where `moodstream live` writes its results",
        )
    return feed


def _shown(events: Events, media_id: str | None) -> list[str]:
    """Whose rows are about to be seen, as far as is known now."""
    if media_id is not None:
        return [media_id]
    with events.lock:
        return events.board.media_ids()


class EventStream(Response):
    """Server-sent events until the browser goes, or is too slow.

    Args:
        events: where they come from.
        media_id: whose; None for all.
        last_id: what it had last; None if it comes for the first time.
    """

    media_type = "text/event-stream"

    def __init__(self, events: Events, media_id: str | None, last_id: int | None) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self.events, self.media_id, self.last_id = events, media_id, last_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.events.clients += 1
        sending = asyncio.create_task(self._send(send))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.events.clients -= 1
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
        if sending.done() and not sending.cancelled() and (error := sending.exception()) is not None:
            if not isinstance(error, SlowError | TimeoutError):
                raise error
            self.events.dropped += 1
            _log.info("a browser takes events too slowly and is let go: %s", error)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for data in self.events.follow(self.media_id, self.last_id):
            async with asyncio.timeout(_SEND_S):
                await send({"type": "http.response.body", "body": data, "more_body": True})


async def _left(receive: Receive) -> None:
    """Returns when the browser has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


class OfCalls(BaseModel):
    """Whose rows."""

    model_config = ConfigDict(extra="forbid")

    media: Annotated[MediaId | None, Field(description="Only this media; without it all that run.")] = None


class OfEvents(OfCalls):
    """Whose rows, and from where on."""

    last_event_id: Annotated[
        int | None, Field(ge=0, lt=1 << 63, description="The last event that was seen.")
    ] = None


@router.get(
    "/v1/live",
    summary="Rows of running calls as server-sent events",
    response_class=EventStream,
    status_code=200,  # FastAPI cannot tell it of this class
    responses={
        200: {"description": "Events", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
        **problems(400, 401, 403, 404, 429, 503),
    },
)
async def live(
    request: Request,
    who: Annotated[Principal, Depends(require("live"))],
    asked: Annotated[OfEvents, Query()],
    resumed: Annotated[str | None, Header(alias="last-event-id", max_length=40)] = None,
) -> Response:
    """A `snapshot` first, then `rows` at most four times a second; with `Last-Event-ID` what was missed, or
    `reset` with a new snapshot where that is too long ago. A comment every ten seconds says that it lives."""
    events = _feed(request).events
    if events.clients >= MAX_CLIENTS:
        raise Problem(
            503,
            "Not now",
            f"{MAX_CLIENTS} browsers follow already",
            "try again in a while",
            {"Retry-After": "10"},
        )
    last_id = asked.last_event_id
    if resumed is not None:
        last_id = int(resumed) if resumed.isascii() and resumed.isdigit() else 0  # of another service: reset
    audit(request, who, "live", _shown(events, asked.media))
    return EventStream(events, asked.media, last_id)


@router.get(
    "/v1/live/calls",
    summary="The calls that run now, with their last minute",
    response_class=Response,
    responses={
        200: {
            "description": "As in the first event of /v1/live",
            "content": {"application/json": {"schema": _SAID}},
        },
        **problems(400, 401, 403, 404, 429, 503),
    },
)
async def calls(
    request: Request,
    who: Annotated[Principal, Depends(require("live"))],
    asked: Annotated[OfCalls, Query()],
) -> Response:
    """What the first event of `/v1/live` says, once."""
    events = _feed(request).events
    audit(request, who, "live", _shown(events, asked.media))
    _, data = await events.snapshot(asked.media)
    return Response(data, media_type="application/json", headers={"Cache-Control": "no-store"})
