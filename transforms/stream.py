"""Stream: one media as its packets come, from the first to the last.

A stream feeds what its parts hear (`transforms/inlet.py`: order, gaps, decoders) to the session they share
(`transforms/live.py`); what sessions gather is worked off for many at once (`live.work`). Sound and notes of
one media meet here, and so do the sides of a call that come as parts of their own, each with its role; else a
media has one part of sound, and one of notes at most.

What is wrong with a packet becomes a dead letter, and the stream goes on with the next one.

Conventions: the clock is the broker's; `state()` is plain (see `transforms/state.py`), and a stream restored
from it, fed with the same packets, gives the same rows.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from moodstream.transforms.claims import Claims
from moodstream.transforms.elements import SCHEMA_VERSION, DeadLetter, Media, MediaRow, Part
from moodstream.transforms.engine import Engine
from moodstream.transforms.errors import DecodeError, MediaError, PacketError
from moodstream.transforms.inlet import Gap, Heard, Inlet, Midi
from moodstream.transforms.live import LiveSession
from moodstream.transforms.order import WINDOW_MS, Arrival, Turn
from moodstream.transforms.placing import Placing
from moodstream.transforms.roles import RoleWords, unheard
from moodstream.transforms.session import Settings, is_call
from moodstream.transforms.shelf import news
from moodstream.transforms.streamed import media_type
from moodstream.transforms.tables import to_table
from moodstream.transforms.track import Rows, merge

MAX_PARTS = 16  # of one media
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LiveSettings:
    """How long things wait, ms by the broker's clock."""

    window_ms: int = WINDOW_MS  # for packets that are missing
    idle_ms: int = 60_000  # without a packet, until a stream is closed
    snapshot_ms: int = 10_000  # between two snapshots of a stream
    park_ms: int = 15_000  # without a packet, until only a stream's state is kept in memory
    forget_ms: int = 86_400_000  # until it is forgotten that a stream was there, and its takes count from 0
    claims: Claims = field(default_factory=Claims)  # where payloads may be fetched that packets only name
    in_hand: str = ""  # folder that says after a crash which record it was (transforms/hand.py)
    roles: RoleWords = field(default_factory=RoleWords)  # who speaks, besides what packets say


