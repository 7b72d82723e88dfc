"""Pieces: JSON that is made once, when a row comes, and joined to what browsers get."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

Pieces = list[tuple[str, bytes]]  # JSON with the media that it is about
_PLACES, _LOUD_PLACES = 4, 1


@dataclass
class Changes:
    """What is new on a board, as JSON by media."""

    alerts: Pieces = field(default_factory=list)
    calls: Pieces = field(default_factory=list)
    episodes: Pieces = field(default_factory=list)
    closed: Pieces = field(default_factory=list)
    summaries: Pieces = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.alerts or self.calls or self.episodes or self.closed or self.summaries)

    def of(self, media_id: str) -> "Changes":
        """Those of one media."""
        lists = ([piece for piece in pieces if piece[0] == media_id] for pieces in vars(self).values())
        return Changes(*lists)

    def media_ids(self) -> frozenset[str]:
        """Which media they are about."""
        return frozenset(media_id for pieces in vars(self).values() for media_id, _ in pieces)

    def to_json(self, at: str) -> bytes:
        """All of it as one object, alerts first."""
        body = b",".join(
            b'"%s":[%s]' % (name.encode(), b",".join(piece for _, piece in pieces))
            for name, pieces in vars(self).items()
        )
        return b'{"at":"%s",%s}' % (at.encode(), body)


def cell(row: Mapping[str, Any]) -> bytes:
    """One half second as JSON: start, valence, arousal, their deviations, activity, loudness, reason, final.

    Example:
        >>> nothing = dict.fromkeys(("valence", "arousal", "valence_std", "arousal_std", "loudness_lufs"))
        >>> cell(nothing | {"start_ms": 500, "activity": "silence", "reason": "silence", "is_final": True})
        b'[500,null,null,null,null,"silence",null,"silence",true]'
    """
    return kept(
        (
            row["start_ms"],
            _short(row["valence"], _PLACES),
            _short(row["arousal"], _PLACES),
            _short(row["valence_std"], _PLACES),
            _short(row["arousal_std"], _PLACES),
            row["activity"],
            _short(row["loudness_lufs"], _LOUD_PLACES),
            row["reason"],
            row["is_final"],
        )
    )


def kept(value: Any) -> bytes:
    """JSON that is to stay: what orjson gives has room for 4 KiB, however short it is."""
    return bytes(memoryview(orjson.dumps(value)))


def _short(value: float | None, places: int) -> float | None:
    return None if value is None else round(value, places)
