from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from moodstream.models import audio_task, registry
from moodstream.models.checkpoints import Checkpoints
from moodstream.models.training import train_task
from tests.support.toy_task import TOY


class KilledError(Exception):
    """What ends a training in the middle."""


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many examples each fit learned from, as they happen."""
    seen: list[int] = []
    real = audio_task.fit

    def counted(prepared, shape, rows, *more):
        seen.append(len(rows))
        return real(prepared, shape, rows, *more)

    monkeypatch.setattr(audio_task, "fit", counted)
    return seen


def test_a_training_that_was_stopped_goes_on(
    trained: tuple[Path, Path], tmp_path: Path, fits: list[int]
) -> None:
    def stop(what: str, share: float) -> None:
        if what.startswith("seed 0, fold 2"):
            raise KilledError

    with pytest.raises(KilledError):
        train_task(TOY, None, tmp_path / "out", folds=2, cache=tmp_path / "cache", progress=stop)
    assert len(fits) == 2
    card = train_task(TOY, None, tmp_path / "out", folds=2, cache=tmp_path / "cache")
    assert len(fits) == 4  # the first fold was there
    assert card.version == registry.read_card("toy", trained[0]).version
    train_task(TOY, None, tmp_path / "out", folds=2, cache=tmp_path / "cache")
    assert len(fits) == 4
    train_task(TOY, None, tmp_path / "out", folds=2, cache=tmp_path / "cache", fresh=True)
    assert len(fits) == 7


def test_what_decides_a_fit_is_in_its_name(tmp_path: Path) -> None:
    study = TOY.study(None, cache=tmp_path)
    rows = np.arange(20)
    first = Checkpoints(study, tmp_path).path(rows, 0)
    assert first == Checkpoints(TOY.study(None, cache=tmp_path), tmp_path).path(rows, 0)
    other_recipe = replace(TOY, recipe=replace(TOY.recipe, steps=16)).study(None, cache=tmp_path)
    relabelled = replace(study, items=[replace(study.items[0], label=2), *study.items[1:]])
    others = [
        Checkpoints(study, tmp_path).path(rows, 1),
        Checkpoints(study, tmp_path).path(rows + 1, 0),
        Checkpoints(other_recipe, tmp_path).path(rows, 0),
        Checkpoints(relabelled, tmp_path).path(rows, 0),
        Checkpoints(replace(study, code=("fitting", "music")), tmp_path).path(rows, 0),
    ]
    assert len({first, *others}) == 6


def test_a_file_cut_short_is_fitted_again(trained: tuple[Path, Path], fits: list[int]) -> None:
    kept = Checkpoints(TOY.study(None, cache=trained[1]), trained[1])
    rows = np.arange(30)
    network = kept.fitted(rows)
    path = kept.path(rows, 0)
    path.write_bytes(path.read_bytes()[:500])
    again = kept.fitted(rows)
    assert len(fits) == 2
    assert torch.equal(network.state_dict()["deep"], again.state_dict()["deep"])
    assert torch.equal(kept.fitted(rows).state_dict()["deep"], again.state_dict()["deep"])
    assert len(fits) == 2
    unkept = Checkpoints(kept.study, trained[1], keep=False)
    unkept.fitted(np.arange(25))
    assert not unkept.path(np.arange(25), 0).exists()
