"""How fast the service is: `make bench-serve`. Runs the sections, prints a table, writes JSON.

    python infra/bench_serve.py [--only curve,search] [--json bench-serve.json]

A section is a program `infra/bench_serve_NAME.py` that prints one JSON object. Its `table`, a list of
[what was measured, what was found, what was wanted], goes into the table as it is. Each measures the service
in a process of its own, kept to one core; where there are several, whoever asks has another one.
"""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

HERE = Path(__file__).resolve().parent
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), "1")


def sections() -> dict[str, Path]:
    """The programs there are, by name."""
    return {file.stem.removeprefix("bench_serve_"): file for file in sorted(HERE.glob("bench_serve_*.py"))}


def run(file: Path, options: list[str]) -> dict[str, Any]:
    """One section's object; what it says meanwhile goes to standard error.

    Raises:
        click.ClickException: it failed.
    """
    command = [sys.executable, str(file), *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, env={**os.environ, **ONE_THREAD}, check=False)
    if done.returncode:
        raise click.ClickException(f"{file.name} ended with status {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def table(results: dict[str, dict[str, Any]]) -> str:
    """The lines of all sections, as Markdown."""
    lines = ["| measured | found | wanted |", "|---|---|---|"]
    for result in results.values():
        lines += [f"| {what} | {found} | {wanted} |" for what, found, wanted in result.get("table", [])]
    return "\n".join(lines)


@click.command(help=__doc__, context_settings={"ignore_unknown_options": True})
@click.option("--only", default="", help="Sections, with commas; all if not given.")
@click.option("--json", "out", type=click.Path(path_type=Path), default="bench-serve.json")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def main(only: str, out: Path, options: tuple[str, ...]) -> None:
    there = sections()
    wanted = [name.strip() for name in only.split(",") if name.strip()] or list(there)
    if unknown := sorted(set(wanted) - set(there)):
        raise click.UsageError(f"no section {', '.join(unknown)}; there are {', '.join(there)}")
    results = {}
    for name in wanted:
        click.echo(f"== {name}", err=True)
        results[name] = run(there[name], list(options) if len(wanted) == 1 else [])
    machine = {"machine": platform.machine(), "cpus": os.cpu_count(), "load": os.getloadavg()}
    out.write_text(json.dumps({**machine, **results}, indent=2) + "\n", encoding="utf-8")
    click.echo(table(results))


if __name__ == "__main__":
    main()
