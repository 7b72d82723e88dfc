import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from moodstream.models import evaluation, harness, registry
from moodstream.models.evaluation import StaleError
from moodstream.models.fingerprint import file_hash
from moodstream.models.metrics import Interval
from moodstream.models.training import evaluate, evaluate_task, train_task
from tests.support.toy_task import TOY


@pytest.fixture
def model(trained: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the toy model to spoil."""
    shutil.copytree(trained[0], tmp_path / "models")
    return tmp_path / "models"


def spoil_card(folder: Path, **values: object) -> None:
    registry.write_card(replace(registry.read_card("toy", folder), **values), folder)


def test_a_fold_fitted_anew_agrees(trained: tuple[Path, Path]) -> None:
    found = evaluate_task(TOY, None, trained[0], cache=trained[1])
    assert found.measures["UAR"].value > 0.9
    assert harness.rounded(found.measures) == found.card.metrics
    assert "one fold fitted anew: 0.0000" in found.notes[-1]
    full = evaluate_task(TOY, None, trained[0], cache=trained[1], full=True)
    assert harness.rounded(full.measures) == found.card.metrics


def test_predictions_of_another_fit_do_not_pass(model: Path, trained: tuple[Path, Path]) -> None:
    """Stored with the right hashes, yet not what the recipe gives."""
    path = model / "toy" / harness.PREDICTIONS
    pl.read_parquet(path).with_columns(scores=pl.col("scores").list.reverse()).write_parquet(path)
    with pytest.raises(StaleError, match="stale: predictions changed"):
        evaluate_task(TOY, None, model, stored=True)
    card = registry.read_card("toy", model)
    spoil_card(model, hashes={**card.hashes, "predictions": file_hash(path)})
    with pytest.raises(StaleError, match="the card says UAR is"):
        evaluate_task(TOY, None, model, stored=True)
    spoil_card(model, metrics=harness.rounded(harness.measure(TOY.measure, pl.read_parquet(path))))
    evaluate_task(TOY, None, model, stored=True)
    with pytest.raises(StaleError, match="differ from the stored predictions by 0"):
        evaluate_task(TOY, None, model, cache=trained[1])


def test_weights_and_folds_are_checked(model: Path) -> None:
    weights = load_file(model / "toy" / registry.WEIGHTS)
    registry.write_model(
        replace(registry.read_card("toy", model), name="other"),
        {name: value + 1 for name, value in weights.items()},
        model,
    )
    shutil.copy(model / "other" / registry.WEIGHTS, model / "toy")
    with pytest.raises(StaleError, match="the weights changed"):
        evaluate_task(TOY, None, model, stored=True)


def test_a_group_in_two_folds_is_refused(model: Path) -> None:
    path = model / "toy" / harness.PREDICTIONS
    pl.read_parquet(path).with_columns(fold=pl.col("example").cast(pl.Int32) % 2).write_parquet(path)
    hashes = registry.read_card("toy", model).hashes
    spoil_card(model, hashes={**hashes, "predictions": file_hash(path)})
    with pytest.raises(StaleError, match="folds changed"):
        evaluate_task(TOY, None, model, stored=True)
    mixed = evaluation.folds_hash(pl.read_parquet(path).with_columns(group=pl.lit("x")))
    spoil_card(model, hashes={**hashes, "predictions": file_hash(path), "folds": mixed})
    table = pl.read_parquet(path).with_columns(group=pl.lit("one for all"))
    table.write_parquet(path)
    spoil_card(model, hashes={**hashes, "predictions": file_hash(path), "folds": mixed})
    with pytest.raises(StaleError, match="'one for all' lies in two folds"):
        evaluate_task(TOY, None, model, stored=True)


def test_what_changed_is_named(model: Path, trained: tuple[Path, Path]) -> None:
    moved = replace(TOY, examples=lambda rows: [replace(e, group=e.group + "x") for e in TOY.examples(rows)])
    with pytest.raises(StaleError, match="data a, data b changed"):
        evaluate_task(moved, None, model, cache=trained[1])
    other = replace(TOY, recipe=replace(TOY.recipe, steps=3))
    with pytest.raises(StaleError, match="recipe changed"):
        evaluate_task(other, None, model, cache=trained[1])
    spoil_card(model, hashes={})
    with pytest.raises(StaleError, match="no hash of predictions"):
        evaluate_task(TOY, None, model, stored=True)


def test_changed_code_is_said_and_the_fit_decides(model: Path, trained: tuple[Path, Path]) -> None:
    spoil_card(model, hashes={**registry.read_card("toy", model).hashes, "code": "other"})
    notes = evaluate_task(TOY, None, model, cache=trained[1]).notes
    assert any(note.startswith("the code of its fits changed") for note in notes)
    assert "fitted anew" in notes[-1]


def test_several_seeds_are_averaged(trained: tuple[Path, Path], tmp_path: Path) -> None:
    card = train_task(TOY, None, tmp_path, folds=2, seeds=2, cache=trained[1])
    assert (card.seed, card.seeds) == (0, [0, 1])
    table = pl.read_parquet(tmp_path / "toy" / harness.PREDICTIONS)
    assert table.group_by("seed").len().sort("seed").rows() == [(0, 48), (1, 48)]
    folds = table.pivot("seed", index="example", values="fold")
    assert (folds["0"] != folds["1"]).any()
    each = [TOY.measure(table.filter(seed=seed))["UAR"].value for seed in (0, 1)]
    assert card.metrics["UAR"][0] == pytest.approx(sum(each) / 2, abs=1e-4)
    first, shipped = (load_file(folder / "toy" / registry.WEIGHTS) for folder in (trained[0], tmp_path))
    assert torch.equal(first["deep"], shipped["deep"])  # the first seed's fit ships
    evaluate_task(TOY, None, tmp_path, cache=trained[1], full=True)


def test_the_same_seed_gives_the_same_model(trained: tuple[Path, Path], tmp_path: Path) -> None:
    train_task(TOY, None, tmp_path, folds=2, cache=trained[1], fresh=True)
    first, again = (load_file(f / "toy" / registry.WEIGHTS) for f in (trained[0], tmp_path))
    for name, value in first.items():
        torch.testing.assert_close(again[name], value, atol=1e-5, rtol=0)
    other = train_task(TOY, None, tmp_path, folds=2, seed=1, cache=trained[1])
    assert other.version != registry.read_card("toy", trained[0]).version


def test_what_is_installed_belongs_together() -> None:
    for card in registry.installed():
        if card.hashes:  # of models trained before there were any, `evaluate` says so
            evaluate(card.name, stored=True)


def test_the_mean_of_seeds_and_the_interval_of_all() -> None:
    """Two seeds of 0.5 and 1.0, three examples each: no example of one seed is one of the other."""
    table = pl.DataFrame({"seed": [3] * 3 + [4] * 3, "example": [0, 1, 2] * 2, "x": [0.5] * 3 + [1.0] * 3})

    def measured(rows: pl.DataFrame) -> dict[str, Interval]:
        assert rows["example"].is_unique().all()
        found = {"x": Interval(rows["x"].max(), rows["x"].min(), float(rows.height))}
        return found | ({"not in all": found["x"]} if 4 in rows["seed"] else {})

    assert harness.measure(measured, table) == {"x": Interval(0.75, 0.5, 6.0)}
    assert harness.measure(measured, table.filter(seed=3)) == {"x": Interval(0.5, 0.5, 3.0)}
