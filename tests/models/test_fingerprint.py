import subprocess
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from moodstream.models import fingerprint
from moodstream.models.fingerprint import code_hash, data_hashes, folds_hash, reached, revision
from moodstream.models.study import Item

ITEMS = [Item("a.wav:0", "one", "s1", 0, [0.1]), Item("b.wav:0", "two", "s2", 1, [float("nan")])]
SOURCE = '''"""Fits."""

from moodstream.models.base import RATE


def fit(x):
    """Fit."""
    return x * RATE  # a comment


def measure(x):
    return x
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of two modules, of which one imports the other."""
    (tmp_path / "fits.py").write_text(SOURCE)
    (tmp_path / "base.py").write_text("RATE = 1\n")
    (tmp_path / "metrics.py").write_text("x = 1\n")
    monkeypatch.setattr(fingerprint, "FOLDER", tmp_path)
    return tmp_path


def test_only_the_corpus_that_changed_has_another_hash() -> None:
    before = data_hashes(ITEMS)
    assert list(before) == ["data one", "data two"]
    for change in ({"key": "c.wav:0"}, {"group": "s3"}, {"label": 0}, {"truth": [0.5]}):
        after = data_hashes([ITEMS[0], replace(ITEMS[1], **change)])
        assert after["data one"] == before["data one"]
        assert after["data two"] != before["data two"]


def test_a_fold_moved_is_seen_whatever_the_order() -> None:
    table = pl.DataFrame({"seed": [0, 0, 1], "example": [0, 1, 0], "fold": [0, 1, 0], "x": [1, 2, 3]})
    assert folds_hash(table) == folds_hash(table.reverse().cast({"fold": pl.Int32}))
    assert folds_hash(table) != folds_hash(table.with_columns(fold=pl.lit(0)))


def test_code_counts_and_comments_do_not(folder: Path) -> None:
    before = code_hash(["fits"])
    assert reached(["fits"]) == ["base", "fits"]
    same = SOURCE.replace("a comment", "another").replace('"""Fit."""', '"""Fits better."""')
    (folder / "fits.py").write_text(
        same.replace("def measure(x):\n    return x", "def measure(x):\n    return 2")
    )
    assert code_hash(["fits"]) == before
    (folder / "fits.py").write_text(SOURCE.replace("x * RATE", "x + RATE"))
    assert code_hash(["fits"]) != before
    (folder / "fits.py").write_text(SOURCE)
    (folder / "base.py").write_text("RATE = 2\n")
    assert code_hash(["fits"]) != before


def test_what_measures_is_no_part_of_a_fit() -> None:
    found = reached(["fitting", "speech"])
    assert {"fitting", "network", "features", "pooling", "speech"} <= set(found)
    assert not {"harness", "metrics", "calibration", "registry", "training"} & set(found)


def test_the_commit_is_that_of_the_checkout(folder: Path) -> None:
    assert revision() is None  # no checkout
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-C", str(folder)]
    for words in (["init", "-q"], ["add", "base.py"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True)
    assert revision() is None  # a checkout of something else
    subprocess.run([*git, "add", "-f", "."], check=True)
    (folder / "fingerprint.py").write_text("")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "two"], check=True)
    clean = revision()
    assert clean is not None
    assert len(clean) == 12
    (folder / "base.py").write_text("RATE = 3\n")
    assert revision() == f"{clean}+changes"
