"""A service of made-up data in the shapes of the real one: to look at the page, and see how it bears much.

    python -m infra.page_service --port 8090 --tracks 10000 --calls 500

Curves are sums of a few sines and noise by seed; calls tell two rows a second of two sides and ring now and
then, through the board and the events of the real service. What is measured or tested of the service itself
is never measured or tested here.
"""

import argparse
import asyncio
import contextlib
import io
import itertools
import json
import math
import random
import threading
import time
import wave
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.middleware.gzip import GZipMiddleware

from moodstream.serving.access.gate import HEADERS
from moodstream.serving.api.page import Page
from moodstream.serving.live.board import Board
from moodstream.serving.live.events import Events

STEP_MS = 500
WORDS = ("River", "Stone", "Amber", "Hollow", "Night", "Paper", "Slow", "Field", "Winter", "Signal", "Copper")
HOSTILE = '<img src=x onerror="document.title=1">.mp3'


def media(index: int) -> dict[str, Any]:
    """The item of one track, always the same."""
    draw = random.Random(index)
    valence, arousal = draw.uniform(-0.7, 0.7), draw.uniform(-0.7, 0.7)
    quadrant = ("Q4", "Q1")[arousal > 0] if valence > 0 else ("Q3", "Q2")[arousal > 0]
    title = f"{draw.choice(WORDS)} {draw.choice(WORDS).lower()} {index}"
    duration_ms = draw.randrange(60_000, 400_000)
    media_id, kind = f"album {index // 12}/{index:05d}.mp3", "audio"
    if index == 4:
        duration_ms = 3 * 3_600_000
    if index == 1:
        media_id = title = HOSTILE
    if index == 2:
        media_id, title, kind, duration_ms = "calls/parcel.flac", "", "call", 90_000
    side = {"modality": "fused", "profile": "wave", "estimated_share": 0.9}
    known = {"valence_mean": valence, "arousal_mean": arousal, "emotion": quadrant, "quadrant": quadrant}
    channels = [{"channel": "mix", "role": None, **side, **known}]
    if kind == "call":
        nothing = dict.fromkeys(("valence_mean", "arousal_mean", "emotion", "quadrant"))
        channels = [
            {"channel": "agent", "role": "agent", **side, **nothing},
            {"channel": "customer", "role": "customer", **side, **known, "emotion": "anger"},
        ]
    at = np.linspace(0, 1, 32)
    return {
        "media_id": media_id,
        "take": 0,
        "kind": kind,
        "title": title or None,
        "artist": f"The {draw.choice(WORDS)}s" if kind == "audio" else None,
        "duration_ms": duration_ms,
        "analyzed_at": "2026-11-21T12:00:00Z",
        "tags": {},
        "modalities": ["fused", "music", "speech"] if kind == "audio" else ["speech"],
        "models": {"music": "2.0", "speech": "1.0"},
        "channels": channels,
        "alerts": int(kind == "call"),
        "sparkline": {
            name: [round(float(x), 3) for x in np.clip(mean + 0.25 * np.sin(6 * at * (k + 1) + index), -1, 1)]
            for k, (name, mean) in enumerate((("valence", valence), ("arousal", arousal)))
        },
    }


def curve(item: dict[str, Any], channel: dict[str, Any], modality: str, step_ms: int) -> dict[str, Any]:
    """The columns of one channel, of the whole; the sixth part of it is silent."""
    n = math.ceil(item["duration_ms"] / step_ms)
    draw = np.random.default_rng(len(item["media_id"]) + n)
    seconds = np.arange(n) * step_ms / 1000
    silent = (seconds % 60 > 50) | (np.full(n, channel["role"] == "agent"))
    columns: dict[str, list[Any]] = {}
    for name, period in (("valence", 45.0), ("arousal", 27.0)):
        level = channel[f"{name}_mean"] or 0.0
        values = np.clip(level + 0.3 * np.sin(seconds / period * 6) + draw.normal(0, 0.03, n), -1, 1)
        columns[name] = [None if q else round(float(v), 4) for v, q in zip(values, silent, strict=True)]
        columns[f"{name}_std"] = [None if q else 0.18 for q in silent]
    reason = "role" if channel["role"] == "agent" else "silence"
    heard = "speech" if item["kind"] == "call" else "music"
    loud = -20 + 6 * np.sin(seconds) + draw.normal(0, 2, n)
    spoken = (seconds % 60 <= 50) if channel["role"] != "agent" else (seconds % 17 > 6)
    return {
        **{name: channel[name] for name in ("channel", "role")},
        "modality": modality or channel["modality"],
        "model": "music",
        "model_version": "2.0",
        "start_ms": [i * step_ms for i in range(n)],
        **columns,
        "dominance": [None] * n,
        "dominance_std": [None] * n,
        "activity": [heard if s else "silence" for s in spoken],
        "loudness_lufs": [round(float(v), 1) if s else -60.0 for v, s in zip(loud, spoken, strict=True)],
        "reason": [reason if q else None for q in silent],
        "emotion_scores": {},
    }


