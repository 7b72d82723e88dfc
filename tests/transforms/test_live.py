"""Live sessions: the final rows are those of batch, however the sound is cut and wherever it goes on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from moodstream.models.base import Float
from moodstream.transforms.decode import decode
from moodstream.transforms.elements import Clip, Media, Part
from moodstream.transforms.engine import Engine
from moodstream.transforms.errors import UsageError
from moodstream.transforms.live import LiveSession
from moodstream.transforms.session import Session, Settings
from moodstream.transforms.state import pack, unpack
from moodstream.transforms.summarize import MOST_BINS
from moodstream.transforms.tables import KEYS
from moodstream.transforms.track import Rows, merge

DEMO = Path(__file__).resolve().parents[2] / "demo"
RATE_HZ = 8_000
BEGAN_MS = 1_700_000_000_000
EVERYBODY = Settings(emotions_for="all")
OWN = {"revision", "is_final", "event_time"}  # columns in which live rows differ


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine()


@pytest.fixture(scope="module")
def call() -> Float:
    """Eleven seconds of the bundled call, [2, n] at 8 kHz."""
    clip = decode(DEMO / "calls/parcel.flac")
    assert clip.rate_hz == RATE_HZ
    return clip.samples[:, : int(11.3 * RATE_HZ)]


CALL = Media("call", (Part("call", "audio"),), roles=("agent", "customer"), split=True)
SONG = Media("song", (Part("song", "audio"),))


def rows_of(rows: Rows, name: str, *, final: bool = True) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Rows of one table by key, the last of each, without what is live's own."""
    found = {}
    for row in pa.concat_tables(rows[name]).to_pylist() if name in rows else []:
        if row["is_final"] == final:
            found[tuple(row[column] for column in KEYS[name])] = {
                column: value for column, value in row.items() if column not in OWN
            }
    return found


def assert_same(found: Any, wanted: Any, atol: float = 1e-4) -> None:
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for name in wanted:
            assert_same(found[name], wanted[name], atol)
    elif isinstance(wanted, list | tuple):
        assert len(found) == len(wanted)
        for one, two in zip(found, wanted, strict=True):
            assert_same(one, two, atol)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, abs=atol)
    else:
        assert found == wanted


def batch(engine: Engine, media: Media, samples: Float, choices: Settings = EVERYBODY) -> Rows:
    session = Session(media, "run", engine, choices)
    rows: Rows = {}
    merge(rows, session.push(Clip(0, RATE_HZ, samples)))
    merge(rows, session.flush())
    return rows


def fresh(engine: Engine, media: Media, choices: Settings = EVERYBODY) -> LiveSession:
    return LiveSession(media, "run", engine, choices, BEGAN_MS)


def live(
    engine: Engine,
    media: Media,
    samples: Float,
    cuts: list[tuple[int, bool]],
    choices: Settings = EVERYBODY,
) -> Rows:
    """Rows of a live session fed with pieces of these lengths; after some it goes on in a new one."""
    session, rows, at = fresh(engine, media, choices), Rows(), 0
    for size, moved in [*cuts, (samples.shape[1], False)]:
        merge(rows, session.push(Clip(0, RATE_HZ, samples[:, at : at + size])))
        at += size
        if moved:
            state, session = pack(session.state()), fresh(engine, media, choices)
            session.restore(unpack(state))
    merge(rows, session.flush())
    return rows


@settings(
    max_examples=4,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # to shrink a failure would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(st.tuples(st.integers(0, 30_000), st.booleans()), max_size=8),
    st.sampled_from([CALL, SONG]),
    st.sampled_from([EVERYBODY, replace(EVERYBODY, one_voice=True)]),
)
def test_final_rows_are_those_of_batch(
    engine: Engine, call: Float, cuts: list[tuple[int, bool]], media: Media, choices: Settings
) -> None:
    wanted, found = batch(engine, media, call, choices), live(engine, media, call, cuts, choices)
    for name in ("curve", "episode", "summary"):
        assert rows_of(found, name).keys() == rows_of(wanted, name).keys()
        for key, row in rows_of(wanted, name).items():
            assert_same(rows_of(found, name)[key], row)


def test_what_is_told_depends_on_the_media_and_not_on_the_cuts(engine: Engine, call: Float) -> None:
    one = live(engine, CALL, call, [(4_000, False)] * 20)
    two = live(engine, CALL, call, [(1_111, False), (7_003, True), (39, True), (30_000, True)])
    for name in ("curve", "episode"):
        first, second = (pa.concat_tables(rows[name]).to_pylist() for rows in (one, two))
        order = [*KEYS[name], "revision"]
        for rows in (first, second):
            rows.sort(key=lambda row: [str(row[column]).rjust(9) for column in order])
        assert len(first) == len(second)
        for row, other in zip(first, second, strict=True):
            assert_same(other, row)


