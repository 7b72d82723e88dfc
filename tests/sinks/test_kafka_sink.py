"""Transactions that never come back: they count as failed, and what Kafka says comes through."""

import threading

import pytest

from moodstream.sinks.kafka import in_time
from moodstream.transforms.errors import StoreError

KafkaError = pytest.importorskip("kafka").errors.KafkaError


def test_what_comes_back_in_time_is_done() -> None:
    done = []
    in_time(lambda: done.append(threading.current_thread().name), 10)
    assert done == ["transaction"]


def test_what_does_not_come_back_has_failed() -> None:
    answer = threading.Event()
    with pytest.raises(StoreError, match=r"not answered for 0\.1 s"):
        in_time(lambda: answer.wait() and None, 0.1)
    answer.set()


@pytest.mark.parametrize("error", [KafkaError("no leader"), StoreError("nobody writes")])
def test_what_it_fails_with_comes_through(error: Exception) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error), match=str(error)):
        in_time(fail, 10)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_is_no_failure_of_kafka() -> None:
    with pytest.raises(RuntimeError, match="before its end"):
        in_time(lambda: {}["missing"], 10)
