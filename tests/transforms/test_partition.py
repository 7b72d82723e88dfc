"""Streams of a partition: the rows of batch, however packets are cut and shuffled, and after any crash."""

from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from moodstream.models.base import Float
from moodstream.transforms.elements import Clip, Media, Packet, Part, Record, Recovered
from moodstream.transforms.engine import Engine
from moodstream.transforms.errors import UsageError
from moodstream.transforms.notes import read_notes
from moodstream.transforms.partition import Partition, Snapshot
from moodstream.transforms.session import Session, Settings
from moodstream.transforms.stream import LiveSettings
from moodstream.transforms.track import Rows, merge
from tests.support.crashes import DEMO, RATE_HZ, START_MS, TIMING, crashing, heard, many_streams, shuffled
from tests.support.fake_engine import FakeEngine
from tests.support.packets import cut, difference, l16, listed, record

QUICKLY = (Phase.explicit, Phase.generate)  # to shrink a failure would take minutes
OWN = ("revision", "is_final", "event_time", "analysis_id")
TABLES = ("curve", "episode", "summary", "media", "dead_letter")
SETTINGS = Settings()


@pytest.fixture(scope="module")
def engine() -> Engine:
    return FakeEngine()


def batch(engine: Engine, media: Media, samples: Float | None, midi: bytes = b"") -> Rows:
    session = Session(media, "run", engine, SETTINGS, with_sound=samples is not None)
    rows: Rows = {}
    if midi:
        session.add_notes(read_notes(DEMO / "songs/empty_house.mid"))
    if samples is not None:
        merge(rows, session.push(Clip(0, RATE_HZ, samples)))
    merge(rows, session.flush())
    return rows


def final(rows: Rows, name: str) -> list[dict[str, Any]]:
    """Final rows without what is live's own."""
    return [
        {column: value for column, value in row.items() if column not in OWN}
        for row in listed(rows, name)
        if row.get("is_final", True)
    ]


def sent(packets: list[Packet], *, step_ms: int = 40) -> list[Record]:
    return [record(packet, i, START_MS + step_ms * i) for i, packet in enumerate(packets)]


def run(engine: Engine, records: list[Record], timing: LiveSettings | None = None) -> Rows:
    partition = Partition("packets", 0, engine, SETTINGS, timing or LiveSettings())
    rows: Rows = {}
    for each in records:
        partition.push(each)
        step = partition.take()
        merge(rows, step.rows if step else {})
    return rows


@settings(max_examples=12, deadline=None, phases=QUICKLY)
@given(st.lists(st.integers(0, 30_000), max_size=12), st.integers(0, 1_000), st.sampled_from([1, 2]))
def test_final_rows_are_those_of_batch_however_packets_come(
    sizes: list[int], seed: int, channels: int
) -> None:
    engine = FakeEngine()
    samples = heard(9.3, channels, 3)
    role = "agent,customer" if channels == 2 else ""
    kind = f"audio/L16;rate={RATE_HZ};channels={channels}"
    packets = list(cut("m", l16(samples), kind, sizes, RATE_HZ * 2 * channels, role=role))
    rows = run(engine, sent(shuffled(packets, seed)))
    split = {"roles": ("agent", "customer"), "split": True} if channels == 2 else {}
    wanted = batch(engine, Media("m", (Part("x", "audio"),), **split), samples)  # type: ignore[arg-type]
    for name in ("curve", "episode", "summary"):
        assert difference(final(rows, name), final(wanted, name)) == ""
    (media,) = listed(rows, "media")
    assert (media["duration_ms"], media["channels"], media["rate_hz"]) == (9_300, channels, RATE_HZ)
    assert media["kind"] == ("call" if channels == 2 else "audio")
    assert "dead_letter" not in rows


@settings(max_examples=6, deadline=None, phases=QUICKLY)
@given(st.lists(st.integers(0, 300), max_size=6), st.integers(0, 1_000), st.booleans())
def test_notes_in_pieces_and_with_sound(sizes: list[int], seed: int, with_sound: bool) -> None:
    engine = FakeEngine()
    midi = (DEMO / "songs/empty_house.mid").read_bytes()
    packets = list(cut("m", midi, "audio/midi", sizes, len(midi), part="midi"))
    last = packets.pop()
    samples = heard(8, 1, 5) if with_sound else None
    if samples is not None:
        packets += cut("m", l16(samples), f"audio/L16;rate={RATE_HZ}", [8_000] * 15, RATE_HZ * 2)
    rows = run(engine, sent([*shuffled(packets[:-1], seed, 2), packets[-1], last]))
    wanted = batch(engine, Media("m", (Part("x", "audio"),)), samples, midi)
    for name in ("curve", "episode", "summary"):
        assert difference(final(rows, name), final(wanted, name)) == ""
    assert listed(rows, "media")[0]["kind"] == ("audio" if with_sound else "midi")


