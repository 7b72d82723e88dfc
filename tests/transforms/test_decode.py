"""Decoding: every container, time kept, what is wrong said after all that decodes."""

import contextlib
import functools
import io
import struct
import tempfile
import tracemalloc
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moodstream.transforms.containers import STREAMED, container_of
from moodstream.transforms.decode import decode, open_audio
from moodstream.transforms.elements import Clip
from moodstream.transforms.errors import DecodeError, MediaError
from tests.support.bad_inputs import BAD, make_bad, write_bomb, write_float_wav
from tests.support.media_files import ENCODERS, Float, encode, sound, write_wav

LOSSLESS = ("wav", "flac", "aiff", "mov", "mkv", "caf", "au")
RATES = {"opus": 48_000, "webm": 48_000, "amr": 8_000}
WORDS = {"no_codec", "unreadable"} | frozenset(
    {"empty", "truncated", "corrupt", "not_media", "no_audio", "non_finite", "too_long", "too_wide"}
)
FILMS = ("mp4", "mov", "mkv", "webm", "ts")


def make(folder: Path, extension: str, seconds: float = 1.5) -> tuple[Path, Float, int]:
    data, samples, rate_hz = _encoded(extension, seconds)
    path = folder / f"a.{extension}"
    path.write_bytes(data)
    return path, samples, rate_hz


@functools.cache
def _encoded(extension: str, seconds: float) -> tuple[bytes, Float, int]:
    rate_hz = RATES.get(extension, 44_100)
    samples = sound(seconds, rate_hz, 1 if extension == "amr" else 2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"a.{extension}")
        encode(path, samples, rate_hz, pictures_s=seconds if extension in FILMS else 0)
        return path.read_bytes(), samples, rate_hz


def gather(source: str | Path | BinaryIO, **how: float) -> tuple[list[Clip], str]:
    """All blocks, and the word of the error behind them."""
    clips: list[Clip] = []
    try:
        with open_audio(source, **how) as file:  # type: ignore[arg-type]
            clips.extend(file)
    except MediaError as error:
        return clips, error.error
    return clips, ""


def joined(clips: list[Clip]) -> Float:
    return np.concatenate([clip.samples for clip in clips], axis=1)


