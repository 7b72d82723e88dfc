"""How fast curves and lists come from a large lake. Prints JSON.

    python infra/bench_serve_curve.py [--tracks 100000] [--rate 100] [--seconds 60] [--keep DIR]

The lake is made as by `infra/bench_lake.py` (tracks of 3.5 minutes, random, so they compress worse than real
ones); with `--keep` it and its cache stay for the next run. Cold: the cache was put out of the system's
memory, then the service started anew.
"""

import json
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from infra.bench_lake import commits, write
from infra.serve_load import ask, cores, serving
from moodstream.sinks.lake import LakeSink

LISTS = 200
COLD = 200


def put_out(folder: Path) -> None:
    """Put the files of a folder out of the system's memory."""
    for path in folder.glob("*.sqlite*"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(lake: Path, names: list[str], rate: float, seconds: float) -> dict[str, Any]:
    pick = random.Random(1)
    curves = [f"/v1/curve?media={quote(pick.choice(names))}" for _ in range(int(rate * seconds))]
    sorts = ("-valence_mean", "arousal_mean", "duration_ms", "media_id")
    lists = [
        f"/v1/media?limit=100&sparkline=true&sort={pick.choice(sorts)}&min_arousal={pick.uniform(-1, 0):.3f}"
        for _ in range(LISTS)
    ]
    options = ["--lake", str(lake)]
    with serving(options) as service:
        filled_s = service.cpu_s()
        ask(service.port, curves[:200], None)  # so that nothing is done for the first time
        before = service.cpu_s()
        warm = ask(service.port, curves, rate)
        cpu_ms = 1000 * (service.cpu_s() - before) / len(curves)
        listed = ask(service.port, lists, None)
        mib = service.mib()
    put_out(lake / "_serve")
    with serving(options) as service:
        ask(service.port, ["/v1/me"] * 3, None)
        cold = ask(service.port, curves[-COLD:], None)
    size = sum(file.stat().st_size for file in (lake / "_serve").glob("*.sqlite"))
    return {
        "tracks": len(names),
        "rate": rate,
        "curve": warm.told() | {"cpu_ms_each": round(cpu_ms, 2)},
        "curve_cold": cold.told(),
        "list_of_100": listed.told(),
        "service_mib": round(mib),
        "cache_mib": round(size / (1 << 20)),
        "cpu_s_until_ready": round(filled_s, 1),
    }


def table(found: dict[str, Any]) -> list[list[str]]:
    about = f"{found['tracks']:,} tracks"
    curve, cold, lists = found["curve"], found["curve_cold"], found["list_of_100"]
    return [
        [
            f"a curve, {about}, {found['rate']:g} requests/s, p95",
            f"{curve['p95_ms']:.1f} ms (processor: {curve['cpu_ms_each']:.1f} ms each)",
            "under 20 ms",
        ],
        ["a curve that is in nobody's memory, p95", f"{cold['p95_ms']:.1f} ms", "under 100 ms"],
        ["100 media of a filtered, sorted list, p95", f"{lists['p95_ms']:.1f} ms", ""],
        ["memory of the service after that", f"{found['service_mib']} MiB", ""],
    ]


@click.command(help=__doc__)
@click.option("--tracks", default=100_000, show_default=True)
@click.option("--rate", default=100.0, show_default=True)
@click.option("--seconds", default=60.0, show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="Where the lake is made, and left.")
def main(tracks: int, rate: float, seconds: float, keep: Path | None) -> None:
    folder = keep or Path(tempfile.mkdtemp(prefix="moodstream-bench-serve-"))
    try:
        if not (folder / "media").is_dir():
            click.echo(f"writing {tracks:,} tracks to {folder}", err=True)
            write(LakeSink(folder), commits(tracks, 420))
        names = [f"album {i // 12}/track {i}.mp3" for i in range(tracks)]
        _, others = cores()
        os.sched_setaffinity(0, others)
        found = measure(folder, names, rate, seconds)
    finally:
        if keep is None:
            shutil.rmtree(folder)
    click.echo(json.dumps(found | {"table": table(found)}, indent=2))


if __name__ == "__main__":
    main()
