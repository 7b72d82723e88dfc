"""The pipelines on a real Flink: same graph, same rows as on FnApiRunner."""

import collections
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from infra.flink.job_server import JobServer, missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")

WORDS = ["the media", "the curve", "an episode of the curve"]


@pytest.fixture(scope="module")
def flink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobServer]:
    with JobServer(log=tmp_path_factory.mktemp("flink") / "log") as server:
        yield server


def count_words(pipeline: beam.Pipeline, out: Path) -> None:
    (
        pipeline
        | "Lines" >> beam.Create(WORDS)
        | "Split" >> beam.FlatMap(str.split)
        | "Count" >> beam.combiners.Count.PerElement()
        | "Format" >> beam.MapTuple(lambda word, n: f"{word} {n}")
        | "Write" >> beam.io.WriteToText(str(out), shard_name_template="")
    )


def test_a_shuffle_on_flink_gives_what_python_counts(flink: JobServer, tmp_path: Path) -> None:
    with beam.Pipeline(options=PipelineOptions(flink.options())) as pipeline:
        count_words(pipeline, tmp_path / "words")
    lines = (tmp_path / "words").read_text().splitlines()
    counted = collections.Counter(" ".join(WORDS).split())
    assert sorted(lines) == sorted(f"{word} {n}" for word, n in counted.items())


def test_a_failing_step_fails_the_job(flink: JobServer) -> None:
    pipeline = beam.Pipeline(options=PipelineOptions(flink.options()))
    _ = pipeline | beam.Create([0]) | beam.Map(lambda x: 1 / x)
    with pytest.raises(RuntimeError, match="ZeroDivisionError|division by zero|FAILED"):
        pipeline.run().wait_until_finish()
