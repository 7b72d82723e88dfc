"""Hashes that tie weights, predictions, data and code together, so that a stale table cannot pass for fresh.

Conventions: a hash is the first 16 hex digits of a SHA-256. Files are named below the folder of the data, so
the same corpora have the same hash on every machine. Code is hashed as its syntax tree without docstrings:
comments and layout do not count, nor does what is not part of a fit (measures, the harness itself).
"""

import ast
import hashlib
import json
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from moodstream.models.study import Item, Study

FOLDER = Path(__file__).parent
PACKAGE = "moodstream.models."
# The harness around a fit, and what reads data (items are hashed by what was read, features have a version).
_AROUND = {
    *("audio_task", "calibration", "checkpoints", "corpora", "cross", "device", "evaluation", "examples"),
    *("fingerprint", "harness", "licences", "metrics", "registry", "study", "targets", "training", "unseen"),
}
_ASIDE = ("TASK", "measure", "train", "evaluate")  # of a task's module: settings are hashed as values


def digest(content: Any) -> str:
    """The hash of bytes, or of anything that JSON can hold."""
    raw = content if isinstance(content, bytes) else json.dumps(content, sort_keys=True).encode()
    return hashlib.sha256(raw).hexdigest()[:16]


def file_hash(path: Path) -> str:
    """The hash of a file's bytes; "missing" where there is none."""
    return digest(path.read_bytes()) if path.is_file() else "missing"


def data_hashes(items: Sequence[Item]) -> dict[str, str]:
    """By corpus: names, spans, sizes, groups and labels of its examples."""
    corpora: dict[str, list[Any]] = {}
    for item in items:
        truth = json.dumps(item.truth)  # NaN included
        corpora.setdefault(item.corpus, []).append([item.key, item.group, item.label, truth])
    return {f"data {corpus}": digest(rows) for corpus, rows in sorted(corpora.items())}


def folds_hash(table: pl.DataFrame) -> str:
    """Which example was predicted in which fold, for every seed."""
    pairs = table.select("seed", "example", "fold").unique().sort("seed", "example")
    return digest(pairs.cast(pl.Int64).rows())


def study_hashes(study: Study) -> dict[str, str]:
    """What a study's fits come from: data by corpus, recipe, code."""
    return {
        **data_hashes(study.items),
        "recipe": digest(study.settings),
        "code": code_hash(study.code),
    }


def code_hash(roots: Iterable[str]) -> str:
    """The code of these modules of `moodstream.models` and of those that they import from it."""
    return digest({name: _tree(FOLDER / f"{name}.py") for name in reached(roots)})


def reached(roots: Iterable[str]) -> list[str]:
    """The modules that a fit runs through, sorted: `roots`, what they import of ours, and so on."""
    waiting, found = list(roots), set[str]()
    while waiting:
        name = waiting.pop()
        if name in found or name in _AROUND:
            continue
        found.add(name)
        waiting += _imports((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    return sorted(found)


def _imports(source: str) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(PACKAGE):
            inside = str(node.module)[len(PACKAGE) :]
            names += [inside.split(".")[0]] if inside else [alias.name for alias in node.names]
    return names


def _tree(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if not _set_aside(node)]
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:]
    return ast.dump(tree)


def _set_aside(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assign):
        names = {
            part.id for target in node.targets for part in ast.walk(target) if isinstance(part, ast.Name)
        }
        return bool(names & set(_ASIDE))
    return isinstance(node, ast.FunctionDef) and node.name in _ASIDE


def revision() -> str | None:
    """The git commit of this checkout, with "+changes" where models/ differs from it; None outside of one."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    inside = _git("ls-files", "--", Path(__file__).name)
    if not commit or not inside:
        return None
    return commit + ("+changes" if _git("status", "--porcelain", "--untracked-files=no", "--", ".") else "")


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=FOLDER, capture_output=True, text=True, check=False)
    except OSError:  # no git here
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
