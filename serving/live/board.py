"""Board: the calls that run now, each with its last minute, open alerts and episodes.

Rows go in as the result topics hold them (`put`); what changed since the last look comes out (`take`), and
the whole as it stands (`snapshot`). A row is turned into JSON once, when it comes: what browsers get is
joined from these pieces. A provisional row is replaced by the final one of its half second, two rows of one
half second between two looks are told once, and an alert or episode is known by its key, so rows that come
twice do no harm.

Bounded: `WINDOW_MS` of rows a channel, `MAX_ALERTS` and `MAX_EPISODES` a call, `max_calls` calls; a call that
is over stays for `CLOSED_S`, and one that tells nothing for `SILENT_S` is taken for over.

Conventions: times of `put` and `tidy` are seconds of one clock that only grows; of a channel with several
modalities the best one is shown, in the order of `sinks/read.py`.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from moodstream.serving.live.pieces import Changes, cell, kept
from moodstream.sinks.read import MODALITIES

TABLES = ("alert", "curve", "episode", "summary", "media")  # the order in which rows of one look are put
WINDOW_MS = 60_000
CLOSED_S = 60.0
SILENT_S = 120.0
MAX_ALERTS, MAX_EPISODES, MAX_CHANNELS = 64, 32, 64  # of a call
MAX_ROWS = 2 * WINDOW_MS // 500  # of a channel, whatever their times say
_SLACK = 16  # rows, until old ones are thrown away
_HIDDEN = frozenset({"schema_version", "analysis_id", "model", "model_version", "event_time"})

Call = tuple[str, int]  # media id and take


@dataclass(slots=True)
class _Channel:
    """One channel of a call."""

    head: bytes  # its JSON up to the rows
    rank: int  # of its modality; 0 is the best
    rows: dict[int, tuple[int, bytes]] = field(default_factory=dict)  # revision and JSON by start_ms
    fresh: set[int] = field(default_factory=set)  # what changed since the last look
    newest_ms: int = 0


@dataclass(slots=True)
class _Told:
    """An alert, episode or summary as it was told last."""

    revision: int
    end_ms: int
    is_final: bool
    data: bytes


@dataclass(slots=True)
class _Running:
    """One call."""

    name: str
    take: int
    head: bytes
    last_s: float
    position_ms: int = 0
    channels: dict[str, _Channel] = field(default_factory=dict)
    told: dict[str, dict[tuple[Any, ...], _Told]] = field(default_factory=dict)  # by table and key
    closed_s: float | None = None
    is_over: bool = False  # its media row came

    @property
    def open_alerts(self) -> int:
        return sum(not one.is_final for one in self.told.get("alert", {}).values())


_KEYS = {
    "alert": ("channel", "modality", "rule", "start_ms"),
    "episode": ("channel", "modality", "episode"),
    "summary": ("channel", "modality"),
}
_MOST = {"alert": MAX_ALERTS, "episode": MAX_EPISODES, "summary": MAX_CHANNELS}


class Board:
    """The calls that run now.

    Args:
        max_calls: beyond these the one that has been silent for longest makes room.
    """

    def __init__(self, max_calls: int = 5_000) -> None:
        self.max_calls = max_calls
        self._calls: dict[Call, _Running] = {}
        self._changed: dict[Call, None] = {}  # those with rows that nobody has seen
        self._changes = Changes()  # the rest of what nobody has seen
        self._pending: dict[tuple[str, Call, tuple[Any, ...]], bytes] = {}

    def __len__(self) -> int:
        return sum(call.closed_s is None for call in self._calls.values())

    def media_ids(self) -> list[str]:
        """Of the calls that are shown."""
        return list(dict.fromkeys(media_id for media_id, _ in self._calls))

    @property
    def is_changed(self) -> bool:
        """Whether `take` would give anything."""
        return bool(self._changed or self._pending or self._changes)

    def put(self, table: str, rows: Iterable[Mapping[str, Any]], now_s: float) -> None:
        """Rows of one table, in the order in which they were committed."""
        for row in rows:
            call = self._call(row, now_s)
            if table == "curve":
                self._put_cell(call, row)
            elif table == "media":
                call.is_over = True
                self._close(call, now_s)
            elif table in _KEYS:
                self._put_told(table, call, row)

    def take(self) -> Changes:
        """What is new since the last time."""
        found, self._changes = self._changes, Changes()
        for key in self._changed:
            call = self._calls.get(key)
            if call is not None:
                found.calls.append((call.name, _piece(call, fresh=True)))
        self._changed.clear()
        kinds = {"alert": found.alerts, "episode": found.episodes, "summary": found.summaries}
        for (table, call_key, _), data in self._pending.items():
            kinds[table].append((call_key[0], data))
        self._pending.clear()
        return found

    def snapshot(self, media_id: str | None = None) -> Changes:
        """All calls as they stand, those with open alerts first; or only the takes of one media."""
        found = Changes()
        calls = [call for call in self._calls.values() if media_id is None or call.name == media_id]
        calls.sort(key=lambda call: (-call.open_alerts, call.closed_s is not None))
        for call in calls:
            found.calls.append((call.name, _piece(call, fresh=False)))
            for table, pieces in (
                ("alert", found.alerts),
                ("episode", found.episodes),
                ("summary", found.summaries),
            ):
                pieces += [(call.name, one.data) for one in call.told.get(table, {}).values()]
            if call.closed_s is not None:
                found.closed.append((call.name, _closed(call)))
        return found

    def forget(self, media_id: str, now_s: float) -> None:
        """Drop all that is known of a media, told or not; its calls are over for those who see them."""
        for key in [key for key in self._calls if key[0] == media_id]:
            self._pending = {name: piece for name, piece in self._pending.items() if name[1] != key}
            for pieces in vars(self._changes).values():
                pieces[:] = [piece for piece in pieces if piece[0] != media_id]
            self._close(self._calls[key], now_s)
            self._forget(key)

    def tidy(self, now_s: float) -> None:
        """Forget calls whose time is over."""
        for key, call in list(self._calls.items()):
            if now_s - call.last_s > SILENT_S:
                self._close(call, call.last_s + SILENT_S)
            if call.closed_s is not None and now_s - call.closed_s > CLOSED_S:
                self._forget(key)

    # ------------------------------------------------------------ rows

    def _call(self, row: Mapping[str, Any], now_s: float) -> _Running:
        key = row["media_id"], row["take"]
        call = self._calls.get(key)
        if call is None:
            for other in [one for one in self._calls if one[0] == key[0]]:
                self._close(self._calls[other], now_s)  # it came back: what was before is over
            while len(self._calls) >= self.max_calls:
                self._forget(min(self._calls, key=lambda one: self._calls[one].last_s))
            head = b'{"media_id":%s,"take":%d,"position_ms":' % (kept(key[0]), key[1])
            call = self._calls[key] = _Running(*key, head, now_s)
        call.last_s = max(call.last_s, now_s)
        return call

    def _put_cell(self, call: _Running, row: Mapping[str, Any]) -> None:
        channel = self._channel(call, row)
        if channel is None:
            return
        start_ms, revision = row["start_ms"], row["revision"]
        known = channel.rows.get(start_ms)
        if (known is not None and known[0] > revision) or start_ms <= channel.newest_ms - WINDOW_MS:
            return
        channel.rows[start_ms] = revision, cell(row)
        channel.fresh.add(start_ms)
        channel.newest_ms = max(channel.newest_ms, start_ms)
        call.position_ms = max(call.position_ms, row["end_ms"])
        if len(channel.rows) > MAX_ROWS + _SLACK:
            for old in sorted(channel.rows)[:-MAX_ROWS]:
                del channel.rows[old]
        if not call.is_over:
            call.closed_s = None  # it was only silent
        self._changed[call.name, call.take] = None

    def _channel(self, call: _Running, row: Mapping[str, Any]) -> _Channel | None:
        """Where a row belongs; None where a better modality is shown."""
        name, rank = row["channel"], _RANKS.get(row["modality"], len(_RANKS))
        channel = call.channels.get(name)
        if channel is not None and channel.rank <= rank:
            return channel if channel.rank == rank else None
        if channel is None and len(call.channels) >= MAX_CHANNELS:
            return None
        head = kept({"channel": name, "role": row["role"], "modality": row["modality"]})
        channel = call.channels[name] = _Channel(head[:-1] + b',"rows":[', rank)
        return channel

    def _put_told(self, table: str, call: _Running, row: Mapping[str, Any]) -> None:
        key = tuple(row[name] for name in _KEYS[table])
        told = call.told.setdefault(table, {})
        known = told.get(key)
        if known is not None and known.revision > row["revision"]:
            return
        data = kept({name: value for name, value in row.items() if name not in _HIDDEN})
        if known is not None and known.data == data:
            return
        told[key] = _Told(row["revision"], row["end_ms"], row["is_final"], data)
        if table == "episode":
            horizon_ms = call.position_ms - WINDOW_MS
            for old in [at for at, one in told.items() if one.end_ms < horizon_ms]:
                del told[old]
        while len(told) > _MOST[table]:
            del told[min(told, key=lambda at: (not told[at].is_final, told[at].end_ms))]
        self._pending[table, (call.name, call.take), key] = data

    def _close(self, call: _Running, now_s: float) -> None:
        if call.closed_s is None:
            call.closed_s = now_s
            self._changes.closed.append((call.name, _closed(call)))

    def _forget(self, key: Call) -> None:
        call = self._calls.pop(key)
        self._changed.pop(key, None)
        if call.closed_s is None:
            self._changes.closed.append((call.name, _closed(call)))


_RANKS = {modality: rank for rank, modality in enumerate(MODALITIES)}


def _piece(call: _Running, *, fresh: bool) -> bytes:
    """A call as JSON, with the rows that changed or with all."""
    channels = []
    for channel in call.channels.values():
        if fresh and not channel.fresh:
            continue
        wanted = sorted(channel.fresh if fresh else channel.rows)
        wanted = wanted[bisect_right(wanted, channel.newest_ms - WINDOW_MS) :]
        rows = b",".join(channel.rows[at][1] for at in wanted if at in channel.rows)
        channels.append(channel.head + rows + b"]}")
        if fresh:
            channel.fresh.clear()
    return b'%s%d,"channels":[%s]}' % (call.head, call.position_ms, b",".join(channels))


def _closed(call: _Running) -> bytes:
    return kept((call.name, call.take))