class Pipe:
    """Bytes that come in dribs and cannot be sought."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self.file, self.sizes, self.turn = io.BytesIO(data), sizes, 0

    def read(self, size: int) -> bytes:
        self.turn += 1
        return self.file.read(min(size, self.sizes[self.turn % len(self.sizes)]))

    def seekable(self) -> bool:
        return False


@pytest.mark.parametrize("extension", ENCODERS)
def test_every_container(tmp_path: Path, extension: str) -> None:
    path, samples, rate_hz = make(tmp_path, extension)
    with open_audio(path) as file:
        clips = list(file)
    assert (file.rate_hz, file.channels) == (rate_hz, len(samples))
    assert file.kind == ("video" if extension in FILMS else "audio")
    assert file.frames == joined(clips).shape[1]
    assert abs(file.duration_ms - 1500) < 80  # encoders pad to whole frames
    heard = joined(clips)
    if extension in LOSSLESS:
        np.testing.assert_allclose(heard, samples, atol=2e-5)
    else:
        n = min(heard.shape[1], samples.shape[1])
        theirs, ours = np.abs(np.fft.rfft(heard[:, :n])), np.abs(np.fft.rfft(samples[:, :n]))
        alike = 0.8 if extension == "amr" else 0.9  # made for speech
        assert np.vdot(theirs, ours) > alike * np.linalg.norm(theirs) * np.linalg.norm(ours)


@pytest.mark.parametrize("extension", ["m4a", "mp4", "opus", "webm", "mp3", "ogg"])
def test_encoder_padding_is_trimmed_so_that_nothing_is_shifted(tmp_path: Path, extension: str) -> None:
    path, samples, _ = make(tmp_path, extension)
    heard = decode(path).samples[0]
    n = min(len(heard), samples.shape[1]) // 2
    product = np.fft.irfft(np.fft.rfft(heard[:n], 2 * n) * np.conj(np.fft.rfft(samples[0, :n], 2 * n)))
    assert int(np.argmax(product)) in (0, 1, 2 * n - 1)


@pytest.mark.parametrize(
    ("codec", "tolerance"),
    [
        ("pcm_u8", 8e-3),
        ("pcm_s16le", 2e-5),
        ("pcm_s24le", 1e-6),
        ("pcm_s32le", 1e-6),
        ("pcm_f32le", 0),
        ("pcm_f64le", 1e-7),
    ],
)
def test_sample_formats(tmp_path: Path, codec: str, tolerance: float) -> None:
    samples = sound(0.5, 44_100, 2)
    path = encode(tmp_path / "a.wav", samples, 44_100, codec=codec)
    heard = decode(path).samples
    assert heard.dtype == np.float32
    assert heard.flags.c_contiguous
    np.testing.assert_allclose(heard, samples, atol=tolerance, rtol=0)


@pytest.mark.parametrize("channels", range(1, 9))
def test_one_to_eight_channels(tmp_path: Path, channels: int) -> None:
    samples = sound(0.3, 48_000, channels)
    clip = decode(write_wav(tmp_path / "a.wav", samples, 48_000))
    np.testing.assert_allclose(clip.samples, samples, atol=5e-5)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 96_000, 192_000])
def test_blocks_start_on_whole_milliseconds(tmp_path: Path, rate_hz: int) -> None:
    samples = sound(2, rate_hz, 1)
    clips, _ = gather(write_wav(tmp_path / "a.wav", samples, rate_hz), block_frames=5_000)
    position = 0
    assert len(clips) > 3
    for clip in clips:
        assert clip.start_ms * rate_hz == position * 1000
        position += clip.samples.shape[1]
    np.testing.assert_allclose(joined(clips), samples, atol=5e-5)


STREAMABLE = [name for name in ENCODERS if name in STREAMED | {"opus", "mkv", "webm", "ts"}]


@pytest.mark.parametrize("extension", STREAMABLE)
def test_a_file_gives_what_a_stream_of_its_bytes_gives(tmp_path: Path, extension: str) -> None:
    path, _, _ = make(tmp_path, extension)
    sizes = np.random.default_rng(1).integers(1, 3_000, 97).tolist()
    streamed, error = gather(cast(BinaryIO, Pipe(path.read_bytes(), sizes)), block_frames=3_000)
    assert error == ""
    np.testing.assert_array_equal(joined(streamed), decode(path).samples)


def test_an_mp4_with_its_index_at_the_end_is_not_for_streams(tmp_path: Path) -> None:
    path, _, _ = make(tmp_path, "mp4", 10)
    faststart = encode(tmp_path / "b.mp4", sound(1, 44_100, 2), 44_100, options={"movflags": "faststart"})
    fragmented = {"movflags": "frag_keyframe+empty_moov"}
    fragments = encode(tmp_path / "c.mp4", sound(1, 44_100, 2), 44_100, options=fragmented)
    assert gather(cast(BinaryIO, Pipe(path.read_bytes(), [4_096]))) == ([], "not_media")
    for other in (faststart, fragments):
        heard, error = gather(cast(BinaryIO, Pipe(other.read_bytes(), [4_096])))
        assert error == ""
        np.testing.assert_array_equal(joined(heard), decode(other).samples)


# ---------------------------------------------------------------- time


@pytest.mark.parametrize("extension", ["mov", "mkv"])
def test_a_late_soundtrack_starts_late(tmp_path: Path, extension: str) -> None:
    samples = sound(1, 44_100, 2)
    path = encode(tmp_path / f"a.{extension}", samples, 44_100, pictures_s=3, late_s=1.75)
    heard = decode(path).samples
    late = round(1.75 * 44_100)
    assert np.abs(heard[:, :late]).max() == 0
    np.testing.assert_allclose(heard[:, late:], samples, atol=2e-5)


def test_sound_alone_starts_at_once_whatever_its_stamps_say(tmp_path: Path) -> None:
    samples = sound(1, 44_100, 2)
    path = encode(tmp_path / "a.mkv", samples, 44_100, late_s=1.75)
    np.testing.assert_allclose(decode(path).samples, samples, atol=2e-5)


def write_stamped(path: Path, samples: Float, starts: list[int], rate_hz: int) -> Path:
    """Blocks of 4,410 samples with time stamps as given, in samples."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=rate_hz, layout="mono")
        for number, start in enumerate(starts):
            block = samples[:, number * 4_410 : (number + 1) * 4_410]
            frame = av.AudioFrame.from_ndarray((block * 32_767).astype(np.int16), "s16", "mono")
            frame.sample_rate, frame.pts = rate_hz, start
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def test_a_gap_in_the_stamps_is_silence(tmp_path: Path) -> None:
    samples = sound(1, 44_100, 1)
    starts = [4_410 * i + (44_100 if i >= 4 else 0) for i in range(10)]
    heard = decode(write_stamped(tmp_path / "a.mkv", samples, starts, 44_100)).samples
    gap = slice(4 * 4_410, 4 * 4_410 + 44_100)
    assert heard.shape[1] == 2 * 44_100
    assert np.abs(heard[:, gap]).max() == 0
    np.testing.assert_allclose(np.delete(heard, gap, axis=1), samples, atol=5e-5)


