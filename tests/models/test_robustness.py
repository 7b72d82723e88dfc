from pathlib import Path

import numpy as np
import polars as pl
import pytest

from moodstream.models.robustness import compare, measure_degraded
from tests.support.toy_task import TOY


def a_table(guess: list[int], said: list[float]) -> pl.DataFrame:
    n = len(guess)
    truth = np.arange(n) % 2
    columns = {f"true_{name}": [np.nan] * n for name in ("arousal", "dominance")}
    columns |= {name: [0.0] * n for name in ("arousal", "dominance")}
    return pl.DataFrame(
        {"example": range(n), "corpus": "c", "group": [f"g{i // 2}" for i in range(n)], "label": truth}
        | {"guess": guess, "rated": True, "true_valence": truth / 2, "valence": said}
        | columns
    )


def test_a_drop_is_clean_minus_degraded_on_the_same_examples() -> None:
    truth = [0, 1] * 6
    clean, noisy = a_table(truth, [t / 2 for t in truth]), a_table([0] * 12, [0.25] * 12)
    found = compare({"clean": clean, "noise": noisy})
    assert found["c UAR, clean"].value == 1
    assert found["c UAR, noise"].value == 0.5
    drop = found["c UAR, drop by noise"]
    assert (drop.value, drop.low, drop.high) == (0.5, 0.5, 0.5)
    assert found["c CCC valence, drop by noise"].value == pytest.approx(1.0)
    assert not [name for name in found if "arousal" in name]  # nobody rated it


def test_degraded_measures_come_from_the_networks_of_the_folds(trained: tuple[Path, Path]) -> None:
    kept = set((trained[1] / "networks").iterdir())
    found = measure_degraded(
        TOY, None, conditions=("clean", "telephone, babble 15 dB"), folds=2, cache=trained[1]
    )
    assert set((trained[1] / "networks").iterdir()) == kept  # nothing had to be fitted
    assert found["a UAR, clean"].value > 0.9
    assert found["a UAR, telephone, babble 15 dB"].value < found["a UAR, clean"].value
    assert "b CCC arousal, drop by telephone, babble 15 dB" in found


def test_a_condition_that_is_unknown_is_said(trained: tuple[Path, Path]) -> None:
    with pytest.raises(ValueError, match="underwater"):
        measure_degraded(TOY, None, conditions=("underwater",), folds=2, cache=trained[1])
