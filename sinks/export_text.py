"""Formats that are plain lines of text: RTTM, sound events as in DCASE, WebVTT, CSV."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from moodstream.sinks.exported import Item, one_line, safe_name, seconds


def write_rttm(items: Iterator[Item], out: Path) -> list[Path]:
    """One file a media, one `SPEAKER` line an episode, the emotion in the place of the speaker's name.

    Source: NIST, The 2009 (RT-09) Rich Transcription Meeting Recognition Evaluation Plan, appendix A.
    """
    return [_write(out / f"{item.stem}.rttm", _rttm(item)) for item in items]


def _rttm(item: Item) -> Iterator[str]:
    for number, (_, episodes, _) in enumerate(item.channels(), start=1):
        for row in episodes.iter_rows(named=True):
            start, length = seconds(row["start_ms"]), seconds(row["end_ms"] - row["start_ms"])
            label, sure = row["emotion"].replace(" ", "_"), f"{row['confidence']:.4f}"
            yield f"SPEAKER {item.stem} {number} {start} {length} <NA> <NA> {label} {sure} <NA>"


def write_sed(items: Iterator[Item], out: Path) -> list[Path]:
    """One file a media and channel: onset, offset and label apart by tabs, as in DCASE's strong labels."""
    files = []
    for item in items:
        channels = list(item.channels())
        for channel, episodes, _ in channels:
            part = f".{safe_name(channel)}" if len(channels) > 1 else ""
            lines = (
                f"{seconds(start)}\t{seconds(end)}\t{emotion}"
                for start, end, emotion in episodes.select("start_ms", "end_ms", "emotion").iter_rows()
            )
            files.append(_write(out / f"{item.stem}{part}.txt", lines))
    return files


def write_webvtt(items: Iterator[Item], out: Path) -> list[Path]:
    """One file a media: a cue an episode, with the channel as its voice where there are several."""
    return [_write(out / f"{item.stem}.vtt", _webvtt(item)) for item in items]


def _webvtt(item: Item) -> Iterator[str]:
    yield "WEBVTT"
    voices = len({channel for channel, _, _ in item.channels()}) > 1
    for row in item.episodes.sort("start_ms", "channel").iter_rows(named=True):
        voice = f"<v {_escaped(row['channel'])}>" if voices else ""
        yield ""
        yield f"{_clock(row['start_ms'])} --> {_clock(row['end_ms'])}"
        yield f"{voice}{_escaped(row['emotion'])} {row['confidence']:.0%}"


def _escaped(text: str) -> str:
    return one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(ms: int) -> str:
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}"


def write_csv(items: Iterator[Item], out: Path) -> list[Path]:
    """Two files a media: `.curve.csv` and `.episodes.csv`; scores become columns `score_<emotion>`."""
    files = []
    for item in items:
        for name, rows in (("curve", _flat(item.curve)), ("episodes", item.episodes)):
            path = out / f"{item.stem}.{name}.csv"
            rows.write_csv(path)
            files.append(path)
    return files


def _flat(curve: pl.DataFrame) -> pl.DataFrame:
    """Columns that a CSV can hold."""
    maps = curve["emotion_scores"].to_arrow().to_pylist()
    scores = [dict(pairs or ()) for pairs in maps]
    labels = dict.fromkeys(label for row in scores for label in row)
    columns = [
        pl.Series(f"score_{label}", [row.get(label) for row in scores], pl.Float32) for label in labels
    ]
    joined = pl.col("modalities").list.join("+")
    return curve.drop("emotion_scores").with_columns(joined, *columns)


def _write(path: Path, lines: Iterator[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path
