"""What the export formats share: one media ready to be written, and its name in a folder."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

_PLAIN = re.compile(r"[a-z0-9]([a-z0-9._-]{0,78}[a-z0-9])?")
_HASHED = re.compile(r".*-[0-9a-f]{16}")


@dataclass(frozen=True, eq=False)
class Item:
    """One media, last take, one modality a channel."""

    media: dict[str, Any]  # its media row
    episodes: pl.DataFrame
    curve: pl.DataFrame

    @property
    def media_id(self) -> str:
        return str(self.media["media_id"])

    @property
    def stem(self) -> str:
        return safe_name(self.media_id)

    @property
    def duration_s(self) -> float:
        return float(self.media["duration_ms"]) / 1000

    def channels(self) -> Iterator[tuple[str, pl.DataFrame, pl.DataFrame]]:
        """Each channel's name, episodes and curve, in order of name."""
        for channel in self.curve["channel"].unique().sort():
            mine = pl.col("channel") == channel
            yield channel, self.episodes.filter(mine), self.curve.filter(mine)


def safe_name(media_id: str) -> str:
    """A file name for a media: its own where that is plain, else cleaned, and told apart by a hash.

    Names differ where ids differ, also on file systems that do not know upper from lower case.

    Example:
        >>> safe_name("song.mp3")
        'song.mp3'
        >>> safe_name("../Über uns/live.mp3")
        'Über_uns_live.mp3-8a95d9900d08f6e8'
    """
    if _PLAIN.fullmatch(media_id) and not _HASHED.fullmatch(media_id):
        return media_id
    words = re.sub(r"[^\w.-]+", "_", media_id).strip("._-")[:40]
    return f"{words}-{hashlib.sha256(media_id.encode()).hexdigest()[:16]}".lstrip("-")


def seconds(ms: int) -> str:
    return f"{ms / 1000:.3f}"


def one_line(text: str) -> str:
    return " ".join(text.split())
