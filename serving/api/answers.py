"""Answers: what comes back, in the form that was asked for, tagged, packed, or not at all if it is known.

An entity tag is made of the version of what is served, before anything is read: who has the tag already gets
304 without any work.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow as pa
from fastapi import Request
from fastapi.responses import Response

from moodstream.serving.api.problems import Problem
from moodstream.serving.api.work import run
from moodstream.serving.store.store import Store

JSON, ARROW = "application/json", "application/vnd.apache.arrow.stream"
_PACK_FROM = 1_000  # bytes
_PACKED = ("application/json", "text/", ARROW)


@dataclass(frozen=True)
class Answer:
    """What a handler's work gives."""

    content: bytes
    kind: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


def as_json(value: Any) -> Answer:
    """Anything of which JSON can be made; NaN becomes null."""
    return Answer(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY))


def as_arrow(rows: pa.Table) -> Answer:
    """Rows as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return Answer(sink.getvalue().to_pybytes(), ARROW)


async def answer(request: Request, work: Callable[[], Answer], variant: str = "") -> Response:
    """Do the work in a thread, unless the client has the answer already.

    Args:
        variant: what the answer depends on besides the store's version and the URL.

    Raises:
        Problem: 503, see `Workers.run`, and what the work raises.
    """
    store: Store = request.app.state.store
    asked = request.headers.get("if-none-match", "")
    packs = "gzip" in request.headers.get("accept-encoding", "")

    def doing() -> Response:
        tag = tag_of(request, store.version, variant)
        headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Accept, Accept-Encoding"}
        if asked and (tag in asked or asked.strip() == "*"):
            return Response(None, 304, headers)
        return packed(work(), headers, packs)

    return await run(request, doing)


def packed(found: Answer, headers: Mapping[str, str], packs: bool) -> Response:
    """The response, gzipped where the client takes that and it helps."""
    headers = {**headers, **found.headers}
    content = found.content
    if packs and len(content) >= _PACK_FROM and found.kind.startswith(_PACKED):
        packer = zlib.compressobj(1, wbits=31)
        content = packer.compress(content) + packer.flush()
        headers["Content-Encoding"] = "gzip"
    return Response(content, 200, headers, found.kind)


def tag_of(request: Request, version: str, variant: str = "") -> str:
    """The entity tag: weak, since packed and plain are the same to it."""
    what = f"{request.url.path}?{request.url.query} {request.headers.get('accept', '')} {variant}"
    return f'W/"{version}-{zlib.crc32(what.encode("utf-8", "surrogateescape")):08x}"'


def form(request: Request, offers: Sequence[str]) -> str:
    """The first of our forms that the client likes best.

    Raises:
        Problem: 406: it takes none of them.
    """
    accept = request.headers.get("accept", "*/*").strip() or "*/*"
    liked = {offer: _liking(offer, accept) for offer in offers}
    best = max(offers, key=lambda offer: liked[offer])
    if not liked[best]:
        raise Problem(406, "Not in that form", f"Accept: {accept[:200]}", f"Ask for {' or '.join(offers)}.")
    return best


def _liking(offer: str, accept: str) -> float:
    """The quality that an Accept header gives a form: that of the most precise range it lies in."""
    best = (-1, 0.0)
    for part in accept.split(","):
        name, *settings = (word.strip().lower() for word in part.split(";"))
        precise = (name == offer) * 2 + (name.endswith("/*") and offer.startswith(name[:-1]))
        if precise or name == "*/*":
            best = max(best, (precise, _quality(settings)), key=lambda found: found[0])
    return best[1]


def _quality(settings: Sequence[str]) -> float:
    for setting in settings:
        if setting.startswith("q="):
            try:
                return min(1.0, max(0.0, float(setting[2:])))
            except ValueError:
                return 0.0
    return 1.0
