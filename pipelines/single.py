"""One media in a line of Python: the same steps as the catalogue run, without a store."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import polars as pl
import pyarrow as pa

from moodstream.transforms.analyze import analyze_media
from moodstream.transforms.engine import Engine
from moodstream.transforms.errors import UsageError
from moodstream.transforms.read import find_media
from moodstream.transforms.session import Settings
from moodstream.transforms.tables import SCHEMAS

engine = cache(Engine)  # its networks are loaded once a process


class Analysis:
    """What is known about one media, as Polars frames with the columns of the lake's tables."""

    def __init__(self, tables: Mapping[str, pa.Table]) -> None:
        self.tables = tables

    def _frame(self, table: str) -> pl.DataFrame:
        frame = pl.from_arrow(self.tables.get(table, SCHEMAS[table].empty_table()))
        if not isinstance(frame, pl.DataFrame):
            raise TypeError(f"{table} is not a table")
        return frame

    @property
    def curve(self) -> pl.DataFrame:
        """One row per half second, channel and modality; `fused` is the one to look at where it exists."""
        return self._frame("curve")

    @property
    def episodes(self) -> pl.DataFrame:
        """Stretches of one emotion."""
        return self._frame("episode")

    @property
    def summary(self) -> pl.DataFrame:
        """One row per channel and modality."""
        return self._frame("summary")

    @property
    def alerts(self) -> pl.DataFrame:
        """What the rules of the settings rang for."""
        return self._frame("alert")

    @property
    def media(self) -> pl.DataFrame:
        """One row about the media itself; none when nothing of it could be analysed."""
        return self._frame("media")

    @property
    def dead_letters(self) -> pl.DataFrame:
        """What could not be done, and why."""
        return self._frame("dead_letter")


def analyze(
    path: str | Path,
    *more: str | Path,
    channels: Literal["mix", "split"] = "mix",
    roles: Sequence[str] = (),
    settings: Settings | None = None,
) -> Analysis:
    """Analyse one media: a file, or a recording and its MIDI with the same stem.

    Args:
        path: an audio, video or MIDI file, or an fsspec URL.
        more: further parts of the same media.
        channels: mix or split.
        roles: of the channels when they are the sides of a call.
        settings: what else decides the rows.

    Raises:
        UsageError: the path does not exist, or the paths are more than one media.

    Example:
        >>> from moodstream.pipelines import analyze
        >>> analyze("song.mp3").curve.select("start_ms", "valence", "arousal")  # doctest: +SKIP
    """
    settings = settings or Settings()
    media = find_media([str(path), *map(str, more)], id="stem", channels=channels, roles=tuple(roles))
    if len(media) != 1:
        raise UsageError(f"expected one media, found {len(media)}: use `moodstream analyze` for many")
    tables: dict[str, list[pa.Table]] = {}
    for commit in analyze_media(media[0], engine(speech=settings.speech_model), settings):
        for name, rows in commit.rows.items():
            tables.setdefault(name, []).append(rows)
    return Analysis({name: pa.concat_tables(parts) for name, parts in tables.items()})
