"""How fast the lake is: 10,000 made-up tracks are written, read, asked about and compacted. Prints JSON.

    python infra/bench_lake.py [--tracks 10000] [--cells 420] [--store lake|parquet]

The rows are random, so they compress worse than real ones. Reads: the median of several, wall clock and CPU.
"""

import json
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa

from moodstream.models.base import EMOTIONS, STEP_MS
from moodstream.sinks.base import Sink
from moodstream.sinks.compact import compact
from moodstream.sinks.lake import LakeSink
from moodstream.sinks.parquet import ParquetSink
from moodstream.sinks.read import Lake
from moodstream.transforms.elements import SCHEMA_VERSION, Commit
from moodstream.transforms.tables import SCHEMAS

BLOCK = 200  # tracks made at once
WORDS = {
    "channel": "mix",
    "modality": "fused",
    "model": "music",
    "model_version": "1",
    "emotions_for": "customer",
}


def commits(tracks: int, cells: int, seed: int = 0) -> Iterator[Commit]:
    """Random walks of valence and arousal, one media each."""
    rng = np.random.default_rng(seed)
    for first in range(0, tracks, BLOCK):
        names = [f"album {i // 12}/track {i}.mp3" for i in range(first, min(first + BLOCK, tracks))]
        tables = {
            "curve": _table("curve", names, cells, rng),
            "episode": _table("episode", names, max(1, cells // 40), rng),
            "summary": _table("summary", names, 1, rng),
            "media": _table(
                "media", names, 1, rng, duration_ms=STEP_MS * cells, analyzed_at=datetime.now(UTC)
            ),
        }
        for i, name in enumerate(names):
            sizes = {table: len(rows) // len(names) for table, rows in tables.items()}
            yield Commit(name, 0, {t: rows.slice(i * sizes[t], sizes[t]) for t, rows in tables.items()})


def _table(name: str, media_ids: list[str], each: int, rng: np.random.Generator, **given: Any) -> pa.Table:
    """Rows of one table with plausible values in every column."""
    n = len(media_ids) * each
    steps = np.tile(np.arange(each), len(media_ids))
    analyses = [f"{rng.integers(1 << 62):032x}" for _ in media_ids]
    values: dict[str, Any] = {
        "media_id": pa.array(media_ids).take(pa.array(np.repeat(np.arange(len(media_ids)), each))),
        "analysis_id": pa.array(analyses).take(pa.array(np.repeat(np.arange(len(media_ids)), each))),
        "start_ms": steps * STEP_MS,
        "end_ms": (steps + 1) * STEP_MS,
        "episode": steps,
        "content_hash": pa.array([f"{rng.integers(1 << 62):064x}" for _ in range(n)]),
    }
    columns = [
        _column(field, n, each, values.get(field.name, given.get(field.name)), rng) for field in SCHEMAS[name]
    ]
    return pa.table(columns, schema=SCHEMAS[name])


def _column(field: pa.Field, n: int, each: int, value: Any, rng: np.random.Generator) -> pa.Array:
    kind = field.type
    if isinstance(value, pa.Array | np.ndarray):
        return pa.array(value, kind)
    if value is not None:
        return pa.repeat(pa.scalar(value, kind), n)
    if field.name in ("take", "revision"):
        return pa.array(np.zeros(n), kind)
    if pa.types.is_float32(kind):
        walk = np.cumsum(rng.normal(0, 0.05, (n // each, each)), axis=1)
        return pa.array(np.tanh(walk + rng.normal(0, 0.3, (n // each, 1))).ravel(), kind)
    if pa.types.is_map(kind) and pa.types.is_float32(kind.item_type):
        scores = rng.dirichlet(np.ones(4), n).astype(np.float32).ravel()
        keys = pa.array(EMOTIONS[:4]).take(pa.array(np.tile(np.arange(4), n)))
        return pa.MapArray.from_arrays(
            np.arange(0, 4 * n + 1, 4, dtype=np.int32), keys, pa.array(scores)
        ).cast(kind)
    if pa.types.is_map(kind) or pa.types.is_list(kind):
        return pa.array([[]] * n, kind)
    if pa.types.is_string(kind) and not field.nullable:
        return pa.repeat(pa.scalar(WORDS.get(field.name, "music")), n)
    if pa.types.is_integer(kind) and not field.nullable:
        return pa.array(np.full(n, SCHEMA_VERSION), kind)
    if pa.types.is_boolean(kind):
        return pa.array(np.ones(n, bool))
    return pa.nulls(n, kind)


def write(sink: Sink, made: Iterator[Commit], max_bytes: int = 32 << 20) -> dict[str, float]:
    """Write as `WriteRows` does, counting only the time spent in the sink."""
    sink.open()
    spent = cpu = pending = count = 0.0
    for commit in made:
        pending += sum(rows.nbytes for rows in commit.rows.values())
        count += 1
        began, cpu_began = time.perf_counter(), time.process_time()
        sink.write(commit)
        if pending >= max_bytes:
            sink.flush()
            pending = 0
        spent, cpu = spent + time.perf_counter() - began, cpu + time.process_time() - cpu_began
    began, cpu_began = time.perf_counter(), time.process_time()
    sink.flush()
    spent, cpu = spent + time.perf_counter() - began, cpu + time.process_time() - cpu_began
    return {"media": count, "wall_s": spent, "cpu_s": cpu, "media_per_cpu_s": count / cpu}


def timed(action: Callable[[], Any], times: int) -> dict[str, float]:
    """Median milliseconds of wall clock and of all cores together; on a busy machine trust the latter."""
    walls, cpus = [], []
    for _ in range(times):
        wall, cpu = time.perf_counter(), time.process_time()
        action()
        walls.append(1000 * (time.perf_counter() - wall))
        cpus.append(1000 * (time.process_time() - cpu))
    return {"wall_ms": statistics.median(walls), "cpu_ms": statistics.median(cpus)}


def questions(path: Path) -> dict[str, Any]:
    lake = Lake(path)
    names = lake.media_ids()
    pick = random.Random(0)
    return {
        "files": sum(1 for _ in path.glob("*/*.parquet")),
        "mib": sum(file.stat().st_size for file in path.glob("*/*.parquet")) / (1 << 20),
        "one_curve": timed(lambda: lake.curve(pick.choice(names)), 50),
        "one_media_all_tables": timed(
            lambda: [lake.rows(t, names[7]) for t in ("media", "curve", "episode")], 20
        ),
        "rising": timed(lake.rising, 5),
        "near": timed(lambda: lake.near(0.5, 0.5), 5),
        "sql_count_curve": timed(lambda: lake.sql("SELECT count(*), avg(arousal) FROM curve"), 5),
        "done": timed(lake.done, 5),
    }


@click.command(help=__doc__)
@click.option("--tracks", default=10_000)
@click.option("--cells", default=420)
@click.option("--store", type=click.Choice(["lake", "parquet"]), default="lake")
def main(tracks: int, cells: int, store: str) -> None:
    folder = Path(tempfile.mkdtemp(prefix="moodstream-bench-"))
    sinks: dict[str, Callable[[Path], Sink]] = {"lake": LakeSink, "parquet": ParquetSink}
    try:
        result: dict[str, Any] = {"tracks": tracks, "cells": cells, "store": store}
        result["short_clips"] = write(sinks[store](folder / "clips"), commits(2000, 6))
        result["write"] = write(sinks[store](folder / "tracks"), commits(tracks, cells))
        result["as_written"] = questions(folder / "tracks")
        if store == "lake":
            began = time.perf_counter()
            compact(folder / "tracks", retention_hours=0)
            result["compact_s"] = time.perf_counter() - began
            result["compacted"] = questions(folder / "tracks")
    finally:
        shutil.rmtree(folder)
    rounded = json.loads(json.dumps(result), parse_float=lambda text: round(float(text), 2))
    click.echo(json.dumps(rounded, indent=2))


if __name__ == "__main__":
    main()