def test_stamps_that_jitter_or_jump_back_change_nothing(tmp_path: Path) -> None:
    samples = sound(1, 44_100, 1)
    jitter = [4_410 * i + (600 if i % 2 else 0) for i in range(10)]
    heard = decode(write_stamped(tmp_path / "a.mkv", samples, jitter, 44_100)).samples
    np.testing.assert_allclose(heard, samples, atol=5e-5)


def test_joined_streams_go_on(tmp_path: Path) -> None:
    """Chained Ogg starts its clock anew; an mp3 may change its rate and its channels on the way."""
    one, two = (encode(tmp_path / f"{i}.opus", sound(1, 48_000, 2, i), 48_000) for i in (1, 2))
    heard, error = gather(io.BytesIO(one.read_bytes() + two.read_bytes()))
    assert error == ""
    assert abs(joined(heard).shape[1] - 96_000) < 2_000
    wide = encode(tmp_path / "1.mp3", sound(2, 44_100, 2), 44_100)
    narrow = encode(tmp_path / "2.mp3", sound(2, 22_050, 1), 22_050)
    heard, error = gather(io.BytesIO(wide.read_bytes() + narrow.read_bytes()))
    assert error == ""
    assert {(clip.rate_hz, len(clip.samples)) for clip in heard} == {(44_100, 2)}
    assert abs(joined(heard).shape[1] - 4 * 44_100) < 10_000
    assert np.abs(joined(heard)[:, -44_100:]).max() > 0.1


# ---------------------------------------------------------------- what can be wrong


