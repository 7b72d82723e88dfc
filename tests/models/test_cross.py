from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from moodstream.models import cross, registry
from moodstream.models.checkpoints import Checkpoints
from moodstream.models.evaluation import StaleError
from moodstream.models.examples import silent
from moodstream.models.harness import CROSS
from moodstream.models.training import evaluate_task, train_task
from tests.support.toy_task import TOY, toy_examples


def test_who_is_left_out_is_left_out_everywhere(trained: tuple[Path, Path], monkeypatch) -> None:
    """Speaker 0 of corpus b is a speaker of corpus a: without a, he does not teach."""
    same = [replace(e, group="a0") if e.group == "b0" else e for e in toy_examples()]
    study = replace(TOY, examples=lambda rows: same).study(None, cache=trained[1])
    kept = Checkpoints(study, trained[1])
    taught: list[set[str]] = []
    monkeypatch.setattr(
        kept,
        "fitted",
        lambda rows, *_: taught.append({same[row].group for row in rows}) or study.new().eval(),
    )
    table = cross.leave_one_out(study, 0, kept, silent)
    assert taught[0] == {f"b{i}" for i in range(1, 8)}
    assert taught[1] == {f"a{i}" for i in range(1, 8)}
    assert table["example"].to_list() == list(range(48))
    noisy = np.array(table.filter(corpus="a")["scores"].to_list())[:, 2]
    assert noisy.max() == 0  # nobody but corpus a has this label


def test_a_single_corpus_cannot_be_left_out(trained: tuple[Path, Path]) -> None:
    study = replace(TOY, examples=lambda rows: toy_examples()[:24]).study(None, cache=trained[1])
    with pytest.raises(ValueError, match="one corpus alone, a"):
        cross.leave_one_out(study, 0, Checkpoints(study, trained[1]), silent)


def test_measures_are_of_what_is_clear_and_shared() -> None:
    table = pl.DataFrame(
        {
            "corpus": ["a"] * 6,
            "group": ["s", "t"] * 3,
            "rated": [False] * 6,
            "label": [0, 1, 0, 1, 2, 2],
            "true_arousal": [0.5, -0.5, 0.6, -0.7, 0.1, 0.1],  # the last two are neither high nor low
            "arousal": [0.3, 0.1, 0.2, 0.0, 0.9, -0.9],
            "scores": [[0.9, 0.1, 0.0], [0.9, 0.1, 0.0]] * 3,
        }
    )
    found = cross.measure_left_out(table, ["arousal"])
    assert found["a AUC arousal"].value == 1
    assert found["a UAR of 2 shared labels"].value == 0.5
    assert "a CCC arousal" not in found
    rated = cross.measure_left_out(table.with_columns(rated=pl.lit(True)), ["arousal"])
    assert rated["a CCC arousal"].value < 0.5


def test_they_are_kept_with_the_model(trained: tuple[Path, Path], tmp_path: Path) -> None:
    train_task(TOY, None, tmp_path, folds=2, cache=trained[1])
    found = evaluate_task(TOY, None, tmp_path, cache=trained[1], leave_one_out=True)
    assert {"a UAR of 2 shared labels", "b UAR of 2 shared labels", "b AUC valence"} <= set(found.cross)
    assert registry.read_card("toy", tmp_path).cross == found.card.cross != {}
    again = evaluate_task(TOY, None, tmp_path, stored=True)
    assert again.cross == found.cross
    path = tmp_path / "toy" / CROSS
    pl.read_parquet(path).head(40).write_parquet(path)
    with pytest.raises(StaleError, match="cross changed"):
        evaluate_task(TOY, None, tmp_path, stored=True)
