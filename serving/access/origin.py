"""Where a request comes from: not from other web pages, nor by a name that leads here by a trick.

A page of somebody else may let a visitor's browser send requests to a service on his own machine. It cannot
read the answers (no CORS header is ever sent), unless it makes its own name resolve to 127.0.0.1 (DNS
rebinding), and it can open WebSockets. So:

* without keys, `Host` must be a name of this machine, and nothing may have been forwarded by a proxy, behind
  which there are others;
* a request that changes something, and every WebSocket, must come from our own page where a browser sends it:
  `Origin` equals `Host`; with a cookie one of `Origin` and `Sec-Fetch-Site` must be there;
* what a browser marks as sent by another site is refused, but for following a link.

Programs that are no browsers send none of these headers and bring a key.
"""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from moodstream.serving.access.refusal import RefusedError
from moodstream.serving.config import LOOPBACK

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]{1,253})(?::\d{1,5})?")
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_SAFE = ("GET", "HEAD", "OPTIONS")
_DEFAULT_PORTS = (":80", ":443")


def check_host(headers: Mapping[str, str], *, is_open: bool, host: str) -> None:
    """See that the request was meant for us.

    Args:
        is_open: whether nobody is asked for a key.
        host: where we listen.

    Raises:
        RefusedError: 400 no proper Host, 421 another one, 403 forwarded.
    """
    found = _HOST.fullmatch(headers.get("host", ""))
    if found is None:
        raise RefusedError(400, "the header Host is missing or no host", "send one Host header")
    if not is_open:
        return
    if found[1].strip("[]").lower() not in {*LOOPBACK, host.lower()}:
        raise RefusedError(
            421, "this name is not one of this machine's own", "ask http://127.0.0.1 or http://localhost"
        )
    if any(name in headers for name in _FORWARDED):
        raise RefusedError(
            403,
            "this request came through a proxy, but the service asks nobody for keys",
            "start it with --keys FILE to let others in",
        )


def check_origin(headers: Mapping[str, str], method: str, *, is_socket: bool) -> None:
    """See that no other web page sent it.

    Raises:
        RefusedError: 403.
    """
    site = headers.get("sec-fetch-site", "")
    follows = method == "GET" and not is_socket and headers.get("sec-fetch-mode") == "navigate"
    if site in ("cross-site", "same-site") and not follows:
        raise _elsewhere()
    if method in _SAFE and not is_socket:
        return
    origin = headers.get("origin")
    if origin is not None:
        if not _same(origin, headers.get("host", "")):
            raise _elsewhere()
    elif "cookie" in headers and "authorization" not in headers and site not in ("same-origin", "none"):
        raise _elsewhere()


def _same(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and _plain(parts.netloc) == _plain(host) != ""


def _plain(host: str) -> str:
    for port in _DEFAULT_PORTS:
        host = host.removesuffix(port)
    return host.lower()


def _elsewhere() -> RefusedError:
    return RefusedError(
        403, "another web page sent this request", "use the service's own page, or a key and no browser"
    )
