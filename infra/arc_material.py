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
from scipy.signal import lfilter

from moodstream.serving.search.arcs import Float, Int64, starts
from moodstream.sinks.read import Lake

BLOCK = 8192  # tracks made at once
SECTIONS = 8
CORPORA = ("vgmidi", "emopia", "demo_media", "4qaed", "emotify")
LEAST_CELLS, LEAST_KNOWN = 20, 0.5  # of a real curve
MEDIAN_S, SPREAD, SHORTEST_S, LONGEST_S = 190.0, 0.4, 30.0, 900.0  # lengths are log-normal
Double = npt.NDArray[np.float64]


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
        level = means[self._part[:, 0]] + rng.normal(0, 0.1, (songs, 2))
        pull = rng.uniform(0.3, 0.9, (songs, 1, 1))
        self._shift = (pull * (level[:, None] - means[self._part])).astype(np.float32)

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
        """A performance of each song: shifted in time by up to some 5 %, in level, extent, and with noise."""
        n = len(songs)
        seconds = np.clip(MEDIAN_S * np.exp(SPREAD * rng.normal(size=n)), SHORTEST_S, LONGEST_S)
        cells = (2 * seconds).astype(np.int64)
        at = starts(cells)
        owner = np.repeat(np.arange(n), cells)
        place = np.arange(at[-1]) - at[owner]
        share = ((place + 0.5) / cells[owner]).astype(np.float32)
        for wave in (1, 2, 3):
            share += (rng.normal(0, 0.025 / wave, n).astype(np.float32)[owner]) * np.sin(wave * np.pi * share)
        share = np.clip(share, 0, 1)
        edges = self._edges[songs]
        section = np.zeros(len(owner), np.int8)
        for k in range(SECTIONS - 1):
            section += share > edges[owner, k]
        curve = self._sound(songs[owner], section, share, edges, owner)
        begin, end = at[owner], at[owner + 1] - 1
        here = np.arange(len(owner))
        joined = (
            sum(curve[np.clip(here + lag, begin, end)] for lag in range(-3, 4)) / 7
        )  # a window of the models
        gain = np.exp(rng.normal(0, 0.15, (n, 2))).astype(np.float32)
        mean = np.add.reduceat(joined, at[:-1]) / cells[:, None]
        level = mean + rng.normal(0, 0.06, (n, 2))
        joined = (joined - mean[owner]) * gain[owner] + level[owner]
        noise = lfilter([0.5], [1, -0.85], rng.normal(0, 0.03, joined.shape), axis=0)
        return Curves(at, np.clip(joined + noise, -1, 1).astype(np.float32))

    def _sound(
        self, song: Int64, section: npt.NDArray[np.int8], share: Float, edges: Float, owner: Int64
    ) -> npt.NDArray[np.float32]:
        """What is heard at a share of a song: [cells, 2]."""
        right = edges[owner, section]
        left = np.where(section > 0, edges[owner, np.maximum(section - 1, 0)], 0)
        part = self._part[song, section]
        length = self.pool.at[part + 1] - self.pool.at[part]
        where = np.clip((share - left) / np.maximum(right - left, 1e-6), 0, 1) * (length - 1)
        low = where.astype(np.int64)
        high = np.minimum(low + 1, length - 1)
        rest = (where - low).astype(np.float32)[:, None]
        begin = self.pool.at[part]
        heard = self.pool.curve[begin + low] * (1 - rest) + self.pool.curve[begin + high] * rest
        return heard + self._shift[song, section]
