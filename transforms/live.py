"""LiveSession: the session of a stream that still runs.

The steps are those of `transforms/session.py`, and so are the final rows: only when they come differs. Sound
goes through the networks by whole cells, as soon as the media reaches a cell's end, and

* a *provisional* row of a cell (`is_final` false, revision 0) comes half a second after its end, when its
  sound is summed: the model's word on as much of its window as is known by then;
* the final row (revision 1) comes when the models have heard what they look ahead, within 3 s of the sound;
* a running episode is told again as it grows, its revisions counting up.

Sessions only gather what they hear (`take`); `work` lets the networks hear what many of them have gathered,
as one batch, and tells their tracks. What is told depends on the media alone, never on how it was cut into
packets, when `work` was called, or who else was in the batch. Only tracks that have a row for every cell get
provisional ones: a provisional row that no final one replaces would stay for ever.

Sound that was lost on the way (`skip`) becomes silence, and its cells have no estimate: reason `gap`.

*Other models* can take over while a stream runs (`succeed`). From then on they listen too, and from a cell on
that is known at once they speak: `from_cell`, so far ahead that all they look back at has been heard by them.
So rows before that cell are those of a run with the old models, rows from it on those of a run with the new
ones, and which cell it is lies in the state, like everything else.

Conventions: `began_ms` is the UTC time, in ms since 1970, at which position 0 of the media was; rows carry
`event_time` = `began_ms + start_ms`. `state()` is made of plain Python and numpy (see `transforms/state.py`).
"""

import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from moodstream.models.base import RATE_HZ, STEP_MS, AudioEstimates, Estimates, Float, Notes, decide
from moodstream.transforms.curve import Mask
from moodstream.transforms.elements import Clip, Media
from moodstream.transforms.engine import Engine
from moodstream.transforms.errors import UsageError
from moodstream.transforms.notes import read_notes
from moodstream.transforms.session import GATHER_S, Channel, Session, Settings, Side, Voice
from moodstream.transforms.spent import spent
from moodstream.transforms.tables import SCHEMAS
from moodstream.transforms.track import Heard, Part, Rows, Sources, Track, merge, tell

PROVISIONAL, FINAL = 0, 1  # revisions of a curve row
_EVENT_TIME = SCHEMAS["curve"].field("event_time")
_Activity = npt.NDArray[np.int8]


def work(groups: Sequence[Sequence["LiveSession"]]) -> list[Rows]:
    """Let the networks hear what sessions have gathered, as one batch; the rows of each group of sessions."""
    waiting = [
        _Hearing(number, session, channel, voice, sound)
        for number, group in enumerate(groups)
        for session in group
        for channel, sound in session.gathered()
        for voice in channel.voices
    ]
    if not waiting:
        return [{} for _ in groups]
    with spent("models"):
        blocks = _hear(waiting)
        activity = decide(np.concatenate([block.activity for pair in blocks for block in pair]))
    early: list[list[Part]] = [[] for _ in groups]
    final: list[list[Part]] = [[] for _ in groups]
    at = 0
    for (number, session, channel, voice, _), (look, settled) in zip(waiting, blocks, strict=True):
        middle = at + len(look)
        if len(look):
            early[number] += session.look(channel, look, activity[at:middle], voice.engine)
        at = middle + len(settled)
        if len(settled):
            final[number] += session.settle(channel, settled, activity[middle:at], voice.engine)
    return [tell([*looks, *settled]) for looks, settled in zip(early, final, strict=True)]


class _Hearing(NamedTuple):
    """Sound that models are about to hear."""

    number: int  # of the group
    session: "LiveSession"
    channel: Channel
    voice: Voice
    sound: Float


def _hear(waiting: Sequence[_Hearing]) -> list[tuple[AudioEstimates, AudioEstimates]]:
    """Early and final words about each sound, in one batch for each engine, as far as they count."""
    engines: dict[int, list[int]] = {}
    for at, one in enumerate(waiting):
        engines.setdefault(id(one.voice.engine), []).append(at)
    said: dict[int, tuple[AudioEstimates, AudioEstimates]] = {}
    for places in engines.values():
        mine = [waiting[at] for at in places]
        told = mine[0].voice.engine.audio.push(
            [one.voice.stream for one in mine], [one.sound for one in mine]
        )
        for at, one, words in zip(places, mine, told, strict=True):
            said[at] = one.voice.of(words.early), one.voice.of(words.final)
    return [said[at] for at in range(len(waiting))]


