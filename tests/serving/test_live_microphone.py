"""The microphone: rows of a socket are those of a live job on the same bytes; what is too much is refused."""

import io
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from moodstream.models.audio import AudioModels
from moodstream.serving.live import hearing
from moodstream.serving.live.microphone import Microphones
from moodstream.serving.live.sound import Limits
from moodstream.transforms.elements import Packet
from moodstream.transforms.engine import Engine
from moodstream.transforms.errors import UsageError
from moodstream.transforms.partition import Partition
from moodstream.transforms.session import Settings
from moodstream.transforms.stream import LiveSettings
from tests.support.coded_media import coded
from tests.support.fake_engine import FakeAudio, FakeEngine
from tests.support.media_files import sound
from tests.support.packets import l16, record
from tests.support.workers import until

Row = tuple[Any, ...]
L16 = "audio/L16;rate=16000;channels=1"
URL = "ws://127.0.0.1:8080/v1/microphone"


@pytest.fixture(scope="module")
def app(make_client: Callable[..., TestClient], served_lake: Path) -> TestClient:
    return make_client(served_lake)


@pytest.fixture(autouse=True)
def hears(app: TestClient) -> Iterator[Microphones]:
    """Fake models behind the socket, for this test alone."""
    before = app.app.state.microphones  # type: ignore[attr-defined]
    config = app.app.state.config  # type: ignore[attr-defined]
    fake = Microphones(config, engine=FakeEngine)
    app.app.state.microphones = fake  # type: ignore[attr-defined]
    yield fake
    fake.close()
    app.app.state.microphones = before  # type: ignore[attr-defined]


def limited(hears: Microphones, **more: Any) -> None:
    hears.limits = Limits(**more)


def job(frames: list[bytes], content_type: str, *, one_voice: bool = False) -> dict[tuple[int, bool], Row]:
    """What a live job says of the same bytes, by start and whether it is final."""
    on = Partition("packets", 0, FakeEngine(), Settings(one_voice=one_voice), LiveSettings())
    packets = [Packet("m", seq, data, content_type) for seq, data in enumerate(frames)]
    packets.append(Packet("m", len(frames), b"", content_type, final=True))
    tables: list[pa.Table] = []
    for offset, packet in enumerate(packets):
        on.push(record(packet, offset, 1_000 + offset))
        step = on.take()
        tables += step.rows.get("curve", []) if step else []
    rows = [row for table in tables for row in table.to_pylist() if row["modality"] == "fused"]
    names = ("valence", "arousal", "valence_std", "arousal_std", "activity", "loudness_lufs", "reason")
    return {(row["start_ms"], row["is_final"]): tuple(row[name] for name in names) for row in rows}


def said(socket: WebSocketTestSession) -> tuple[list[dict[str, Any]], WebSocketDisconnect]:
    """All that comes until it is closed."""
    told = []
    while True:
        try:
            told.append(socket.receive_json())
        except WebSocketDisconnect as end:
            return told, end


def rows_of(told: list[dict[str, Any]]) -> dict[tuple[int, bool], Row]:
    return {
        (row[0], row[-1]): tuple(row[1:-1])
        for event in told
        for call in event.get("calls", ())
        for channel in call["channels"]
        for row in channel["rows"]
    }


def spoken(
    app: TestClient, frames: list[bytes], content_type: str = L16, **query: Any
) -> list[dict[str, Any]]:
    with app.websocket_connect(URL, params={"content_type": content_type, **query}) as socket:
        for frame in frames:
            socket.send_bytes(frame)
        socket.send_json({"final": True})
        told, end = said(socket)
    assert end.code == 1000, told
    return told


def assert_same(told: list[dict[str, Any]], wanted: dict[tuple[int, bool], Row]) -> None:
    """Final rows are those of the job; so are provisional ones that were sent before those came."""
    found = rows_of(told)
    assert {at for at, final in found if final} == {at for at, final in wanted if final}
    for place, row in found.items():
        for mine, its in zip(row, wanted[place], strict=True):
            assert mine == (
                pytest.approx(its, abs=0.06 if mine == row[-2] else 1e-4) if isinstance(its, float) else its
            )


