"""Every endpoint there is, asked about a lake that holds agents' emotions, as they were asked for once.

What a service tells of it must be, byte for byte, what one tells of a lake that never held them. A route that
is not in `ASKED` fails the test: whoever adds one says here how it is asked.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from moodstream.serving.access.keys import make, write
from moodstream.serving.access.redaction import redact
from moodstream.serving.config import ServeConfig
from moodstream.serving.search.build import update
from moodstream.serving.service import build
from moodstream.sinks.lake import LakeSink
from moodstream.transforms.elements import Commit
from tests.pipelines.conftest import MemoryLake, add_alert, add_media, add_track, write_wav

CALL, MIXED, SONG = "calls/call.wav", "calls/mixed.wav", "song.wav"
TABLES = ("curve", "episode", "summary", "alert", "media")
FORMATS = ("json", "arrow", "jams", "rttm", "sed", "textgrid", "webvtt", "audformat", "csv")
SHAPES = ("aws", "hume", "cyanite", "spotify")
Asked = tuple[str, dict[str, Any], dict[str, str], Any]  # method, parameters, headers, body
ARROW = {"Accept": "application/vnd.apache.arrow.stream"}


def _of_media(*more: dict[str, Any], accept: tuple[dict[str, str], ...] = ({},)) -> list[Asked]:
    return [
        ("GET", {"media": media} | extra, headers, None)
        for media in (CALL, MIXED, SONG)
        for extra in (*more, {})
        for headers in accept
    ]


def _searches() -> list[Asked]:
    questions: list[dict[str, Any]] = [
        {"like": {"media": CALL, "channel": "customer"}},
        {"like": {"media": CALL, "channel": "agent"}},
        {"like": {"media": MIXED}},
        {"like": {"media": SONG}},
        {"arc": [[0, -0.5, -0.5], [1, 0.5, 0.5]]},
        {"rises": {"dimension": "arousal", "from": 0.5, "to": 1.0}},
        {"falls": {"dimension": "valence", "from": 0.5, "to": 1.0}},
        {"near": {"valence": 0.0, "arousal": 0.0, "seconds": 1, "radius": 1.0}},
        {"moved_by": {"second": 30}},
        {"quadrant": {"name": "Q1", "share": 0.0}},
    ]
    return [("POST", {}, {}, {**question, "limit": 200}) for question in questions]


OF_ONE_MEDIA = ("/v1/media", "/v1/curve", "/v1/episodes", "/v1/summary", "/v1/alerts", "/v1/analysis")
ASKED: dict[str, list[Asked]] = {
    "/v1/media": [
        ("GET", {"limit": 1000, "sparkline": "true"}, {}, None),
        *(("GET", {"sort": key}, {}, None) for key in ("valence_mean", "-arousal_mean", "emotion")),
        *(("GET", {"quadrant": "Q1", "min_valence": low}, {}, None) for low in (-1, 0, 0.5)),
        ("GET", {"q": "call"}, {}, None),
        *_of_media({"sparkline": "true"}),
    ],
    "/v1/curve": _of_media({"step_ms": 5000}, {"channel": "agent"}, {"modality": "speech"}, accept=({},))
    + _of_media(accept=(ARROW,)),
    "/v1/episodes": _of_media(accept=({}, ARROW)),
    "/v1/summary": _of_media(accept=({}, ARROW)),
    "/v1/alerts": [*_of_media(accept=({}, ARROW)), ("GET", {}, {}, None)],
    "/v1/analysis": _of_media(*({"format": one} for one in FORMATS), *({"shape": one} for one in SHAPES)),
    "/v1/search": _searches(),
    "/v1/sound": _of_media(),
    "/v1/models": [("GET", {}, {}, None)],
    "/v1/me": [("GET", {}, {}, None)],
    "/v1/session": [("POST", {}, {}, {"key": "none"})],
    "/v1/live": [("GET", {"media": CALL}, {}, None)],  # with a broker: tests/serving/test_live_feed.py
    "/v1/live/calls": [("GET", {}, {}, None)],
    "/health": [("GET", {}, {}, None)],
    "/ready": [("GET", {}, {}, None)],
    "/metrics": [],  # numbers of requests
}
VARIES = re.compile(
    rb'"(?:version|lake|took_ms|instance|next)":(?:"[^"]*"|[\d.]+|null)|"index":\{[^}]*\}|"detail":"[^"]*"'
)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> MemoryLake:
    """Analysed with `--emotions-for all`: an agent and a mix of a call with emotions, and a song."""
    folder = tmp_path_factory.mktemp("sounds")
    lake = MemoryLake()
    add_track(lake, CALL, 60, "speech", channel="agent", role="agent", seed=1)
    add_track(lake, CALL, 60, "speech", channel="customer", role="customer", seed=2)
    add_alert(lake, CALL, 31_000, 36_500)
    mine = lake.all["alert"][0]
    lake.all["alert"].append(replace(mine, channel="agent", role="agent", rule="angry agent"))
    quiet = '{"rule": "talk for 30 s on agent", "held_s": 31}'
    lake.all["alert"].append(replace(mine, channel="agent", role="agent", rule="talks on", evidence=quiet))
    add_track(lake, MIXED, 60, "speech", seed=3)
    add_track(lake, SONG, 60, "music", seed=4)
    for name, kind in ((CALL, "call"), (MIXED, "call"), (SONG, "audio")):
        path = folder / Path(name).name
        write_wav(path, 60)
        add_media(lake, name, 60, kind, str(path), tags={"title": name})
    for table, rows in lake.all.items():
        if table != "media":
            lake.all[table] = [replace(row, emotions_for="all", responsible="Somebody") for row in rows]
    return lake


def write_down(lake: MemoryLake, folder: Path, emotions_for: str) -> Path:
    """A lake of what may be seen, if that is to be said of it."""
    sink = LakeSink(folder)
    sink.open()
    shown = SimpleNamespace(emotions_for=emotions_for)
    for name in lake.media_ids():
        rows = {table: redact(table, lake.rows(table, name), shown, {CALL, MIXED}) for table in TABLES}
        sink.write(Commit(name, 0, rows))
    sink.flush()
    return folder


@pytest.fixture(scope="module")
def services(told: MemoryLake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, TestClient]]:
    """Over the lake with agents' emotions: served for customers, and for all; and over one without."""
    base = tmp_path_factory.mktemp("everywhere")
    full, none = write_down(told, base / "full", "all"), write_down(told, base / "none", "customer")
    roots = tuple({Path(row.source).parent for row in told.all["media"]})
    with ExitStack() as stack:
        found = {}
        for name, lake, whose in (
            ("shown", full, "customer"),
            ("all", full, "all"),
            ("never", none, "customer"),
        ):
            index = base / f"index-{name}"
            who = "Somebody" if name != "never" else ""
            update(lake, index, emotions_for="all" if who else "customer", responsible=who)
            config = ServeConfig(
                lake, media_roots=roots, index=index, cache=base / f"cache-{name}", emotions_for=whose,
                responsible="Somebody" if whose == "all" else "",
            )  # fmt: skip
            client = TestClient(build(config), base_url="http://127.0.0.1:8080")
            found[name] = stack.enter_context(client)
        for client in found.values():
            until_ready(client)
        yield found


