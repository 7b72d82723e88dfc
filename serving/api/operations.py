"""How the service is: alive, ready, measured, and who is asking."""

from typing import Any

from fastapi import APIRouter, Request

router = APIRouter(tags=["operations"])


@router.get("/health", summary="Whether the process lives")
async def health() -> dict[str, str]:
    return {"status": "alive"}


@router.get("/v1/me", summary="Who is asking, and what the service can do")
async def me(request: Request) -> dict[str, Any]:
    state = request.app.state
    return {
        "name": "anyone",
        "scopes": ["admin", "live", "read"],
        "emotions_for": state.config.emotions_for,
        "live": state.feed is not None,
        "microphone": True,
        "lake": "",
    }
