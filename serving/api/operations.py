"""How the service is: alive, ready, measured, and who is asking."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from moodstream.serving.access.guard import identify, require
from moodstream.serving.access.principal import Principal
from moodstream.serving.api.documented import problems
from moodstream.serving.api.measures import Measures
from moodstream.serving.live.feed import Feed
from moodstream.serving.store.store import State, Store

router = APIRouter(tags=["operations"])
_ANY: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
_NOT_NOW: dict[int | str, dict[str, Any]] = {503: {"description": "It is not", "content": _ANY}}
_TEXT: dict[str, Any] = {"text/plain": {"schema": {"type": "string"}}}


@router.get("/health", summary="Whether the process lives", responses=_NOT_NOW)
async def health(request: Request) -> Response:
    """503 where only a restart helps."""
    store: Store = request.app.state.store
    return _said({"status": "alive" if store.alive else "dead"}, store.alive)


@router.get("/ready", summary="Whether it serves all that the lake holds", responses=_NOT_NOW)
async def ready(request: Request) -> Response:
    """503 until the lake was read for the first time; `filling` says how far it is. What is already there is
    served meanwhile, and what is asked for by name is fetched at once. `live` says whether live rows come,
    and if not, why; the service is ready without them."""
    store: Store = request.app.state.store
    state: State = store.state
    feed: Feed | None = request.app.state.feed
    told = {
        "ready": state.ready,
        "lake": store.version,
        "filling": {"done": state.done, "total": state.total} if state.filling else None,
        "error": state.error or None,
        "live": None if feed is None else {"ready": feed.ready, "why": feed.why or None},
    }
    return _said(told, state.ready)


def _said(told: dict[str, Any], good: bool) -> Response:
    return JSONResponse(told, 200 if good else 503, {"Cache-Control": "no-store"})


@router.get(
    "/metrics",
    summary="Measures for Prometheus",
    response_model=None,
    responses={200: {"description": "Measures", "content": _TEXT}, **problems(401, 403, 429)},
)
async def metrics(request: Request, who: Annotated[Principal, Depends(require("admin"))]) -> Response:
    measures: Measures = request.app.state.measures
    content, kind = measures.text()
    return Response(content, 200, {"Cache-Control": "no-store", "Content-Type": kind})


@router.get(
    "/v1/me",
    summary="Who is asking, and what the service can do",
    responses={200: {"content": _ANY}, **problems(401, 429)},
)
async def me(request: Request, who: Annotated[Principal, Depends(identify)]) -> Response:
    state = request.app.state
    told = {
        "name": who.name,
        "scopes": sorted(who.scopes),
        "emotions_for": state.config.emotions_for,
        "live": state.feed is not None,
        "microphone": True,
        "lake": state.store.version,
        "ready": state.store.state.ready,
        "search": state.index is not None,
        "sound": bool(state.config.media_roots),
    }
    return JSONResponse(told, headers={"Cache-Control": "no-store"})
