"""The rules of infra/check.py hold here, and each one sees its breach in a broken copy."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra import check

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = '[tool.setuptools]\npackages = ["moodstream.models", "moodstream.sinks"]\n'


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A repository of two folders in which every rule holds."""
    links = tmp_path / "infra" / "typing" / "moodstream"
    links.mkdir(parents=True)
    for name in ("models", "sinks"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / name / "py.typed").touch()
        (links / name).symlink_to(f"../../../{name}")
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "constraints.txt").write_text("numpy==2.4.6\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    return tmp_path


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_text(text)


BREACHES: dict[str, tuple[Callable[[Path], Iterator[str]], Callable[[Path], object], str]] = {
    "link lost": (
        check.typing_links,
        lambda root: (root / "infra/typing/moodstream/sinks").unlink(),
        "must be a link to sinks",
    ),
    "link elsewhere": (
        check.typing_links,
        lambda root: (root / "sinks").rename(root / "transforms"),
        "must be a link to transforms",
    ),
    "package not listed": (
        check.package_list,
        lambda root: [(root / "sinks/sql").mkdir(), (root / "sinks/sql/__init__.py").touch()],
        "moodstream.sinks.sql is on disk but not in",
    ),
    "package not on disk": (
        check.package_list,
        lambda root: (root / "sinks/__init__.py").unlink(),
        "moodstream.sinks is in pyproject.toml's packages but",
    ),
    "no py.typed": (
        check.package_list,
        lambda root: (root / "sinks/py.typed").unlink(),
        "py.typed is missing",
    ),
    "root package": (check.package_list, write("__init__.py", ""), "no __init__.py"),
    "constraint with a place": (
        check.constraints,
        write("constraints.txt", "numpy @ https://example.org/numpy.whl\n"),
        "not a plain name==version",
    ),
    "model imports a sink": (
        check.import_order,
        write("models/a.py", "from moodstream.sinks.lake import WriteLake\n"),
        "models may not import moodstream.sinks.lake.WriteLake",
    ),
    "sink imports a step": (
        check.import_order,
        write("sinks/a.py", "from moodstream.transforms.decode import decode\n"),
        "sinks may not import moodstream.transforms.decode",
    ),
    "Beam without annotations": (
        check.import_order,
        write("sinks/a.py", "from __future__ import annotations\nimport apache_beam as beam\n"),
        "no future annotations",
    ),
    "a machine's path": (
        check.tracked_text,
        write("sinks/__init__.py", f"HERE = '/{'root'}/data'\n"),
        "does not belong",
    ),
    "a registry's host": (
        check.tracked_text,
        write("sinks/__init__.py", f"# files.{'python'}hosted.org\n"),
        "does not",
    ),
}


@pytest.mark.parametrize("rule", check.RULES, ids=lambda rule: rule.__name__)
def test_the_rules_hold_here(rule: Callable[[Path], Iterator[str]]) -> None:
    assert list(rule(ROOT)) == []


@pytest.mark.parametrize("rule", check.RULES, ids=lambda rule: rule.__name__)
def test_the_rules_hold_in_a_sound_copy(copy: Path, rule: Callable[[Path], Iterator[str]]) -> None:
    write("sinks/a.py", "from moodstream.transforms import errors\nfrom moodstream.sinks.b import c\n")(copy)
    assert list(rule(copy)) == []


@pytest.mark.parametrize("breach", BREACHES)
def test_each_breach_is_seen(copy: Path, breach: str) -> None:
    rule, spoil, message = BREACHES[breach]
    spoil(copy)
    assert any(message in line for line in rule(copy))
