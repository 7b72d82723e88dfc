"""Starts a service on one core and asks it at a given rate, from another core.

Conventions: a request's time begins when it was due, not when a connection was free, so a service that falls
behind shows. Every request says that it takes gzip, as browsers do.
"""

import asyncio
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infra import processor

CONNECTIONS = 32


@dataclass(frozen=True)
class Service:
    """A running one."""

    process: "subprocess.Popen[bytes]"
    port: int

    def cpu_s(self) -> float:
        """Processor time that it has used."""
        return processor.cpu_s(self.process.pid)

    def mib(self) -> float:
        """Memory of its own: what it has mapped of files does not count."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        lines = dict(line.split(":", 1) for line in status.splitlines())
        return int(lines["RssAnon"].split()[0]) / 1024


def cores() -> tuple[set[int], set[int]]:
    """A core for the service, and those for who asks."""
    there = sorted(os.sched_getaffinity(0))
    return {there[0]}, set(there[1:] or there)


@contextmanager
def serving(options: Sequence[str], within_s: float = 3600) -> Iterator[Service]:
    """A service on a core of its own, ready; `options` are those of `moodstream serve`, without a port.

    Raises:
        TimeoutError: it was not ready in time.
    """
    mine, _ = cores()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moodstream.pipelines.cli", "serve", *options, "--port", str(port)]
    process = subprocess.Popen(command, preexec_fn=lambda: os.sched_setaffinity(0, mine))
    try:
        end = time.monotonic() + within_s
        while not _ready(port):
            if process.poll() is not None or time.monotonic() > end:
                raise TimeoutError(f"the service was not ready: {process.poll()}")
            time.sleep(0.5)
        yield Service(process, port)
    finally:
        process.terminate()
        process.wait(30)


def _ready(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(b"GET /ready HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            return connection.recv(100).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


@dataclass(frozen=True)
class Asked:
    """What came of it: milliseconds of each request, and how many failed."""

    ms: "np.ndarray[tuple[int], np.dtype[np.float64]]"
    failed: int
    bytes: int

    def told(self) -> dict[str, float]:
        p50, p95, p99 = np.percentile(self.ms, (50, 95, 99))
        return {
            "requests": len(self.ms),
            "failed": self.failed,
            "p50_ms": round(float(p50), 2),
            "p95_ms": round(float(p95), 2),
            "p99_ms": round(float(p99), 2),
            "max_ms": round(float(self.ms.max()), 2),
            "kib_each": round(self.bytes / len(self.ms) / 1024, 1),
        }


def ask(port: int, paths: Sequence[str], rate: float | None, seed: int = 0) -> Asked:
    """Ask for all paths: at times drawn as those of independent people, or, without a rate, one by one."""
    return asyncio.run(_ask(port, paths, rate, seed))


async def _ask(port: int, paths: Sequence[str], rate: float | None, seed: int) -> Asked:
    pick = random.Random(seed)
    due: asyncio.Queue[tuple[float, str] | None] = asyncio.Queue()
    times: list[float] = []
    failed = size = 0

    async def connection() -> None:
        nonlocal failed, size
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (job := await due.get()) is not None:
            at, path = job
            began = at if rate else time.perf_counter()
            head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept-Encoding: gzip\r\n\r\n"
            writer.write(head.encode())
            status, length = await _read(reader)
            times.append(1000 * (time.perf_counter() - began))
            failed += status != 200
            size += length
        writer.close()

    workers = [asyncio.create_task(connection()) for _ in range(CONNECTIONS if rate else 1)]
    await asyncio.sleep(0.2)
    at = time.perf_counter()
    for path in paths:
        if rate:
            at += pick.expovariate(rate)
            await asyncio.sleep(max(0.0, at - time.perf_counter()))
        due.put_nowait((at, path))
    for _ in workers:
        due.put_nowait(None)
    await asyncio.gather(*workers)
    return Asked(np.array(times), failed, size)


async def _read(reader: asyncio.StreamReader) -> tuple[int, int]:
    """Status and length of an answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    await reader.readexactly(length)
    return int(head.split(b" ", 2)[1]), length
