"""Many channels through the audio networks as one batch: samples in, half seconds out.

Channels that are equally far (all calls of one rate that run, say) are stacked, so that a step costs one call
of torch for all of them. What a channel remembers is a short list of arrays, stacked before a step and taken
apart after it (in numpy, which does that many times faster); a channel that is alone is a batch of one.

Conventions: mono float32 at 16 kHz; cells of half a second; tensors of a batch have the channels in front.
A cell is *final* once the sound reaches as far ahead as the model that looks furthest. Before that, an
*early* word on it can be had as soon as its own sound is summed (within 0.5 s of its end): the same heads,
over the part of its window that is known by then, always the same part. Numbers depend neither on how the
samples are cut nor on who else is in the batch (but for the last bits of single precision).
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from moodstream.models.base import (
    ACTIVITIES,
    CELL_FRAMES,
    HAS_MUSIC,
    HAS_SPEECH,
    HOP,
    AudioEstimates,
    Estimates,
    Float,
    Turns,
    decide,
)
from moodstream.models.experts import ExpertNetwork
from moodstream.models.features import (
    LEFT,
    LOOKAHEAD_FRAMES,
    N_BASE,
    N_COLUMNS,
    N_MELS,
    N_MODULATION,
    PAST_FRAMES,
    WINDOW,
    base_columns,
    with_derived,
)
from moodstream.models.harmony import N_SUMS as N_HARMONY
from moodstream.models.harmony import HarmonyStream
from moodstream.models.inference import Encoder, Memory, kept
from moodstream.models.judging import (
    Network,
    estimates_of,
    hushed,
    lag_of,
    learned_width,
    mapped,
    nothing,
    placed,
    split,
    trust,
    windows_of,
)
from moodstream.models.music_network import MusicNetwork
from moodstream.models.pooling import N_SUMS, cell_sums, statistics
from moodstream.models.turns import AROUND, FUTURE, NEAR, PAST, SIDES, TurnNetwork, deep_view

_MOST_SAMPLES = 128 * 8_000  # in one step: more gains nothing
SPEECH, MUSIC, ACTIVITY = range(3)
_BASE, _FIXED, _COMMON = 1, 3, 5  # in a channel's memory: base columns, sums of cells, what no encoder owns
_BANDED = PAST_FRAMES - 6  # of those, the ones of which only the modulation bands are still asked for
_HAS = (HAS_SPEECH, HAS_MUSIC)
Remembered = npt.NDArray[np.floating[Any]]


class Networks(Protocol):
    """What channels go through: networks of speech, music and activity, in this order."""

    networks: tuple[Network, ...]
    encoders: tuple[Encoder | None, ...]
    turns: TurnNetwork | None
    harmony: bool

    @property
    def versions(self) -> dict[str, str]:
        """Model versions by task."""


class Said(NamedTuple):
    """What a push makes known."""

    final: AudioEstimates
    early: AudioEstimates  # of cells whose own sound is known by now


class CellStream:
    """What one channel's way through the networks remembers.

    Args:
        models: the networks.
        speech, music: whether those models listen; what does not listen says nothing (NaN).
        early: whether early words are wanted.
        sparing: whether speech and music are judged only in cells where activity hears them.
        one_voice: whether all speech here is one speaker's; then it is judged by how it differs from all
            that was heard of the speaker so far, the more so the longer that is (see `trust`).
    """

    def __init__(
        self,
        models: Networks,
        *,
        speech: bool = True,
        music: bool = True,
        early: bool = False,
        sparing: bool = False,
        one_voice: bool = False,
    ) -> None:
        self.models, self.early, self.sparing, self.one_voice = models, early, sparing, one_voice
        self.listening = tuple(at for at, yes in enumerate((speech, music, True)) if yes)
        self.harmony = HarmonyStream() if music and models.harmony else None
        self.played = torch.zeros(0, N_HARMONY)  # harmony of cells that the frames do not reach yet
        width = N_SUMS + N_HARMONY * (self.harmony is not None)
        self.memory: list[Remembered] = [
            np.zeros(LEFT, np.float32),  # samples from the hop of the last frame on
            np.zeros((0, N_BASE), np.float32),  # frames that later derived columns still need
            np.zeros((0, N_COLUMNS), np.float32),  # frames of the cell that is not complete
            np.zeros((0, width), np.float32),  # sums of the cells from `first` on
            np.zeros(N_SUMS),  # sums of all cells before `summed`
        ]
        for at in self.listening:
            encoder = models.encoders[at]
            if encoder is not None:
                self.memory.append(np.zeros((0, learned_width(models.networks[at])), np.float32))
                self.memory += [part.numpy() for part in encoder.start()]
        self.first = self.next = self.told = self.summed = 0  # cells; `next` is given out next
        self._measure()

    def push(self, samples: Float) -> AudioEstimates:
        """Take mono samples [n] at 16 kHz; give the cells that became final (possibly none)."""
        return listen([self], [samples])[0].final

    def flush(self, samples: Float | None = None) -> AudioEstimates:
        """The sound ended (with these samples): give the remaining cells, ceil(duration / 500 ms) in all."""
        rest = np.zeros(0, np.float32) if samples is None else samples
        return listen([self], [rest], last=True)[0].final

    def heir(self, models: Networks) -> "CellStream":
        """A stream of other networks where this one stands: front end and sums of cells are the same for all.

        Its encoders begin here. So what it says is what it would say had it been there from the start only
        from the cell on that lies as far ahead as its networks look back.

        Raises:
            ValueError: only one of the two hears harmony.
        """
        if models.harmony != self.models.harmony:
            raise ValueError("only one of the two models of music hears harmony")
        speech, music = (at in self.listening for at in (SPEECH, MUSIC))
        heir = CellStream(
            models,
            speech=speech,
            music=music,
            early=self.early,
            sparing=self.sparing,
            one_voice=self.one_voice,
        )
        common = self.memory[:_COMMON]
        encoders = heir.memory[_COMMON:]
        at = 0
        for listener in heir.listening:
            encoder = models.encoders[listener]
            if encoder is not None:
                width = learned_width(models.networks[listener])
                encoders[at] = np.zeros((len(common[_FIXED]), width), np.float32)
                at += 1 + len(encoder.start())
        heir.memory = [*common, *encoders]
        heir.first, heir.next, heir.told, heir.summed = self.first, self.next, self.told, self.summed
        if self.harmony is not None and heir.harmony is not None:
            heir.harmony.restore(self.harmony.state())
            heir.played = self.played
        heir._measure()
        return heir

    def state(self) -> dict[str, Any]:
        """All that the next push depends on, as plain Python and numpy."""
        return {
            "versions": list(self.models.versions.values()),
            "listening": list(self.listening),
            "counts": [self.first, self.next, self.told, self.summed],
            "memory": [part.copy() for part in (self.memory[0], *self.memory[2:])],
            "base": self.memory[_BASE][_BANDED:].copy(),
            "bands": _banded(self.memory[_BASE]),
            "harmony": self.harmony and {**self.harmony.state(), "played": self.played.numpy().copy()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken.

        Raises:
            ValueError: the state is of other model versions, or of other listeners.
        """
        mine = [list(self.models.versions.values()), list(self.listening)]
        if [state["versions"], state["listening"]] != mine:
            raise ValueError(f"state of {state['versions']}, models are {mine[0]}")
        self.first, self.next, self.told, self.summed = state["counts"]
        samples, *rest = (part.copy() for part in state["memory"])
        self.memory = [samples, _unbanded(state["bands"], state["base"]), *rest]
        if self.harmony is not None:
            self.harmony.restore(state["harmony"])
            self.played = torch.from_numpy(state["harmony"]["played"].copy())
        self._measure()

    def _measure(self) -> None:
        """Note what must be equal in channels that go together."""
        since = (self.next - self.first, self.told - self.first, self.summed - self.first, self.first == 0)
        kind = (self.listening, self.early, self.sparing, self.one_voice, *since)
        self.shape = (id(self.models), kind, tuple(part.shape for part in self.memory))


