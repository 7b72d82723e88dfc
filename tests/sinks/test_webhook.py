"""Webhooks against a real HTTP server that fails, hangs, drips and restarts."""

import hashlib
import hmac
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moodstream.sinks.webhook import RefusedError, Webhook, message
from moodstream.transforms.errors import StoreError, UsageError
from tests.support.hook_server import HookServer

ROW: dict[str, Any] = {
    "media_id": "calls/1",
    "take": 0,
    "analysis_id": "packets/0/17@1700000000000",
    "channel": "customer",
    "role": "customer",
    "modality": "speech",
    "rule": "angry",
    "start_ms": 4_000,
    "end_ms": 8_000,
    "revision": 0,
    "is_final": False,
    "event_time": "2026-11-21T12:00:04+00:00",
    "value": 0.7,
    "threshold": 0.5,
    "evidence": '{"rule": "anger above 0.5 for 4 s", "held_s": 4.0}',
}


@pytest.fixture
def hook() -> Iterator[HookServer]:
    with HookServer() as server:
        yield server


class Pauses(list[float]):
    """Waits no time, and notes how long it was asked to."""

    def __call__(self, seconds: float) -> bool:
        self.append(seconds)
        return True


def quick(url: str, **more: Any) -> Webhook:
    return Webhook(url, **{"timeout_s": 0.5, "tries": 4} | more)


def test_an_alert_is_a_signed_cloud_event(hook: HookServer) -> None:
    pauses = Pauses()
    webhook = quick(hook.url, secret="s3cret", headers=(("Authorization", "Bearer x"),))
    assert webhook.deliver(ROW, pauses)
    ((headers, body),) = hook.seen
    event = json.loads(body)
    assert event["id"] == headers["idempotency-key"] == message(ROW)[0]
    assert (event["specversion"], event["type"], event["subject"]) == (
        "1.0",
        "org.moodstream.alert",
        "calls/1",
    )
    assert event["time"] == ROW["event_time"]
    assert event["data"]["evidence"] == {"rule": "anger above 0.5 for 4 s", "held_s": 4.0}
    assert headers["content-type"] == "application/cloudevents+json"
    assert headers["authorization"] == "Bearer x"
    at, digest = (word.partition("=")[2] for word in headers["moodstream-signature"].split(","))
    assert abs(int(at) - time.time()) < 60
    assert digest == hmac.new(b"s3cret", f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    assert pauses == []


def test_the_key_belongs_to_the_alert_and_not_to_its_revision() -> None:
    key = message(ROW)[0]
    assert message({**ROW, "end_ms": 9_000, "revision": 1, "value": 0.9})[0] == key
    for name, value in (
        ("rule", "x"),
        ("start_ms", 1),
        ("take", 1),
        ("analysis_id", "y"),
        ("channel", "agent"),
    ):
        assert message({**ROW, name: value})[0] != key


def test_failures_are_tried_again_with_growing_pauses_and_one_key(hook: HookServer) -> None:
    hook.script = [500, "close", 503]
    pauses = Pauses()
    assert quick(hook.url).deliver(ROW, pauses)
    assert len(hook.seen) == 4
    assert {headers["idempotency-key"] for headers, _ in hook.seen} == set(hook.taken)
    assert [0.75 * 2**i <= pause <= 2**i for i, pause in enumerate(pauses)] == [True] * 3
    webhook = quick(hook.url, longest_pause_s=5)
    assert max(webhook.pause_s(tries) for tries in (3, 10, 1000)) <= 5


def test_what_hangs_or_drips_is_cut_off(hook: HookServer) -> None:
    hook.script = ["hang", "drip"]
    began = time.monotonic()
    assert quick(hook.url).deliver(ROW, Pauses())
    assert 1.0 <= time.monotonic() - began < 3
    assert len(hook.seen) == 3


def test_a_receiver_that_restarts_gets_it_then(hook: HookServer) -> None:
    hook.stop()
    tries: list[float] = []

    def pause(seconds: float) -> bool:
        tries.append(seconds)
        if len(tries) == 2:
            hook.start()
        return True

    assert quick(hook.url).deliver(ROW, pause)
    assert (len(tries), hook.taken) == (2, [message(ROW)[0]])


def test_a_receiver_that_stays_away_ends_it(hook: HookServer) -> None:
    hook.stop()
    with pytest.raises(StoreError, match=r"/hook: no answer .*, 4 times") as caught:
        quick(hook.url).deliver(ROW, Pauses())
    assert "desk" not in str(caught.value)
    hook.start()
    for status in (302, 401, 404, 503):
        hook.script = [status] * 4
        with pytest.raises(StoreError, match=f"status {status}, 4 times"):
            quick(hook.url).deliver(ROW, Pauses())


def test_what_is_refused_for_good_is_not_tried_again(hook: HookServer) -> None:
    hook.script = [422]
    with pytest.raises(RefusedError, match="status 422"):
        quick(hook.url).deliver(ROW, Pauses())
    assert len(hook.seen) == 1
    hook.script = [500] * 4
    with pytest.raises(RefusedError, match="status 500, 4 times"):
        quick(hook.url).deliver(ROW, Pauses())


def test_retry_after_and_the_end(hook: HookServer) -> None:
    hook.script, hook.retry_after = [429, 429], "7"
    pauses = Pauses()
    assert quick(hook.url).deliver(ROW, pauses)
    assert pauses == [7.0, 7.0]
    hook.script = [503]
    assert not quick(hook.url).deliver(ROW, lambda seconds: False)


@pytest.mark.parametrize("url", ["ftp://x/y", "nothing", "http://", "https://me:pass@x/y"])
def test_addresses_that_cannot_be(url: str) -> None:
    with pytest.raises(UsageError, match="a webhook is"):
        Webhook(url)


def test_headers_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="cannot be sent"):
        Webhook("http://x/y", headers=(("A", "b\r\nC: d"),))


def test_certificates_are_checked(hook: HookServer, tmp_path: Path) -> None:
    """Against a TLS server whose certificate nobody signed: refused, unless it is trusted by name."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    try:
        subprocess.run(
            [*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("needs openssl")
    threads = threading.active_count()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    assert hook._server is not None
    hook._server.socket = context.wrap_socket(hook._server.socket, server_side=True)
    url = f"https://localhost:{hook.port}/hook"
    with pytest.raises(StoreError, match="CERTIFICATE_VERIFY_FAILED"):
        quick(url, tries=1).deliver(ROW, Pauses())
    assert quick(url, tries=1, ca_file=str(certificate)).deliver(ROW, Pauses())
    wrong = f"https://127.0.0.1:{hook.port}/hook"
    with pytest.raises(StoreError, match="CERTIFICATE_VERIFY_FAILED"):
        quick(wrong, tries=1, ca_file=str(certificate)).deliver(ROW, Pauses())
    hook.script = ["hang"]
    began = time.monotonic()
    with pytest.raises(StoreError, match="no answer"):
        quick(url, tries=1, ca_file=str(certificate)).deliver(ROW, Pauses())
    assert time.monotonic() - began < 3
    with pytest.raises(UsageError, match="cannot read the certificates"):
        quick(url, ca_file=str(tmp_path / "none.pem")).deliver(ROW, Pauses())
    assert threading.active_count() < threads + 10  # nobody is left waiting for the one that hangs
