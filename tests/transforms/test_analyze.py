from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that

from moodstream.sinks.base import MemorySink, WriteRows
from moodstream.transforms.analyze import AnalyzeMedia, analyze_media, from_packets
from moodstream.transforms.elements import Commit, Media, Packet, Part
from moodstream.transforms.engine import Engine
from moodstream.transforms.session import Settings
from tests.support.media_files import encode, sound

DEMO = Path(__file__).resolve().parents[2] / "demo"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine()


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("song") / "song.mp3", sound(8, 44_100, 2), 44_100)


def _packets(path: Path, size: int = 5_000) -> list[Packet]:
    data = path.read_bytes()
    starts = range(0, len(data), size)
    return [Packet("song", i, data[at : at + size], "audio/mpeg") for i, at in enumerate(starts)]


def _curve(commits: list[Commit]) -> list[tuple[object, ...]]:
    columns = ("modality", "start_ms", "activity", "valence", "arousal", "loudness_lufs")
    return [
        tuple(row[name] for name in columns) for commit in commits for row in commit.rows["curve"].to_pylist()
    ]


def test_media_become_one_commit_each_with_the_media_row(engine: Engine, song: Path) -> None:
    (commit,) = analyze_media(Media("song", (Part(str(song), "audio"),)), engine, Settings())
    (row,) = commit.rows["media"].to_pylist()
    assert (row["kind"], row["rate_hz"], row["channels"]) == ("audio", 44_100, 2)
    assert abs(row["duration_ms"] - 8_000) < 60
    assert dict(row["models"]).keys() == {"speech", "music", "activity"}
    assert {table["analysis_id"][0].as_py() for table in commit.rows.values()} == {row["analysis_id"]}


def test_packets_in_any_order_give_the_rows_of_the_file(engine: Engine, song: Path) -> None:
    (expected,) = analyze_media(Media("song", (Part(str(song), "audio"),)), engine, Settings())
    packets = _packets(song)
    np.random.default_rng(0).shuffle(packets)  # type: ignore[arg-type]

    def same(commits: list[Commit]) -> None:
        assert _curve(commits) == _curve([expected])

    with TestPipeline("FnApiRunner") as root:
        stream = root | beam.Create([*packets, packets[0]]).with_output_types(Packet)
        assert_that(stream | AnalyzeMedia(), same)


def test_packets_of_two_parts_are_one_media() -> None:
    media, payloads = from_packets(
        "x",
        [
            Packet("x", 0, b"MThd", "audio/midi", part="notes"),
            Packet("x", 0, b"ID3", "audio/mpeg", pts_ms=250),
        ],
    )
    assert [(part.kind, part.offset_ms) for part in media.parts] == [("audio", 250), ("midi", 0)]
    assert sorted(payloads.values()) == [b"ID3", b"MThd"]


def test_commits_reach_a_sink(song: Path) -> None:
    sink = MemorySink()
    broken = Media("broken", (Part(str(song) + " is not there", "audio"),))
    with TestPipeline("FnApiRunner") as root:
        _ = (
            root
            | beam.Create([Media("song", (Part(str(song), "audio"),)), broken])
            | AnalyzeMedia()
            | WriteRows(sink)
        )
    tables = {commit.media_id: set(commit.rows) for commit in sink}
    assert tables["broken"] == {"dead_letter"}
    assert {"media", "curve", "summary"} <= tables["song"]


def test_a_late_recording_is_fused_where_it_sounds(engine: Engine) -> None:
    parts = (
        Part(str(DEMO / "songs/bright_morning.mp3"), "audio", offset_ms=4_000),
        Part(str(DEMO / "songs/bright_morning.mid"), "midi", offset_ms=0),
    )
    commits = list(analyze_media(Media("x", parts), engine, Settings()))
    rows = [
        row for commit in commits for row in commit.rows["curve"].to_pylist() if row["modality"] == "fused"
    ]
    early = [row for row in rows if 1_000 <= row["start_ms"] < 3_000]
    assert all("music" not in row["modalities"] and "symbolic" in row["modalities"] for row in early)
    assert {"music", "symbolic"} in [set(row["modalities"]) for row in rows]
    loudness = {row["start_ms"]: row["loudness_lufs"] for row in rows}
    assert loudness[2_000] is None
    assert loudness[5_000] > -50


def test_a_song_whose_recording_is_broken_still_has_its_notes(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "song.mp3").write_bytes(b"no mp3 at all" * 100)
    parts = (Part(str(tmp_path / "song.mp3"), "audio"), Part(str(DEMO / "songs/empty_house.mid"), "midi"))
    (commit,) = analyze_media(Media("x", parts), engine, Settings())
    assert {row["modality"] for row in commit.rows["curve"].to_pylist()} >= {"symbolic"}
    assert [row["error"] for row in commit.rows["dead_letter"].to_pylist()] == ["not_media"]
    assert len(commit.rows["media"]) == 1


def test_long_media_come_in_portions_and_the_media_row_last(
    engine: Engine, song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moodstream.transforms.analyze.ROWS_A_COMMIT", 5)
    monkeypatch.setattr("moodstream.transforms.session.Session.gather_s", 2)
    commits = list(analyze_media(Media("song", (Part(str(song), "audio"),)), engine, Settings()))
    assert len(commits) > 1
    assert ["media" in commit.rows for commit in commits] == [False] * (len(commits) - 1) + [True]
    monkeypatch.undo()
    whole = list(analyze_media(Media("song", (Part(str(song), "audio"),)), engine, Settings()))
    ours, theirs = sorted(_curve(commits)), sorted(_curve(whole))
    assert [row[:3] for row in ours] == [row[:3] for row in theirs]
    for left, right in zip(ours, theirs, strict=True):
        assert left[3:] == pytest.approx(right[3:], abs=1e-4)


def test_musical_context_on_request(engine: Engine) -> None:
    pytest.importorskip("essentia", reason="essentia is not installed (moodstream[features])")
    media = Media("x", (Part(str(DEMO / "songs/bright_morning.mp3"), "audio"),))
    rows = [
        row
        for commit in analyze_media(media, engine, Settings(features=True))
        for row in commit.rows["summary"].to_pylist()
    ]
    music = next(row for row in rows if row["modality"] == "music")
    assert music["key"] in ("C major", "G major", "A minor")
    assert 60 < dict(music["features"])["tempo_bpm"] < 180
