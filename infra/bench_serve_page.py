"""How the page feels in Chromium: its weight, its first picture, scrolling, 500 live calls. Prints JSON.

    python infra/bench_serve_page.py [--lake DIR] [--calls 500] [--seconds 10]

Catalogue and first picture come from the real service over a real lake, made for it unless one is given;
calls from `infra/page_service.py` (rows are made up there, board and events are the service's own), both in
a process on one core, Chromium on the others. *Drawn* is the first frame after the first curve of the
catalogue has pixels, since the navigation began, nothing cached. A frame's time is from one to the next, as
the page sees them; Chromium without a screen draws 60 a second at most. The processor's time is that of the
page's main thread, and says more than frames on a busy machine.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from infra import processor  # noqa: E402
from infra.bench_lake import commits, write  # noqa: E402
from infra.serve_load import cores, serving  # noqa: E402
from moodstream.sinks.lake import LakeSink  # noqa: E402

LOADS = 5
CELLS = 64  # half seconds of a track: what the page shows first does not depend on them
WATCH = """
(() => {
  const look = () => {
    const canvas = document.querySelector('#row-0 canvas');
    const { width, height } = canvas ?? { width: 0 };
    if (width && canvas.getContext('2d').getImageData(0, 0, width, height).data.some(v => v))
      requestAnimationFrame(() => { window.drawn_ms = performance.now(); });
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})();
"""
FRAMES = """
ms => new Promise(done => {
  const frames = [];
  let last = performance.now();
  const end = last + ms, next = now => {
    frames.push(now - last); last = now;
    if (now < end) requestAnimationFrame(next); else done(frames.slice(1));
  };
  requestAnimationFrame(next);
})
"""
SCROLL = """
([selector, ms, speed]) => new Promise(done => {
  const list = document.querySelector(selector), frames = [];
  let last = performance.now();
  const end = last + ms, next = now => {
    frames.push(now - last);
    list.scrollTop += speed * Math.min(now - last, 100) / 1000;
    if (list.scrollTop + list.clientHeight >= list.scrollHeight - 1) list.scrollTop = 0;
    last = now;
    if (now < end) requestAnimationFrame(next); else done(frames.slice(1));
  };
  requestAnimationFrame(next);
})
"""


@contextmanager
def made_up(calls: int) -> Iterator[str]:
    """The service of made-up calls on one core, as its address."""
    mine, _ = cores()
    command = [
        sys.executable,
        "-m",
        "infra.page_service",
        "--port",
        "0",
        "--tracks",
        "20",
        "--calls",
        str(calls),
    ]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, mine),
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        line = process.stdout.readline().strip() if process.stdout else ""
        if not line.startswith("http"):
            raise click.ClickException("the service of made-up calls did not start")
        yield line
    finally:
        process.terminate()
        process.wait(30)


class Busy:
    """Processor time of a page's main thread."""

    def __init__(self, context: Any, page: Any) -> None:
        self.session = context.new_cdp_session(page)
        self.session.send("Performance.enable", {"timeDomain": "threadTicks"})
        self.before = self.read()

    def read(self) -> dict[str, float]:
        return {one["name"]: one["value"] for one in self.session.send("Performance.getMetrics")["metrics"]}

    def told(self, frames: list[float]) -> dict[str, float]:
        """Milliseconds between frames, and those of the processor in each of them and in a second."""
        spent_ms = 1000 * (self.read()["TaskDuration"] - self.before["TaskDuration"])
        ordered = sorted(frames)
        return {
            "frames": len(frames),
            "p50_ms": round(statistics.median(ordered), 1),
            "p95_ms": round(ordered[int(0.95 * (len(ordered) - 1))], 1),
            "worst_ms": round(ordered[-1], 1),
            "over_50_ms": sum(frame > 50 for frame in frames),
            "cpu_ms_a_frame": round(spent_ms / len(frames), 1),
            "cpu_ms_a_second": round(spent_ms / (sum(frames) / 1000)),
        }

    def heap_mib(self) -> float:
        return round(self.read()["JSHeapUsedSize"] / (1 << 20), 1)


def browser_s(without: int) -> float:
    """Processor time of this process's descendants, of Chromium and what drives it, but for one process."""
    children: dict[int, list[tuple[int, float]]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = processor.fields_of(folder / "stat")
        except OSError:
            continue  # it has just ended
        spent = processor.spent_s(fields)
        children.setdefault(int(fields[1]), []).append((int(folder.name), spent))
    found, todo = 0.0, [os.getpid()]
    while todo:
        for pid, spent in children.get(todo.pop(), []):
            if pid != without:
                found += spent
                todo.append(pid)
    return found


def first_page(browser: Any, address: str, service: int) -> dict[str, Any]:
    """Weight and time until drawn, each load in a context of its own that has cached nothing."""
    drawn, painted, spent, size, requests = [], [], [], 0, 0
    for _ in range(LOADS):
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        session = context.new_cdp_session(page)
        session.send("Network.enable")
        sizes: list[int] = []
        session.on(
            "Network.loadingFinished", lambda done, sizes=sizes: sizes.append(done["encodedDataLength"])
        )
        page.add_init_script(WATCH)
        before = browser_s(service)
        page.goto(address)
        while not page.evaluate("window.drawn_ms"):
            page.wait_for_timeout(50)
        spent.append(browser_s(service) - before)
        drawn.append(page.evaluate("window.drawn_ms"))
        painted.append(
            page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0")
        )
        page.wait_for_timeout(300)
        size, requests = int(sum(sizes)), len(sizes)
        context.close()
    return {
        "kib": round(size / 1024, 1),
        "requests": requests,
        "first_paint_ms": round(statistics.median(painted)),
        "drawn_ms": round(statistics.median(drawn)),
        "cpu_s": round(statistics.median(spent), 2),
        "drawn_each_ms": [round(ms) for ms in drawn],
    }


def scrolling(browser: Any, address: str, tracks: int, seconds: float) -> dict[str, Any]:
    """Frames while the whole list, once loaded, is scrolled at 3,000 pixels a second."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector(".rows .track-row .name")
    page.evaluate("() => { const l = document.querySelector('.rows'); l.scrollTop = l.scrollHeight; }")
    last = f"document.querySelector('#row-{tracks - 1} .name')?.textContent.length > 1"
    began = time.monotonic()
    while not page.evaluate(last):
        page.wait_for_timeout(100)
        if time.monotonic() - began > 120:
            raise click.ClickException("the last row did not come")
    loaded_s = time.monotonic() - began
    page.evaluate("document.querySelector('.rows').scrollTop = 0")
    page.wait_for_timeout(500)
    busy = Busy(context, page)
    frames = busy.told(page.evaluate(SCROLL, [".rows", 1000 * seconds, 3000]))
    found = {
        **frames, "heap_mib": busy.heap_mib(), "all_rows_s": round(loaded_s, 1),
        "elements": page.evaluate("document.querySelectorAll('*').length"),
    }  # fmt: skip
    context.close()
    return found


def board(browser: Any, address: str, calls: int, seconds: float) -> dict[str, Any]:
    """Frames of the live board, at rest and while it is scrolled."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(f"{address}#/live")
    page.wait_for_selector(".call .name")
    while f"{calls} calls" not in page.inner_text(".head"):
        page.wait_for_timeout(100)
    page.wait_for_timeout(2000)
    busy = Busy(context, page)
    rest = busy.told(page.evaluate(FRAMES, 1000 * seconds))
    busy = Busy(context, page)
    moving = busy.told(page.evaluate(SCROLL, [".board", 1000 * seconds, 1000]))
    found = {
        "rest": rest, "scrolled": moving, "heap_mib": busy.heap_mib(),
        "cards": page.locator(".call").count(),
    }  # fmt: skip
    context.close()
    return found


def table(found: dict[str, Any]) -> list[list[str]]:
    first, scrolled, live = found["first_page"], found["scroll"], found["live"]

    def frames(of: dict[str, Any]) -> str:
        return f"{of['p50_ms']} ms, p95 {of['p95_ms']} (processor: {of['cpu_ms_a_frame']} ms)"

    return [
        [f"first page, compressed, {first['requests']} requests", f"{first['kib']} KiB", "under 300 kB"],
        [
            "the same: first curve drawn",
            f"{first['drawn_ms'] / 1000:.2f} s (processor: {first['cpu_s']:.2f} s, all of Chromium)",
            "under 1.5 s",
        ],
        [f"scrolling {found['tracks']:,} rows: a frame", frames(scrolled), "smooth"],
        [f"{found['calls']} live calls: a frame", frames(live["rest"]), "no stutter"],
        ["the same, scrolled", frames(live["scrolled"]), "no stutter"],
    ]


@click.command(help=__doc__)
@click.option("--lake", type=click.Path(path_type=Path), help="A lake that is there; else one is made.")
@click.option("--tracks", default=10_000, show_default=True, help="Of the lake that is made.")
@click.option("--calls", default=500, show_default=True)
@click.option(
    "--seconds", default=10.0, show_default=True, help="Of each of the three measurements of frames."
)
def main(lake: Path | None, tracks: int, calls: int, seconds: float) -> None:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise click.ClickException("no Chromium here: apt-get install chromium")
    _, others = cores()
    with ExitStack() as stack:
        if lake is None:
            lake = (
                Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="moodstream-bench-page-")))
                / "lake"
            )
            click.echo(f"writing {tracks:,} tracks", err=True)
            write(LakeSink(lake), commits(tracks, CELLS))
        service = stack.enter_context(serving(["--lake", str(lake)]))
        address = f"http://127.0.0.1:{service.port}/"
        with urllib.request.urlopen(f"{address}v1/media?limit=1") as answer:
            tracks = json.load(answer)["total"]
        os.sched_setaffinity(0, others)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        version = browser.version
        found: dict[str, Any] = {"chromium": version, "tracks": tracks, "calls": calls}
        found["first_page"] = first_page(browser, address, service.process.pid)
        found["scroll"] = scrolling(browser, address, tracks, seconds)
        with made_up(calls) as address:
            found["live"] = board(browser, address, calls, seconds)
        browser.close()
    click.echo(json.dumps(found | {"table": table(found)}, indent=2))


if __name__ == "__main__":
    main()
