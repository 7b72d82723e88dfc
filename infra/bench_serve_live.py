"""How soon a row that was committed is in the browsers, and what the service keeps of it. Prints JSON.

    python infra/bench_serve_live.py [--calls 500] [--browsers 20] [--seconds 180]

A real broker; calls with two rows a second each (`--sides 2`: four); browsers that follow all of them; the
service on one core. Calls and browsers are processes of their own (`infra/serve_live_load.py`). Memory counts
from when the last minute of every call and the ring of events are full.
"""

import json
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import orjson

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from infra.bench_lake import commits, write
from infra.kafka.broker import Broker
from infra.serve_live_load import PARTITIONS, STEP_S, browse, produce
from infra.serve_load import Service, cores, serving
from moodstream.serving.live.events import KEPT_S
from moodstream.sinks.cluster import Cluster, Topics
from moodstream.sinks.kafka import TopicPlan, create_topics
from moodstream.sinks.lake import LakeSink
from moodstream.sinks.layout import TABLES

LOOK_S = 5.0
FULL_S = KEPT_S + 15  # then all that is bounded has its size


def watch(service: Service, seconds: float) -> list[tuple[float, float]]:
    """Memory over time: seconds, MiB."""
    began_s, found = time.monotonic(), []
    while (now_s := time.monotonic() - began_s) < seconds:
        found.append((round(now_s, 1), round(service.mib(), 1)))
        time.sleep(min(LOOK_S, seconds - now_s))
    return found


def judged(memory: list[tuple[float, float]]) -> dict[str, float | None]:
    """What memory came to, and how it grows once all is full: MiB in half an hour, by the best line."""
    full = np.array([place for place in memory if place[0] >= FULL_S])
    grows = round(1800 * float(np.polyfit(full[:, 0], full[:, 1], 1)[0]), 1) if len(full) > 5 else None
    return {"mib": memory[-1][1], "mib_in_half_an_hour": grows}


def measure(
    broker: Broker, folder: Path, calls: int, sides: int, browsers: int, seconds: float
) -> dict[str, Any]:
    prefix = "bench."
    topics = [TopicPlan(Topics(prefix).of(name), PARTITIONS, {}) for name in TABLES]
    create_topics(Cluster(broker.bootstrap), topics)
    context = multiprocessing.get_context("spawn")
    begin, ready = context.Process, context.Barrier(3)
    sent, seen = folder / "sent.json", folder / "seen.json"
    options = ["--lake", str(folder / "lake"), "--bootstrap", broker.bootstrap, "--out-prefix", prefix]
    with serving(options) as service:
        others = [
            begin(target=produce, args=(broker.bootstrap, prefix, calls, sides, seconds, sent, ready)),
            begin(target=browse, args=(service.port, browsers, seconds + 5, seen, ready)),
        ]
        for one in others:
            one.start()
        ready.wait()
        used_s, began_s = service.cpu_s(), time.monotonic()
        memory = watch(service, seconds)
        used_s, took_s = service.cpu_s() - used_s, time.monotonic() - began_s
        for one in others:
            one.join()
        if any(one.exitcode for one in others):
            raise click.ClickException("the calls or the browsers failed")
    told = json.loads(sent.read_text())
    browsed = orjson.loads(seen.read_bytes())
    ms = delays(told["committed"], browsed)
    p50, p95, p99 = np.percentile(ms, (50, 95, 99))
    rows = [one["rows"] for one in browsed]
    return {
        "calls": calls,
        "rows_a_second": calls * sides / STEP_S,
        "browsers": browsers,
        "seconds": seconds,
        "p50_ms": round(float(p50), 1),
        "p95_ms": round(float(p95), 1),
        "p99_ms": round(float(p99), 1),
        "max_ms": round(float(ms.max()), 1),
        "events_a_second": round(max(one["events"] for one in browsed) / seconds, 2),
        "kib_a_second_each": round(sum(one["bytes"] for one in browsed) / browsers / seconds / 1024, 1),
        "rows_each": [min(rows), max(rows)],
        "lost": sum(one["lost"] for one in browsed),
        "doubled": sum(one["doubled"] for one in browsed),
        "commits_late_ms_p95": round(1000 * told["late_s_p95"], 1),
        "service_core": round(used_s / took_s, 3),
        "load_average": os.getloadavg(),
        "memory": judged(memory),
        "memory_over_time": memory[:: max(1, len(memory) // 60)],
    }


def delays(committed: dict[str, float], browsed: list[dict[str, Any]]) -> "np.ndarray[Any, Any]":
    """Milliseconds from commit to event, of each slot and step in each browser."""
    return np.array(
        [
            1000 * (now_s - committed[f"{slot}/{step}"])
            for one in browsed
            for now_s, slot, step in one["seen"]
            if f"{slot}/{step}" in committed
        ]
    )


def table(found: dict[str, Any]) -> list[list[str]]:
    memory = found["memory"]
    grows = memory["mib_in_half_an_hour"]
    grown = "too short to say" if grows is None else f"{grows:+.1f} MiB in half an hour"
    about = f"{found['browsers']} browsers on {found['calls']} calls, {found['rows_a_second']:,.0f} rows/s"
    return [
        [
            f"{about}: commit to event, p95",
            f"{found['p95_ms']:.0f} ms (p50 {found['p50_ms']:.0f}, p99 {found['p99_ms']:.0f})",
            "under 400 ms",
        ],
        ["the same: rows lost, rows doubled", f"{found['lost']}, {found['doubled']}", "0, 0"],
        ["the same: the service's share of its core", f"{found['service_core']:.0%}", ""],
        [
            f"memory of the service after {found['seconds'] / 60:.3g} minutes of that",
            f"{memory['mib']:.0f} MiB; {grown}",
            "flat",
        ],
    ]


@click.command(help=__doc__)
@click.option("--calls", default=500, show_default=True)
@click.option("--sides", default=1, show_default=True, help="Of each call that have rows.")
@click.option("--browsers", default=20, show_default=True)
@click.option("--seconds", default=180.0, show_default=True)
def main(calls: int, sides: int, browsers: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="moodstream-bench-live-") as name, Broker() as broker:
        folder = Path(name)
        write(LakeSink(folder / "lake"), commits(10, 420))
        _, others = cores()
        os.sched_setaffinity(0, others)
        found = measure(broker, folder, calls, sides, browsers, seconds)
    click.echo(json.dumps(found | {"table": table(found)}, indent=2))


if __name__ == "__main__":
    main()
