"""What tests of models share: a toy task, trained once."""

from pathlib import Path

import pytest
import torch

from moodstream.models.training import train_task
from tests.support.toy_task import TOY


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of models that holds the toy model, and the cache of its features and networks."""
    torch.set_num_threads(1)
    out, cache = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("cache")
    train_task(TOY, None, out, folds=2, cache=cache)
    return out, cache
