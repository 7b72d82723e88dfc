"""What OpenAPI is told about answers: schemas of the bodies, and the problems there can be."""

from typing import Any

from fastapi import FastAPI

from moodstream.serving.api.answers import ARROW, JSON
from moodstream.serving.api.problems import MEDIA_TYPE

Schema = dict[str, Any]
_TEXT: Schema = {"type": "string"}
_MAYBE_TEXT: Schema = {"type": ["string", "null"]}
_WHOLE: Schema = {"type": "integer"}
_MAYBE_NUMBER: Schema = {"type": ["number", "null"]}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _object(required: dict[str, Schema], **more: Any) -> Schema:
    return {"type": "object", "properties": required, "required": list(required), **more}


_UNIT: Schema = {"type": ["number", "null"], "minimum": -1, "maximum": 1}
_ROW: Schema = {"type": "object", "description": "A row of the table, by the names of its columns."}
_KEY = {"media_id": _TEXT, "take": _WHOLE}
_OF_ITEM = _object(
    {
        "channel": _TEXT,
        "role": _MAYBE_TEXT,
        "modality": _TEXT,
        "valence_mean": _UNIT,
        "arousal_mean": _UNIT,
        "emotion": _MAYBE_TEXT,
        "quadrant": _MAYBE_TEXT,
        "profile": _MAYBE_TEXT,
        "estimated_share": {"type": "number"},
    }
)
_ITEM = _object(
    {
        **_KEY,
        "kind": _TEXT,
        "title": _MAYBE_TEXT,
        "artist": _MAYBE_TEXT,
        "duration_ms": _WHOLE,
        "analyzed_at": {"type": "string", "format": "date-time"},
        "tags": {"type": "object", "additionalProperties": _TEXT},
        "modalities": _list(_TEXT),
        "models": {"type": "object", "additionalProperties": _TEXT},
        "channels": _list(_OF_ITEM),
        "alerts": _WHOLE,
    }
)
_COLUMN = _list(_MAYBE_NUMBER)
_CHANNEL = _object(
    {
        "channel": _TEXT,
        "role": _MAYBE_TEXT,
        "modality": _TEXT,
        "model": _MAYBE_TEXT,
        "model_version": _MAYBE_TEXT,
        "start_ms": _list(_WHOLE),
        **{f"{name}{end}": _COLUMN for name in ("valence", "arousal", "dominance") for end in ("", "_std")},
        "activity": _list(_MAYBE_TEXT),
        "loudness_lufs": _COLUMN,
        "reason": _list(_MAYBE_TEXT),
        "emotion_scores": {"type": "object", "additionalProperties": _COLUMN},
    }
)
SCHEMAS: dict[str, Schema] = {
    "Problem": _object(
        {
            "type": _TEXT,
            "title": _TEXT,
            "status": _WHOLE,
            "detail": _TEXT,
            "instance": _TEXT,
            "what_to_do": _TEXT,
        }
    ),
    "Media": _object({"items": _list(_ITEM), "next": _MAYBE_TEXT, "total": _WHOLE, "version": _TEXT}),
    "Curve": _object({**_KEY, "duration_ms": _WHOLE, "step_ms": _WHOLE, "channels": _list(_CHANNEL)}),
    "Episodes": _object({**_KEY, "episodes": _list(_ROW)}),
    "Summaries": _object({**_KEY, "summaries": _list(_ROW)}),
    "Alerts": _object({"alerts": _list(_ROW), "next": _MAYBE_TEXT}),
    "Analysis": {"type": "object", "description": "All rows of one media, or the shape that was asked for."},
    "Models": _object({"models": _list(_ROW)}),
}
_PROBLEMS = {
    400: "What is wrong with the request, and what to do",
    401: "A key is needed",
    403: "The key has not this scope",
    404: "There is no such thing",
    406: "Not in that form",
    408: "The body came too slowly",
    413: "The body is too large",
    414: "The address is too long",
    429: "Too many requests",
    503: "Not now",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route may refuse with, for its `responses`."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _PROBLEMS[status], "content": content} for status in statuses}


def described(name: str, arrow: bool = False, more: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a route that answers with a schema of ours tells FastAPI.

    Args:
        name: of `SCHEMAS`.
        arrow: whether it can give Arrow, too.
        more: other media types that it can give.
    """
    content: dict[str, Any] = {JSON: {"schema": {"$ref": f"#/components/schemas/{name}"}}}
    binary = {"schema": {"type": "string", "format": "binary"}}
    content |= dict.fromkeys((*([ARROW] if arrow else []), *more), binary)
    responses: dict[int | str, dict[str, Any]] = {
        200: {"description": "Found", "content": content},
        304: {"description": "The client has it already (If-None-Match)"},
        **problems(400, 401, 403, 404, 406, 429, 503),
    }
    return {"responses": responses, "response_model": None}


def install(app: FastAPI) -> None:
    """Make OpenAPI say what is so: our schemas are in it, and what is wrong is 400, never 422."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            told = plain()
            told.setdefault("components", {}).setdefault("schemas", {}).update(SCHEMAS)
            for path in told["paths"].values():
                for operation in path.values():
                    _mend(operation)
            for name in ("HTTPValidationError", "ValidationError"):
                told["components"]["schemas"].pop(name, None)
            app.openapi_schema = told
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _mend(operation: dict[str, Any]) -> None:
    """Add what the gate answers before any route does."""
    responses = operation["responses"]
    responses.pop("422", None)
    before = (400, 408, 413, 414, 429, 503) if "requestBody" in operation else (400, 414, 429, 503)
    for status, told in problems(*before).items():
        responses.setdefault(str(status), told)
