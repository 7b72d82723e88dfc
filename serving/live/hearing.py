"""Hearing: the WebSocket that takes a microphone's sound and gives its rows.

    /v1/microphone?content_type=audio/L16;rate=16000;channels=1[&one_voice=true]

Binary frames are sound: of L16, PCMU and PCMA cut anywhere, of Opus one packet each, of Ogg and WebM pieces
of the file. The text frame `{"final": true}` ends it. Text frames come back, shaped like the events of
`/v1/live`, with the one call `microphone`; the last one has it in `closed`. Where the models are not there
yet, `{"loading": true, "calls": []}` comes first. What is refused is told as a problem (`status`, `title`,
`detail`, `what_to_do`) before the socket is closed with a code, and the title as the reason.

Conventions: close codes are those of RFC 6455: 1000 it is over, 1003 this type is not taken, 1007 it cannot
be decoded, 1008 it was silent or lasted too long, 1009 too large, 1011 nobody can listen, 1013 too many
listen already.
"""

import asyncio
import json
from typing import Annotated

import orjson
from fastapi import Depends, Query, WebSocket, WebSocketDisconnect

from moodstream.serving.access.audit import audit
from moodstream.serving.access.guard import require
from moodstream.serving.access.principal import Principal
from moodstream.serving.live.events import now
from moodstream.serving.live.microphone import Microphones
from moodstream.serving.live.sound import Refusal, RefusedSoundError, Sound

_TELL_S = 0.1  # between two text frames, at least
_SEND_S = 10.0  # so long a browser may take for one
_FULL_S = 0.05
_SILENT = Refusal(1008, 408, "It was silent", "no frame came for a while", "begin again when there is sound")
_LOADING = orjson.dumps({"loading": True, "calls": []}).decode()
_NO_FRAME = Refusal(
    1003, 415, "This is not understood", "a text frame", 'binary frames, then {"final": true}'
)


async def microphone(
    socket: WebSocket,
    who: Annotated[Principal, Depends(require("live"))],
    content_type: Annotated[str, Query(max_length=200)] = "audio/L16;rate=16000;channels=1",
    one_voice: bool = False,
) -> None:
    """Sound in, rows out, until either side has had enough."""
    microphones: Microphones = socket.app.state.microphones
    audit(socket, who, "microphone", [])
    await socket.accept()
    stirred = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wake() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stirred.set)

    try:
        sound = microphones.open(content_type, wake, one_voice=one_voice)
    except RefusedSoundError as error:
        await _leave(socket, error.refusal)
        return
    if not microphones.loaded:
        await socket.send_text(_LOADING)
    hearing = asyncio.create_task(_hear(socket, microphones, sound))
    telling = asyncio.create_task(_tell(socket, sound, stirred))
    try:
        await asyncio.wait({hearing, telling}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        microphones.drop(sound)
        for task in (hearing, telling):
            task.cancel()
        ends = await asyncio.gather(hearing, telling, return_exceptions=True)
    gone = (WebSocketDisconnect, TimeoutError, asyncio.CancelledError)
    for end in ends:
        if isinstance(end, BaseException) and not isinstance(end, gone):
            raise end
    if not any(isinstance(end, WebSocketDisconnect | TimeoutError) for end in ends):
        refusal = next((end for end in ends if isinstance(end, Refusal)), sound.refusal)
        await _leave(socket, refusal)


async def _hear(socket: WebSocket, microphones: Microphones, sound: Sound) -> Refusal:
    """Take frames; why no more are taken.

    Raises:
        WebSocketDisconnect: whoever sent them has gone.
    """
    while True:
        while sound.is_full:  # what is not read stays with the sender
            await asyncio.sleep(_FULL_S)
        try:
            message = await asyncio.wait_for(
                socket.receive(), None if sound.ending else sound.limits.silent_s
            )
        except TimeoutError:
            return _SILENT
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code") or 1005)
        if sound.ending:
            continue
        if message.get("text") is not None:
            if not _is_final(message["text"]):
                return _NO_FRAME
            microphones.end(sound)
            continue
        try:
            microphones.push(sound, message.get("bytes") or b"")
        except RefusedSoundError as error:
            return error.refusal


def _is_final(text: str) -> bool:
    try:
        said = json.loads(text) if len(text) < 200 else None
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("final") is True


async def _tell(socket: WebSocket, sound: Sound, stirred: asyncio.Event) -> None:
    """Send rows as they come, until there are no more.

    Raises:
        WebSocketDisconnect, TimeoutError: nobody takes them.
    """
    while True:
        await stirred.wait()
        stirred.clear()
        over = sound.over
        with sound.lock:
            changes = sound.board.take()
        if changes:
            async with asyncio.timeout(_SEND_S):
                await socket.send_text(changes.to_json(now()).decode())
        if over:
            return
        await asyncio.sleep(_TELL_S)


async def _leave(socket: WebSocket, refusal: Refusal | None) -> None:
    """Close, and say why if it is not over in a good way."""
    try:
        async with asyncio.timeout(_SEND_S):
            if refusal is None:
                await socket.close(1000)
                return
            told = {
                "type": "about:blank",
                "title": refusal.title,
                "status": refusal.status,
                "detail": refusal.detail,
                "what_to_do": refusal.what_to_do,
            }
            await socket.send_text(orjson.dumps(told).decode())
            await socket.close(refusal.code, refusal.title)
    except (WebSocketDisconnect, TimeoutError, RuntimeError):  # it has gone meanwhile
        return
