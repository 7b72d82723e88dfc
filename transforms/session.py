"""One media from sound and notes to rows: the steps composed once, for batch and live.

Conventions: a session is fed (`add_notes`, `push`), gives the rows that became final as Arrow tables by table
name, and is closed once (`flush`). However the sound is cut, the rows are the same. A cell is fused when its
sound is heard, so notes that belong to a sound come before it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from moodstream.models.base import (
    ACTIVITIES,
    HAS_MUSIC,
    HAS_SPEECH,
    RATE_HZ,
    STEP_MS,
    AudioEstimates,
    Estimates,
    Float,
    Notes,
    Turns,
    decide,
)
from moodstream.transforms.channels import MixDown
from moodstream.transforms.curve import Mask, SpanInfo
from moodstream.transforms.elements import Clip, Media
from moodstream.transforms.engine import Engine
from moodstream.transforms.features import MusicalContext
from moodstream.transforms.loudness import Loudness
from moodstream.transforms.personal import Listener, personal
from moodstream.transforms.resample import Resample
from moodstream.transforms.roles import CALL_ROLES
from moodstream.transforms.rules import Rule
from moodstream.transforms.talk import Talk, measure_talk
from moodstream.transforms.track import By, Heard, Part, Rows, Sources, Track, merge, tell
from moodstream.transforms.watch import Watch, alert_rows

if TYPE_CHECKING:
    from moodstream.models.bundle import CellStream

GATHER_S = 20  # sound gathered for one call of the networks; the rows do not depend on it
END = 1 << 40  # beyond the last cell of anything
CELL_SAMPLES = RATE_HZ * STEP_MS // 1000
_OF_NOTES = ("symbolic", "fused")  # modalities that notes speak in

_SILENCE, _MUSIC_CELL = ACTIVITIES.index("silence"), ACTIVITIES.index("music")
_REASONS = np.array([None, None, None, "silence", "other"], object)  # by activity
_CALL_REASONS = np.where(np.arange(len(ACTIVITIES)) == _MUSIC_CELL, "music", _REASONS)


@dataclass(frozen=True)
class Settings:
    """What decides the rows besides the content and the models."""

    emotions_for: str = "customer"  # whose emotions on a call: customer, or all (written into every row)
    responsible: str = ""  # who answers for asking for all (written into every row)
    features: bool = False  # musical context from essentia in the summary
    max_hours: float = 24.0  # a media longer than this is cut there, and said so
    speech_model: str = "speech"  # or "small": its student, faster
    one_voice: bool = False  # each channel is one person: judged by how he usually sounds
    listener: Listener | None = None  # whose ratings shift the curves of the notes that they are of
    rules: tuple[Rule, ...] = ()  # what is worth an alert

    def key(self, media: Media) -> str:
        """A text that changes whenever the rows of this media would."""
        offsets_ms = [part.offset_ms for part in media.parts]
        later = (
            "listener",
            "responsible",
            "rules",
            "one_voice",
        )  # came later: said only where they are in use
        mine = {name: value for name, value in asdict(self).items() if name not in later}
        if self.responsible:
            mine["responsible"] = self.responsible
        if self.one_voice:
            mine["one_voice"] = True
        if self.rules:
            mine["rules"] = [rule.digest for rule in self.rules]
        if self.listener is not None and (mark := self.listener.mark(media)):
            mine["listener"] = mark
        return json.dumps(
            mine | {"split": media.split, "roles": media.roles, "offsets_ms": offsets_ms},
            sort_keys=True,
        )


def is_call(media: Media) -> bool:
    """Whether the channels of a media are the sides of a call: split, or with the roles of one."""
    return media.split or bool(CALL_ROLES & set(media.roles))


def may_judge(media: Media, role: str | None, settings: Settings) -> bool:
    """Whether a channel gets emotions: on a call only the customer's, unless everybody's were asked for.

    A call whose sides cannot be told apart (mixed down, or split without roles) counts as the agent's.
    """
    if not is_call(media) or settings.emotions_for == "all":
        return True
    return media.split and role == "customer"


class Voice(NamedTuple):
    """Models that hear a channel, and the cells [first, stop) that they speak about."""

    engine: Engine
    stream: "CellStream"
    first: int = 0
    stop: int = END

    def of(self, block: AudioEstimates) -> AudioEstimates:
        """What counts of what it says."""
        low = min(max(self.first - block.start, 0), len(block))
        high = max(min(self.stop - block.start, len(block)), low)
        return block if high - low == len(block) else between(block, low, high)


class Channel:
    """One channel's way from samples to what is heard in each cell."""

    def __init__(
        self,
        name: str,
        role: str | None,
        rate_hz: int,
        engine: Engine,
        *,
        speech: bool,
        music: bool,
        keep_sound: bool,
        live: bool,
        one_voice: bool = False,
    ) -> None:
        self.name, self.role, self.judged = name, role, speech
        self.listening = [model for model, yes in (("speech", speech), ("music", music)) if yes]
        self.sound: list[Float] | None = [] if keep_sound else None  # of cells that are not estimated yet
        self.resample = Resample(rate_hz, steady=live)
        self.engine = engine
        self.stream = engine.audio.stream(
            speech=speech, music=music, early=live, sparing=True, one_voice=one_voice
        )
        self.heir: Voice | None = None  # the models that speak later on, already listening
        self.gathered: list[Float] = []  # at 16 kHz, not heard by the networks yet
        self.cells = 0  # cells given out
        self.gaps: list[tuple[int, int]] = []  # spans of cells, half-open, that never came and are not final
        self.talk = bytearray()  # one a cell: 1 where it talks
        self._loudness = np.zeros(0, np.float32)  # of the cells that are not estimated yet

    @property
    def voices(self) -> list[Voice]:
        """Who hears it, in the order in which they speak."""
        if self.heir is None:
            return [Voice(self.engine, self.stream)]
        return [Voice(self.engine, self.stream, stop=self.heir.first), self.heir]

    def give_over(self) -> None:
        """The models that were to speak later on are alone from now on."""
        if self.heir is not None:
            self.engine, self.stream, self.heir = self.heir.engine, self.heir.stream, None

    def gather(self, samples: Float, loudness: Float) -> None:
        """The next samples, and the loudness of the cells that became known."""
        self.gathered.append(self.resample.push(samples))
        if len(loudness):
            self._loudness = np.concatenate((self._loudness, loudness))

    @property
    def gathered_s(self) -> float:
        """How much sound the networks have not heard yet."""
        return sum(map(len, self.gathered)) / RATE_HZ

    def advance(self) -> AudioEstimates:
        """Estimates as far as what is gathered goes."""
        return self.stream.push(self.take())

    def rest(self, samples: Float, loudness: Float) -> Float:
        """The sound ended with these samples: all that the networks have not heard yet."""
        self.gather(samples, loudness)
        self.gathered.append(self.resample.flush())
        return self.take()

    def take(self) -> Float:
        """What is gathered, to be heard by the networks now."""
        sound = self.gathered[0] if len(self.gathered) == 1 else np.concatenate([*self.gathered, _NO_SOUND])
        self.gathered = []
        if self.sound is not None:
            self.sound.append(sound)
        return sound

    def loudness_of(self, first: int, cells: int) -> Float:
        """Loudness of cells, `first` counted from the next one to be estimated; NaN where none is known."""
        known = self._loudness[first : first + cells]
        if len(known) < cells:  # the rate's rounding may leave the last cell without any
            known = np.pad(known, (0, cells - len(known)), constant_values=np.nan)
        return known

    def drop_loudness(self, cells: int) -> None:
        """The next cells are estimated."""
        self._loudness = self._loudness[cells:]

    def take_sound(self, cells: int) -> Float:
        """The next cells' sound at 16 kHz, [cells, 8000]; zeros where the last cell has none."""
        known = np.concatenate([*(self.sound or []), _NO_SOUND])
        samples = cells * CELL_SAMPLES
        self.sound = [known[samples:]]
        return np.pad(known[:samples], (0, max(0, samples - len(known)))).reshape(cells, CELL_SAMPLES)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on elsewhere, as plain Python and numpy."""
        return {
            "resample": self.resample.state(),
            "stream": self.stream.state(),
            "heir": None if self.heir is None else self.heir.stream.state(),
            "loudness": self._loudness.copy(),
            "gathered": np.concatenate([*self.gathered, _NO_SOUND]),
            "talk": np.packbits(np.frombuffer(self.talk, bool)),
            "talk_cells": len(self.talk),
            "cells": self.cells,
            "gaps": [list(gap) for gap in self.gaps],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()` of a channel that is heard by the same models."""
        self.resample.restore(state["resample"])
        if state.get("heir") is None:
            self.give_over()
        elif self.heir is not None:
            self.heir.stream.restore(state["heir"])
        self.stream.restore(state["stream"])
        self._loudness, self.gathered = state["loudness"], [state["gathered"]]
        self.cells, self.gaps = state["cells"], [(first, stop) for first, stop in state["gaps"]]
        self.talk = bytearray(np.unpackbits(state["talk"], count=state["talk_cells"]).tobytes())


