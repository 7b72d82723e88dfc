"""What the harness needs to know about a task: its examples, how to fit, what to measure.

A study is a task with its data read. `harness.train` fits it fold by fold and writes a model, `evaluation`
checks a model against it, `cross` leaves whole corpora out. All of them see nothing but this:

    fit(rows, seed)     ->  a network that learned from the examples `rows`
    predict(network, rows)  ->  a frame of what it says about others

Conventions: an example is known by its index in `items`. Frames of predictions have at least the columns
example, corpus, group, label, logits, own_logits and, for each dimension, true_<name>, <name>, <name>_std
(see audio_task for what they mean); the harness adds `fold` and `seed`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from torch import nn

from moodstream.models.examples import Progress
from moodstream.models.metrics import Interval
from moodstream.models.registry import Card

Rows = npt.NDArray[np.int64]
Measures = dict[str, Interval]
Calibration = Mapping[str, Any]


@dataclass(frozen=True)
class Item:
    """An example, as far as hashes and folds are concerned."""

    key: str  # names the file, below the folder of the data, its span and its size
    corpus: str
    group: str  # speaker, artist, song, series
    label: int = -1  # index of the top label, -1 for none
    truth: Any = None  # everything it is labelled with, as JSON can hold it


@dataclass(frozen=True)
class Study:
    """One task, its data read and its features at hand."""

    card: Card  # all that is known before training: name, task, labels, corpora, limits, prior, context
    items: list[Item]
    settings: dict[str, Any]  # recipe, shape and whatever else decides a fit, as JSON can hold it
    code: tuple[str, ...]  # modules of `moodstream.models` that a fit begins in
    assign: Callable[[int, int], Rows]  # number of folds, seed -> fold of each example
    new: Callable[[], nn.Module]  # a network to load weights into
    fit: Callable[[Rows, int, Progress], nn.Module]  # rows, seed, progress
    predict: Callable[[nn.Module, Rows], pl.DataFrame]
    measure: Callable[[pl.DataFrame], Measures]
    ship: Callable[[nn.Module, Calibration], nn.Module]  # the fit on everything, made ready: has a `shape`
    smoke: bool = False
    kept_apart: str = "groups (speakers, artists)"
