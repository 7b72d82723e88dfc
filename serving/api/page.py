"""The page's files, from memory: with ETag and gzip, looked at again when one changes on disk."""

import gzip
import hashlib
import mimetypes
import threading
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from moodstream.serving.api.problems import Problem, instance

FOLDER = Path(__file__).parent.parent / "page"
_TYPES = {".js": "text/javascript", ".html": "text/html", ".css": "text/css", ".svg": "image/svg+xml"}
_PACKED = {".js", ".html", ".css", ".svg", ".json", ".txt"}


@dataclass(frozen=True)
class _File:
    changed_ns: int
    content: bytes
    packed: bytes | None  # gzipped, where that helps
    tag: str
    kind: str


class Page:
    """An ASGI application over one folder. Names are looked up in a list of what is there: none leads out."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder.resolve()
        self._files: dict[str, _File] = {}
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._answer(Request(scope))(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    def _answer(self, request: Request) -> Response:
        name = request.scope["path"].lstrip("/") or "index.html"
        if request.method not in ("GET", "HEAD"):
            problem = Problem(405, "Not that way", headers={"Allow": "GET, HEAD"})
            return problem.response(instance(request))
        file = self._file(name)
        if file is None:
            problem = Problem(
                404, "There is no such thing", f"{name[:200]!r}", "What there is: /openapi.json"
            )
            return problem.response(instance(request))
        headers = {"ETag": file.tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if file.tag in request.headers.get("if-none-match", ""):
            return Response(None, 304, headers)
        content = file.content
        if file.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
            content = file.packed
            headers["Content-Encoding"] = "gzip"
        return Response(content, 200, headers, file.kind)

    def _file(self, name: str) -> _File | None:
        path = self._folder / name
        known = {str(file.relative_to(self._folder)) for file in self._folder.rglob("*") if file.is_file()}
        if name not in known or path.suffix in (".py", ".pyc"):
            return None
        changed_ns = path.stat().st_mtime_ns
        with self._lock:
            file = self._files.get(name)
            if file is None or file.changed_ns != changed_ns:
                file = self._files[name] = _read(path, changed_ns)
        return file


def _read(path: Path, changed_ns: int) -> _File:
    content = path.read_bytes()
    packed = gzip.compress(content, 9, mtime=0) if path.suffix in _PACKED else None
    tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return _File(changed_ns, content, packed, tag, kind)
