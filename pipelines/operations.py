"""What all long runs are told in the same way: where to serve measures and health, and how to log."""

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
_OWN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def operation_options(command: F) -> F:
    """Adds --metrics-port and --log-json to a command, which gets them as `metrics_port` and `log_json`."""
    command = click.option("--log-json", is_flag=True, help="Log as JSON, one object a line.")(command)
    return click.option(
        "--metrics-port",
        type=click.IntRange(0, 65_535),
        metavar="PORT",
        help="Serve /metrics (Prometheus), /healthz and /readyz there.",
    )(command)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `at` (UTC), `level`, `logger`, `message`, what `extra=` held, and `error`."""

    def format(self, record: logging.LogRecord) -> str:
        words: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        words |= {name: value for name, value in vars(record).items() if name not in _OWN}
        if record.exc_info:
            words["error"] = self.formatException(record.exc_info)
        return json.dumps(words, default=str)


@contextmanager
def logs(as_json: bool) -> Iterator[None]:
    """While inside, what this program logs goes to standard error, from `info` on."""
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s")
    handler.setFormatter(JsonFormatter() if as_json else plain)
    ours = logging.getLogger("moodstream")
    before = ours.level, ours.propagate
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False
    try:
        yield
    finally:
        ours.removeHandler(handler)
        ours.setLevel(before[0])
        ours.propagate = before[1]