@pytest.mark.parametrize("name", [name for name in BAD if not name.endswith(".mid")])
def test_bad_inputs(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    fate = make_bad(tmp_path, name)[name]
    clips, error = gather(tmp_path / name)
    assert error == fate.error
    with pytest.raises(MediaError) as caught:
        decode(tmp_path / name)
    assert caught.value.stage == fate.stage
    assert bool(clips) == fate.analysed
    assert capfd.readouterr() == ("", "")  # FFmpeg keeps quiet


@pytest.mark.parametrize("extension", ENCODERS)
@pytest.mark.parametrize("share", [0.6, 0.97])
def test_a_cut_file_says_so_after_its_last_block(tmp_path: Path, extension: str, share: float) -> None:
    path, samples, rate_hz = make(tmp_path, extension, 3)
    data = path.read_bytes()
    whole, error = gather(path)
    assert error == ""
    part, error = gather(io.BytesIO(data[: int(len(data) * share)]))
    assert error == "truncated"
    if extension not in ("mp4", "mov", "m4a"):  # with the index at the end nothing is left
        n = joined(part).shape[1]
        assert n > 0.15 * samples.shape[1]
        np.testing.assert_array_equal(
            joined(part)[:, : n - rate_hz // 4], joined(whole)[:, : n - rate_hz // 4]
        )


@pytest.mark.parametrize("extension", ENCODERS)
@pytest.mark.parametrize("missing", [1, 6, 100])
def test_a_few_missing_bytes_are_noticed(tmp_path: Path, extension: str, missing: int) -> None:
    data = make(tmp_path, extension, 3)[0].read_bytes()
    assert gather(io.BytesIO(data[:-missing]))[1] == "truncated"


def test_an_mp3_that_lacks_whole_frames(tmp_path: Path) -> None:
    path, _, _ = make(tmp_path, "mp3")
    with av.open(str(path)) as opened:
        sizes = [packet.size for packet in opened.demux(audio=0) if packet.size]
    assert gather(io.BytesIO(path.read_bytes()[: -sum(sizes[-10:])]))[1] == "truncated"


def test_an_mp4_cut_behind_its_index_gives_what_is_there(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", sound(3, 44_100, 2), 44_100, options={"movflags": "faststart"})
    part, error = gather(io.BytesIO(path.read_bytes()[: path.stat().st_size * 3 // 5]))
    assert error == "truncated"
    assert 1.2 * 44_100 < joined(part).shape[1] < 2.5 * 44_100


def test_sizes_that_nobody_filled_in_promise_nothing(tmp_path: Path) -> None:
    data = bytearray(write_wav(tmp_path / "a.wav", sound(1, 16_000, 1), 16_000).read_bytes())
    for size in (b"\xff\xff\xff\xff", b"\x00\x00\x00\x00"):
        data[40:44] = size
        clips, error = gather(io.BytesIO(bytes(data)))
        assert (joined(clips).shape[1], error) == (16_000, "")


def test_tags_and_padding_are_not_damage(tmp_path: Path) -> None:
    data = encode(tmp_path / "a.mp3", sound(1, 44_100, 2), 44_100).read_bytes()
    ape = b"APETAGEX" + bytes(500) + b"APETAGEX" + bytes(24)
    for more in (b"TAG" + b"title".ljust(125, b" "), ape, bytes(1_000), data):
        assert gather(io.BytesIO(data + more))[1] == ""
    noise = np.random.default_rng(0).bytes(5_000)
    assert gather(io.BytesIO(data + noise + data))[1] == "corrupt"


def test_damage_in_the_middle_is_corrupt_and_the_rest_is_heard(tmp_path: Path) -> None:
    data = bytearray(encode(tmp_path / "a.flac", sound(3, 44_100, 2), 44_100).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3_000] = np.random.default_rng(0).bytes(3_000)
    clips, error = gather(io.BytesIO(bytes(data)))
    assert error == "corrupt"
    assert joined(clips).shape[1] > 2.5 * 44_100


def test_numbers_that_are_none_become_zeros(tmp_path: Path) -> None:
    samples = sound(1, 16_000, 1)[0]
    samples[[100, 8_000, 15_999]] = np.nan, np.inf, -1e30
    write_float_wav(tmp_path / "a.wav", samples, 16_000)
    clips, error = gather(tmp_path / "a.wav")
    assert error == "non_finite"
    expected = np.where(np.abs(samples) < 1e6, samples, 0)
    np.testing.assert_array_equal(joined(clips)[0], expected)
    samples[:12_000] = np.nan  # a start that is none is withheld, and then given
    write_float_wav(tmp_path / "a.wav", samples, 16_000)
    clips, error = gather(tmp_path / "a.wav", block_frames=1_000)
    assert joined(clips).shape == (1, 16_000)
    lengths = [clip.samples.shape[1] for clip in clips]
    assert [clip.start_ms for clip in clips] == [sum(lengths[:i]) // 16 for i in range(len(clips))]


def test_too_long_stops_at_the_limit(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", sound(3, 16_000, 1), 16_000)
    clips, error = gather(path, max_hours=2 / 3600, block_frames=7_000)
    assert (joined(clips).shape[1], error) == (32_000, "too_long")
    assert gather(path, max_hours=3 / 3600)[1] == ""


def test_too_wide(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", sound(0.1, 16_000, 1), 16_000)
    data = bytearray(path.read_bytes())
    data[24:28] = (3_000_000).to_bytes(4, "little")
    assert gather(io.BytesIO(bytes(data))) == ([], "too_wide")


def test_a_list_of_files_does_not_lead_to_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_wav(tmp_path / "secret.wav", sound(1, 16_000, 1), 16_000)
    (tmp_path / "list.mp3").write_text("ffconcat version 1.0\nfile 'secret.wav'\n")
    with av.open("list.mp3") as opened:  # FFmpeg itself would
        assert opened.format.name == "concat"
    assert gather(tmp_path / "list.mp3") == ([], "not_media")


def test_a_disk_that_fails_on_the_way_is_a_read_error(tmp_path: Path) -> None:
    class Failing(Pipe):
        def read(self, size: int) -> bytes:
            if self.file.tell() > 9_000_000:  # beyond what FFmpeg looks at before it starts
                raise OSError(5, "Input/output error")
            return super().read(size)

    data = write_wav(tmp_path / "a.wav", np.tile(sound(6, 44_100, 2), 10), 44_100).read_bytes()
    clips, error = gather(cast(BinaryIO, Failing(data, [8_192])), block_frames=10_000)
    assert error == "unreadable"
    assert clips


def test_tags(tmp_path: Path) -> None:
    tags = {"title": "Ünïcode 🎵", "artist": "x" * 5_000}
    path = encode(tmp_path / "a.mp3", sound(0.5, 44_100, 2), 44_100, tags=tags)
    with open_audio(path) as file:
        assert file.tags["title"] == "Ünïcode 🎵"
        assert len(file.tags["artist"]) == 1_000


def test_a_picture_on_the_sleeve_makes_no_film(tmp_path: Path) -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    size = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(9 * 8))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    picture = b"\x00image/png\x00\x03\x00" + png + bytes(100_000)
    frame = b"APIC" + struct.pack(">I", len(picture)) + b"\x00\x00" + picture
    length = bytes(len(frame) >> shift & 127 for shift in (21, 14, 7, 0))
    data = encode(tmp_path / "a.mp3", sound(0.5, 44_100, 2), 44_100).read_bytes()
    with open_audio(io.BytesIO(b"ID3\x03\x00\x00" + length + frame + data)) as file:
        assert file.kind == "audio"
        heard = joined(list(file))
    np.testing.assert_array_equal(heard, decode(tmp_path / "a.mp3").samples)


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    write_bomb(tmp_path / "a.flac", 0.9)
    peaks = []
    for hours in (0.05, 0.9):
        tracemalloc.start()
        with open_audio(tmp_path / "a.flac", max_hours=hours) as file, contextlib.suppress(DecodeError):
            for _ in file:
                pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert file.duration_ms > 3_200_000
    assert peaks[1] < 1.1 * peaks[0] + 200_000


# ---------------------------------------------------------------- anything at all


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("seeds")
    return [make(folder, extension)[0].read_bytes() for extension in ENCODERS]


@settings(max_examples=150, deadline=5_000, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_mutated_files_give_blocks_or_a_media_error(seeds: list[bytes], data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from(seeds)))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, max(0, len(whole) - 1)))
        match data.draw(st.sampled_from(["set", "cut", "insert", "repeat", "end"])):
            case "set":
                new = data.draw(st.sampled_from([b"\x00", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80"]))
                whole[at : at + len(new)] = new
            case "cut":
                del whole[at : at + data.draw(st.integers(1, 3_000))]
            case "insert":
                whole[at:at] = data.draw(st.binary(min_size=1, max_size=50))
            case "repeat":
                whole[at:at] = whole[at : at + 2_000]
            case "end":
                del whole[max(at, len(whole) // 3) :]
    try:
        with open_audio(io.BytesIO(bytes(whole)), max_hours=1) as file:
            for clip in file:
                assert clip.samples.shape[0] == file.channels
                assert np.abs(clip.samples).max() < 1e6
    except MediaError as error:
        assert error.error in WORDS  # noqa: PT017


def test_no_false_alarm_on_the_corpora(corpora: Path) -> None:
    files = [path for ending in ("mp3", "ogg", "mp4") for path in sorted(corpora.rglob(f"*.{ending}"))[::12]]
    files += sorted(corpora.rglob("*.flac"))[::60]
    wrong = {str(path): error for path in files if (error := gather(path)[1])}
    assert len(files) > 80
    assert wrong == {}


def test_containers_are_known_by_their_first_bytes(tmp_path: Path) -> None:
    names = {
        "opus": "ogg",
        "m4a": "mp4",
        "mov": "mp4",
        "mkv": "matroska",
        "webm": "matroska",
        "ts": "mpegts",
        "wma": "asf",
    }
    for extension in ENCODERS:
        head = make(tmp_path, extension)[0].read_bytes()[:200]
        assert container_of(head) == names.get(extension, extension)
