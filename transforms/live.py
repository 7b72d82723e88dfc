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

Conventions: `began_ms` is the UTC time, in ms since 1970, at which position 0 of the media was; rows carry
`event_time` = `began_ms + start_ms`. `state()` is made of plain Python and numpy (see `transforms/state.py`).
"""

import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from moodstream.models.base import RATE_HZ, STEP_MS, AudioEstimates, Float, decide
from moodstream.transforms.curve import Mask
from moodstream.transforms.elements import Clip, Media
from moodstream.transforms.engine import Engine
from moodstream.transforms.errors import UsageError
from moodstream.transforms.notes import read_notes
from moodstream.transforms.session import GATHER_S, Channel, Session, Settings, Side
from moodstream.transforms.spent import spent
from moodstream.transforms.tables import SCHEMAS
from moodstream.transforms.track import Heard, Part, Rows, Sources, Track, merge, tell

PROVISIONAL, FINAL = 0, 1  # revisions of a curve row
_EVENT_TIME = SCHEMAS["curve"].field("event_time")
_Activity = npt.NDArray[np.int8]


def work(groups: Sequence[Sequence["LiveSession"]]) -> list[Rows]:
    """Let the networks hear what sessions have gathered, as one batch; the rows of each group of sessions."""
    waiting = [
        (number, session, channel, sound)
        for number, group in enumerate(groups)
        for session in group
        for channel, sound in session.gathered()
    ]
    if not waiting:
        return [{} for _ in groups]
    with spent("models"):
        said = waiting[0][1].engine.audio.push(
            [channel.stream for _, _, channel, _ in waiting], [sound for *_, sound in waiting]
        )
        blocks = [block for one in said for block in (one.early, one.final)]
        activity = decide(np.concatenate([block.activity for block in blocks]))
    early: list[list[Part]] = [[] for _ in groups]
    final: list[list[Part]] = [[] for _ in groups]
    at = 0
    for (number, session, channel, _), one in zip(waiting, said, strict=True):
        middle = at + len(one.early)
        if len(one.early):
            early[number] += session.look(channel, one.early, one.final.start, activity[at:middle])
        at = middle + len(one.final)
        if len(one.final):
            final[number] += session.settle(channel, one.final, activity[middle:at])
    return [tell([*looks, *settled]) for looks, settled in zip(early, final, strict=True)]


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

    def settle(self, channel: Channel, block: AudioEstimates, activity: _Activity) -> list[Part]:
        """What the tracks of a channel are told of cells that became final."""
        parts = self._final(channel, block, activity)
        channel.gaps = [gap for gap in channel.gaps if gap[1] > channel.cells]
        return parts

    def look(
        self, channel: Channel, block: AudioEstimates, next_cell: int, activity: _Activity
    ) -> list[Part]:
        """What rows say of cells as they look now; the tracks are not told.

        Args:
            next_cell: the next cell of the channel that will be final.
        """
        loudness = channel.loudness_of(block.start - next_cell, len(block))
        heard = self._heard(channel, block.start, activity, loudness)
        return [
            Part(track, heard, sources, is_final=False, revision=PROVISIONAL, began_ms=self.began_ms)
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

    # ------------------------------------------------------------ opening, saving

    def _open(self, part: str, width: int, rate_hz: int) -> Side:
        self.with_sound = True
        side = super()._open(part, width, rate_hz)
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
            "cells": self.cells,
            "encoder_ms": dict(self.encoder_ms),
            "midi": zlib.compress(self._midi) if self._midi else b"",
            "part_roles": {part: list(roles) for part, roles in self.part_roles.items()},
            "sides": [[part, side.state(), self._waiting[part].state()] for part, side in self.sides.items()],
            "tracks": [
                [name, modality, track.sparse, track.state()]
                for (name, modality), track in self.tracks.items()
            ],
            "watch": self.watch.state() if self.watch is not None else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()` of the same media, settings and models.

        Raises:
            ValueError: a state of other models.
        """
        self.began_ms = state["began_ms"]
        if state["midi"]:
            self.add_midi(zlib.decompress(state["midi"]))
        self.part_roles = {part: tuple(roles) for part, roles in state["part_roles"].items()}
        for part, saved, raw in state["sides"]:
            self._open(part, saved["width"], saved["rate_hz"]).restore(saved)
            self._waiting[part].restore(raw)
        self.cells = state["cells"]
        self.encoder_ms = dict(state["encoder_ms"])
        by_name = {channel.name: channel for channel in self.channels}
        for name, modality, sparse, saved in state["tracks"]:
            info = self._info(name, by_name.get(name), modality)
            track = Track(info, self.engine, sparse=sparse, revise=True, watch=self.watch)
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
            self._ready = cells
            for channel in side.channels:
                channel.gathered = [np.concatenate(channel.gathered)]
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
            ready, *later = channel.gathered
            channel.gathered = [ready]
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
