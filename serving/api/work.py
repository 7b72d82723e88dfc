"""Work of requests in a bounded number of threads, with an end.

The gate (`access/gate.py`) cancels a request whose time is over or whose client has gone. What its thread is
at is told to stop then (`serving/deadline.py`): a query is interrupted, a loop ends at its next look.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from fastapi import Request

from moodstream.serving.api.problems import Problem
from moodstream.serving.deadline import Job, StoppedError

T = TypeVar("T")
THREADS = max(4, min(8, 2 * (os.cpu_count() or 1)))
WAITING = 512  # requests that may wait for a thread


class Workers:
    """The threads of one service."""

    def __init__(self, threads: int = THREADS) -> None:
        self._pool = ThreadPoolExecutor(threads, "worker")
        self._under_way = 0

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def run(self, work: Callable[[], T]) -> T:
        """Do the work of a request; cancelled, the work is stopped.

        Raises:
            Problem: 503: too many wait.
        """
        if self._under_way >= THREADS + WAITING:
            raise Problem(
                503, "Too much to do", "too many requests wait", "Try again soon.", {"Retry-After": "2"}
            )
        job = Job()

        def doing() -> T:
            with job:
                if job.stopped:
                    raise StoppedError
                return work()

        self._under_way += 1
        going = asyncio.get_running_loop().run_in_executor(self._pool, doing)
        try:
            return await asyncio.shield(going)
        finally:
            self._under_way -= 1
            if not going.done():
                job.stop()
                going.add_done_callback(_look_at)


def _look_at(going: "asyncio.Future[T]") -> None:
    """Look at the end of work that nobody waits for, so that nothing is said about it."""
    if not going.cancelled():
        going.exception()


async def run(request: Request, work: Callable[[], T]) -> T:
    """Do the work of a request in the threads of its service: see `Workers.run`."""
    workers: Workers = request.app.state.workers
    return await workers.run(work)
