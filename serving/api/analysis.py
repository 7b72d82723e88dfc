"""`/v1/analysis`: everything about one media in one answer, in the format or shape that was asked for."""

import io
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import orjson
import polars as pl
import pyarrow as pa
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from moodstream.models.base import STEP_MS
from moodstream.serving.access.audit import audit
from moodstream.serving.access.guard import require
from moodstream.serving.access.principal import Principal
from moodstream.serving.api.answers import ARROW, JSON, Answer, answer, as_arrow, as_json, form
from moodstream.serving.api.curves import channel_of
from moodstream.serving.api.documented import described
from moodstream.serving.api.media import opened_rows, store_of, table_of
from moodstream.serving.api.parameters import OfAnalysis
from moodstream.serving.api.shapes import SHAPES, shaped
from moodstream.serving.api.subject import Subject
from moodstream.serving.deadline import check
from moodstream.serving.store.blocks import SCHEMA
from moodstream.serving.store.store import NotThereError, Opened
from moodstream.sinks.export import FORMATS
from moodstream.sinks.exported import Item, safe_name
from moodstream.transforms.errors import UsageError

router = APIRouter(prefix="/v1", tags=["media"])
ZIP = "application/zip"
_KINDS = {  # by the end of a file's name
    ".jams": "application/vnd.jams+json",
    ".rttm": "text/x-rttm",
    ".txt": "text/tab-separated-values",
    ".TextGrid": "text/x-textgrid",
    ".vtt": "text/vtt",
    ".csv": "text/csv",
}
_BY_ACCEPT = {  # what an Accept header asks for, when `format` says nothing
    JSON: "json",
    ARROW: "arrow",
    "text/vtt": "webvtt",
    "text/csv": "csv",
    "text/x-rttm": "rttm",
    "text/x-textgrid": "textgrid",
    "application/vnd.jams+json": "jams",
}
_EPOCH = (1980, 1, 1, 0, 0, 0)  # so that the same rows make the same archive


@router.get(
    "/analysis",
    summary="Everything about a media",
    **described("Analysis", arrow=True, more=(ZIP, *_KINDS.values())),
)
async def analysis(
    request: Request,
    asked: Annotated[OfAnalysis, Query()],
    who: Annotated[Principal, Depends(require("read"))],
) -> Response:
    """`format` as `moodstream export` has it, one modality a channel, the best there is; an archive where a
    format is several files. `arrow` is an archive of all tables. `shape` gives JSON as another service would.
    """
    if asked.format is not None and asked.format != "json" and asked.shape is not None:
        raise UsageError(f"format={asked.format} and shape={asked.shape}: a shape is JSON, leave one away")
    store = store_of(request)
    wanted = asked.format or ("json" if asked.shape else _BY_ACCEPT[form(request, list(_BY_ACCEPT))])

    def work() -> Answer:
        with store.media(asked.media, asked.take) as opened:
            audit(request, who, f"analysis as {asked.shape or wanted}", [opened.found.media_id])
            if asked.shape is not None:
                modality = SHAPES[asked.shape].modality
                return as_json(shaped(asked.shape, subject(opened, modality)))
            if wanted == "json":
                return _json(opened)
            if wanted == "arrow":
                return _arrow(opened)
            item = _item(opened)
        return _exported(item, wanted)

    return await answer(request, work)


def subject(opened: Opened, modality: str | None = None) -> Subject:
    """A media with the best modality of each channel, or with the one that is named if it has that."""
    try:
        tracks = opened.tracks(modality=modality)
    except NotThereError:
        tracks = opened.tracks()
    best = {(track.channel, track.modality) for track in tracks}

    def mine(table: str) -> list[dict[str, Any]]:
        return [row for row in opened_rows(opened, table) if (row["channel"], row["modality"]) in best]

    [media] = opened_rows(opened, "media")
    return Subject(media, mine("summary"), mine("episode"), opened_rows(opened, "alert"), tracks)


