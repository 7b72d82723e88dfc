"""What the live benchmark counts from, and what it calls a stage."""

import numpy as np
import pytest

from infra.bench_live import Level, _stage
from infra.bench_live_load import KIND, Load, Piece, Sent, packets, pieces


def test_a_row_is_complete_with_the_packet_that_reaches_half_a_second_beyond_it() -> None:
    def sent(*heard_ms: float) -> Sent:
        return Sent(np.zeros((1, len(heard_ms))), np.zeros((1, len(heard_ms))), np.array([heard_ms]))

    assert sent(500, 1000, 1500, 2000, np.inf).completing(np.arange(3)).tolist() == [[1, 2, 3]]
    assert sent(*range(100, 1600, 100), np.inf).completing(np.arange(2)).tolist() == [[9, 14]]
    assert sent(474, 974, 1474, np.inf).completing(np.arange(1)).tolist() == [[2]]  # a codec keeps some back


def test_music_comes_in_the_codec_that_is_asked_for_and_is_late_as_that_is() -> None:
    def heard(codec: str) -> list[Piece]:
        return pieces(Load("b", 1, 500, 5.0, "packets", "curve", codec), 0)

    plain, paged = heard("l16"), heard("ogg")
    assert {one.content_type for one in plain} == {"audio/L16;rate=44100;channels=2"}
    assert [one.heard_ms for one in plain] == [one.due_ms for one in plain]
    assert {one.content_type for one in paged} == {"audio/ogg"}
    assert all(one.heard_ms < one.due_ms for one in paged)
    assert len(plain) == len(paged) == 10


def test_calls_are_made_of_both_sides_and_end() -> None:
    load = Load("b", 2, 500, 1.0, "packets", "curve")
    sound = np.arange(100_000).astype(np.int16)
    one, two = (list(packets(load, call, sound)) for call in range(2))
    assert [packet.final for packet in one] == [False, False, True]
    assert {packet.content_type for packet in one} == {KIND}
    assert [len(packet.data) for packet in one] == [16_000, 16_000, 0]
    sides = np.frombuffer(one[0].data, ">i2").reshape(-1, 2)
    assert not np.array_equal(sides[:, 0], sides[:, 1])
    assert one[0].data != two[0].data
    assert one[0].media_id != two[0].media_id


@pytest.mark.parametrize(
    ("stack", "stage"),
    [
        ("process (transforms/streams.py:9);push (models/bundle.py:1);mm (models/features.py:3)", "features"),
        ("write (sinks/kafka.py:9);to_json (sinks/jsonrows.py:1)", "serialisation"),
        ("write (sinks/kafka.py:9);send (kafka/producer/kafka.py:1)", "Kafka out"),
        ("run (apache_beam/runners/worker.py:1)", "Beam"),
        ("main (x.py:1)", "other"),
    ],
)
def test_a_sample_belongs_to_its_innermost_known_file(stack: str, stage: str) -> None:
    assert _stage(stack) == stage


def test_who_gets_later_and_later_does_not_keep_up() -> None:
    def level(**changed: float) -> Level:
        values = dict.fromkeys(Level.__dataclass_fields__, 0.0) | {
            "first_third_ms": 40.0,
            "last_third_ms": 45.0,
        }
        return Level(**(values | changed))  # type: ignore[arg-type]

    assert level().is_flat
    assert not level(last_third_ms=400.0).is_flat
    assert not level(missing=1).is_flat
