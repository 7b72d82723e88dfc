"""Plausible commits for the tests of the sinks."""

import math
import multiprocessing
import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import pytest

from moodstream.transforms.elements import (
    SCHEMA_VERSION,
    Alert,
    Commit,
    CurvePoint,
    DeadLetter,
    Episode,
    MediaRow,
    Summary,
)
from moodstream.transforms.tables import to_table

START = datetime(2026, 3, 1, tzinfo=UTC)
MakeCommit = Callable[..., Commit]


def _commit(
    media_id: str,
    *,
    analysis_id: str | None = None,
    version: int = 1,
    cells: int = 12,
    channels: tuple[str, ...] = ("mix",),
    modalities: tuple[str, ...] = ("fused", "music"),
    kind: str = "audio",
    arousal: Callable[[float], float] = math.sin,
    valence: Callable[[float], float] = math.cos,
    dead: tuple[str, ...] = (),
    alerts: int = 0,
    source: str | None = None,
    take: int = 0,
) -> Commit:
    """One analysis of one media; `version` moves it in time and shows in `model_version`."""
    source = source or f"/music/{media_id}"
    row = {
        "media_id": media_id,
        "take": take,
        "schema_version": SCHEMA_VERSION,
        "analysis_id": analysis_id or uuid.uuid4().hex,
    }
    curve, episodes, summaries, rules = [], [], [], []
    for channel in channels:
        for modality in modalities:
            span = {
                **row,
                "channel": channel,
                "role": None if channel == "mix" else channel,
                "modality": modality,
                "model": modality,
                "model_version": str(version),
                "revision": 0,
                "is_final": True,
                "event_time": None,
                "emotions_for": "customer",
            }
            for i in range(cells):
                t = i / max(1, cells - 1)
                silent = i == cells // 2
                curve.append(
                    CurvePoint(
                        **span,
                        start_ms=500 * i,
                        end_ms=500 * (i + 1),
                        valence=None if silent else valence(t),
                        valence_std=None if silent else 0.1,
                        arousal=None if silent else arousal(t),
                        arousal_std=None if silent else 0.2,
                        dominance=None,
                        dominance_std=None,
                        activity="silence" if silent else "music",
                        loudness_lufs=-70.0 if silent else -14.0,
                        emotion_scores=None if silent else {"happiness": 0.75, "sadness": 0.25},
                        modalities=[] if silent else [modality],
                        reason="silence" if silent else None,
                    )
                )
            half = 500 * (cells // 2)
            for number, (start, end, emotion) in enumerate(
                [(0, half, "happiness"), (half, 500 * cells, "sadness")]
            ):
                episodes.append(
                    Episode(
                        **span,
                        start_ms=start,
                        end_ms=end,
                        episode=number,
                        emotion=emotion,
                        confidence=0.8,
                        valence_mean=0.5 - number,
                        arousal_mean=0.25,
                    )
                )
            rules += [
                Alert(
                    **span,
                    start_ms=500 * i,
                    end_ms=500 * (i + 1),
                    rule="anger",
                    severity="high",
                    value=0.9,
                    threshold=0.7,
                    evidence="curve",
                )
                for i in range(alerts)
            ]
            summaries.append(
                Summary(
                    **span,
                    start_ms=0,
                    end_ms=500 * cells,
                    valence_mean=0.25,
                    valence_std=0.1,
                    valence_slope=0.0,
                    arousal_mean=0.5,
                    arousal_std=0.1,
                    arousal_slope=0.1,
                    dominance_mean=None,
                    dominance_std=None,
                    dominance_slope=None,
                    emotion="happiness",
                    emotion_scores={"happiness": 0.75, "sadness": 0.25},
                    quadrant="Q1",
                    quadrant_shares={"Q1": 1.0},
                    emotion_shares={"happiness": 0.5, "sadness": 0.5},
                    moods=["happy"],
                    profile="steady",
                    dynamics="gentle",
                    representative_start_ms=0,
                    estimated_share=1 - 1 / cells,
                    activity_shares={"music": 1.0},
                    loudness_lufs_mean=-14.0,
                    talk_ms=None,
                    non_talk_ms=None,
                    interruptions=None,
                    sentiment_by_quarter=None,
                    features=None,
                    key=None,
                )
            )
    letters = [
        DeadLetter(
            **row, reference=reference, source=source, stage="decode", error="truncated", message="short"
        )
        for reference in dead
    ]
    media = MediaRow(
        **row,
        source=source,
        sources=[source],
        content_hash=f"hash of {media_id} {version}",
        kind=kind,
        duration_ms=500 * cells,
        rate_hz=44_100,
        channels=2,
        tags={"title": media_id},
        analyzed_at=START + timedelta(minutes=version),
        models={m: str(version) for m in modalities},
        settings="mix",
        modalities=list(modalities),
        encoder_ms={"music": 500 * cells},
    )
    tables = {
        "curve": curve,
        "episode": episodes,
        "summary": summaries,
        "alert": rules,
        "dead_letter": letters,
        "media": [media],
    }
    return Commit(media_id, take, {name: to_table(name, rows) for name, rows in tables.items()})


def _dead(media_id: str, *, analysis_id: str | None = None, error: str = "empty", take: int = 0) -> Commit:
    """A media of which nothing could be read."""
    letter = DeadLetter(
        media_id=media_id,
        take=take,
        schema_version=SCHEMA_VERSION,
        analysis_id=analysis_id or uuid.uuid4().hex,
        reference=f"/music/{media_id}",
        source=f"/music/{media_id}",
        stage="read",
        error=error,
        message="nothing in it",
    )
    return Commit(media_id, take, {"dead_letter": to_table("dead_letter", [letter])})


@pytest.fixture(scope="session")
def processes() -> BaseContext:
    """Starts processes that share nothing with this one, and import what they need only once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["moodstream.sinks.stores", "moodstream.sinks.read"])
    return context


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The address of a database to play with: the one in MOODSTREAM_TEST_POSTGRES, or one started here."""
    if given := os.environ.get("MOODSTREAM_TEST_POSTGRES"):
        yield given
        return
    found = [shutil.which("initdb"), *sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)]
    initdb = next((Path(path) for path in found if path and Path(path).with_name("postgres").exists()), None)
    if initdb is None:
        pytest.skip("no PostgreSQL here: `apt-get install postgresql`, or set MOODSTREAM_TEST_POSTGRES")
    folder = Path(tempfile.mkdtemp(prefix="moodstream-pg-"))
    who: dict[str, Any] = {}
    if os.geteuid() == 0:  # it refuses to run as root
        names = [entry for entry in pwd.getpwall() if entry.pw_name in ("postgres", "nobody")]
        user = max(names, key=lambda entry: entry.pw_name)
        os.chown(folder, user.pw_uid, user.pw_gid)
        who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def call(program: str, *arguments: str) -> None:
        command = [str(initdb.with_name(program)), "-D", str(folder / "data"), *arguments]
        with (folder / "log").open("ab") as log:
            done = subprocess.run(command, stdout=log, stderr=log, cwd=folder, check=False, **who)
        assert done.returncode == 0, (folder / "log").read_text()

    call("initdb", "-U", "moodstream", "-A", "trust", "-E", "UTF8", "--no-sync")
    call("pg_ctl", "-w", "-o", f"-c listen_addresses='' -k '{folder}' -c fsync=off", "start")
    yield f"postgresql://moodstream@/postgres?host={folder}"
    call("pg_ctl", "-m", "immediate", "stop")
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def commit() -> MakeCommit:
    return _commit


@pytest.fixture(scope="session")
def dead() -> MakeCommit:
    return _dead
