"""New weights under running streams, on a real broker, with a kill in between."""

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.kafka.broker import Broker
from moodstream.transforms.elements import Clip, Media, Part
from moodstream.transforms.engine import Engine
from moodstream.transforms.live import LiveSession
from moodstream.transforms.session import Settings
from moodstream.transforms.track import Rows, merge
from tests.support.kafka_topics import Committed, make_topics, send
from tests.support.media_files import sound
from tests.support.packets import cut, difference, l16, listed
from tests.support.releases import use, write_release
from tests.support.workers import Worker, is_ready, scraped, until

KafkaProducer = pytest.importorskip("kafka").KafkaProducer
RATE_HZ, SECONDS, CALLS = 8_000, 45, ("one", "other")
KEY = ("channel", "modality", "start_ms", "revision")
SAID = ("valence", "arousal", "dominance", "activity", "loudness_lufs", "reason", "model_version")
Keyed = dict[tuple[Any, ...], dict[str, Any]]


def keyed(rows: list[dict[str, Any]]) -> Keyed:
    found = {tuple(row[name] for name in KEY): {name: row[name] for name in SAID} for row in rows}
    assert len(found) == len(rows)  # nothing is doubled
    return found


def packed(seed: int) -> bytes:
    return l16(sound(SECONDS, RATE_HZ, 1, seed))


def heard_by(engine: Engine, seed: int) -> Keyed:
    """Curve rows of a call that these models hear from its beginning to its end."""
    settings = Settings(speech_model="small")
    session, rows = LiveSession(Media("m", (Part("x", "audio"),)), "run", engine, settings), Rows()
    samples = np.frombuffer(packed(seed), ">i2").astype(np.float32)[None] / 32768
    merge(rows, session.push(Clip(0, RATE_HZ, samples)))
    merge(rows, session.flush())
    return keyed(listed(rows, "curve"))


def test_streams_go_over_once_though_the_process_dies(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_release(tmp_path, "first", 0.02, ("small",))
    write_release(tmp_path, "second", 0.1, ("small", "activity"))
    use(tmp_path, "first")
    old, new = (Engine(speech="small", folder=tmp_path / name) for name in ("first", "second"))
    version = new.cards["speech"].version
    monkeypatch.setenv("LIVE_WORKER_RELEASES", str(tmp_path))
    monkeypatch.setenv("LIVE_WORKER_IDLE_MS", "3600000")  # however slow this machine is
    make_topics(broker.bootstrap, "swap.packets", ["swap"], 1)
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
    committed = Committed(broker.bootstrap, "swap")
    lanes = [
        cut(name, packed(seed), f"audio/L16;rate={RATE_HZ}", [8_000] * 400, 2 * RATE_HZ)
        for seed, name in enumerate(CALLS)
    ]
    packets = [packet for together in zip(*lanes, strict=True) for packet in together]

    def talk(count: int) -> None:
        """The next packets, and what is committed meanwhile."""
        for packet in packets[:count]:
            send(producer, "swap.packets", packet, 1)
        producer.flush()
        del packets[:count]
        committed.read()

    def is_over() -> bool:
        """Whether the new models speak somewhere."""
        return any(version in row["model_version"] for row in committed.rows["curve"])

    with Worker(broker.bootstrap, "swap.packets", "swap", "patient") as worker:
        port = worker.first_line()
        until(lambda: is_ready(port))
        while not committed.rows["curve"]:
            talk(4)
        use(tmp_path, "second")
        worker.process.send_signal(signal.SIGHUP)
        until(lambda: any(version in name for name in scraped(port)))
        while not is_over():
            talk(2)
        worker.process.kill()
    talk(6)
    assert len(packets) > 20
    with Worker(broker.bootstrap, "swap.packets", "swap", "patient") as worker:
        port = worker.first_line()
        until(lambda: is_ready(port))
        while packets:
            talk(2)
        rows = committed.wait(len(CALLS))
        until(lambda: scraped(port)["moodstream_streams_older"] == 0)
    assert not rows["dead_letter"]
    for seed, name in enumerate(CALLS):
        found = keyed([row for row in rows["curve"] if row["media_id"] == name])
        before, after = heard_by(old, seed), heard_by(new, seed)
        assert found.keys() == before.keys()
        from_ms = min(key[2] for key, row in found.items() if version in row["model_version"])
        for key, row in found.items():
            assert difference(row, (after if key[2] >= from_ms else before)[key]) == "", key
        (media,) = (row for row in rows["media"] if row["media_id"] == name)
        was = old.cards["speech"].version
        assert media["models"]["speech"] == f"{was} until {from_ms} ms, {version}"
