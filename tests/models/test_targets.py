from pathlib import Path

import pytest

from moodstream.models import targets as module
from moodstream.models.targets import Target, targets


def test_both_goals_are_judged() -> None:
    goal = Target(0.6, 0.7)
    assert goal.verdict(0.7) == "expected >= 0.6 met, aim >= 0.7 met"
    assert goal.verdict(0.65) == "expected >= 0.6 met, aim >= 0.7 missed"
    assert goal.verdict(None) == "expected >= 0.6, aim >= 0.7"
    assert Target(None, 0.65).verdict(0.5) == "aim >= 0.65 missed"


def test_less_is_better_where_the_aim_is_below() -> None:
    assert (
        targets("symbolic")["vgmidi RMSE arousal"].verdict(0.19) == "expected <= 0.2 met, aim <= 0.18 missed"
    )
    assert targets("speech")["ravdess UAR"].verdict(0.65).startswith("expected >= 0.66 missed")
    assert targets("unheard of") == {}


def test_nonsense_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "targets.yaml").write_text("task:\n  UAR: [0.1, 0.2, 0.3]\n")
    monkeypatch.setattr(module, "FILE", tmp_path / "targets.yaml")
    with pytest.raises(ValueError, match="task, UAR is"):
        targets.__wrapped__("task")
