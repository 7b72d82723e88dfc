"""`/v1/models`: the cards of the installed models."""

import functools
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from moodstream.models.registry import FOLDER, installed
from moodstream.serving.access.guard import require
from moodstream.serving.access.principal import Principal
from moodstream.serving.api.answers import JSON, Answer, answer, as_json, form
from moodstream.serving.api.documented import described

router = APIRouter(prefix="/v1", tags=["models"])
_HIDDEN = ("shape", "hashes", "prior")  # for those who train, not for those who read


@router.get("/models", summary="The cards of the installed models", **described("Models"))
async def models(request: Request, who: Annotated[Principal, Depends(require("read"))]) -> Response:
    """Name, version, task, licence, corpora with theirs, measures (value and 95 % interval), and limits."""
    form(request, [JSON])
    stamp = max((card.stat().st_mtime_ns for card in FOLDER.glob("*/card.yaml")), default=0)
    return await answer(request, lambda: _cards(stamp), str(stamp))


@functools.lru_cache(maxsize=1)
def _cards(stamp: int) -> Answer:
    cards = [asdict(card) for card in installed()]
    shown = [{name: value for name, value in card.items() if name not in _HIDDEN} for card in cards]
    return as_json({"models": shown})