@pytest.mark.parametrize("seed", range(4))
def test_no_crash_changes_a_row(engine: Engine, seed: int) -> None:
    records = many_streams(seed)
    wanted, _ = crashing(engine, records, seed, 0, SETTINGS)
    assert {row["media_id"] for row in listed(wanted, "media")} >= {"m0", "m1", "m2", "m3", "m4", "notes"}
    assert {row["take"] for row in listed(wanted, "media") if row["media_id"] == "m0"} == {0, 1}
    assert any(row["reason"] == "gap" for row in listed(wanted, "curve"))
    found, crashes = crashing(engine, records, seed + 100, 0.25, SETTINGS)
    assert 5 < crashes < 100
    for name in TABLES:
        assert difference(listed(found, name), listed(wanted, name), 1e-6) == ""


def test_a_stream_without_packets_is_closed_and_forgotten(engine: Engine) -> None:
    kind, data = f"audio/L16;rate={RATE_HZ}", l16(heard(2, 1, 0))
    packets = list(cut("m", data, kind, [4_000] * 8, RATE_HZ * 2))[:-1]
    partition = Partition("packets", 0, engine, SETTINGS, TIMING)
    for each in sent(packets):
        partition.push(each)
    last_ms = START_MS + 40 * (len(packets) - 1)
    partition.tick(last_ms + 19_999)
    assert partition.streams == 1
    partition.tick(last_ms + 20_000)
    assert partition.streams == 0
    step = partition.take()
    assert step is not None
    assert [row["duration_ms"] for row in listed(step.rows, "media")] == [2_000]
    assert not Snapshot.from_bytes(step.snapshots["m"]).is_open
    assert partition.take() is None
    partition.tick(last_ms + 90_000)
    step = partition.take()
    assert step is not None
    assert step.snapshots == {"m": b""}


def test_late_duplicates_are_no_new_take_and_a_media_that_comes_back_is(engine: Engine) -> None:
    kind, data = f"audio/L16;rate={RATE_HZ}", l16(heard(2, 1, 0))
    packets = list(cut("m", data, kind, [4_000] * 8, RATE_HZ * 2))
    records = sent([*packets, packets[2], packets[-1]])
    rows = run(engine, records, TIMING)
    assert [row["take"] for row in listed(rows, "media")] == [0]
    back_ms = records[-1].time_ms + 5_000
    again = [record(each, 100 + i, back_ms + i) for i, each in enumerate(packets)]
    rows = run(engine, [*records, *again], TIMING)
    assert [row["take"] for row in listed(rows, "media")] == [0, 1]
    takes = [[row for row in final(rows, "curve") if row["take"] == take] for take in (0, 1)]
    assert difference([row | {"take": 0} for row in takes[1]], takes[0]) == ""


def test_lost_sound_is_as_long_as_the_next_packet_says(engine: Engine) -> None:
    samples = heard(6, 1, 1) + np.float32(0.01)
    packets = list(cut("m", l16(samples), f"audio/L16;rate={RATE_HZ}", [8_000] * 12, RATE_HZ * 2))
    rows = run(engine, sent(packets[:4] + packets[6:], step_ms=500))
    reasons = {row["start_ms"]: row["reason"] for row in final(rows, "curve") if row["modality"] == "fused"}
    assert [start for start, reason in reasons.items() if reason == "gap"] == [2_000, 2_500]
    assert max(reasons) == 5_500


@pytest.mark.parametrize(
    ("packet", "stage", "error"),
    [
        (Packet("m", 3, b"\0" * 80, "audio/PCMU;rate=8000"), "packet", "content_type"),
        (Packet("m", 200_000, b"\0" * 80, f"audio/L16;rate={RATE_HZ}"), "packet", "seq"),
        (Packet("m", 0, b"\0" * 80, "audio/PCMU", part="other"), "packet", "part"),
        (Packet("m", 0, b"MThd\0", "audio/midi", part="midi", final=True), "notes", "corrupt"),
        (Packet("n", 0, b"\0" * 80, "audio/L16;rate=9999999"), "decode", "too_wide"),
        (Packet("n", 0, b"\0" * 80, "text/plain"), "decode", "no_codec"),
    ],
)
def test_a_bad_packet_is_a_dead_letter_and_nobody_else_notices(
    engine: Engine, packet: Packet, stage: str, error: str
) -> None:
    samples = heard(4, 1, 2)
    packets = list(cut("m", l16(samples), f"audio/L16;rate={RATE_HZ}", [8_000] * 8, RATE_HZ * 2))
    rows = run(engine, sent([*packets[:3], packet, *packets[3:]]))
    (letter,) = listed(rows, "dead_letter")
    assert (letter["stage"], letter["error"], letter["reference"]) == (stage, error, "packets/0/3")
    assert "@" in letter["analysis_id"]  # or it could not land
    wanted = batch(engine, Media("m", (Part("x", "audio"),)), samples)
    own = [row for row in final(rows, "curve") if row["media_id"] == "m"]
    assert difference(own, final(wanted, "curve")) == ""


def test_snapshots_of_something_else_are_refused(engine: Engine) -> None:
    snapshots = {"m": Snapshot(5, START_MS, True, b"PK").to_bytes()}
    with pytest.raises(UsageError, match="'m' cannot be read"):
        Partition("packets", 0, engine, SETTINGS, TIMING, Recovered(0, 9, "", snapshots))
