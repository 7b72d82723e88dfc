"""Lists of media: filtered, sorted, and paged so that a page stays where it is while the lake grows.

A cursor says where the last page ended: its sort value and key, not its number. So media that come in between
are neither skipped nor shown twice, unless they belong before what was already read.

Conventions: every value reaches SQL as a parameter; names of columns come from the lists here alone. What has
no value to sort by comes last, in either direction.
"""

import base64
import binascii
import sqlite3
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from moodstream.serving.store.cache import fetched
from moodstream.transforms.errors import UsageError

SORTS = ("media_id", "duration_ms", "analyzed_at", "valence_mean", "arousal_mean", "emotion", "kind")
MOST = 1_000
_EQUAL = {"kind": "kind", "emotion": "emotion", "quadrant": "quadrant", "media": "media_id", "take": "take"}
_BOUNDS = {
    "duration_ms": "duration_ms",
    "valence": "valence_mean",
    "arousal": "arousal_mean",
}
_REMEMBERED = 256  # totals


@dataclass(frozen=True)
class Listing:
    """What is asked for.

    Args:
        equal: column to value, of `kind`, `emotion`, `quadrant`, `media` and `take`.
        bounds: `duration_ms`, `valence` or `arousal` to least and most, None where there is none.
        words: all of them occur in the id, title or artist.
        sort: one of `SORTS`, `-` before it for falling.
        cursor: as the page before gave it.
        limit: how many at most.
        sparkline: whether with theirs.
    """

    equal: Mapping[str, str | int] = field(default_factory=dict)
    bounds: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    words: str = ""
    sort: str = "media_id"
    cursor: str | None = None
    limit: int = 100
    sparkline: bool = False


@dataclass(frozen=True)
class ListPage:
    """Items as JSON, where the next page begins, and how many there are in all."""

    items: list[bytes]
    next: str | None
    total: int
    version: str


class Totals:
    """How many media a filter leaves, remembered for one version of the cache."""

    def __init__(self) -> None:
        self._found: OrderedDict[tuple[Any, ...], int] = OrderedDict()

    def of(self, connection: sqlite3.Connection, version: str, where: str, values: list[Any]) -> int:
        key = (version, where, *values)
        if key not in self._found:
            (count,) = connection.execute(f"SELECT count(*) FROM media WHERE {where}", values).fetchone()
            self._found[key] = count
            while len(self._found) > _REMEMBERED:
                self._found.popitem(last=False)
        return self._found[key]


def listing(connection: sqlite3.Connection, version: str, asked: Listing, totals: Totals) -> ListPage:
    """One page.

    Raises:
        UsageError: a sort that does not exist, or a cursor that is none or of another sort.
    """
    where, values = _filter(asked)
    name = asked.sort.removeprefix("-")
    if name not in SORTS:
        raise UsageError(f"cannot sort by {name!r}; there are {', '.join(SORTS)}, with - before them to turn")
    falling = asked.sort.startswith("-")
    total = totals.of(connection, version, where, values)
    more, after = _after(asked.cursor, asked.sort, name, falling)
    turn = "DESC" if falling else "ASC"
    order = f"media_id {turn}, take {turn}"  # the index of the key serves where nothing stands before it
    inner = order if name == "media_id" else f"{name} IS NULL, {name} {turn}, {order}"
    columns = "item, sparkline" if asked.sparkline else "item, NULL"
    found = connection.execute(
        # the narrow rows are sorted first, the wide ones of this page alone are looked up then
        f"""SELECT value, media_id, take, {columns} FROM (
            SELECT id, {name} AS value, media_id, take FROM media WHERE {where} AND {more}
            ORDER BY {inner} LIMIT ?) JOIN item USING (id)
            ORDER BY value IS NULL, value {turn}, {order}""",
        [*values, *after, asked.limit + 1],
    )
    rows = list(fetched(found))
    items = [with_sparkline(item, line) for _, _, _, item, line in rows[: asked.limit]]
    last = rows[asked.limit - 1][:3] if len(rows) > asked.limit else None
    return ListPage(items, None if last is None else _cursor(asked.sort, last), total, version)


def with_sparkline(item: bytes, line: bytes | None) -> bytes:
    """An item, with its sparkline if there is one."""
    return item if line is None else item[:-1] + b',"sparkline":' + line + b"}"


def _filter(asked: Listing) -> tuple[str, list[Any]]:
    conditions: list[str] = ["TRUE"]
    values: list[Any] = []
    for name, wanted in asked.equal.items():
        conditions.append(f"{_EQUAL[name]} = ?")
        values.append(wanted)
    for name, (least, most) in asked.bounds.items():
        for sign, bound in ((">=", least), ("<=", most)):
            if bound is not None:
                conditions.append(f"{_BOUNDS[name]} {sign} ?")
                values.append(bound)
    for word in asked.words.casefold().split():
        conditions.append("instr(words, ?) > 0")
        values.append(word)
    return " AND ".join(conditions), values


def _after(cursor: str | None, sort: str, name: str, falling: bool) -> tuple[str, list[Any]]:
    """The condition that leaves what comes after a cursor."""
    if cursor is None:
        return "TRUE", []
    value, media_id, take = _read(cursor, sort)
    sign = "<" if falling else ">"
    if value is None:
        return f"({name} IS NULL AND (media_id, take) {sign} (?, ?))", [media_id, take]
    if name == "media_id":
        return f"(media_id, take) {sign} (?, ?)", [media_id, take]
    condition = f"({name} IS NULL OR ({name}, media_id, take) {sign} (?, ?, ?))"
    return condition, [value, media_id, take]


def _cursor(sort: str, last: Sequence[Any]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([sort, *last])).decode().rstrip("=")


def _read(cursor: str, sort: str) -> tuple[Any, str, int]:
    try:
        content = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        of, value, media_id, take = orjson.loads(content)
    except (UnicodeEncodeError, binascii.Error, orjson.JSONDecodeError, ValueError, TypeError) as error:
        raise UsageError("this is no cursor: leave it away to begin with the first page") from error
    fits = isinstance(media_id, str) and isinstance(take, int) and isinstance(value, str | int | float | None)
    if of != sort or not fits or not -(1 << 62) < take < 1 << 62:
        raise UsageError(f"this cursor belongs to sort={of!r}: ask with the sort that it came from")
    return value, media_id, take
