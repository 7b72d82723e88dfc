"""The audio models at work: one front end, three networks, half seconds out.

Conventions: mono float32 at 16 kHz; cells of half a second. A stream gives cell `i` once the sound reaches
as far ahead as the model that looks furthest (at most 3 s), and the last cells at `flush`; all three models
speak about the same cells. Numbers do not depend on how the samples are cut. `estimate` is for sounds that
stand alone: one row a sound, pooled over all of it.
"""

import io
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moodstream.models import registry
from moodstream.models.base import (
    ACTIVITIES,
    CELL_FRAMES,
    EMOTIONS,
    QUADRANTS,
    AudioEstimates,
    Estimates,
    Float,
    Turns,
)
from moodstream.models.experts import ExpertNetwork
from moodstream.models.features import N_COLUMNS, FrontEnd, frames_of
from moodstream.models.harmony import N_SUMS as N_HARMONY
from moodstream.models.harmony import HarmonyStream, harmony_of
from moodstream.models.inference import EncoderStream
from moodstream.models.music_network import MusicNetwork, MusicShape
from moodstream.models.network import MoodNetwork, Shape
from moodstream.models.pooling import N_SUMS, cell_sums, quiet_cells, window_sums
from moodstream.models.registry import Card
from moodstream.models.small import SmallNetwork, load_small
from moodstream.models.turns import FUTURE as TURNS_FUTURE
from moodstream.models.turns import PAST as TURNS_PAST
from moodstream.models.turns import TurnNetwork, TurnShape, cells_turns, channel_so_far

_BATCH = 32  # sounds a network sees at once in `estimate`
Network = MoodNetwork | ExpertNetwork | MusicNetwork | SmallNetwork
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
        self.past = max(TURNS_PAST, *(network.shape.past_cells for network in networks))
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

    def stream(self) -> "CellStream":
        """A new channel."""
        return CellStream(self)

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
        return torch.zeros(0, _width(network)), torch.zeros(0, self.width)

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
            _estimates(start, network, *sums) for network, sums in zip(self.networks, windows, strict=True)
        )
        return AudioEstimates(start, activity.scores, speech, music)


