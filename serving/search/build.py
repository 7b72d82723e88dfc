"""Build the index of a lake, or bring it up to date.

An entry belongs to a write of the lake, so what is new, changed or gone is a comparison of two sets of
numbers: the writes that count in the lake, and those in the index. Curves are read for new writes only.
Builds of the same lake end in the same answers, in one go or in many.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.compute as pc

from moodstream.models.base import STEP_MS
from moodstream.serving.access.redaction import Judging, redact
from moodstream.serving.search.arcs import starts
from moodstream.serving.search.entries import Entries, make
from moodstream.serving.search.folder import (
    FOLDER,
    PENDING,
    Draft,
    Manifest,
    among,
    drop_damaged,
    load,
    locked,
)
from moodstream.serving.search.questions import NUMBERS, WORDS
from moodstream.sinks.layout import STORED, WRITE_ID, counted, files, scan
from moodstream.sinks.read import MODALITIES

MOST_CELLS_AT_ONCE = 4_000_000  # rows of curves in memory
MOST_CELLS = 1 << 20  # of one track: six days
_MEDIA = ("kind", "duration_ms", "tags")
_SPAN = ("media_id", "take", "channel", "modality")
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Built:
    """What became of a build."""

    manifest: Manifest
    added: int  # entries that were made
    gone: int  # entries that were dropped: changed or vanished
    seconds: float


@dataclass(frozen=True)
class _As:
    emotions_for: str


def update(
    lake: str | Path,
    folder: Path | None = None,
    *,
    emotions_for: str = "customer",
    responsible: str = "",
    rebuild: bool = False,
    on_progress: OnProgress | None = None,
) -> Built:
    """Bring the index of a lake up to date; build it if there is none, or one of other settings.

    Args:
        lake: a Delta lake or a folder of Parquet files.
        folder: where the index is kept; beside the tables if None.
        emotions_for: `customer`, or `all`: then agents' channels are in it, too.
        responsible: who answers for `all`.
        rebuild: begin anew, whatever there is.
        on_progress: called with the media that are done and those that are to do.

    Raises:
        UsageError: there is no lake, or another build is at work.
        StoreError: the disk is full or read-only, or what is there is damaged.
    """
    began = time.perf_counter()
    media = counted(Path(lake), list(_MEDIA))
    folder = folder or Path(lake) / FOLDER
    with locked(folder):
        draft = _begin(folder, emotions_for, responsible, rebuild)
        writes = media[WRITE_ID].to_numpy()
        gone = draft.keep(writes)
        without = draft.without()
        without = without[among(without, np.sort(writes))]
        todo = media.filter(pl.Series(~among(writes, draft.writes()))).sort(WRITE_ID)
        added = done = 0
        for some in _batches(todo):
            entries = read(Path(lake), some, emotions_for)
            missing = np.setdiff1d(some[WRITE_ID].to_numpy(), entries.arrays["write_id"])
            without = np.union1d(without, missing)
            draft.add(entries)
            draft.set_without(without)
            done += len(some)
            added += len(entries)
            if done < len(todo):
                draft.save()
            if on_progress is not None:
                on_progress(done, len(todo))
        draft.set_without(without)
        seen = load(folder)
        if seen is None or draft.manifest.files() != seen.files() or seen.emotions_for != emotions_for:
            manifest = draft.publish()
        else:
            manifest = seen
            (folder / PENDING).unlink(missing_ok=True)
            draft.sweep()
    return Built(manifest, added, gone, time.perf_counter() - began)


def _begin(folder: Path, emotions_for: str, responsible: str, rebuild: bool) -> Draft:
    """What there is that can be built on."""
    if rebuild:
        drop_damaged(folder)
    seen = load(folder)
    same = seen is not None and (seen.emotions_for, seen.responsible) == (emotions_for, responsible)
    version = seen.version if seen is not None else ""
    fresh = Manifest(base=version, emotions_for=emotions_for, responsible=responsible)
    if rebuild:
        (folder / PENDING).unlink(missing_ok=True)
        return Draft(folder, fresh)
    left = load(folder, PENDING)
    asked = (version, emotions_for, responsible)
    fits = left is not None and (left.base, left.emotions_for, left.responsible) == asked
    if left is not None and fits and all((folder / name).is_file() for name in left.files()):
        return Draft(folder, left)
    if same and seen is not None:
        return Draft(folder, Manifest(**{**vars(seen), "base": version}))
    return Draft(folder, fresh)


def _batches(todo: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Media in stretches whose curves fit into memory."""
    cells = (todo["duration_ms"].to_numpy() // STEP_MS + 1).cumsum()
    begin = 0
    while begin < len(todo):
        before = cells[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(cells, before + MOST_CELLS_AT_ONCE, "right")))
        yield todo.slice(begin, end - begin)
        begin = end


