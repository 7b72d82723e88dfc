"""The models of a run, each loaded when it is first needed: a MIDI never waits for the audio networks."""

import math
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from moodstream.models.base import DIMENSIONS, Float
from moodstream.models.listeners import Prior, prior_of
from moodstream.models.registry import CARD, FOLDER, Card, read_card
from moodstream.transforms.errors import UsageError
from moodstream.transforms.learned import Learned

if TYPE_CHECKING:
    from moodstream.models.audio import AudioModels
    from moodstream.models.symbolic import SymbolicModel


class Engine:
    """Networks and their cards by modality.

    Args:
        threads: torch threads of this process. One by default: workers are processes, and for
            networks of this size a second thread costs more than it brings.
        speech: the name of the model that judges speech.
    """

    def __init__(self, threads: int = 1, speech: str = "speech") -> None:
        self.threads, self.speech = threads, speech

    @cached_property
    def cards(self) -> dict[str, Card]:
        """The model card of every modality and of activity, read without loading a network.

        Raises:
            UsageError: one of them is not installed; the message says how to get it.
        """
        try:
            others = {name: read_card(name) for name in ("music", "symbolic", "activity")}
            return {"speech": read_card(self.speech), **others}
        except FileNotFoundError as error:
            raise UsageError(str(error)) from error

    @cached_property
    def audio(self) -> "AudioModels":
        """Speech, music and activity networks behind one front end."""
        import torch

        from moodstream.models.audio import AudioModels

        torch.set_num_threads(self.threads)
        return AudioModels.load(self.speech)

    @cached_property
    def symbolic(self) -> "SymbolicModel":
        """The network over notes."""
        import torch

        from moodstream.models.symbolic import SymbolicModel

        torch.set_num_threads(self.threads)
        return SymbolicModel.load()

    @cached_property
    def listeners(self) -> Prior:
        """What is known of listeners in general: how far ratings of their own move a curve."""
        return prior_of(read_card("listener").shape)

    @cached_property
    def joining(self) -> "tuple[str, Learned] | None":
        """How sound and notes are joined, with the version of that; None where nothing was learned."""
        if not (FOLDER / "fusion" / CARD).is_file():
            return None
        card = read_card("fusion")
        return card.version, Learned.of(card.shape)

    def versions(self) -> dict[str, str]:
        """Name to version of every model: what decides whether a media must be analysed again."""
        return dict(self._versions)

    @cached_property
    def _versions(self) -> dict[str, str]:
        joined = {"fusion": self.joining[0]} if self.joining else {}
        listening = {"diarization": read_card("diarization").version} if self.listens else {}
        return {name: card.version for name, card in self.cards.items()} | joined | listening

    @cached_property
    def listens(self) -> bool:
        """Whether a diarization model hears speech; without it, episodes come from the curve's scores."""
        return (FOLDER / "diarization" / CARD).is_file()

    def prior(self, modality: str) -> tuple[Float, Float]:
        """Mean and variance [3] of the labels a modality's model learned from; NaN: no such output."""
        known = self.cards[modality].prior
        values = [known.get(dimension, (math.nan, math.nan)) for dimension in DIMENSIONS]
        mean, variance = np.array(values, np.float32).T
        return mean, variance
