"""The REST routes about media: what they give, page, tag, refuse and survive."""

from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from moodstream.sinks.read import Lake
from tests.pipelines.conftest import MemoryLake, add_media, add_track
from tests.serving.conftest import HOSTILE, MakeClient, write_lake

ARROW = "application/vnd.apache.arrow.stream"


def test_the_list_has_what_the_lake_has(client: TestClient, served_lake: Path) -> None:
    told = client.get("/v1/media?sparkline=true").json()
    assert [item["media_id"] for item in told["items"]] == sorted(Lake(served_lake).media_ids())
    assert told["total"] == len(told["items"])
    assert told["next"] is None
    song = next(item for item in told["items"] if item["media_id"] == "song.wav")
    assert (song["title"], song["artist"], song["kind"]) == ("A <b>song</b>", "Some Body", "audio")
    [channel] = song["channels"]
    assert channel["modality"] == "fused"
    assert len(song["sparkline"]["valence"]) == 32
    assert song["sparkline"]["valence"][13] is None  # 24.5 to 26.3 s: silence
    assert all(-1 <= value <= 1 for value in song["sparkline"]["arousal"] if value is not None)
    call = next(item for item in told["items"] if item["kind"] == "call")
    assert [channel["role"] for channel in call["channels"]] == ["customer", "agent"]
    assert call["channels"][1]["valence_mean"] is None
    assert call["alerts"] == 1


@pytest.mark.parametrize("name", HOSTILE)
def test_any_id_can_be_asked_for(client: TestClient, name: str) -> None:
    [item] = client.get("/v1/media", params={"media": name}).json()["items"]
    assert item["media_id"] == item["title"] == name
    for route in ("curve", "episodes", "summary", "alerts"):
        answer = client.get(f"/v1/{route}", params={"media": name})
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert "a=b" not in answer.headers.get("set-cookie", "")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("kind=call", ["calls/call.wav"]),
        ("q=SONG body", ["song.wav"]),
        ("q=<SCRIPT>", ["<script>alert(1)</script>.mp3"]),
        ("q=%27;", ["'; DROP TABLE media; --"]),
        ("q=%25%25", []),
        ("q=_o_g", []),
        ("min_duration_s=50&max_duration_s=70", ["song.wav"]),
        ("kind=audio&min_duration_s=1000", []),
        ("kind=x' OR '1'='1", []),
    ],
)
def test_filters(client: TestClient, query: str, found: list[str]) -> None:
    told = client.get(f"/v1/media?{query}").json()
    assert [item["media_id"] for item in told["items"]] == found
    assert told["total"] == len(found)


@pytest.mark.parametrize(
    "sort", ["media_id", "valence_mean", "arousal_mean", "duration_ms", "emotion", "kind"]
)
@pytest.mark.parametrize("turn", ["", "-"])
def test_pages_of_any_sort_are_the_list_cut(client: TestClient, sort: str, turn: str) -> None:
    whole = client.get("/v1/media", params={"sort": turn + sort}).json()["items"]

    def value(item: dict) -> object:
        first = item["channels"][0]
        return item[sort] if sort in item else first[sort]

    values = [value(item) for item in whole]
    known = [one for one in values if one is not None]
    assert known == sorted(known, reverse=bool(turn))
    assert None not in values[: len(known)]
    paged, cursor = [], None
    while True:
        asked = {"sort": turn + sort, "limit": 2} | ({"cursor": cursor} if cursor else {})
        page = client.get("/v1/media", params=asked).json()
        paged += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    assert paged == whole


def test_a_page_stays_where_it_is_while_the_lake_grows(make_client: MakeClient, own_lake: Path) -> None:
    client = make_client(own_lake)
    client.app.state.store.wait(20)  # type: ignore[attr-defined]
    first = client.get("/v1/media?limit=4").json()
    before = [item["media_id"] for item in client.get("/v1/media").json()["items"]]
    more = MemoryLake()
    for name in ("!before.mp3", "zz after.mp3"):
        add_track(more, name, 12, "music")
        add_media(more, name, 12, "audio", name)
    write_lake(more, own_lake)
    assert client.get("/v1/media", params={"media": "zz after.mp3"}).status_code == 200  # at once
    assert client.get("/v1/media", params={"media": "!before.mp3"}).status_code == 200
    rest = client.get("/v1/media", params={"cursor": first["next"]}).json()
    seen = [item["media_id"] for item in first["items"] + rest["items"]]
    assert seen == sorted([*before, "zz after.mp3"])


def test_a_curve_is_the_lakes(client: TestClient, served_lake: Path) -> None:
    told = client.get("/v1/curve?media=song.wav").json()
    rows = Lake(served_lake).curve("song.wav")
    [channel] = told["channels"]
    assert (told["duration_ms"], told["step_ms"]) == (60_200, 500)
    assert channel["modality"] == "fused"  # the best there is
    for name in ("start_ms", "activity", "reason"):
        assert channel[name] == rows[name].to_list()
    for name in ("valence", "valence_std", "arousal", "dominance", "loudness_lufs"):
        for found, wanted in zip(channel[name], rows[name].to_list(), strict=True):
            assert found == (None if wanted is None else pytest.approx(wanted, abs=0.006))
    assert set(channel["emotion_scores"]) == {"Q1", "Q2", "Q3", "Q4"}
    assert all(len(scores) == len(rows) for scores in channel["emotion_scores"].values())


