"""What `pip install` brings: one import package, typed, with weights, light to import, with its command."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("models", "transforms", "sinks", "pipelines", "serving")
RUNS_MODELS = {"estimate"}  # Beam's RunInference, which it is made of, loads torch by itself
WITHOUT = "MOODSTREAM_WITHOUT_WEIGHTS"
BUILD = "import sys; from setuptools import build_meta as b; print(b.build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git tracks."""
    tree = tmp_path_factory.mktemp("tree")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, tracked.decode().split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("infra/typing/", "tests/")):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    return tree


def build(tree: Path, out: Path, without: str) -> zipfile.ZipFile:
    """A wheel built from it, without the network."""
    command = [sys.executable, "-c", BUILD, str(out)]
    subprocess.run(command, cwd=tree, check=True, capture_output=True, env={**os.environ, WITHOUT: without})
    return zipfile.ZipFile(next(out.glob("*.whl")))


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return build(tree, tmp_path_factory.mktemp("wheel"), "")


def test_the_wheel_holds_one_import_package(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"moodstream"}


def test_the_wheel_is_typed_and_complete(wheel: zipfile.ZipFile) -> None:
    inside = set(wheel.namelist())
    for folder in FOLDERS:
        assert f"moodstream/{folder}/py.typed" in inside
        tracked = subprocess.run(
            ["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True, check=True
        )
        for name in tracked.stdout.splitlines():
            assert f"moodstream/{name}" in inside


def test_the_wheel_brings_weights_and_cards(wheel: zipfile.ZipFile) -> None:
    weights = ROOT / "models" / "weights"
    models = sorted(path.name for path in weights.iterdir() if path.is_dir())
    assert models
    for model in models:
        for part in ("weights.safetensors", "card.yaml", "LICENCE.txt"):
            assert f"moodstream/models/weights/{model}/{part}" in wheel.namelist()


def test_a_wheel_can_come_without_weights(wheel: zipfile.ZipFile, tree: Path, tmp_path: Path) -> None:
    """Built after one with them, in the same folder: nothing of that build is left in it."""
    bare = set(build(tree, tmp_path, "1").namelist())
    assert {name for name in wheel.namelist() if "/weights/" not in name} == bare


def test_the_wheel_names_its_licence_and_command(wheel: zipfile.ZipFile) -> None:
    info = next(name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name)
    assert "moodstream = moodstream.pipelines.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()
    assert "License-Expression: Apache-2.0" in wheel.read(f"{info}/METADATA").decode()
    assert f"{info}/licenses/LICENSE" in wheel.namelist()


def modules(folder: str) -> list[str]:
    names = {path.stem for path in (ROOT / folder).glob("[!_]*.py")} - RUNS_MODELS
    return sorted(f"moodstream.{folder}.{name}" for name in names)


@pytest.mark.parametrize(
    ("folder", "heavy"),
    [("transforms", ("torch", "essentia")), ("sinks", ("torch", "psycopg", "jams", "audformat", "essentia"))],
)
def test_importing_stays_light(folder: str, heavy: tuple[str, ...]) -> None:
    """Every module of a folder at once, in a fresh interpreter: none loads what only some runs need."""
    code = f"import sys, {', '.join(modules(folder))}; print(*[m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_help_loads_neither_beam_nor_torch() -> None:
    heavy = ("apache_beam", "torch", "polars", "duckdb", "deltalake", "pyarrow", "av", "numpy")
    code = (
        "import sys\nfrom moodstream.pipelines.cli import run\nstatus = run(['--help'])\n"
        f"print(status, *[m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["0"]


def test_the_command_is_installed() -> None:
    entry = importlib.metadata.entry_points(group="console_scripts", name="moodstream")
    assert [e.value for e in entry] == ["moodstream.pipelines.cli:main"]
    command = Path(sys.executable).with_name("moodstream")
    done = subprocess.run([str(command), "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "analyze" in done.stdout
