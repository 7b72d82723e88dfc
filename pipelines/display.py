"""Progress shown: a bar on a terminal, a line every few seconds where there is none."""

import contextlib
import time
from collections.abc import Callable, Iterator
from threading import Lock

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from moodstream.pipelines.progress import Meter, OnProgress, Progress

LINE_EVERY_S = 5.0


@contextlib.contextmanager
def display(console: Console) -> Iterator[OnProgress]:
    """Show a run while the block lasts: a bar on a terminal, a line every few seconds elsewhere.

    Yields:
        What to call with each event, from any thread.
    """
    meter, lock = Meter(), Lock()
    if not console.is_terminal:
        told_s = time.monotonic()

        def tell(event: Progress) -> None:
            nonlocal told_s
            with lock:
                meter.take(event)
                if event.event == "plan" or time.monotonic() - told_s >= LINE_EVERY_S:
                    told_s = time.monotonic()
                    plan = f"{meter.planned:,} media to look at"
                    line = plan if event.event == "plan" else meter.line()
                    console.print(line, markup=False, highlight=False, soft_wrap=True)

        yield tell
        return

    columns = (SpinnerColumn(), BarColumn(bar_width=None), TextColumn("{task.description}", markup=False))
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("looking for media", total=None)

        def move(event: Progress) -> None:
            with lock:
                meter.take(event)
                share = 1.0 if meter.planned and meter.finished else meter.fraction
                total = None if share is None else 1.0
                bar.update(task, total=total, completed=share or 0.0, description=meter.line())

        yield move


@contextlib.contextmanager
def stages(console: Console) -> Iterator[Callable[[str, float], None]]:
    """Show a job of several stages while the block lasts: a bar, or a line a stage and a few seconds.

    Yields:
        What to call with the name of the stage and the share of it that is done.
    """
    if not console.is_terminal:
        told = ("", 0.0)

        def tell(what: str, share: float) -> None:
            nonlocal told
            if what != told[0] or time.monotonic() - told[1] >= LINE_EVERY_S:
                told = (what, time.monotonic())
                console.print(f"{what} {share:.0%}", markup=False, highlight=False, soft_wrap=True)

        yield tell
        return

    columns = (TimeElapsedColumn(), BarColumn(), TextColumn("{task.description}", markup=False))
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda what, share: bar.update(task, description=what, completed=share)
