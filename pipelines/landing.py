"""Landing, again and again: what is committed now, a pause, and from the store's place after a failure."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moodstream.pipelines.live import patience_s, pause, stopping
from moodstream.pipelines.metrics import Health
from moodstream.pipelines.prometheus import import_prometheus
from moodstream.sinks.cluster import Cluster, Topics
from moodstream.sinks.land import Lander
from moodstream.transforms.errors import StoreError

_log = logging.getLogger(__name__)
ROUND_S = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60)


@dataclass(frozen=True)
class LandConfig:
    """A landing."""

    cluster: Cluster
    to: str | Path
    topics: Topics
    every_s: float = 5.0
    once: bool = False


class LandMetrics:
    """The measures of one landing.

    Raises:
        MissingExtraError: prometheus-client is not installed.
    """

    def __init__(self) -> None:
        client = import_prometheus()
        self.registry = client.CollectorRegistry()
        self.health = Health()
        client.ProcessCollector(registry=self.registry)

        def of(kind: Any, name: str, text: str, labels: tuple[str, ...] = (), **more: Any) -> Any:
            return kind(f"moodstream_{name}", text, labels, registry=self.registry, **more)

        self.rows = of(client.Counter, "landed_rows", "Rows that are in the store.", ("table",))
        self.lag = of(client.Gauge, "land_lag_records", "Records of results that were not read yet.")
        self.round = of(client.Histogram, "land_seconds", "How long a round takes.", buckets=ROUND_S)
        self.restarts = of(client.Counter, "land_restarts", "How often it began anew after a failure.")


def run(
    config: LandConfig, tell: Callable[[dict[str, int]], None], metrics: LandMetrics | None = None
) -> None:
    """Land until SIGTERM or SIGINT; with `once`, what is committed now.

    Args:
        tell: called with the number of rows by table after a round that landed any.
        metrics: where it tells how it is.

    Raises:
        UsageError: no such topics, or another process lands there.
        StoreError: with `once`, Kafka or the store refuses; without, it tries again.
    """
    with stopping() as stopped:
        tries = 0
        while not stopped():
            lander = None
            try:
                lander = Lander(config.cluster, config.to, config.topics)
                while True:
                    _round(lander, tell, metrics)
                    tries = 0
                    if config.once or stopped():
                        return
                    pause(config.every_s, stopped)
            except StoreError as error:
                if config.once:
                    raise
                tries += 1
                _log.warning("%s; starting again in %s s", error, patience_s(tries))
                if metrics is not None:
                    metrics.restarts.inc()
                    metrics.health.wait("waiting for Kafka or the store")
            finally:
                if lander is not None:
                    lander.close()
            pause(patience_s(tries), stopped)


def _round(lander: Lander, tell: Callable[[dict[str, int]], None], metrics: LandMetrics | None) -> None:
    began = time.monotonic()
    landed = lander.round()
    if landed:
        tell(landed)
    if metrics is not None:
        metrics.health.beat()
        metrics.round.observe(time.monotonic() - began)
        metrics.lag.set(lander.lag())
        for table, count in landed.items():
            metrics.rows.labels(table).inc(count)
