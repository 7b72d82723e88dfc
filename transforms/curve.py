"""Curve: estimates on the fixed 2 Hz grid, as columns.

Conventions: a block covers n consecutive cells of one channel and modality; cell `i` is
`[500 i, 500 (i + 1))` ms. Numbers stay in arrays until they become Arrow columns: a row object for each half
second would cost more than the networks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from moodstream.models.base import ACTIVITIES, STEP_MS, Float
from moodstream.transforms.elements import SCHEMA_VERSION
from moodstream.transforms.tables import SCHEMAS

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SpanInfo:
    """What the rows of one channel and modality have in common."""

    media_id: str
    take: int
    analysis_id: str
    channel: str
    role: str | None
    modality: str
    model: str
    model_version: str
    emotions_for: str
    responsible: str | None = None

    def columns(self) -> dict[str, Any]:
        """The constant columns of every span row."""
        return {
            "media_id": self.media_id,
            "take": self.take,
            "schema_version": SCHEMA_VERSION,
            "analysis_id": self.analysis_id,
            "channel": self.channel,
            "role": self.role,
            "modality": self.modality,
            "model": self.model,
            "model_version": self.model_version,
            "revision": 0,
            "is_final": True,
            "event_time": None,
            "emotions_for": self.emotions_for,
            "responsible": self.responsible,
        }


@dataclass(frozen=True, slots=True)
class Stretch:
    """Cells of one curve, as rows of a table."""

    info: SpanInfo
    cells: int
    sparse: bool = False  # only cells with an estimate become rows
    revision: int = 0
    is_final: bool = True
    began_ms: int | None = None  # UTC of the media's position 0, for live rows

    def columns(self) -> dict[str, Any]:
        """The constant columns."""
        return self.info.columns() | {"revision": self.revision, "is_final": self.is_final}


@dataclass(frozen=True, slots=True)
class CurveBlock:
    """n consecutive cells of one channel and modality."""

    start: int  # index of the first cell
    mean: Float  # [n, 3], NaN where not estimated
    std: Float  # [n, 3]
    scores: Float  # [n, K], rows without an estimate are zero
    labels: tuple[str, ...]  # K names
    estimated: Mask  # [n]
    activity: npt.NDArray[np.int8]  # [n], index into ACTIVITIES
    loudness: Float  # [n] LUFS, NaN where there is none
    reasons: npt.NDArray[np.object_]  # [n] str or None
    took_part: Mask  # [n, m]
    modalities: tuple[str, ...] = field(default=())  # m names

    def __len__(self) -> int:
        return len(self.estimated)


def _nullable(values: Float, valid: Mask | None = None) -> pa.Array:
    missing = ~np.isfinite(values)
    return pa.array(values, type=pa.float32(), mask=missing if valid is None else missing | ~valid)


def _scores(block: CurveBlock) -> pa.Array:
    present = (block.scores > 0) & block.estimated[:, None]
    offsets = np.concatenate(([0], np.cumsum(present.sum(1)))).astype(np.int32)
    keys = pa.array(block.labels, pa.string()).take(pa.array(np.nonzero(present)[1]))
    maps = pa.MapArray.from_arrays(
        pa.array(offsets, mask=np.append(~block.estimated, False)),
        keys,
        pa.array(block.scores[present], pa.float32()),
    )
    return maps.cast(SCHEMAS["curve"].field("emotion_scores").type)


def _took_part(block: CurveBlock) -> pa.Array:
    offsets = np.concatenate(([0], np.cumsum(block.took_part.sum(1)))).astype(np.int32)
    names = pa.array(block.modalities, pa.string()).take(pa.array(np.nonzero(block.took_part)[1]))
    return pa.ListArray.from_arrays(pa.array(offsets), names)


def select(block: CurveBlock, keep: Mask | slice, start: int = 0) -> CurveBlock:
    """Some cells of a block, as a block that starts there."""
    return CurveBlock(
        start=start,
        mean=block.mean[keep],
        std=block.std[keep],
        scores=block.scores[keep],
        labels=block.labels,
        estimated=block.estimated[keep],
        activity=block.activity[keep],
        loudness=block.loudness[keep],
        reasons=block.reasons[keep],
        took_part=block.took_part[keep],
        modalities=block.modalities,
    )


def curve_table(info: SpanInfo, block: CurveBlock, *, sparse: bool = False) -> pa.Table:
    """A block as rows of the `curve` table; `sparse` keeps only cells with an estimate."""
    return curves_table([Stretch(info, len(block), sparse)], block.start + np.arange(len(block)), block)


def curves_table(
    stretches: Sequence[Stretch], cells: npt.NDArray[np.integer[Any]], block: CurveBlock
) -> pa.Table:
    """Cells of several curves as rows of the `curve` table.

    Args:
        stretches: whose cells they are, in their order.
        cells: [n] their numbers.
        block: what they hold; its `start` counts for nothing.
    """
    whose = np.repeat(np.arange(len(stretches)), [stretch.cells for stretch in stretches])
    if any(stretch.sparse for stretch in stretches):
        keep = block.estimated | ~np.array([stretch.sparse for stretch in stretches])[whose]
        whose, cells, block = whose[keep], cells[keep], select(block, keep)
    schema = SCHEMAS["curve"]
    index = pa.array(whose)
    constants = [stretch.columns() for stretch in stretches]
    columns: dict[str, pa.Array] = {
        name: pa.array([each[name] for each in constants], schema.field(name).type).take(index)
        for name in constants[0]
        if name != "event_time"
    }
    columns["event_time"] = _times([stretch.began_ms for stretch in stretches], whose, cells * STEP_MS)
    columns["start_ms"] = pa.array(cells * STEP_MS, pa.int64())
    columns["end_ms"] = pa.array((cells + 1) * STEP_MS, pa.int64())
    for i, dimension in enumerate(("valence", "arousal", "dominance")):
        columns[dimension] = _nullable(block.mean[:, i], block.estimated)
        columns[dimension + "_std"] = _nullable(block.std[:, i], block.estimated)
    columns["activity"] = pa.array(ACTIVITIES, pa.string()).take(pa.array(block.activity))
    columns["loudness_lufs"] = _nullable(block.loudness)
    columns["emotion_scores"] = _scores(block)
    columns["modalities"] = _took_part(block)
    columns["reason"] = pa.array(block.reasons.tolist(), pa.string())
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


def _times(
    began_ms: Sequence[int | None],
    whose: npt.NDArray[np.integer[Any]],
    start_ms: npt.NDArray[np.integer[Any]],
) -> pa.Array:
    """UTC times of rows; null where it is not known when the media began."""
    unknown = np.array([began is None for began in began_ms], bool)[whose]
    began = np.array([began or 0 for began in began_ms], np.int64)[whose]
    return pa.array((began + start_ms) * 1000, pa.int64(), mask=unknown).cast(
        SCHEMAS["curve"].field("event_time").type
    )
