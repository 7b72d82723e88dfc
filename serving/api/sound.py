"""`/v1/sound`: a media's file, whole or a range of it; of a MIDI file, its notes played by plain tones."""

import asyncio
import hashlib
import os
import re
import secrets
from pathlib import Path
from typing import IO, Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from moodstream.pipelines.player import tones
from moodstream.serving.access.audit import audit
from moodstream.serving.access.guard import require
from moodstream.serving.access.principal import Principal
from moodstream.serving.api.documented import problems
from moodstream.serving.api.media import store_of
from moodstream.serving.api.parameters import OfMedia
from moodstream.serving.api.problems import Problem
from moodstream.serving.api.roots import find
from moodstream.serving.api.work import run
from moodstream.serving.config import ServeConfig
from moodstream.transforms.errors import MediaError
from moodstream.transforms.read import MIDI, VIDEO

router = APIRouter(prefix="/v1", tags=["media"])
_CHUNK = 128 << 10
_KEPT_BYTES = 256 << 20  # of played notes
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_KINDS = {
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "flac": "audio/flac",
    **dict.fromkeys(("ogg", "oga", "opus"), "audio/ogg"),
    **dict.fromkeys(("m4a", "m4b"), "audio/mp4"),
    "aac": "audio/aac",
    "weba": "audio/webm",
    **dict.fromkeys(("mp4", "m4v"), "video/mp4"),
    "webm": "video/webm",
    "mkv": "video/x-matroska",
    "mov": "video/quicktime",
}
_OK: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {"audio/*": {"schema": {"type": "string", "format": "binary"}}}}
    for status, text in ((200, "The file"), (206, "A range of it"))
}
_RESPONSES = {
    **_OK,
    304: {"description": "The client has it already"},
    416: {"description": "The range lies outside of the file"},
    **problems(400, 401, 403, 404, 429, 503),
}


class FileRange(Response):
    """A file, or the range of it that was asked for. Several ranges at once are answered by all of it.

    Args:
        file: is closed when it was sent, or cannot be any more.
        kind: its media type.
        request: says what is wanted.
    """

    def __init__(self, file: IO[bytes], kind: str, request: Request) -> None:
        self._file = file
        about = os.fstat(file.fileno())
        self._size = about.st_size
        tag = f'"{about.st_ino:x}-{about.st_mtime_ns:x}-{self._size:x}"'
        headers = {"Accept-Ranges": "bytes", "ETag": tag, "Cache-Control": "private, no-cache"}
        self._first, self._end, status = 0, self._size, 200
        if tag in request.headers.get("if-none-match", ""):
            self._end, status = 0, 304
        elif request.headers.get("if-range", tag) == tag:
            wanted = _wanted(request.headers.get("range", ""), self._size)
            if wanted is not None:
                self._first, self._end = wanted
                status = 206 if self._first < self._end else 416
                shown = f"{self._first}-{self._end - 1}" if status == 206 else "*"
                headers["Content-Range"] = f"bytes {shown}/{self._size}"
        super().__init__(None, status, headers, kind)
        self.headers["Content-Length"] = str(self._end - self._first)
        self._silent = request.method == "HEAD"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file:
            start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            await send(start)
            at = self._end if self._silent else self._first
            while at < self._end:
                number, count = self._file.fileno(), min(_CHUNK, self._end - at)
                content = await asyncio.to_thread(os.pread, number, count, at)
                if not content:  # it has become shorter
                    break
                at += len(content)
                await send({"type": "http.response.body", "body": content, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


def _wanted(text: str, size: int) -> tuple[int, int] | None:
    """First byte and end of a range; an empty one if it lies outside; None if it is none that we know."""
    found = _RANGE.fullmatch(text.strip())
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    end = min(int(last) + 1, size) if last else size
    if last and int(last) < int(first):
        return None
    return (int(first), end) if int(first) < size else (0, 0)


@router.head("/sound", include_in_schema=False)
@router.get("/sound", summary="The sound of a media", responses=_RESPONSES, response_model=None)
async def sound(
    request: Request, asked: Annotated[OfMedia, Query()], who: Annotated[Principal, Depends(require("read"))]
) -> Response:
    """The file that was analysed, if it lies under a folder given by --media-root; ranges as players ask."""
    config: ServeConfig = request.app.state.config
    store = store_of(request)

    def work() -> Response:
        with store.media(asked.media, asked.take) as opened:
            [row] = orjson.loads(opened.rows("media"))
        audit(request, who, "sound", [row["media_id"]])
        found = find(config.media_roots, [row["source"], *row["sources"]], row["media_id"])
        if found is None:
            raise _unheard(config)
        file, path = found
        extension = path.suffix[1:].lower()
        if extension in MIDI:
            with file:
                file = _played(path, row["duration_ms"] / 1000, config.cache_folder / "sound")
            extension = "mp3"
        default = "video/mp4" if extension in VIDEO else "audio/mpeg"
        return FileRange(file, _KINDS.get(extension, default), request)

    return await run(request, work)


def _unheard(config: ServeConfig) -> Problem:
    if not config.media_roots:
        todo = "Start the service with --media-root DIR, the folder that holds the media."
        return Problem(404, "No sound here", "the service was given no folder of media", todo)
    todo = "Whoever runs this service can name the folder of the files with another --media-root."
    return Problem(404, "No sound here", "its file is not under the folders that may be played", todo)


def _played(path: Path, duration_s: float, folder: Path) -> IO[bytes]:
    """The notes of a MIDI file as mp3: made once, kept in a folder, the oldest thrown away.

    Raises:
        Problem: it cannot be played.
    """
    about = path.stat()
    what = f"{path} {about.st_mtime_ns} {about.st_size}"
    kept = folder / f"{hashlib.sha256(what.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.mp3"
    if not kept.is_file():
        try:
            content = tones(path, duration_s)
        except MediaError as error:
            raise Problem(
                404, "No sound here", str(error), "There is nothing to play in this file."
            ) from error
        if content is None:
            raise Problem(404, "No sound here", "too long to be played by plain tones", "Play it elsewhere.")
        folder.mkdir(parents=True, exist_ok=True)
        made = kept.with_name(f".{secrets.token_hex(8)}")
        made.write_bytes(content)
        made.replace(kept)
        _forget_oldest(folder)
    return kept.open("rb")


def _forget_oldest(folder: Path) -> None:
    files = sorted(folder.glob("*.mp3"), key=lambda file: -file.stat().st_mtime_ns)
    total = 0
    for i, file in enumerate(files):
        total += file.stat().st_size
        if i and total > _KEPT_BYTES:
            file.unlink(missing_ok=True)
