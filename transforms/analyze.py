"""AnalyzeMedia: media (or the packets of media) in, commits out; what every pipeline is made of.

A media's commits come in order: rows in portions that bound memory, and last the one with its `media` row,
which makes all of them visible. A media of which nothing can be analysed gives one commit with its dead
letters.
"""

import io
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, BinaryIO, Protocol

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam import PTransform
from apache_beam.pvalue import PCollection

from moodstream.models.base import Notes
from moodstream.transforms.clips import dead_letter
from moodstream.transforms.decode import open_audio
from moodstream.transforms.elements import (
    SCHEMA_VERSION,
    Clip,
    Commit,
    DeadLetter,
    Media,
    MediaRow,
    Packet,
    Part,
)
from moodstream.transforms.engine import Engine
from moodstream.transforms.errors import DecodeError, MediaError, ReadError
from moodstream.transforms.notes import read_notes
from moodstream.transforms.read import content_hash, open_bytes, size_of
from moodstream.transforms.roles import unheard
from moodstream.transforms.session import Session, Settings, is_call
from moodstream.transforms.tables import to_table
from moodstream.transforms.track import Rows, merge

ROWS_A_COMMIT = 20_000  # about an hour of sound


class Observer(Protocol):
    """Somebody who wants to know how far a run is; travels to the workers pickled."""

    def advance(self, media_id: str, seconds: float, of_seconds: float | None = None, size: int = 0) -> None:
        """So many seconds of a media (of so many, and of so many bytes, if known) are analysed."""

    def done(self, media_id: str, seconds: float, size: int = 0, dead_letters: int = 0) -> None:
        """A media is finished, whatever came of it."""


@dataclass
class _Findings:
    """What is learned about a media on the way, for its `media` and `dead_letter` rows."""

    media: Media
    analysis_id: str
    letters: list[DeadLetter] = field(default_factory=list)
    kind: str = "midi"
    rate_hz: int | None = None
    channels: int | None = None
    tags: dict[str, str] = field(default_factory=dict)
    size: int = 0  # bytes of all parts, as far as that is known

    def refuse(self, part: Part, error: MediaError) -> None:
        """Note what could not be done with a part, and go on."""
        self.letters.append(dead_letter(self.media, self.analysis_id, part.source, error))

    def rows(self) -> Rows:
        return {"dead_letter": [to_table("dead_letter", self.letters)]} if self.letters else {}

    def media_row(self, session: Session) -> MediaRow:
        parts = sorted(self.media.parts, key=lambda part: part.kind == "midi")  # the sound first
        versions = session.engine.versions()
        used = [*session.encoder_ms, *(["activity"] if self.rate_hz else [])]
        return MediaRow(
            media_id=self.media.media_id,
            take=self.media.take,
            schema_version=SCHEMA_VERSION,
            analysis_id=self.analysis_id,
            source=parts[0].source,
            sources=[part.source for part in self.media.parts],
            content_hash=self.media.content_hash,
            kind="call" if is_call(self.media) and self.rate_hz else self.kind,
            duration_ms=session.duration_ms,
            rate_hz=self.rate_hz,
            channels=self.channels,
            tags=self.tags,
            analyzed_at=datetime.now(UTC),
            models={name: versions[name] for name in used},
            settings=session.settings.key(self.media),
            modalities=session.modalities,
            encoder_ms=session.encoder_ms,
        )


def analyze_media(
    media: Media,
    engine: Engine,
    settings: Settings,
    observer: Observer | None = None,
    payloads: Mapping[str, bytes] | None = None,
) -> Iterator[Commit]:
    """Everything about one media.

    Args:
        media: what to analyse.
        engine: the models.
        settings: what else decides the rows.
        observer: told after each block how many seconds are done.
        payloads: bytes of sources that are not files.

    Yields:
        Commits; the last one has the `media` row, unless nothing of the media could be analysed.
    """
    found = _Findings(media, uuid.uuid4().hex, size=size_of(media))
    rows: Rows = {}
    seconds = 0.0
    try:
        if not media.content_hash:
            found.media = media = replace(media, content_hash=content_hash(media, payloads))
        session = Session(media, found.analysis_id, engine, settings, with_sound=_with_sound(media))
        for more in _feed(session, found, payloads or {}, observer):
            merge(rows, more)
            if sum(map(len, rows.get("curve", []))) >= ROWS_A_COMMIT:
                yield _commit(media, rows)
                rows = {}
        seconds = session.duration_ms / 1000
        if seconds:
            merge(rows, session.flush())
            rows["media"] = [to_table("media", [found.media_row(session)])]
        elif not found.letters:
            found.refuse(media.parts[0], DecodeError("empty", "it holds no sound and no notes at all"))
    except ReadError as error:
        found.refuse(media.parts[0], error)
    merge(rows, found.rows())
    if observer is not None:
        observer.done(media.media_id, seconds, found.size, len(found.letters))
    yield _commit(media, rows)


def _with_sound(media: Media) -> bool:
    return any(part.kind != "midi" for part in media.parts)


