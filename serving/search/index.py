"""The index as it is asked: from Python, the command line and the service.

    index = ArcIndex.open("lake")
    answer = index.search(Question(Like("song.mp3")))

What a question looks at: roughly all tracks, closer some thousands, exactly some hundreds (`ranks.py`).
"""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import TypedDict

from moodstream.serving.search import shard
from moodstream.serving.search.arc_rank import ArcRank
from moodstream.serving.search.arcs import UNIT
from moodstream.serving.search.entries import BINS, Entries
from moodstream.serving.search.folder import FOLDER, INDEX, Manifest, load
from moodstream.serving.search.questions import Question
from moodstream.serving.search.rank import Rank
from moodstream.serving.search.searching import Hit, Search
from moodstream.transforms.errors import StoreError, UsageError

_TRIES = 5


class Line(TypedDict):
    """Valence and arousal at 32 shares of a track."""

    valence: list[float | None]
    arousal: list[float | None]


@dataclass(frozen=True)
class Found:
    """One track of an answer."""

    media_id: str
    take: int
    channel: str
    modality: str
    role: str | None
    score: float  # the more, the better; what it is hangs on the question, see docs/search.md
    distance: float | None  # of arcs only
    why: str
    kind: str | None
    title: str | None
    artist: str | None
    duration_ms: int
    emotion: str | None
    quadrant: str | None
    sparkline: Line


@dataclass(frozen=True)
class Answer:
    """What was found, the best first."""

    items: list[Found]
    took_ms: float
    tracks: int  # in the index
    version: str  # of the index


@dataclass(frozen=True, eq=False)
class _Opened:
    """One state of the index, all of it mapped."""

    manifest: Manifest
    stamp: tuple[int, int]
    shards: tuple[Entries, ...]


class ArcIndex:
    """The index of a lake. Any thread may ask; a new build is seen at the next question.

    Args:
        folder: of the index.

    Raises:
        UsageError: there is none.
        StoreError: it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._opened = self._open()

    @classmethod
    def open(cls, lake: str | Path, folder: Path | None = None) -> "ArcIndex":
        """The index of a lake, beside its tables if no folder is given.

        Raises:
            UsageError: there is none.
            StoreError: it is damaged.
        """
        return cls(folder or Path(lake) / FOLDER)

    @property
    def manifest(self) -> Manifest:
        return self._current().manifest

    def search(
        self,
        question: Question,
        *,
        emotions_for: str = "customer",
        exact: bool = False,
        between: Callable[[], object] = lambda: None,
    ) -> Answer:
        """Answer a question.

        Args:
            emotions_for: `all`: channels of agents, too, if they are in the index.
            exact: look at every track that could be among the results, however long that takes.
            between: called between two stretches of work; what it raises ends the search.

        Raises:
            NotIndexedError: the track that others shall be like is not in it, or its curve is too empty.
        """
        began = time.perf_counter()
        opened = self._current()
        search = Search(opened.shards, question, emotions_for == "all", between)
        hits = search.exactly() if exact else search.quickly()
        hits = hits[question.offset : question.offset + question.limit]
        items = [_found(opened.shards[hit.shard], hit, search.rank) for hit in hits]
        took_ms = 1000 * (time.perf_counter() - began)
        return Answer(items, took_ms, opened.manifest.tracks, opened.manifest.version)

    def _current(self) -> _Opened:
        if self._stamp() != self._opened.stamp:
            with self._lock:
                if self._stamp() != self._opened.stamp:
                    self._opened = self._open()
        return self._opened

    def _stamp(self) -> tuple[int, int]:
        try:
            found = (self.folder / INDEX).stat()
        except OSError as error:
            raise UsageError(
                f"there is no index at {self.folder}: `moodstream index LAKE` makes it"
            ) from error
        return found.st_mtime_ns, found.st_ino

    def _open(self) -> _Opened:
        for _ in range(_TRIES):
            stamp = self._stamp()
            manifest = load(self.folder)
            if manifest is None:
                raise UsageError(f"the index at {self.folder} is of another version: `moodstream index LAKE`")
            try:
                shards = tuple(shard.read(self.folder / name) for name in sorted(manifest.shards))
            except FileNotFoundError:
                continue  # a build was faster
            return _Opened(manifest, stamp, shards)
        raise StoreError(f"shards of {self.folder} are missing: make the index again with --rebuild")


def _found(entries: Entries, hit: Hit, rank: Rank) -> Found:
    """What an answer says of a track."""
    row = hit.row

    def word(name: str) -> str | None:
        codes, names = entries.words[name]
        return names[codes[row]]

    tags = {name.lower(): value for name, value in json.loads(entries.texts["tags"][row].as_py()).items()}
    known = int(entries.arrays["known"][row])
    line = [
        [round(value / UNIT, 3) if known >> place & 1 else None for place, value in enumerate(values)]
        for values in entries.arrays["bins"][:, row].reshape(2, BINS).tolist()
    ]
    is_arc = isinstance(rank, ArcRank)
    return Found(
        media_id=entries.texts["media_id"][row].as_py(),
        take=int(entries.arrays["take"][row]),
        channel=word("channel") or "",
        modality=word("modality") or "",
        role=word("role"),
        score=round(1 / (1 + hit.value) if is_arc else -hit.value, 4),
        distance=round(hit.value, 4) if is_arc else None,
        why=rank.why(hit.value),
        kind=word("kind"),
        title=tags.get("title"),
        artist=tags.get("artist"),
        duration_ms=int(entries.arrays["duration_ms"][row]),
        emotion=word("emotion"),
        quadrant=word("quadrant"),
        sparkline={"valence": line[0], "arousal": line[1]},
    )
