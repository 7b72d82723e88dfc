"""One media from sound and notes to rows: the steps composed once, for batch and live.

Conventions: a session is fed (`add_notes`, `push`), gives the rows that became final as Arrow tables by table
name, and is closed once (`flush`). However the sound is cut, the rows are the same. A cell is fused when its
sound is heard, so notes that belong to a sound come before it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
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
from moodstream.transforms.rules import Rule
from moodstream.transforms.talk import Talk, measure_talk
from moodstream.transforms.track import Heard, Rows, Track, merge
from moodstream.transforms.watch import Watch, alert_rows

GATHER_S = 20  # sound gathered for one call of the networks; the rows do not depend on it
CELL_SAMPLES = RATE_HZ * STEP_MS // 1000
CALL_ROLES = {"agent", "customer"}
_OF_NOTES = ("symbolic", "fused")  # modalities that notes speak in

_SILENCE, _MUSIC_CELL = ACTIVITIES.index("silence"), ACTIVITIES.index("music")
_REASONS = np.array([None, None, None, "silence", "other"], object)  # by activity


@dataclass(frozen=True)
class Settings:
    """What decides the rows besides the content and the models."""

    emotions_for: str = "customer"  # whose emotions on a call: customer, or all (written into every row)
    responsible: str = ""  # who answers for asking for all (written into every row)
    features: bool = False  # musical context from essentia in the summary
    max_hours: float = 24.0  # a media longer than this is cut there, and said so
    speech_model: str = "speech"  # or "small": its student, faster
    listener: Listener | None = None  # whose ratings shift the curves of the notes that they are of
    rules: tuple[Rule, ...] = ()  # what is worth an alert

    def key(self, media: Media) -> str:
        """A text that changes whenever the rows of this media would."""
        offsets_ms = [part.offset_ms for part in media.parts]
        later = ("listener", "responsible", "rules")  # came later: said only where they are in use
        mine = {name: value for name, value in asdict(self).items() if name not in later}
        if self.responsible:
            mine["responsible"] = self.responsible
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


class Channel:
    """One channel's way from samples to what is heard in each cell."""

    def __init__(
        self,
        name: str,
        role: str | None,
        judged: bool,
        rate_hz: int,
        engine: Engine,
        *,
        keep_sound: bool,
        steady: bool,
    ) -> None:
        self.name, self.role, self.judged = name, role, judged
        self.sound: list[Float] | None = [] if keep_sound else None  # of cells that are not estimated yet
        self.resample = Resample(rate_hz, steady=steady)
        self.stream = engine.audio.stream()
        self.loudness: list[Float] = []
        self.gathered: list[Float] = []
        self.talk: list[Mask] = []

    def push(self, samples: Float, gather_s: float) -> AudioEstimates | None:
        """The next samples; estimates once so much sound at 16 kHz is gathered."""
        self.gathered.append(self.resample.push(samples))
        if sum(map(len, self.gathered)) < gather_s * RATE_HZ:
            return None
        return self.stream.push(self._take())

    def advance(self) -> AudioEstimates:
        """Estimates as far as what is gathered goes."""
        return self.stream.push(self._take())

    def flush(self, samples: Float) -> AudioEstimates:
        """The sound ended with these samples: one pass of the networks over all that is left."""
        self.gathered += [self.resample.push(samples), self.resample.flush()]
        return self.stream.flush(self._take())

    def _take(self) -> Float:
        sound, self.gathered = np.concatenate(self.gathered), []
        if self.sound is not None:
            self.sound.append(sound)
        return sound

    def take_loudness(self, cells: int) -> Float:
        """The next cells' loudness. The rate's rounding may leave the last cell without any."""
        known = np.concatenate([*self.loudness, np.empty(0, np.float32)])
        self.loudness = [known[cells:]]
        return np.pad(known[:cells], (0, max(0, cells - len(known))), constant_values=np.nan)

    def take_sound(self, cells: int) -> Float:
        """The next cells' sound at 16 kHz, [cells, 8000]; zeros where the last cell has none."""
        known = np.concatenate([*(self.sound or []), np.empty(0, np.float32)])
        samples = cells * CELL_SAMPLES
        self.sound = [known[samples:]]
        return np.pad(known[:samples], (0, max(0, samples - len(known)))).reshape(cells, CELL_SAMPLES)


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

    def __init__(
        self, media: Media, analysis_id: str, engine: Engine, settings: Settings, *, with_sound: bool = True
    ) -> None:
        self.media, self.analysis_id, self.engine, self.settings = media, analysis_id, engine, settings
        self.with_sound = with_sound
        self.channels: list[Channel] = []
        self._meters: list[Loudness] = []
        self.tracks: dict[tuple[str, str], Track] = {}
        self.watch = Watch(settings.rules, live=self.live) if settings.rules else None
        self.cells = 0  # cells given out on the longest channel
        self.samples = 0  # at the media's own rate
        self.rate_hz = 0
        self.encoder_ms: dict[str, int] = {}
        self._symbolic: Estimates | None = None
        self._sounding: Mask = np.zeros(0, bool)
        self._notes_end_ms = 0
        self._context = MusicalContext() if settings.features and not is_call(media) else None

    @property
    def duration_ms(self) -> int:
        """How much of the media has been heard or read, ms."""
        heard_ms = self.samples * 1000 // self.rate_hz if self.rate_hz else 0
        return max(heard_ms, self._notes_end_ms)

    @property
    def modalities(self) -> list[str]:
        """Those that have an estimate somewhere."""
        return sorted({modality for (_, modality), track in self.tracks.items() if track.estimated_cells})

    def add_notes(self, notes: Notes) -> None:
        """The notes of the media, on its own time axis."""
        model = self.engine.symbolic
        self._symbolic = model.estimate(notes)
        if self.settings.listener is not None and (ratings := self.settings.listener.of(self.media)):
            self._symbolic = personal(self._symbolic, ratings, self.engine.listeners)
        self._sounding = model.sounding(notes)
        self._notes_end_ms = round(notes.end_of_media_s * 1000)
        self.encoder_ms["symbolic"] = self._notes_end_ms
        by_name = {channel.name: channel for channel in self.channels}
        for (name, modality), track in self.tracks.items():  # sound that was there before says so from now on
            if modality in _OF_NOTES:
                track.info = self._info(name, by_name.get(name), modality)

    def push(self, clip: Clip) -> Rows:
        """The next block of sound, [channels, n]; gives the rows that became final."""
        if not self.channels:
            self._open(len(clip.samples), clip.rate_hz)
        self.samples += clip.samples.shape[1]
        rows: Rows = {}
        if self.media.split:
            for channel, meter, samples in zip(self.channels, self._meters, clip.samples, strict=True):
                channel.loudness.append(meter.push(samples[None]))
                self._hear(channel, channel.push(samples, self.gather_s), rows)
        else:
            (channel,), (meter,) = self.channels, self._meters
            channel.loudness.append(meter.push(clip.samples))
            self._hear(channel, channel.push(self._mix.push(clip.samples), self.gather_s), rows)
        return rows

    def flush(self) -> Rows:
        """The media ended: the remaining rows, the last episodes and the summaries."""
        rows: Rows = {}
        for channel, meter in zip(self.channels, self._meters, strict=True):
            channel.loudness.append(meter.flush())
            rest = np.empty(0, np.float32) if self.media.split else self._mix.flush()
            self._hear(channel, channel.flush(rest), rows)
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
        return measure_talk({channel.name: np.concatenate(channel.talk) for channel in self.channels})

    # ------------------------------------------------------------ sound

    def _open(self, channels: int, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        roles: Sequence[str | None] = self.media.roles or ([None] * channels)
        if self.media.split:
            unique = len(set(self.media.roles)) == channels
            names = list(self.media.roles) if unique else [f"ch{i}" for i in range(channels)]
            roles = [*roles, *[None] * channels][:channels]
        else:
            names, roles = ["mix"], [None]
        self._mix = MixDown(rate_hz)
        self._meters = [Loudness(rate_hz, 1 if self.media.split else channels) for _ in names]
        self.channels = [
            Channel(
                name,
                role,
                may_judge(self.media, role, self.settings),
                rate_hz,
                self.engine,
                keep_sound=self._context is not None,
                steady=self.live,
            )
            for name, role in zip(names, roles, strict=True)
        ]
        if self.watch is not None:
            for name in names:
                self.watch.open(name)

    def _hear(self, channel: Channel, block: AudioEstimates | None, rows: Rows) -> None:
        if block is None or not len(block):
            return
        n = len(block)
        activity = decide(block.activity)
        channel.talk.append(HAS_SPEECH[activity])
        self.cells = max(self.cells, block.start + n)
        for name in ("speech", "music"):
            self.encoder_ms[name] = self.encoder_ms.get(name, 0) + n * STEP_MS
        heard = self._heard(channel, block, channel.take_loudness(n))
        if self._context is not None:
            self._context.push(channel.take_sound(n)[HAS_MUSIC[activity]].ravel())
            self._context.push_loudness(heard.loudness)
        for track, sources in self._sources(channel, block, heard):
            merge(rows, track.push(heard, sources))

    def _heard(self, channel: Channel, block: AudioEstimates, loudness: Float) -> Heard:
        """What is known of the cells of a block before any emotion."""
        activity = decide(block.activity)
        if not channel.judged:
            reasons = np.full(len(block), "role", object)
        elif self.media.split:
            reasons = np.where(activity == _MUSIC_CELL, "music", _REASONS[activity])
        else:
            reasons = _REASONS[activity]
        return Heard(block.start, activity, loudness, reasons)

    def _sources(
        self, channel: Channel, block: AudioEstimates, heard: Heard
    ) -> Iterator[tuple[Track, Mapping[str, tuple[Estimates, Mask]]]]:
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
        start, stop = self.cells, len(self._symbolic)
        estimates, sounding = self._symbolic_cells(start, stop)
        activity = np.where(sounding, _MUSIC_CELL, _SILENCE).astype(np.int8)
        heard = Heard(start, activity, np.full(stop - start, np.nan, np.float32), _REASONS[activity])
        sources = {"symbolic": (estimates, sounding)}
        channel = self.channels[0] if self.channels else None
        merge(rows, self._track(channel, "symbolic", sparse=self.with_sound).push(heard, sources))
        if self.with_sound:
            merge(rows, self._track(channel, "fused").push(heard, sources))
        self.cells = stop

    # ------------------------------------------------------------ tracks

    def _track(self, channel: Channel | None, modality: str, *, sparse: bool = False) -> Track:
        name = channel.name if channel else "mix"
        if (name, modality) not in self.tracks:
            info = self._info(name, channel, modality)
            self.tracks[name, modality] = Track(
                info, self.engine, sparse=sparse, revise=self.live, watch=self.watch
            )
        return self.tracks[name, modality]

    def _info(self, name: str, channel: Channel | None, modality: str) -> SpanInfo:
        if modality == "fused":
            parts = ["speech", "music"] + (["symbolic"] if self._symbolic is not None else [])
            model, version = "fusion", "+".join(self.engine.cards[part].version for part in parts)
        else:
            card = self.engine.cards[modality]
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
