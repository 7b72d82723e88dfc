"""On CI a skip stands only when what it names is missing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
SKIPS = """
import pytest
{module}
@pytest.mark.skipif(True, reason={reason!r})
def test_marked(): ...
def test_called(): pytest.skip({reason!r})
def test_runs(): ...
@pytest.mark.xfail
def test_expected(): raise ValueError
"""


def run(
    folder: Path, reason: str, *, ci: str = "true", module: str = "", path: str = os.environ["PATH"]
) -> str:
    """The closing line of pytest over a module that skips twice for `reason`."""
    (folder / "data").mkdir()
    shutil.copy(CONFTEST, folder / "conftest.py")
    (folder / "test_skips.py").write_text(SKIPS.format(reason=reason, module=module))
    env = os.environ | {"CI": ci, "PATH": path, "MOODSTREAM_DATA": str(folder / "data")}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:hypothesispytest",
        ".",
    ]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True).stdout.splitlines()[
        -1
    ]


def test_a_skip_for_corpora_that_are_there_fails_on_ci(tmp_path: Path) -> None:
    closing = run(tmp_path, "no corpora at shared/data")
    assert closing.startswith("1 failed, 1 passed, 1 xfailed, 1 error")


def test_the_same_skip_is_fine_elsewhere(tmp_path: Path) -> None:
    assert run(tmp_path, "no corpora at shared/data", ci="").startswith("1 passed, 2 skipped, 1 xfailed")


def test_a_skip_for_what_is_missing_stands(tmp_path: Path) -> None:
    closing = run(tmp_path, "Flink needs java and mvn, not installed here", path=str(tmp_path))
    assert closing.startswith("1 passed, 2 skipped, 1 xfailed")


def test_a_reason_nobody_knows_fails_on_ci(tmp_path: Path) -> None:
    assert "1 failed, 1 passed" in run(tmp_path, "not today")


def test_a_whole_module_that_skips_fails_too(tmp_path: Path) -> None:
    module = "pytest.skip('no corpora at shared/data', allow_module_level=True)"
    assert run(tmp_path, "", module=module).startswith("1 error")