def test_a_stretch_and_a_modality(client: TestClient) -> None:
    told = client.get("/v1/curve?media=song.wav&modality=music&from_ms=1200&to_ms=2600").json()
    assert told["channels"][0]["start_ms"] == [1000, 1500, 2000, 2500]
    assert told["channels"][0]["modality"] == "music"
    nothing = client.get("/v1/curve?media=song.wav&from_ms=900000").json()
    assert nothing["channels"][0]["start_ms"] == []


def test_curves_as_arrow_are_the_rows(client: TestClient, memory_lake: MemoryLake) -> None:
    answer = client.get("/v1/curve?media=piece.mid", headers={"Accept": f"{ARROW}, application/json;q=0.5"})
    assert answer.headers["content-type"] == ARROW
    rows = pa.ipc.open_stream(answer.content).read_all()
    assert rows.to_pylist() == memory_lake.rows("curve", "piece.mid").to_pylist()
    for route, table in (("episodes", "episode"), ("summary", "summary"), ("alerts", "alert")):
        answer = client.get(f"/v1/{route}?media=calls/call.wav", headers={"Accept": ARROW})
        rows = pa.ipc.open_stream(answer.content).read_all()
        assert len(rows) == len(memory_lake.rows(table, "calls/call.wav"))


def test_episodes_summaries_and_alerts(client: TestClient, memory_lake: MemoryLake) -> None:
    for route, name, table in (
        ("episodes", "episodes", "episode"),
        ("summary", "summaries", "summary"),
        ("alerts", "alerts", "alert"),
    ):
        told = client.get(f"/v1/{route}?media=calls/call.wav").json()[name]
        wanted = memory_lake.rows(table, "calls/call.wav").to_pylist()
        assert len(told) == len(wanted)
        assert {row["channel"] for row in told} == {row["channel"] for row in wanted}
    everywhere = client.get("/v1/alerts").json()
    assert [alert["media_id"] for alert in everywhere["alerts"]] == ["calls/call.wav"]
    assert everywhere["next"] is None


def test_an_agents_emotions_stay_here(make_client: MakeClient, tmp_path: Path) -> None:
    lake = MemoryLake()
    for role in ("agent", "customer"):
        add_track(lake, "call", 30, "speech", channel=role, role=role)
    lake.all = {
        name: [type(row)(**vars(row) | {"emotions_for": "all", "responsible": "R"})
               if "emotions_for" in vars(row) else row for row in rows]
        for name, rows in lake.all.items()
    }  # fmt: skip
    add_media(lake, "call", 30, "call", "call.wav")
    folder = write_lake(lake, tmp_path / "lake")
    told = make_client(folder).get("/v1/analysis?media=call").json()
    agent, customer = told["curve"]["channels"]
    assert set(agent["valence"]) == {None}
    assert set(agent["reason"]) == {"role"}
    assert None not in customer["valence"]
    assert {row["channel"] for row in told["episodes"]} == {"customer"}
    again = make_client(folder, emotions_for="all", responsible="R", cache=tmp_path / "c").get(
        "/v1/curve?media=call&channel=agent"
    )
    assert None not in again.json()["channels"][0]["valence"]


def test_who_has_it_already_gets_304(client: TestClient) -> None:
    url = "/v1/curve?media=song.wav"
    tag = client.get(url).headers["etag"]
    again = client.get(url, headers={"If-None-Match": f'"other", {tag}'})
    assert again.status_code == 304
    assert not again.content
    assert again.headers["etag"] == tag
    assert client.get(f"{url}&step_ms=1000", headers={"If-None-Match": tag}).status_code == 200
    assert client.get(url, headers={"If-None-Match": tag, "Accept": ARROW}).status_code == 200