def _commit(media: Media, rows: Rows) -> Commit:
    # In one piece: hundreds of little chunks would cost the sink more memory than the rows themselves.
    whole = {name: pa.concat_tables(tables).combine_chunks() for name, tables in rows.items()}
    return Commit(media.media_id, media.take, whole)


def _feed(
    session: Session, found: _Findings, payloads: Mapping[str, bytes], observer: Observer | None
) -> Iterator[Rows]:
    """Feed the parts of a media to its session, the notes first."""
    first_ms = min(part.offset_ms for part in found.media.parts)
    for part in sorted(found.media.parts, key=lambda part: part.kind != "midi"):
        late_ms = part.offset_ms - first_ms
        try:
            if part.kind == "midi":
                with _open(part.source, payloads) as file:
                    session.add_notes(_shift(read_notes(file), late_ms))
            else:
                yield from _feed_sound(session, found, part, late_ms, payloads, observer)
        except MediaError as error:
            found.refuse(part, error)


def _feed_sound(
    session: Session,
    found: _Findings,
    part: Part,
    late_ms: int,
    payloads: Mapping[str, bytes],
    observer: Observer | None,
) -> Iterator[Rows]:
    with (
        _open(part.source, payloads) as file,
        open_audio(file, max_hours=session.settings.max_hours) as audio,
    ):
        if part.role and audio.channels != 1:
            raise DecodeError(
                "channels", f"{audio.channels} channels, but it is the side of one: {part.role}"
            )
        media = found.media
        if not part.role and (why := unheard(media.roles, audio.channels, split=media.split)):
            found.refuse(part, DecodeError("roles", why))
        found.kind, found.rate_hz = audio.kind, audio.rate_hz
        found.channels = (found.channels or 0) + audio.channels
        found.tags = audio.tags
        if late_ms:
            silence = np.zeros((audio.channels, late_ms * audio.rate_hz // 1000), np.float32)
            yield session.push(Clip(0, audio.rate_hz, silence), part.source)
        for clip in audio:
            yield session.push(clip, part.source)
            if observer is not None:
                observer.advance(found.media.media_id, session.duration_ms / 1000, size=found.size)


def _open(source: str, payloads: Mapping[str, bytes]) -> BinaryIO:
    return io.BytesIO(payloads[source]) if source in payloads else open_bytes(source)


def _shift(notes: Notes, late_ms: int) -> Notes:
    late_s = late_ms / 1000
    return replace(
        notes,
        start_s=notes.start_s + late_s,
        end_s=notes.end_s + late_s,
        bars_s=notes.bars_s + late_s,
        end_of_media_s=notes.end_of_media_s + late_s,
    )


def from_packets(media_id: str, packets: Iterable[Packet]) -> tuple[Media, dict[str, bytes]]:
    """A media whose parts are the bytes of its packets, in the order of `seq`, each packet once."""
    parts: dict[str, dict[int, Packet]] = {}
    for packet in packets:
        parts.setdefault(packet.part, {}).setdefault(packet.seq, packet)
    media_parts, payloads = [], {}
    for name, by_seq in sorted(parts.items()):
        ordered = [by_seq[seq] for seq in sorted(by_seq)]
        kind = "midi" if "midi" in ordered[0].content_type else ordered[0].content_type.split("/")[0]
        source = f"packets:{media_id}/{name}"
        payloads[source] = b"".join(packet.data for packet in ordered)
        media_parts.append(Part(source, kind, offset_ms=ordered[0].pts_ms))
    return Media(media_id, tuple(media_parts)), payloads


class _Analyze(beam.DoFn):
    def __init__(self, settings: Settings, observer: Observer | None) -> None:
        self.settings, self.observer = settings, observer

    def setup(self) -> None:
        self.engine = Engine(speech=self.settings.speech_model)

    def process(self, element: Media | tuple[str, Iterable[Packet]]) -> Iterator[Commit]:
        media, payloads = (element, None) if isinstance(element, Media) else from_packets(*element)
        yield from analyze_media(media, self.engine, self.settings, self.observer, payloads)


@beam.typehints.with_output_types(Commit)
class AnalyzeMedia(PTransform[PCollection[Any], PCollection[Commit]]):
    """PCollection[Media] or PCollection[Packet] -> PCollection[Commit].

    Packets are gathered by media, so their stream must end; each part's packets together make one file.

    Args:
        settings: what decides the rows besides content and models.
        observer: told how far each media is.
    """

    def __init__(self, settings: Settings | None = None, observer: Observer | None = None) -> None:
        super().__init__()
        self.settings, self.observer = settings or Settings(), observer

    def expand(self, media: PCollection[Any]) -> PCollection[Commit]:
        if media.element_type is Packet:
            media = (
                media
                | "key by media" >> beam.Map(lambda packet: (packet.media_id, packet))
                | "gather packets" >> beam.GroupByKey()
            )
        return media | "analyze" >> beam.ParDo(_Analyze(self.settings, self.observer))
