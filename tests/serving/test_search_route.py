"""POST /v1/search over the small lake: every question, filters, what is refused, whose sides are found."""

import pytest

from moodstream.serving.search.build import update

QUESTIONS = {
    "like": {"media": "song.wav"},
    "arc": [[0, 0.1, -0.2], [0.5, 0.4, 0.3], [1, -0.5, 0.0]],
    "rises": {"dimension": "arousal"},
    "falls": {"dimension": "valence", "from": 0.0, "to": 0.5},
    "near": {"valence": 0.3, "arousal": 0.3, "seconds": 5, "radius": 0.6},
    "moved_by": {"second": 30},
    "quadrant": {"name": "Q1", "share": 0.1},
}


@pytest.fixture(scope="module")
def client(make_client, served_lake):
    update(served_lake)
    return make_client(served_lake)


def ask(client, status=200, **body):
    answer = client.post("/v1/search", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question_is_answered_in_one_shape(client, name):
    found = ask(client, **{name: QUESTIONS[name]}, limit=3)
    assert found["index"]["tracks"] == 9
    assert 1 <= len(found["items"]) <= 3
    for item in found["items"]:
        assert (item["distance"] is None) == (name not in ("like", "arc"))
        assert len(item["sparkline"]["valence"]) == len(item["sparkline"]["arousal"]) == 32
        assert item["why"]
        assert item["media_id"] != "song.wav" or name != "like"
    scores = [item["score"] for item in found["items"]]
    assert scores == sorted(scores, reverse=True)


def test_filters_hold_besides(client):
    def kinds(**filters):
        items = ask(client, arc=QUESTIONS["arc"], filters=filters)["items"]
        return {(item["media_id"], item["kind"]) for item in items}

    assert {kind for _, kind in kinds(kind="audio")} == {"audio"}
    assert kinds(tags={"genre": "rock"}) == {("song.wav", "audio")}
    assert kinds(tags={"genre": "ock"}) == kinds(tags={"enre": "rock"}) == set()
    assert kinds(q="SOME body") == {("song.wav", "audio")}
    assert kinds(min_duration_s=80) == {("calls/call.wav", "call")}
    assert kinds(min_duration_s=30, max_duration_s=50) == {("piece.mid", "midi")}


def test_pages_join_to_the_whole(client):
    whole = ask(client, arc=QUESTIONS["arc"], limit=9)["items"]
    parts = [ask(client, arc=QUESTIONS["arc"], limit=4, offset=begin)["items"] for begin in (0, 4, 8)]
    assert [item for part in parts for item in part] == whole


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 400, "none was given"),
        ({"rises": {}, "falls": {}}, 400, "not rises and falls"),
        ({"arc": [[0, 0, 0]]}, 400, "arc"),
        ({"arc": [[0.5, 0, 0], [0.5, 1, 1]]}, 400, "grow"),
        ({"arc": [[0, 0, 0], [1, 2, 0]]}, 400, "less than or equal to 1"),
        ({"rises": {"from": 0.95}}, 400, "shorter"),
        ({"rises": {}, "filters": {"kinds": "audio"}}, 400, "kinds"),
        ({"rises": {}, "limit": 200, "offset": 900}, 400, "first 1000"),
        ({"like": {"media": "nobody"}}, 404, "not in the index"),
        ({"like": {"media": "calls/call.wav", "channel": "agent"}}, 404, "not in the index"),
    ],
)
def test_what_cannot_be_asked_is_a_problem_that_says_why(client, body, status, said):
    told = ask(client, status, **body)
    assert said in told["detail"]
    assert told["what_to_do"]


def test_without_an_index_the_answer_says_how_to_make_one(make_client, own_lake):
    client = make_client(own_lake)
    assert "moodstream index" in ask(client, 503, rises={})["what_to_do"]
    update(own_lake)
    assert ask(client, rises={})["index"]["tracks"] == 9  # it is seen without a restart


def test_strange_bodies_do_not_break_it(client):
    headers = {"content-type": "application/json"}
    for content in (
        b"",
        b"[]",
        b'{"arc": [[NaN, 0, 0], [1, 0, 0]]}',
        b'{"like": {"media": "\\ud800"}}',
        b"\xff",
    ):
        answer = client.post("/v1/search", content=content, headers=headers)
        assert answer.status_code in (400, 404), content
        assert answer.headers["content-type"] == "application/problem+json"
