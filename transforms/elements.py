"""The elements that travel between the steps, and the rows that come out.

Conventions: times are integer milliseconds from the start of the media, spans are half-open
`[start_ms, end_ms)`; valence, arousal and dominance lie in [-1, 1]; `None` means "not known", never zero.
The tables' Arrow schemas are derived from the row classes by `transforms/tables.py`: a column is written
once, here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

SCHEMA_VERSION = 1


# ---------------------------------------------------------------- what goes in


@dataclass(frozen=True)
class Part:
    """One file of a media: a song's recording and its MIDI are two parts of one media."""

    source: str  # path or URI as given
    kind: str  # audio, midi or video
    offset_ms: int = 0  # where the part's zero lies on the media's time axis
    role: str = ""  # whose side of a call it is, where each side is a part of its own


@dataclass(frozen=True)
class Media:
    """Something to analyse: a track, a call, a video."""

    media_id: str
    parts: tuple[Part, ...]
    roles: tuple[str, ...] = ()  # one a channel (agent, customer, ...) when the channels are people
    split: bool = False  # channels apart instead of mixed down
    take: int = 0  # counts up when a live stream comes back after it was closed
    content_hash: str = ""  # sha256 over the parts; empty until somebody read them


@dataclass(frozen=True)
class Packet:
    """Bytes of one stream as they arrive."""

    media_id: str
    seq: int
    data: bytes
    content_type: str  # e.g. audio/mpeg
    pts_ms: int = 0  # media position of the first sample or byte
    part: str = "audio"
    role: str = ""
    final: bool = False
    source: str = field(default="", compare=False)  # who sent it, a URI
    dataref: str = ""  # where its bytes are, if they are not here (claim check)


@dataclass(frozen=True, slots=True)
class Record:
    """What Kafka holds at one offset."""

    topic: str
    partition: int
    offset: int
    time_ms: int  # the broker's (or, where the topic says so, the sender's) stamp, since 1970
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def reference(self) -> str:
        """Where to find it again."""
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True)
class Recovered:
    """What the last commit about a partition of packets left: where to go on."""

    partition: int
    committed: int = 0  # the offset that comes next
    remark: str = ""  # what was kept beside it
    snapshots: Mapping[str, bytes] = field(default_factory=dict)  # of streams, by media id


@dataclass(frozen=True)
class Poll:
    """What one look at the topic of packets brought: records of some partitions, in order, or nothing."""

    lane: str  # names the reader: its polls are worked off one after the other, in one process
    topic: str
    records: tuple[Record, ...] = ()
    recovered: tuple[Recovered, ...] = ()  # on the first one: the partitions and how they stand
    idle_ms: int = 0  # the time, where every record was read; else 0
    lag: int = 0  # records that are there and were not read yet, as far as the broker has told


# ---------------------------------------------------------------- on the way


@dataclass(frozen=True, eq=False)
class Clip:
    """Decoded samples of one part, as long as a block or as a whole file."""

    start_ms: int
    rate_hz: int
    samples: npt.NDArray[np.float32]  # [channels, n], full scale is 1


@dataclass(frozen=True, eq=False)
class Segment:
    """A self-contained stretch of mono sound that a model sees as a whole."""

    media_id: str
    start_ms: int
    end_ms: int
    samples: npt.NDArray[np.float32]  # [n] at 16 kHz
    channel: str = "mix"


@dataclass(frozen=True)
class Estimate:
    """What a model says about a segment."""

    media_id: str
    channel: str
    modality: str
    start_ms: int
    end_ms: int
    model: str
    model_version: str
    valence: float
    valence_std: float
    arousal: float
    arousal_std: float
    dominance: float | None = None
    dominance_std: float | None = None
    emotion_scores: Mapping[str, float] = field(default_factory=dict)


# ---------------------------------------------------------------- what comes out: rows


@dataclass(frozen=True)
class Row:
    """What every row says."""

    media_id: str
    take: int
    schema_version: int
    analysis_id: str  # one analysis of one media; readers see the rows of the newest complete one


@dataclass(frozen=True)
class Span(Row):
    """What every row about a stretch of one channel says."""

    channel: str  # mix, or a side of a call: its role where roles are given, else ch0, ch1, ...
    role: str | None  # agent, customer, ... for calls
    modality: str  # speech, music, symbolic, face or fused
    start_ms: int
    end_ms: int
    model: str
    model_version: str
    revision: int
    is_final: bool
    event_time: datetime | None  # UTC, live rows only
    emotions_for: str  # whose emotions were asked for: customer (default) or all
    responsible: str | None = field(default=None, kw_only=True)  # who answers for asking for all


