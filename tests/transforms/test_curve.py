import numpy as np
import pytest

from moodstream.models.base import ACTIVITIES
from moodstream.transforms.curve import CurveBlock, SpanInfo, curve_table
from moodstream.transforms.tables import SCHEMAS

INFO = SpanInfo("song", 0, "run", "mix", None, "fused", "fusion", "1", "customer")


@pytest.fixture
def block() -> CurveBlock:
    nan = np.nan
    return CurveBlock(
        start=7,
        mean=np.array([[0.5, -0.25, nan], [nan, nan, nan], [0.1, 0.2, 0.3]], np.float32),
        std=np.array([[0.1, 0.1, nan], [nan, nan, nan], [0.2, 0.2, 0.2]], np.float32),
        scores=np.array([[0.75, 0.25, 0], [0, 0, 0], [0.0, 0.5, 0.5]], np.float32),
        labels=("Q1", "Q2", "anger"),
        estimated=np.array([True, False, True]),
        activity=np.array([1, 3, 2], np.int8),
        loudness=np.array([-20.0, nan, -18.5], np.float32),
        reasons=np.array([None, "silence", None], object),
        took_part=np.array([[False, True], [False, False], [True, True]]),
        modalities=("speech", "music"),
    )


def test_each_cell_becomes_a_row_on_the_grid(block: CurveBlock) -> None:
    table = curve_table(INFO, block)
    assert table.schema == SCHEMAS["curve"]
    rows = table.to_pylist()
    assert [(row["start_ms"], row["end_ms"]) for row in rows] == [(3500, 4000), (4000, 4500), (4500, 5000)]
    assert [row["activity"] for row in rows] == [ACTIVITIES[1], ACTIVITIES[3], ACTIVITIES[2]]
    assert rows[0]["valence"] == 0.5
    assert rows[0]["dominance"] is None
    assert rows[2]["dominance"] == pytest.approx(0.3)
    assert [dict(row["emotion_scores"] or {}) for row in rows] == [
        {"Q1": 0.75, "Q2": 0.25},
        {},
        {"Q2": 0.5, "anger": 0.5},
    ]
    assert [row["modalities"] for row in rows] == [["music"], [], ["speech", "music"]]


def test_a_cell_without_an_estimate_is_null_with_its_reason(block: CurveBlock) -> None:
    row = curve_table(INFO, block).to_pylist()[1]
    assert row["reason"] == "silence"
    assert [row[name] for name in ("valence", "arousal", "emotion_scores", "loudness_lufs")] == [None] * 4


def test_sparse_keeps_only_estimates_in_their_places(block: CurveBlock) -> None:
    rows = curve_table(INFO, block, sparse=True).to_pylist()
    assert [row["start_ms"] for row in rows] == [3500, 4500]
    assert [row["reason"] for row in rows] == [None, None]
    assert dict(rows[1]["emotion_scores"]) == {"Q2": 0.5, "anger": 0.5}


def test_an_empty_block_is_an_empty_table(block: CurveBlock) -> None:
    empty = CurveBlock(
        start=0,
        mean=block.mean[:0],
        std=block.std[:0],
        scores=block.scores[:0],
        labels=block.labels,
        estimated=block.estimated[:0],
        activity=block.activity[:0],
        loudness=block.loudness[:0],
        reasons=block.reasons[:0],
        took_part=block.took_part[:0],
        modalities=block.modalities,
    )
    assert curve_table(INFO, empty).num_rows == 0
    assert curve_table(INFO, empty, sparse=True).num_rows == 0