class CellStream:
    """One channel's way through the audio networks (a models.base.AudioStream)."""

    def __init__(self, models: AudioModels) -> None:
        self._models = models
        self._front = FrontEnd()
        self._harmony = HarmonyStream() if models.harmony else None
        self._encoders = [
            None if network.encoder is None else EncoderStream(network.encoder) for network in models.networks
        ]
        self._frames = torch.zeros(0, N_COLUMNS)  # of the cell that is not complete
        self._played = torch.zeros(0, N_HARMONY)  # harmony of cells that the frames do not reach yet
        self._fixed = torch.zeros(0, models.width)  # cells from `_first` on
        self._learned = [torch.zeros(0, _width(network)) for network in models.networks]
        self._before = torch.zeros(N_SUMS, dtype=torch.float64)  # sums of all cells before `_first`
        self._first = 0
        self._next = 0  # the cell to give next

    @torch.inference_mode()
    def push(self, samples: Float) -> AudioEstimates:
        """Take mono samples [n] at 16 kHz; give the cells that became ready (possibly none)."""
        if self._harmony is not None:
            self._played = torch.cat((self._played, self._harmony.push(samples)))
        self._take(self._front.push(samples), last=False)
        return self._give(last=False)

    @torch.inference_mode()
    def flush(self, samples: Float | None = None) -> AudioEstimates:
        """The sound ended (with these samples): give the remaining cells, ceil(duration / 500 ms) in all."""
        if self._harmony is not None:
            self._played = torch.cat((self._played, self._harmony.flush(samples)))
        self._take(self._front.flush(samples), last=True)
        return self._give(last=True)

    def peek(self) -> AudioEstimates:
        """What `flush` would give if the sound ended here; the stream goes on as if nobody had asked."""
        ended = copy(self)  # what it holds is replaced by a push, never changed in place
        ended._front = copy(self._front)
        ended._harmony = copy(self._harmony)
        ended._encoders = [copy(encoder) for encoder in self._encoders]
        for encoder, of in zip(ended._encoders, self._encoders, strict=True):
            if encoder is not None and of is not None:
                encoder.restore(of.state())
        ended._learned = list(self._learned)
        return ended.flush()

    @torch.inference_mode()
    def snapshot(self) -> bytes:
        """All that the next push depends on; a hundred kilobytes or so, whatever came before."""
        arrays = {f"front.{name}": value for name, value in self._front.state().items()}
        for i, (encoder, learned) in enumerate(zip(self._encoders, self._learned, strict=True)):
            arrays[f"learned.{i}"] = learned.numpy()
            if encoder is not None:
                arrays |= {f"encoder.{i}.{j}": part.numpy() for j, part in enumerate(encoder.state())}
        if self._harmony is not None:
            arrays |= {f"harmony.{name}": value for name, value in self._harmony.state().items()}
        arrays["played"] = self._played.numpy()
        arrays["frames"], arrays["fixed"] = self._frames.numpy(), self._fixed.numpy()
        arrays["before"] = self._before.numpy()
        arrays["counts"] = np.array([self._first, self._next])
        arrays["versions"] = np.array(list(self._models.versions.values()))
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()

    def restore(self, state: bytes) -> None:
        """Go on where `snapshot` was taken.

        Raises:
            ValueError: the snapshot is of other model versions.
        """
        with np.load(io.BytesIO(state), allow_pickle=False) as arrays:
            values = {name: arrays[name] for name in arrays.files}
        versions = values["versions"].tolist()
        if versions != list(self._models.versions.values()):
            raise ValueError(f"snapshot of {versions}, models are {list(self._models.versions.values())}")
        front = {name.removeprefix("front."): v for name, v in values.items() if name.startswith("front.")}
        self._front.restore(front)
        if self._harmony is not None:
            self._harmony.restore(
                {n.removeprefix("harmony."): v for n, v in values.items() if "harmony." in n}
            )
        self._played = torch.from_numpy(values["played"])
        for i, encoder in enumerate(self._encoders):
            if encoder is None:
                continue
            parts = [values[f"encoder.{i}.{j}"] for j in range(len(encoder.state()))]
            encoder.restore([torch.from_numpy(part) for part in parts])
        self._learned = [torch.from_numpy(values[f"learned.{i}"]) for i in range(len(self._encoders))]
        self._frames, self._fixed = torch.from_numpy(values["frames"]), torch.from_numpy(values["fixed"])
        self._before = torch.from_numpy(values["before"])
        self._first, self._next = (int(count) for count in values["counts"])

    def _take(self, frames: Tensor, last: bool) -> None:
        """Frames into the encoders and into the sums of cells."""
        self._frames = torch.cat((self._frames, frames))
        true = len(self._frames)
        if last:
            self._frames = torch.nn.functional.pad(self._frames, (0, 0, 0, -true % CELL_FRAMES))
        whole = len(self._frames) // CELL_FRAMES * CELL_FRAMES
        if not whole and not last:
            return
        cells, self._frames = self._frames[:whole], self._frames[whole:].clone()
        sums = cell_sums(cells, true)
        for i, encoder in enumerate(self._encoders):
            if encoder is not None:
                fresh = encoder.push(cells, sums, last, true if last else None)
                self._learned[i] = torch.cat((self._learned[i], fresh))
        if self._harmony is not None:
            sums = torch.cat((sums, self._played[: len(sums)]), 1)
            self._played = self._played[len(sums) :].clone()
        self._fixed = torch.cat((self._fixed, sums))

    def _give(self, last: bool) -> AudioEstimates:
        """Estimates of the cells that have their whole window, or with `last` of all that remain."""
        models = self._models
        known = [
            len(self._fixed if encoder is None else part)
            for part, encoder in zip(self._learned, self._encoders, strict=True)
        ]
        ahead = [(n, network.shape.future_cells) for n, network in zip(known, models.networks, strict=True)]
        if models.turns is not None:
            ahead.append((len(self._fixed), TURNS_FUTURE))
        begin, end = self._next - self._first, max(min(n - (0 if last else future) for n, future in ahead), 0)
        windows = []
        for network, learned, n in zip(models.networks, self._learned, known, strict=True):
            if end <= begin:
                windows.append(models.no_cells(network))
                continue
            past, future = network.shape.past_cells, network.shape.future_cells
            both = (learned if learned.shape[1] else self._fixed[:, :0], self._fixed)
            mine, fixed = (window_sums(part[:n], past, future)[begin:end] for part in both)
            windows.append((mine, fixed))
        estimates = hush(models._estimates(self._next, windows), self._fixed[begin : max(end, begin)])
        if models.turns is not None:
            turns = self._turns(models.turns, slice(begin, max(end, begin)))
            estimates = replace(estimates, speech=replace(estimates.speech, turns=turns))
        self._next += max(end - begin, 0)
        forget = max(self._next - models.past - self._first, 0)
        if forget:
            self._before = channel_so_far(self._fixed[:forget, :N_SUMS], self._before)[-1]
            self._fixed = self._fixed[forget:].clone()
            self._learned = [part[forget:].clone() for part in self._learned]
            self._first += forget
        return estimates

    def _turns(self, network: TurnNetwork, of: slice) -> Turns:
        """What the diarization model says of some of the cells that are held."""
        sums = self._fixed[:, :N_SUMS]
        return cells_turns(network, sums, channel_so_far(sums, self._before), self._first == 0, of)


def hush(estimates: AudioEstimates, sums: Tensor) -> AudioEstimates:
    """The estimates with cells that are silence by their own level called so, whatever lies around them.

    Args:
        sums: of the single cells, [n, N_SUMS].
    """
    silence = np.eye(len(ACTIVITIES), dtype=np.float32)[ACTIVITIES.index("silence")]
    activity = np.where(quiet_cells(sums).numpy()[:, None], silence, estimates.activity)
    return replace(estimates, activity=activity)


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


def _estimates(start: int, network: Network, learned: Tensor, fixed: Tensor) -> Estimates:
    moods = None
    if isinstance(network, MusicNetwork):
        output, shares = network.told(fixed)
        moods = shares.numpy()
    else:
        output = network.heads(learned, fixed[:, :N_SUMS])[0]
    unknown = network.known == 0
    mean = output.mean.masked_fill(unknown, torch.nan)
    std = output.log_std.exp().clamp(0.01, 2.0).masked_fill(unknown, torch.nan)
    scores = torch.softmax(output.logits, -1)
    return Estimates(start, mean.numpy(), std.numpy(), scores.numpy(), moods)


def _width(network: Network) -> int:
    """How many learned sums a cell has."""
    return 0 if network.encoder is None else network.shape.gates + 2 * network.shape.channels
