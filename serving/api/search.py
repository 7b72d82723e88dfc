"""The route that searches: one question a request, and what must hold besides.

    POST /v1/search {"rises": {"dimension": "arousal"}, "filters": {"kind": "audio"}, "limit": 20}

What each question means is in docs/search.md.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from moodstream.serving.access.audit import audit
from moodstream.serving.access.guard import require
from moodstream.serving.access.principal import Principal
from moodstream.serving.api.answers import Answer, packed
from moodstream.serving.api.documented import problems
from moodstream.serving.api.parameters import LONGEST_WORDS, MediaId, Quadrant, Take
from moodstream.serving.api.problems import Problem
from moodstream.serving.api.work import run
from moodstream.serving.deadline import check
from moodstream.serving.search import questions
from moodstream.serving.search.index import ArcIndex, Found
from moodstream.serving.search.questions import DEEPEST, FEWEST_POINTS, MOST, MOST_POINTS, NUMBERS, WORDS
from moodstream.transforms.errors import UsageError

router = APIRouter(prefix="/v1", tags=["search"])
Reader = Annotated[Principal, Depends(require("read"))]
Unit = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Seconds = Annotated[float, Field(le=86_400, allow_inf_nan=False)]
Level = Annotated[
    Literal["kept", "removed"],
    Field(description="Whether it counts where in the plane an arc lies, or only how it moves."),
]
Word = Annotated[str, Field(max_length=LONGEST_WORDS)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Like(_Strict):
    """Like this track."""

    media: MediaId
    take: Take = None
    channel: Word | None = None
    level: Level = "kept"


class Rises(_Strict):
    """Valence or arousal rises, or falls, over a part of the track."""

    dimension: Literal["valence", "arousal"] = "arousal"
    start: Share = Field(2 / 3, alias="from")
    end: Share = Field(1.0, alias="to")


class Near(_Strict):
    """At least so many seconds near a point of the plane."""

    valence: Unit
    arousal: Unit
    seconds: Annotated[Seconds, Field(ge=0.5)] = 30.0
    radius: Annotated[float, Field(ge=0.01, le=3, allow_inf_nan=False)] = 0.25


class MovedBy(_Strict):
    """Farthest from its beginning by some second."""

    second: Annotated[Seconds, Field(ge=10)]


class InQuadrant(_Strict):
    """In a quadrant for a share of the time."""

    name: Quadrant
    share: Share = 0.5


def _number(name: str) -> Any:
    return (Annotated[float | None, Field(allow_inf_nan=False, description=f"Of {name}.")], None)


class _Words(_Strict):
    """What must hold besides."""

    q: Annotated[str, Field(max_length=LONGEST_WORDS, description="Words in the id or a tag.")] = ""
    tags: Annotated[dict[Word, Word], Field(max_length=20)] = {}


_COLUMNS: dict[str, Any] = dict.fromkeys(WORDS, (Word | None, None))
_COLUMNS |= {f"{end}_{name}": _number(name) for name in NUMBERS for end in ("min", "max")}
if TYPE_CHECKING:
    Filters = _Words
else:
    Filters = create_model("Filters", __base__=_Words, **_COLUMNS)
_KINDS = ("like", "arc", "rises", "falls", "near", "moved_by", "quadrant")
_POINT = tuple[Share, Unit, Unit]


class Asked(_Strict):
    """Exactly one question, and what must hold besides."""

    like: Like | None = None
    arc: Annotated[list[_POINT], Field(min_length=FEWEST_POINTS, max_length=MOST_POINTS)] | None = None
    level: Level = "kept"
    rises: Rises | None = None
    falls: Rises | None = None
    near: Near | None = None
    moved_by: MovedBy | None = None
    quadrant: InQuadrant | None = None
    filters: Filters = Field(default_factory=Filters)
    limit: Annotated[int, Field(ge=1, le=MOST)] = 20
    offset: Annotated[int, Field(ge=0, lt=DEEPEST)] = 0

    @model_validator(mode="after")
    def _one(self) -> "Asked":
        asked = [name for name in _KINDS if getattr(self, name) is not None]
        if len(asked) != 1:
            given = f"not {' and '.join(asked)}" if asked else "none was given"
            raise ValueError(f"ask one of {', '.join(_KINDS)}; {given}")
        return self

    def question(self) -> questions.Question:
        """What is asked.

        Raises:
            UsageError: it cannot be.
        """
        limits = self.filters.model_dump(exclude_none=True)
        return questions.Question(
            self._what(),
            questions.Filters(
                words={name: limits[name] for name in WORDS if name in limits},
                least={name: limits[f"min_{name}"] for name in NUMBERS if f"min_{name}" in limits},
                most={name: limits[f"max_{name}"] for name in NUMBERS if f"max_{name}" in limits},
                tags=limits["tags"],
                q=limits["q"],
            ),
            self.limit,
            self.offset,
        )

    def _what(self) -> questions.What:
        if self.like is not None:
            return questions.Like(**self.like.model_dump())
        if self.arc is not None:
            return questions.Arc(tuple(self.arc), self.level)
        if (span := self.rises or self.falls) is not None:
            return questions.Rises(**span.model_dump(), falls=self.falls is not None)
        if self.near is not None:
            return questions.Near(**self.near.model_dump())
        if self.moved_by is not None:
            return questions.MovedBy(**self.moved_by.model_dump())
        if self.quadrant is not None:
            return questions.InQuadrant(**self.quadrant.model_dump())
        raise UsageError("nothing was asked")


class Index(BaseModel):
    tracks: int
    version: str


class Results(BaseModel):
    """The best first."""

    items: list[Found]
    took_ms: float
    index: Index


@router.post("/search", summary="Search by arc", responses=problems(400, 401, 403, 404, 429, 503))
async def search(request: Request, asked: Asked, who: Reader) -> Results:
    """Ask one of `like`, `arc`, `rises`, `falls`, `near`, `moved_by`, `quadrant`; `filters` hold besides."""
    question = asked.question()

    def work() -> Answer:
        found = index_of(request).search(
            question, emotions_for=request.app.state.config.emotions_for, between=check
        )
        calls = [item.media_id for item in found.items if item.kind == "call"]
        if asked.like is not None:
            calls.append(asked.like.media)
        audit(request, who, "search", calls)
        told = {
            "items": found.items,
            "took_ms": round(found.took_ms, 1),
            "index": {"tracks": found.tracks, "version": found.version},
        }
        return Answer(orjson.dumps(told))

    response: Any = await run(request, lambda: _packed(request, work))
    return response


def _packed(request: Request, work: Any) -> Response:
    packs = "gzip" in request.headers.get("accept-encoding", "")
    try:
        return packed(work(), {"Cache-Control": "no-store", "Vary": "Accept-Encoding"}, packs)
    except questions.NotIndexedError as error:
        raise Problem(
            404, "No arc to compare with", str(error), "Bring the index up to date, or ask for another track."
        ) from error


def index_of(request: Request) -> ArcIndex:
    """The index of the service, opened when it is first asked for or there.

    Raises:
        Problem: there is none.
    """
    state = request.app.state
    if state.index is None:
        try:
            state.index = ArcIndex(state.config.index_folder)
        except UsageError as error:
            raise Problem(
                503,
                "There is no index",
                str(error),
                "Whoever runs this service makes one: moodstream index LAKE",
            ) from error
    index: ArcIndex = state.index
    return index