def _json(opened: Opened) -> Answer:
    found = opened.found
    channels = [channel_of(track, None, None, STEP_MS) for track in opened.tracks()]
    raw = {table: orjson.Fragment(opened.rows(table)) for table in ("summary", "episode", "alert")}
    [media] = opened_rows(opened, "media")
    return as_json(
        {
            "media_id": found.media_id,
            "take": found.take,
            "media": media,
            "summaries": raw["summary"],
            "episodes": raw["episode"],
            "alerts": raw["alert"],
            "curve": {"duration_ms": found.duration_ms, "step_ms": STEP_MS, "channels": channels},
        }
    )


def _curve(opened: Opened) -> pa.Table:
    key = opened.found.media_id, opened.found.take
    rows = [track.block.to_arrow(*key, track.channel, track.modality) for track in opened.tracks()]
    return pa.concat_tables(rows) if rows else SCHEMA.empty_table()


def _arrow(opened: Opened) -> Answer:
    tables = {name: table_of(name, opened.rows(name)) for name in ("media", "summary", "episode", "alert")}
    files = {f"{name}.arrow": as_arrow(rows).content for name, rows in tables.items()}
    files["curve.arrow"] = as_arrow(_curve(opened)).content
    return _archive(files, f"{safe_name(opened.found.media_id)}.arrow.zip")


def _item(opened: Opened) -> Item:
    """The media as the exports want it."""
    best = pl.DataFrame(
        [(track.channel, track.modality) for track in opened.tracks()],
        schema={"channel": pl.String, "modality": pl.String},
        orient="row",
    )
    episodes = pl.DataFrame(table_of("episode", opened.rows("episode")))
    episodes = episodes.join(best, on=["channel", "modality"], how="semi").sort("channel", "start_ms")
    curve = pl.DataFrame(_curve(opened)).sort("channel", "start_ms")
    [media] = table_of("media", opened.rows("media")).to_pylist()
    return Item(media, episodes, curve)


def _exported(item: Item, form: str) -> Answer:
    if form in ("csv", "audformat"):  # both are CSV on disk
        item = Item(item.media, harmless(item.episodes), harmless(item.curve))
    check()
    with tempfile.TemporaryDirectory(prefix="moodstream-export-") as folder:
        files = FORMATS[form](iter([item]), Path(folder))
        content = {str(file.relative_to(folder)): file.read_bytes() for file in files}
    check()
    if len(content) == 1:
        [(name, only)] = content.items()
        kind = _KINDS.get(Path(name).suffix, "application/octet-stream")
        return Answer(only, f"{kind}; charset=utf-8", named(name))
    return _archive(content, f"{item.stem}.{form}.zip")


def harmless(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows whose texts no spreadsheet takes for formulas: those that begin like one get an apostrophe before.

    Source: OWASP, CSV Injection.
    """
    columns = [name for name, kind in rows.schema.items() if kind == pl.String]
    begins = r"^[=+\-@\t\r\n]"
    return rows.with_columns(
        pl.when(pl.col(name).str.contains(begins))
        .then("'" + pl.col(name))
        .otherwise(pl.col(name))
        .alias(name)
        for name in columns
    )


def _archive(files: Mapping[str, bytes], name: str) -> Answer:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
        for inside, content in files.items():
            about = zipfile.ZipInfo(inside, _EPOCH)
            about.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(about, content)
    return Answer(made.getvalue(), ZIP, named(name))


def named(name: str) -> dict[str, str]:
    """The header that gives a download its name, whatever is in it.

    Source: RFC 6266, 8187.

    Example:
        >>> named('a"b\\r\\nX: y.vtt')["Content-Disposition"]
        'attachment; filename="a_b__X_ y.vtt"; filename*=UTF-8\\'\\'a%22b%0D%0AX%3A%20y.vtt'
    """
    plain = "".join(c if c.isascii() and (c.isalnum() or c in " ._-") else "_" for c in name)
    encoded = quote(name, safe="", errors="replace")
    return {"Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"}
