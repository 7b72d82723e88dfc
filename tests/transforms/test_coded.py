"""Coded sound in packets: the samples of the same bytes as a file, however cut, wherever it goes on."""

import random

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from moodstream.models.base import Float
from moodstream.transforms.elements import Clip
from moodstream.transforms.errors import DecodeError
from moodstream.transforms.ogg import OggPages, opus_samples
from moodstream.transforms.state import pack, unpack
from moodstream.transforms.streamed import StreamDecoder, open_decoder
from moodstream.transforms.units import Lost
from tests.support.coded_media import KINDS, coded, decoded

QUICKLY = (Phase.explicit, Phase.generate)
AFTER_RESTORE = 1e-6  # what a pre-roll may leave of the difference


def heard(kind: str, data: bytes, sizes: list[int], moves: float = 0.0, seed: int = 0) -> tuple[Float, str]:
    """The samples of bytes in pieces of these sizes, again and again, and what was complained about."""
    draw, stream = random.Random(seed), open_decoder(kind)
    clips: list[Clip | Lost] = []
    complaint, at, number = "", 0, 0
    while at < len(data):
        size = sizes[number % len(sizes)]
        try:
            clips += stream.push(data[at : at + size])
        except DecodeError as error:
            complaint = complaint or error.error
        at, number = at + size, number + 1
        if draw.random() < moves:
            stream = moved(kind, stream)
    try:
        clips += stream.flush()
    except DecodeError as error:
        complaint = complaint or error.error
    samples = [clip.samples for clip in clips if isinstance(clip, Clip)]
    return (np.concatenate(samples, axis=1) if samples else np.zeros((0, 0), np.float32)), complaint


def moved(kind: str, stream: StreamDecoder) -> StreamDecoder:
    """The same stream elsewhere."""
    state = pack(stream.state())
    assert len(state) < 64 << 10
    other = open_decoder(kind)
    other.restore(unpack(state))
    return other


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=4, deadline=None, phases=QUICKLY)
@given(st.lists(st.integers(1, 9_000).map(lambda n: 9_001 - n), min_size=2, max_size=9))
def test_samples_are_those_of_batch_however_cut(kind: str, sizes: list[int]) -> None:
    found, complaint = heard(KINDS[kind][0], coded(kind), sizes)
    assert not complaint
    np.testing.assert_array_equal(found, decoded(kind).samples)


@pytest.mark.parametrize("kind", KINDS)
def test_going_on_elsewhere_changes_nothing(kind: str) -> None:
    found, complaint = heard(KINDS[kind][0], coded(kind), [1_500, 333, 188], moves=0.5, seed=2)
    assert not complaint
    np.testing.assert_allclose(found, decoded(kind).samples, rtol=0, atol=AFTER_RESTORE)


@pytest.mark.parametrize("kind", ["aac", "mp4", "ts"])
def test_the_noise_of_aac_is_the_same_wherever_it_goes_on(kind: str) -> None:
    found, _ = heard(KINDS[kind][0], coded(kind, 9.0, 3), [4_000], moves=0.2, seed=3)
    np.testing.assert_array_equal(found, decoded(kind, 9.0, 3).samples)


def opus_packets() -> list[bytes]:
    return [unit.data for unit in OggPages().push(coded("ogg"))]


def test_raw_opus_one_packet_a_record_or_many_with_their_lengths() -> None:
    wanted = decoded("ogg").samples
    stream, clips = open_decoder("audio/opus;channels=2;preskip=312"), []
    for packet in opus_packets():
        clips += stream.push(packet)
        stream = moved("audio/opus;channels=2;preskip=312", stream)
    found = np.concatenate([clip.samples for clip in clips if isinstance(clip, Clip)], axis=1)
    np.testing.assert_allclose(found[:, : wanted.shape[1]], wanted, rtol=0, atol=AFTER_RESTORE)
    framed = b"".join(len(packet).to_bytes(2, "big") + packet for packet in opus_packets())
    found, complaint = heard("audio/opus;channels=2;preskip=312;framing=length", framed, [700, 3])
    assert not complaint
    np.testing.assert_array_equal(found[:, : wanted.shape[1]], wanted)
    assert found.shape[1] == sum(map(opus_samples, opus_packets())) - 312


@pytest.mark.parametrize("kind", ["mp3", "aac", "ogg", "ts", "mp4", "webm"])
def test_what_breaks_off_says_so(kind: str) -> None:
    data = coded(kind)
    found, complaint = heard(KINDS[kind][0], data[: len(data) * 2 // 3 - 41], [2_000])
    assert complaint == "truncated"
    assert found.shape[1] > decoded(kind).samples.shape[1] // 3


@pytest.mark.parametrize("kind", ["mp3", "aac", "ogg", "ts", "mp4", "webm"])
def test_garbage_on_the_way_is_told_and_the_sound_goes_on(kind: str) -> None:
    data = coded(kind)
    middle = len(data) // 2
    broken = data[:middle] + np.random.default_rng(0).bytes(3_000) + data[middle + 3_000 :]
    found, complaint = heard(KINDS[kind][0], broken, [2_000])
    wanted = decoded(kind).samples
    assert complaint == "corrupt"
    assert found.shape[1] > wanted.shape[1] * 0.6
    np.testing.assert_array_equal(found[:, :20_000], wanted[:, :20_000])


@pytest.mark.parametrize("kind", ["mp3", "aac", "ogg", "ts", "mp4", "webm"])
def test_a_hole_is_measured_by_the_containers_own_time(kind: str) -> None:
    data, stream = coded(kind, 6.0), open_decoder(KINDS[kind][0])
    first, second = len(data) // 3, len(data) // 2
    heard_of = [*stream.push(data[:first])]
    stream.resync()
    heard_of += [*stream.push(data[second:]), *stream.flush()]
    lost = sum(one.samples for one in heard_of if isinstance(one, Lost))
    found = sum(one.samples.shape[1] for one in heard_of if isinstance(one, Clip))
    total = decoded(kind, 6.0).samples.shape[1]
    if stream.keeps_time:
        assert abs(found + lost - total) < 2_500
        assert lost > total // 10
    else:
        assert not lost
        assert found > total * 0.8


def test_numbers_that_are_none_and_types_nobody_knows() -> None:
    for kind, error in (
        ("audio/wav", "no_codec"),
        ("", "no_codec"),
        ("audio/opus;channels=9", "too_wide"),
        ("audio/opus;preskip=-1", "too_wide"),
        ("audio/L16;rate=1e9", "too_wide"),
    ):
        with pytest.raises(DecodeError) as refused:
            open_decoder(kind)
        assert refused.value.error == error
