"""The source: a record's stamp is the broker's, or not later than now."""

import time
from types import SimpleNamespace

import pytest

from moodstream.transforms import source_kafka

FAR = 4_000_000_000_000


@pytest.mark.parametrize(("stamp_ms", "wanted"), [(17, 17), (-1, 0)])
def test_stamps_are_taken_as_they_are(stamp_ms: int, wanted: int) -> None:
    for kind in (0, 1):
        record = SimpleNamespace(timestamp=stamp_ms, timestamp_type=kind)
        assert source_kafka._stamp(record) == wanted


def test_a_sender_cannot_move_the_clock_into_the_future() -> None:
    now_ms = time.time() * 1000
    assert source_kafka._stamp(SimpleNamespace(timestamp=FAR, timestamp_type=0)) <= now_ms + 10_000
    assert source_kafka._stamp(SimpleNamespace(timestamp=FAR, timestamp_type=1)) == FAR  # the broker says so