def test_a_provisional_row_comes_half_a_second_after_its_cell(engine: Engine, call: Float) -> None:
    session = fresh(engine, CALL)
    for cell in range(6):
        here = call[:, cell * 4_000 : (cell + 1) * 4_000]
        assert "curve" not in session.push(Clip(0, RATE_HZ, here[:, :-1]))
        rows = rows_of(session.push(Clip(0, RATE_HZ, here[:, -1:])), "curve", final=False)
        assert {key[4] for key in rows} == ({(cell - 1) * 500} if cell else set())
        assert {row["channel"] for row in rows.values()} == ({"agent", "customer"} if cell else set())
        assert all(row["loudness_lufs"] is not None for row in rows.values())


def test_a_final_row_comes_within_3_s_and_carries_its_time(engine: Engine, call: Float) -> None:
    session, seen = fresh(engine, CALL), 0
    for cell in range(20):
        rows = session.push(Clip(0, RATE_HZ, call[:, cell * 4_000 : (cell + 1) * 4_000]))
        for row in pa.concat_tables(rows["curve"]).to_pylist() if rows else []:
            assert row["event_time"].timestamp() * 1000 == BEGAN_MS + row["start_ms"]
            assert row["revision"] == int(row["is_final"])
            if row["is_final"]:
                assert (cell + 1) * 500 - row["end_ms"] <= 3_000
                seen += 1
    assert seen >= 2 * (20 - 6)


def test_running_episodes_are_told_and_revised(engine: Engine, call: Float) -> None:
    rows = pa.concat_tables(live(engine, CALL, call, [(4_000, False)] * 30)["episode"]).to_pylist()
    told: dict[tuple[str, int], list[tuple[int, bool]]] = {}
    for row in rows:
        told.setdefault((row["channel"], row["episode"]), []).append((row["revision"], row["is_final"]))
    for revisions in told.values():
        assert [number for number, _ in revisions] == list(range(len(revisions)))
        assert [final for _, final in revisions] == [False] * (len(revisions) - 1) + [True]
    assert max(map(len, told.values())) > 1


def test_sound_that_never_came_has_no_estimate_and_keeps_its_time(engine: Engine, call: Float) -> None:
    session, rows = fresh(engine, CALL), Rows()
    merge(rows, session.push(Clip(0, RATE_HZ, call[:, :41_000])))
    merge(rows, session.skip(1_200, RATE_HZ, 2))
    assert session.position_ms() == 41_000 // 8 + 1_200
    state, session = pack(session.state()), fresh(engine, CALL)
    session.restore(unpack(state))
    merge(rows, session.push(Clip(0, RATE_HZ, call[:, 41_000 + 9_600 :])))
    merge(rows, session.flush())
    found = rows_of(rows, "curve")
    lost = {key[4] for key, row in found.items() if row["reason"] == "gap"}
    assert lost == {5_000, 5_500, 6_000}
    assert all(row["valence"] is None for key, row in found.items() if key[4] in lost)
    assert found.keys() == rows_of(batch(engine, CALL, call), "curve").keys()


def channels_of(state: dict[str, Any]) -> list[dict[str, Any]]:
    return [channel for _, side, _ in state["sides"] for channel in side["channels"]]


def after_ten_hours(engine: Engine, call: Float) -> dict[str, Any]:
    """The state of a call, with what grows as long as it can get."""
    session = fresh(engine, CALL)
    session.push(Clip(0, RATE_HZ, np.tile(call, 7)))  # more than what episodes are revised by
    state = session.state()
    for channel in channels_of(state):
        channel["talk"], channel["talk_cells"] = np.resize(channel["talk"], 9_000), 72_000
    for *_, track in state["tracks"]:
        noise = np.random.default_rng(0).random((MOST_BINS, track["summarizer"]["_bins"].shape[1]))
        track["summarizer"]["_bins"] = noise.astype(np.float32)
    return state


def test_state_of_a_call_of_ten_hours_stays_small(engine: Engine, call: Float) -> None:
    assert len(pack(after_ten_hours(engine, call))) < 200 * 1024


def test_musical_context_is_refused(engine: Engine) -> None:
    with pytest.raises(UsageError, match="live"):
        LiveSession(SONG, "run", engine, Settings(features=True))
