"""Stopping a run: Ctrl-C, SIGTERM, and what a run must not leave behind.

A store is whole at any moment, so a run may end anywhere. In one process it ends by `KeyboardInterrupt`,
which Beam may wrap in something else. With worker processes Beam waits for them whatever is raised, and may
never come back to Python to hear of a signal: the program leaves at once, and workers end when they lose it.
It leaves too when one of them dies, for which Beam would wait for ever.
"""

import contextlib
import logging
import os
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

EXIT_ERROR, EXIT_INTERRUPTED = 1, 130
WORKER_DIED = (
    "moodstream: a worker process died, most likely for want of memory. Take fewer --workers; "
    "the same command goes on where it stopped."
)
GRACE_S = 10.0  # how long a stopped run may take to end by itself
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ENDED = b"\0"


@contextlib.contextmanager
def stoppable(scratch: Path, message: str, at_once: bool) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the block; a second one, or a while without effect, ends the program.

    Args:
        scratch: removed when the program has to leave from within the block.
        message: said then.
        at_once: leave at the first signal.

    Raises:
        KeyboardInterrupt: it was stopped, whatever came out of the block.
    """
    stopped = False
    screen = os.dup(2)
    heard, told = os.pipe()  # signals arrive here at once, whatever the main thread is waiting for
    os.set_blocking(told, False)

    def leave(status: int = EXIT_INTERRUPTED, said: str = message) -> None:
        os.write(screen, f"\n{said}\n".encode())
        for _ in range(20):  # workers may write there until they notice
            shutil.rmtree(scratch, ignore_errors=True)
            if not scratch.exists():
                break
            time.sleep(0.1)
        os._exit(status)

    def mourn(what: threading.ExceptHookArgs) -> None:
        if at_once and what.thread is not None and what.thread.name == "run_worker":
            leave(EXIT_ERROR, WORKER_DIED)
        threading.__excepthook__(what)

    def watch() -> None:
        if os.read(heard, 1) == _ENDED:
            return
        if not at_once and select.select([heard], [], [], GRACE_S)[0] and os.read(heard, 1) == _ENDED:
            return
        leave()

    def stop(number: int, frame: object) -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            logging.disable(logging.CRITICAL)  # an interrupted step is no error
            raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    hook, threading.excepthook = threading.excepthook, mourn
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    watcher = threading.Thread(target=watch, name="signals", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        threading.excepthook = hook
        for number, handler in before.items():
            signal.signal(number, handler)
        os.write(told, _ENDED)
        watcher.join()
        for descriptor in (screen, heard, told):
            os.close(descriptor)
        if stopped:
            logging.disable(logging.NOTSET)
            raise KeyboardInterrupt from None


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """One folder for all temporary files of the block, this program's and its libraries'."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="moodstream-", ignore_cleanup_errors=True) as folder:
        tempfile.tempdir = folder
        try:
            yield Path(folder)
        finally:
            tempfile.tempdir = before


@contextlib.contextmanager
def own_screen(log: Path | None) -> Iterator[TextIO]:
    """Standard error for this program alone: what other writers say there goes to a file.

    Worker processes inherit standard error and log to it as they start and stop, across a progress bar.

    Args:
        log: the file; None leaves everything as it is.

    Yields:
        What still reaches the terminal.
    """
    if log is None:
        yield sys.stderr
        return
    sys.stderr.flush()
    screen = os.dup(2)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        with os.fdopen(os.dup(screen), "w", errors="replace") as out:
            yield out
    finally:
        sys.stderr.flush()
        os.dup2(screen, 2)
        os.close(screen)
