"""What can be asked of a catalogue of curves.

    Question(what, filters, limit, offset), where `what` is one of
    Like       tracks whose arc is like that of a track
    Arc        tracks whose arc is like 2 to 20 drawn points
    Rises      tracks in which a dimension rises (or falls) over a part of the track
    Near       tracks that are near a point of the plane for some time
    MovedBy    tracks that are moved most by some second
    InQuadrant tracks that are in a quadrant for a share of the time

Conventions: valence and arousal in [-1, 1]; shares of the track in [0, 1]; seconds from its start.
What each of them means, to the formula, is in docs/search.md.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from moodstream.models.base import QUADRANTS
from moodstream.transforms.errors import UsageError

Level = Literal["kept", "removed"]
MOST = 200  # results at once
DEEPEST = 1000  # results that can be paged to
LEAST_SPAN = 0.1  # of the track: less cannot be said to rise
FEWEST_POINTS, MOST_POINTS = 2, 20

NUMBERS = (
    "duration_s",
    "valence_mean",
    "arousal_mean",
    "dominance_mean",
    "valence_std",
    "arousal_std",
    "valence_slope",
    "arousal_slope",
    "estimated_share",
    "loudness_lufs_mean",
)
WORDS = (
    "kind",
    "channel",
    "role",
    "modality",
    "model",
    "model_version",
    "emotion",
    "quadrant",
    "profile",
    "dynamics",
)


class NotIndexedError(UsageError):
    """What is asked about is not in the index."""


def _within(name: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise UsageError(f"{name} lies in {low:g}..{high:g}, not at {value}")


@dataclass(frozen=True)
class Like:
    """Tracks whose arc is like that of a track.

    Args:
        media: its id.
        take: the last one if None.
        channel: the customer's or the mix if None, else the first there is.
        level: `kept`: where in the plane an arc lies counts; `removed`: only how it moves.
    """

    media: str
    take: int | None = None
    channel: str | None = None
    level: Level = "kept"

    def __post_init__(self) -> None:
        _level(self.level)


@dataclass(frozen=True)
class Arc:
    """Tracks whose arc is like points joined by straight lines, level before the first and after the last.

    Args:
        points: (share of the track, valence, arousal), 2 to 20, shares growing.
        level: as for `Like`.
    """

    points: tuple[tuple[float, float, float], ...]
    level: Level = "kept"

    def __post_init__(self) -> None:
        _level(self.level)
        if not FEWEST_POINTS <= len(self.points) <= MOST_POINTS:
            raise UsageError(f"an arc has {FEWEST_POINTS} to {MOST_POINTS} points, not {len(self.points)}")
        for share, valence, arousal in self.points:
            _within("the share of the track", share, 0, 1)
            _within("valence", valence, -1, 1)
            _within("arousal", arousal, -1, 1)
        shares = [point[0] for point in self.points]
        if any(later <= share for share, later in itertools.pairwise(shares)):
            raise UsageError(f"the shares of the points of an arc grow, unlike {shares}")


@dataclass(frozen=True)
class Rises:
    """Tracks in which a dimension rises over a part of the track, those that rise most first.

    Args:
        dimension: valence or arousal.
        start: share of the track where the part begins.
        end: where it ends; at least a tenth of the track later.
        falls: those in which it falls instead.
    """

    dimension: str = "arousal"
    start: float = 2 / 3
    end: float = 1.0
    falls: bool = False

    def __post_init__(self) -> None:
        if self.dimension not in ("valence", "arousal"):
            raise UsageError(f"valence or arousal can rise, not {self.dimension!r}")
        _within("the start of the part", self.start, 0, 1)
        _within("the end of the part", self.end, 0, 1)
        if self.end - self.start < LEAST_SPAN - 1e-9:
            raise UsageError(
                f"the part from {self.start:g} to {self.end:g} is shorter than {LEAST_SPAN:g} of the track"
            )


@dataclass(frozen=True)
class Near:
    """Tracks that are near a point of the plane for some time, the longest first."""

    valence: float
    arousal: float
    seconds: float = 30.0
    radius: float = 0.25

    def __post_init__(self) -> None:
        _within("valence", self.valence, -1, 1)
        _within("arousal", self.arousal, -1, 1)
        _within("the time in seconds", self.seconds, 0.5, 86_400)
        _within("the radius", self.radius, 0.01, 3)


@dataclass(frozen=True)
class MovedBy:
    """Tracks that have gone farthest from where they began by some second."""

    second: float

    def __post_init__(self) -> None:
        _within("the second", self.second, 10, 86_400)


@dataclass(frozen=True)
class InQuadrant:
    """Tracks that are in a quadrant (Q1 +v +a, Q2 -v +a, Q3 -v -a, Q4 +v -a) for a share of the time."""

    name: str
    share: float = 0.5

    def __post_init__(self) -> None:
        if self.name not in QUADRANTS:
            raise UsageError(f"a quadrant is one of {', '.join(QUADRANTS)}, not {self.name!r}")
        _within("the share of the time", self.share, 0, 1)


What = Like | Arc | Rises | Near | MovedBy | InQuadrant


@dataclass(frozen=True)
class Filters:
    """What must hold besides; all of it.

    Args:
        words: columns of `WORDS` and what they are, e.g. `{"kind": "audio", "quadrant": "Q4"}`.
        least: columns of `NUMBERS` and what they are at least; a track without the number does not pass.
        most: likewise, at most.
        tags: tags of the file and what they are.
        q: words, each of which is in the media id or in a tag, upper or lower case.
    """

    words: Mapping[str, str] = field(default_factory=dict)
    least: Mapping[str, float] = field(default_factory=dict)
    most: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    q: str = ""

    def __post_init__(self) -> None:
        for given, known in ((self.words, WORDS), (self.least, NUMBERS), (self.most, NUMBERS)):
            for name in given:
                if name not in known:
                    raise UsageError(f"{name!r} is no filter; there are {', '.join(known)}")
        for name, value in (*self.least.items(), *self.most.items()):
            if not math.isfinite(value):
                raise UsageError(f"the limit of {name} is {value}")

    def __bool__(self) -> bool:
        return bool(self.words or self.least or self.most or self.tags or self.q)


@dataclass(frozen=True)
class Question:
    """What to look for, among which tracks, and which of the results to give."""

    what: What
    filters: Filters = field(default_factory=Filters)
    limit: int = 20
    offset: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MOST:
            raise UsageError(f"1 to {MOST} results at once, not {self.limit}")
        if not 0 <= self.offset <= DEEPEST - self.limit:
            raise UsageError(
                f"the first {DEEPEST} results can be asked for, not {self.limit} from {self.offset}"
            )


def _level(level: str) -> None:
    if level not in ("kept", "removed"):
        raise UsageError(f"the level is kept or removed, not {level!r}")
