"""The routes about media: the list, and curve, episodes, summary and alerts of one."""

import base64
import binascii
from typing import Annotated, Any

import orjson
import pyarrow as pa
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from moodstream.models.base import STEP_MS
from moodstream.serving.access.audit import audit
from moodstream.serving.access.guard import require
from moodstream.serving.access.principal import Principal
from moodstream.serving.api.answers import ARROW, JSON, Answer, answer, as_arrow, as_json, form
from moodstream.serving.api.curves import channel_of
from moodstream.serving.api.documented import described
from moodstream.serving.api.parameters import OfAlerts, OfCurve, OfList, OfMedia
from moodstream.serving.api.problems import Problem
from moodstream.serving.store.blocks import SCHEMA
from moodstream.serving.store.store import Opened, Store
from moodstream.sinks.jsonrows import from_json
from moodstream.transforms.errors import UsageError

router = APIRouter(prefix="/v1", tags=["media"])
Reader = Annotated[Principal, Depends(require("read"))]


def store_of(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


def joined(rows: list[bytes]) -> bytes:
    """JSON values as one JSON list."""
    return b"[" + b",".join(rows) + b"]"


def text(value: Any) -> bytes:
    return orjson.dumps(value)


@router.get("/media", summary="A list of media, or one", **described("Media"))
async def media(request: Request, asked: Annotated[OfList, Query()], who: Reader) -> Response:
    """Filters are joined by AND. Where a media has several channels, the one that stands first counts."""
    store = store_of(request)
    form(request, [JSON])

    def work() -> Answer:
        page = store.page(asked.listing())
        if asked.media is not None and not page.items and asked.cursor is None:
            with store.media(asked.media, asked.take):
                pass  # not there, or only just written: it is now
            page = store.page(asked.listing())
            if not page.items:
                raise UsageError(f"{asked.media[:200]!r} is there, but the filters leave it out")
        audit(request, who, "media", _calls(page.items))
        head = b'{"items":' + joined(page.items) + b',"next":' + text(page.next)
        return Answer(head + b',"total":%d,"version":' % page.total + text(page.version) + b"}")

    return await answer(request, work)


def _calls(items: list[bytes]) -> list[str]:
    """The ids of those that are calls."""
    found = (orjson.loads(item) for item in items if b'"kind":"call"' in item)
    return [item["media_id"] for item in found if item["kind"] == "call"]


@router.get("/curve", summary="The curve of a media", **described("Curve", arrow=True))
async def curve(request: Request, asked: Annotated[OfCurve, Query()], who: Reader) -> Response:
    """By columns: one list a channel and column, all as long as `start_ms`. Where there is no estimate, null,
    and `reason` says why. `step_ms` gives means over longer steps. Numbers are rounded to four places; an
    Arrow stream has them as they are stored, at half seconds only.
    """
    store, wanted = store_of(request), form(request, [JSON, ARROW])
    asked.checked()
    if wanted == ARROW and asked.step_ms != STEP_MS:
        raise Problem(
            400, "Not both", "Arrow gives the half seconds as they are stored", "Leave step_ms away, or JSON."
        )

    def work() -> Answer:
        with store.media(asked.media, asked.take) as opened:
            tracks = opened.tracks(asked.channel, asked.modality)
            found = opened.found
        audit(request, who, "curve", [found.media_id])
        key = found.media_id, found.take
        if wanted == ARROW:
            rows = [
                track.block.between(asked.from_ms, asked.to_ms).to_arrow(*key, track.channel, track.modality)
                for track in tracks
            ]
            return as_arrow(pa.concat_tables(rows) if rows else SCHEMA.empty_table())
        channels = [channel_of(track, asked.from_ms, asked.to_ms, asked.step_ms) for track in tracks]
        told = {"media_id": found.media_id, "take": found.take, "duration_ms": found.duration_ms}
        return as_json({**told, "step_ms": asked.step_ms, "channels": channels})

    return await answer(request, work)


@router.get("/episodes", summary="The episodes of a media", **described("Episodes", arrow=True))
async def episodes(request: Request, asked: Annotated[OfMedia, Query()], who: Reader) -> Response:
    """All modalities; `channel` and `modality` of a row say which."""
    return await _rows(request, asked, who, "episode", "episodes")


@router.get("/summary", summary="The summaries of a media", **described("Summaries", arrow=True))
async def summary(request: Request, asked: Annotated[OfMedia, Query()], who: Reader) -> Response:
    """One row a channel and modality."""
    return await _rows(request, asked, who, "summary", "summaries")


@router.get("/alerts", summary="Alerts, the newest first", **described("Alerts", arrow=True))
async def alerts(request: Request, asked: Annotated[OfAlerts, Query()], who: Reader) -> Response:
    """Of one media, by time in it; or of all, the newest first."""
    if asked.media is not None:
        one = OfMedia(media=asked.media, take=asked.take)
        return await _rows(request, one, who, "alert", "alerts", {"next": None})
    if asked.take is not None:
        raise Problem(400, "Which media?", "take without media", "Name the media, too.")
    store, wanted = store_of(request), form(request, [JSON, ARROW])

    def work() -> Answer:
        found = store.alerts(asked.limit + 1, _read_cursor(asked.cursor))
        shown = found[: asked.limit]
        more = _cursor(shown[-1][:3]) if len(found) > asked.limit else None
        audit(request, who, "alerts", dict.fromkeys(row[3] for row in shown))
        rows = [row[4] for row in shown]
        if wanted == ARROW:
            return as_arrow(from_json("alert", rows))
        return Answer(b'{"alerts":' + joined(rows) + b',"next":' + text(more) + b"}")

    return await answer(request, work)


async def _rows(
    request: Request,
    asked: OfMedia,
    who: Principal,
    table: str,
    name: str,
    more: dict[str, Any] | None = None,
) -> Response:
    """The rows of one media in one table."""
    store, wanted = store_of(request), form(request, [JSON, ARROW])

    def work() -> Answer:
        with store.media(asked.media, asked.take) as opened:
            found, rows = opened.found, opened.rows(table)
        audit(request, who, name, [found.media_id])
        if wanted == ARROW:
            return as_arrow(table_of(table, rows))
        told = text({"media_id": found.media_id, "take": found.take, **(more or {})})
        return Answer(told[:-1] + b',"' + name.encode() + b'":' + rows + b"}")

    return await answer(request, work)


def table_of(table: str, rows: bytes) -> pa.Table:
    """Rows as the store gives them, as Arrow."""
    return from_json(table, (orjson.dumps(row) for row in orjson.loads(rows)))


def opened_rows(opened: Opened, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orjson.loads(opened.rows(table))
    return found


def _cursor(place: tuple[Any, ...]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(place)).decode().rstrip("=")


def _read_cursor(cursor: str | None) -> tuple[str, int, int] | None:
    """Where the page before ended.

    Raises:
        UsageError: it is no cursor.
    """
    if cursor is None:
        return None
    try:
        content = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        at, media_number, number = orjson.loads(content)
    except (UnicodeEncodeError, binascii.Error, ValueError, TypeError) as error:
        raise UsageError("this is no cursor: leave it away to begin with the newest") from error
    fits = isinstance(at, str) and isinstance(media_number, int) and isinstance(number, int)
    if not fits or max(abs(media_number), abs(number)) >= 1 << 62:
        raise UsageError("this is no cursor: leave it away to begin with the newest")
    return at, media_number, number