def episodes(item: dict[str, Any]) -> list[dict[str, Any]]:
    """One every 40 s, of the channel that has emotions."""
    channel = item["channels"][-1]
    words = (
        ("neutral", "anger", "sadness", "happiness") if item["kind"] == "call" else ("Q1", "Q4", "Q2", "Q3")
    )
    return [
        {
            "media_id": item["media_id"], "take": 0, "channel": channel["channel"],
            "modality": channel["modality"], "episode": k, "start_ms": at,
            "end_ms": min(at + 40_000, item["duration_ms"]), "emotion": words[k % 4],
            "confidence": 0.5 + 0.1 * (k % 5), "valence_mean": 0.1, "arousal_mean": 0.2,
        }
        for k, at in enumerate(range(0, item["duration_ms"], 40_000))
    ]  # fmt: skip


def tone(seconds: float, rate_hz: int = 8000) -> bytes:
    """A quiet tone as a wav file."""
    out = io.BytesIO()
    samples = np.sin(np.arange(int(seconds * rate_hz)) * 2 * np.pi * 330 / rate_hz) * 3000
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())
    return out.getvalue()


def rows(call: int, second: float) -> list[dict[str, Any]]:
    """What one call tells of one half second: curve rows of its two sides."""
    start_ms = int(second * 1000) // STEP_MS * STEP_MS
    angry = math.sin(second / 30 + call)
    common = {
        "media_id": f"call-{call:03d}", "take": 0, "schema_version": 1, "analysis_id": "",
        "modality": "speech", "start_ms": start_ms, "end_ms": start_ms + STEP_MS, "model": "speech",
        "model_version": "1.0", "revision": 1, "is_final": True, "event_time": None,
        "emotions_for": "customer",
    }  # fmt: skip
    estimate = {
        "valence": -0.5 * angry, "valence_std": 0.2, "arousal": 0.5 * angry + 0.1 * math.sin(second * 2),
        "arousal_std": 0.15, "dominance": None,
    }  # fmt: skip
    nothing = dict.fromkeys(estimate)
    talks = int(second / 7 + call) % 2 == 0
    return [
        {**common, "channel": "customer", "role": "customer", **(estimate if talks else nothing),
         "activity": "speech" if talks else "silence", "loudness_lufs": -24.0 if talks else -60.0,
         "reason": None if talks else "silence"},
        {**common, "channel": "agent", "role": "agent", **nothing,
         "activity": "silence" if talks else "speech",
         "loudness_lufs": -60.0 if talks else -22.0 + 4 * math.sin(second * 3), "reason": "role"},
    ]  # fmt: skip


def alert(call: int, start_ms: int) -> dict[str, Any]:
    """A rule that came true in a call."""
    return {
        **rows(call, start_ms / 1000)[0], "rule": "angry customer", "severity": "critical", "value": 0.7,
        "threshold": 0.5, "evidence": "anger above 0.5 for 4 s", "end_ms": start_ms + 4_000,
    }  # fmt: skip


class Calls:
    """Calls that never end, on a board of the real service."""

    def __init__(self, number: int) -> None:
        self.number, self.events, self.begun_s = number, Events(Board()), time.monotonic() - 70

    def ring(self, call: int, start_ms: int) -> None:
        """Let one call have an alert."""
        with self.events.lock:
            self.events.board.put("alert", [alert(call, start_ms)], time.monotonic())
        self.events.stir()

    async def run(self) -> None:
        """Two rows a second and side of each call, a few calls at a time, for ever."""
        told = {call: int(2 * (60 - call % 40)) for call in range(self.number)}  # half seconds
        for call in range(3, self.number, 97):
            self.ring(call, 61_000)
        while True:
            now_s = time.monotonic()
            for call, cell in told.items():
                until = int(2 * (now_s - self.begun_s + call % 2 / 4))
                fresh = [row for c in range(cell, until) for row in rows(call, c / 2)]
                if fresh:
                    with self.events.lock:
                        self.events.board.put("curve", fresh, now_s)
                    told[call] = until
            self.events.stir()
            await asyncio.sleep(0.1)


