"""Live processes of tests, what is sent to them, and what they tell of themselves."""

import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from kafka import KafkaProducer

from moodstream.transforms.elements import Packet
from tests.support.kafka_topics import send
from tests.support.media_files import sound
from tests.support.packets import cut, l16

ROOT = Path(__file__).resolve().parents[2]
CALL_BYTES = 8_000  # of a packet: half a second


class Worker:
    """A live process with fake models; when a test fails, what it logged is shown."""

    def __init__(self, bootstrap: str, topic: str, group: str, *more: str) -> None:
        command = [sys.executable, "-m", "tests.support.live_worker", bootstrap, topic, group, *more]
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            command, cwd=ROOT, stderr=self._log, stdout=subprocess.PIPE, text=True
        )

    def first_line(self) -> str:
        """What it says first: it is about to work."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if kind is not None:
            self._log.seek(0)
            print(f"process {self.process.pid}, at its end:\n{self._log.read()[-4000:]}")
        self._log.close()


def call(media_id: str, seconds: float = 3) -> list[Packet]:
    """The packets of a call; all calls sound the same."""
    data = l16(sound(seconds, 8_000, 1, 7))
    return list(cut(media_id, data, "audio/L16;rate=8000", [CALL_BYTES] * 400, 16_000))


def send_call(producer: KafkaProducer, topic: str, media_id: str, seconds: float = 3) -> None:
    for packet in call(media_id, seconds):
        send(producer, topic, packet)
    producer.flush()


def scraped(port: str) -> dict[str, float]:
    """The measures of a process, by name with labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


def is_ready(port: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError:
        return False


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)
