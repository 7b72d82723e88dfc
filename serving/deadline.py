"""A piece of work that can be told to stop: when its time is over, or when nobody waits for it any more.

    job = Job()                              # where the request is awaited
    with job: ...                            # where it is worked off, in some thread
        check()                              # in long loops: raises StoppedError once it was stopped
        with on_stop(connection.interrupt):  # around a call that another thread can end

Outside of a job `check` does nothing and `on_stop` calls nobody.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from types import TracebackType


class StoppedError(Exception):
    """The work was told to stop."""


class Job:
    """One piece of work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = False
        self._calls: list[Callable[[], object]] = []
        self._token: Token[Job | None] | None = None

    @property
    def stopped(self) -> bool:
        return self._stopped

    def stop(self) -> None:
        """Tell it to stop, from any thread; it may take until its next `check`."""
        with self._lock:
            self._stopped = True
            for call in self._calls:
                call()

    def __enter__(self) -> "Job":
        self._token = _CURRENT.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            _CURRENT.reset(self._token)


_CURRENT: ContextVar[Job | None] = ContextVar("job", default=None)


def check() -> None:
    """End here if the work that this thread is at was stopped.

    Raises:
        StoppedError: it was.
    """
    job = _CURRENT.get()
    if job is not None and job.stopped:
        raise StoppedError


@contextmanager
def on_stop(call: Callable[[], object]) -> Iterator[None]:
    """While inside, `call` is called (from another thread) when the work is stopped.

    Raises:
        StoppedError: it was stopped before.
    """
    job = _CURRENT.get()
    if job is None:
        yield
        return
    with job._lock:
        if job._stopped:
            raise StoppedError
        job._calls.append(call)
    try:
        yield
    finally:
        with job._lock:
            job._calls.remove(call)
