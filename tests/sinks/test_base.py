"""The step that writes: what it stores, what it says, and when."""

import pickle

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to

from moodstream.sinks.base import MemorySink, Sink, WriteRows, Written
from moodstream.transforms.elements import Commit
from moodstream.transforms.errors import StoreError


class _Log(Sink):
    """Remembers its calls in a list that all copies share through the memory sink."""

    def __init__(self, memory: MemorySink) -> None:
        self.memory = memory

    def write(self, commit):
        self.memory.append(f"write {commit.media_id}")

    def flush(self):
        self.memory.append("flush")


class _Refuses(Sink):
    def write(self, commit):
        pass

    def flush(self):
        raise StoreError("no space left on device")


def test_a_memory_sink_is_a_list_of_flushed_commits(commit):
    sink = MemorySink()
    copy = pickle.loads(pickle.dumps(sink))
    copy.write(commit("a"))
    assert sink == []
    copy.flush()
    assert [c.media_id for c in sink] == ["a"]
    copy.write(commit("b"))
    copy.discard()
    copy.flush()
    assert len(sink) == 1


def test_written_counts_what_a_commit_holds(commit, dead):
    written = Written.of(commit("a", cells=10, dead=("x",)))
    assert written.rows == {"curve": 20, "episode": 4, "summary": 2, "alert": 0, "dead_letter": 1, "media": 1}
    assert (written.media_id, len(written.letters), written.duration_ms) == ("a", 1, 5_000)
    nothing = Written.of(dead("b"))
    assert (nothing.rows, nothing.duration_ms, len(nothing.letters)) == ({"dead_letter": 1}, 0, 1)


def test_write_rows_stores_every_commit_and_counts_it(commit):
    sink = MemorySink()
    commits = [commit(f"track {i}") for i in range(7)]
    with TestPipeline("FnApiRunner") as p:
        written = p | beam.Create(commits) | WriteRows(sink)
        assert_that(written | beam.Map(lambda w: w.media_id), equal_to([c.media_id for c in commits]))
    assert sorted(c.media_id for c in sink) == sorted(c.media_id for c in commits)
    assert all(isinstance(c, Commit) for c in sink)


@pytest.mark.parametrize("limit", [{"max_rows": 50}, {"max_bytes": 9_000}, {"max_seconds": 0.0}])
def test_progress_becomes_durable_within_a_bundle(commit, limit):
    memory = MemorySink()
    with TestPipeline("FnApiRunner") as p:
        _ = (
            p
            | beam.Create([commit(f"t{i}") for i in range(6)], reshuffle=False)
            | WriteRows(_Log(memory), **limit)
        )
    assert memory.index("flush") < memory.index("write t5")
    assert memory[-1] == "flush"


def test_one_flush_a_bundle_when_no_limit_is_met(commit):
    memory = MemorySink()
    with TestPipeline("FnApiRunner") as p:
        _ = p | beam.Create([commit(f"t{i}") for i in range(6)], reshuffle=False) | WriteRows(_Log(memory))
    assert memory.count("flush") == 1


def test_a_refusing_store_stops_the_run(commit):
    with pytest.raises(Exception, match="no space left on device"), TestPipeline("FnApiRunner") as p:
        _ = p | beam.Create([commit("a")]) | WriteRows(_Refuses())


def test_other_elements_are_refused_when_the_graph_is_built():
    with pytest.raises(beam.typehints.TypeCheckError), TestPipeline("FnApiRunner") as p:
        _ = p | beam.Create(["not a commit"]) | WriteRows(MemorySink())
