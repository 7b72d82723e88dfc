"""What the service tells Prometheus: requests by route and status, how long they took, how the store is.

Conventions: seconds, as Prometheus wants them; the label `route` is that of the code, never what was asked
for, so that nobody can make labels without end. `registry` takes what other parts want to measure.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from starlette.types import Scope

from moodstream.pipelines.prometheus import import_prometheus
from moodstream.serving.store.store import Store
from moodstream.transforms.errors import MissingExtraError

REFUSED = (401, 403, 408, 413, 414, 421, 429, 431, 503)  # by the gate, for what they mean each counted
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Measures:
    """One a service. Without prometheus_client nothing is measured, and `/metrics` says so."""

    def __init__(self) -> None:
        try:
            client = import_prometheus()
        except MissingExtraError:
            self.registry = None
            return
        self.registry = client.CollectorRegistry()
        self._client = client
        self._requests = client.Histogram(
            "moodstream_serve_seconds",
            "Seconds until an answer began",
            ("route", "status"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._refused = client.Counter(
            "moodstream_serve_refused", "Requests that went no further", ("status",), registry=self.registry
        )
        client.ProcessCollector(registry=self.registry)
        started = client.Gauge(
            "moodstream_serve_start_time_seconds", "When it was started", registry=self.registry
        )
        started.set(time.time())

    def watch(self, store: Store) -> None:
        """Measure the store, too."""
        if self.registry is None:
            return
        gauge = self._client.Gauge
        ready = gauge("moodstream_serve_ready", "1 when the whole lake is served", registry=self.registry)
        ready.set_function(lambda: float(store.state.ready))
        left = gauge("moodstream_serve_behind", "Media that are to be taken in", registry=self.registry)
        left.set_function(lambda: float(store.state.total - store.state.done if store.state.filling else 0))

    def watch_live(self, told: Callable[[], Mapping[str, float]]) -> None:
        """Measure live rows, too: names and values, asked for anew each time."""
        if self.registry is not None:
            self.registry.register(_Told(told))

    def __call__(self, scope: Scope, status: int, seconds: float) -> None:
        if self.registry is not None:
            if status in REFUSED:
                self._refused.labels(str(status)).inc()
            route = getattr(scope.get("route"), "path", "page")
            self._requests.labels(route, f"{status // 100}xx").observe(seconds)

    def text(self) -> tuple[bytes, str]:
        """The measures as Prometheus reads them, and their media type.

        Raises:
            MissingExtraError: they need the extra `metrics`.
        """
        if self.registry is None:
            raise MissingExtraError("prometheus-client", "metrics")
        return self._client.generate_latest(self.registry), self._client.CONTENT_TYPE_LATEST


class _Told:
    """Numbers that another part keeps itself; names that end in `_total` only grow."""

    def __init__(self, told: Callable[[], Mapping[str, float]]) -> None:
        self._told = told

    def collect(self) -> Iterator[Any]:
        from prometheus_client import core

        for name, value in self._told().items():
            kind = core.CounterMetricFamily if name.endswith("_total") else core.GaugeMetricFamily
            words = name.removesuffix("_total").replace("_", " ")
            yield kind(f"moodstream_serve_{name.removesuffix('_total')}", f"{words.capitalize()}", value)
