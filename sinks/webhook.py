"""Webhook: alerts to somebody else's program, one POST each, at least once.

The body is a CloudEvent in JSON (`application/cloudevents+json`) whose `data` is the alert's row. Its id,
also in the header `Idempotency-Key`, is the same for the same alert for ever: a receiver that keeps the ids
it has seen acts once. With a secret, `Moodstream-Signature: t=SECONDS,v1=HEX` is the HMAC-SHA256 of
`SECONDS.BODY`: compare it, and refuse what is older than some minutes.

What an answer means: 2xx, taken. 400, 406, 409, 413, 415 and 422: this alert is refused for good. Everything
else, and no answer within the time, is tried again with growing pauses (`Retry-After` counts), up to so many
tries; then an alert that the receiver failed on each time (500) is given up, and a receiver that cannot be
reached, is not there or does not let us in ends the run: nothing was acknowledged, so nothing is lost.
Redirections are not followed.
"""

import contextlib
import hashlib
import hmac
import http.client
import json
import logging
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from moodstream.transforms.errors import StoreError, UsageError
from moodstream.transforms.tables import KEYS

TYPE = "org.moodstream.alert"
REFUSED = frozenset({400, 406, 409, 413, 415, 422})
_LONGEST_ANSWER = 1 << 16
_log = logging.getLogger(__name__)


class RefusedError(Exception):
    """The receiver does not want this alert; others may pass."""


class _NoAnswerError(Exception):
    """Nothing, or nothing of use, came back."""


@dataclass(frozen=True)
class Webhook:
    """Where alerts go, and how patiently.

    Raises:
        UsageError: no address that can be posted to.
    """

    url: str
    secret: str = ""  # signs the body
    headers: tuple[tuple[str, str], ...] = ()  # further ones, e.g. Authorization
    timeout_s: float = 10.0  # for the whole answer
    tries: int = 8  # for an alert; 0: for ever
    first_pause_s: float = 1.0  # doubled with each try
    longest_pause_s: float = 60.0
    ca_file: str | None = None  # whom to trust instead of the system's certificates

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise UsageError(f"a webhook is http://... or https://... without a password in it: {self.url}")
        for name, value in self.headers:
            if not name.isascii() or not (name + value).isprintable() or ":" in name:
                raise UsageError(f"header {name!r} cannot be sent")

    def deliver(self, row: Mapping[str, Any], pause: Callable[[float], bool]) -> bool:
        """Post an alert until it is taken.

        Args:
            row: the alert, as JSON has it.
            pause: waits so many seconds; False if all is to end.

        Returns:
            Whether it was taken; False where all is to end.

        Raises:
            RefusedError: the receiver does not want it.
            StoreError: the receiver cannot be reached.
        """
        key, body = message(row)
        tries = 0
        while True:
            tries += 1
            try:
                status, after_s = self._post(key, body)
            except _NoAnswerError as error:
                said, status, after_s = str(error), 0, None
            else:
                said = f"status {status}"
                if 200 <= status < 300:
                    return True
                if status in REFUSED:
                    raise RefusedError(said)
            if tries == self.tries:
                if status == 500:
                    raise RefusedError(f"{said}, {tries} times")
                raise StoreError(f"the webhook {_plain(self.url)}: {said}, {tries} times")
            wait_s = self.pause_s(tries) if after_s is None else min(after_s, 600.0)
            _log.warning("webhook: %s for alert %s, try %d; again in %.1f s", said, key, tries, wait_s)
            if not pause(wait_s):
                return False

    def pause_s(self, tries: int) -> float:
        """How long to wait after so many tries: doubled each time, up to a quarter shorter by chance."""
        longest = min(self.longest_pause_s, self.first_pause_s * 2 ** min(tries - 1, 30))
        return longest * random.uniform(0.75, 1)

    def _post(self, key: str, body: bytes) -> tuple[int, float | None]:
        """One try: the status, and how long the receiver asks to wait."""
        parts = urlsplit(self.url)
        headers = {
            "Content-Type": "application/cloudevents+json",
            "User-Agent": "moodstream",
            "Idempotency-Key": key,
            **dict(self.headers),
        }
        if self.secret:
            headers["Moodstream-Signature"] = signature(self.secret, int(time.time()), body)
        connection = self._connection(str(parts.hostname), parts.port, parts.scheme == "https")
        is_late = threading.Event()
        late = threading.Timer(self.timeout_s, _cut, [connection, is_late])  # a socket's is for each byte
        late.daemon = True
        try:
            late.start()
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", target, body, headers)
            answer = connection.getresponse()
            answer.read(_LONGEST_ANSWER)
            if is_late.is_set():  # headers that were cut off look complete
                raise TimeoutError("timed out")
            return answer.status, _seconds(answer.getheader("Retry-After"))
        except (OSError, http.client.HTTPException) as error:
            raise _NoAnswerError(f"no answer ({str(error) or type(error).__name__})") from error
        finally:
            late.cancel()
            connection.close()

    def _connection(self, host: str, port: int | None, is_https: bool) -> http.client.HTTPConnection:
        if not is_https:
            return http.client.HTTPConnection(host, port, timeout=self.timeout_s)
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            raise UsageError(f"cannot read the certificates {self.ca_file}: {error}") from error
        return http.client.HTTPSConnection(host, port, timeout=self.timeout_s, context=context)


def message(row: Mapping[str, Any]) -> tuple[str, bytes]:
    """An alert's key, the same for ever, and the body that is posted."""
    identity = [row["analysis_id"], *(row[name] for name in KEYS["alert"])]
    key = hashlib.sha256(json.dumps(identity, separators=(",", ":")).encode()).hexdigest()[:32]
    data = dict(row)
    with contextlib.suppress(ValueError):  # of another version: as it is
        data["evidence"] = json.loads(row["evidence"])
    event = {
        "specversion": "1.0",
        "id": key,
        "source": f"moodstream:{row['analysis_id']}",
        "type": TYPE,
        "subject": row["media_id"],
        "datacontenttype": "application/json",
        "data": data,
    }
    if row.get("event_time"):
        event["time"] = row["event_time"]
    return key, json.dumps(event, separators=(",", ":")).encode()


def signature(secret: str, at_s: int, body: bytes) -> str:
    """What `Moodstream-Signature` says of a body that is sent at this time, in seconds since 1970.

    Example:
        >>> signature("secret", 0, b"{}")[:24]
        't=0,v1=4bbe8d39de1ffea42'
    """
    digest = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"


def _cut(connection: http.client.HTTPConnection, is_late: threading.Event) -> None:
    """End a connection that somebody else waits on."""
    is_late.set()
    with contextlib.suppress(OSError):  # it ended by itself
        if connection.sock is not None:
            socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)  # TLS or not: the reader wakes up


def _seconds(text: str | None) -> float | None:
    """A `Retry-After` in seconds; dates are not read."""
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 9 else None


def _plain(url: str) -> str:
    """An address without what may be a secret."""
    return urlsplit(url)._replace(query="").geturl()
