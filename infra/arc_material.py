"""Made-up catalogues for measuring the search by arc: tracks put together of real curves, and smooth ones.

The real curves are those that moodstream gives for the music of the corpora (`real_curves`; analysed once,
kept in the cache folder). A made-up song has one to eight sections; a section is a real curve, stretched, and
drawn somewhat to the song's own level. A track is a song performed: shifted in time, level and extent, with
noise. Some songs are in a catalogue once, others up to fifty times, so that there are crowds of near
relatives to tell apart.

Conventions: as in `moodstream.serving.search.arcs`; a block of tracks follows from the seed and its number.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.ndimage import uniform_filter1d
from scipy.signal import lfilter

from moodstream.serving.search.arcs import Float, Int64, starts
from moodstream.sinks.read import Lake

BLOCK = 8192  # tracks made at once
SECTIONS = 8
CORPORA = ("vgmidi", "emopia", "demo_media", "4qaed", "emotify")
LEAST_CELLS, LEAST_KNOWN = 20, 0.5  # of a real curve
MEDIAN_S, SPREAD, SHORTEST_S, LONGEST_S = 190.0, 0.4, 30.0, 900.0  # lengths are log-normal
WINDOW = 7  # cells over which the models look


@dataclass(frozen=True, eq=False)
class Curves:
    """Curves of n tracks, one after the other."""

    at: Int64  # [n + 1]
    curve: Float  # [cells, 2] valence and arousal

    def __len__(self) -> int:
        return len(self.at) - 1


def real_curves(data: Path, cache: Path) -> Curves:
    """The curves of the music of the corpora.

    Args:
        data: the folder of the corpora.
        cache: where the lake of their curves is kept; it is made if it is not there.
    """
    from moodstream.pipelines.cli import run

    lake = cache / "arcs" / "lake"
    folders = [str(data / "music" / name) for name in CORPORA if (data / "music" / name).is_dir()]
    if not lake.is_dir() and run(["analyze", *folders, "--out", str(lake), "--no-pair"]):
        raise SystemExit("the corpora could not be analysed")
    rows = pl.DataFrame(Lake(lake).sql("SELECT media_id, start_ms, valence, arousal FROM best"))
    known = pl.col("valence").is_not_null().sum().over("media_id")
    rows = rows.filter((known >= LEAST_CELLS) & (known >= LEAST_KNOWN * pl.len().over("media_id")))
    rows = rows.sort("media_id", "start_ms").drop_nulls()
    lengths = rows.group_by("media_id", maintain_order=True).len()["len"].to_numpy()
    return Curves(starts(lengths), rows.select("valence", "arousal").to_numpy().astype(np.float32))


def smooth_curves(count: int, seed: int) -> Curves:
    """Sums of four slow waves, 100 cells each."""
    rng = np.random.default_rng([seed, 2])
    t = np.linspace(0, 1, 100)[None, None, None, :]
    wave = np.sin(2 * np.pi * (np.arange(1, 5)[None, None, :, None] / 2 * t + rng.random((count, 2, 4, 1))))
    curve = (wave * rng.normal(0, 0.12, (count, 2, 4, 1))).sum(axis=2) + rng.normal(0, 0.25, (count, 2, 1))
    return Curves(starts(np.full(count, 100)), curve.transpose(0, 2, 1).reshape(-1, 2).astype(np.float32))


class Catalogue:
    """A made-up catalogue.

    Args:
        pool: what songs are made of.
        tracks: how many there will be.
        seed: another one, another catalogue of the same kind.
    """

    def __init__(self, pool: Curves, tracks: int, seed: int = 0) -> None:
        self.pool, self.tracks, self.seed = pool, tracks, seed
        rng = np.random.default_rng([seed, 0])
        sizes = np.minimum(rng.zipf(1.9, tracks), 50)
        self._song_of = rng.permutation(np.repeat(np.arange(tracks), sizes)[:tracks])
        songs = int(self._song_of.max()) + 1
        used = rng.integers(1, SECTIONS + 1, songs)
        width = rng.uniform(0.5, 1.5, (songs, SECTIONS)) * (np.arange(SECTIONS) < used[:, None])
        edges = np.cumsum(width, axis=1)
        self._edges = (edges / edges[:, -1:]).astype(np.float32)
        parts = rng.integers(0, len(pool), (songs, 3))  # a song comes back to what it has
        self._part = np.take_along_axis(parts, rng.integers(0, 3, (songs, SECTIONS)), axis=1)
        means = np.add.reduceat(pool.curve, pool.at[:-1]) / np.diff(pool.at)[:, None]
        self._level = means[self._part[:, 0]] + rng.normal(0, 0.1, (songs, 2))
        pull = rng.uniform(0.3, 0.9, (songs, 1, 1))
        self._shift = pull * (self._level[:, None] - means[self._part])

    def blocks(self) -> int:
        return -(-self.tracks // BLOCK)

    def block(self, number: int) -> Curves:
        """The tracks from `number * BLOCK` on."""
        songs = self._song_of[number * BLOCK : (number + 1) * BLOCK]
        return self.perform(songs, np.random.default_rng([self.seed, 1, number]))

    def performed_again(self, tracks: npt.NDArray[np.integer[Any]], rng: np.random.Generator) -> Curves:
        """Other performances of the songs of some tracks."""
        return self.perform(self._song_of[tracks], rng)

    def perform(self, songs: Int64, rng: np.random.Generator) -> Curves:
        """A performance of each song: sections shifted in time by some 5 %, in level, extent; with noise."""
        n = len(songs)
        seconds = np.clip(MEDIAN_S * np.exp(SPREAD * rng.normal(size=n)), SHORTEST_S, LONGEST_S)
        cells = (2 * seconds).astype(np.int64)
        at = starts(cells)
        edges = self._edges[songs]
        inner = (edges > 0) & (edges < 1)
        edges = np.sort(np.clip(edges + inner * rng.normal(0, 0.03, edges.shape), 0, 1), axis=1)
        ends = at[:-1, None] + np.rint(edges * cells[:, None]).astype(np.int64)
        lengths = np.diff(np.column_stack([at[:-1], ends]), axis=1).ravel()
        run = np.flatnonzero(lengths)  # stretches of one section
        lengths = lengths[run]
        track = run // SECTIONS
        part = self._part[songs].ravel()[run]
        known = self.pool.at[part + 1] - self.pool.at[part]
        step = (known - 1) / np.maximum(lengths - 1, 1)
        place = np.arange(at[-1]) - np.repeat(starts(lengths)[:-1], lengths)
        where = (place * np.repeat(step, lengths)).astype(np.float32)
        low = where.astype(np.int64)
        rest = where - low
        low += np.repeat(self.pool.at[part], lengths)
        high = np.minimum(low + 1, len(self.pool.curve) - 1)
        gain = np.exp(rng.normal(0, 0.15, (n, 2)))
        level = (self._level[songs] * (1 - gain) + rng.normal(0, 0.06, (n, 2)))[track]
        shift = self._shift[songs].reshape(-1, 2)[run] * gain[track] + level
        curve = np.empty((at[-1], 2), np.float32)
        noise = lfilter([0.5], [1, -0.85], rng.normal(0, 0.03, (1 << 18, 2)), axis=0).astype(np.float32)
        for dimension in (0, 1):
            heard = self.pool.curve[:, dimension]
            line = heard[low] * (1 - rest) + heard[high] * rest
            line *= np.repeat(gain[track, dimension].astype(np.float32), lengths)
            line += np.repeat(shift[:, dimension].astype(np.float32), lengths)
            line = uniform_filter1d(line, WINDOW, mode="nearest")
            line += np.resize(noise[:, dimension], len(line))
            curve[:, dimension] = np.clip(line, -1, 1)
        return Curves(at, curve)
