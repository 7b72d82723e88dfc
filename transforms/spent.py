"""How much time of this process went into which kind of work, for those who operate it.

    with spent("models"):
        ...

costs about a microsecond. The numbers only grow; threads add up.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
KINDS = ("decode", "models")  # bytes to samples; networks and what they hear
_seconds = dict.fromkeys(KINDS, 0.0)


@contextmanager
def spent(on: str) -> Iterator[None]:
    """Count the time of the block.

    Raises:
        KeyError: none of `KINDS`.
    """
    began = time.perf_counter()
    try:
        yield
    finally:
        _seconds[on] += time.perf_counter() - began


def counted(on: str, items: Iterable[T]) -> Iterator[T]:
    """The same items, with the time that it takes to make each of them counted."""
    source = iter(items)
    while True:
        with spent(on):
            try:
                item = next(source)
            except StopIteration:
                return
        yield item


def seconds(on: str) -> float:
    """What was counted so far."""
    return _seconds[on]
