"""A media in the terminal: curve, activity and episodes over one time axis, and what sums it up.

Conventions: a column of characters is a stretch of time, each character four by two Braille dots;
a line is the mean of the estimates in its stretch, the shade behind it one standard deviation. Colour helps
and is never needed: the same text comes out of a pipe.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from moodstream.models.base import STEP_MS, Float
from moodstream.pipelines.view import Track, View, clock, pairs, word
from moodstream.transforms.errors import UsageError
from moodstream.transforms.watch import evidence_words

EPISODES_SHOWN = ALERTS_SHOWN = 20
SEVERITIES = {"info": "cyan", "warning": "yellow", "critical": "red"}
COLOURS = {
    "neutral": "bright_black", "calm": "cyan", "happiness": "yellow", "sadness": "blue", "anger": "red",
    "fear": "magenta", "disgust": "green", "surprise": "bright_magenta", "boredom": "white",
    "Q1": "yellow", "Q2": "red", "Q3": "blue", "Q4": "cyan",
}  # fmt: skip
ACTIVITY = {  # sign and colour of each kind of sound; signs differ, so that colour is not needed
    "speech": ("▂", "blue"),
    "music": ("▆", "magenta"),
    "speech+music": ("█", "bright_blue"),
    "other": ("·", "bright_black"),
}
REASONS = {
    "silence": "silence",
    "other": "neither speech nor music",
    "role": "not estimated for this role",
    "speech": "speech, no music",
    "music": "music, no speech",
    "gap": "nothing was received",
}
_LEFT = 9  # columns of the axis' labels
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])  # Braille: 4 rows of 2 dots


class Chart:
    """The lanes of one track, as wide as the terminal is."""

    def __init__(self, track: Track, duration_s: float, rows: int = 5) -> None:
        self.track, self.duration_s, self.rows = track, duration_s, rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(20, min(options.max_width, 160) - _LEFT - 1)
        if self.track.estimated:
            for place, (name, colour) in enumerate((("valence", "cyan"), ("arousal", "bright_red"))):
                yield from self._curve(name, place, colour, width)
            yield self._strip("emotion", self._episodes(width))
        yield self._strip("sound", self._activity(width))
        yield self._axis(width)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(40, options.max_width)

    def _strip(self, label: str, text: Text) -> Text:
        return Text(f"{label:>{_LEFT - 1}} ", style="dim").append_text(text)

    def _curve(self, name: str, dimension: int, colour: str, width: int) -> Iterator[Text]:
        mean = pool(self.track.mean[:, dimension], 2 * width)
        std = pool(self.track.std[:, dimension], width)
        middle = pool(self.track.mean[:, dimension], width)
        dots = braille(mean, self.rows)
        half = self.rows // 2
        for row in range(self.rows):
            label = {0: "+1", half: f"{name} 0", self.rows - 1: "-1"}.get(row, "")
            line = Text(f"{label:>{_LEFT - 1}}", style="dim").append("┤" if label else "│", style="dim")
            top, bottom = 1 - 2 * row / self.rows, 1 - 2 * (row + 1) / self.rows
            for column in range(width):
                sign = chr(0x2800 + dots[row, column])
                if dots[row, column]:
                    line.append(sign, style=colour)
                elif abs(middle[column] - (top + bottom) / 2) < std[column] + 1 / self.rows:
                    line.append("░", style=f"dim {colour}")
                else:
                    line.append("·" if row == half and np.isfinite(middle[column]) else " ", style="dim")
            yield line

    def _episodes(self, width: int) -> Text:
        text, at = Text(), 0
        for episode in self.track.episodes:
            start, end = (min(width, round(episode[k] / 1000 / self.duration_s * width)) for k in _ENDS)
            start, end = max(start, at), max(end, at)
            text.append(" " * (start - at))
            if end > start:
                label = f"▏{word(episode['emotion'])}"[: end - start]
                text.append(
                    label.ljust(end - start, "╌"), style=f"bold {COLOURS.get(episode['emotion'], 'white')}"
                )
            at = end
        return text

    def _activity(self, width: int) -> Text:
        text, n = Text(), len(self.track.activity)
        for column in range(width):
            lo = column * n // width
            stretch = self.track.activity[lo : max(lo + 1, (column + 1) * n // width)]
            sign, colour = ACTIVITY.get(max(set(stretch), key=stretch.count), (" ", "default"))
            text.append(sign, style=colour)
        return text

    def _axis(self, width: int) -> Text:
        steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200)
        step = next((s for s in steps if s / self.duration_s * width >= 9), steps[-1])
        ticks, names = ["─"] * width, [" "] * (width + 8)
        for second in range(0, int(self.duration_s) + 1, step):
            column = int(second / self.duration_s * width)
            label = clock(second * 1000)
            if column + len(label) <= width:
                ticks[column] = "┬"
                names[column : column + len(label)] = label
        pad = " " * (_LEFT - 1)
        return Text(f"{pad}└{''.join(ticks)}\n{pad} {''.join(names)[:width]}", style="dim")


_ENDS = ("start_ms", "end_ms")


def pool(values: Float, bins: int) -> Float:
    """Means of the known values in `bins` equal stretches; NaN where none is known.

    Returns:
        [bins], each value repeated where there are more bins than values.
    """
    n = len(values)
    edges = np.arange(bins + 1) * n // bins
    known = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0), dtype=np.float64)])
    counts = np.concatenate([[0], np.cumsum(known)])
    stop = np.minimum(np.maximum(edges[1:], edges[:-1] + 1), n)
    with np.errstate(invalid="ignore"):
        mean = (sums[stop] - sums[edges[:-1]]) / (counts[stop] - counts[edges[:-1]])
    return np.asarray(mean, np.float32)


def braille(values: Float, rows: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """A line through `values` in [-1, 1], two a character, as Braille patterns.

    Returns:
        [rows, len(values) / 2] offsets from U+2800; neighbours are joined, NaN leaves a gap.
    """
    height = 4 * rows
    signs = np.zeros((rows, len(values) // 2), np.int64)
    last: int | None = None
    for i, value in enumerate(values):
        if not np.isfinite(value):
            last = None
            continue
        dot = int(np.clip(round((1 - float(value)) / 2 * (height - 1)), 0, height - 1))
        path = range(dot, dot + 1) if last is None else _between(last, dot)
        for y in path:
            signs[y // 4, i // 2] |= _DOTS[y % 4, i % 2]
        last = dot
    return signs


def _between(last: int, dot: int) -> range:
    return range(last + 1, dot + 1) if dot > last else range(dot, max(last, dot + 1))


def legend() -> Text:
    """What the signs mean."""
    text = Text("sound: ", style="dim")
    for name, (sign, colour) in ACTIVITY.items():
        text.append(sign, style=colour).append(f" {name.replace('speech+music', 'both')}  ", style="dim")
    return text.append("blank: silence    ░ one standard deviation", style="dim")


def episodes(track: Track) -> RenderableType:
    """The first episodes as a table."""
    if not track.episodes:
        return Text("no episodes", style="dim")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("from", "to", "seconds", "confidence", "valence", "arousal"):
        table.add_column(name, justify="right")
    table.add_column("emotion")
    for row in track.episodes[:EPISODES_SHOWN]:
        table.add_row(
            clock(row["start_ms"]),
            clock(row["end_ms"]),
            f"{(row['end_ms'] - row['start_ms']) / 1000:.1f}",
            f"{row['confidence']:.2f}",
            f"{row['valence_mean']:+.2f}",
            f"{row['arousal_mean']:+.2f}",
            Text(word(row["emotion"]), style=COLOURS.get(row["emotion"], "white")),
        )
    rest = len(track.episodes) - EPISODES_SHOWN
    more = Text(f"and {rest} more: --html FILE shows them all", style="dim")
    return Group(table, more) if rest > 0 else table


def alerts(view: View) -> RenderableType:
    """The alerts of a media as a table."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("from", "to"):
        table.add_column(name, justify="right")
    for name in ("alert", "severity", "channel", "why"):
        table.add_column(name)
    for row in view.alerts[:ALERTS_SHOWN]:
        table.add_row(
            clock(row["start_ms"]),
            clock(row["end_ms"]),
            Text(row["rule"], style=f"bold {SEVERITIES.get(row['severity'], 'magenta')}"),
            row["severity"],
            Text(row["channel"]),
            Text(evidence_words(row["evidence"])),
        )
    rest = len(view.alerts) - ALERTS_SHOWN
    return Group(table, Text(f"and {rest} more", style="dim")) if rest > 0 else table


