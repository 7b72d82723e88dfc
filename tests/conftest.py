"""What every test can lean on.

Tests that need what a machine may lack skip and say why. On CI (`CI` set) a skip stands only when what it
names is really missing: a skip that nobody notices is a test that nobody runs.
"""

import importlib.util
import os
import re
import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from infra.kafka.broker import Broker

DATA = Path(os.environ.get("MOODSTREAM_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
ON_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")


def _program(*names: str) -> Callable[[], bool]:
    return lambda: any(shutil.which(name) for name in names)


def _postgres() -> bool:
    servers = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return bool(os.environ.get("MOODSTREAM_TEST_POSTGRES") or shutil.which("initdb") or any(servers))


# What a reason may name (a pattern over its words), and how to see whether it is there after all.
EXCUSES: tuple[tuple[str, Callable[[], bool]], ...] = (
    (r"shared/data|MOODSTREAM_DATA|corpora|corpus", DATA.is_dir),
    (r"flink|java|mvn|maven", lambda: all(map(shutil.which, ("java", "mvn")))),
    (r"postgres", _postgres),
    (r"chrom", _program("chromium", "chromium-browser", "google-chrome")),
    (r"fluidsynth|soundfont", _program("fluidsynth")),
    (r"espeak", _program("espeak-ng")),
    (r"openssl", _program("openssl")),
    (r"essentia", lambda: importlib.util.find_spec("essentia") is not None),
    (r"\broot\b", lambda: os.geteuid() != 0),
)


def refusal(reason: str) -> str | None:
    """Why a skip with this reason does not stand on CI; None if it does."""
    named = [there for words, there in EXCUSES if re.search(words, reason, re.IGNORECASE)]
    if not named:
        return f"skipped for a reason that CI does not know (tests/conftest.py): {reason}"
    if any(not there() for there in named):
        return None
    return f"skipped although what it needs is here: {reason}"


def _judge(report: pytest.TestReport | pytest.CollectReport) -> None:
    if ON_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        refused = refusal(reason)
        if refused:
            report.outcome, report.longrepr = "failed", refused


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _judge(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _judge(report)
    return report


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of the corpora; a test that asks for it skips where there is none."""
    if not DATA.is_dir():
        pytest.skip(f"no corpora at {DATA} (MOODSTREAM_DATA)")
    return DATA


@pytest.fixture(scope="session")
def broker() -> Generator["Broker", None, None]:
    """A real Kafka broker, one for the whole run; a test that asks for it skips where there is no Java."""
    from infra.kafka.broker import Broker, missing

    lacking = missing()
    if lacking is not None:
        pytest.skip(lacking)
    with Broker() as running:
        yield running
