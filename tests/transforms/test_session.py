"""The session against an independent reference, and its rules about people."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soxr

from moodstream.models.base import RATE_HZ, Float
from moodstream.transforms.decode import decode
from moodstream.transforms.elements import Clip, Media, Part
from moodstream.transforms.engine import Engine
from moodstream.transforms.session import Session, Settings
from moodstream.transforms.track import Rows, merge
from tests.support.media_files import encode
from tests.support.reference import reference

NUMBERS = ("valence", "valence_std", "arousal", "arousal_std", "dominance", "dominance_std", "loudness_lufs")
CODECS = ("mp3", "wav", "flac", "ogg", "opus", "m4a", "mp4", "webm", "ts")


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine()


@pytest.fixture(scope="module")
def real(corpora: Path) -> Float:
    """Half a minute of real speech, then music, then both, [2, n] at 44.1 kHz."""
    speech = decode(corpora / "music/demo_media/libri_198-209-0000.ogg")
    music = decode(corpora / "music/demo_media/brahms_hungarian_dance_5.ogg")
    voice, song = (soxr.resample(clip.samples[0], clip.rate_hz, 44_100) for clip in (speech, music))
    voice, song = voice[: 44_100 * 10], song[: 44_100 * 10]
    mono = np.concatenate([voice, song, 0.5 * (voice + song)])
    return np.stack([mono, 0.8 * mono]).astype(np.float32)


def _run(engine: Engine, media: Media, clips: Iterator[Clip], settings: Settings | None = None) -> Rows:
    session = Session(media, "run", engine, settings or Settings())
    rows: Rows = {}
    for clip in clips:
        merge(rows, session.push(clip))
    merge(rows, session.flush())
    return rows


def _cut(clip: Clip, seed: int, longest: int = 200_000) -> Iterator[Clip]:
    """A clip in pieces of random length, some empty."""
    rng = np.random.default_rng(seed)
    at = 0
    while at < clip.samples.shape[1]:
        n = int(rng.integers(0, rng.integers(1, longest)))
        yield Clip(at * 1000 // clip.rate_hz, clip.rate_hz, clip.samples[:, at : at + n])
        at += n


def _media(**columns: object) -> Media:
    return Media("x", (Part("x", "audio"),), **columns)  # type: ignore[arg-type]


def _numbers(rows: Rows) -> tuple[list[tuple[object, ...]], Float]:
    table = pa.concat_tables(rows["curve"]).sort_by(
        [("channel", "ascending"), ("modality", "ascending"), ("start_ms", "ascending")]
    )
    names = ["channel", "modality", "start_ms", "activity", "reason"]
    keys = list(zip(*(table[name].to_pylist() for name in names), strict=True))
    columns = [np.array(table[name].to_pylist(), np.float32) for name in NUMBERS]
    return keys, np.stack(columns, 1)


@pytest.mark.parametrize("codec", CODECS)
def test_rows_do_not_depend_on_how_the_sound_is_cut(
    engine: Engine, real: Float, tmp_path: Path, codec: str
) -> None:
    path = _encoded(tmp_path, codec, real)
    whole = decode(path)
    keys, numbers = _numbers(_run(engine, _media(), iter([whole])))
    assert len(keys) >= 60
    for seed in (1, 2):
        cut_keys, cut_numbers = _numbers(_run(engine, _media(), _cut(whole, seed)))
        assert cut_keys == keys
        np.testing.assert_allclose(cut_numbers, numbers, atol=1e-4, equal_nan=True)


def _encoded(folder: Path, codec: str, real: Float) -> Path:
    """The sound as a file; Opus knows only some rates."""
    if codec in ("opus", "webm"):
        wide = soxr.resample(real.T, 44_100, 48_000).T
        return encode(folder / f"sound.{codec}", np.ascontiguousarray(wide), 48_000)
    return encode(folder / f"sound.{codec}", real, 44_100)


class _Trickle(io.RawIOBase):
    """A file that gives a few bytes at a time and cannot seek, as a stream would."""

    def __init__(self, path: Path, seed: int) -> None:
        self._file = path.open("rb")
        self._rng = np.random.default_rng(seed)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        return self._file.readinto(view[: int(self._rng.integers(1, 3_000))])


@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec not in ("m4a", "mp4")])
def test_rows_do_not_depend_on_how_the_bytes_arrive(
    engine: Engine, real: Float, tmp_path: Path, codec: str
) -> None:
    path = _encoded(tmp_path, codec, real)
    keys, numbers = _numbers(_run(engine, _media(), iter([decode(path)])))
    trickled = decode(_Trickle(path, seed=3))  # type: ignore[arg-type]
    cut_keys, cut_numbers = _numbers(_run(engine, _media(), iter([trickled])))
    assert cut_keys == keys
    np.testing.assert_allclose(cut_numbers, numbers, atol=1e-4, equal_nan=True)


def test_estimates_are_those_of_the_unblocked_reference(engine: Engine, real: Float) -> None:
    rows = _run(engine, _media(), _cut(Clip(0, 44_100, real), seed=5))
    mono = soxr.resample(real.mean(0), 44_100, RATE_HZ, quality="HQ")
    expected = reference(engine.audio, mono.astype(np.float32))
    compared = 0
    for table in rows["curve"]:
        for row in table.to_pylist():
            if row["modality"] == "fused":
                continue
            cell = row["start_ms"] // 500
            says = getattr(expected, row["modality"])
            got = [row["valence"], row["arousal"], row["valence_std"], row["arousal_std"]]
            np.testing.assert_allclose(got, [*says.mean[cell, :2], *says.std[cell, :2]], atol=1e-4)
            scores = dict(row["emotion_scores"])
            np.testing.assert_allclose(list(scores.values()), says.scores[cell], atol=1e-4)
            compared += 1
    assert compared > 30


def test_both_speech_and_music_are_found_and_fused(engine: Engine, real: Float) -> None:
    rows = [
        row
        for table in _run(engine, _media(), iter([Clip(0, 44_100, real)]))["curve"]
        for row in table.to_pylist()
    ]
    fused = [row for row in rows if row["modality"] == "fused"]
    assert [row["start_ms"] for row in fused] == [500 * cell for cell in range(60)]
    assert "speech" in {row["activity"] for row in fused[2:18]}
    assert "music" in {row["activity"] for row in fused[22:38]}
    took_part = {modality for row in fused for modality in row["modalities"]}
    assert took_part == {"speech", "music"}
    for row in fused:
        assert (row["valence"] is None) == (row["reason"] is not None) == (not row["modalities"])


def test_out_of_phase_stereo_gives_the_rows_of_one_side(engine: Engine, real: Float) -> None:
    _, one = _numbers(_run(engine, _media(), iter([Clip(0, 44_100, real[:1])])))
    _, both = _numbers(_run(engine, _media(), iter([Clip(0, 44_100, np.stack([real[0], -real[0]]))])))
    np.testing.assert_allclose(both[:, :6], one[:, :6], atol=0.02, equal_nan=True)


@pytest.fixture(scope="module")
def call(real: Float) -> Clip:
    voice = real[0, : 44_100 * 10]
    return Clip(0, 44_100, np.stack([np.pad(voice, (0, 441_000)), np.pad(voice, (441_000, 0))]))


def _judged(engine: Engine, media: Media, call: Clip, **settings: str) -> dict[str, set[bool]]:
    """By channel, whether its cells with speech have an estimate."""
    found: dict[str, set[bool]] = {}
    for table in _run(engine, media, iter([call]), Settings(**settings))["curve"]:  # type: ignore[arg-type]
        for row in table.to_pylist():
            if row["activity"] == "speech":
                found.setdefault(row["channel"], set()).add(row["valence"] is not None)
                assert row["emotions_for"] == settings.get("emotions_for", "customer")
    return found


def test_only_the_customer_is_judged(engine: Engine, call: Clip) -> None:
    media = _media(split=True, roles=("agent", "customer"))
    assert _judged(engine, media, call) == {"agent": {False}, "customer": {True}}


def test_sides_that_cannot_be_told_apart_count_as_the_agents(engine: Engine, call: Clip) -> None:
    assert _judged(engine, _media(split=True), call) == {"ch0": {False}, "ch1": {False}}
    assert _judged(engine, _media(roles=("agent", "customer")), call) == {"mix": {False}}


def test_lifting_the_rule_is_written_into_every_row(engine: Engine, call: Clip) -> None:
    media = _media(split=True, roles=("agent", "customer"))
    assert _judged(engine, media, call, emotions_for="all") == {"agent": {True}, "customer": {True}}


def test_an_agents_row_says_why_it_is_empty_and_keeps_talk_and_loudness(engine: Engine, call: Clip) -> None:
    rows = _run(engine, _media(split=True, roles=("agent", "customer")), iter([call]))
    agent = [row for table in rows["curve"] for row in table.to_pylist() if row["channel"] == "agent"]
    assert {row["reason"] for row in agent} == {"role"}
    assert all(row["emotion_scores"] is None and row["dominance"] is None for row in agent)
    assert agent[4]["loudness_lufs"] > -50
    summaries = {row["channel"]: row for table in rows["summary"] for row in table.to_pylist()}
    assert 7_000 < summaries["agent"]["talk_ms"] <= 10_500
    assert summaries["agent"]["valence_mean"] is None
    assert summaries["agent"]["sentiment_by_quarter"] is None
    assert summaries["customer"]["sentiment_by_quarter"] is not None
    assert not any(row["channel"] == "agent" for table in rows["episode"] for row in table.to_pylist())


def test_silence_is_null_with_its_reason(engine: Engine) -> None:
    rows = _run(engine, _media(), iter([Clip(0, 16_000, np.zeros((1, 80_000), np.float32))]))
    (table,) = [table for table in rows["curve"] if len(table)]
    assert set(table["reason"].to_pylist()) == {"silence"}
    assert table["valence"].null_count == len(table) == 10
    assert "episode" not in rows
