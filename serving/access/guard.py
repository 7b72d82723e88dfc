"""Who is let in: `require("read")` as a dependency of every route of data, HTTP and WebSocket alike.

On loopback without a file of keys everybody who reaches the service is on this machine and may do all. With
one, wherever it listens, a request brings a key (`Authorization: Bearer KEY`) or the cookie of a session
(`sessions.py`). Elsewhere than on loopback it does not start without.
"""

import math
from collections.abc import Awaitable, Callable

from starlette.requests import HTTPConnection
from starlette.types import Scope

from moodstream.serving.access.audit import AuditLog
from moodstream.serving.access.keys import Keys
from moodstream.serving.access.limits import Buckets, Limits, subscriber
from moodstream.serving.access.principal import ANYONE, SCOPES, Principal
from moodstream.serving.access.refusal import RefusedError
from moodstream.serving.access.sessions import Sessions, cookie_of
from moodstream.serving.config import ServeConfig
from moodstream.transforms.errors import UsageError

AUDIT_FOLDER = "_audit"  # beside the tables of a lake
_WHO = "principal"
_ASK = "send `Authorization: Bearer KEY`, or log in on the page; `moodstream keys add` makes keys"


class Access:
    """What decides; one a service, at `app.state.access`.

    Raises:
        UsageError: it would listen elsewhere than on loopback without keys, or the keys cannot be read.
        StoreError: the audit log cannot be written.
    """

    def __init__(self, config: ServeConfig, limits: Limits | None = None) -> None:
        if config.keys is None and not config.loopback:
            raise UsageError(
                f"others can reach {config.host}, so it needs keys: `moodstream keys add keys.yaml --name "
                "NAME` makes one, then --keys keys.yaml"
            )
        self.config, self.limits = config, limits or Limits()
        self.keys = None if config.keys is None else Keys(config.keys)
        self.sessions = Sessions()
        log = config.audit
        if log is None and self.keys is not None:
            log = config.lake / AUDIT_FOLDER / "audit.jsonl"
        self.audit = None if log is None else AuditLog(log)
        self._keys = Buckets(self.limits.per_key)
        self._addresses = Buckets(self.limits.per_address)
        self._wrong = Buckets(self.limits.wrong_keys)

    @property
    def is_open(self) -> bool:
        """Whether nobody is asked for a key."""
        return self.keys is None

    def principal(self, connection: HTTPConnection) -> Principal:
        """Who asks.

        Raises:
            RefusedError: 401 without a valid key, 429 too often.
        """
        if self.is_open:
            return ANYONE
        state = connection.scope.setdefault("state", {})
        if _WHO not in state:
            state[_WHO] = self._told(connection)
            self._hold(self._keys.take(state[_WHO].key), "this key asks too often")
        found: Principal = state[_WHO]
        return found

    def still_lets_in(self, scope: Scope) -> bool:
        """Whether who was let in with a request would be now: his key may have been removed."""
        who: Principal | None = scope["state"].get(_WHO)
        return who is None or self.keys is None or self.keys.by_id(who.key) is not None

    def by_key(self, connection: HTTPConnection, key: str) -> Principal:
        """Whose key it is.

        Raises:
            RefusedError: 401 nobody's, 429 too many wrong ones from there.
        """
        who = None if self.keys is None else self.keys.find(key)
        if who is None:
            wait = self._wrong.take(subscriber(address_of(connection)))
            self._hold(wait, "too many wrong keys came from your address")
            raise RefusedError(401, "this key is not valid", _ASK, {"WWW-Authenticate": "Bearer"})
        return who

    def hold_address(self, connection: HTTPConnection) -> None:
        """Count a request of an address.

        Raises:
            RefusedError: 429 too many.
        """
        if not self.is_open:
            wait = self._addresses.take(subscriber(address_of(connection)))
            self._hold(wait, "your address asks too often")

    def close(self) -> None:
        if self.audit is not None:
            self.audit.close()

    def _told(self, connection: HTTPConnection) -> Principal:
        scheme, _, key = connection.headers.get("authorization", "").partition(" ")
        if scheme:
            if scheme.lower() != "bearer":
                raise RefusedError(401, "only Bearer is understood", _ASK, {"WWW-Authenticate": "Bearer"})
            return self.by_key(connection, key.strip())
        cookie = cookie_of(connection)
        key_id = None if cookie is None else self.sessions.key_of(cookie)
        who = None if key_id is None or self.keys is None else self.keys.by_id(key_id)
        if who is None:
            raise RefusedError(401, "a key is needed", _ASK, {"WWW-Authenticate": "Bearer"})
        return who

    @staticmethod
    def _hold(wait_s: float, why: str) -> None:
        if wait_s:
            after = str(math.ceil(wait_s))
            raise RefusedError(429, why, f"wait {after} s, then ask less often", {"Retry-After": after})


def address_of(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else ""


def require(scope: str) -> Callable[[HTTPConnection], Awaitable[Principal]]:
    """A dependency that gives who asks, if he may: `who: Annotated[Principal, Depends(require("read"))]`.

    Raises:
        ValueError: no such scope.
    """
    if scope not in SCOPES:
        raise ValueError(f"{scope!r} is no scope: {', '.join(SCOPES)}")

    async def allowed(connection: HTTPConnection) -> Principal:
        access: Access = connection.app.state.access
        who = access.principal(connection)
        if scope not in who.scopes:
            raise RefusedError(
                403, f"this key has not the scope {scope}", f"ask for a key with the scope {scope}"
            )
        return who

    return allowed


async def identify(connection: HTTPConnection) -> Principal:
    """A dependency that gives who asks, whatever he may."""
    access: Access = connection.app.state.access
    return access.principal(connection)
