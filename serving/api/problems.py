"""Errors as people and programs can read them: `application/problem+json`, with what to do.

Source: RFC 9457, Problem Details for HTTP APIs.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from moodstream.serving.api.naming import unknown_names
from moodstream.serving.store.store import NotThereError
from moodstream.transforms.errors import MissingExtraError, StoreError, UsageError

MEDIA_TYPE = "application/problem+json"
_TITLES = {
    400: "The request cannot be understood",
    401: "A key is needed",
    403: "Not allowed",
    404: "There is no such thing",
    405: "Not that way",
    406: "Not in that form",
    413: "Too large",
    416: "Outside of the file",
    422: "The request cannot be understood",
    429: "Too many requests",
    500: "A mistake of ours",
    503: "Not now",
}


class Problem(Exception):  # noqa: N818 (what it becomes is called so)
    """An answer that says what went wrong and what to do about it.

    Args:
        status: of HTTP.
        title: the kind of problem in a few words, the same each time.
        detail: this case.
        what_to_do: what the caller can do now.
        headers: more of them, e.g. `Retry-After`.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str = "",
        what_to_do: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {title}: {detail}")
        self.status, self.title, self.detail, self.what_to_do = status, title, detail, what_to_do
        self.headers = dict(headers or {})

    def response(self, instance: str) -> Response:
        """The answer.

        Args:
            instance: what was asked for, a path with its query.
        """
        told = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "what_to_do": self.what_to_do,
        }
        headers = {"Cache-Control": "no-store", **self.headers}
        return Response(orjson.dumps(told), self.status, headers, MEDIA_TYPE)


def instance(request: Request) -> str:
    """What was asked for, at most 500 characters of it."""
    query = f"?{request.url.query}" if request.url.query else ""
    return f"{request.url.path}{query}"[:500]


def install(app: FastAPI) -> None:
    """Make all that can go wrong in a handler a problem."""

    async def problem(request: Request, error: Exception) -> Response:
        return _problem(error, request).response(instance(request))

    for kind in (Problem, HTTPException, RequestValidationError, UsageError, StoreError):
        app.add_exception_handler(kind, problem)
    app.add_exception_handler(500, problem)


def _problem(error: Exception, request: Request) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        return _invalid(error, request)
    if isinstance(error, HTTPException):
        title = _TITLES.get(error.status_code, "It did not work")
        todo = "What there is: /openapi.json" if error.status_code in (404, 405) else ""
        return Problem(error.status_code, title, str(error.detail), todo, error.headers)
    if isinstance(error, NotThereError):
        return Problem(404, _TITLES[404], str(error), "GET /v1/media?q=WORDS finds what there is.")
    if isinstance(error, MissingExtraError):
        return Problem(501, "Not installed here", str(error), "Ask whoever runs this service to install it.")
    if isinstance(error, UsageError):
        return Problem(400, _TITLES[400], str(error), "Change the request as the detail says.")
    if isinstance(error, StoreError):
        return Problem(503, "The lake cannot be read", str(error), "Try again; the operator's log has more.")
    return Problem(500, _TITLES[500], "", "Try again; if it stays, tell whoever runs this service.")


def _invalid(error: RequestValidationError, request: Request) -> Problem:
    """What is wrong with the parameters or the body, each with its place."""
    found: list[dict[str, Any]] = list(error.errors())
    unknown = [str(one["loc"][-1]) for one in found if one["type"] == "extra_forbidden"]
    route = request.scope.get("route")
    said = unknown_names(unknown, route) if unknown else []
    for one in found:
        if one["type"] != "extra_forbidden":
            place = ".".join(str(part) for part in one["loc"][1:]) or str(one["loc"][0])
            said.append(f"{place}: {one['msg'].removeprefix('Value error, ')}")
    return Problem(400, _TITLES[400], "; ".join(said), "The parameters and their limits: /openapi.json")
