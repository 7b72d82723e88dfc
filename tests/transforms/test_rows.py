"""DiarizeEmotions and SummarizeMedia: the rows a session would have given, from any order of curve rows."""

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that

from moodstream.models.base import ACTIVITIES
from moodstream.transforms.diarize import DiarizeSettings, EpisodeSegmenter, settings_for
from moodstream.transforms.rows import DiarizeEmotions, SummarizeMedia, diarize_table, summarize_table
from moodstream.transforms.summarize import Summarizer
from moodstream.transforms.tables import SCHEMAS

LABELS = ("neutral", "happiness", "anger")


def cells(seed: int, n: int):
    """mean [n, 3], scores [n, 3], activity [n], loudness [n]; silence has no estimate."""
    random = np.random.default_rng(seed)
    logits = np.repeat(random.normal(0, 2, (n // 10 + 1, 3)), 10, axis=0)[:n] + random.normal(0, 0.5, (n, 3))
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    mean = random.uniform(-1, 1, (n, 3))
    activity = np.where(np.arange(n) % 40 < 34, 0, 3).astype(np.int8)
    mean[activity == 3] = np.nan
    return (
        mean.astype(np.float32),
        scores.astype(np.float32),
        activity,
        random.uniform(-40, -10, n).astype(np.float32),
    )


def curve(media_id: str, channel: str, values, modality: str = "speech") -> list[dict]:
    mean, scores, activity, loudness = values
    rows = []
    for i in range(len(mean)):
        known = bool(np.isfinite(mean[i, 0]))
        rows.append(
            {
                "media_id": media_id,
                "take": 0,
                "schema_version": 1,
                "analysis_id": "a",
                "channel": channel,
                "role": channel,
                "modality": modality,
                "start_ms": i * 500,
                "end_ms": (i + 1) * 500,
                "model": "m",
                "model_version": "1",
                "revision": 0,
                "is_final": True,
                "event_time": None,
                "emotions_for": "all",
                "activity": ACTIVITIES[activity[i]],
                "loudness_lufs": float(loudness[i]),
                "emotion_scores": dict(zip(LABELS, scores[i].tolist(), strict=True)) if known else None,
                "modalities": [modality] if known else [],
                "reason": None if known else "silence",
            }
            | {
                name + suffix: float(mean[i, j]) if known else None
                for j, name in enumerate(("valence", "arousal", "dominance"))
                for suffix in ("", "_std")
            }
        )
    return rows


def table(rows: list[dict], seed: int = 0) -> pa.Table:
    """Rows in random order, in two chunks."""
    order = np.random.default_rng(seed).permutation(len(rows))
    half = len(rows) // 2
    parts = [[rows[i] for i in order[:half]], [rows[i] for i in order[half:]]]
    return pa.concat_tables([pa.Table.from_pylist(part, schema=SCHEMAS["curve"]) for part in parts])


def expected(values):
    """Final runs and the summary from the plain objects."""
    mean, scores, activity, loudness = values
    estimated = np.isfinite(mean[:, 0])
    segmenter, summarizer = EpisodeSegmenter(LABELS, settings_for("speech")), Summarizer(LABELS)
    runs = segmenter.push(scores, estimated, mean[:, 0], mean[:, 1]) + segmenter.flush()
    summarizer.push(mean, activity, loudness, scores)
    summarizer.add_episodes(runs)
    return [run for run in runs if run.is_final], summarizer.finish()


def test_episodes_equal_those_of_the_segmenter():
    one, two = cells(1, 200), cells(2, 90)
    episodes = diarize_table(table(curve("b", "left", one) + curve("a", "left", two)))
    assert episodes.schema == SCHEMAS["episode"]
    for media_id, values in (("b", one), ("a", two)):
        rows = [row for row in episodes.to_pylist() if row["media_id"] == media_id]
        runs, _ = expected(values)
        assert [(row["episode"], row["emotion"], row["start_ms"], row["end_ms"]) for row in rows] == [
            (run.episode, run.label, run.start_cell * 500, run.end_cell * 500) for run in runs
        ]
        assert [row["confidence"] for row in rows] == pytest.approx(
            [run.confidence for run in runs], abs=1e-6
        )


def test_summary_equals_that_of_the_summarizer():
    values = cells(4, 300)
    row = summarize_table(table(curve("a", "mix", values))).to_pylist()[0]
    _, content = expected(values)
    for name in ("valence_mean", "arousal_slope", "loudness_lufs_mean", "estimated_share"):
        assert row[name] == pytest.approx(content[name], abs=1e-5)
    for name in ("emotion", "quadrant", "profile", "dynamics", "representative_start_ms", "moods", "talk_ms"):
        assert row[name] == content[name]
    assert dict(row["emotion_shares"]) == pytest.approx(content["emotion_shares"])


def test_sparse_rows_take_the_rest_from_the_complete_modality():
    """Speech rows only where there is an estimate: shares and talk are still those of the whole media."""
    values = cells(5, 200)
    fused = curve("a", "mix", values, "fused")
    speech = [row for row in curve("a", "mix", values) if row["valence"] is not None]
    rows = {row["modality"]: row for row in summarize_table(table(fused + speech)).to_pylist()}
    _, content = expected(values)
    for row in rows.values():
        assert row["estimated_share"] == pytest.approx(0.85)
        assert dict(row["activity_shares"]) == pytest.approx(content["activity_shares"])
        assert row["loudness_lufs_mean"] == pytest.approx(content["loudness_lufs_mean"], abs=1e-4)
        assert row["end_ms"] == 200 * 500


def test_two_channels_are_a_call():
    rows = summarize_table(table(curve("a", "agent", cells(6, 100)) + curve("a", "customer", cells(7, 100))))
    talk = rows.to_pylist()
    assert [row["channel"] for row in talk] == ["agent", "customer"]
    assert talk[0]["talk_ms"] == 500 * int((cells(6, 100)[2] == 0).sum())
    assert len(talk[0]["sentiment_by_quarter"]) == 4


def test_nothing_estimated_and_no_rows():
    mean, scores, activity, loudness = cells(8, 20)
    blank = curve("a", "mix", (np.full_like(mean, np.nan), scores, activity, loudness))
    assert len(diarize_table(table(blank))) == 0
    assert summarize_table(table(blank)).to_pylist()[0]["emotion"] is None
    assert len(diarize_table(SCHEMAS["curve"].empty_table())) == 0
    assert len(summarize_table(SCHEMAS["curve"].empty_table())) == 0


def test_in_a_pipeline():
    rows = table(curve("a", "mix", cells(9, 120)))
    settings = DiarizeSettings(switch_cost=2.0)

    def equals(want: pa.Table):
        def check(tables: list[pa.Table]) -> None:
            assert len(tables) == 1
            assert tables[0].equals(want)

        return check

    with TestPipeline() as pipeline:
        curves = pipeline | beam.Create([rows])
        episodes = curves | DiarizeEmotions(settings)
        summaries = curves | SummarizeMedia()
        assert_that(episodes, equals(diarize_table(rows, settings)), label="episodes")
        assert_that(summaries, equals(summarize_table(rows)), label="summaries")
