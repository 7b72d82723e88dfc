"""How fast and how right the search by arc is, on a catalogue made of real curves. Prints JSON.

    python infra/bench_serve_search.py [--tracks 1000000] [--kind real|smooth] [--keep DIR]

Made: the tracks of `infra/arc_material.py`, put into the index directly; a lake whose media table names all
of them, and further 1,000 tracks that are written to it and come into the index by `moodstream index`. Asked:
every kind of question, a third of them among filters, one at a time in one thread. How right: what was found
among the first 20, of what is found by looking at every track exactly.

Run it with one thread a library (OMP_NUM_THREADS=1, POLARS_MAX_THREADS=1).
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from infra.arc_material import BLOCK, Catalogue, Curves, real_curves, smooth_curves
from infra.bench_lake import commits
from infra.bench_material import data
from moodstream.models.base import QUADRANTS, STEP_MS
from moodstream.serving.search import shard
from moodstream.serving.search.entries import Entries, concat, make
from moodstream.serving.search.folder import FOLDER, Draft, Manifest, locked
from moodstream.serving.search.index import ArcIndex
from moodstream.serving.search.questions import (
    Arc,
    Filters,
    InQuadrant,
    Like,
    MovedBy,
    Near,
    Question,
    Rises,
    What,
)
from moodstream.sinks.lake import LakeSink, append
from moodstream.sinks.layout import STORED

ADDED = 1000
GENRES = ("rock", "jazz", "classical", "electronic", "folk", "hip hop", "ambient", "metal", "soul", "blues")
Ask = Callable[[np.random.Generator], What]


def names(first: int, count: int) -> tuple[list[str], list[dict[str, str]]]:
    """Media ids and tags such as catalogues have."""
    ids, tags = [], []
    for i in range(first, first + count):
        artist, album = f"Artist {i // 37:05}", f"Album {i // 11:06}"
        title = f"{i % 11 + 1:02} Song number {i}"
        ids.append(f"{artist}/{album}/{title}.mp3")
        tags.append({"artist": artist, "title": title, "genre": GENRES[i % len(GENRES)]})
    return ids, tags


def entries_of(curves: Curves, first: int) -> Entries:
    """The entries of a block of tracks, numbered from `first` on."""
    n = len(curves)
    ids, tags = names(first, n)
    cells = np.diff(curves.at)
    mean = np.add.reduceat(curves.curve, curves.at[:-1]) / cells[:, None]
    square = np.add.reduceat(curves.curve**2, curves.at[:-1]) / cells[:, None]
    std = np.sqrt(np.maximum(square - mean**2, 0))
    place = np.where(mean[:, 1] >= 0, np.where(mean[:, 0] >= 0, 0, 1), np.where(mean[:, 0] >= 0, 3, 2))
    quadrant = [QUADRANTS[i] for i in place]
    same = {"kind": "audio", "channel": "mix", "modality": "fused", "model": "fusion", "model_version": "1"}
    return make(
        curves.at,
        curves.curve,
        write_id=np.arange(first + 1, first + n + 1),
        media_id=ids,
        take=np.zeros(n, np.int32),
        duration_ms=cells * STEP_MS,
        tags=tags,
        words={name: [word] * n for name, word in same.items()} | {"quadrant": quadrant, "emotion": quadrant},
        numbers={
            "valence_mean": mean[:, 0],
            "arousal_mean": mean[:, 1],
            "valence_std": std[:, 0],
            "arousal_std": std[:, 1],
            "estimated_share": np.ones(n),
        },
    )


def build(lake: Path, catalogue: Catalogue) -> dict[str, float]:
    """The index of a made-up catalogue, and a lake whose media table names its tracks."""
    sink = LakeSink(lake)
    sink.open()
    spent = 0.0
    with locked(lake / FOLDER):
        draft = Draft(lake / FOLDER, Manifest())
        parts: list[Entries] = []
        for number in range(catalogue.blocks()):
            curves = catalogue.block(number)
            began = time.perf_counter()
            parts.append(entries_of(curves, number * BLOCK))
            if len(parts) * BLOCK >= shard.FULL or number == catalogue.blocks() - 1:
                whole = concat(parts)
                draft.add(whole)
                spent += time.perf_counter() - began
                append(lake, "media", _media(whole))
                parts = []
                click.echo(f"{draft.manifest.tracks:,} tracks", err=True)
            else:
                spent += time.perf_counter() - began
        draft.publish()
    return {"entries_s": spent, "tracks_a_second": catalogue.tracks / spent}


def _media(entries: Entries) -> pa.Table:
    """Media rows of entries."""
    n = len(entries)
    given: dict[str, Any] = {
        "media_id": entries.texts["media_id"],
        "write_id": entries.arrays["write_id"],
        "duration_ms": entries.arrays["duration_ms"],
        "analysis_id": pa.array([f"{i:032x}" for i in entries.arrays["write_id"].tolist()]),
        "content_hash": pa.array([f"{i:064x}" for i in entries.arrays["write_id"].tolist()]),
    }
    same = {"source": "", "kind": "audio", "settings": "{}", "analyzed_at": datetime(2026, 1, 1, tzinfo=UTC)}
    columns = []
    for field in STORED["media"]:
        if field.name in given:
            columns.append(pa.array(given[field.name], field.type))
        elif pa.types.is_map(field.type) or pa.types.is_list(field.type):
            columns.append(pa.array([[]] * n, field.type))
        else:
            value = same.get(field.name, None if field.nullable else 0)
            columns.append(pa.repeat(pa.scalar(value, field.type), n))
    return pa.table(columns, schema=STORED["media"])


def add(lake: Path) -> dict[str, Any]:
    """Write 1,000 further tracks to the lake, and time `moodstream index`, start-up and all."""
    sink = LakeSink(lake)
    sink.open()
    for commit in commits(ADDED, 412, seed=int(time.time())):
        summary = commit.rows["summary"]
        place = summary.schema.get_field_index("estimated_share")
        summary = summary.set_column(place, summary.schema.field(place), pa.array([1.0], pa.float32()))
        sink.write(replace(commit, rows={**commit.rows, "summary": summary}))
    sink.flush()
    began = time.perf_counter()
    said = subprocess.run(
        [str(Path(sys.executable).with_name("moodstream")), "index", str(lake)],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return {"wall_s": time.perf_counter() - began, "said": said.strip()}


def asks(catalogue: Catalogue, indexed: int) -> dict[str, Ask]:
    """Questions by kind; arcs are drawn after other performances of songs of the catalogue."""

    def like(rng: np.random.Generator, level: Any = "kept") -> What:
        return Like(names(int(rng.integers(indexed)), 1)[0][0], level=level)

    def arc(rng: np.random.Generator, level: Any = "kept") -> What:
        curves = catalogue.performed_again(rng.integers(catalogue.tracks, size=1), rng)
        shares = np.sort(rng.choice(np.linspace(0, 1, 41), int(rng.integers(2, 21)), replace=False))
        cells = np.minimum((shares * len(curves.curve)).astype(int), len(curves.curve) - 1)
        points = np.clip(np.column_stack([shares, curves.curve[cells]]).astype(float), [0, -1, -1], 1)
        return Arc(tuple(map(tuple, points.tolist())), level)

    def rises(rng: np.random.Generator) -> What:
        start = float(rng.choice([0, 1 / 3, 2 / 3]))
        return Rises(str(rng.choice(["valence", "arousal"])), start, start + 1 / 3, bool(rng.integers(2)))

    def near(rng: np.random.Generator) -> What:
        v, a = rng.uniform(-0.6, 0.6, 2)
        return Near(float(v), float(a), 30.0, float(rng.choice([0.15, 0.25, 0.4])))

    return {
        "like": like,
        "like, levels aside": lambda rng: like(rng, "removed"),
        "arc": arc,
        "arc, levels aside": lambda rng: arc(rng, "removed"),
        "rises, falls": rises,
        "near": near,
        "moved by": lambda rng: MovedBy(float(rng.choice([30, 60, 120]))),
        "in quadrant": lambda rng: InQuadrant(str(rng.choice(QUADRANTS)), float(rng.choice([0.3, 0.5, 0.8]))),
    }


def filters(rng: np.random.Generator) -> Filters:
    """A third of the questions are asked among some tracks."""
    if rng.random() > 1 / 3:
        return Filters()
    given: list[Filters] = [
        Filters(words={"quadrant": str(rng.choice(QUADRANTS))}, least={"duration_s": 120}),
        Filters(tags={"genre": str(rng.choice(GENRES))}),
        Filters(q=f"artist {rng.integers(10):02}", most={"arousal_mean": 0.2}),
    ]
    return given[int(rng.integers(len(given)))]


def speed(index: ArcIndex, kinds: dict[str, Ask], each: int) -> dict[str, dict[str, float]]:
    """Milliseconds a question: by the clock, and on the processor, which another load does not stretch."""
    took: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for kind, ask in kinds.items():
        rng = np.random.default_rng([7, len(kind)])
        for turn in range(each + 1):
            question = Question(ask(rng), filters(rng))
            began, cpu = time.perf_counter(), time.process_time()
            index.search(question)
            if turn:  # the first one maps the files
                spent = (1000 * (time.perf_counter() - began), 1000 * (time.process_time() - cpu))
                took[kind].append(spent)
    took["all"] = [times for kind in took.values() for times in kind]
    found = {}
    for kind, times in took.items():
        clock, processor = zip(*times, strict=True)
        found[kind] = {f"p{p}_ms": float(np.percentile(clock, p)) for p in (50, 95, 99)}
        found[kind] |= {f"p{p}_cpu_ms": float(np.percentile(processor, p)) for p in (50, 95)}
    return found


def recall(index: ArcIndex, kinds: dict[str, Ask], each: int) -> Iterator[tuple[str, float, float]]:
    """By kind: of the 20 that looking at every track gives, how many were found; and how long that took."""
    for kind, ask in kinds.items():
        rng, shares, spent = np.random.default_rng([8, len(kind)]), [], 0.0
        for _ in range(each if "like" in kind or "arc" in kind else max(1, each // 8)):
            question = Question(ask(rng), filters(rng))
            quick, exact = index.search(question), index.search(question, exact=True)
            true = {item.media_id for item in exact.items}
            spent += exact.took_ms / 1000
            if true:
                shares.append(len(true & {item.media_id for item in quick.items}) / len(true))
        click.echo(f"{kind}: recall@20 {np.mean(shares):.3f} in {len(shares)} questions", err=True)
        yield kind, float(np.mean(shares)), spent / max(1, len(shares))


def measure(lake: Path, tracks: int, kind: str, each: int, exactly: int) -> dict[str, Any]:
    """All that is measured, as one object; the lake is made if it is not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "moodstream"
    pool = real_curves(data(), cache) if kind == "real" else smooth_curves(2000, 0)
    catalogue = Catalogue(pool, tracks)
    found: dict[str, Any] = {"tracks": tracks, "curves": kind, "real_curves": len(pool)}
    if not lake.exists():
        found["build"] = build(lake, catalogue)
    files = list((lake / FOLDER).iterdir())
    found["index_mib"] = sum(file.stat().st_size for file in files) / (1 << 20)
    began = time.perf_counter()
    index = ArcIndex.open(lake)
    found["open_ms"] = 1000 * (time.perf_counter() - began)
    kinds = asks(catalogue, tracks)
    if each:
        found["speed"] = speed(index, kinds, each)
        found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if exactly:
        found["recall_at_20"] = {kind: share for kind, share, _ in recall(index, kinds, exactly)}
    return found


