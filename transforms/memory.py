"""Memory that was freed goes back to the system; glibc would keep most of it, in pieces, for itself.

A stream that is parked leaves a tenth of what it took. Where thousands are, that is gigabytes.
"""

import ctypes
import time
from collections.abc import Callable
from functools import cache

_EVERY_S = 10.0  # it takes milliseconds for each gigabyte
_given_s = [0.0]


@cache
def _trim() -> Callable[[int], int] | None:
    return getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc alone


def give_back() -> bool:
    """Give back what is free, with glibc and at most every ten seconds; whether it was done."""
    trim = _trim()
    if trim is None or time.monotonic() - _given_s[0] < _EVERY_S:
        return False
    trim(0)
    _given_s[0] = time.monotonic()
    return True
