"""Sessions of the page: a cookie instead of the key, so that no script can read and no page send the key.

The cookie holds a random number that says nothing; its hash leads to the id of the key here, in memory. So a
restart logs everybody out, and a key that is removed ends its sessions. `HttpOnly` keeps it from scripts,
`SameSite=Strict` from what other pages send, and over HTTPS `Secure` and the prefix `__Host-` from other
hosts and from the clear.
"""

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.requests import HTTPConnection
from starlette.responses import Response

LASTS_S = 12 * 3600
MOST = 10_000
_PLAIN, _SECURE = "moodstream", "__Host-moodstream"


class Sessions:
    """Who has logged in."""

    def __init__(self, lasts_s: float = LASTS_S, clock: Callable[[], float] = time.monotonic) -> None:
        self.lasts_s, self._clock = lasts_s, clock
        self._keys: OrderedDict[str, tuple[str, float]] = OrderedDict()  # by hash: key id, and until when

    def begin(self, key_id: str) -> str:
        """The cookie of a new session of this key."""
        while len(self._keys) >= MOST:
            self._keys.popitem(last=False)
        cookie = secrets.token_urlsafe(32)
        self._keys[_hash(cookie)] = (key_id, self._clock() + self.lasts_s)
        return cookie

    def key_of(self, cookie: str) -> str | None:
        """The id of the key with which this session began; None if there is none."""
        found = self._keys.get(_hash(cookie))  # the hash of something sent tells nothing by its timing
        if found is None or found[1] <= self._clock():
            return None
        return found[0]

    def end(self, cookie: str) -> None:
        self._keys.pop(_hash(cookie), None)


def _hash(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()


def cookie_of(connection: HTTPConnection) -> str | None:
    """What a browser sent."""
    return connection.cookies.get(_name(connection))


def set_cookie(connection: HTTPConnection, response: Response, cookie: str, lasts_s: float) -> None:
    response.set_cookie(
        _name(connection),
        cookie,
        max_age=int(lasts_s),
        path="/",
        secure=_is_secure(connection),
        httponly=True,
        samesite="strict",
    )


def delete_cookie(connection: HTTPConnection, response: Response) -> None:
    response.delete_cookie(
        _name(connection), path="/", secure=_is_secure(connection), httponly=True, samesite="strict"
    )


def _is_secure(connection: HTTPConnection) -> bool:
    return connection.url.scheme in ("https", "wss")


def _name(connection: HTTPConnection) -> str:
    return _SECURE if _is_secure(connection) else _PLAIN
