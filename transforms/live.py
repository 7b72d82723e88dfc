"""LiveSession: the session of a stream that still runs.

The steps are those of `transforms/session.py`, and so are the final rows: only when they come differs. Sound
goes through the networks one cell at a time, as soon as the media reaches the cell's end, and

* a *provisional* row of that cell comes at once (`is_final` false, revision 0), from the sound until then,
  as if it ended there: no look-ahead at all;
* the final row (revision 1) comes when the models have heard what they look ahead, within 3 s of the sound;
* a running episode is told again as it grows, its revisions counting up.

What is told depends on the media alone, never on how it was cut into packets. Only tracks that have a row for
every cell get provisional ones: a provisional row that no final one replaces would stay for ever.

Sound that was lost on the way (`skip`) becomes silence, and its cells have no estimate: reason `gap`.

Conventions: `began_ms` is the UTC time, in ms since 1970, at which position 0 of the media was; rows carry
`event_time` = `began_ms + start_ms`. `state()` is made of plain Python and numpy (see `transforms/state.py`).
"""

import io
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from moodstream.models.base import STEP_MS, AudioEstimates, Estimates
from moodstream.transforms.curve import Mask
from moodstream.transforms.elements import Clip, Media
from moodstream.transforms.engine import Engine
from moodstream.transforms.errors import UsageError
from moodstream.transforms.notes import read_notes
from moodstream.transforms.session import GATHER_S, Channel, Session, Settings
from moodstream.transforms.tables import SCHEMAS
from moodstream.transforms.track import Heard, Rows, Track, merge

