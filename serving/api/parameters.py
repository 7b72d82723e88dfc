"""The parameters of the routes about media, with their limits. Whatever else is given is refused by name."""

from collections.abc import Callable, Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from moodstream.models.base import QUADRANTS, STEP_MS
from moodstream.serving.api.naming import nearest
from moodstream.serving.api.shapes import SHAPES
from moodstream.serving.store.listing import MOST, SORTS, Listing
from moodstream.sinks.export import FORMATS
from moodstream.transforms.errors import UsageError

LONGEST_ID, LONGEST_WORDS = 4_096, 200
LATEST_MS = 10_000_000_000  # four months: longer than any media
LARGEST_STEP_MS = 3_600_000


def _among(names: Sequence[str]) -> Callable[[str], str]:
    """A check that a value is one of some names."""

    def check(value: str) -> str:
        if value not in names:
            raise ValueError(f"{value[:40]!r} is none of {', '.join(names)}{nearest(value, names)}")
        return value

    return check


_SORTS = [turn + name for name in SORTS for turn in ("", "-")]
_FORMATS = ["json", "arrow", *FORMATS]
MediaId = Annotated[str, Field(min_length=1, max_length=LONGEST_ID, description="The id of a media.")]
Take = Annotated[int | None, Field(ge=0, lt=1 << 31, description="Which take; the last one if not given.")]
Unit = Annotated[float | None, Field(ge=-1, le=1)]
Seconds = Annotated[float | None, Field(ge=0, le=LATEST_MS / 1000)]
Position = Annotated[int | None, Field(ge=0, le=LATEST_MS)]
Sort = Annotated[str, AfterValidator(_among(_SORTS)), Field(json_schema_extra={"enum": _SORTS})]
Format = Annotated[str, AfterValidator(_among(_FORMATS)), Field(json_schema_extra={"enum": _FORMATS})]
Shape = Annotated[str, AfterValidator(_among(list(SHAPES))), Field(json_schema_extra={"enum": list(SHAPES)})]
Quadrant = Annotated[
    str, AfterValidator(_among(QUADRANTS)), Field(json_schema_extra={"enum": list(QUADRANTS)})
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class OfMedia(_Strict):
    """One media."""

    media: MediaId
    take: Take = None


class OfList(_Strict):
    """A list of media, or one."""

    media: MediaId | None = None
    take: Take = None
    q: Annotated[str, Field(max_length=LONGEST_WORDS, description="Words in the id, title or artist.")] = ""
    kind: Annotated[str | None, Field(max_length=20, description="audio, midi, video or call.")] = None
    emotion: Annotated[str | None, Field(max_length=40)] = None
    quadrant: Quadrant | None = None
    min_duration_s: Seconds = None
    max_duration_s: Seconds = None
    min_valence: Unit = None
    max_valence: Unit = None
    min_arousal: Unit = None
    max_arousal: Unit = None
    sort: Sort = "media_id"
    limit: Annotated[int, Field(ge=1, le=MOST)] = 100
    cursor: Annotated[str | None, Field(max_length=2 * LONGEST_ID)] = None
    sparkline: bool = False

    def listing(self) -> Listing:
        equal = {name: getattr(self, name) for name in ("media", "take", "kind", "emotion", "quadrant")}
        least, most = self.min_duration_s, self.max_duration_s
        return Listing(
            equal={name: value for name, value in equal.items() if value is not None},
            bounds={
                "duration_ms": (
                    None if least is None else 1000 * least,
                    None if most is None else 1000 * most,
                ),
                "valence": (self.min_valence, self.max_valence),
                "arousal": (self.min_arousal, self.max_arousal),
            },
            words=self.q,
            sort=self.sort,
            cursor=self.cursor,
            limit=self.limit,
            sparkline=self.sparkline,
        )


class OfCurve(OfMedia):
    """A curve, or a stretch of it."""

    channel: Annotated[str | None, Field(max_length=200)] = None
    modality: Annotated[
        str | None,
        Field(max_length=20, description="speech, music, symbolic or fused; else the best."),
    ] = None
    from_ms: Position = None
    to_ms: Position = None
    step_ms: Annotated[int, Field(ge=STEP_MS, le=LARGEST_STEP_MS, multiple_of=STEP_MS)] = STEP_MS

    def checked(self) -> "OfCurve":
        """Itself.

        Raises:
            UsageError: the span ends before it begins.
        """
        if self.from_ms is not None and self.to_ms is not None and self.to_ms < self.from_ms:
            raise UsageError(f"to_ms={self.to_ms} lies before from_ms={self.from_ms}")
        return self


class OfAlerts(_Strict):
    """Alerts of one media, or of all."""

    media: MediaId | None = None
    take: Take = None
    limit: Annotated[int, Field(ge=1, le=MOST)] = 100
    cursor: Annotated[str | None, Field(max_length=500)] = None


class OfAnalysis(OfMedia):
    """Everything about one media."""

    format: Format | None = None
    shape: Shape | None = None