def summary(track: Track) -> Text:
    """What sums the track up, in a few lines of words."""
    row, lines = track.summary, []
    if not row:
        return Text("no summary", style="dim")
    said = [word(row["emotion"])] if row["emotion"] else []
    said = list(dict.fromkeys([*said, *row["moods"], *filter(None, (row["profile"], row["dynamics"]))]))
    if said:
        lines.append(" · ".join(said))
    means = [
        _mean(row, name) for name in ("valence", "arousal", "dominance") if row[f"{name}_mean"] is not None
    ]
    lines += ["   ".join(means)] if means else []
    shares = sorted(pairs(row["emotion_shares"]), key=lambda pair: -pair[1])
    if said and shares:
        lines.append("   ".join(f"{word(name)} {share:.0%}" for name, share in shares if share >= 0.005))
    facts = [f"{row['estimated_share']:.0%} estimated"]
    facts += [f"{row['loudness_lufs_mean']:.1f} LUFS"] if row["loudness_lufs_mean"] is not None else []
    facts += [f"talks {row['talk_ms'] / 1000:.0f} s"] if row["talk_ms"] is not None else []
    facts += [f"nobody talks {row['non_talk_ms'] / 1000:.0f} s"] if row["non_talk_ms"] is not None else []
    facts += [f"interrupts {row['interruptions']} times"] if row["interruptions"] is not None else []
    facts += [f"at the same time {row['overlap_ms'] / 1000:.0f} s"] if row["overlap_ms"] is not None else []
    if row["sentiment_by_quarter"]:
        quarters = ("–" if q is None else f"{q:+.1f}" for q in row["sentiment_by_quarter"])
        facts.append(f"sentiment by quarter {' '.join(quarters)}")
    facts += [f"key {row['key']}"] if row["key"] else []
    facts += [f"{name.replace('_', ' ')} {value:.1f}" for name, value in pairs(row["features"])]
    reasons = sorted({reason for reason in track.reason if reason})
    if reasons:
        facts.append(f"no estimate where: {', '.join(REASONS.get(reason, reason) for reason in reasons)}")
    return Text("\n".join([*lines, " · ".join(facts)]))