def pieces(data: bytes, seed: int, most: int = 9_000) -> list[bytes]:
    chance, at, found = random.Random(seed), 0, []
    while at < len(data):
        size = chance.randint(1, most)
        found.append(data[at : at + size])
        at += size
    return found


@pytest.mark.parametrize(
    ("content_type", "rate_hz", "channels"),
    [(L16, 16_000, 1), ("audio/L16;rate=44100;channels=2", 44_100, 2), ("audio/L16;rate=48000", 48_000, 1)],
)
def test_linear_sound_cut_anywhere(app: TestClient, content_type: str, rate_hz: int, channels: int) -> None:
    frames = pieces(l16(sound(6, rate_hz, channels, 3)), 5)
    told = spoken(app, frames, content_type)
    assert_same(told, job(frames, content_type))
    assert told[-1]["closed"] == [["microphone", 0]]
    assert told[-1]["summaries"]


def test_telephone_sound(app: TestClient) -> None:
    frames = pieces(bytes(random.Random(1).randbytes(8_000 * 5)), 2)
    assert_same(spoken(app, frames, "audio/PCMU;rate=8000"), job(frames, "audio/PCMU;rate=8000"))


def test_opus_in_packets(app: TestClient) -> None:
    with av.open(io.BytesIO(coded("ogg", 5.2))) as file:
        packets = [bytes(packet) for packet in file.demux(audio=0) if packet.size]
    content_type = "audio/opus;channels=2;preskip=312"
    assert_same(spoken(app, packets, content_type), job(packets, content_type))


@pytest.mark.parametrize("kind", ["ogg", "webm"])
def test_opus_in_pieces_of_a_file(app: TestClient, kind: str) -> None:
    frames = pieces(coded(kind, 5.2), 4, 2_000)
    assert_same(spoken(app, frames, f"audio/{kind}"), job(frames, f"audio/{kind}"))


def test_rows_come_while_it_goes_on(app: TestClient) -> None:
    data = l16(sound(2, 16_000, 1, 3))
    with app.websocket_connect(URL) as socket:
        socket.send_bytes(data)
        told: list[dict[str, Any]] = []
        while not any(not final for _, final in rows_of(told)):
            told.append(socket.receive_json())
        assert not told[0]["closed"]


