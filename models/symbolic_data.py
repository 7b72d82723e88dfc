"""Labelled pieces for the symbolic model: their notes, ratings, folds and the windows it learns from.

Conventions: songs (EMOPIA) and game series (VGMIDI) are kept apart by fold. Where the number of a file's
bars and of its ratings differ by more than one, the ratings are spread evenly over the piece. A stretch of a
file of one's own is a piece by itself, its ratings one bar.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from moodstream.models.base import QUADRANTS, Float, Notes
from moodstream.models.corpora import DataError, assign_folds, read_corpora, read_folder
from moodstream.models.examples import Progress, silent
from moodstream.models.midi import MidiError, parse_midi
from moodstream.models.note_features import note_features
from moodstream.models.note_network import FAR, LONG, NEAR
from moodstream.models.note_statistics import STEP_S, around, cell_sums, whole
from moodstream.models.symbolic import cells_of, seconds_of, slice_notes

Ints = npt.NDArray[np.int64]
Array = npt.NDArray[np.float64]

CORPORA = ("emopia", "vgmidi")
ANNOTATIONS = "annotations_per_annotator.csv.gz"


@dataclass(frozen=True)
class Piece:
    """A labelled piece; `quadrant` -1 and `edges_s` None where it has no such labels."""

    file: str
    corpus: str
    group: str
    notes: Notes
    quadrant: int
    edges_s: Array | None = None  # [m + 1] of the rated bars
    ratings: Array | None = None  # [m, 2]
    moves: Array | None = None  # [m, 2] the raters' mean, which follows the music better than their median


@dataclass(frozen=True)
class Windows:
    """The statistics of a piece as a whole, and of the windows around its bars."""

    whole: Float  # [1, N_STATISTICS]
    long: Float  # [m, N_STATISTICS]; of a clip without ratings, the whole
    near: Float
    far: Float


def read_pieces(
    data: str | os.PathLike[str] | None, every: int = 1, corpora: Sequence[str] = CORPORA
) -> list[Piece]:
    """All labelled pieces (or every so many), of these corpora or of a folder of one's own.

    Raises:
        DataError: a file that is no MIDI, or a row with neither quadrant, valence nor arousal.
        FileNotFoundError: no data.
    """
    if data is not None and any(Path(data).glob("*.csv")):
        return [_own(row) for row in read_folder(data)[::every].iter_rows(named=True)]
    pieces = []
    for row in read_corpora(list(corpora), data)[::every].iter_rows(named=True):
        notes = parse_midi(Path(row["file"]).read_bytes())
        if row["corpus"] == "emopia":
            label = QUADRANTS.index(row["quadrant"])
            pieces.append(Piece(row["file"], "emopia", row["group"], notes, label))
        else:
            ratings = np.array([row["valence_curve"], row["arousal_curve"]]).T
            edges = rated_edges(notes, len(ratings))
            pieces.append(
                Piece(row["file"], "vgmidi", row["group"], notes, -1, edges, ratings[: len(edges) - 1])
            )
    return _with_moves(pieces)


def _own(row: dict[str, Any]) -> Piece:
    try:
        notes = cut(parse_midi(Path(row["file"]).read_bytes()), row["start_ms"], row["end_ms"])
    except MidiError as error:
        raise DataError(f"{row['file']}: {error}") from error
    quadrant = -1 if row["quadrant"] is None else QUADRANTS.index(row["quadrant"])
    given = [np.nan if row[name] is None else float(row[name]) for name in ("valence", "arousal")]
    if np.isnan(given).all():
        if quadrant < 0:
            raise DataError(f"{row['file']} has neither quadrant, valence nor arousal")
        return Piece(row["file"], row["corpus"], row["group"], notes, quadrant)
    edges = np.array([0.0, notes.end_of_media_s])
    return Piece(row["file"], row["corpus"], row["group"], notes, quadrant, edges, np.array([given]))


def cut(notes: Notes, start_ms: int, end_ms: int | None) -> Notes:
    """The notes that begin in a stretch of the file, on a time axis of their own.

    Raises:
        DataError: none does.
    """
    start_s, end_s = start_ms / 1000, notes.end_of_media_s if end_ms is None else end_ms / 1000
    first, last = (int(np.searchsorted(notes.start_s, edge)) for edge in (start_s, end_s))
    if end_ms is None:
        last = len(notes)
    if first == last:
        raise DataError(f"no note begins between {start_ms} and {end_ms} ms")
    part = slice_notes(notes, first, last)
    inside = (notes.bars_s >= start_s) & (notes.bars_s < end_s)
    return replace(
        part,
        start_s=part.start_s - start_s,
        end_s=np.minimum(part.end_s, end_s) - start_s,
        bars_s=notes.bars_s[inside] - start_s,
        end_of_media_s=end_s - start_s,
    )


def rated_edges(notes: Notes, count: int) -> Array:
    """The edges of the bars that were rated, in seconds, [count + 1] or one fewer."""
    if abs(len(notes.bars_s) - count) <= 1:
        return np.append(notes.bars_s, notes.end_of_media_s)[: count + 1]
    return np.linspace(0, notes.end_of_media_s, count + 1)


def _with_moves(pieces: list[Piece]) -> list[Piece]:
    """The rated pieces of VGMIDI with the mean of their raters, where the single raters are at hand."""
    first = next((p for p in pieces if p.corpus == "vgmidi"), None)
    table = Path(first.file).parent.parent / ANNOTATIONS if first else Path()
    if not table.is_file():
        return pieces
    curves = read_annotations(table)
    made = []
    for piece in pieces:
        known = curves.get(Path(piece.file).name)
        if piece.ratings is not None and known is not None and known.shape[1] >= len(piece.ratings):
            piece = replace(piece, moves=known[:, : len(piece.ratings)].mean(0))
        made.append(piece)
    return made


def read_annotations(table: Path) -> dict[str, Array]:
    """By file name, what each of its raters said, [raters, bars, 2]."""
    labels = pl.read_csv(table.parent / "labels.csv").select("piece_uid", "midi")
    rows = pl.read_csv(table).filter(pl.col("steps_ok")).join(labels, on="piece_uid")
    return {
        Path(str(midi)).name: np.stack(
            [np.array([text.split() for text in one[name]], np.float64) for name in ("valence", "arousal")], 2
        )
        for (midi,), one in rows.group_by("midi", maintain_order=True)
    }


def windows_of(pieces: Sequence[Piece], progress: Progress = silent) -> list[Windows]:
    """What is learned from each piece."""
    made = []
    for i, piece in enumerate(pieces):
        made.append(_windows(piece))
        if i % 50 == 0:
            progress("features", i / len(pieces))
    return made


def _windows(piece: Piece) -> Windows:
    notes, count = piece.notes, cells_of(piece.notes)
    features = note_features(notes)
    sums = cell_sums(features.dense(), np.clip(features.cell, 0, count - 1), count)
    every = whole(sums, seconds_of(notes)).numpy()
    if piece.edges_s is None:
        return Windows(every, every, every, every)
    middle = ((piece.edges_s[1:] + piece.edges_s[:-1]) / 2 / STEP_S).astype(np.int64)
    at = np.clip(middle, 0, count - 1)
    return Windows(every, *(around(sums, span, at).numpy() for span in (LONG, NEAR, FAR)))


def assign(pieces: Sequence[Piece], folds: int, seed: int) -> Ints:
    """A fold for every piece: songs and series kept apart, each corpus spread evenly."""
    label = [piece.corpus + str(piece.quadrant) for piece in pieces]
    rows = pl.DataFrame({"group": [f"{p.corpus} {p.group}" for p in pieces], "label": label})
    return assign_folds(rows, folds, seed, "label")
