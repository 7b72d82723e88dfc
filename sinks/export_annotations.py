"""Formats with a library of their own: JAMS, Praat's TextGrid, audformat. Extra `exports`."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from moodstream.sinks.exported import Item, safe_name
from moodstream.transforms.errors import optional


def write_jams(items: Iterator[Item], out: Path) -> list[Path]:
    """One file a media: `segment_open` holds a channel's episodes, `mood_thayer` its curve.

    Source: Humphrey et al. (2014), JAMS: A JSON Annotated Music Specification.
    """
    jams = optional("jams", "jams", "exports")
    files = []
    for item in items:
        jam = jams.JAMS()
        jam.file_metadata.duration = item.duration_s
        jam.file_metadata.title = dict(item.media["tags"]).get("title", "")
        jam.file_metadata.identifiers = {"media_id": item.media_id}
        for channel, episodes, curve in item.channels():
            first = curve.row(0, named=True)
            origin = jams.AnnotationMetadata(
                data_source="program",
                annotation_tools="moodstream",
                version=f"{first['model']} {first['model_version']}",
            )
            sandbox = {"channel": channel, "role": first["role"], "modality": first["modality"]}
            segments = jams.Annotation("segment_open", duration=item.duration_s, annotation_metadata=origin)
            mood = jams.Annotation("mood_thayer", duration=item.duration_s, annotation_metadata=origin)
            for annotation in (segments, mood):
                annotation.sandbox.update(**sandbox)
                jam.annotations.append(annotation)
            for row in episodes.iter_rows(named=True):
                segments.append(
                    time=row["start_ms"] / 1000,
                    duration=(row["end_ms"] - row["start_ms"]) / 1000,
                    value=row["emotion"],
                    confidence=row["confidence"],
                )
            known = curve.drop_nulls(["valence", "arousal"])
            for start, valence, arousal in known.select("start_ms", "valence", "arousal").iter_rows():
                mood.append(time=start / 1000, duration=0.5, value=[valence, arousal], confidence=None)
        path = out / f"{item.stem}.jams"
        jam.save(str(path))
        files.append(path)
    return files


def write_textgrid(items: Iterator[Item], out: Path) -> list[Path]:
    """One file a media: a tier a channel, an interval an episode."""
    textgrid = optional("praatio.textgrid", "praatio", "exports")
    files = []
    for item in items:
        grid = textgrid.Textgrid(0, item.duration_s)
        for channel, episodes, _ in item.channels():
            entries = [
                (start / 1000, min(end / 1000, item.duration_s), emotion)
                for start, end, emotion in episodes.select("start_ms", "end_ms", "emotion").iter_rows()
                if start / 1000 < item.duration_s
            ]
            # praatio needs one entry at least: one without a label is what Praat calls an empty tier
            entries = entries or [(0, item.duration_s, "")]
            grid.addTier(textgrid.IntervalTier(channel, entries, 0, item.duration_s))
        path = out / f"{item.stem}.TextGrid"
        grid.save(str(path), format="long_textgrid", includeBlankSpaces=True)
        files.append(path)
    return files


def write_audformat(items: Iterator[Item], out: Path) -> list[Path]:
    """One database for all media: tables `episodes` and `curve`, for calls one of each a channel."""
    audformat = optional("audformat", "audformat", "exports")
    tables: dict[str, list[pl.DataFrame]] = defaultdict(list)
    labels: set[str] = set()
    for item in items:
        for channel, episodes, curve in item.channels():
            part = "" if channel == "mix" else f".{safe_name(channel)}"
            tables[f"episodes{part}"].append(episodes)
            tables[f"curve{part}"].append(curve)
            labels.update(episodes["emotion"])
    database = audformat.Database(
        "moodstream",
        usage=audformat.define.Usage.UNRESTRICTED,
        description="Emotions as estimated by models.",
    )
    unit = {"dtype": audformat.define.DataType.FLOAT, "minimum": -1, "maximum": 1}
    for dimension in ("valence", "arousal", "dominance"):
        database.schemes[dimension] = audformat.Scheme(**unit)
    for name in ("confidence", "std"):
        database.schemes[name] = audformat.Scheme(audformat.define.DataType.FLOAT, minimum=0)
    database.schemes["emotion"] = audformat.Scheme(labels=sorted(labels))
    database.schemes["activity"] = audformat.Scheme(audformat.define.DataType.STRING)
    for name, parts in tables.items():
        rows = pl.concat(parts)
        index = audformat.segmented_index(
            rows["media_id"].to_list(),
            [f"{ms}ms" for ms in rows["start_ms"]],
            [f"{ms}ms" for ms in rows["end_ms"]],
        )
        table = database[name] = audformat.Table(index)
        for column, (scheme, source) in _COLUMNS[name.split(".")[0]].items():
            table[column] = audformat.Column(scheme_id=scheme)
            table[column].set(rows[source].to_list())
    database.save(str(out), storage_format="csv")
    return [out / "db.yaml", *(out / f"db.{name}.csv" for name in tables)]


_COLUMNS = {
    "episodes": {
        "emotion": ("emotion", "emotion"),
        "confidence": ("confidence", "confidence"),
        "valence": ("valence", "valence_mean"),
        "arousal": ("arousal", "arousal_mean"),
    },
    "curve": {
        **{dimension: (dimension, dimension) for dimension in ("valence", "arousal", "dominance")},
        **{
            f"{dimension}_std": ("std", f"{dimension}_std")
            for dimension in ("valence", "arousal", "dominance")
        },
        "activity": ("activity", "activity"),
    },
}
