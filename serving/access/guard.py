"""Who is let in: `require("read")` as a dependency of every route of data, HTTP and WebSocket alike."""

from collections.abc import Awaitable, Callable

from starlette.requests import HTTPConnection

from moodstream.serving.access.audit import AuditLog
from moodstream.serving.access.principal import ANYONE, SCOPES, Principal
from moodstream.serving.access.refusal import RefusedError
from moodstream.serving.config import ServeConfig
from moodstream.transforms.errors import UsageError


class Access:
    """What decides; one a service, at `app.state.access`.

    Raises:
        UsageError: it would listen elsewhere than on loopback without keys.
    """

    def __init__(self, config: ServeConfig) -> None:
        if config.keys is None and not config.loopback:
            raise UsageError(f"{config.host} can be reached by others: that needs --keys FILE")
        self.config = config
        self.audit = None if config.audit is None else AuditLog(config.audit)

    def principal(self, connection: HTTPConnection) -> Principal:
        """Who asks.

        Raises:
            RefusedError: 401 without a valid key, 429 too often.
        """
        return ANYONE

    def close(self) -> None:
        if self.audit is not None:
            self.audit.close()


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
            raise RefusedError(403, f"this key may not {scope}", "ask for a key with this scope")
        return who

    return allowed