def _mean(row: dict[str, Any], name: str) -> str:
    text = f"{name} {row[f'{name}_mean']:+.2f}"
    slope = row[f"{name}_slope"]
    if slope is None:
        return text
    if abs(slope) < 0.1:
        return f"{text} level"
    return f"{text} {'rises' if slope > 0 else 'falls'} {abs(slope):.2f}"


def select(view: View, channel: str | None = None, modality: str | None = None) -> list[Track]:
    """The tracks to show: the best of every channel, or those asked for.

    Raises:
        UsageError: There is no such track; the message names those there are.
    """
    tracks = view.tracks if channel or modality else view.best()
    chosen = [
        track
        for track in tracks
        if (channel is None or channel in (track.channel, track.role))
        and (modality is None or modality == track.modality)
    ]
    if channel and not modality:
        chosen = chosen[:1]
    if not chosen and (channel or modality):
        names = ", ".join(track.name for track in view.tracks) or "none"
        raise UsageError(f"{view.media_id!r} has no such channel or modality; its tracks: {names}")
    return chosen


def show(view: View, console: Console, channel: str | None = None, modality: str | None = None) -> None:
    """Print a media."""
    media = view.media
    told = [media["kind"], clock(media["duration_ms"]), f"analysed {media['analyzed_at']:%Y-%m-%d}"]
    told += [f"{name} {version}" for name, version in pairs(media["models"])]
    console.print(Text(view.media_id, style="bold"), soft_wrap=True)
    console.print(Text(" · ".join(told), style="dim"))
    for track in select(view, channel, modality):
        console.print()
        console.print(Text(track.name, style="bold underline"))
        console.print(Chart(track, max(view.duration_s, STEP_MS / 1000)))
        console.print()
        console.print(summary(track))
        if track.estimated:
            console.print(episodes(track))
    if view.alerts:
        console.print(Text("alerts", style="bold underline"))
        console.print(alerts(view))
    console.print(legend())