@dataclass(frozen=True)
class CurvePoint(Span):
    """One half second of a curve. Key: media_id, take, channel, modality, start_ms."""

    valence: float | None
    valence_std: float | None
    arousal: float | None
    arousal_std: float | None
    dominance: float | None  # speech only
    dominance_std: float | None
    activity: str  # speech, music, speech+music, silence, other; for MIDI: music, silence
    loudness_lufs: float | None  # BS.1770 momentary; None for MIDI
    emotion_scores: dict[str, float] | None
    modalities: list[str]  # which took part in this estimate
    reason: str | None  # why there is no estimate: silence, other, role, gap


@dataclass(frozen=True)
class Episode(Span):
    """A stretch of one emotion. Key: media_id, take, channel, modality, episode."""

    episode: int  # a number that stays when the span is revised
    emotion: str
    confidence: float  # mean posterior of the emotion over the stretch
    valence_mean: float
    arousal_mean: float


@dataclass(frozen=True)
class Summary(Span):
    """One row per media, channel and modality. Key: media_id, take, channel, modality."""

    valence_mean: float | None
    valence_std: float | None
    valence_slope: float | None  # change from first to last estimate of the fitted line
    arousal_mean: float | None
    arousal_std: float | None
    arousal_slope: float | None
    dominance_mean: float | None
    dominance_std: float | None
    dominance_slope: float | None
    emotion: str | None  # the dominant one
    emotion_scores: dict[str, float] | None  # their means
    quadrant: str | None
    quadrant_shares: dict[str, float] | None  # share of estimated time in each quadrant
    emotion_shares: dict[str, float] | None  # share of episode time of each emotion
    moods: list[str]  # words for the overall character, e.g. tense, calm
    profile: str | None  # shape over time: steady, rising, falling, arch, valley, wave
    dynamics: str | None  # how much it moves: static, gentle, varied, dramatic
    representative_start_ms: int | None  # where the 15 s lie that are most like the whole
    estimated_share: float  # share of the time that has an estimate
    activity_shares: dict[str, float]
    loudness_lufs_mean: float | None  # mean of the momentary loudness above -70 LUFS, energy domain
    talk_ms: int | None  # calls: this channel's talk time
    non_talk_ms: int | None  # calls: time in which no side talks
    interruptions: int | None  # calls: how often this side starts while another talks
    sentiment_by_quarter: list[float | None] | None  # calls: -5..5
    features: dict[str, float] | None  # musical context (tempo_bpm, loudness_range_lu, ...), on request
    key: str | None  # musical key, on request
    overlap_ms: int | None = field(default=None, kw_only=True)  # calls: this side talks while another does


@dataclass(frozen=True)
class Alert(Span):
    """A rule that fired. Key: media_id, take, channel, modality, rule, start_ms."""

    rule: str
    severity: str
    value: float
    threshold: float
    evidence: str


@dataclass(frozen=True)
class MediaRow(Row):
    """Written last: a media is there when its row is. Key: media_id, take."""

    source: str  # path or URI as given; the audio's where there are several parts
    sources: list[str]
    content_hash: str  # sha256 over the parts
    kind: str  # audio, midi, video, call
    duration_ms: int
    rate_hz: int | None
    channels: int | None
    tags: dict[str, str]
    analyzed_at: datetime
    models: dict[str, str]  # name to version, those that took part
    settings: str  # what else decides the rows (channels, roles, offsets), for skipping what is done
    modalities: list[str]
    encoder_ms: dict[str, int]  # how much sound reached which encoder


@dataclass(frozen=True)
class DeadLetter(Row):
    """What could not be done, and where to find it. Key: media_id, take, reference."""

    reference: str  # where the payload lies: path, URI, or topic/partition/offset
    source: str
    stage: str  # read, decode, notes, ...
    error: str  # a short stable word: empty, truncated, no_audio, ...
    message: str


@dataclass(frozen=True, eq=False)
class Commit:
    """Everything of one media (or one step of a stream) that must become visible at once.

    `rows` holds Arrow tables by table name (`curve`, `episode`, `summary`, `dead_letter`, `media`, ...), each
    with the schema `transforms.tables.SCHEMAS[name]`. A step of live streams is one commit about many media:
    its `media_id` is empty, `positions` says by `topic/partition` which offset comes next, `remarks` what is
    kept beside it, and `snapshots` holds, by `partition/media_id`, the streams' states (empty: forget it).
    """

    media_id: str
    take: int
    rows: Mapping[str, pa.Table]
    snapshots: Mapping[str, bytes] = field(default_factory=dict)
    positions: Mapping[str, int] = field(default_factory=dict)
    remarks: Mapping[str, str] = field(default_factory=dict)
