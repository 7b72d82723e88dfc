"""The read side: the best there is, SQL, and the named queries against numbers computed by hand."""

import numpy as np
import pytest

from moodstream.sinks.lake import LakeSink
from moodstream.sinks.parquet import ParquetSink
from moodstream.sinks.read import Lake
from moodstream.transforms.elements import Commit
from moodstream.transforms.errors import UsageError
from moodstream.transforms.tables import SCHEMAS


@pytest.fixture(params=[LakeSink, ParquetSink])
def sink(request, tmp_path):
    sink = request.param(tmp_path / "store")
    sink.open()
    return sink


def put(sink, *commits):
    for commit in commits:
        sink.write(commit)
    sink.flush()
    return Lake(sink.path)


def test_who_asks_for_nothing_gets_the_best_there_is(sink, commit):
    lake = put(
        sink,
        commit("song", modalities=("music", "fused", "speech")),
        commit("piece", modalities=("music", "symbolic")),
        commit("call", channels=("agent", "customer"), modalities=("speech",)),
    )
    best = {m: set(lake.curve(m)["modality"]) for m in ("song", "piece", "call")}
    assert best == {"song": {"fused"}, "piece": {"symbolic"}, "call": {"speech"}}
    assert lake.curve("call")["channel"].to_list() == ["agent"] * 12 + ["customer"] * 12
    assert lake.curve("call", "customer").height == 12
    assert set(lake.episodes("song", modality="music")["modality"]) == {"music"}
    assert set(lake.summary("piece")["modality"]) == {"symbolic"}
    assert lake.summary().select("media_id", "channel", "modality").rows() == [
        ("call", "agent", "speech"),
        ("call", "customer", "speech"),
        ("piece", "mix", "symbolic"),
        ("song", "mix", "fused"),
    ]
    rows = lake.sql(
        "SELECT media_id, channel, modality, count(*) n FROM best GROUP BY ALL ORDER BY ALL"
    ).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("call", "agent", "speech", 12),
        ("call", "customer", "speech", 12),
        ("piece", "mix", "symbolic", 12),
        ("song", "mix", "fused", 12),
    ]


def test_a_modality_without_any_estimate_is_not_the_best(sink, commit):
    whole = commit("a", modalities=("speech", "music"))
    summary = whole.rows["summary"].to_pylist()
    for row in summary:
        row["estimated_share"] = 0.0 if row["modality"] == "music" else 0.5
    changed = type(whole.rows["summary"]).from_pylist(summary, schema=SCHEMAS["summary"])
    lake = put(sink, Commit("a", 0, {**whole.rows, "summary": changed}))
    assert set(lake.curve("a")["modality"]) == {"speech"}
    assert lake.sql("SELECT DISTINCT modality FROM best").to_pylist() == [{"modality": "speech"}]


def test_sql_over_maps_lists_and_times(sink, commit):
    lake = put(sink, commit("a"), commit("b"))
    (row,) = lake.sql(
        """SELECT max(emotion_scores['happiness']) AS score,
            sum(list_contains(modalities, 'music')::INT) AS music,
            (SELECT min(analyzed_at)::VARCHAR FROM media) AS at,
            (SELECT tags['title'] FROM media WHERE media_id = 'a') AS title
        FROM curve WHERE media_id = 'a'"""
    ).to_pylist()
    assert (row["score"], row["music"], row["at"][:10], row["title"]) == (0.75, 11, "2026-03-01", "a")
    frame = lake.curve("a")
    assert dict(frame["emotion_scores"].to_list()[0]) == pytest.approx({"happiness": 0.75, "sadness": 0.25})
    assert frame["emotion_scores"].to_list()[6] is None


def test_wrong_queries_and_names_are_usage_errors(sink, commit):
    lake = put(sink, commit("a"))
    with pytest.raises(UsageError, match="curvs"):
        lake.sql("SELECT * FROM curvs")
    with pytest.raises(UsageError, match="syntax"):
        lake.sql("SELEC 1")
    for ask in (lake.curve, lake.episodes, lake.summary, lake.alerts):
        with pytest.raises(UsageError, match="no media 'z'"):
            ask("z")
    with pytest.raises(UsageError, match=r"-1\.\.1"):
        lake.near(2, 0)


def test_an_empty_store_answers_with_no_rows(sink):
    lake = Lake(sink.path)
    assert lake.media().is_empty()
    assert lake.media_ids() == []
    assert lake.dead_letters().is_empty()
    assert lake.summary().is_empty()
    assert lake.rising().is_empty()
    assert lake.near(0, 0).is_empty()
    assert lake.rows("curve", "a").num_rows == 0
    assert lake.sql("SELECT count(*) AS n FROM best").to_pylist() == [{"n": 0}]


def test_rising_ranks_by_the_fitted_rise_of_the_last_third(sink, commit):
    def late(height):
        return lambda t: max(0.0, t - 2 / 3) * 3 * height

    lake = put(
        sink,
        commit("steep", cells=90, arousal=late(0.9)),
        commit("gentle", cells=90, arousal=late(0.3)),
        commit("falls", cells=90, arousal=lambda t: 0.5 - t),
        commit(
            "dip", cells=90, arousal=lambda t: 0.5 if t < 2 / 3 else t - 1
        ),  # rises, but below what came before
        commit("short", cells=12, arousal=late(0.9)),
    )
    found = lake.rising()
    assert found["media_id"].to_list() == ["steep", "gentle"]
    curve = lake.curve("steep").filter(lake.curve("steep")["start_ms"] >= 30_000)
    slope = np.polyfit(curve["start_ms"], curve["arousal"].to_numpy(), 1)[0]
    assert found["rise"][0] == pytest.approx(slope * 15_000, abs=1e-6)
    assert found["arousal_last_third"][0] == pytest.approx(float(curve["arousal"].mean()))
    assert lake.rising(limit=1).height == 1


def test_near_orders_by_distance_from_a_point(sink, commit):
    lake = put(sink, commit("a"), commit("b"))  # both means lie at .25, .5
    assert lake.near(0.25, 0.5)["distance"].to_list() == [0, 0]
    assert lake.near(0.25, -0.5, limit=1)["distance"].to_list() == [1]


def test_nothing_is_fetched_from_the_internet(sink, commit):
    with put(sink, commit("a")).connection() as connection:
        (allowed,) = connection.sql("SELECT current_setting('autoinstall_known_extensions')").fetchall()
        assert allowed == (False,)
