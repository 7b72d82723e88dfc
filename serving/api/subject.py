"""What the shapes of other services are made from: one media, and small things that they share."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from moodstream.serving.store.store import Track
from moodstream.transforms.errors import UsageError

Row = dict[str, Any]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Subject:
    """One media, with one modality a channel: the best there is.

    Args:
        media: its row.
        summaries: one row a channel.
        episodes: by channel and time.
        alerts: by time.
        tracks: its curves.
    """

    media: Row
    summaries: list[Row]
    episodes: list[Row] = field(default_factory=list)
    alerts: list[Row] = field(default_factory=list)
    tracks: list[Track] = field(default_factory=list)

    @property
    def duration_ms(self) -> int:
        return int(self.media["duration_ms"])

    def main(self) -> Row:
        """The summary that stands for the whole: of the channel with most estimates."""
        if not self.summaries:
            raise UsageError(f"{self.media['media_id']!r} has no summary, so it has no such shape")
        return max(self.summaries, key=lambda row: (row["estimated_share"], row["channel"]))


def mean(values: Any) -> float | None:
    """The mean of what is known, None where nothing is."""
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else None


def rounded(value: float | None, places: int = 4) -> float | None:
    return None if value is None else round(value, places)


def unit(value: float | None) -> float | None:
    """From -1..1 to 0..1."""
    return None if value is None else round((value + 1) / 2, 4)


def runs(flags: npt.NDArray[np.bool_], bridge: int = 0) -> Iterator[tuple[int, int]]:
    """The stretches `[first, end)` that are true, joined over gaps of at most `bridge`.

    Example:
        >>> list(runs(np.array([1, 1, 0, 1, 0, 0, 1], bool), bridge=1))
        [(0, 4), (6, 7)]
    """
    begin = end = -1
    for place in np.flatnonzero(flags).tolist():
        if end >= 0 and place - end > bridge:
            yield begin, end
            begin = place
        begin = place if begin < 0 else begin
        end = place + 1
    if end >= 0:
        yield begin, end


def notes(null: list[str], meaning: list[str]) -> Row:
    """What the shape says about itself."""
    return {"null": null, "meaning": meaning, "see": "docs/serving.md"}
