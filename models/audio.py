"""The audio models at work: one front end, three networks, half seconds out.

Conventions: mono float32 at 16 kHz; cells of half a second. A stream gives cell `i` once the sound reaches
as far ahead as the model that looks furthest (at most 3 s), and the last cells at `flush`; all three models
speak about the same cells. Numbers do not depend on how the samples are cut. `estimate` is for sounds that
stand alone: one row a sound, pooled over all of it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moodstream.models import registry
from moodstream.models.base import (
    ACTIVITIES,
    CELL_FRAMES,
    EMOTIONS,
    QUADRANTS,
    AudioEstimates,
    Float,
)
from moodstream.models.bundle import CellStream, Said, listen
from moodstream.models.experts import ExpertNetwork
from moodstream.models.features import frames_of
from moodstream.models.harmony import N_SUMS as N_HARMONY
from moodstream.models.harmony import harmony_of
from moodstream.models.inference import Encoder
from moodstream.models.judging import Network, estimates_of, learned_width
from moodstream.models.music_network import MusicNetwork, MusicShape
from moodstream.models.network import MoodNetwork, Shape
from moodstream.models.pooling import N_SUMS, cell_sums
from moodstream.models.registry import Card
from moodstream.models.small import load_small
from moodstream.models.turns import TurnNetwork, TurnShape

_BATCH = 32  # sounds a network sees at once in `estimate`
_LABELS = {"speech": EMOTIONS, "music": QUADRANTS, "activity": ACTIVITIES}
_STANDS_FOR = {"small": "speech"}  # the task whose work another one's model does


class AudioModels:
    """The networks and their cards; give as many streams as there are channels."""

    def __init__(
        self,
        networks: Sequence[Network],
        cards: Sequence[Card],
        turns: tuple[TurnNetwork, Card] | None = None,
    ) -> None:
        """Networks and cards of speech, music and activity, in this order.

        Args:
            turns: the diarization model and its card, if there is one.

        Raises:
            ValueError: a model whose labels are not those of its task.
        """
        for task, card in zip(_LABELS, cards, strict=True):
            if _STANDS_FOR.get(card.task, card.task) != task or tuple(card.labels) != _LABELS[task]:
                raise ValueError(
                    f"{card.name!r} is a model of {card.task} with labels {card.labels}, not {task}"
                )
        self.networks = tuple(network.eval().requires_grad_(False) for network in networks)
        self.cards = tuple(cards)
        self.turns = turns and turns[0].eval().requires_grad_(False)
        self.turns_card = turns and turns[1]
        self.encoders = tuple(
            None if network.encoder is None else Encoder(network.encoder) for network in self.networks
        )
        self.harmony = any(isinstance(network, MusicNetwork) for network in networks)
        self.width = N_SUMS + self.harmony * N_HARMONY  # of the fixed sums of a cell

    @classmethod
    def load(
        cls,
        speech: str = "speech",
        music: str = "music",
        activity: str = "activity",
        folder: Path = registry.FOLDER,
        diarization: str = "diarization",
    ) -> "AudioModels":
        """Installed models by name; `speech` may be "small"; `diarization` may be missing.

        Raises:
            FileNotFoundError: one of them is not installed; the message names those that are.
            ValueError: weights that are not their card's, or a model of another task.
        """
        names = (speech, music, activity)
        return cls(
            [load_network(name, folder) for name in names],
            [registry.read_card(name, folder) for name in names],
            load_turns(diarization, folder),
        )

    @property
    def versions(self) -> dict[str, str]:
        """Model versions by task."""
        listening = (self.turns_card,) if self.turns_card else ()
        return {card.task: card.version for card in (*self.cards, *listening)}

    def stream(self, **choices: bool) -> CellStream:
        """A new channel; see `CellStream` for the choices."""
        return CellStream(self, **choices)

    def push(self, streams: Sequence[CellStream], sounds: Sequence[Float]) -> list[Said]:
        """Let many channels hear their next samples, as one batch."""
        return listen(streams, sounds)

    @torch.inference_mode()
    def estimate(self, sounds: Sequence[Float]) -> AudioEstimates:
        """One row a sound [n], pooled over the whole of it: for segments that stand alone, of any lengths."""
        parts = [self._batch(sounds[i : i + _BATCH]) for i in range(0, len(sounds), _BATCH)]
        if not parts:
            return self._estimates(0, [self.no_cells(network) for network in self.networks])
        *learned, fixed = map(torch.cat, zip(*parts, strict=True))
        return self._estimates(0, [(one, fixed) for one in learned])

    def no_cells(self, network: Network) -> tuple[Tensor, Tensor]:
        """Sums of no cells at all, learned and fixed."""
        return torch.zeros(0, learned_width(network)), torch.zeros(0, self.width)

    def _batch(self, sounds: Sequence[Float]) -> list[Tensor]:
        """Sums of whole sounds: the learned ones of each network, [b, w], and the fixed ones."""
        frames = [frames_of(sound) for sound in sounds]
        lengths = torch.tensor([len(each) for each in frames])
        longest = -(-max(int(lengths.max()), 1) // CELL_FRAMES) * CELL_FRAMES
        padded = torch.stack(
            [torch.nn.functional.pad(each, (0, 0, 0, longest - len(each))) for each in frames]
        )
        valid = torch.arange(longest)[None] < lengths[:, None]
        fixed = torch.stack(
            [cell_sums(each, int(length)).sum(0) for each, length in zip(padded, lengths, strict=True)]
        )
        if self.harmony:
            fixed = torch.cat((fixed, torch.stack([harmony_of(sound).sum(0) for sound in sounds])), 1)
        learned = [
            torch.zeros(len(sounds), 0) if network.encoder is None else network.encoder(padded, valid).sum(1)
            for network in self.networks
        ]
        return [*learned, fixed]

    def _estimates(self, start: int, windows: Sequence[tuple[Tensor, Tensor]]) -> AudioEstimates:
        """What the networks say of windows, each by its learned and fixed sums."""
        speech, music, activity = (
            estimates_of(start, network, *sums) for network, sums in zip(self.networks, windows, strict=True)
        )
        return AudioEstimates(start, activity.scores, speech, music)


def load_network(name: str, folder: Path = registry.FOLDER) -> Any:
    """The network of an installed model (see `registry.read_weights` for what it raises)."""
    card = registry.read_card(name, folder)
    if card.task == "small":
        return load_small(name, folder)
    network: Network
    if card.task == "music" and "moods" in card.shape:
        network = MusicNetwork(MusicShape.of(card.shape))
    elif card.shape.get("conditions"):
        network = ExpertNetwork(Shape.of(card.shape))
    else:
        network = MoodNetwork(Shape.of(card.shape))
    network.load_state_dict(registry.read_weights(name, folder))
    return network.eval()


def load_turns(name: str, folder: Path = registry.FOLDER) -> tuple[TurnNetwork, Card] | None:
    """The diarization model and its card; None where it is not installed."""
    if not (folder / name / registry.CARD).is_file():
        return None
    card = registry.read_card(name, folder)
    network = TurnNetwork(TurnShape.of(card.shape))
    network.load_state_dict(registry.read_weights(name, folder))
    return network.eval(), card
