"""A smoke run of every task, from the corpora: that it goes through, fast, and twice the same way."""

import time
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from moodstream.models import harness, licences, registry, training
from moodstream.models.training import TASKS


@pytest.mark.parametrize("task", TASKS)
def test_the_same_seed_gives_the_same_weights(task: str, corpora: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    began_s = time.process_time()
    cache = tmp_path / "cache"
    card = training.train(task, corpora, tmp_path / "one", smoke=True, cache=cache)
    assert time.process_time() - began_s < 60
    training.train(task, corpora, tmp_path / "two", smoke=True, fresh=True, cache=cache)
    one, two = (tmp_path / name / task for name in ("one", "two"))
    weights = [load_file(folder / registry.WEIGHTS) for folder in (one, two)]
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=1e-5, rtol=0)
    said = [pl.read_parquet(folder / harness.PREDICTIONS) for folder in (one, two)]
    assert said[0].equals(said[1])

    assert card == registry.read_card(task, tmp_path / "one")
    assert card.seeds == [0]
    assert card.machine.startswith(("cpu", "cuda", "NVIDIA"))
    assert {"predictions", "folds", "recipe", "code"} < set(card.hashes)
    assert set(card.corpora) == set(card.commercial)
    assert "research" in (one / licences.FILE).read_text()
    found = training.evaluate(task, folder=tmp_path / "one", stored=True)
    assert harness.rounded(found.measures) == card.metrics
