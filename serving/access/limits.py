"""How often somebody may ask: token buckets.

A bucket holds `burst` tokens and is refilled at `rate` a second; each request takes one. Buckets of those who
were not seen for long are full anyway and forgotten first, so memory is bounded however many addresses ask.
"""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MOST_BUCKETS = 10_000


@dataclass(frozen=True)
class Rate:
    """So many a second for long, so many at once."""

    per_s: float
    burst: float


@dataclass(frozen=True)
class Limits:
    """What is too much. On loopback without keys none of the rates holds: whoever is there has the machine.

    The times are for a request's body to come and for its answer to begin; `slow` are paths whose answer may
    take longer.
    """

    per_key: Rate = Rate(200, 400)
    per_address: Rate = Rate(200, 400)
    wrong_keys: Rate = Rate(0.2, 10)
    body_bytes: int = 64 << 10
    body_s: float = 10.0
    answer_s: float = 10.0
    slow: tuple[tuple[str, float], ...] = (("/v1/sound", 120.0), ("/v1/analysis", 60.0))
    url_bytes: int = 8 << 10
    headers: int = 64

    def answer_within(self, path: str) -> float:
        return next((seconds for place, seconds in self.slow if path == place), self.answer_s)


class Buckets:
    """One bucket a name."""

    def __init__(
        self, rate: Rate, most: int = MOST_BUCKETS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate, self.most, self._clock = rate, most, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when

    def take(self, name: str) -> float:
        """Take a token: 0, or how many seconds until there is one."""
        now = self._clock()
        tokens, at = self._left.pop(name, (self.rate.burst, now))
        tokens = min(self.rate.burst, tokens + (now - at) * self.rate.per_s)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self.rate.per_s
        self._left[name] = (tokens - 1 if tokens >= 1 else tokens, now)
        while len(self._left) > self.most:
            self._left.popitem(last=False)
        return wait


def subscriber(address: str) -> str:
    """What an address counts as: itself, or its /64, of which one subscriber has all.

    Example:
        >>> subscriber("2001:db8::1:2:3"), subscriber("192.0.2.7")
        ('2001:db8::', '192.0.2.7')
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Address(int(parsed) >> 64 << 64))
    return address