def test_large_answers_are_packed_for_those_who_can_unpack(client: TestClient) -> None:
    url = "/v1/curve?media=song.wav"
    assert client.get(url).headers["content-encoding"] == "gzip"
    plain = client.get(url, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.json() == client.get(url).json()


@pytest.mark.parametrize(
    ("url", "status", "says"),
    [
        ("/v1/curve?media=song.wav&chanel=x", 400, "did you mean channel?"),
        ("/v1/media?srot=x", 400, "did you mean sort?"),
        ("/v1/media?sort=valance_mean", 400, "did you mean valence_mean?"),
        ("/v1/media?limit=0", 400, "limit"),
        ("/v1/media?limit=1001", 400, "limit"),
        ("/v1/media?min_valence=nan", 400, "min_valence"),
        ("/v1/media?cursor=rubbish", 400, "cursor"),
        ("/v1/media?cursor=W10", 400, "cursor"),
        ("/v1/alerts?cursor=W10", 400, "cursor"),
        ("/v1/alerts?take=1", 400, "take"),
        ("/v1/curve", 400, "media"),
        ("/v1/curve?media=song.wav&step_ms=700", 400, "step_ms"),
        ("/v1/curve?media=song.wav&from_ms=5&to_ms=4", 400, "from_ms"),
        ("/v1/curve?media=song.wav&channel=left", 404, "mix (fused)"),
        ("/v1/curve?media=song.wav&take=7", 404, "take 7"),
        ("/v1/media?media=nope", 404, "nope"),
        ("/v1/analysis?media=song.wav&format=jam", 400, "did you mean jams?"),
        ("/v1/analysis?media=song.wav&format=csv&shape=spotify", 400, "leave one away"),
        ("/v1/analysis?media=song.wav&shape=aws", 400, "calls"),
        ("/v2/media", 404, "v2/media"),
    ],
)
def test_what_is_wrong_is_said(client: TestClient, url: str, status: int, says: str) -> None:
    answer = client.get(url)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["status"] == status
    assert says in told["detail"]
    assert told["what_to_do"]
    assert set(told) == {"type", "title", "status", "detail", "instance", "what_to_do"}


def test_a_cursor_belongs_to_its_sort(client: TestClient) -> None:
    cursor = client.get("/v1/media?limit=1&sort=kind").json()["next"]
    assert client.get("/v1/media", params={"cursor": cursor, "sort": "-kind"}).status_code == 400


def test_forms_that_we_do_not_have(client: TestClient) -> None:
    answer = client.get("/v1/curve?media=song.wav", headers={"Accept": "image/png"})
    assert answer.status_code == 406
    assert ARROW in answer.json()["what_to_do"]
    for accept in ("*/*", "application/*;q=0.1", "text/html, */*;q=0.1"):
        answer = client.get("/v1/curve?media=song.wav", headers={"Accept": accept})
        assert answer.headers["content-type"] == "application/json"


def test_operators_see_how_it_is(client: TestClient) -> None:
    assert client.get("/health").status_code == 200
    ready = client.get("/ready").json()
    assert ready["ready"] is True
    client.get("/v1/curve", params={"media": "nope"})
    measured = client.get("/metrics").text
    assert 'moodstream_serve_seconds_count{route="/v1/curve",status="4xx"}' in measured
    assert "nope" not in measured
    me = client.get("/v1/me").json()
    assert (me["emotions_for"], me["live"], me["lake"]) == ("customer", False, ready["lake"])


def test_models_are_cards(client: TestClient) -> None:
    cards = {card["name"]: card for card in client.get("/v1/models").json()["models"]}
    assert {"speech", "music", "symbolic"} <= set(cards)
    assert all(card["licence"] and card["limits"] and card["corpora"] for card in cards.values())


def test_it_says_what_it_can(client: TestClient) -> None:
    told = client.get("/openapi.json").json()
    assert told["openapi"].startswith("3.1")
    assert {"/v1/media", "/v1/curve", "/v1/sound", "/v1/models"} <= set(told["paths"])
    assert "422" not in str(told["paths"]["/v1/curve"]["get"]["responses"].keys())
    assert client.get("/docs").status_code == 404  # it would come from a CDN


def test_takes_are_apart(make_client: MakeClient, tmp_path: Path) -> None:
    lake = MemoryLake()
    for take in (0, 1):
        add_track(lake, "call", 10 + 10 * take, "speech", channel="customer", role="customer", seed=take)
        add_media(
            lake, "call", 10 + 10 * take, "call", "call", analyzed_at=datetime(2026, 1, 1 + take, tzinfo=UTC)
        )
    half = {name: len(rows) for name, rows in lake.all.items()}
    first = MemoryLake()
    second = MemoryLake()
    for name, rows in lake.all.items():
        n = (
            sum(1 for row in rows if getattr(row, "end_ms", 0) <= 10_000)
            if name == "curve"
            else half[name] // 2
        )
        n = 20 if name == "curve" else n
        first.all[name] = rows[:n]
        second.all[name] = [type(row)(**vars(row) | {"take": 1}) for row in rows[n:]]
    folder = write_lake(first, tmp_path / "lake")
    write_lake_take(second, folder)
    client = make_client(folder)
    last = client.get("/v1/curve?media=call").json()
    assert (last["take"], last["duration_ms"]) == (1, 20_000)
    before = client.get("/v1/curve?media=call&take=0").json()
    assert (before["take"], len(before["channels"][0]["start_ms"])) == (0, 20)
    assert [item["take"] for item in client.get("/v1/media?media=call").json()["items"]] == [0, 1]


def write_lake_take(lake: MemoryLake, folder: Path) -> None:
    """The second take of the only media of a lake."""
    from moodstream.sinks.lake import LakeSink
    from moodstream.transforms.elements import Commit

    sink = LakeSink(folder)
    sink.open()
    rows = {name: lake.rows(name, "call") for name in ("curve", "episode", "summary", "media")}
    sink.write(Commit("call", 1, rows))
    sink.flush()
    sink.close()


def test_quoting_of_the_examples(client: TestClient) -> None:
    """As docs/serving.md writes addresses."""
    for name in HOSTILE:
        assert client.get(f"/v1/summary?media={quote(name, safe='')}").status_code == 200