def build(tracks: int = 200, calls: int = 12, key: str = "") -> FastAPI:
    """The application.

    Args:
        tracks: how many the catalogue holds.
        calls: how many run; 0: no broker.
        key: what the page has to send to be let in; empty: nothing.
    """
    items = [media(i) for i in range(tracks)]
    by_id = {item["media_id"]: item for item in items}
    running = Calls(calls)

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        tasks = (
            [asyncio.create_task(running.events.run()), asyncio.create_task(running.run())] if calls else []
        )
        yield
        for task in tasks:
            task.cancel()

    app = FastAPI(lifespan=life)
    app.state.calls, app.state.heard = running, []
    app.add_middleware(GZipMiddleware, minimum_size=500)

    @app.middleware("http")
    async def guard(request: Request, handle: Any) -> Response:
        wants = key and request.url.path.startswith("/v1/") and request.url.path != "/v1/session"
        if wants and request.cookies.get("key") != key:
            response: Response = problem(401, "Who is there?", "Log in with a key")
        else:
            response = await handle(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    def problem(status: int, title: str, todo: str = "") -> JSONResponse:
        body = {"status": status, "title": title, "detail": "", "what_to_do": todo}
        return JSONResponse(body, status, media_type="application/problem+json")

    @app.post("/v1/session")
    async def enter(request: Request) -> Response:
        if (await request.json()).get("key") != key:
            return problem(401, "That key is not known", "Ask whoever runs the service")
        response = JSONResponse({"name": "somebody"})
        response.set_cookie("key", key, httponly=True, samesite="strict")
        return response

    @app.get("/v1/me")
    def me() -> Any:
        return {
            "name": "somebody" if key else "anyone", "scopes": ["read", "live"], "emotions_for": "customer",
            "live": calls > 0, "microphone": True, "lake": "1",
        }  # fmt: skip

    @app.get("/v1/media")
    def catalogue(request: Request) -> Any:
        asked = request.query_params
        if "media" in asked:
            found = by_id.get(asked["media"])
            return {"items": [found], "total": 1} if found else problem(404, "No such media", "See /v1/media")
        chosen = [item for item in items if fits(item, asked)]
        sort = asked.get("sort", "media_id")
        name = sort.lstrip("-")

        def value(item: dict[str, Any]) -> Any:
            return item[name] if name in item else item["channels"][-1][name]

        chosen.sort(key=value, reverse=sort[0] == "-")
        start, limit = int(asked.get("cursor") or 0), int(asked.get("limit") or 100)
        more = str(start + limit) if start + limit < len(chosen) else None
        return {"items": chosen[start : start + limit], "next": more, "total": len(chosen), "version": "1"}

    def fits(item: dict[str, Any], asked: Any) -> bool:
        best = item["channels"][-1]
        return (
            asked.get("q", "").lower() in f"{item['title']} {item['artist']} {item['media_id']}".lower()
            and asked.get("kind", item["kind"]) == item["kind"]
            and asked.get("emotion", best["emotion"]) == best["emotion"]
            and asked.get("quadrant", best["quadrant"]) == best["quadrant"]
            and best["valence_mean"] >= float(asked.get("min_valence") or -1)
            and best["arousal_mean"] >= float(asked.get("min_arousal") or -1)
        )

    @app.get("/v1/curve")
    def curves(
        media: str, modality: str = "", step_ms: int = STEP_MS, from_ms: int = 0, to_ms: int = 1 << 60
    ) -> Any:
        item = by_id[media]
        channels = [curve(item, channel, modality, step_ms) for channel in item["channels"]]
        for channel in channels:
            wanted = [from_ms <= at < to_ms for at in channel["start_ms"]]
            for name in [name for name, column in channel.items() if isinstance(column, list)]:
                channel[name] = list(itertools.compress(channel[name], wanted))
        app.state.steps = step_ms, from_ms, to_ms
        return {
            "media_id": media, "take": 0, "duration_ms": item["duration_ms"], "step_ms": step_ms,
            "channels": channels,
        }  # fmt: skip

    @app.get("/v1/episodes")
    def some_episodes(media: str) -> Any:
        return {"media_id": media, "take": 0, "episodes": episodes(by_id[media])}

    @app.get("/v1/summary")
    def summary(media: str) -> Any:
        shares = {"Q1": 0.5, "Q4": 0.3, "Q2": 0.2}
        rest = {
            "moods": ["tender", "balanced"],
            "dynamics": "gentle",
            "emotion_shares": shares,
            "loudness_lufs_mean": -18.2,
        }
        return {
            "summaries": [{**channel, **rest, "valence_slope": 0.2} for channel in by_id[media]["channels"]]
        }

    @app.get("/v1/alerts")
    def alerts(media: str = "") -> Any:
        found = by_id.get(media)
        rung = [alert(0, 31_000) | {"media_id": media}] if found and found["kind"] == "call" else []
        return {"alerts": rung, "next": None}

    @app.get("/v1/sound")
    def sound(request: Request, media: str) -> Response:
        item = by_id[media]
        if item["media_id"] == HOSTILE:
            return problem(404, "Its file is not here", "Start with --media-root")
        data = tone(min(item["duration_ms"] / 1000, 600))
        start, _, end = request.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")
        first, last = int(start), min(int(end or len(data) - 1), len(data) - 1)
        headers = {"Content-Range": f"bytes {first}-{last}/{len(data)}", "Accept-Ranges": "bytes"}
        return Response(data[first : last + 1], 206, headers, "audio/wav")

    @app.post("/v1/search")
    async def search(request: Request) -> Any:
        body = await request.json()
        app.state.asked = body
        found = []
        for k, item in enumerate(items[: body.get("limit", 30)]):
            best = item["channels"][-1]
            found.append({
                **{n: item[n] for n in ("media_id", "take", "title", "artist", "duration_ms", "sparkline")},
                "channel": best["channel"], "modality": best["modality"], "emotion": best["emotion"],
                "score": 1 - k / 100, "distance": k / 100, "why": f"distance {k / 100:.2f} to what was asked",
            })  # fmt: skip
        return {"items": found, "took_ms": 4.2, "index": {"tracks": len(items), "version": "1"}}

    @app.get("/v1/models")
    def models() -> Any:
        metrics = {f"measure {i}": [0.7, 0.65, 0.75] for i in range(12)}
        card = {
            "name": "speech", "version": "1.0", "task": "speech", "labels": ["neutral"], "dimensions": [],
            "lookahead_s": 2.8, "past_s": 8.5, "corpora": {"ravdess": "CC BY-NC-SA 4.0"}, "folds": "5 folds",
            "metrics": metrics, "limits": ["acted speech"], "licence": "research only", "cross": {},
        }  # fmt: skip
        return {"models": [card, card | {"name": "music"}]}

    @app.get("/v1/live")
    async def live(request: Request, media: str | None = None) -> Response:
        last = request.headers.get("last-event-id")
        stream = running.events.follow(media, int(last) if last else None)
        return StreamingResponse(stream, media_type="text/event-stream")

    @app.websocket("/v1/microphone")
    async def microphone(socket: WebSocket, content_type: str) -> None:
        await socket.accept()
        heard = said = 0
        app.state.sound = b""
        rate_hz = int(content_type.split("rate=")[1].split(";")[0])
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    break
                heard += len(message.get("bytes") or b"") // 2
                app.state.sound += message.get("bytes") or b""
                app.state.heard = [rate_hz, heard]
                until = int(2 * heard / rate_hz)
                told = [
                    [k * 500, 0.3, 0.2, 0.2, 0.2, "speech", -25.0, None, True] for k in range(said, until)
                ]
                said = until
                if told:
                    channel = {"channel": "mix", "role": None, "modality": "speech", "rows": told}
                    call = {
                        "media_id": "microphone",
                        "take": 0,
                        "position_ms": until * 500,
                        "channels": [channel],
                    }
                    await socket.send_text(json.dumps({"at": "", "calls": [call]}))
                if message.get("text"):
                    await socket.close(1000)
                    break

    app.router.default = Page()
    return app


@contextlib.contextmanager
def serving(app: FastAPI, port: int = 0) -> Any:
    """An application on loopback in a thread, as its address."""
    config = uvicorn.Config(app, "127.0.0.1", port, log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 60
    while not server.started and thread.is_alive() and time.monotonic() < until:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(20)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--tracks", type=int, default=10_000)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--key", default="")
    args = parser.parse_args()
    with (
        serving(build(args.tracks, args.calls, args.key), args.port) as address,
        contextlib.suppress(KeyboardInterrupt),
    ):
        print(address)
        threading.Event().wait()


if __name__ == "__main__":
    main()
