"""Labelled pieces for the symbolic model: their notes, ratings, folds and augmented versions.

Conventions: songs (EMOPIA) and game series (VGMIDI) are kept apart by fold. Where the number of a file's
bars and of its ratings differ by more than one, the ratings are spread evenly over the piece.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from moodstream.models.base import QUADRANTS, Float, Notes
from moodstream.models.corpora import assign_folds, read_corpora
from moodstream.models.examples import Progress, silent
from moodstream.models.midi import parse_midi
from moodstream.models.note_features import note_features
from moodstream.models.note_network import N_FIXED, fixed_sums
from moodstream.models.symbolic import cells_of

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Version:
    """One piece, as it is or augmented."""

    x: npt.NDArray[np.float16]  # [n, WIDTH]
    cell: Ints  # [n]
    start_s: npt.NDArray[np.float64]  # [n]
    sums: Float  # [cells, N_FIXED]
    speed: float

    @property
    def seconds(self) -> float:
        return max(float(self.start_s[-1] - self.start_s[0]) + 1.0, 1.0)


@dataclass(frozen=True)
class Piece:
    """A labelled piece; `quadrant` -1 and `edges_s` None where it has no such labels."""

    file: str
    corpus: str
    group: str
    notes: Notes
    quadrant: int
    edges_s: npt.NDArray[np.float64] | None = None  # [m + 1] of the rated bars
    ratings: npt.NDArray[np.float64] | None = None  # [m, 2]


def read_pieces(data: str | os.PathLike[str] | None, every: int = 1) -> list[Piece]:
    """All labelled pieces (see `corpora.read_corpus`), or every so many of them."""
    pieces = []
    for row in read_corpora(["emopia", "vgmidi"], data)[::every].iter_rows(named=True):
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
    return pieces


def rated_edges(notes: Notes, count: int) -> npt.NDArray[np.float64]:
    """The edges of the bars that were rated, in seconds, [count + 1] or one fewer."""
    if abs(len(notes.bars_s) - count) <= 1:
        return np.append(notes.bars_s, notes.end_of_media_s)[: count + 1]
    return np.linspace(0, notes.end_of_media_s, count + 1)


def vary(notes: Notes, draw: np.random.Generator) -> tuple[Notes, float]:
    """The same piece transposed, faster, louder, with notes left out; and how much faster."""
    keep = draw.random(len(notes)) > 0.1 * draw.random()
    keep[:4] = True
    speed = float(np.exp(draw.uniform(-0.08, 0.08)))
    velocity = (notes.velocity - 64) * draw.uniform(0.85, 1.15) + 64 + draw.uniform(-6, 6)
    start = notes.start_s / speed
    return Notes(
        start_s=start[keep],
        end_s=(start + (notes.end_s - notes.start_s) / speed * np.exp(draw.normal(0, 0.1)))[keep],
        pitch=np.clip(notes.pitch + draw.integers(-5, 7), 0, 127).astype(np.int16)[keep],
        velocity=np.clip(velocity, 1, 127).astype(np.int16)[keep],
        program=notes.program[keep],
        drum=notes.drum[keep],
        bars_s=notes.bars_s / speed,
        end_of_media_s=notes.end_of_media_s / speed,
    ), speed


def versions(
    pieces: Sequence[Piece], seed: int, count: int, progress: Progress = silent
) -> list[list[Version]]:
    """Features of every piece, as it is and augmented."""
    table = []
    for i, piece in enumerate(pieces):
        draw = np.random.default_rng((seed, i))
        made = [(piece.notes, 1.0), *(vary(piece.notes, draw) for _ in range(count - 1))]
        table.append([_version(notes, speed) for notes, speed in made])
        if i % 50 == 0:
            progress("features", i / len(pieces))
    return table


def _version(notes: Notes, speed: float) -> Version:
    features = note_features(notes)
    x = features.dense()
    count = cells_of(notes)
    cell = np.minimum(features.cell, count - 1)
    sums = torch.zeros(count, N_FIXED)
    sums.index_add_(0, torch.from_numpy(cell), fixed_sums(torch.from_numpy(x)))
    return Version(x.astype(np.float16), cell, notes.start_s, sums.numpy(), speed)


def assign(pieces: Sequence[Piece], folds: int, seed: int) -> Ints:
    """A fold for every piece: songs and series kept apart, each corpus spread evenly."""
    label = [piece.corpus + str(piece.quadrant) for piece in pieces]
    rows = pl.DataFrame({"group": [f"{p.corpus} {p.group}" for p in pieces], "label": label})
    return assign_folds(rows, folds, seed, "label")
