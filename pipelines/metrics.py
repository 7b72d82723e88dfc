"""What a live run tells Prometheus, and the two places where it looks.

`Watch` sees every poll before it is worked off, `KafkaSink.on_commit` every commit when it is safe. So the
latency is what a reader of the results can rely on: from the broker's stamp of a packet to the commit that
holds what came of it (not to the last row that the packet has a part in: a final row waits for up to 3 s of
sound).

Conventions: seconds and bytes, as Prometheus wants them; one `Metrics` a process. Without one nothing is
measured.
"""

import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from moodstream.pipelines.prometheus import import_prometheus
from moodstream.sinks.kafka import KafkaSink
from moodstream.transforms import spent, streams
from moodstream.transforms.elements import Commit, Poll
from moodstream.transforms.partition import Snapshot

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

LATENCY_S = (0.02, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60, 300)
COMMIT_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_STALE_S = 120.0  # without a poll, a run that should poll twenty times a second hangs


class Health:
    """Whether a run is at work, for those who restart it or send work to it."""

    def __init__(self) -> None:
        self._state, self._beat = "starting", time.monotonic()

    def beat(self) -> None:
        """It has just worked."""
        self._state, self._beat = "running", time.monotonic()

    def wait(self, reason: str) -> None:
        """It cannot work now, and tries again; a restart would not help."""
        self._state, self._beat = reason, time.monotonic()

    @property
    def alive(self) -> bool:
        """False where only a restart helps: it should work and has not done so for long."""
        return self._state != "running" or time.monotonic() - self._beat < _STALE_S

    @property
    def ready(self) -> bool:
        """Whether it works off packets."""
        return self._state == "running" and self.alive

    def __str__(self) -> str:
        return f"{self._state}, last at work {time.monotonic() - self._beat:.0f} s ago"


class Metrics:
    """The measures of one live run.

    Args:
        registry: where they are registered; a new one by default.

    Raises:
        MissingExtraError: prometheus-client is not installed.
    """

    def __init__(self, registry: "CollectorRegistry | None" = None) -> None:
        client = import_prometheus()
        self.registry = registry or client.CollectorRegistry()
        self.health = Health()

        def of(kind: Any, name: str, text: str, labels: tuple[str, ...] = (), **more: Any) -> Any:
            return kind(f"moodstream_{name}", text, labels, registry=self.registry, **more)

        self.packets = of(client.Counter, "packets", "Packets worked off and committed.")
        self.bytes = of(client.Counter, "packet_bytes", "Bytes in them.")
        self.rows = of(client.Counter, "rows", "Rows committed.", ("table",))
        self.letters = of(client.Counter, "dead_letters", "Dead letters committed.", ("stage", "error"))
        self.restarts = of(client.Counter, "restarts", "How often the run began anew after a failure.")
        self.lag = of(client.Gauge, "lag_packets", "Packets that are in the topic and were not read yet.")
        self.state = of(client.Gauge, "state_bytes", "Size of the last snapshots of all open streams.")
        self.models = of(client.Gauge, "model_info", "The models of new streams.", ("model", "version"))
        self.latency = of(
            client.Histogram,
            "latency_seconds",
            "From the broker's stamp of a packet to the commit of what came of it.",
            buckets=LATENCY_S,
        )
        self.commit = of(client.Histogram, "commit_seconds", "How long a commit takes.", buckets=COMMIT_S)
        opened = of(client.Gauge, "streams_open", "Streams that are open.")
        opened.set_function(streams.open_streams)
        older = of(client.Gauge, "streams_older", "Of these, streams whose models are not the newest.")
        older.set_function(streams.older_streams)
        self.registry.register(_Spent())
        client.ProcessCollector(registry=self.registry)
        self._waiting: dict[str, deque[tuple[int, int, int]]] = {}  # offset, stamp, bytes; by topic/partition
        self._committed: dict[str, int] = {}
        self._sizes: dict[str, int] = {}  # of snapshots, by partition/media

    def saw(self, poll: Poll) -> None:
        """A poll is about to be worked off."""
        self.health.beat()
        self.lag.set(poll.lag)
        if poll.recovered:
            self._waiting.clear()
            self._committed = {f"{poll.topic}/{one.partition}": one.committed for one in poll.recovered}
            kept = [(f"{one.partition}/{m}", s) for one in poll.recovered for m, s in one.snapshots.items()]
            self._sizes = {}
            self._keep(kept)
        for record in poll.records:
            place = f"{record.topic}/{record.partition}"
            if record.offset >= self._committed.get(place, 0):
                size = len(record.value or b"")
                self._waiting.setdefault(place, deque()).append((record.offset, record.time_ms, size))

    def committed(self, commit: Commit, took_s: float) -> None:
        """A commit is safe."""
        now_ms = time.time() * 1000
        self.commit.observe(took_s)
        for place, position in commit.positions.items():
            waiting = self._waiting.get(place, deque())
            while waiting and waiting[0][0] < position:
                _, stamp_ms, size = waiting.popleft()
                self.packets.inc()
                self.bytes.inc(size)
                self.latency.observe(max(0.0, now_ms - stamp_ms) / 1000)
        for table, rows in commit.rows.items():
            self.rows.labels(table).inc(len(rows))
        if "dead_letter" in commit.rows:
            for row in commit.rows["dead_letter"].select(["stage", "error"]).to_pylist():
                self.letters.labels(row["stage"], row["error"]).inc()
        self._keep(commit.snapshots.items())

    def _keep(self, snapshots: Any) -> None:
        for place, data in snapshots:
            if data and Snapshot.from_bytes(data).is_open:
                self._sizes[place] = len(data)
            else:
                self._sizes.pop(place, None)
        self.state.set(sum(self._sizes.values()))


class _Spent:
    """What `transforms/spent.py` counted, read when Prometheus asks."""

    def collect(self) -> Iterator[Any]:
        from prometheus_client.metrics_core import CounterMetricFamily

        text = "Time that went into a kind of work."
        found = CounterMetricFamily("moodstream_spent_seconds", text, labels=("on",))
        for kind in spent.KINDS:
            found.add_metric((kind,), spent.seconds(kind))
        yield found


_current: list[Metrics] = []  # of this process: Beam copies steps, and all copies measure into one


def measure_into(metrics: Metrics | None) -> None:
    """Where the steps of this process measure from now on; None: nowhere."""
    _current[:] = [metrics] if metrics else []
    KafkaSink.on_commit[:] = [metrics.committed] if metrics else []


def _watch(poll: Poll) -> Poll:
    for metrics in _current:
        metrics.saw(poll)
    return poll


@beam.typehints.with_input_types(Poll)
@beam.typehints.with_output_types(Poll)
class Watch(beam.PTransform[PCollection[Poll], PCollection[Poll]]):
    """Looks at polls on their way: PCollection[Poll] -> the same."""

    def expand(self, polls: PCollection[Poll]) -> PCollection[Poll]:
        return polls | "watch polls" >> beam.Map(_watch)
