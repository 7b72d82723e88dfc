"""From the rows of some media to what the cache keeps of them.

Conventions: which modality of a channel is the best is decided as in `sinks/read.py`; what stands for a whole
media in lists (means, emotion, sparkline) is that of its best channel: a customer's before others', then
the one with more estimates.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from moodstream.serving.store.blocks import Block, pack
from moodstream.serving.store.cache import Entry
from moodstream.sinks.jsonrows import to_json
from moodstream.sinks.layout import WRITE_ID
from moodstream.sinks.read import MODALITIES

POINTS = 32  # of a sparkline
_PLACES = 3
_OF_CHANNEL = (
    *("channel", "role", "modality", "valence_mean", "arousal_mean"),
    *("emotion", "quadrant", "profile", "estimated_share"),
)
Row = dict[str, Any]


def entries(tables: Mapping[str, pa.Table]) -> Iterator[Entry]:
    """What is kept of each media.

    Args:
        tables: stored rows (with `write_id`) of media, summary, episode, alert and curve, redacted.
    """
    texts = {name: _by_write(name, tables[name]) for name in ("media", "summary", "episode", "alert")}
    curves: dict[tuple[str, int], list[tuple[str, str, bytes, bytes]]] = defaultdict(list)
    for (media_id, take, channel, modality), head, body in pack(tables["curve"].drop_columns([WRITE_ID])):
        curves[media_id, take].append((channel, modality, head, body))
    for write_id, [text] in texts["media"].items():
        media = orjson.loads(text)
        mine = {name: found.get(write_id, []) for name, found in texts.items()}
        yield _entry(media, write_id, mine, curves.get((media["media_id"], media["take"]), []))


def _by_write(name: str, rows: pa.Table) -> dict[int, list[bytes]]:
    """Rows as JSON by the write they belong to, in the order of their keys."""
    found: dict[int, list[bytes]] = defaultdict(list)
    order = {"episode": ("channel", "modality", "start_ms"), "alert": ("start_ms", "rule")}
    by = [(column, "ascending") for column in order.get(name, ())]
    rows = rows.sort_by(by) if by and len(rows) > 1 else rows
    texts = to_json(name, rows.drop_columns([WRITE_ID]))
    for write_id, (_, _, text) in zip(rows[WRITE_ID].to_pylist(), texts, strict=True):
        found[write_id].append(text)
    return {write_id: texts[-1:] for write_id, texts in found.items()} if name == "media" else found


def _entry(
    media: Row, write_id: int, texts: Mapping[str, list[bytes]], curves: list[tuple[str, str, bytes, bytes]]
) -> Entry:
    summaries = [orjson.loads(text) for text in texts["summary"]]
    best = _best(summaries, [(channel, modality) for channel, modality, _, _ in curves])
    chosen = sorted((row for row in summaries if best[row["channel"]] == row["modality"]), key=_foremost)
    first: Row = chosen[0] if chosen else {}
    title, artist = _tag(media, "title"), _tag(media, "artist", "album_artist", "albumartist", "composer")
    item = {
        **{name: media[name] for name in ("media_id", "take", "kind")},
        "title": title,
        "artist": artist,
        **{name: media[name] for name in ("duration_ms", "analyzed_at", "tags", "modalities", "models")},
        "channels": [{name: row[name] for name in _OF_CHANNEL} for row in chosen],
        "alerts": len(texts["alert"]),
    }
    tracks = [(c, m, best[c] == m, head, body) for c, m, head, body in curves]
    line: Row = {"valence": [None] * POINTS, "arousal": [None] * POINTS}
    for channel, modality, is_best, head, body in tracks:
        if is_best and channel == first.get("channel", channel) and modality:
            line = sparkline(Block(head, body), media["duration_ms"])
            break
    columns = {
        **{name: media[name] for name in ("media_id", "take", "kind", "duration_ms", "analyzed_at")},
        "write_id": write_id,
        **{name: first.get(name) for name in ("emotion", "quadrant", "valence_mean", "arousal_mean")},
        "words": "\n".join(filter(None, (media["media_id"], title, artist))).casefold(),
    }
    docs = {name: b"[" + b",".join(texts[name]) + b"]" for name in texts}
    alerts = [(row["event_time"] or media["analyzed_at"], text) for row, text in _loaded(texts["alert"])]
    return Entry(columns, orjson.dumps(item), orjson.dumps(line), docs, tracks, alerts)


def _loaded(texts: list[bytes]) -> Iterator[tuple[Row, bytes]]:
    return ((orjson.loads(text), text) for text in texts)


def _best(summaries: Sequence[Row], curves: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The best modality of each channel; of channels without a summary, by its rank alone."""
    known = {(row["channel"], row["modality"]): row["estimated_share"] for row in summaries}
    channels = {channel for channel, _ in known} | {channel for channel, _ in curves}
    found = {}
    for channel in channels:
        there = {modality for name, modality in known if name == channel}
        there = there or {modality for name, modality in curves if name == channel}

        def rank(modality: str, channel: str = channel) -> tuple[bool, int]:
            empty = modality != "fused" and known.get((channel, modality), 1) == 0
            place = MODALITIES.index(modality) if modality in MODALITIES else len(MODALITIES)
            return empty, place

        found[channel] = min(sorted(there), key=rank)
    return found


def _foremost(summary: Row) -> tuple[Any, ...]:
    return (
        summary["estimated_share"] == 0,
        summary["role"] != "customer",
        -summary["estimated_share"],
        summary["channel"],
    )


def _tag(media: Row, *names: str) -> str | None:
    """What a tag of the file says, however it is written."""
    tags = {name.casefold(): value for name, value in media["tags"].items()}
    return next((tags[name] for name in names if tags.get(name)), None)


def sparkline(block: Block, duration_ms: int) -> dict[str, list[float | None]]:
    """The means of valence and arousal over `POINTS` equal parts of a media, None where nothing is known."""
    place = np.minimum(block.numbers("start_ms") * POINTS // max(1, duration_ms), POINTS - 1)
    found: dict[str, list[float | None]] = {}
    for name in ("valence", "arousal"):
        values = block.floats(name)
        if values is None:
            found[name] = [None] * POINTS
            continue
        known = np.isfinite(values)
        counts = np.bincount(place[known], minlength=POINTS)
        sums = np.bincount(place[known], values[known], POINTS)
        found[name] = [
            round(float(total / count), _PLACES) if count else None
            for total, count in zip(sums, counts, strict=True)
        ]
    return found
