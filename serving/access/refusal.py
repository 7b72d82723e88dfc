"""What somebody hears who is not let in: problem+json (RFC 9457), with what to do about it."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response
from starlette.websockets import WebSocket

MEDIA_TYPE = "application/problem+json"


class RefusedError(Exception):
    """A request that goes no further.

    Args:
        status: of HTTP.
        detail: what is wrong, without what the asker sent.
        what_to_do: what would help.
        headers: such as `Retry-After`.
    """

    def __init__(
        self, status: int, detail: str, what_to_do: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.what_to_do = status, detail, what_to_do
        self.headers = dict(headers or {})

    def body(self, instance: str = "") -> dict[str, Any]:
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "what_to_do": self.what_to_do,
        }

    def response(self, instance: str = "") -> Response:
        content = orjson.dumps(self.body(instance))
        return Response(content, self.status, self.headers, MEDIA_TYPE)


async def answer(connection: Any, refusal: Exception) -> Any:
    """The exception handler: a response, or a WebSocket denied with one."""
    if not isinstance(refusal, RefusedError):
        raise refusal
    response = refusal.response(connection.url.path)
    if isinstance(connection, WebSocket):
        await connection.send_denial_response(response)
        return None
    return response
