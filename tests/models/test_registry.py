import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from moodstream.models.registry import CARD, WEIGHTS, Card, installed, read_card, read_weights, write_model

CARD_OF_TEST = Card(
    name="small",
    version="1.0",
    task="speech",
    labels=["a", "b"],
    dimensions=["valence"],
    lookahead_s=2.0,
    past_s=3.0,
    corpora={"one": "CC0"},
    folds="5",
    metrics={"UAR": [0.5, 0.4, 0.6]},
    seed=0,
    date="2026-01-01",
    limits=["a test's"],
    prior={"valence": [0.0, 0.1]},
    calibration={"temperature": 1.0},
    licence="CC0",
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    weights = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1)}
    card = write_model(CARD_OF_TEST, weights, tmp_path)
    assert installed(tmp_path) == [card]
    assert read_card("small", tmp_path) == card
    read = read_weights("small", tmp_path)
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name], weights[name]) for name in weights)


def test_version_follows_the_weights(tmp_path: Path) -> None:
    first = write_model(CARD_OF_TEST, {"w": torch.ones(2)}, tmp_path)
    same = write_model(replace(first, date="2027-01-01"), {"w": torch.ones(2)}, tmp_path)
    other = write_model(first, {"w": torch.zeros(2)}, tmp_path)
    assert first.version == same.version != other.version
    assert first.version.startswith("1.0+")


def test_weights_that_are_not_the_cards_are_refused(tmp_path: Path) -> None:
    write_model(CARD_OF_TEST, {"w": torch.ones(2)}, tmp_path)
    path = tmp_path / "small" / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="hash differs"):
        read_weights("small", tmp_path)


def test_a_missing_model_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    write_model(CARD_OF_TEST, {"w": torch.ones(2)}, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no model 'large'.*installed: small"):
        read_card("large", tmp_path)


def test_an_unknown_field_is_an_error(tmp_path: Path) -> None:
    write_model(CARD_OF_TEST, {"w": torch.ones(2)}, tmp_path)
    path = tmp_path / "small" / CARD
    path.write_text(path.read_text() + "colour: red\n")
    with pytest.raises(ValueError, match="colour"):
        read_card("small", tmp_path)


def test_cards_are_listed_without_torch() -> None:
    code = (
        "import sys; from moodstream.models.registry import installed; installed(); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
