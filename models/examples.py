"""Labelled sounds, and their features on disk: computed once, read by every fold.

Conventions: an example is a stretch of sound with one set of labels. `prepare` computes, for the sound as
it is (variant 0) and for augmented variants of it, the base columns of its frames (float16) and the fixed
sums of its cells (float32), padded to whole cells, and memory-maps them from a folder named by the hash of
all that matters.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch

from moodstream.models.augment import Generator, augment
from moodstream.models.base import CELL_FRAMES, Float
from moodstream.models.corpora import read_sound
from moodstream.models.features import N_BASE, frames_of
from moodstream.models.pooling import N_SUMS, cell_sums

FEATURES_VERSION = 2  # count up when the front end or the augmentation changes
Augment = Callable[[Float, Generator], Float]
Progress = Callable[[str, float], None]  # what is being done, and the share of it that is done, 0..1


def silent(what: str, share: float) -> None:
    """The progress nobody watches."""


@dataclass(frozen=True)
class Example:
    """A labelled stretch of sound."""

    key: str  # names the sound: file, span and its size or date; what the cache goes by
    sound: Callable[[], Float]  # gives the samples [n], mono at 16 kHz
    corpus: str
    group: str  # what must not lie in training and test at once
    scores: tuple[float, ...] | None = None  # share of each label, summing to 1; None: no labels of this kind
    target: tuple[float, float, float] = (np.nan, np.nan, np.nan)  # valence, arousal, dominance
    weight: float = 1.0  # of the target: 1 for ratings, less for what was only derived


def example_of(
    row: Mapping[str, Any],
    scores: tuple[float, ...] | None,
    target: tuple[float, float, float],
    weight: float,
) -> Example:
    """The example of a row of `corpora.read_corpora`, with what its task makes of the labels."""
    file, span = str(row["file"]), (row["start_ms"], row["end_ms"], row["channel"])
    return Example(
        key=f"{file}:{span}:{Path(file).stat().st_size}",
        sound=partial(read_sound, file, *span),
        corpus=str(row["corpus"]),
        group=str(row["group"]),
        scores=scores,
        target=target,
        weight=weight,
    )


@dataclass(frozen=True)
class Prepared:
    """Features of examples; item `variants * example + variant`."""

    examples: Sequence[Example]
    variants: int
    frames: npt.NDArray[np.float16]  # [cells * 32, N_BASE] of all items, one after the other
    sums: Float  # [cells, N_SUMS]
    cells: npt.NDArray[np.int64]  # [items + 1] where each item's cells begin
    lengths: npt.NDArray[np.int64]  # [items] true frames


def cache_folder(folder: str | os.PathLike[str] | None = None) -> Path:
    """Where features are kept: `folder`, else MOODSTREAM_CACHE, else the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder or os.environ.get("MOODSTREAM_CACHE") or Path(home) / "moodstream")


def prepare(
    examples: Sequence[Example],
    variants: int = 1,
    cache: str | os.PathLike[str] | None = None,
    seed: int = 0,
    progress: Progress = silent,
    change: Augment = augment,
) -> Prepared:
    """Features of all examples, from the cache where they are there.

    Args:
        examples: at least one. variants: 1 for the sounds alone, n for n - 1 augmented variants too.
        cache: see `cache_folder`. seed: of the augmentation. change: what makes a variant.
    """
    content = [FEATURES_VERSION, variants, seed, change.__qualname__, [example.key for example in examples]]
    name = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:20]
    folder = cache_folder(cache) / "features" / name
    if not (folder / "lengths.npy").exists():
        with _alone(folder):
            if not (folder / "lengths.npy").exists():  # nobody else did it meanwhile
                _compute(examples, variants, folder, seed, progress, change)
    arrays = {
        part: np.load(folder / f"{part}.npy", mmap_mode="r")
        for part in ("frames", "sums", "cells", "lengths")
    }
    return Prepared(examples, variants, **arrays)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process works in a folder; then it is ours until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _compute(
    examples: Sequence[Example], variants: int, folder: Path, seed: int, progress: Progress, change: Augment
) -> None:
    """Write the features of all examples, going on after the last one that an earlier run finished."""
    with (
        torch.inference_mode(),
        _open(folder / "frames.raw") as frame_file,
        _open(folder / "sums.raw") as sum_file,
        _open(folder / "lengths.raw") as length_file,
    ):
        lengths = np.fromfile(length_file, np.int64)
        done = len(lengths) // variants
        cells = np.append(0, np.cumsum(-(-lengths[: done * variants] // CELL_FRAMES)))
        for file, size in ((frame_file, 2 * N_BASE * CELL_FRAMES), (sum_file, 4 * N_SUMS)):
            if file.seek(0, os.SEEK_END) < int(cells[-1]) * size:  # lost with the power
                done, cells = 0, cells[:1]
        for file, size in ((frame_file, 2 * N_BASE * CELL_FRAMES), (sum_file, 4 * N_SUMS)):
            _cut(file, int(cells[-1]) * size)
        _cut(length_file, done * variants * 8)
        for i, example in enumerate(examples[done:], done):
            progress("features", i / len(examples))
            sound, said = example.sound(), []
            for variant in range(variants):
                draw = np.random.default_rng((seed, i, variant))
                frames = frames_of(change(sound, draw) if variant else sound)
                padded = torch.nn.functional.pad(frames, (0, 0, 0, -len(frames) % CELL_FRAMES))
                frame_file.write(padded[:, :N_BASE].half().numpy().tobytes())
                sum_file.write(cell_sums(padded, len(frames)).numpy().tobytes())
                said.append(len(frames))
            frame_file.flush()
            sum_file.flush()
            length_file.write(np.array(said).tobytes())  # last: what is in here is there
            length_file.flush()
    lengths = np.fromfile(folder / "lengths.raw", np.int64)
    cells = np.append(0, np.cumsum(-(-lengths // CELL_FRAMES)))
    frames_raw = np.memmap(folder / "frames.raw", np.float16, "r", shape=(cells[-1] * CELL_FRAMES, N_BASE))
    sums_raw = np.memmap(folder / "sums.raw", np.float32, "r", shape=(cells[-1], N_SUMS))
    np.save(folder / "frames.npy", frames_raw)
    np.save(folder / "sums.npy", sums_raw)
    np.save(folder / "cells.npy", cells)
    np.save(folder / "unfinished.npy", lengths)
    (folder / "unfinished.npy").rename(folder / "lengths.npy")  # its presence says that all is there
    for name in ("frames", "sums", "lengths"):
        (folder / f"{name}.raw").unlink()
    progress("features", 1.0)


def _open(path: Path) -> BinaryIO:
    path.touch()
    return path.open("r+b")


def _cut(file: BinaryIO, size: int) -> None:
    file.truncate(size)
    file.seek(size)
