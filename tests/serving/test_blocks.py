"""A track's curve goes through a block of bytes and comes back as it was."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodstream.serving.store.blocks import KEY, Block, pack
from moodstream.transforms.tables import SCHEMAS
from tests.pipelines.conftest import MemoryLake

SCHEMA = SCHEMAS["curve"]
STAMP = datetime(2026, 5, 1, tzinfo=UTC)


def back(rows: pa.Table) -> pa.Table:
    """Rows through blocks."""
    parts = [Block(head, body).to_arrow(*key) for key, head, body in pack(rows)]
    return pa.concat_tables(parts) if parts else SCHEMA.empty_table()


def in_order(rows: pa.Table) -> list[dict[str, Any]]:
    """Sorted by key, and the pairs of a map by its keys: they have no order."""
    key = (*KEY, "start_ms")
    found = sorted(rows.to_pylist(), key=lambda row: tuple(row[name] for name in key))
    return [
        {**row, "emotion_scores": row["emotion_scores"] and sorted(row["emotion_scores"])} for row in found
    ]


def test_the_small_lake_comes_back(memory_lake: MemoryLake) -> None:
    for media_id in memory_lake.media_ids():
        rows = memory_lake.rows("curve", media_id)
        assert in_order(back(rows)) == in_order(rows)


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


words = st.sampled_from(["a", "b", "ü", ""])
number = st.floats(-1, 1, width=32)


@st.composite
def rows(draw: st.DrawFn) -> pa.Table:
    """Rows of some tracks, shuffled, with nulls anywhere they may be."""
    made: dict[tuple[Any, ...], dict[str, Any]] = {}
    for _ in range(draw(st.integers(0, 25))):
        start = draw(st.integers(0, 6)) * 500
        row: dict[str, Any] = {}
        for field in SCHEMA:
            kind = field.type
            if pa.types.is_floating(kind):
                value = number
            elif pa.types.is_map(kind):
                value = st.dictionaries(words, number, min_size=1, max_size=3).map(lambda d: list(d.items()))
            elif pa.types.is_list(kind):
                value = st.lists(st.sampled_from(["speech", "music"]), max_size=2)
            elif pa.types.is_timestamp(kind):
                value = st.integers(0, 3).map(lambda s: STAMP + timedelta(seconds=s))
            elif pa.types.is_boolean(kind):
                value = st.booleans()
            else:
                value = st.integers(0, 2) if pa.types.is_integer(kind) else words
            row[field.name] = draw(maybe(value) if field.nullable else value)
        row |= {"start_ms": start, "end_ms": start + draw(st.sampled_from([500, 500, 310]))}
        made[(*(row[name] for name in KEY), start)] = row
    return pa.Table.from_pylist(draw(st.permutations(list(made.values()))), schema=SCHEMA)


@settings(max_examples=30, deadline=None)
@given(rows())
def test_any_rows_come_back(table: pa.Table) -> None:
    assert in_order(back(table)) == in_order(table)
    back(table).validate(full=True)


@pytest.mark.parametrize(
    ("from_ms", "to_ms", "starts"),
    [
        (None, None, (0, 59_500)),
        (1_000, 2_000, (1_000, 1_500)),
        (1_001, 2_001, (1_000, 2_000)),
        (59_999, None, (59_500, 59_500)),
        (None, 1, (0, 0)),
    ],
)
def test_a_stretch_holds_every_row_that_has_a_part_in_it(
    memory_lake: MemoryLake, from_ms: int | None, to_ms: int | None, starts: tuple[int, int]
) -> None:
    table = memory_lake.rows("curve", "song.wav").slice(0, 120)
    [(_, head, body)] = pack(table)
    block = Block(head, body).between(from_ms, to_ms)
    found = block.numbers("start_ms").tolist()
    assert (found[0], found[-1]) == starts
    kept = [row for row in table.to_pylist() if starts[0] <= row["start_ms"] <= starts[1]]
    assert block.to_arrow("song.wav", 0, "mix", "fused").to_pylist() == kept


def test_outside_of_the_media_there_is_nothing(memory_lake: MemoryLake) -> None:
    for span in ((70_000, 80_000), (500, 500), (5_000, 400)):
        [(_, head, body)] = pack(memory_lake.rows("curve", "song.wav").slice(0, 120))
        assert len(Block(head, body).between(*span)) in (0, 1)
