"""The models of a run, each loaded when it is first needed: a MIDI never waits for the audio networks.

An engine's `mark` stands for the versions of all its models: two engines of one mark give the same rows.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moodstream.models.base import DIMENSIONS, STEP_MS, Float
from moodstream.models.listeners import Prior, prior_of
from moodstream.models.registry import CARD, FOLDER, Card, read_card
from moodstream.transforms.errors import UsageError
from moodstream.transforms.learned import Learned

_HEARING = ("speech", "music", "activity")  # the models that listen to every cell

if TYPE_CHECKING:
    from moodstream.models.audio import AudioModels
    from moodstream.models.symbolic import SymbolicModel


class Engine:
    """Networks and their cards by modality.

    Args:
        threads: torch threads of this process. One by default: workers are processes, and for
            networks of this size a second thread costs more than it brings.
        speech: the name of the model that judges speech.
        folder: of models, as `models/registry.py` loads them; what is not in it is the installed one's.
    """

    def __init__(self, threads: int = 1, speech: str = "speech", folder: Path = FOLDER) -> None:
        self.threads, self.speech, self.folder = threads, speech, folder

    def _place(self, name: str) -> Path:
        """The folder that has a model."""
        return self.folder if (self.folder / name / CARD).is_file() else FOLDER

    def _card(self, name: str) -> Card:
        return read_card(name, self._place(name))

    @cached_property
    def cards(self) -> dict[str, Card]:
        """The model card of every modality and of activity, read without loading a network.

        Raises:
            UsageError: one of them is not installed; the message says how to get it.
        """
        try:
            others = {name: self._card(name) for name in ("music", "symbolic", "activity")}
            return {"speech": self._card(self.speech), **others}
        except FileNotFoundError as error:
            raise UsageError(str(error)) from error

    @cached_property
    def audio(self) -> "AudioModels":
        """Speech, music and activity networks behind one front end."""
        import torch

        from moodstream.models.audio import AudioModels, load_network, load_turns

        torch.set_num_threads(self.threads)
        names = (self.speech, "music", "activity")
        return AudioModels(
            [load_network(name, self._place(name)) for name in names],
            [self._card(name) for name in names],
            load_turns("diarization", self._place("diarization")),
        )

    @cached_property
    def symbolic(self) -> "SymbolicModel":
        """The network over notes."""
        import torch

        from moodstream.models.symbolic import SymbolicModel

        torch.set_num_threads(self.threads)
        return SymbolicModel.load(folder=self._place("symbolic"))

    @cached_property
    def listeners(self) -> Prior:
        """What is known of listeners in general: how far ratings of their own move a curve."""
        return prior_of(self._card("listener").shape)

    @cached_property
    def joining(self) -> "tuple[str, Learned] | None":
        """How sound and notes are joined, with the version of that; None where nothing was learned."""
        if not (self._place("fusion") / "fusion" / CARD).is_file():
            return None
        card = self._card("fusion")
        return card.version, Learned.of(card.shape)

    def versions(self) -> dict[str, str]:
        """Name to version of every model: what decides whether a media must be analysed again."""
        return dict(self._versions)

    @cached_property
    def _versions(self) -> dict[str, str]:
        joined = {"fusion": self.joining[0]} if self.joining else {}
        listening = {"diarization": self._card("diarization").version} if self.listens else {}
        return {name: card.version for name, card in self.cards.items()} | joined | listening

    @cached_property
    def listens(self) -> bool:
        """Whether a diarization model hears speech; without it, episodes come from the curve's scores."""
        return (self._place("diarization") / "diarization" / CARD).is_file()

    @cached_property
    def mark(self) -> str:
        """A short text that stands for the versions."""
        return mark_of(self._versions)

    @property
    def warm_cells(self) -> int:
        """So many cells after it began to hear, what a network says rests on all that it looks back at."""
        return -(-max(round(self.cards[name].past_s * 1000) for name in _HEARING) // STEP_MS) + 1

    def unlike(self, other: "Engine") -> str:
        """Why a stream cannot go over to another engine's models while it runs; empty where it can."""
        for name in _HEARING:
            mine, its = self.cards[name], other.cards[name]
            if mine.lookahead_s != its.lookahead_s:
                return f"{name} looks {its.lookahead_s:g} s ahead instead of {mine.lookahead_s:g} s"
            if mine.labels != its.labels:
                return f"{name} has other labels"
        if self.cards["music"].shape.get("moods") != other.cards["music"].shape.get("moods"):
            return "music has other moods"
        if self.listens != other.listens:
            return "only one of them has a model of episodes"
        return ""

    def prior(self, modality: str) -> tuple[Float, Float]:
        """Mean and variance [3] of the labels a modality's model learned from; NaN: no such output."""
        known = self.cards[modality].prior
        values = [known.get(dimension, (math.nan, math.nan)) for dimension in DIMENSIONS]
        mean, variance = np.array(values, np.float32).T
        return mean, variance


def mark_of(versions: Mapping[str, str]) -> str:
    """A short text that stands for models of these versions."""
    return hashlib.sha256(json.dumps(dict(versions), sort_keys=True).encode()).hexdigest()[:12]
