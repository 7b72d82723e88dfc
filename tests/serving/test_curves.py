"""Curves at a larger step: means, and what their deviations say."""

import numpy as np
import pyarrow as pa
import pytest

from moodstream.serving.api.curves import channel_of
from moodstream.serving.store.blocks import Block, pack
from moodstream.serving.store.store import Track
from tests.pipelines.conftest import MemoryLake


def track(rows: pa.Table) -> Track:
    [((_, _, channel, modality), head, body)] = pack(rows)
    return Track(channel, modality, True, Block(head, body))


@pytest.fixture
def song(memory_lake: MemoryLake) -> pa.Table:
    return memory_lake.rows("curve", "song.wav").slice(0, 121)


def test_a_step_is_the_mean_of_its_half_seconds(song: pa.Table) -> None:
    found = channel_of(track(song), None, None, 5_000)
    assert found["start_ms"].tolist() == list(range(0, 60_500, 5_000))
    rows = song.to_pylist()
    for i, start in enumerate(range(0, 60_500, 5_000)):
        here = [row for row in rows if start <= row["start_ms"] < start + 5_000]
        known = [row for row in here if row["valence"] is not None]
        for name in ("valence", "arousal"):
            mean = np.mean([row[name] for row in known]) if known else np.nan
            assert found[name][i] == pytest.approx(mean, abs=1e-4, nan_ok=True)
        if known:
            within = np.mean([row["valence_std"] ** 2 for row in known])
            between = np.var([row["valence"] for row in known])
            assert found["valence_std"][i] == pytest.approx(np.sqrt(within + between), abs=1e-4)
            assert found["reason"][i] is None
        else:
            assert found["reason"][i] == "silence"
        power = np.mean([10 ** (row["loudness_lufs"] / 10) for row in here])
        assert found["loudness_lufs"][i] == pytest.approx(10 * np.log10(power), abs=0.02)
    assert found["activity"][3:6] == ["music", "silence", "music"]
    assert sum(scores[0] for scores in found["emotion_scores"].values()) == pytest.approx(1, abs=1e-3)


def test_a_range_is_widened_to_whole_steps_so_that_values_do_not_depend_on_it(song: pa.Table) -> None:
    whole = channel_of(track(song), None, None, 2_000)
    part = channel_of(track(song), 5_100, 9_300, 2_000)
    assert part["start_ms"].tolist() == [4_000, 6_000, 8_000]
    assert part["valence"].tolist() == whole["valence"][2:5].tolist()
    assert part["activity"] == whole["activity"][2:5]


def test_steady_estimates_keep_their_deviation(song: pa.Table) -> None:
    flat = song.slice(0, 8)
    for name, value in (("valence", 0.25), ("valence_std", 0.3)):
        at = song.schema.get_field_index(name)
        flat = flat.set_column(at, song.schema.field(name), pa.array([value] * 8, pa.float32()))
    found = channel_of(track(flat), None, None, 4_000)
    assert found["valence_std"].tolist() == pytest.approx([0.3])  # not 0.3 / sqrt(8)


def test_gaps_between_rows_stay_gaps(song: pa.Table) -> None:
    holed = pa.concat_tables([song.slice(0, 4), song.slice(12, 4)])
    found = channel_of(track(holed), None, None, 2_000)
    assert found["start_ms"].tolist() == [0, 2_000, 4_000, 6_000]
    assert np.isnan(found["valence"][1:3]).all()
    assert found["activity"][1:3] == [None, None]
