"""A live process for tests, with fake models: reads, commits, and dies where it is told to.

    python -m tests.support.live_worker BOOTSTRAP TOPIC GROUP [MOMENT COUNT | patient [share | PARTITIONS]]
    python -m tests.support.live_worker BOOTSTRAP TOPIC GROUP slow
    python -m tests.support.live_worker BOOTSTRAP TOPIC GROUP flink OPTION...

With MOMENT (`begun`, `sent`, `ready`, `committed`) it kills itself there, in its COUNTth transaction. Into
the file that LIVE_WORKER_MOMENT names it writes the moment it is at: whoever kills it knows what was hit.
With `patient` it is the whole run, which goes on after failures, alone, as a member of its group or for these
partitions (`0,1`); it serves measures at a port that it writes, as the first line, to its standard output.
With `slow` its commits take long; it serves measures, too.
With `flink` it sends the pipeline to another runner, with these options, and stays until the job ends.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from moodstream.pipelines.live import LiveConfig, run, run_once, stopping
from moodstream.pipelines.metrics import Metrics, measure_into
from moodstream.pipelines.monitor import serving
from moodstream.sinks.cluster import Cluster, Topics
from moodstream.sinks.kafka import FencedError, KafkaSink
from moodstream.transforms import source_kafka
from moodstream.transforms.elements import Commit, Recovered
from moodstream.transforms.engine import Engine
from moodstream.transforms.session import Settings
from moodstream.transforms.stream import LiveSettings
from tests.support.fake_engine import FakeEngine

TIMING = LiveSettings(window_ms=1_000, idle_ms=30_000, snapshot_ms=1_000)
FENCED = 9


class DyingSink(KafkaSink):
    """Kills its process at a moment of a transaction."""

    def __init__(self, *of: Any, moment: str = "", count: int = 0) -> None:
        super().__init__(*of)
        self.moment, self.count = moment, count
        self.told = os.environ.get("LIVE_WORKER_MOMENT")

    def recover(self, partitions: Sequence[int]) -> tuple[Recovered, ...]:
        found = super().recover(partitions)
        self._tell("recovered")
        return found

    def _tell(self, moment: str) -> None:
        if self.told:
            Path(self.told).write_text(moment)

    def _at(self, moment: str) -> None:
        self._tell(moment)
        if moment == self.moment:
            self.count -= 1
            if self.count == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class SlowSink(KafkaSink):
    """Takes its time."""

    def write(self, commit: Commit) -> None:
        time.sleep(0.2)
        super().write(commit)


def config_of(bootstrap: str, topic: str, group: str) -> LiveConfig:
    topics = Topics(f"{group}.")
    idle_ms = int(os.environ.get("LIVE_WORKER_IDLE_MS", TIMING.idle_ms))
    releases = os.environ.get("LIVE_WORKER_RELEASES", "")
    timing = replace(TIMING, in_hand=os.environ.get("LIVE_WORKER_HAND", ""), idle_ms=idle_ms)
    settings = Settings(speech_model="small") if releases else Settings()
    return LiveConfig(
        Cluster(bootstrap), topic, group, topics, settings=settings, timing=timing, releases=releases
    )


def engine_of(config: LiveConfig) -> Engine | None:
    """Fake models, or real ones where LIVE_WORKER_MODELS or LIVE_WORKER_RELEASES says so."""
    if config.releases:
        return None
    return Engine() if os.environ.get("LIVE_WORKER_MODELS") == "real" else FakeEngine()


def main(bootstrap: str, topic: str, group: str, moment: str = "", more: str = "", *options: str) -> int:
    config = config_of(bootstrap, topic, group)
    if moment == "flink":
        run_once(replace(config, beam_options=(more, *options), bundle_s=1.0), engine=FakeEngine())
        return 0
    if moment == "slow":
        slow, metrics = SlowSink(config.cluster, topic, group, config.topics), Metrics()
        measure_into(metrics)
        with serving(metrics, 0) as port, stopping():
            print(port, flush=True)
            run_once(config, slow, FakeEngine())
        return 0
    if moment == "patient":
        metrics = Metrics()
        source_kafka._SESSION_MS = 3_000  # what a dead member costs the others, shorter than in earnest
        if more == "share":
            config = replace(config, share=True)
        elif more:
            config = replace(config, partitions=tuple(map(int, more.split(","))))
        with serving(metrics, 0) as port:
            print(port, flush=True)
            run(config, engine_of(config), metrics)
        return 0
    sink = DyingSink(config.cluster, topic, group, config.topics, moment=moment, count=int(more or 0))
    with stopping():
        print("ready", flush=True)
        try:
            run_once(config, sink, engine_of(config))
        except FencedError:
            return FENCED
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("moodstream").setLevel(logging.INFO)
    sys.exit(main(*sys.argv[1:]))