_NO_SOUND = np.zeros(0, np.float32)


class Side:
    """One part of sound of a media: all its channels, or the side of a call that it is.

    Args:
        rate_hz: of its samples.
        width: how many channels its clips have.
        channels: one each, or one for their mix.
    """

    def __init__(self, rate_hz: int, width: int, channels: list[Channel]) -> None:
        self.rate_hz, self.width, self.channels = rate_hz, width, channels
        self.is_mixed = len(channels) < width
        self.samples = 0  # of each channel until now
        self.mix = MixDown(rate_hz)
        self.meter = Loudness(rate_hz, width, apart=not self.is_mixed)

    @property
    def position_ms(self) -> int:
        """Where its sound has got to."""
        return self.samples * 1000 // self.rate_hz

    def feed(self, samples: Float) -> None:
        """Let the channels gather the next samples, [width, n]."""
        loudness = self.meter.push(samples)
        if self.is_mixed:
            self.channels[0].gather(self.mix.push(samples), loudness)
        else:
            for channel, own, mine in zip(self.channels, samples, loudness.T, strict=True):
                channel.gather(own, mine)

    def rest(self) -> Iterator[tuple[Channel, Float, Float]]:
        """The sound ended: each channel, the samples that it has not gathered, and the last loudness."""
        loudness = self.meter.flush()
        if self.is_mixed:
            yield self.channels[0], self.mix.flush(), loudness
        else:
            for channel, mine in zip(self.channels, loudness.T, strict=True):
                yield channel, _NO_SOUND, mine

    def state(self) -> dict[str, Any]:
        """Everything needed to go on elsewhere, as plain Python and numpy."""
        return {
            "rate_hz": self.rate_hz,
            "width": self.width,
            "samples": self.samples,
            "mix": self.mix.state(),
            "meter": self.meter.state(),
            "channels": [channel.state() for channel in self.channels],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()` of a part of the same width and rate."""
        self.samples = state["samples"]
        self.mix.restore(state["mix"])
        self.meter.restore(state["meter"])
        for channel, saved in zip(self.channels, state["channels"], strict=True):
            channel.restore(saved)


class Session:
    """One media, from its first block to its last row.

    Args:
        media: what it is; its roles and `split` say how its channels are to be read.
        analysis_id: written into every row.
        engine: the models.
        settings: what else decides the rows.
        with_sound: False for a media of notes alone.
    """

    gather_s: float = GATHER_S
    live = False  # whether episodes are told while they run
    final_revision = 0  # of curve rows
    began_ms: int | None = None  # UTC of position 0, where rows say it

    def __init__(
        self, media: Media, analysis_id: str, engine: Engine, settings: Settings, *, with_sound: bool = True
    ) -> None:
        self.media, self.analysis_id, self.engine, self.settings = media, analysis_id, engine, settings
        self.with_sound = with_sound
        self.sides: dict[str, Side] = {}  # by part; several where each is a side of a call
        sides = [part for part in media.parts if part.role]
        self.part_roles: dict[str, tuple[str, ...]] = {part.source: (part.role,) for part in sides}
        self.tracks: dict[tuple[str, str], Track] = {}
        self.watch = Watch(settings.rules, live=self.live) if settings.rules else None
        if self.watch is not None:
            for part in sides:
                self.watch.open(part.role)
        self.cells = 0  # cells given out on the longest channel
        self.encoder_ms: dict[str, int] = {}
        self._symbolic: Estimates | None = None
        self._sounding: Mask = np.zeros(0, bool)
        self._notes_end_ms = 0
        self._context = MusicalContext() if settings.features and not is_call(media) else None

    @property
    def duration_ms(self) -> int:
        """How much of the media has been heard or read, ms."""
        return max([self._notes_end_ms, *(side.position_ms for side in self.sides.values())])

    @property
    def channels(self) -> list[Channel]:
        """All channels of all parts, in the order in which they were first heard."""
        return [channel for side in self.sides.values() for channel in side.channels]

    @property
    def modalities(self) -> list[str]:
        """Those that have an estimate somewhere."""
        return sorted({modality for (_, modality), track in self.tracks.items() if track.estimated_cells})

    def add_notes(self, notes: Notes) -> None:
        """The notes of the media, on its own time axis."""
        self._symbolic = self._read(notes)
        self._sounding = self.engine.symbolic.sounding(notes)
        self._notes_end_ms = round(notes.end_of_media_s * 1000)
        self.encoder_ms["symbolic"] = self._notes_end_ms
        by_name = {channel.name: channel for channel in self.channels}
        for (name, modality), track in self.tracks.items():  # sound that was there before says so from now on
            if modality in _OF_NOTES:
                track.info = self._info(name, by_name.get(name), modality, track.engine)

    def _read(self, notes: Notes) -> Estimates:
        """What the model of notes says of each cell."""
        said = self.engine.symbolic.estimate(notes)
        if self.settings.listener is not None and (ratings := self.settings.listener.of(self.media)):
            said = personal(said, ratings, self.engine.listeners)
        return said

    def push(self, clip: Clip, part: str = "audio") -> Rows:
        """The next block of sound of a part, [channels, n]; gives the rows that became final."""
        side = self.sides.get(part) or self._open(part, len(clip.samples), clip.rate_hz)
        side.samples += clip.samples.shape[1]
        side.feed(clip.samples)
        rows: Rows = {}
        for channel in side.channels:
            if channel.gathered_s >= self.gather_s:
                merge(rows, self._hear(channel, channel.advance(), channel.engine))
        return rows

    def flush(self) -> Rows:
        """The media ended: the remaining rows, the last episodes and the summaries."""
        rows: Rows = {}
        for side in self.sides.values():
            for channel, samples, loudness in side.rest():
                sound = channel.rest(samples, loudness)
                for voice in channel.voices:
                    block = voice.of(voice.stream.flush(sound))
                    merge(rows, self._hear(channel, block, voice.engine))
        self._read_notes_alone(rows)
        talk = self._talk()
        features, key = self._context.finish() if self._context else ({}, None)
        for (name, modality), track in self.tracks.items():
            musical = {"features": features, "key": key} if features and modality != "speech" else {}
            merge(rows, track.flush(self.duration_ms, talk.get(name), musical))
        if self.watch is not None:
            summaries = pa.concat_tables(rows["summary"]) if rows.get("summary") else None
            merge(rows, alert_rows(self.watch.close(self.duration_ms, summaries)))
        return rows

    def _talk(self) -> dict[str, Talk]:
        """By channel of a call, how it talked."""
        if not self.media.split:
            return {}
        return measure_talk({one.name: np.frombuffer(one.talk, bool) for one in self.channels})

    # ------------------------------------------------------------ sound

    def _open(self, part: str, width: int, rate_hz: int) -> Side:
        """A part whose clips have so many channels at this rate."""
        roles: Sequence[str | None]
        names, roles = ["mix"], [None]
        if self.media.split:
            known = self.part_roles.get(part, self.media.roles)
            taken = [channel.name for channel in self.channels]
            is_told = len(known) == width and len({*known, *taken}) == width + len(taken)
            names = list(known) if is_told else [f"ch{len(taken) + i}" for i in range(width)]
            roles = [*known, *[None] * width][:width] if len(known) <= width else [None] * width
        judged = [may_judge(self.media, role, self.settings) for role in roles]
        channels = [
            Channel(
                name,
                role,
                rate_hz,
                self.engine,
                speech=speech,
                music=speech and not self.media.split,  # nobody asks what the music on a line feels like
                keep_sound=self._context is not None,
                live=self.live,
                one_voice=self.settings.one_voice,
            )
            for name, role, speech in zip(names, roles, judged, strict=True)
        ]
        if self.watch is not None:
            for name in names:
                self.watch.open(name)
        side = self.sides[part] = Side(rate_hz, width, channels)
        return side

    def _hear(self, channel: Channel, block: AudioEstimates, engine: Engine) -> Rows:
        return tell(self._final(channel, block, decide(block.activity), engine)) if len(block) else {}

    def _final(
        self, channel: Channel, block: AudioEstimates, activity: npt.NDArray[np.int8], engine: Engine
    ) -> list[Part]:
        """What the tracks of a channel are told of its next cells, by the models of an engine."""
        n = len(block)
        channel.talk += HAS_SPEECH[activity].tobytes()
        channel.cells = block.start + n
        self.cells = max(self.cells, channel.cells)
        for name in channel.listening:
            self.encoder_ms[name] = self.encoder_ms.get(name, 0) + n * STEP_MS
        heard = self._heard(channel, block.start, activity, channel.loudness_of(0, n))
        channel.drop_loudness(n)
        if self._context is not None:
            self._context.push(channel.take_sound(n)[HAS_MUSIC[activity]].ravel())
            self._context.push_loudness(heard.loudness)
        return [
            Part(
                track,
                heard,
                sources,
                revision=self.final_revision,
                began_ms=self.began_ms,
                by=self._by(channel, track, engine),
            )
            for track, sources in self._sources(channel, block, heard)
        ]

    def _by(self, channel: Channel | None, track: Track, engine: Engine) -> By | None:
        """Who speaks to a track, where it is somebody else than before."""
        if engine is track.engine:
            return None
        return By(engine, self._info(track.info.channel, channel, track.info.modality, engine))

    def _heard(self, channel: Channel, start: int, activity: npt.NDArray[np.int8], loudness: Float) -> Heard:
        """What is known of cells before any emotion."""
        if not channel.judged:
            reasons = np.full(len(activity), "role", object)
        else:
            reasons = (_CALL_REASONS if self.media.split else _REASONS)[activity]
        return Heard(start, activity, loudness, reasons)

    def _sources(
        self, channel: Channel, block: AudioEstimates, heard: Heard
    ) -> Iterator[tuple[Track, Sources]]:
        """The tracks that a block belongs to, each with what takes part in it and where that counts."""
        talks, plays = HAS_SPEECH[heard.activity], HAS_MUSIC[heard.activity]
        sources = {"speech": (block.speech, talks)} if channel.judged else {}
        if self.media.split or not channel.judged:
            yield self._track(channel, "speech"), sources
            return
        sources["music"] = (block.music, plays)
        if self._symbolic is not None:
            sources["symbolic"] = self._symbolic_cells(block.start, block.start + len(block))
        for modality, source in sources.items():
            yield self._track(channel, modality, sparse=True), {modality: source}
        yield self._track(channel, "fused"), sources

    # ------------------------------------------------------------ notes

    def _symbolic_cells(self, start: int, stop: int) -> tuple[Estimates, Mask]:
        """The symbolic estimates of cells [start, stop), and where notes sound."""
        if self._symbolic is None:
            raise RuntimeError("symbolic cells asked for before any notes")
        have = min(max(len(self._symbolic) - start, 0), stop - start)

        def cut(values: Float) -> Float:
            cells = values[start : start + have]
            return np.pad(cells, ((0, stop - start - have), (0, 0)), constant_values=np.nan)

        of = self._symbolic
        sounding = np.pad(self._sounding[start : start + have], (0, stop - start - have))
        return Estimates(start, cut(of.mean), cut(of.std), cut(of.scores)), sounding

    def _read_notes_alone(self, rows: Rows) -> None:
        """The cells that have notes and no sound: all of a MIDI file, or what outlasts the recording."""
        if self._symbolic is None or len(self._symbolic) <= self.cells:
            return
        for start, stop, engine in self._spans(self.cells, len(self._symbolic)):
            estimates, sounding = self._symbolic_cells(start, stop)
            activity = np.where(sounding, _MUSIC_CELL, _SILENCE).astype(np.int8)
            heard = Heard(start, activity, np.full(stop - start, np.nan, np.float32), _REASONS[activity])
            sources = {"symbolic": (estimates, sounding)}
            channel = self.channels[0] if self.channels else None
            tracks = [self._track(channel, "symbolic", sparse=self.with_sound)]
            tracks += [self._track(channel, "fused")] if self.with_sound else []
            for track in tracks:
                merge(rows, tell([Part(track, heard, sources, by=self._by(channel, track, engine))]))
            self.cells = stop

    def _spans(self, start: int, stop: int) -> list[tuple[int, int, Engine]]:
        """Cells [start, stop) by whose models speak there."""
        return [(start, stop, self.engine)]

    # ------------------------------------------------------------ tracks

    def _track(self, channel: Channel | None, modality: str, *, sparse: bool = False) -> Track:
        name = channel.name if channel else "mix"
        if (name, modality) not in self.tracks:
            info = self._info(name, channel, modality)
            self.tracks[name, modality] = Track(
                info, self.engine, sparse=sparse, revise=self.live, watch=self.watch
            )
        return self.tracks[name, modality]

    def _info(
        self, name: str, channel: Channel | None, modality: str, engine: Engine | None = None
    ) -> SpanInfo:
        engine = engine or self.engine
        if modality == "fused":
            parts = ["speech", "music"] + (["symbolic"] if self._symbolic is not None else [])
            model, version = "fusion", "+".join(engine.cards[part].version for part in parts)
        else:
            card = engine.cards[modality]
            model, version = card.name, card.version
        if self._symbolic is not None and self.settings.listener is not None and modality in _OF_NOTES:
            version += self.settings.listener.mark(self.media)
        return SpanInfo(
            media_id=self.media.media_id,
            take=self.media.take,
            analysis_id=self.analysis_id,
            channel=name,
            role=channel.role if channel else None,
            modality=modality,
            model=model,
            model_version=version,
            emotions_for=self.settings.emotions_for,
            responsible=self.settings.responsible or None,
        )


def between(block: AudioEstimates, low: int, high: int) -> AudioEstimates:
    """Some cells of a block, counted from its first one."""
    start, cells = block.start + low, slice(low, high)

    def cut(of: Estimates) -> Estimates:
        moods = None if of.moods is None else of.moods[cells]
        turns = None if of.turns is None else Turns(of.turns.scores[cells], of.turns.change[cells])
        return Estimates(start, of.mean[cells], of.std[cells], of.scores[cells], moods, turns)

    return AudioEstimates(start, block.activity[cells], cut(block.speech), cut(block.music))
