"""Memory of parked streams goes back to the system."""

import platform

import pytest

from moodstream.transforms import memory
from moodstream.transforms import partition as module
from moodstream.transforms.memory import give_back
from moodstream.transforms.partition import Partition
from moodstream.transforms.session import Settings
from moodstream.transforms.stream import LiveSettings
from tests.support.fake_engine import FakeEngine
from tests.support.media_files import sound
from tests.support.packets import cut, l16, record

START_MS = 1_700_000_000_000


def test_not_more_often_than_is_of_use(monkeypatch: pytest.MonkeyPatch) -> None:
    assert platform.libc_ver()[0] == "glibc"
    monkeypatch.setattr(memory, "_given_s", [-1e9])
    assert [give_back(), give_back()] == [True, False]


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_given_s", [-1e9])
    monkeypatch.setattr(memory, "_trim", lambda: None)
    assert not give_back()


def test_when_streams_are_parked(monkeypatch: pytest.MonkeyPatch) -> None:
    given = list[int]()
    partition = Partition("packets", 0, FakeEngine(), Settings(), LiveSettings(park_ms=1_000))
    monkeypatch.setattr(module, "give_back", lambda: given.append(partition.parked) or True)
    (packet, *_) = cut("m", l16(sound(1, 8_000, 1)), "audio/L16;rate=8000", [8_000], 16_000)
    partition.push(record(packet, 0, START_MS))
    partition.take()
    assert given == []
    partition.tick(START_MS + 2_000)
    for _ in range(4):
        partition.take()
    assert given == [1, 1]
