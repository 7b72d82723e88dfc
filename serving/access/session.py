"""`/v1/session`: the page gives its key once and gets a cookie; logging out forgets both."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from moodstream.serving.access.guard import Access
from moodstream.serving.access.keys import LONGEST
from moodstream.serving.access.principal import ANYONE, Principal
from moodstream.serving.access.sessions import cookie_of, delete_cookie, set_cookie

router = APIRouter(prefix="/v1", tags=["access"])


class Login(BaseModel):
    """A key."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(max_length=LONGEST, description="As `moodstream keys add` has shown it.")


@router.post("/session", summary="Log in with a key, for browsers", response_model=dict[str, Any])
async def log_in(request: Request, login: Login) -> Response:
    access: Access = request.app.state.access
    if access.is_open:
        return _told(ANYONE)
    who = access.by_key(request, login.key)
    response = _told(who)
    set_cookie(request, response, access.sessions.begin(who.key), access.sessions.lasts_s)
    return response


@router.delete("/session", summary="Log out", status_code=204)
async def log_out(request: Request) -> Response:
    access: Access = request.app.state.access
    cookie = cookie_of(request)
    if cookie is not None:
        access.sessions.end(cookie)
    response = Response(status_code=204)
    delete_cookie(request, response)
    return response


def _told(who: Principal) -> Response:
    content = {"name": who.name, "scopes": sorted(who.scopes)}
    return JSONResponse(content, headers={"Cache-Control": "no-store"})
