"""The sides of a call as parts of one media: they meet in one session, and give what two channels give."""

import json
import random
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from moodstream.models.base import Float
from moodstream.transforms.analyze import analyze_media
from moodstream.transforms.elements import Clip, Media, Packet, Part, Record
from moodstream.transforms.errors import PacketError, UsageError
from moodstream.transforms.partition import Partition, start_of
from moodstream.transforms.placing import Placing
from moodstream.transforms.read import find_media
from moodstream.transforms.roles import RoleWords
from moodstream.transforms.rules import Rule
from moodstream.transforms.session import Session, Settings
from moodstream.transforms.stream import LiveSettings
from moodstream.transforms.track import Rows, merge
from tests.support.crashes import RATE_HZ, START_MS, Store, heard, shuffled
from tests.support.fake_engine import FakeEngine
from tests.support.packets import cut, difference, l16, listed, record
from tests.transforms.test_partition import final

ROLES = ("agent", "customer")
CALL = Media("call", (Part("x", "audio"),), roles=ROLES, split=True)
SETTINGS = Settings(
    emotions_for="all",
    responsible="Ada",
    rules=(
        Rule("silent", "non_talk", for_s=0.5, every_s=0),
        Rule("over", "overlap", for_s=0.5, every_s=0),
        Rule("loud", "loudness_lufs", above=-30, for_s=1, every_s=0),
        Rule("low", "valence", below=0.4, for_s=1, on="customer", every_s=0),
    ),
)
TABLES = ("curve", "episode", "summary", "alert")


