from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from moodstream.models import registry, training
from moodstream.models.audio_task import audio_study, ready
from moodstream.models.checkpoints import Checkpoints
from moodstream.models.distil import DistilRecipe, SmallTask, ask, distil, unlabelled
from moodstream.models.examples import Prepared
from moodstream.models.network import MoodNetwork, Output
from moodstream.models.small import SmallNetwork, SmallShape, load_small
from tests.support.toy_task import LABELS, TOY

RECIPE = DistilRecipe(steps=300, sounds=16, batch=64, cells=(1, 2))
TOY_STUDENT = SmallTask(TOY, RECIPE, SmallShape(LABELS, hidden=24, channels=8), unlabelled=())


def a_teacher(cache: Path) -> tuple[MoodNetwork, tuple]:
    examples, prepared, shape, task = ready(TOY, None, cache=cache)
    kept = Checkpoints(audio_study(task, None, examples, prepared, shape), cache)
    network = kept.fitted(np.arange(len(examples)), 0)
    assert isinstance(network, MoodNetwork)
    return network, (prepared, shape)


def student_says(student: SmallNetwork, prepared: Prepared, rows: np.ndarray) -> Output:
    """What a student says of whole, unaltered sounds, from their frames and sums."""
    learned, fixed = [], []
    for row in rows:
        cells = slice(*prepared.cells[2 * row : 2 * row + 2])
        frames = torch.from_numpy(np.asarray(prepared.frames[32 * cells.start : 32 * cells.stop], np.float32))
        fixed.append(torch.from_numpy(np.array(prepared.sums[cells].sum(0))))
        valid = torch.arange(len(frames))[None] < int(prepared.lengths[2 * row])
        with torch.inference_mode():
            learned.append(
                fixed[-1][:0] if student.encoder is None else student.encoder(frames[None], valid)[0].sum(0)
            )
    with torch.inference_mode():
        (mine,) = student.heads(torch.stack(learned), torch.stack(fixed))
    return mine


@pytest.mark.parametrize("channels", [0, 8])
def test_the_student_says_what_its_teacher_says(trained: tuple[Path, Path], channels: int) -> None:
    teacher, (prepared, _) = a_teacher(trained[1])
    rows = np.arange(48)
    student = distil(teacher, prepared, rows, None, replace(TOY_STUDENT.shape, channels=channels), RECIPE)
    said = ask(teacher, prepared, rows)
    mine = student_says(student, prepared, rows)
    assert float((mine.mean - said.mean)[:, :2].abs().mean()) < 0.05
    assert float((mine.log_std - said.log_std)[:, :2].abs().mean()) < 0.3
    assert float((mine.logits.argmax(1) == said.logits.argmax(1)).float().mean()) > 0.9


def test_the_same_seed_gives_the_same_student(trained: tuple[Path, Path]) -> None:
    teacher, (prepared, _) = a_teacher(trained[1])
    few = replace(RECIPE, steps=5)
    first, same, other = (
        distil(teacher, prepared, np.arange(20), prepared, TOY_STUDENT.shape, few, seed).first.weight
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_a_student_trains_is_measured_beside_its_teacher_and_evaluates(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    card = training.train_task(TOY_STUDENT, None, tmp_path, folds=2, cache=trained[1])
    assert (card.name, card.task) == ("small", "small")
    assert card.metrics["UAR"][0] > 0.8
    less = card.metrics["b CCC arousal, minus its teacher's"]
    assert less[1] <= less[0] <= less[2]
    assert abs(less[0]) < 0.2
    table = pl.read_parquet(tmp_path / "small" / training.PREDICTIONS)
    rated = table.filter(corpus="b")
    assert np.corrcoef(rated["arousal"], rated["teacher_arousal"])[0, 1] > 0.9
    assert float(load_small("small", tmp_path).temperature) == pytest.approx(card.calibration["temperature"])
    assert registry.read_weights("small", tmp_path)["first_weight"].dtype == torch.int8
    found = training.evaluate_task(TOY_STUDENT, None, tmp_path, cache=trained[1])
    assert set(found.measures) == set(card.metrics)


def test_without_recordings_nothing_is_unlabelled() -> None:
    assert unlabelled((), None) == []