def test_one_voice_is_handed_on(app: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    plain = FakeAudio.stream
    monkeypatch.setattr(FakeAudio, "stream", lambda self, **how: (asked.append(how), plain(self, **how))[1])
    spoken(app, [l16(sound(1, 16_000, 1, 3))], one_voice=True)
    spoken(app, [l16(sound(1, 16_000, 1, 3))])
    assert [how["one_voice"] for how in asked] == [True, False]


def test_many_at_once_are_heard_in_one_batch_and_apart(app: TestClient) -> None:
    sounds = [pieces(l16(sound(4, 16_000, 1, seed)), seed) for seed in range(5)]
    found: dict[int, list[dict[str, Any]]] = {}

    def speak(number: int) -> None:
        found[number] = spoken(app, sounds[number])

    threads = [threading.Thread(target=speak, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, frames in enumerate(sounds):
        assert_same(found[number], job(frames, L16))


@pytest.mark.parametrize(
    "content_type", ["video/mp2t", "audio/midi", "audio/flac", "", "audio/L16;rate=1", "audio/L16;channels=7"]
)
def test_other_types_are_refused_with_a_reason(app: TestClient, content_type: str) -> None:
    with app.websocket_connect(URL, params={"content_type": content_type}) as socket:
        (problem,), end = said(socket)
    assert (end.code, end.reason) == (1003, "This sound is not understood")
    assert problem["status"] == 415
    assert "audio/L16" in problem["what_to_do"]


@pytest.mark.parametrize("text", ["hello", "{}", '{"final": 1}', "[" * 10_000])
def test_a_text_that_is_not_the_end_is_refused(app: TestClient, text: str) -> None:
    with app.websocket_connect(URL) as socket:
        socket.send_text(text)
        _, end = said(socket)
    assert end.code == 1003


def test_limits(app: TestClient, hears: Microphones) -> None:
    data = l16(sound(3, 16_000, 1, 3))
    cases: list[tuple[dict[str, Any], int]] = [
        ({"frame_bytes": 10_000}, 1009),
        ({"total_bytes": 20_000, "frame_bytes": 100_000}, 1009),
        ({"seconds": 1.0}, 1008),
        ({"silent_s": 0.1}, 1008),
    ]
    for limits, code in cases:
        limited(hears, **limits)
        with app.websocket_connect(URL) as socket:
            socket.send_bytes(data)
            told, end = said(socket)
        assert end.code == code, limits
        assert told[-1]["status"] in (408, 413)
        until(lambda: not len(hears), 5)


def test_what_is_too_long_is_told_up_to_there(app: TestClient, hears: Microphones) -> None:
    limited(hears, seconds=1.0)
    data = l16(sound(3, 16_000, 1, 3))
    with app.websocket_connect(URL) as socket:
        socket.send_bytes(data)
        told, end = said(socket)
    assert end.reason == "That is long enough"
    assert_same(told, job([data], L16))


def test_so_many_at_once(app: TestClient, hears: Microphones) -> None:
    limited(hears, sounds=2)
    with app.websocket_connect(URL) as one, app.websocket_connect(URL) as other:
        with app.websocket_connect(URL) as third:
            (problem,), end = said(third)
        assert (end.code, problem["status"]) == (1013, 503)
        one.close()
        other.close()
        until(lambda: not len(hears), 5)
    spoken(app, [l16(sound(1, 16_000, 1, 3))])


def test_whoever_goes_is_forgotten(app: TestClient, hears: Microphones) -> None:
    with app.websocket_connect(URL) as socket:
        socket.send_bytes(l16(sound(1, 16_000, 1, 3)))
        socket.receive_json()
        assert len(hears) == 1
    until(lambda: not len(hears), 5)


def test_who_sends_faster_than_he_speaks_waits(app: TestClient, hears: Microphones) -> None:
    limited(hears, ahead_s=1.0, waiting_bytes=64_000)
    frames = pieces(l16(sound(20, 16_000, 1, 3)), 1)
    with app.websocket_connect(URL) as socket:
        for frame in frames:
            socket.send_bytes(frame)
        time.sleep(0.5)
        (one,) = hears._sounds
        assert one.waiting < 64_000 + 9_000
        heard_s = one.stream.session.position_ms() / 1000
        passed_s = time.monotonic() - one.began_s  # a busy machine is slow to send
        assert heard_s < passed_s + 1.0 + 0.5


def test_what_cannot_be_decoded_is_said(app: TestClient) -> None:
    with app.websocket_connect(URL, params={"content_type": "audio/ogg"}) as socket:
        socket.send_bytes(b"this is no ogg" * 100)
        socket.send_json({"final": True})
        told, end = said(socket)
    assert end.code == 1007
    assert told[-1]["status"] == 422


def test_nothing_was_said(app: TestClient) -> None:
    assert spoken(app, []) == []


def test_without_models_it_says_so(app: TestClient, hears: Microphones) -> None:
    class NoModels(Engine):
        @cached_property
        def audio(self) -> AudioModels:
            raise UsageError("no model speech: moodstream train speech")

    hears._engine = NoModels()
    with app.websocket_connect(URL) as socket:
        socket.send_bytes(l16(sound(1, 16_000, 1, 3)))
        (first, problem), end = said(socket)
    assert first == {"loading": True, "calls": []}
    assert (end.code, problem["status"]) == (1011, 501)
    assert "train speech" in problem["detail"]


def test_pages_of_others_are_kept_out(app: TestClient) -> None:
    with (
        pytest.raises(WebSocketDenialResponse) as denied,
        app.websocket_connect(URL, headers={"origin": "https://evil.example"}),
    ):
        pass
    assert denied.value.status_code == 403


def test_nothing_is_stored(app: TestClient, served_lake: Path) -> None:
    def files() -> set[Path]:
        return {path for path in served_lake.rglob("*") if "_serve" not in path.parts}

    before = files()
    spoken(app, [l16(sound(2, 16_000, 1, 3))])
    assert files() == before


def test_texts_are_small() -> None:
    assert hearing._is_final(json.dumps({"final": True}))
    assert not hearing._is_final(json.dumps({"final": True, "more": "x" * 300}))