@dataclass
class Stream:
    """One media that still runs.

    Args:
        media_id: whose packets these are.
        take: counts up when a media comes back after it was closed.
        analysis_id: written into every row.
        where: topic and partition, for references.
        began_ms: UTC time of position 0.
    """

    media_id: str
    take: int
    analysis_id: str
    where: str
    began_ms: int
    engine: Engine
    settings: Settings
    timing: LiveSettings
    last_ms: int = 0  # the clock at its last packet
    inlets: dict[str, Inlet] = field(default_factory=dict)
    rows: Rows = field(default_factory=dict)  # told and not taken yet
    letters: int = 0
    said_roles: dict[str, str] = field(default_factory=dict)  # in the headers, by part of sound
    placing: Placing = field(default_factory=Placing)
    refused: set[str] = field(default_factory=set)  # parts that do not belong here, said once

    def __post_init__(self) -> None:
        media = Media(self.media_id, (), take=self.take)
        self.session = LiveSession(media, self.analysis_id, self.engine, self.settings, self.began_ms)

    @property
    def waits(self) -> bool:
        """Whether packets wait for earlier ones."""
        return any(inlet.order.deadline_ms is not None for inlet in self.inlets.values())

    @property
    def nexts(self) -> dict[str, int]:
        """The `seq` that comes next, by part."""
        return {name: inlet.order.next for name, inlet in self.inlets.items()}

    @property
    def deadline_ms(self) -> int:
        """When `expire` has something to do, unless another packet comes."""
        waiting = [inlet.order.deadline_ms for inlet in self.inlets.values()]
        return min([self.last_ms + self.timing.idle_ms, *(each for each in waiting if each is not None)])

    def is_over(self, clock_ms: int) -> bool:
        """Whether every part has had its final packet, or none came for long."""
        closed = bool(self.inlets) and all(inlet.closed for inlet in self.inlets.values())
        return closed or self.last_ms + self.timing.idle_ms <= clock_ms

    def push(self, arrival: Arrival) -> None:
        """Take the next packet of the media."""
        self.last_ms = max(self.last_ms, arrival.stamp_ms)
        if arrival.packet.part in self.refused:
            return
        try:
            inlet = self._inlet(arrival)
            turns = inlet.push(arrival)
        except MediaError as error:
            self.refuse(f"{self.where}/{arrival.offset}", error)
            return
        for turn in turns:
            self._turn(inlet, turn)

    def expire(self, clock_ms: int) -> None:
        """The clock has reached this time: go on without what was waited for too long."""
        for inlet in self.inlets.values():
            for turn in inlet.order.expire(clock_ms):
                self._turn(inlet, turn)

    @property
    def engines(self) -> tuple[Engine, ...]:
        """Whose models speak, and whose are about to."""
        session = self.session
        return (session.engine,) if session.heir is None else (session.engine, session.heir)

    def succeed(self, engine: Engine) -> None:
        """Let other models speak from a later cell on; from now on that belongs to its state.

        Raises:
            ValueError: they cannot take over while a stream runs.
        """
        old = self.session.engine
        from_ms = self.session.succeed(engine)
        _log.info(
            "%s take %d: %s from %s ms on", self.media_id[:80], self.take, news(old, engine), from_ms or 0
        )

    def finish(self) -> None:
        """It is over: the last rows, with the media's own."""
        for part, inlet in self.inlets.items():
            for turn in inlet.order.flush():
                self._turn(inlet, turn)
            self._feed(part, inlet, inlet.close(), f"{self.where}/{self.analysis_id}")
        if not self.session.duration_ms:
            if not self.letters:
                nothing = DecodeError("empty", "it holds no sound and no notes at all")
                self.refuse(f"{self.where}/{self.analysis_id}", nothing)
            return
        merge(self.rows, self.session.flush())
        merge(self.rows, {"media": [to_table("media", [self._media_row()])]})

    def take_rows(self) -> Rows:
        """What was told since the last call."""
        rows, self.rows = self.rows, {}
        return rows

    def refuse(self, reference: str, error: MediaError) -> None:
        """Note what could not be done, and go on."""
        self.letters += 1
        letter = DeadLetter(
            media_id=self.media_id,
            take=self.take,
            schema_version=SCHEMA_VERSION,
            analysis_id=self.analysis_id,
            reference=reference,
            source=self.where,
            stage=error.stage,
            error=error.error,
            message=str(error),
        )
        merge(self.rows, {"dead_letter": [to_table("dead_letter", [letter])]})

    def state(self) -> dict[str, Any]:
        """Everything needed to go on elsewhere, as plain Python and numpy; its rows must be taken before."""
        media = self.session.media
        return {
            "media_id": self.media_id,
            "take": self.take,
            "analysis_id": self.analysis_id,
            "began_ms": self.began_ms,
            "last_ms": self.last_ms,
            "letters": self.letters,
            "parts": [[part.source, part.kind] for part in media.parts],
            "roles": list(media.roles),
            "split": media.split,
            "said_roles": dict(self.said_roles),
            "placing": self.placing.state(),
            "refused": sorted(self.refused),
            "inlets": {name: inlet.state() for name, inlet in self.inlets.items()},
            "session": self.session.state(),
        }

    def restore(self, state: Mapping[str, Any], heir: Engine | None = None) -> None:
        """Go on from a `state()` of the same stream.

        Args:
            heir: the models that were about to take over.

        Raises:
            ValueError: a state of other models.
        """
        self.last_ms, self.letters = state["last_ms"], state["letters"]
        self.session.media = Media(
            self.media_id,
            tuple(Part(source, kind) for source, kind in state["parts"]),
            roles=tuple(state["roles"]),
            split=state["split"],
            take=self.take,
        )
        self.said_roles = dict(state["said_roles"])
        self.placing.restore(state["placing"])
        self.refused = set(state["refused"])
        self.session.restore(state["session"], heir)
        for name, saved in state["inlets"].items():
            inlet = Inlet(saved["content_type"], self.timing.window_ms, self.timing.claims)
            self.inlets[name] = inlet
            inlet.restore(saved)

    # ------------------------------------------------------------ packets

    def _inlet(self, arrival: Arrival) -> Inlet:
        """Where a packet belongs; a new part is opened by whichever of its packets comes first."""
        packet = arrival.packet
        inlet = self.inlets.get(packet.part)
        if inlet is None:
            return self._open(arrival)
        if packet.content_type != inlet.content_type and not (packet.final and not packet.data):
            raise PacketError(
                "content_type", f"{packet.content_type[:80]!r} in a stream of {inlet.content_type[:80]!r}"
            )
        return inlet

    def _open(self, arrival: Arrival) -> Inlet:
        packet = arrival.packet
        inlet = Inlet(packet.content_type, self.timing.window_ms, self.timing.claims)
        if inlet.is_notes and any(other.is_notes for other in self.inlets.values()):
            raise self._stranger(packet.part, "a second part of notes")
        if not inlet.is_notes and self.said_roles and not all([packet.role, *self.said_roles.values()]):
            raise self._stranger(packet.part, "a second part of sound, and not each has a role")
        if len(self.inlets) >= MAX_PARTS:
            raise self._stranger(packet.part, f"more than {MAX_PARTS} parts")
        media = self.session.media
        kind = "midi" if inlet.is_notes else media_type(packet.content_type)[0].split("/")[0]
        parts = (*media.parts, Part(f"{self.where}/{arrival.offset}", kind))
        if not inlet.is_notes:
            self.said_roles[packet.part] = packet.role
        self.session.media = replace(media, parts=parts)
        self.inlets[packet.part] = inlet
        return inlet

    def _stranger(self, part: str, why: str) -> PacketError:
        """Why a part does not belong here; its further packets are left out."""
        if len(self.refused) < MAX_PARTS:
            self.refused.add(part)
        return PacketError("part", f"{part}: {why}")

    def _turn(self, inlet: Inlet, turn: Turn) -> None:
        """A packet whose turn it is."""
        packet = turn.arrival.packet
        part, reference = packet.part, f"{self.where}/{turn.arrival.offset}"
        if not inlet.is_notes and not inlet.closed:
            try:
                self.placing.place(part, 0 if turn.lost else packet.pts_ms)
            except PacketError as error:
                inlet.closed = True
                self.refuse(reference, self._stranger(part, str(error)))
        self._feed(part, inlet, inlet.take(turn, lambda: self._position_ms(part)), reference)
        if packet.final:
            self._feed(part, inlet, inlet.close(), reference)

    def _position_ms(self, part: str) -> int:
        """How much of a part was taken until now."""
        return max(0, self.session.position_ms(part) - self.placing.late_ms(part))

    def _feed(self, part: str, inlet: Inlet, heard: Iterable[Heard], reference: str) -> None:
        """Let the session hear what a part gives, as far as it is good."""
        try:
            for one in heard:
                if isinstance(one, Midi):
                    merge(self.rows, self.session.add_midi(one.data))
                elif isinstance(one, Gap):
                    self._skip(part, inlet, one)
                else:
                    self._know(part, inlet, len(one.samples), one.rate_hz)
                    self.session.take(self.placing.trim(part, one), part)
        except MediaError as error:
            self.refuse(reference, error)

    def _skip(self, part: str, inlet: Inlet, gap: Gap) -> None:
        if inlet.decoder is not None and inlet.decoder.rate_hz:
            rate_hz, channels = inlet.decoder.rate_hz, inlet.decoder.channels
            self._know(part, inlet, channels, rate_hz)
            merge(self.rows, self.session.skip(gap.lost_ms, rate_hz, channels, part))

    def _know(self, part: str, inlet: Inlet, channels: int, rate_hz: int) -> None:
        """A part of the sound has so many channels: are they the sides of a call?

        Raises:
            PacketError: they are not, and there are others.
        """
        if part in self.session.sides:
            return
        media = self.session.media
        roles = self.timing.roles.read(self.said_roles[part], channels)
        is_split = len(roles) == channels
        if self.session.sides and not (is_split and media.split):
            inlet.closed = True
            why = f"{channels} channels with roles {roles!r} beside another part of sound"
            raise self._stranger(part, why)
        if why := unheard(roles, channels, split=is_split):
            self.refuse(f"{self.where}/{part[:80]}:roles", PacketError("roles", why))
        if roles:
            self.session.part_roles[part] = roles
            self.session.media = replace(media, roles=(*media.roles, *roles), split=is_split)
        if late_ms := self.placing.take_late_ms(part):
            merge(self.rows, self.session.skip(late_ms, rate_hz, channels, part, is_gap=False))

    def _media_row(self) -> MediaRow:
        session, media = self.session, self.session.media
        parts = sorted(media.parts, key=lambda part: part.kind == "midi")  # the sound first
        sounds = [inlet.decoder for inlet in self.inlets.values() if inlet.decoder is not None]
        sound = sounds[0] if sounds and session.sides else None
        used = [*session.encoder_ms, *(["activity"] if sound else [])]
        return MediaRow(
            media_id=self.media_id,
            take=self.take,
            schema_version=SCHEMA_VERSION,
            analysis_id=self.analysis_id,
            source=parts[0].source,
            sources=[part.source for part in parts],
            content_hash=self.analysis_id,  # where the bytes are; nobody has them all in one hand
            kind="call" if sound and is_call(media) else parts[0].kind,
            duration_ms=session.duration_ms,
            rate_hz=sound.rate_hz if sound else None,
            channels=sum(side.width for side in session.sides.values()) if sound else None,
            tags={name: value for inlet in self.inlets.values() for name, value in inlet.notes().items()},
            analyzed_at=datetime.fromtimestamp(self.last_ms / 1000, UTC),  # by no clock of ours
            models={name: versions_of(name, session.spoke) for name in used},
            settings=self.settings.key(media),
            modalities=session.modalities,
            encoder_ms=session.encoder_ms,
        )


def versions_of(name: str, spoke: Sequence[tuple[int, Mapping[str, str]]]) -> str:
    """The version of a model that spoke, or all of them in turn.

    Args:
        spoke: versions by model, with the position, in ms, that each spoke until.

    Example:
        >>> versions_of("speech", [(4000, {"speech": "1.0+a"}), (9000, {"speech": "1.1+b"})])
        '1.0+a until 4000 ms, 1.1+b'
    """
    turns: list[tuple[int, str]] = []
    for until_ms, versions in spoke:
        if turns and turns[-1][1] == versions[name]:
            turns.pop()
        turns.append((until_ms, versions[name]))
    return ", ".join([*(f"{version} until {ms} ms" for ms, version in turns[:-1]), turns[-1][1]])