PROVISIONAL, FINAL = 0, 1  # revisions of a curve row
_EVENT_TIME = SCHEMAS["curve"].field("event_time")


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

    gather_s = math.inf  # this class says itself when the networks hear what was gathered
    live = True

    def __init__(
        self, media: Media, analysis_id: str, engine: Engine, settings: Settings, began_ms: int = 0
    ) -> None:
        if settings.features:
            raise UsageError("musical context (key, tempo) needs the whole media: not for live streams")
        super().__init__(media, analysis_id, engine, settings, with_sound=False)
        self.began_ms = began_ms
        self._midi = b""
        self._gaps: list[tuple[int, int]] = []  # spans of cells, half-open, that are not final yet

    @property
    def position_ms(self) -> int:
        """Where the sound has got to."""
        return self.samples * 1000 // self.rate_hz if self.rate_hz else 0

    def add_midi(self, data: bytes) -> None:
        """The notes of the media, a whole MIDI file; they count for cells that are not final yet.

        Raises:
            NotesError: there are none in it.
        """
        self.add_notes(read_notes(io.BytesIO(data)))
        self._midi = data

    def push(self, clip: Clip) -> Rows:
        rows: Rows = {}
        samples = clip.samples
        while samples.shape[1]:
            missing = _cell_start(self._whole(clip.rate_hz) + 1, clip.rate_hz) - self.samples
            merge(rows, super().push(Clip(clip.start_ms, clip.rate_hz, samples[:, :missing])))
            if samples.shape[1] >= missing:
                merge(rows, self._advance(look=True))
            samples = samples[:, missing:]
        return rows

    def skip(self, lost_ms: int, rate_hz: int, channels: int) -> Rows:
        """Sound of this length never came: silence takes its place, without an estimate."""
        lost = lost_ms * rate_hz // 1000
        start = self.samples
        self._gaps.append((start * 2 // rate_hz, -(-(start + lost) * 2 // rate_hz)))
        rows: Rows = {}
        step = GATHER_S * rate_hz
        for at in range(0, lost, step):
            silence = np.zeros((channels, min(step, lost - at)), np.float32)
            merge(rows, super().push(Clip(self.position_ms, rate_hz, silence)))
            merge(rows, self._advance(look=False))
        return rows

    def flush(self) -> Rows:
        return self._stamped(super().flush(), FINAL)

    def _whole(self, rate_hz: int) -> int:
        """How many cells the sound has reached the end of."""
        return self.samples * 2 // rate_hz

    def _advance(self, *, look: bool) -> Rows:
        rows: Rows = {}
        provisional: Rows = {}
        for channel in self.channels:
            self._hear(channel, channel.advance(), rows)
            if look:
                self._look(channel, provisional)
        self._gaps = [gap for gap in self._gaps if gap[1] > self.cells]
        rows = self._stamped(rows, FINAL)
        merge(rows, self._stamped(provisional, PROVISIONAL))
        return rows

    def _look(self, channel: Channel, rows: Rows) -> None:
        """The cell that has just ended, as it looks now."""
        peeked = channel.stream.peek()
        at = self._whole(self.rate_hz) - 1 - peeked.start
        if not 0 <= at < len(peeked):
            return
        loudness = np.concatenate([*channel.loudness, np.full(at + 1, np.nan, np.float32)])
        block = _cell(peeked, at)
        heard = self._heard(channel, block, loudness[at : at + 1])
        for track, sources in self._sources(channel, block, heard):
            if not track.sparse:
                merge(rows, track.peek(heard, sources))

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

    def _lost(self, start: int, n: int) -> Mask:
        """Which of n cells from `start` on hold sound that never came."""
        cells = np.arange(start, start + n)
        lost = np.zeros(n, bool)
        for first, stop in self._gaps:
            lost |= (cells >= first) & (cells < stop)
        return lost

    def _heard(self, channel: Channel, block: AudioEstimates, loudness: Any) -> Heard:
        heard = super()._heard(channel, block, loudness)
        if self._gaps:
            reasons = np.where(self._lost(block.start, len(block)), "gap", heard.reasons)
            heard = replace(heard, reasons=reasons)
        return heard

    def _sources(
        self, channel: Channel, block: AudioEstimates, heard: Heard
    ) -> Iterator[tuple[Track, Mapping[str, tuple[Estimates, Mask]]]]:
        there = ~self._lost(block.start, len(block))
        for track, sources in super()._sources(channel, block, heard):
            yield (
                track,
                {
                    name: (says, counts if name == "symbolic" else counts & there)
                    for name, (says, counts) in sources.items()
                },
            )

    # ------------------------------------------------------------ opening, saving

    def _open(self, channels: int, rate_hz: int) -> None:
        super()._open(channels, rate_hz)
        self.with_sound, self._width = True, channels

    def state(self) -> dict[str, Any]:
        """Everything needed to go on elsewhere, as plain Python and numpy."""
        state: dict[str, Any] = {
            "began_ms": self.began_ms,
            "rate_hz": self.rate_hz,
            "samples": self.samples,
            "cells": self.cells,
            "encoder_ms": dict(self.encoder_ms),
            "midi": zlib.compress(self._midi) if self._midi else b"",
            "gaps": [list(gap) for gap in self._gaps],
            "tracks": [
                [name, modality, track.sparse, track.state()]
                for (name, modality), track in self.tracks.items()
            ],
            "watch": self.watch.state() if self.watch is not None else None,
        }
        if self.channels:
            state |= {
                "width": self._width,
                "mix": self._mix.state(),
                "meters": [meter.state() for meter in self._meters],
                "channels": [_channel_state(channel) for channel in self.channels],
            }
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()` of the same media, settings and models.

        Raises:
            ValueError: a state of other models.
        """
        self.began_ms = state["began_ms"]
        if state["midi"]:
            self.add_midi(zlib.decompress(state["midi"]))
        if "channels" in state:
            self._open(state["width"], state["rate_hz"])
            self._mix.restore(state["mix"])
            for meter, saved in zip(self._meters, state["meters"], strict=True):
                meter.restore(saved)
            for channel, saved in zip(self.channels, state["channels"], strict=True):
                _restore_channel(channel, saved)
        self.samples, self.cells = state["samples"], state["cells"]
        self.encoder_ms = dict(state["encoder_ms"])
        self._gaps = [(first, stop) for first, stop in state["gaps"]]
        by_name = {channel.name: channel for channel in self.channels}
        for name, modality, sparse, saved in state["tracks"]:
            info = self._info(name, by_name.get(name), modality)
            track = Track(info, self.engine, sparse=sparse, revise=True, watch=self.watch)
            track.restore(saved)
            self.tracks[name, modality] = track
        if self.watch is not None and state.get("watch") is not None:  # else rules that are new begin now
            self.watch.restore(state["watch"])


def _cell_start(cell: int, rate_hz: int) -> int:
    """The first sample that lies in a cell."""
    return -(-cell * STEP_MS * rate_hz // 1000)


def _cell(block: AudioEstimates, at: int) -> AudioEstimates:
    """One cell of a block."""
    here = slice(at, at + 1)

    def cut(says: Estimates) -> Estimates:
        moods = None if says.moods is None else says.moods[here]
        turns = None if says.turns is None else says.turns.cut(at, at + 1)
        return Estimates(block.start + at, says.mean[here], says.std[here], says.scores[here], moods, turns)

    return AudioEstimates(block.start + at, block.activity[here], cut(block.speech), cut(block.music))


def _with(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    at = table.schema.get_field_index(name)
    return table.set_column(at, table.schema.field(at), column)


def _channel_state(channel: Channel) -> dict[str, Any]:
    none = np.zeros(0, np.float32)
    talk = np.concatenate([*channel.talk, np.zeros(0, bool)])
    return {
        "resample": channel.resample.state(),
        "stream": channel.stream.snapshot(),
        "loudness": np.concatenate([*channel.loudness, none]),
        "gathered": np.concatenate([*channel.gathered, none]),
        "talk": np.packbits(talk),
        "talk_cells": len(talk),
    }


def _restore_channel(channel: Channel, state: Mapping[str, Any]) -> None:
    channel.resample.restore(state["resample"])
    channel.stream.restore(state["stream"])
    channel.loudness, channel.gathered = [state["loudness"]], [state["gathered"]]
    channel.talk = [np.unpackbits(state["talk"], count=state["talk_cells"]).astype(bool)]
