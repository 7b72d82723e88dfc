"""Replay: the packets of files, in the order of time, and what may go wrong with them."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moodstream.models.base import Float
from moodstream.pipelines.packing import CODECS
from moodstream.pipelines.replay import Disorder, disturb, packets_of
from moodstream.transforms.decode import decode
from moodstream.transforms.elements import Clip, Media, Packet, Part
from moodstream.transforms.errors import DecodeError
from moodstream.transforms.notes import read_notes
from moodstream.transforms.streamed import midi_is_whole, open_decoder, open_runs
from tests.support.coded_media import Pipe, coded, decoded
from tests.support.media_files import sound, write_wav

DEMO = Path(__file__).resolve().parents[2] / "demo"


@pytest.fixture
def song(tmp_path: Path) -> Media:
    path = write_wav(tmp_path / "song.wav", sound(2.3, 22_050), 22_050)
    return Media("song", (Part(str(path), "audio"), Part(str(DEMO / "songs/empty_house.mid"), "midi")))


def test_sound_and_notes_in_order_of_time_and_closed_together(song: Media) -> None:
    packets = list(packets_of(song, 500, "l16"))
    assert [due for due, _ in packets] == sorted(due for due, _ in packets)
    sounds = [packet for _, packet in packets if packet.part == "audio"]
    assert [packet.seq for packet in sounds] == list(range(6))
    assert [packet.pts_ms for packet in sounds] == [0, 500, 1_000, 1_500, 2_000, 2_300]
    decoder = open_decoder(sounds[0].content_type)
    heard = np.concatenate([c.samples for p in sounds for c in decoder.push(p.data)], axis=1)
    np.testing.assert_array_equal(heard, decode(song.parts[0].source).samples)
    (notes, _) = (packet for _, packet in packets if packet.part == "midi")
    assert midi_is_whole(notes.data)
    assert not midi_is_whole(notes.data[:-1])
    assert [packet.final for _, packet in packets[-2:]] == [True, True]
    assert not any(packet.final for _, packet in packets[:-2])


def test_mulaw_is_near_what_was_sent(song: Media) -> None:
    sounds = [packet for _, packet in packets_of(song, 500, "pcmu") if packet.part == "audio"]
    decoder = open_decoder(sounds[0].content_type)
    heard = np.concatenate([c.samples for p in sounds for c in decoder.push(p.data)], axis=1)
    sent = decode(song.parts[0].source).samples
    assert np.abs(heard - sent).max() < 0.02
    assert np.abs(heard - sent).mean() < 0.002


def heard(packets: list[Packet]) -> Float:
    """What live hears in packets."""
    decoder = open_decoder(packets[0].content_type)
    clips = [c for p in packets for c in decoder.push(p.data) if isinstance(c, Clip)]
    clips += [c for c in decoder.flush() if isinstance(c, Clip)]
    return np.concatenate([clip.samples for clip in clips], axis=1)


@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec not in ("l16", "pcmu")])
def test_every_codec_is_heard_as_the_file_that_its_packets_make(song: Media, codec: str) -> None:
    packets = [packet for _, packet in packets_of(song, 250, codec) if packet.part == "audio"]
    starts = [packet.pts_ms for packet in packets]
    assert starts == sorted(starts)
    assert len(packets) > 5
    assert max(np.diff(starts)) <= 1_300  # nothing gathers up
    found = heard(packets)
    if codec != "opus":
        wanted = decode(Pipe(b"".join(packet.data for packet in packets)))  # type: ignore[arg-type]
        np.testing.assert_array_equal(found, wanted.samples)
    seconds = found.shape[1] / open_rate(packets)
    assert seconds == pytest.approx(2.3, abs=0.15)


def open_rate(packets: list[Packet]) -> int:
    decoder = open_decoder(packets[0].content_type)
    for packet in packets:
        list(decoder.push(packet.data))
    return decoder.rate_hz


@pytest.mark.parametrize(
    ("kind", "codec"), [("mp3", "mp3"), ("aac", "aac"), ("ogg", "ogg"), ("ts", "ts"), ("webm", "webm")]
)
def test_a_file_that_is_coded_so_goes_out_as_it_is(tmp_path: Path, kind: str, codec: str) -> None:
    path = tmp_path / f"sound.{codec}"
    path.write_bytes(coded(kind))
    packets = [packet for _, packet in packets_of(Media("m", (Part(str(path), "audio"),)), 250, codec)]
    assert b"".join(packet.data for packet in packets) == coded(kind)
    assert len(packets) > 3
    assert packets[-1].final
    np.testing.assert_array_equal(heard(packets), decoded(kind).samples)


def test_notes_as_they_are_played(song: Media) -> None:
    packets = [packet for _, packet in packets_of(song, 500, "midi") if packet.part == "midi"]
    assert len(packets) > 20
    runs = open_runs(packets[0].content_type)
    assert runs is not None
    for packet in packets:
        runs.push(packet.data, packet.pts_ms)
    found, wanted = read_notes(io.BytesIO(runs.file())), read_notes(song.parts[1].source)
    np.testing.assert_allclose(found.start_s, wanted.start_s, atol=1e-9)
    np.testing.assert_array_equal(found.pitch, wanted.pitch)
    assert found.end_of_media_s == pytest.approx(wanted.end_of_media_s)


def test_a_file_that_breaks_off_is_sent_and_closed_as_far_as_it_goes(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "cut.wav", sound(2, 8_000, 1), 8_000)
    path.write_bytes(path.read_bytes()[:-8_000])
    packets: list[Packet] = []
    due = packets_of(Media("cut", (Part(str(path), "audio"),)), 500, "l16")
    with pytest.raises(DecodeError):
        packets.extend(packet for _, packet in due)
    assert packets[-1].final
    assert packets[-1].pts_ms == 1_500


def test_disorder_is_late_lost_and_doubled_by_its_seed(song: Media) -> None:
    calm = list(packets_of(song, 20, "l16"))
    assert list(disturb(calm, Disorder())) == calm
    disorder = Disorder(shuffle_ms=300, drop=0.1, duplicate=0.1, seed=4)
    one, two = list(disturb(calm, disorder)), list(disturb(calm, disorder))
    assert one == two
    assert [due for due, _ in one] == sorted(due for due, _ in one)
    order = [packet.seq for _, packet in one if packet.part == "audio"]
    assert order != sorted(order)
    assert len(set(order)) < len([p for _, p in calm if p.part == "audio"])
    assert len(order) > len(set(order))
    assert sum(packet.final for _, packet in one) == 2


def test_the_sides_of_a_call_as_parts() -> None:
    call = Media("call", (Part(str(DEMO / "calls/parcel.flac"), "audio"),), (), True)
    call = replace(call, roles=("agent", "customer"))
    packets = [packet for _, packet in packets_of(call, 500, "l16", apart=True)]
    whole = decode(call.parts[0].source).samples
    for side, role in enumerate(call.roles):
        own = [packet for packet in packets if packet.part == role]
        assert {packet.role for packet in own} == {role}
        assert [packet.seq for packet in own] == list(range(len(own)))
        np.testing.assert_array_equal(heard(own)[0], whole[side])
    assert [packet.final for packet in packets[-2:]] == [True, True]


def test_recordings_of_the_sides_begin_when_the_manifest_says(tmp_path: Path) -> None:
    parts = tuple(
        Part(str(write_wav(tmp_path / f"{role}.wav", sound(2, 8_000), 8_000)), "audio", late_ms, role)
        for role, late_ms in (("agent", 200), ("customer", 900))
    )
    packets = [p for _, p in packets_of(Media("call", parts, ("agent", "customer"), True), 500, "pcmu")]
    first = {packet.part: packet.pts_ms for packet in packets if packet.seq == 0}
    assert first == {"agent": 0, "customer": 700}
    assert packets[-1].pts_ms == 2_700