@torch.inference_mode()
def listen(streams: Sequence[CellStream], sounds: Sequence[Float], last: bool = False) -> list[Said]:
    """Let each channel hear its next samples [n]; what becomes known of each.

    Args:
        last: the sounds end here.
    """
    groups: dict[Any, list[int]] = {}
    for at, (stream, sound) in enumerate(zip(streams, sounds, strict=True)):
        groups.setdefault((len(sound), stream.shape), []).append(at)
    said: dict[int, Said] = {}
    for (length, _), members in groups.items():
        most = 1 if last else max(_MOST_SAMPLES // max(length, 1), 1)
        for begin in range(0, len(members), most):
            some = members[begin : begin + most]
            batch = _Batch([streams[at] for at in some], last)
            said |= zip(some, batch.run([sounds[at] for at in some]), strict=True)
    return [said[at] for at in range(len(streams))]


class _Batch:
    """One step of channels that are equally far."""

    def __init__(self, streams: Sequence[CellStream], last: bool) -> None:
        one = streams[0]
        self.streams, self.last, self.models, self.listening = streams, last, one.models, one.listening
        columns = zip(*(stream.memory for stream in streams), strict=True)
        self.memory = [torch.from_numpy(np.stack(column)) for column in columns]
        self.begin, self.told = one.next - one.first, one.told - one.first
        self.summed, self.first = one.summed - one.first, one.first
        self.early = one.early and not last

    def run(self, sounds: Sequence[Float]) -> Iterable[Said]:
        samples, base, partial, fixed, so_far, *rest = self.memory
        fresh = torch.from_numpy(np.stack(sounds).astype(np.float32, copy=False))
        frames, samples, base = self._frames(torch.cat((samples, fresh), 1), base)
        cells, true, partial = self._whole(torch.cat((partial, frames), 1))
        sums = cell_sums(cells.flatten(0, 1), true)
        sums = sums.reshape(len(cells), cells.shape[1] // CELL_FRAMES, sums.shape[1])
        learned, memories = self._encode(cells, sums, true, rest)
        fixed = torch.cat((fixed, self._with_harmony(sums, sounds)), 1)
        known = fixed.shape[1]
        end = max(self._end(known, learned), self.begin)
        usual, early, so_far = self._channel(fixed, so_far, end)
        said = self._judge(fixed, learned, end, torch.cat((usual, early), 1))
        turns = self._turns(fixed, learned, usual, end)
        forget = max(end - self._past(), 0)
        memory = [samples, base, partial, kept(fixed, forget), so_far]
        for at, encoder_memory in memories.items():
            memory += [kept(learned[at], forget), *encoder_memory]
        return self._told(said, turns, memory, (end, known, forget))

    # ------------------------------------------------------------ samples to sums of cells

    def _frames(self, samples: Tensor, base: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The frames [b, t, N_COLUMNS] that became complete; what is left of samples and base columns."""
        begun = base.shape[1] > 0
        held = samples.shape[1] - begun * HOP  # the hop of the frame before is there for the flux
        count = max((held - WINDOW) // HOP + 1, 0)
        if self.last:
            count = max(-(-(held - LEFT) // HOP), 0)
            samples = F.pad(samples, (0, max(begun * HOP + (count - 1) * HOP + WINDOW - samples.shape[1], 0)))
        if count:
            windows = samples.unfold(1, WINDOW, HOP)[:, : count + begun]
            if not begun:
                windows = torch.cat((windows[:, :1], windows), 1)
            new = base_columns(windows.flatten(0, 1), None).reshape(len(samples), -1, N_BASE)[:, 1:]
            base = torch.cat((base if begun else new[:, :1].expand(-1, PAST_FRAMES, -1), new), 1)
            samples = kept(samples, (count + begun - 1) * HOP)
        if self.last and base.shape[1]:
            base = torch.cat((base, base[:, -1:].expand(-1, LOOKAHEAD_FRAMES, -1)), 1)
        ready = base.shape[1] - PAST_FRAMES - LOOKAHEAD_FRAMES
        if ready <= 0:
            return base.new_zeros(len(base), 0, N_COLUMNS), samples, base
        frames = torch.vmap(with_derived)(base) if len(base) > 1 else with_derived(base[0])[None]
        return frames, samples, kept(base, ready)

    def _whole(self, frames: Tensor) -> tuple[Tensor, int | None, Tensor]:
        """The frames of whole cells, how many of them are true if some are padding, and the rest."""
        true = None
        if self.last:
            true = frames.shape[1]
            frames = F.pad(frames, (0, 0, 0, -true % CELL_FRAMES))
        whole = frames.shape[1] // CELL_FRAMES * CELL_FRAMES
        return frames[:, :whole], true, kept(frames, whole)

    def _encode(
        self, cells: Tensor, sums: Tensor, true: int | None, memory: Memory
    ) -> tuple[dict[int, Tensor], dict[int, Memory]]:
        """By listener with an encoder: all learned sums that are held, and its memory."""
        learned: dict[int, Tensor] = {}
        memories: dict[int, Memory] = {}
        for at in self.listening:
            encoder = self.models.encoders[at]
            if encoder is None:
                continue
            size = 1 + len(encoder.start())
            (before, *mine), memory = memory[:size], memory[size:]
            fresh, memories[at] = encoder.push(mine, cells, sums, self.last, true)
            learned[at] = torch.cat((before, fresh), 1)
        return learned, memories

    def _with_harmony(self, sums: Tensor, sounds: Sequence[Float]) -> Tensor:
        if self.streams[0].harmony is None:
            return sums
        played = []
        for stream, sound in zip(self.streams, sounds, strict=True):
            if stream.harmony is not None:
                step = stream.harmony.flush if self.last else stream.harmony.push
                stream.played = torch.cat((stream.played, step(sound)))
                played.append(stream.played[: sums.shape[1]])
                stream.played = stream.played[sums.shape[1] :].clone()
        return torch.cat((sums, torch.stack(played)), 2)

    # ------------------------------------------------------------ sums of cells to estimates

    def _past(self) -> int:
        """How many cells before the next one are still needed."""
        return max(PAST, *(self.models.networks[at].shape.past_cells for at in self.listening))

    def _end(self, known: int, learned: dict[int, Tensor]) -> int:
        """How many of the held cells are final."""
        if self.last:
            return known
        ends = [
            (learned[at].shape[1] if at in learned else known) - self.models.networks[at].shape.future_cells
            for at in self.listening
        ]
        if SPEECH in self.listening and (self.models.turns is not None or self.streams[0].one_voice):
            ends.append(known - FUTURE)
        return min(ends)

    def _channel(self, fixed: Tensor, so_far: Tensor, end: int) -> tuple[Tensor, Tensor, Tensor]:
        """Sums, in double precision, of all that was heard of a channel.

        Returns:
            up to `FUTURE` cells after each final one, [b, n, N_SUMS]; up to each early one, [b, m, N_SUMS];
            and up to the last of the first kind, [b, N_SUMS].
        """
        if SPEECH not in self.listening:
            none = so_far[:, None].expand(-1, 0, -1)
            return none, none, so_far
        known = fixed.shape[1]
        ahead = min(end + FUTURE, known)
        running = torch.cat((so_far[:, None], fixed[:, self.summed :, :N_SUMS].double()), 1).cumsum(1)
        final = torch.arange(self.begin, end).add(1 + FUTURE).clamp(max=ahead) - self.summed
        early = torch.arange(self.told if self.early else known, known).add(1) - self.summed
        return running[:, final], running[:, early], running[:, ahead - self.summed]

    def _judge(
        self, fixed: Tensor, learned: dict[int, Tensor], end: int, usual: Tensor
    ) -> dict[int, tuple[Estimates, Estimates]]:
        """By model what it says of all cells that became final, and early of others, [b, n, ...] each."""
        known = fixed.shape[1]
        told = self.told if self.early else known
        shape = (end - self.begin, known - told)
        cells = torch.cat((fixed[:, self.begin : end], fixed[:, told:]), 1)
        activity = self._said(ACTIVITY, fixed, learned, end, told)
        activity = Estimates(0, activity.mean, activity.std, hushed(activity.scores, cells))
        heard = decide(activity.scores.reshape(-1, len(ACTIVITIES)))
        said = {ACTIVITY: split(activity, shape)}
        for at in (SPEECH, MUSIC):
            network = self.models.networks[at]
            if at in self.listening:
                only = _HAS[at][heard] if self.streams[0].sparing else None
                channel = usual if at == SPEECH and self.streams[0].one_voice else None
                said[at] = split(self._said(at, fixed, learned, end, told, only, channel), shape)
            else:
                said[at] = split(nothing((len(fixed), sum(shape)), len(network.shape.labels)), shape)
        return said

    def _said(
        self,
        at: int,
        fixed: Tensor,
        learned: dict[int, Tensor],
        end: int,
        told: int,
        only: Any = None,
        channel: Tensor | None = None,
    ) -> Estimates:
        """What one model says of the final and the early cells, [b, n, ...]; NaN outside of `only`.

        Args:
            channel: sums [b, n, N_SUMS] of all that was heard of the speaker; None: judge without.
        """
        network = self.models.networks[at]
        past, future = network.shape.past_cells, network.shape.future_cells
        known, lag = fixed.shape[1], lag_of(network)
        if not isinstance(network, MusicNetwork):
            fixed = fixed[..., :N_SUMS]
        rows = [
            torch.cat(
                (windows_of(of, self.begin, end, -past, future), windows_of(of, told, known, -past, -late)), 1
            )
            for of, late in ((learned.get(at, fixed[..., :0]), lag), (fixed, 0))
        ]
        size = rows[1].shape[:2]
        if channel is not None:
            heard = torch.cat((torch.arange(self.begin, end), torch.arange(told, known))) + self.first + 1
            sure = trust(channel, heard)
            rows += [channel.float(), sure[..., None]]
        mine, sums, *speaker = (row.flatten(0, 1) for row in rows)
        if only is None or only.all():
            says = estimates_of(0, network, mine, sums, *speaker)
        else:
            says = nothing((len(sums),), len(network.shape.labels))
            if only.any():
                few = torch.from_numpy(np.flatnonzero(only))
                mine, sums, *speaker = (row[few] for row in (mine, sums, *speaker))
                says = placed(says, estimates_of(0, network, mine, sums, *speaker), only)
        return mapped(says, lambda part: part.reshape(*size, part.shape[1]))

    def _turns(self, fixed: Tensor, learned: dict[int, Tensor], channel: Tensor, end: int) -> Turns | None:
        """What the diarization model says of the final cells, [b, n, ...]."""
        network = self.models.turns
        if network is None or SPEECH not in self.listening:
            return None
        fixed, n = fixed[..., :N_SUMS], end - self.begin
        spans = (NEAR, AROUND, *(side for pair in SIDES for side in pair))
        sums = [windows_of(fixed, self.begin, end, *span) for span in spans]
        near, around, before, after, close_before, close_after, usual = (
            statistics(torch.stack([*sums, channel.float()]).flatten(1, 2)).unbind(0)
            if n
            else torch.zeros(7, 0, 0).unbind(0)
        )
        if not n:
            size = len(network.shape.labels)
            none = np.zeros((len(fixed), 0, size), np.float32)
            return Turns(none, none[..., 0])
        speech, deep = self.models.networks[SPEECH], None
        if isinstance(speech, ExpertNetwork):
            deep = deep_view(speech, windows_of(learned[SPEECH], self.begin, end, *NEAR).flatten(0, 1))
        logits = network.logits(network.emotion_inputs(near, around, usual), deep)
        scores = torch.softmax(logits, 1)
        change = network.change(network.change_inputs(after - before, close_after - close_before))[:, 0]
        odds = change.reshape(len(fixed), n).numpy().copy()
        if self.first + self.begin == 0:
            odds[:, 0] = 0.0
        return Turns(scores.reshape(len(fixed), n, -1).numpy(), odds)

    # ------------------------------------------------------------ back to the channels

    def _told(
        self,
        said: dict[int, tuple[Estimates, Estimates]],
        turns: Turns | None,
        memory: Memory,
        counts: tuple[int, int, int],
    ) -> list[Said]:
        end, known, forget = counts
        parts = [part.numpy() for part in memory]
        found = []
        summed = min(end + FUTURE, known) if SPEECH in self.listening else self.summed
        for i, stream in enumerate(self.streams):
            final, early = (
                self._of(said, kind, i, start)
                for kind, start in (
                    (0, stream.next),
                    (1, stream.told if self.early else stream.first + known),
                )
            )
            if turns is not None:
                heard = Turns(turns.scores[i], turns.change[i])
                speech = final.speech
                speech = Estimates(speech.start, speech.mean, speech.std, speech.scores, speech.moods, heard)
                final = AudioEstimates(final.start, final.activity, speech, final.music)
            found.append(Said(final, early))
            stream.memory = [part[i] for part in parts]
            stream.next, stream.told = stream.first + end, stream.first + known
            stream.summed = stream.first + summed
            stream.first += forget
        self.streams[0]._measure()
        for stream in self.streams[1:]:
            stream.shape = self.streams[0].shape
        return found

    def _of(
        self, said: dict[int, tuple[Estimates, Estimates]], kind: int, i: int, start: int
    ) -> AudioEstimates:
        speech, music = (mapped(said[at][kind], lambda part: part[i], start) for at in (SPEECH, MUSIC))
        return AudioEstimates(start, said[ACTIVITY][kind].scores[i], speech, music)


def _banded(base: Float) -> Float:
    """What is left of old base columns [t, N_BASE]: their modulation bands [<= t, N_MODULATION]."""
    bands: Float = base[:_BANDED, :N_MELS].reshape(-1, N_MODULATION, N_MELS // N_MODULATION).mean(2)
    return bands


def _unbanded(bands: Float, base: Float) -> Float:
    """Base columns that serve as well as those that `_banded` was given, the later ones as they are."""
    old = np.zeros((len(bands), N_BASE), np.float32)
    old[:, :N_MELS] = bands.repeat(N_MELS // N_MODULATION, 1)
    return np.concatenate((old, base))