def packets_of(samples: Float, sizes: list[int], late_ms: int = 0) -> list[list[Packet]]:
    """Each side as a part of its own; the customer's packets say how late they begin."""
    lanes = []
    for role, side in zip(ROLES, samples, strict=True):
        at_ms = late_ms if role == "customer" else 0
        data = l16(side[None, at_ms * RATE_HZ // 1000 :])
        lane = cut("call", data, f"audio/L16;rate={RATE_HZ}", sizes, RATE_HZ * 2, part=role, role=role)
        lanes.append([Packet(**{**vars(packet), "pts_ms": packet.pts_ms + at_ms}) for packet in lane])
    return lanes


def mingled(lanes: list[list[Packet]], seed: int) -> list[Record]:
    """Packets of all lanes by time, a little shuffled; the final ones at the end."""
    closing = [lane.pop() for lane in lanes]
    ordered = sorted((packet for lane in lanes for packet in lane), key=lambda packet: packet.pts_ms)
    order = [*shuffled(ordered, seed, 3), *closing]
    return [record(packet, i, START_MS + 40 * i) for i, packet in enumerate(order)]


def batch(samples: Float) -> Rows:
    session, rows = Session(CALL, "run", FakeEngine(), SETTINGS), Rows()
    merge(rows, session.push(Clip(0, RATE_HZ, samples)))
    merge(rows, session.flush())
    return rows


def live(records: list[Record], *, crash: float = 0.0, seed: int = 0, **more: Any) -> Rows:
    """The committed rows; with chance `crash` it dies before a commit and goes on from the last one."""
    store, draw = Store(), random.Random(seed)
    timing = LiveSettings(window_ms=500, snapshot_ms=300, **more)

    def start() -> tuple[Partition, list[Record]]:
        recovered = store.recovered()
        here = Partition("packets", 0, FakeEngine(), SETTINGS, timing, recovered)
        return here, [each for each in records if each.offset >= start_of(recovered)[0]]

    partition, rest = start()
    while rest:
        for each in rest[:3]:
            partition.push(each)
        rest = rest[3:]
        if draw.random() < crash:
            partition, rest = start()
        else:
            store.commit(partition)
    return store.rows


@settings(max_examples=8, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(
    st.lists(st.integers(1, 4_000), min_size=1, max_size=8),
    st.integers(0, 1_000),
    st.sampled_from([0, 700, 2_500]),
    st.sampled_from([0.0, 0.2]),
)
def test_two_parts_are_two_channels(sizes: list[int], seed: int, late_ms: int, crash: float) -> None:
    samples = heard(9.3, 2, 3)
    samples[1, : late_ms * RATE_HZ // 1000] = 0
    sizes = (sizes * 1_000)[: 2_000 // len(sizes)] + [4_000] * 40
    rows = live(mingled(packets_of(samples, sizes, late_ms), seed), crash=crash, seed=seed)
    wanted = batch(samples)
    for name in TABLES:
        assert difference(final(rows, name), final(wanted, name)) == ""
    assert {row["rule"] for row in final(rows, "alert")} >= {"silent", "over", "loud"}
    (media,) = listed(rows, "media")
    assert (media["kind"], media["channels"], media["duration_ms"]) == ("call", 2, 9_300)
    assert len(media["sources"]) == 2
    assert json.loads(media["settings"])["responsible"] == "Ada"
    assert {row["responsible"] for row in listed(rows, "curve")} == {"Ada"}
    assert "dead_letter" not in rows


def test_files_of_the_sides_are_one_call(tmp_path: Path) -> None:
    samples = heard(6.2, 2, 5)
    samples[1, : int(0.7 * RATE_HZ)] = 0
    for role, side in zip(ROLES, samples, strict=True):
        with wave.open(str(tmp_path / f"{role}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE_HZ)
            side = side[int(0.7 * RATE_HZ) :] if role == "customer" else side
            file.writeframes((side * 32768).astype("<i2").tobytes())
    manifest = tmp_path / "calls.csv"
    lines = ["media_id,path,role,offset_ms", "call,agent.wav,agent,0", "call,customer.wav,customer,700"]
    manifest.write_text("\n".join(lines))
    (media,) = find_media([], manifest=manifest)
    assert (media.split, media.roles) == (True, ROLES)
    rows: Rows = {}
    for commit in analyze_media(media, FakeEngine(), SETTINGS):
        merge(rows, {name: [table] for name, table in commit.rows.items()})
    wanted = batch(samples)
    for name in TABLES:
        assert difference(final(rows, name), final(wanted, name)) == ""
    (row,) = pa.concat_tables(rows["media"]).to_pylist()
    assert (row["kind"], row["channels"], len(row["sources"])) == ("call", 2, 2)
    manifest.write_text("\n".join([*lines[:2], "call,customer.wav,agent,700"]))
    with pytest.raises(UsageError, match="each with a role of its own"):
        find_media([], manifest=manifest)


def test_by_default_the_agents_side_has_no_emotions() -> None:
    samples = heard(5, 2, 3)
    records = mingled(packets_of(samples, [8_000] * 9), 1)
    partition, rows = Partition("packets", 0, FakeEngine(), Settings(), LiveSettings()), Rows()
    for each in records:
        partition.push(each)
        step = partition.take()
        merge(rows, step.rows if step else {})
    curve = listed(rows, "curve")
    assert {row["reason"] for row in curve if row["role"] == "agent"} == {"role"}
    assert any(row["valence"] is not None for row in curve if row["role"] == "customer")
    assert {(row["emotions_for"], row["responsible"]) for row in curve} == {("customer", None)}
    by_role = {row["role"]: row for row in listed(rows, "summary")}
    assert by_role["agent"]["talk_ms"] > 0
    assert by_role["agent"]["sentiment_by_quarter"] is None
    assert len(by_role["customer"]["sentiment_by_quarter"]) == 4


@pytest.mark.parametrize(
    ("channels", "role", "word"),
    [
        (1, "agent,customer", "1 channel for agent, customer"),
        (2, "agent", "2 channels for agent mixed into one"),
    ],
)
def test_roles_without_a_channel_are_said(tmp_path: Path, channels: int, role: str, word: str) -> None:
    samples = heard(4, channels, 3)
    kind = f"audio/L16;rate={RATE_HZ};channels={channels}"
    packets = cut("call", l16(samples), kind, [8_000] * 9, RATE_HZ * 2 * channels, role=role)
    found = {"live": live([record(each, i, START_MS + 40 * i) for i, each in enumerate(packets)], crash=0.2)}
    with wave.open(str(tmp_path / "call.wav"), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((samples.T * 32768).astype("<i2").tobytes())
    (media,) = find_media(
        [tmp_path / "call.wav"], channels="split" if channels == 1 else "mix", roles=tuple(role.split(","))
    )
    rows: Rows = found.setdefault("batch", {})
    for commit in analyze_media(media, FakeEngine(), Settings()):
        merge(rows, {name: [table] for name, table in commit.rows.items()})
    assert {row["reason"] for row in listed(rows, "curve")} == {"role"}
    for rows in found.values():
        (letter,) = listed(rows, "dead_letter")
        assert letter["error"] == "roles"
        assert word in letter["message"]
        assert {row["role"] for row in listed(rows, "curve")} == {None}


def second(packet: Packet) -> list[Packet]:
    return [packet, Packet(**{**vars(packet), "seq": 1, "data": b"", "final": True})]


def other(channels: int = 1, pts_ms: int = 0, role: str = "customer") -> Packet:
    kind = f"audio/L16;rate={RATE_HZ};channels={channels}"
    return Packet("call", 0, b"\0" * 16_000, kind, pts_ms, part="b", role=role)


@pytest.mark.parametrize(
    ("first_role", "packet"),
    [
        ("agent", other(role="")),
        ("", other()),
        ("agent", other(channels=2)),
        ("agent", other(pts_ms=9_000_000)),
    ],
)
def test_parts_that_are_no_sides_are_refused_once(first_role: str, packet: Packet) -> None:
    data = l16(heard(3, 1, 0))
    first = list(cut("call", data, f"audio/L16;rate={RATE_HZ}", [8_000] * 9, RATE_HZ * 2, role=first_role))
    order = [*first[:2], *second(packet), *first[2:]]
    rows = live([record(each, i, START_MS + 40 * i) for i, each in enumerate(order)])
    letters = listed(rows, "dead_letter")
    assert {(row["stage"], row["error"]) for row in letters} == {("packet", "part")}
    assert listed(rows, "media")[0]["duration_ms"] == 3_000


def test_roles_that_an_installation_knows() -> None:
    kind, data = f"audio/L16;rate={RATE_HZ};channels=2", l16(heard(3, 2, 0))
    words = RoleWords(("customer", "agent"), {"operator": "agent", "Caller": "customer"})
    for said, roles in (("", ["customer", "agent"]), ("Operator, caller", ["agent", "customer"])):
        packets = cut("call", data, kind, [8_000] * 9, RATE_HZ * 4, role=said)
        rows = live([record(each, i, START_MS + 40 * i) for i, each in enumerate(packets)], roles=words)
        loud = {row["channel"]: row["role"] for row in listed(rows, "curve")}
        assert loud == {role: role for role in roles}
        media = json.loads(listed(rows, "media")[0]["settings"])
        assert (media["roles"], media["split"]) == (roles, True)


def test_placing_cuts_what_is_before_the_beginning() -> None:
    placing = Placing()
    placing.place("a", 1_000)
    placing.place("b", 400)
    assert (placing.late_ms("b"), placing.take_late_ms("b")) == (0, 0)
    clip = Clip(0, 1_000, np.arange(500, dtype=np.float32)[None])
    assert placing.trim("b", clip).samples.shape[1] == 0
    again = Placing()
    again.restore(placing.state())
    assert again.trim("b", clip).samples[0, 0] == 100
    assert again.trim("b", clip).samples.shape[1] == 500
    assert placing.trim("a", clip) is clip
    with pytest.raises(PacketError, match="after the others"):
        placing.place("c", 99_000_000)