def read(lake: Path, media: pl.DataFrame, emotions_for: str) -> Entries:
    """The entries of some media, by write and channel: those that have an estimate and may be in the index.

    Args:
        media: rows of the media table, with their `write_id`.
        emotions_for: `customer` or `all`.
    """
    writes = media[WRITE_ID]
    numbers = writes.to_numpy()
    span = (int(numbers.min()), int(numbers.max()))
    within = pl.col(WRITE_ID).is_in(writes.to_list())
    best = _best(lake, span, within, media, emotions_for)
    wanted = best.select(WRITE_ID, "channel", "modality", entry=pl.int_range(pl.len()))
    rows = (
        scan(files(lake, "curve", span), "curve")
        .filter(within)
        .select(WRITE_ID, "channel", "modality", "start_ms", "valence", "arousal")
        .join(wanted.lazy(), on=[WRITE_ID, "channel", "modality"])
        .select("entry", "valence", "arousal", cell=pl.col("start_ms") // STEP_MS)
        .filter(pl.col("cell").is_between(0, MOST_CELLS - 1))
        .collect()
    )
    last = np.zeros(len(best), np.int64)
    np.maximum.at(last, rows["entry"].to_numpy(), rows["cell"].to_numpy())
    lengths = np.clip(-(-best["duration_ms"].to_numpy() // STEP_MS), last + 1, MOST_CELLS)
    at = starts(lengths)
    curve = np.full((int(at[-1]), 2), np.nan, np.float32)
    curve[at[:-1][rows["entry"].to_numpy()] + rows["cell"].to_numpy()] = rows.select(
        "valence", "arousal"
    ).to_numpy()
    return make(
        at,
        curve,
        write_id=best[WRITE_ID].to_numpy(),
        media_id=best["media_id"].to_list(),
        take=best["take"].to_numpy(),
        duration_ms=best["duration_ms"].to_numpy(),
        tags=[dict(tags or ()) for tags in best["tags"].to_arrow().to_pylist()],
        words={name: best[name].to_list() for name in WORDS},
        numbers={name: best[name].to_numpy() for name in NUMBERS if name in best.columns},
        withheld=best["withheld"].to_numpy(),
    )


def _best(
    lake: Path, span: tuple[int, int], within: pl.Expr, media: pl.DataFrame, emotions_for: str
) -> pl.DataFrame:
    """One row an entry: the best modality of each channel that may be in the index and has an estimate."""
    names = [
        *_SPAN,
        WRITE_ID,
        "role",
        "emotions_for",
        *(name for name in (*WORDS, *NUMBERS) if name in STORED["summary"].names),
    ]
    summary = (
        scan(files(lake, "summary", span), "summary")
        .filter(within)
        .select(list(dict.fromkeys(names)))
        .collect()
    )
    calls = set(media.filter(pl.col("kind") == "call")["media_id"].to_list())
    before = summary.to_arrow()
    shown: Judging = _As("customer")
    after = redact("summary", before, shown, calls)
    withheld = pc.and_(pc.greater(before["estimated_share"], 0), pc.equal(after["estimated_share"], 0))
    summary = summary.with_columns(withheld=pl.Series(withheld.to_pylist(), dtype=pl.Boolean))
    if emotions_for != "all":
        summary = summary.filter(~pl.col("withheld"))
    rank = pl.col("modality").replace_strict(MODALITIES, range(len(MODALITIES)), default=len(MODALITIES))
    empty = (pl.col("modality") != "fused") & (pl.col("estimated_share") == 0)
    return (
        summary.sort(WRITE_ID, "channel", empty, rank)
        .unique([WRITE_ID, "channel"], keep="first", maintain_order=True)
        .filter(pl.col("estimated_share") > 0)
        .join(media.select(WRITE_ID, *_MEDIA), on=WRITE_ID, maintain_order="left")
    )
