"""Calls that run and browsers that follow them, for `infra/bench_serve_live.py`: each in a process of its
own.

The calls are rows of the `curve` table as the live job commits them, ten transactions a second, each call in
one of five; every second an alert opens. A browser reads events from a socket and takes them apart, as the
page does.

Conventions: a row's time runs from when its commit was asked for until its event was there, by one clock.
"""

import asyncio
import contextlib
import json
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from kafka import KafkaProducer

from moodstream.models.base import EMOTIONS
from moodstream.sinks.cluster import partition_of

PARTITIONS = 8
SLOTS = 5  # of half a second: a fifth of the calls in each
STEP_S = 0.5
MOST_MS = 20_000


def row(media_id: str, step: int, channel: str) -> dict[str, Any]:
    """One half second of a call's side."""
    value = ((step * 37) % 200 - 100) / 100
    return {
        "media_id": media_id,
        "take": 0,
        "schema_version": 1,
        "analysis_id": "packets/3/1234567@1760000000000",
        "channel": channel,
        "role": channel,
        "modality": "speech",
        "start_ms": 500 * step,
        "end_ms": 500 * step + 500,
        "model": "speech",
        "model_version": "4.0.0",
        "revision": 1,
        "is_final": True,
        "event_time": "2026-01-02T03:04:05+00:00",
        "emotions_for": "customer",
        "responsible": None,
        "valence": value,
        "valence_std": 0.171234,
        "arousal": -value / 2,
        "arousal_std": 0.153456,
        "dominance": 0.123456,
        "dominance_std": 0.213456,
        "activity": "speech",
        "loudness_lufs": -23.123456,
        "emotion_scores": dict.fromkeys(EMOTIONS, 0.111111),
        "modalities": ["speech"],
        "reason": None,
    }


def alert(media_id: str, step: int) -> dict[str, Any]:
    """A rule that rings."""
    told = {"rule": "angry", "severity": "critical", "value": 0.7, "threshold": 0.5}
    evidence = {
        "evidence": '{"rule": "anger above 0.5 for 4 s on customer"}',
        "is_final": False,
        "revision": 0,
    }
    common = {name: value for name, value in row(media_id, step, "customer").items() if name in _SPAN}
    return common | told | evidence


_SPAN = (
    *(
        "media_id",
        "take",
        "schema_version",
        "analysis_id",
        "channel",
        "role",
        "modality",
        "start_ms",
        "end_ms",
    ),
    *("model", "model_version", "event_time", "emotions_for", "responsible"),
)


def call(number: int) -> str:
    return f"calls/{number:05d}"


def produce(
    bootstrap: str, prefix: str, calls: int, sides: int, seconds: float, out: Path, ready: Barrier
) -> None:
    """Commit rows at their times; writes when each step of each slot was committed, and how late it began."""
    producer = KafkaProducer(
        bootstrap_servers=bootstrap, transactional_id=f"{prefix}bench", acks="all", linger_ms=0
    )
    producer.init_transactions()
    committed: dict[str, float] = {}
    late_s: list[float] = []
    channels = ("customer", "agent")[:sides]
    ready.wait()
    began_s = time.time()
    for turn in range(int(seconds / STEP_S * SLOTS)):
        step, slot = divmod(turn, SLOTS)
        due_s = began_s + turn * STEP_S / SLOTS
        time.sleep(max(0.0, due_s - time.time()))
        late_s.append(time.time() - due_s)
        producer.begin_transaction()
        for number in range(slot, calls, SLOTS):
            name = call(number)
            place = partition_of(name, PARTITIONS)
            for channel in channels:
                value = orjson.dumps(row(name, step, channel))
                producer.send(f"{prefix}curve", value, partition=place)
        if turn % (2 * SLOTS) == 0:
            name = call(step % calls)
            value = orjson.dumps(alert(name, step))
            producer.send(f"{prefix}alert", value, partition=partition_of(name, PARTITIONS))
        producer.flush()
        committed[f"{slot}/{step}"] = time.time()
        producer.commit_transaction()
    producer.close()
    out.write_text(json.dumps({"committed": committed, "late_s_p95": float(np.percentile(late_s, 95))}))


class Browser:
    """What one browser saw."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, int, int]] = []  # when it came, slot, step
        self.last: dict[tuple[str, str], int] = {}
        self.events = self.rows = self.lost = self.doubled = self.bytes = 0

    def take(self, kind: bytes, data: bytes, now_s: float) -> None:
        told = orjson.loads(data)
        self.events += 1
        self.bytes += len(data)
        places: set[tuple[int, int]] = set()
        for one in told["calls"]:
            slot = int(one["media_id"][-5:]) % SLOTS
            for channel in one["channels"]:
                place = one["media_id"], channel["channel"]
                for cell in channel["rows"]:
                    step = cell[0] // 500
                    before = self.last.get(place)
                    if before is not None and kind == b"rows":
                        self.lost += max(0, step - before - 1)
                        self.doubled += step <= before
                    self.last[place] = step
                    self.rows += 1
                    places.add((slot, step))
        if kind == b"rows":
            self.seen += [(now_s, slot, step) for slot, step in places]

    async def follow(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=64 << 20)
        writer.write(f"GET /v1/live HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head:
            raise RuntimeError(head.decode())
        text = b""
        while True:
            size = int(await reader.readuntil(b"\r\n"), 16)
            text += (await reader.readexactly(size + 2))[:-2]
            now_s = time.time()
            *whole, text = text.split(b"\n\n")
            for event in whole:
                fields = dict(line.split(b": ", 1) for line in event.split(b"\n"))
                if b"data" in fields:
                    self.take(fields[b"event"], fields[b"data"], now_s)


def browse(port: int, browsers: int, seconds: float, out: Path, ready: Barrier) -> None:
    """Follow all calls for a while; writes what came when."""
    found = [Browser() for _ in range(browsers)]

    async def run() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(browser.follow(port) for browser in found))

    ready.wait()
    asyncio.run(run())
    told = [
        {name: getattr(one, name) for name in ("seen", "events", "rows", "lost", "doubled", "bytes")}
        for one in found
    ]
    out.write_bytes(orjson.dumps(told))