def table(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What was measured, found and wanted."""
    lines = [(f"index of {found['tracks']:,} tracks", f"{found['index_mib']:,.0f} MiB", "under 1,024 MiB")]
    for kind, times in found.get("speed", {}).items():
        said = (
            f"p50 {times['p50_ms']:.0f} ms, p95 {times['p95_ms']:.0f} ms (CPU {times['p95_cpu_ms']:.0f} ms)"
        )
        lines.append((f"search, {kind}", said, "p95 under 150 ms" if kind == "all" else ""))
    for kind, share in found.get("recall_at_20", {}).items():
        lines.append((f"search, {kind}: recall@20", f"{share:.3f}", "at least .95"))
    if "adding_1000" in found:
        lines.append(
            ("moodstream index, 1,000 tracks more", f"{found['adding_1000']['wall_s']:.1f} s", "under 5 s")
        )
    return lines


@click.command(help=__doc__)
@click.option("--tracks", default=1_000_000, show_default=True)
@click.option("--kind", type=click.Choice(["real", "smooth"]), default="real", show_default=True)
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Where the lake is made, and left for the next run."
)
@click.option("--each", default=40, show_default=True, help="Questions of each kind that are timed; 0: none.")
@click.option("--exactly", default=16, show_default=True, help="Questions that are also answered exactly.")
@click.option("--adding/--no-adding", default=True, help="Time the adding of 1,000 tracks.")
def main(tracks: int, kind: str, keep: Path | None, each: int, exactly: int, adding: bool) -> None:
    folder = keep or Path(tempfile.mkdtemp(prefix="moodstream-bench-"))
    try:
        result = measure(folder / "lake", tracks, kind, each, exactly)
        if adding:
            result["adding_1000"] = add(folder / "lake")
    finally:
        if keep is None:
            shutil.rmtree(folder)
    result["table"] = table(result)
    rounded = json.loads(json.dumps(result), parse_float=lambda text: round(float(text), 3))
    click.echo(json.dumps(rounded, indent=2))


if __name__ == "__main__":
    main()
