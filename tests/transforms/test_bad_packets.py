"""Bad packets: each is one dead letter that says where it lies; others do not notice, its stream goes on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moodstream.transforms.elements import Packet, Record
from moodstream.transforms.partition import Partition
from moodstream.transforms.session import Settings
from moodstream.transforms.stream import LiveSettings
from moodstream.transforms.tables import KEYS
from moodstream.transforms.track import Rows, merge
from tests.support.coded_media import coded
from tests.support.fake_engine import FakeEngine
from tests.support.media_files import sound
from tests.support.packets import cut, difference, l16, listed, record

START_MS = 1_700_000_000_000
SONG = Path(__file__).resolve().parents[2] / "demo/songs/empty_house.mid"
PCM = "audio/L16;rate=8000"
BAD_AT = 3  # offset of the bad record


def headers_without(packet: Packet, *names: str, **more: str) -> tuple[tuple[str, bytes], ...]:
    kept = [pair for pair in record(packet, 0, START_MS).headers if pair[0] not in names]
    return (*kept, *((name, text.encode()) for name, text in more.items()))


def plain(**change: Any) -> Callable[[Packet], Record]:
    """A record whose columns are these."""
    return lambda packet: replace(record(packet, BAD_AT, START_MS), **change)


def other(**change: Any) -> Callable[[Packet], Record]:
    """The record of a packet that differs so."""
    return lambda packet: record(replace(packet, **change), BAD_AT, START_MS)


def header(*names: str, **more: str) -> Callable[[Packet], Record]:
    return lambda packet: plain(headers=headers_without(packet, *names, **more))(packet)


def lying_mp4() -> bytes:
    """Fragments whose first mdat claims to be 4 GB."""
    data = coded("mp4")
    at = data.index(b"mdat") - 4
    return data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :]


BOMB = (b"\0\1" + bytes([3 << 3])) * 60_000  # an hour of Opus in 180 kB
BROKEN_MIDI = SONG.read_bytes()[:60] + bytes.fromhex("003c40ffffff") * 20
NOISE = np.random.default_rng(0).bytes(4_000)

KINDS: dict[str, tuple[Callable[[Packet], Record], str, str]] = {  # how it is made, stage, error
    "another content type": (other(content_type="audio/mpeg"), "packet", "content_type"),
    "a type nobody knows": (other(content_type="application/x-unheard-of", part="b"), "decode", "no_codec"),
    "no type": (other(content_type="", part="b"), "decode", "no_codec"),
    "an absurd rate": (other(content_type="audio/L16;rate=4000000000", part="b"), "decode", "too_wide"),
    "channels": (other(content_type="audio/L16;channels=0", part="b"), "decode", "too_wide"),
    "50 MB": (plain(value=bytes(50 << 20)), "packet", "too_large"),
    "no value": (plain(value=None), "packet", "empty"),
    "no headers": (plain(headers=()), "packet", "headers"),
    "no seq": (header("seq"), "packet", "headers"),
    "another seq": (header(seq="99"), "packet", "headers"),
    "a flood": (header(**{f"h{i}": "x" for i in range(5_000)}), "packet", "headers"),
    "a long header": (header("role", role="x" * 100_000), "packet", "headers"),
    "another key": (plain(key=b"somebody"), "packet", "headers"),
    "no name": (plain(key=None, headers=()), "packet", "bad_id"),
    "a name of lines": (other(media_id="bad\nDROP TABLE"), "packet", "bad_id"),
    "a long name": (other(media_id="x" * 600), "packet", "bad_id"),
    "a very long name": (other(media_id="x" * 10_000), "packet", "headers"),
    "far ahead": (other(seq=1 << 50), "packet", "seq"),
    "notes that are none": (
        other(content_type="audio/midi", part="midi", seq=0, data=BROKEN_MIDI, final=True),
        "notes",
        "corrupt",
    ),
    "messages that are none": (
        other(content_type="audio/midi;format=messages", part="midi", seq=0, data=b"\0\x3c\x40"),
        "notes",
        "corrupt",
    ),
    "a claim": (other(data=b"", dataref="file:///etc/passwd"), "packet", "not_allowed"),
    "a second sound": (other(part="b"), "packet", "part"),
    "another producer": (header("ce_source", ce_source="urn:other"), "packet", "producer"),
}


def run(records: list[Record]) -> Rows:
    partition, rows = Partition("packets", 0, FakeEngine(), Settings(), LiveSettings(idle_ms=20_000)), Rows()
    for each in records:
        partition.push(each)
        step = partition.take()
        merge(rows, step.rows if step else {})
    partition.tick(START_MS + 10_000)
    partition.tick(START_MS + 60_000)
    step = partition.take()
    merge(rows, step.rows if step else {})
    return rows


def call(media_id: str, seed: int) -> list[Packet]:
    return list(cut(media_id, l16(sound(4, 8_000, 1, seed)), PCM, [8_000] * 20, 16_000))


def rows_of(rows: Rows, media_id: str, name: str) -> list[dict[str, Any]]:
    own = {"analysis_id", "event_time", "analyzed_at", "content_hash", "source", "sources", "tags"}
    return [
        {column: value for column, value in row.items() if column not in own}
        for row in listed(rows, name)
        if row["media_id"] == media_id
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_one_dead_letter_and_nobody_else_notices(kind: str) -> None:
    make, stage, error = KINDS[kind]
    good, bad = call("good", 1), call("bad", 2)
    lanes = [packet for pair in zip(good, bad, strict=True) for packet in pair]
    records = [
        record(packet, number + (number >= BAD_AT), START_MS + 40 * number)
        for number, packet in enumerate(lanes)
    ]
    calm = run(records)
    broken = make(bad[1])
    found = run([*records[:BAD_AT], replace(broken, offset=BAD_AT, time_ms=START_MS + 50), *records[BAD_AT:]])
    (letter,) = listed(found, "dead_letter")
    assert (letter["stage"], letter["error"]) == (stage, error)
    assert letter["reference"] == f"packets/0/{BAD_AT}"
    assert letter["source"] == "packets/0"
    assert letter["message"]
    assert len(letter["message"]) < 500
    for media_id in ("good", "bad"):
        for name in ("curve", "episode", "summary"):
            assert difference(rows_of(found, media_id, name), rows_of(calm, media_id, name), 1e-6) == ""


@pytest.mark.parametrize("kind", ["mp3", "aac", "ogg", "ts", "mp4", "webm"])
def test_bytes_that_do_not_decode_are_one_dead_letter_and_the_sound_goes_on(kind: str) -> None:
    content_type = {"ts": "video/mp2t", "mp4": "audio/mp4", "mp3": "audio/mpeg"}.get(kind, f"audio/{kind}")
    data = coded(kind, 6.0)
    packets = list(cut("m", data, content_type, [4_000] * 60, len(data) // 6))
    packets[8] = replace(packets[8], data=NOISE)
    rows = run([record(packet, number, START_MS + 40 * number) for number, packet in enumerate(packets)])
    letters = listed(rows, "dead_letter")
    assert [(letter["stage"], letter["error"]) for letter in letters] == [("decode", "corrupt")]
    assert int(letters[0]["reference"].rpartition("/")[2]) >= 8
    (media,) = listed(rows, "media")
    assert media["duration_ms"] > 4_500


def test_a_box_that_lies_about_its_size_is_told_and_the_sound_goes_on() -> None:
    packets = cut("m", lying_mp4(), "audio/mp4", [2_000] * 60, len(coded("mp4")) // 3)
    rows = run([record(packet, number, START_MS + 40 * number) for number, packet in enumerate(packets)])
    assert [letter["error"] for letter in listed(rows, "dead_letter")] == ["corrupt"]
    assert listed(rows, "media")[0]["duration_ms"] > 2_500


def test_a_bomb_is_cut_off_and_the_stream_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moodstream.transforms.coded.MAX_PACKET_S", 20)
    kind = "audio/opus;framing=length;channels=1"
    some = b"\0\1" + bytes([3 << 3])
    packets = [
        Packet("m", 0, some * 50, kind),
        Packet("m", 1, BOMB, kind, 3_000),
        Packet("m", 2, some * 50, kind, 9**7),
    ]
    rows = run([record(packet, number, START_MS + 40 * number) for number, packet in enumerate(packets)])
    (letter,) = listed(rows, "dead_letter")
    assert (letter["error"], letter["reference"]) == ("too_long", "packets/0/1")
    assert 20_000 < listed(rows, "media")[0]["duration_ms"] < 30_000


@pytest.mark.parametrize("pts_ms", [1 << 53, 1_700_000_000_000, 3_600_000, 0])
def test_whatever_the_senders_clock_says_rows_have_a_time(pts_ms: int) -> None:
    packets = [replace(packet, pts_ms=pts_ms) for packet in call("m", 1)]
    rows = run([record(packet, n, START_MS + 40 * n) for n, packet in enumerate(packets)])
    assert listed(rows, "media")[0]["duration_ms"] == 4_000
    first = listed(rows, "curve")[0]["event_time"].timestamp() * 1000
    assert START_MS - 3_600_000 <= first <= START_MS


@pytest.mark.parametrize(
    "media_id", ["../../etc/passwd", "a/../../b", "x'; DROP TABLE curve; --", "%2e%2e/x", "é🎵", "a b"]
)
def test_names_are_only_names(media_id: str) -> None:
    rows = run([record(packet, n, START_MS + 40 * n) for n, packet in enumerate(call(media_id, 1))])
    assert {row["media_id"] for name in KEYS for row in listed(rows, name)} == {media_id}