def until_ready(client: TestClient) -> None:
    import time

    for _ in range(600):
        if client.get("/ready").status_code == 200:
            return
        time.sleep(0.05)
    pytest.fail("the service was never ready")


def answer(client: TestClient, path: str, asked: Asked) -> tuple[int, bytes]:
    method, parameters, headers, body = asked
    said = client.request(method, path, params=parameters, headers=headers, json=body)
    kind = said.headers.get("content-type", "")
    is_text = not kind.startswith(("application/zip", "audio/"))
    return said.status_code, VARIES.sub(b"", said.content) if is_text else said.content


def test_every_endpoint_is_asked(services: dict[str, TestClient]) -> None:
    there = set(services["shown"].get("/openapi.json").json()["paths"])
    assert there == set(ASKED)


@pytest.mark.parametrize("path", sorted(ASKED))
def test_agents_emotions_leave_nowhere(services: dict[str, TestClient], path: str) -> None:
    for asked in ASKED[path]:
        shown, never = (answer(services[name], path, asked) for name in ("shown", "never"))
        assert shown == never, asked


def test_the_comparison_would_notice(services: dict[str, TestClient]) -> None:
    """With the written setting they are there, on the routes that show emotions."""
    for path in (*OF_ONE_MEDIA, "/v1/search"):
        differ = [
            asked
            for asked in ASKED[path]
            if answer(services["all"], path, asked) != answer(services["never"], path, asked)
        ]
        assert differ, path
    formats = {
        asked[1].get("format") or asked[1].get("shape")
        for asked in ASKED["/v1/analysis"]
        if answer(services["all"], "/v1/analysis", asked) != answer(services["never"], "/v1/analysis", asked)
    }
    assert {"json", "arrow", "jams", "csv", "hume"} <= formats


def test_a_song_is_shown_although_all_were_asked_for(services: dict[str, TestClient]) -> None:
    summary = services["shown"].get("/v1/summary", params={"media": SONG}).json()["summaries"][0]
    assert summary["valence_mean"] is not None
    curve = services["shown"].get("/v1/curve", params={"media": CALL}).json()["channels"]
    known = {one["channel"]: any(v is not None for v in one["valence"]) for one in curve}
    assert known == {"agent": False, "customer": True}
    rules = [
        row["rule"] for row in services["shown"].get("/v1/alerts", params={"media": CALL}).json()["alerts"]
    ]
    assert "talks on" in rules
    assert "angry agent" not in rules


def test_every_endpoint_wants_a_key_and_says_who_read_what(
    told: MemoryLake, services: dict[str, TestClient], tmp_path: Path
) -> None:
    """But for what the page and probes need: those tell nothing of any media."""
    free = {"/health", "/ready", "/v1/session"}
    key, entry = make("board", ["read"])
    write(tmp_path / "keys.yaml", {entry.id: entry})
    config = replace(
        services["shown"].app.state.config, keys=tmp_path / "keys.yaml", cache=tmp_path / "cache"
    )  # type: ignore[attr-defined]
    config = replace(config, audit=tmp_path / "audit.jsonl", host="0.0.0.0")
    with TestClient(build(config), base_url="http://mood.example") as client:
        until_ready(client)
        for path in set(ASKED) - free:
            for method, parameters, headers, body in ASKED[path][:1] or [("GET", {}, {}, None)]:
                said = client.request(method, path, params=parameters, headers=headers, json=body)
                assert said.status_code == 401, path
        bearer = {"Authorization": f"Bearer {key}"}
        for path in ("/v1/live", "/v1/live/calls", "/metrics"):
            assert client.get(path, headers=bearer).status_code == 403, path
        log = tmp_path / "audit.jsonl"
        assert log.read_text() == ""
        for path in (*OF_ONE_MEDIA, "/v1/sound"):
            before = len(log.read_text().splitlines())
            said = client.get(path, params={"media": CALL}, headers=bearer)
            assert said.status_code == 200, path
            lines = log.read_text().splitlines()
            assert len(lines) == before + 1, path
            assert f'"{CALL}"' in lines[-1]
            assert '"who":"board"' in lines[-1]
        client.post("/v1/search", headers=bearer, json={"moved_by": {"second": 30}, "limit": 200})
        assert CALL in log.read_text().splitlines()[-1]