class LiveSession(Session):
    """One media as it happens.

    Args:
        media: what it is; its roles and `split` say how its channels are to be read.
        analysis_id: written into every row.
        engine: the models.
        settings: what else decides the rows; musical context needs the whole media and is refused.
        began_ms: UTC time of the media's position 0.

    Raises:
        UsageError: settings that ask for musical context.
    """

    live = True
    final_revision = FINAL
    began_ms: int

    def __init__(
        self, media: Media, analysis_id: str, engine: Engine, settings: Settings, began_ms: int = 0
    ) -> None:
        if settings.features:
            raise UsageError("musical context (key, tempo) needs the whole media: not for live streams")
        super().__init__(media, analysis_id, engine, settings, with_sound=False)
        self.began_ms = began_ms
        self._midi = b""
        self._waiting: dict[str, _Waiting] = {}  # by part
        self.heir: Engine | None = None  # whose models are about to speak
        self.from_cell = 0  # and from which cell on
        self._before: list[tuple[int, dict[str, str]]] = []  # versions that spoke until a position, ms

    def succeed(self, engine: Engine) -> int | None:
        """Let another engine's models speak from a later cell on; they listen from now on.

        Returns:
            the position in ms from which they speak; None: from the start, for nothing was heard yet.

        Raises:
            ValueError: they cannot take over while a stream runs; the message says why.
            RuntimeError: there is work to do first, or others are taking over.
        """
        if self.is_due or self.heir is not None:
            raise RuntimeError("other models for a session that is not at rest")
        if why := self.engine.unlike(engine):
            raise ValueError(why)
        if not self.duration_ms and not self.sides:
            self.engine = engine
            return None
        self.heir, self.from_cell = engine, -(-self.duration_ms // STEP_MS) + engine.warm_cells
        for channel in self.channels:
            self._listen(channel)
        if self._midi:
            self._symbolic = self._read(read_notes(io.BytesIO(self._midi)))
        return self.from_cell * STEP_MS

    @property
    def spoke(self) -> list[tuple[int, Mapping[str, str]]]:
        """Versions of the models that spoke, with the position, in ms, that each spoke until."""
        told: list[tuple[int, Mapping[str, str]]] = [
            *self._before,
            (self.duration_ms, self.engine.versions()),
        ]
        if self.heir is not None and self.duration_ms > self.from_cell * STEP_MS:
            told[-1:] = [(self.from_cell * STEP_MS, told[-1][1]), (self.duration_ms, self.heir.versions())]
        return told

    def position_ms(self, part: str = "audio") -> int:
        """Where the sound of a part has got to."""
        return self.sides[part].position_ms if part in self.sides else 0

    @property
    def is_due(self) -> bool:
        """Whether `work` has something to do."""
        return any(waiting.is_due for waiting in self._waiting.values())

    def add_midi(self, data: bytes) -> Rows:
        """The notes of the media, a whole MIDI file; they count for cells that are not final yet.

        Raises:
            NotesError: there are none in it.
        """
        notes = read_notes(io.BytesIO(data))
        (rows,) = work([[self]])  # what was heard before is not touched by them
        self.add_notes(notes)
        self._midi = data
        return rows

    def push(self, clip: Clip, part: str = "audio") -> Rows:
        """The next block of sound of a part, worked off at once."""
        self.take(clip, part)
        return work([[self]])[0]

    def take(self, clip: Clip, part: str = "audio") -> None:
        """The next block of sound of a part, [channels, n]; `work` makes rows of it."""
        if part not in self.sides:
            self._open(part, len(clip.samples), clip.rate_hz)
        self._waiting[part].take(clip.samples)

    def gathered(self) -> Iterator[tuple[Channel, Float]]:
        """The sound that the networks have not heard, of whole cells, by channel; from now on they have."""
        for waiting in self._waiting.values():
            yield from waiting.gathered()

    def skip(
        self, lost_ms: int, rate_hz: int, channels: int, part: str = "audio", *, is_gap: bool = True
    ) -> Rows:
        """Sound of this length never came, or the part begins so much later: silence takes its place."""
        side = self.sides.get(part) or self._open(part, channels, rate_hz)
        lost = lost_ms * rate_hz // 1000
        start = side.samples
        for channel in side.channels if is_gap else ():
            channel.gaps.append((start * 2 // rate_hz, -(-(start + lost) * 2 // rate_hz)))
        rows: Rows = {}
        step = GATHER_S * rate_hz
        for at in range(0, lost, step):
            silence = np.zeros((channels, min(step, lost - at)), np.float32)
            merge(rows, self.push(Clip(side.position_ms, rate_hz, silence), part))
        return rows

    def flush(self) -> Rows:
        (rows,) = work([[self]])
        for waiting in self._waiting.values():
            waiting.feed(waiting.side.samples)
        merge(rows, self._stamped(super().flush(), FINAL))
        return rows

    def settle(
        self, channel: Channel, block: AudioEstimates, activity: _Activity, engine: Engine
    ) -> list[Part]:
        """What the tracks of a channel are told of cells that became final."""
        parts = self._final(channel, block, activity, engine)
        channel.gaps = [gap for gap in channel.gaps if gap[1] > channel.cells]
        if channel.heir is not None and channel.cells >= channel.heir.first:
            channel.give_over()
            if all(other.engine is self.heir for other in self.channels):
                self._give_over()
        return parts

    def look(
        self, channel: Channel, block: AudioEstimates, activity: _Activity, engine: Engine
    ) -> list[Part]:
        """What rows say of cells as they look now; the tracks are not told."""
        loudness = channel.loudness_of(block.start - channel.cells, len(block))
        heard = self._heard(channel, block.start, activity, loudness)
        return [
            Part(
                track,
                heard,
                sources,
                is_final=False,
                revision=PROVISIONAL,
                began_ms=self.began_ms,
                by=self._by(channel, track, engine),
            )
            for track, sources in self._sources(channel, block, heard)
            if not track.sparse
        ]

    def _stamped(self, rows: Rows, revision: int) -> Rows:
        return {name: [self._stamp(name, table, revision) for table in rows[name]] for name in rows}

    def _stamp(self, name: str, table: pa.Table, revision: int) -> pa.Table:
        start_ms = table["start_ms"].to_numpy()
        when = pa.array((self.began_ms + start_ms) * 1000, _EVENT_TIME.type)
        table = _with(table, "event_time", when)
        if name == "curve":
            table = _with(table, "revision", pa.repeat(pa.scalar(revision, pa.int64()), len(table)))
            table = _with(table, "is_final", pa.repeat(pa.scalar(revision == FINAL), len(table)))
        return table

    # ------------------------------------------------------------ gaps

    def _heard(self, channel: Channel, start: int, activity: _Activity, loudness: Float) -> Heard:
        heard = super()._heard(channel, start, activity, loudness)
        if channel.gaps:
            reasons = np.where(_lost(channel, start, len(activity)), "gap", heard.reasons)
            heard = replace(heard, reasons=reasons)
        return heard

    def _sources(
        self, channel: Channel, block: AudioEstimates, heard: Heard
    ) -> Iterator[tuple[Track, Sources]]:
        found = super()._sources(channel, block, heard)
        if not channel.gaps:
            yield from found
            return
        there = ~_lost(channel, block.start, len(block))
        for track, sources in found:
            yield (
                track,
                {
                    name: (says, counts if name == "symbolic" else counts & there)
                    for name, (says, counts) in sources.items()
                },
            )

    # ------------------------------------------------------------ other models

    def _listen(self, channel: Channel) -> None:
        """The models that are to come hear a channel, too."""
        if self.heir is not None:
            stream = channel.stream.heir(self.heir.audio)
            channel.heir = Voice(self.heir, stream, self.from_cell)

    def _give_over(self) -> None:
        """The models that were are needed no more."""
        if self.heir is not None:
            self._before.append((self.from_cell * STEP_MS, self.engine.versions()))
            self.engine, self.heir = self.heir, None

    def _read(self, notes: Notes) -> Estimates:
        said = super()._read(notes)
        if self.heir is None:
            return said
        other, at = self.heir.symbolic.estimate(notes), self.from_cell

        def spliced(old: Float, new: Float) -> Float:
            return np.concatenate((old[:at], new[at:]))

        return Estimates(
            0,
            spliced(said.mean, other.mean),
            spliced(said.std, other.std),
            spliced(said.scores, other.scores),
        )

    def _spans(self, start: int, stop: int) -> list[tuple[int, int, Engine]]:
        if self.heir is None:
            return super()._spans(start, stop)
        middle = min(max(self.from_cell, start), stop)
        spans = (start, middle, self.engine), (middle, stop, self.heir)
        return [span for span in spans if span[0] < span[1]]

    # ------------------------------------------------------------ opening, saving

    def _open(self, part: str, width: int, rate_hz: int) -> Side:
        self.with_sound = True
        side = super()._open(part, width, rate_hz)
        for channel in side.channels:
            self._listen(channel)
        self._waiting[part] = _Waiting(side)
        return side

    def state(self) -> dict[str, Any]:
        """Everything needed to go on elsewhere, as plain Python and numpy.

        Raises:
            RuntimeError: there is work to do first.
        """
        if self.is_due:
            raise RuntimeError("a session's state was asked for before its rows")
        return {
            "began_ms": self.began_ms,
            "models": self.engine.versions(),
            "heir": None if self.heir is None else self.heir.versions(),
            "from_cell": self.from_cell,
            "before": [[until_ms, dict(versions)] for until_ms, versions in self._before],
            "cells": self.cells,
            "encoder_ms": dict(self.encoder_ms),
            "midi": zlib.compress(self._midi) if self._midi else b"",
            "part_roles": {part: list(roles) for part, roles in self.part_roles.items()},
            "sides": [[part, side.state(), self._waiting[part].state()] for part, side in self.sides.items()],
            "tracks": [
                [name, modality, track.sparse, track.state()]
                for (name, modality), track in self.tracks.items()
            ],
            "over": [list(place) for place, track in self.tracks.items() if track.engine is self.heir],
            "watch": self.watch.state() if self.watch is not None else None,
        }

    def restore(self, state: Mapping[str, Any], heir: Engine | None = None) -> None:
        """Go on from a `state()` of the same media, settings and models.

        Args:
            heir: the models that were about to take over.

        Raises:
            ValueError: a state of other models.
        """
        self.began_ms = state["began_ms"]
        self.heir, self.from_cell = heir, state.get("from_cell", 0)
        self._before = [(until_ms, versions) for until_ms, versions in state.get("before", [])]
        if state["midi"]:
            self.add_midi(zlib.decompress(state["midi"]))
        self.part_roles = {part: tuple(roles) for part, roles in state["part_roles"].items()}
        for part, saved, raw in state["sides"]:
            self._open(part, saved["width"], saved["rate_hz"]).restore(saved)
            self._waiting[part].restore(raw)
        self.cells = state["cells"]
        self.encoder_ms = dict(state["encoder_ms"])
        by_name = {channel.name: channel for channel in self.channels}
        over = state.get("over", ())  # tracks that the heir speaks to already
        for name, modality, sparse, saved in state["tracks"]:
            engine = self.heir if self.heir is not None and [name, modality] in over else self.engine
            info = self._info(name, by_name.get(name), modality, engine)
            track = Track(info, engine, sparse=sparse, revise=True, watch=self.watch)
            track.restore(saved)
            self.tracks[name, modality] = track
        if self.watch is not None and state.get("watch") is not None:  # else rules that are new begin now
            self.watch.restore(state["watch"])


class _Waiting:
    """Sound of a part on its way to the channels and to the networks, by whole cells."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self._raw: list[Float] = []  # sound after `_fed`
        self._fed = 0  # samples that the channels have gathered
        self._ready = 0  # cells whose sound the networks may hear, or have heard
        self._heard = 0  # and have heard
        self._pieces = 0  # of what each channel has gathered that end with those cells

    @property
    def is_due(self) -> bool:
        """Whether there are cells for the networks to hear."""
        return self._ready > self._heard

    def take(self, samples: Float) -> None:
        """The next samples, [width, n]."""
        side = self.side
        side.samples += samples.shape[1]
        self._raw.append(samples)
        cells = side.samples * 2 // side.rate_hz
        if cells > self._ready:
            self.feed(_cell_start(cells, side.rate_hz))
            self._ready, self._pieces = cells, len(side.channels[0].gathered)
        if side.rate_hz > RATE_HZ:  # less to keep
            self.feed(side.samples)

    def feed(self, upto: int) -> None:
        """Let the channels gather the sound up to a sample."""
        if not self._raw:
            return
        raw = self._raw[0] if len(self._raw) == 1 else np.concatenate(self._raw, axis=1)
        n = upto - self._fed
        self.side.feed(raw[:, :n])
        self._fed, self._raw = upto, [raw[:, n:]] if n < raw.shape[1] else []

    def gathered(self) -> Iterator[tuple[Channel, Float]]:
        """The whole cells that the networks have not heard, by channel."""
        if not self.is_due:
            return
        self._heard = self._ready
        for channel in self.side.channels:
            later = channel.gathered[self._pieces :]
            del channel.gathered[self._pieces :]
            yield channel, channel.take()
            channel.gathered = later

    def state(self) -> Float | None:
        """The sound that waits; for the rest it stands where the part does."""
        return np.concatenate(self._raw, axis=1) if self._raw else None

    def restore(self, state: Float | None) -> None:
        """Go on from a `state()`, after the part."""
        self._raw = [] if state is None else [state]
        self._fed = self.side.samples - sum(raw.shape[1] for raw in self._raw)
        self._ready = self._heard = self.side.samples * 2 // self.side.rate_hz


def _lost(channel: Channel, start: int, n: int) -> Mask:
    """Which of n cells from `start` on hold sound that never came."""
    cells = np.arange(start, start + n)
    lost = np.zeros(n, bool)
    for first, stop in channel.gaps:
        lost |= (cells >= first) & (cells < stop)
    return lost


def _cell_start(cell: int, rate_hz: int) -> int:
    """The first sample that lies in a cell."""
    return -(-cell * STEP_MS * rate_hz // 1000)


def _with(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    at = table.schema.get_field_index(name)
    return table.set_column(at, table.schema.field(at), column)
