"""`moodstream forget` and `moodstream keys` as people give them; index, cache and service forget, too."""

import sqlite3
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient

from moodstream.pipelines.cli import run
from moodstream.serving.access.keys import Keys
from moodstream.serving.forgetting import look_beside
from moodstream.serving.search.build import update
from moodstream.sinks.cluster import Cluster, Topics
from moodstream.sinks.kafka import TopicPlan, create_topics
from moodstream.sinks.layout import TABLES
from moodstream.sinks.read import Lake
from tests.serving.conftest import MakeClient

if TYPE_CHECKING:
    from infra.kafka.broker import Broker

CALL = "calls/call.wav"


def until(holds: Callable[[], object]) -> None:
    end_s = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.05)


def raw(folder: Path, text: str) -> list[str]:
    """Files that hold a text as it is."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [file.name for file in files if text.encode() in file.read_bytes()]


def test_a_running_service_its_cache_and_the_index_forget(
    own_lake: Path, make_client: MakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    update(own_lake)
    client: TestClient = make_client(own_lake, audit=own_lake / "_audit/audit.jsonl")
    until(lambda: client.get("/ready").status_code == 200)
    assert client.get("/v1/curve", params={"media": CALL}).status_code == 200
    assert raw(own_lake / "_serve", CALL)
    assert (
        sum(one.left for one in look_beside(own_lake, own_lake / "_index", own_lake / "_serve", {CALL})) > 2
    )
    assert run(["forget", CALL, "--lake", str(own_lake), "--yes"]) == 0
    told = capsys.readouterr().out
    assert "Nothing is left." in told
    assert "1 of 1 files name it" in told  # the audit log
    assert "kept: who read it" in told
    assert CALL not in Lake(own_lake).media_ids()
    until(lambda: client.get("/v1/curve", params={"media": CALL}).status_code == 404)
    shown = client.get("/v1/media", params={"limit": 1000}).json()
    assert CALL not in [item["media_id"] for item in shown["items"]]
    assert "song.wav" in [item["media_id"] for item in shown["items"]]
    found = client.post("/v1/search", json={"moved_by": {"second": 10}, "limit": 200}).json()["items"]
    assert CALL not in [item["media_id"] for item in found]
    assert set(raw(own_lake, CALL)) <= {"audit.jsonl"}


def test_the_proof_notices_what_is_left(own_lake: Path, make_client: MakeClient) -> None:
    """A copy that somebody left beside the tables, and a cache that was not cleaned."""
    client: TestClient = make_client(own_lake)
    until(lambda: client.get("/ready").status_code == 200)
    assert run(["forget", CALL, "--lake", str(own_lake), "--yes"]) == 0
    (own_lake / "notes.txt").write_text(f"call back: {CALL}")
    assert run(["forget", CALL, "--lake", str(own_lake), "--yes"]) == 3
    (own_lake / "notes.txt").unlink()
    (cache,) = (own_lake / "_serve").glob("lake-*.sqlite")
    with sqlite3.connect(cache, timeout=30) as connection:
        connection.execute("UPDATE media SET media_id = ? WHERE media_id = 'song.wav'", (CALL,))
    assert run(["forget", CALL, "--lake", str(own_lake), "--look"]) == 3


def test_it_asks_first(own_lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answers(text: str) -> str:
        asked.append(text)
        return "n"

    monkeypatch.setattr("click.termui.visible_prompt_func", answers)
    assert run(["forget", CALL, "--lake", str(own_lake)]) == 130
    assert asked
    assert CALL in Lake(own_lake).media_ids()
    assert run(["forget", "--lake", str(own_lake)]) == 2
    assert run(["forget", CALL, "--older-than", "3", "--lake", str(own_lake)]) == 2
    assert run(["forget", CALL, "--lake", str(own_lake / "nowhere"), "--yes"]) == 2


def test_by_age(own_lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["forget", "--older-than", "1", "--lake", str(own_lake), "--yes"]) == 0
    assert "nothing was last written more than 1 days ago" in capsys.readouterr().out
    assert run(["forget", "--older-than", "0", "--lake", str(own_lake), "--yes"]) == 0
    assert Lake(own_lake).media_ids() == []


def test_with_topics_it_says_until_when_records_stay(
    own_lake: Path, broker: "Broker", capsys: pytest.CaptureFixture[str]
) -> None:
    import orjson
    from kafka import KafkaProducer

    topics = Topics(f"forgetting{uuid.uuid4().hex[:8]}.")
    create_topics(Cluster(broker.bootstrap), [TopicPlan(topics.of(table), 2, {}) for table in TABLES])
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
    producer.send(topics.of("summary"), b"{}", key=orjson.dumps([CALL, 0, "customer", "speech"]), partition=1)
    producer.flush()
    producer.close()
    words = ["--lake", str(own_lake), "--bootstrap", broker.bootstrap, "--out-prefix", topics.prefix, "--yes"]
    assert run(["forget", CALL, *words]) == 3
    told = capsys.readouterr().out
    assert "1 tombstones written" in told
    assert "not compacted: gone by retention, 7 days; or with --compact-topics" in told
    assert "0 left in stores, 1 records in topics" in told


def test_keys_are_made_listed_and_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys.yaml"
    assert run(["keys", "add", str(file), "--name", "board", "--scope", "read", "--scope", "live"]) == 0
    key = capsys.readouterr().out.strip()
    assert run(["keys", "add", str(file), "--name", "short", "--days", "3"]) == 0
    capsys.readouterr()
    who = Keys(file).find(key)
    assert who is not None
    assert (who.name, sorted(who.scopes)) == ("board", ["live", "read"])
    assert run(["keys", "list", str(file)]) == 0
    listed = capsys.readouterr().out
    assert "board" in listed
    assert "until" in listed
    assert key not in listed
    assert run(["keys", "remove", str(file), who.key]) == 0
    assert Keys(file).find(key) is None
    assert run(["keys", "remove", str(file), who.key]) == 2
    assert run(["keys", "add", str(file), "--name", "a/b"]) == 2
