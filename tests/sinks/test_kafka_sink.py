"""Transactions: one at a time beside the work, and none that never comes back."""

import threading
from collections.abc import Callable

import pytest

from moodstream.sinks import kafka as module
from moodstream.sinks.cluster import Cluster
from moodstream.sinks.kafka import KafkaSink
from moodstream.transforms.elements import Commit
from moodstream.transforms.errors import StoreError

KafkaError = pytest.importorskip("kafka").errors.KafkaError


class Sink(KafkaSink):
    """Does something else than a transaction."""

    def __init__(self, do: Callable[[Commit], None]) -> None:
        super().__init__(Cluster("nowhere:1"), "packets", "g")
        self._transact = lambda producer, commit, at: do(commit)  # type: ignore[method-assign,misc]


@pytest.fixture(autouse=True)
def _producer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KafkaSink, "_producers", {"moodstream.g.packets.0-3": None})
    monkeypatch.setattr(KafkaSink, "_under_way", {})


def commit(position: int) -> Commit:
    return Commit("", 0, {}, positions={"packets/0": position})


def test_one_commit_is_made_safe_while_the_next_is_worked_out(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, done = threading.Event(), list[int]()

    def do(one: Commit) -> None:
        answer.wait(10)
        done.append(one.positions["packets/0"])

    told = list[int]()
    monkeypatch.setattr(KafkaSink, "on_commit", [lambda one, took_s: told.append(one.positions["packets/0"])])
    sink = Sink(do)
    sink.write(commit(1))  # comes back at once
    assert done == []
    answer.set()
    sink.write(commit(2))
    assert done[0] == 1
    sink.flush()
    assert done == told == [1, 2]
    sink.flush()
    assert done == [1, 2]


def test_what_does_not_come_back_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE_S", 0.1)
    answer = threading.Event()
    sink = Sink(lambda one: answer.wait(10) and None)
    sink.write(commit(1))
    with pytest.raises(StoreError, match=r"not answered for 0\.1 s"):
        sink.write(commit(2))
    answer.set()


@pytest.mark.parametrize("error", [KafkaError("no leader"), StoreError("nobody writes")])
@pytest.mark.parametrize("after", [commit(2), Commit("", 0, {}), None])
def test_what_it_fails_with_comes_through(error: Exception, after: Commit | None) -> None:
    done = list[int]()

    def fail(one: Commit) -> None:
        done.append(one.positions["packets/0"])
        raise error

    sink = Sink(fail)
    sink.write(commit(1))
    with pytest.raises(StoreError, match=str(error)):
        sink.write(after) if after else sink.flush()
    sink.flush()
    assert done == [1]  # nothing after what failed


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_is_no_failure_of_kafka() -> None:
    sink = Sink(lambda one: {}["missing"])
    sink.write(commit(1))
    with pytest.raises(RuntimeError, match="before its end"):
        sink.flush()


def test_nobody_writes_for_partitions_that_are_not_theirs() -> None:
    with pytest.raises(StoreError, match="nobody here writes for partitions"):
        Sink(lambda one: None).write(Commit("", 0, {}, positions={"packets/4": 1}))
