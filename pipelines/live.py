"""The live run: packets from Kafka in, rows to Kafka out, until somebody stops it.

One fused stage: read a poll, work it off, commit it. When Kafka fails, what this process has in memory is
worth nothing any more; the run starts again from what was committed, as a new process would.
"""

import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import PCollection
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from moodstream.pipelines.metrics import Metrics, Watch, measure_into
from moodstream.sinks.base import Sink, WriteRows, Written
from moodstream.sinks.cluster import Cluster, Topics
from moodstream.sinks.kafka import FencedError, KafkaSink
from moodstream.transforms.engine import Engine
from moodstream.transforms.errors import StoreError, UsageError
from moodstream.transforms.session import Settings
from moodstream.transforms.shelf import Shelf, look_now, shelf_of
from moodstream.transforms.source_kafka import PacketSource, ReadPackets, resume, stop
from moodstream.transforms.stream import LiveSettings
from moodstream.transforms.streams import AnalyzeStreams

_log = logging.getLogger(__name__)
_PATIENCE_S = (0.5, 1, 2, 5, 10)  # between starts that fail, then the last one again and again
_GOOD_S = 60  # a run of this length was a good one


@dataclass(frozen=True)
class LiveConfig:
    """A live run."""

    cluster: Cluster
    topic: str
    group: str = "moodstream"
    topics: Topics = field(default_factory=Topics)
    partitions: tuple[int, ...] = ()  # of the packets' topic; all if none are named
    share: bool = False  # with the other processes of the group, as Kafka gives partitions to them
    settings: Settings = field(default_factory=Settings)
    timing: LiveSettings = field(default_factory=LiveSettings)
    beam_options: tuple[str, ...] = ()  # for another runner, e.g. --runner=PortableRunner for Flink
    releases: str = ""  # a folder of releases of models, watched; empty: the installed models
    bundle_s: float = 60.0  # how long a bundle lasts; on Flink a checkpoint waits for its end


def build(
    root: beam.Pipeline,
    source: PacketSource,
    sink: Sink,
    config: LiveConfig,
    engine: Engine | Shelf | None = None,
) -> PCollection[Written]:
    """The whole graph."""
    return (
        root
        | "packets" >> ReadPackets(source, config.bundle_s)
        | "watch" >> Watch()
        | "streams" >> AnalyzeStreams(config.settings, config.timing, engine, config.releases)
        | "commit" >> WriteRows(sink)
    )


def run_once(config: LiveConfig, sink: KafkaSink | None = None, engine: Engine | Shelf | None = None) -> None:
    """Read, work off and commit until `stop` or a failure.

    Raises:
        UsageError: topics or snapshots are not as they must be.
        FencedError: another process took over.
        StoreError: Kafka failed.
    """
    sink = sink or KafkaSink(config.cluster, config.topic, config.group, config.topics)
    members = f"{config.group}.members" if config.share else ""  # keeps no offsets: those are the group's
    elsewhere = bool(config.beam_options)
    source = PacketSource(
        config.cluster.settings(), config.topic, sink, config.partitions, members, elsewhere
    )
    runner = None if elsewhere else FnApiRunner()
    with beam.Pipeline(runner, PipelineOptions(list(config.beam_options))) as root:
        build(root, source, sink, config, engine)


def run(config: LiveConfig, engine: Engine | None = None, metrics: Metrics | None = None) -> None:
    """A live run that goes on when Kafka comes back, until SIGTERM, SIGINT or another process takes over.

    Args:
        engine: other models than the installed ones.
        metrics: where it tells how it is.

    Raises:
        UsageError: topics or snapshots are not as they must be, or partitions both named and shared.
        FencedError: another process took over.
    """
    if config.share and config.partitions:
        raise UsageError("either the group says who reads which partitions, or their numbers do")
    measure_into(metrics)
    speech = config.settings.speech_model
    if config.releases and not config.beam_options:
        shelf = shelf_of(Path(config.releases), speech)
        name_models(metrics, shelf.newest)
        shelf.on_change.append(lambda newest: name_models(metrics, newest))
    elif not config.releases:
        name_models(metrics, engine or Engine(speech=speech))
    with stopping(reload=bool(config.releases)) as stopped:
        tries = 0
        while not stopped():
            began = time.monotonic()
            try:
                run_once(config, engine=engine)
            except StoreError as error:
                if isinstance(error, FencedError) and not config.share:
                    raise
                tries = 1 if time.monotonic() - began > _GOOD_S else tries + 1
                wait_s = patience_s(tries)
                _log.warning("%s; starting again in %s s", error, wait_s)
                if metrics is not None:
                    metrics.restarts.inc()
                    metrics.health.wait("waiting for Kafka")
                pause(wait_s, stopped)
    _log.info("stopped; everything that was read is committed")


def name_models(metrics: Metrics | None, engine: Engine) -> None:
    """Measure whose models new streams get."""
    if metrics is not None:
        metrics.models.clear()
        for model, version in engine.versions().items():
            metrics.models.labels(model, version).set(1)


def patience_s(tries: int) -> float:
    """How long to wait after so many starts in a row that failed."""
    return _PATIENCE_S[min(tries, len(_PATIENCE_S)) - 1]


def pause(seconds: float, stopped: Callable[[], bool]) -> None:
    """Wait, but not when it is to end."""
    end = time.monotonic() + seconds
    while not stopped() and time.monotonic() < end:
        time.sleep(0.1)


@contextmanager
def stopping(*, reload: bool = False) -> Iterator[Callable[[], bool]]:
    """While inside, SIGTERM and SIGINT let the readers end after the commit they are at.

    Args:
        reload: SIGHUP does not end the process but lets it look at its folder of models.
    """
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        stop()

    resume()
    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    if reload:
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, look_now)
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
