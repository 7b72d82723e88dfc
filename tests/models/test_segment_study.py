"""Ways to learn segments are paired on the same clips, and kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from moodstream.models import registry, segment_study
from moodstream.models.corpora import DataError
from moodstream.models.examples import Example
from moodstream.models.segment_study import Outcome, clips_of, measure, pooled, self_learning, shipped
from moodstream.models.segment_tasks import Material, Way
from moodstream.models.segment_views import Cuts, SpanViews
from moodstream.models.self_learning import Rows, SelfRecipe

CLIPS, OF_A_CLIP = 24, 4
PLAIN = SelfRecipe(epochs=4, steps=8, warm=2, rise=1, rate=1e-2, judged=False, mixing=0.0)
WAYS = {
    "plain": Way(PLAIN),
    "self-learning": Way(replace(PLAIN, judged=True, mixing=0.3), unlabelled=True),
    "plain, exchanged": Way(PLAIN, exchanged=0.3),
    "self-learning, exchanged": Way(replace(PLAIN, judged=True), exchanged=0.3),
}


def material() -> Material:
    """Two classes that lie apart, and clips without label."""
    draw = np.random.default_rng(0)
    clip = np.repeat(np.arange(CLIPS + 6), OF_A_CLIP)
    kind = np.arange(CLIPS + 6) % 2
    values = torch.from_numpy(draw.normal(0, 1, (len(clip), 6)) + 2.5 * kind[clip][:, None]).float()
    examples = [
        Example(
            f"{i}.wav",
            lambda: np.zeros(0, np.float32),
            "real" if i < CLIPS else "bare",
            f"artist {i // 2}",
            (float(kind[i] == 0), 0.0, float(kind[i] == 1)) if i < CLIPS else None,
        )
        for i in range(CLIPS + 6)
    ]
    labels = torch.eye(2)[torch.from_numpy(kind[clip])]
    labels[clip >= CLIPS] = 0
    first = clip * OF_A_CLIP
    cuts = Cuts(clip, np.arange(len(clip)), first, first + OF_A_CLIP - 1)
    views = SpanViews(values, cuts, labels, torch.ones(labels.shape, dtype=torch.bool))

    def network(views: SpanViews, rows: Rows) -> tuple[nn.Module, SpanViews]:
        return nn.Linear(6, 2), views

    columns = [("real", 0), ("real", 2)]
    alike = [examples[i].corpus for i in clip]
    return Material("music", examples, views, columns, network, alike, (0, 1), WAYS, None)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setitem(segment_study.MATERIALS, "toy", lambda data, cache, progress: material())
    monkeypatch.setattr(registry, "FOLDER", tmp_path / "none")
    return tmp_path


def test_every_way_is_paired_with_the_one_on_the_same_segments(toy: Path) -> None:
    found = self_learning("toy", None, folds=3, cache=toy)
    kept = {path: path.stat().st_mtime_ns for path in (toy / "segments").iterdir()}
    assert len(kept) == len(WAYS) * 2 * 3
    assert found["real accuracy of clips, plain"].value > 0.9
    gains = [name for name in found if name.endswith("gain")]
    assert len(gains) == 4  # of clips and of segments, with none and with some exchanged
    gain = found["real accuracy of clips, self-learning, exchanged, gain"].value
    both = [found[f"real accuracy of clips, {kind}, exchanged"].value for kind in ("self-learning", "plain")]
    assert gain == pytest.approx(both[0] - both[1])
    assert found["exchanged segments found, AUROC, self-learning, exchanged"].value > 0.7
    assert self_learning("toy", None, folds=3, cache=toy) == found
    assert {path: path.stat().st_mtime_ns for path in (toy / "segments").iterdir()} == kept


def test_smoke_is_short(toy: Path) -> None:
    assert self_learning("toy", None, ways=["plain"], smoke=True, cache=toy)
    assert len(list((toy / "segments").iterdir())) == 2


def test_what_is_unknown_is_said(toy: Path) -> None:
    with pytest.raises(DataError, match="symbolic"):
        self_learning("symbolic", None)
    with pytest.raises(DataError, match="harder"):
        self_learning("toy", None, ways=["harder"], cache=toy)


def outcome_of(material: Material, right: np.ndarray) -> Outcome:
    """Sure of the right column of each segment, or of the wrong one."""
    segment = np.flatnonzero(material.column >= 0)
    shares = np.eye(2)[np.where(right[segment], material.column[segment], 1 - material.column[segment])]
    fold = material.clip[segment] % 3
    seed = np.zeros(len(segment), np.int64)
    return Outcome(segment, seed, fold, 0.8 * shares + 0.1, np.ones(1), np.ones(1, bool))


def test_measures_by_hand() -> None:
    toy = replace(material(), ways={"plain": WAYS["plain"], "better": WAYS["plain"]})
    right = np.ones(len(toy.clip), bool)
    right[:3] = False  # most of the first clip
    found = measure(
        toy,
        {
            "plain": outcome_of(toy, right),
            "better": outcome_of(toy, np.ones(len(right), bool)),
        },
    )
    assert found["real accuracy of clips, plain"].value == pytest.approx(1 - 1 / CLIPS)
    assert found["real accuracy of segments, plain"].value == pytest.approx(1 - 3 / CLIPS / OF_A_CLIP)
    assert found["real accuracy of clips, better, gain"].value == pytest.approx(1 / CLIPS)


def test_what_ships_is_joined_where_folds_agree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    toy = material()
    clips = clips_of(toy, outcome_of(toy, np.ones(len(toy.clip), bool)), "real")
    label = clips.label
    scores = np.zeros((CLIPS, 3))
    scores[np.arange(CLIPS), np.where(np.arange(CLIPS) % 4 == 0, 2 - label, label)] = 1  # a quarter is wrong
    stored = pl.DataFrame(
        {
            "example": clips.example[::-1],
            "seed": 0,
            "fold": clips.fold[::-1],
            "scores": (0.4 * scores + 0.2)[::-1].tolist(),
        }
    )
    (tmp_path / "music").mkdir()
    monkeypatch.setattr(registry, "FOLDER", tmp_path)
    assert shipped(toy, clips) is None
    stored.write_parquet(tmp_path / "music" / "predictions.parquet")
    found = shipped(toy, clips)
    assert found is not None
    np.testing.assert_allclose(found, (0.4 * scores + 0.2)[:, [0, 2]])
    assert (pooled(found, clips) == label).all()
    others = stored.with_columns(fold=(pl.col("fold") + 1) % 3)
    others.write_parquet(tmp_path / "music" / "predictions.parquet")
    assert shipped(toy, clips) is None
