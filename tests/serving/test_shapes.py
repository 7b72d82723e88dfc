"""The shapes of other services: where they put things, on their scales; null where we do not know."""

from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from moodstream.serving.api.shapes import SHAPES
from moodstream.serving.api.shapes_calls import HUME_NAMES
from moodstream.serving.api.shapes_music import key_of
from moodstream.serving.api.subject import mean, runs
from tests.pipelines.conftest import MemoryLake


def shape(client: TestClient, media: str, name: str) -> Any:
    answer = client.get("/v1/analysis", params={"media": media, "shape": name})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_aws(client: TestClient) -> None:
    told = shape(client, "calls/call.wav", "aws")
    assert [one["ParticipantRole"] for one in told["Participants"]] == ["AGENT", "CUSTOMER"]
    about = told["ConversationCharacteristics"]
    assert about["TotalConversationDurationMillis"] == 90_000
    assert about["TalkTime"]["DetailsByParticipant"]["CUSTOMER"]["TotalTimeMillis"] == 42_000
    assert about["TalkTime"]["TotalTimeMillis"] == 84_000
    assert about["NonTalkTime"]["TotalTimeMillis"] == 9_000
    assert about["Interruptions"]["TotalCount"] == 6
    quarters = about["Sentiment"]["SentimentByPeriod"]["QUARTER"]
    assert [part["Score"] for part in quarters["CUSTOMER"]] == [-1.5, -3.0, 0.5, 2.0]
    assert [part["EndOffsetMillis"] for part in quarters["CUSTOMER"]] == [22_500, 45_000, 67_500, 90_000]
    assert about["Sentiment"]["OverallSentiment"] == {"AGENT": None, "CUSTOMER": -0.5}
    assert {part["Score"] for part in quarters["AGENT"]} == {None}
    assert told["Categories"]["MatchedCategories"] == ["angry <customer>"]
    [point] = told["Categories"]["MatchedDetails"]["angry <customer>"]["PointsOfInterest"]
    assert point == {"BeginOffsetMillis": 31_000, "EndOffsetMillis": 36_500}
    turns = told["Transcript"]
    assert turns == sorted(turns, key=lambda turn: turn["BeginOffsetMillis"])
    mine = [turn for turn in turns if turn["ParticipantRole"] == "CUSTOMER"]
    assert [(turn["BeginOffsetMillis"], turn["EndOffsetMillis"]) for turn in mine][:2] == [
        (6_000, 20_000),
        (26_000, 40_000),
    ]
    assert {turn["Sentiment"] for turn in mine} <= {"POSITIVE", "NEGATIVE", "NEUTRAL"}
    assert {turn["Sentiment"] for turn in turns if turn["ParticipantRole"] == "AGENT"} <= {None}
    assert told["moodstream"]["null"]


def test_hume(client: TestClient, memory_lake: MemoryLake) -> None:
    [told] = shape(client, "calls/call.wav", "hume")
    assert len(HUME_NAMES) == 48
    groups = told["results"]["predictions"][0]["models"]["prosody"]["grouped_predictions"]
    by_id = {group["id"]: group["predictions"] for group in groups}
    assert by_id["agent"] == []
    episodes = memory_lake.rows("episode", "calls/call.wav").to_pylist()
    assert [one["time"]["begin"] for one in by_id["customer"]] == [row["start_ms"] / 1000 for row in episodes]
    scores = {one["name"]: one["score"] for one in by_id["customer"][0]["emotions"]}
    assert list(scores) == HUME_NAMES
    rows = memory_lake.rows("curve", "calls/call.wav").to_pylist()
    here = [
        dict(row["emotion_scores"])["anger"]
        for row in rows
        if row["channel"] == "customer" and episodes[0]["start_ms"] <= row["start_ms"] < episodes[0]["end_ms"]
    ]
    assert scores["Anger"] == pytest.approx(np.mean(here), abs=1e-4)
    assert scores["Awe"] is None


def test_spotify(client: TestClient, memory_lake: MemoryLake) -> None:
    told = shape(client, "song.wav", "spotify")
    row = next(r for r in memory_lake.rows("summary", "song.wav").to_pylist() if r["modality"] == "fused")
    assert told["valence"] == pytest.approx((row["valence_mean"] + 1) / 2, abs=1e-4)
    assert told["energy"] == pytest.approx((row["arousal_mean"] + 1) / 2, abs=1e-4)
    assert (told["loudness"], told["duration_ms"], told["type"]) == (-18.2, 60_200, "audio_features")
    assert (told["tempo"], told["key"], told["mode"], told["danceability"]) == (None, -1, None, None)


def test_cyanite(client: TestClient) -> None:
    told = shape(client, "song.wav", "cyanite")
    track = told["data"]["libraryTrack"]
    result = track["audioAnalysisV6"]["result"]
    assert track["title"] == "A <b>song</b>"
    assert -1 <= result["valence"] <= 1
    assert result["energyLevel"] in ("low", "medium", "high", "variable")
    segments = result["segments"]
    assert segments["timestamps"] == [5.0 * i for i in range(13)]
    assert len(segments["valence"]) == len(segments["arousal"]) == 13
    assert segments["representativeSegmentIndex"] == 2
    curve = client.get("/v1/curve?media=song.wav&step_ms=5000").json()["channels"][0]
    assert segments["valence"] == pytest.approx(curve["valence"])
    assert result["genreTags"] is None
    assert set(result["mood"].values()) == {None}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("A minor", (9, 0)),
        ("Bb major", (10, 1)),
        ("C# minor", (1, 0)),
        ("", None),
        (None, None),
        ("H major", None),
    ],
)
def test_keys(text: str | None, key: tuple[int, int] | None) -> None:
    assert key_of(text) == key


def test_a_shape_says_whose_it_is_not(client: TestClient) -> None:
    for media, name in (("song.wav", "aws"), ("calls/call.wav", "spotify"), ("piece.mid", "hume")):
        answer = client.get("/v1/analysis", params={"media": media, "shape": name})
        assert answer.status_code == 400
        assert SHAPES[name].fits in answer.json()["detail"]


def test_small_things() -> None:
    assert mean([np.nan, 1, 3]) == 2
    assert mean([np.nan]) is None
    assert list(runs(np.zeros(4, bool))) == []
    assert list(runs(np.array([0, 1, 1, 0, 0, 1], bool), 1)) == [(1, 3), (5, 6)]
    assert list(runs(np.array([1, 0, 0, 1], bool), 2)) == [(0, 4)]
