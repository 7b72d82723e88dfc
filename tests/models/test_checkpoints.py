from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from moodstream.models import registry
from moodstream.models.checkpoints import Checkpoints
from moodstream.models.registry import Card
from moodstream.models.training import train_task
from tests.support.toy_task import TOY


class KilledError(Exception):
    """What ends a training in the middle."""


class Watch:
    """Which fits a run makes: those that tell of their steps."""

    def __init__(self, stop: str = "never") -> None:
        self.fits: list[str] = []
        self._stop = stop

    def __call__(self, what: str, share: float) -> None:
        stage = what.split(":")[0]
        if "steps" in what and stage not in self.fits:
            self.fits.append(stage)
        if stage == self._stop:
            raise KilledError


def test_a_training_that_was_stopped_goes_on(trained: tuple[Path, Path], tmp_path: Path) -> None:
    def run(watch: Watch, fresh: bool = False) -> Card:
        folders = {"out": tmp_path / "out", "cache": tmp_path / "cache"}
        return train_task(TOY, None, **folders, folds=2, fresh=fresh, progress=watch)

    with pytest.raises(KilledError):
        run(stopped := Watch("seed 0, fold 2"))
    assert stopped.fits == ["seed 0, fold 1", "seed 0, fold 2"]
    card = run(resumed := Watch())
    assert resumed.fits == ["seed 0, fold 2", "final fit"]
    assert card.version == registry.read_card("toy", trained[0]).version
    run(third := Watch())
    assert third.fits == []
    run(fresh := Watch(), fresh=True)
    assert fresh.fits == ["seed 0, fold 1", "seed 0, fold 2", "final fit"]


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


def test_a_file_cut_short_is_fitted_again(trained: tuple[Path, Path]) -> None:
    kept = Checkpoints(TOY.study(None, cache=trained[1]), trained[1])
    rows = np.arange(30)
    network = kept.fitted(rows)
    path = kept.path(rows, 0)
    path.write_bytes(path.read_bytes()[:500])
    again = kept.fitted(rows, progress=(watch := Watch()))
    assert watch.fits == ["steps"]
    assert torch.equal(network.state_dict()["deep"], again.state_dict()["deep"])
    read = kept.fitted(rows, progress=(watch := Watch()))
    assert watch.fits == []
    assert torch.equal(read.state_dict()["deep"], again.state_dict()["deep"])
    unkept = Checkpoints(kept.study, trained[1], keep=False)
    unkept.fitted(np.arange(25))
    assert not unkept.path(np.arange(25), 0).exists()
