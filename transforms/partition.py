"""Partition: all streams of one partition of the packets' topic, and what it takes to go on after a crash.

Exactly once, in short. What a poll brought is worked off record by record; then rows, due snapshots, the
next offset and a remark beside it go out as one commit, all or nothing (`sinks/kafka.py`). Each stream is
saved only now and then, so after a crash its snapshot is older than the offset. Therefore the start is: read
the committed offset and the snapshots, go back to the oldest of them, and work the records in between off
again, silently:

* records before a stream's snapshot are skipped for that stream, they are in it;
* rows that come of records before the committed offset are dropped, they are out already;
* streams that have no snapshot yet begin at `low`, which stands in the remark.

Everything a stream does follows from records and from the clock, which is the largest broker stamp so far; so
the second time gives what the first time gave. Where nothing comes at all, the source may move the clock
(`tick`); what a stream does then is in no record, so it is saved in the same commit.

A stream that is silent for a while is parked: only its state is kept, packed. It wakes with its next packet.

Other models (`transforms/shelf.py`): a new stream gets the newest, and which these are stands in the remark,
for streams that have no snapshot yet. A stream that runs is given them where it is saved, a few streams at a
time since both old and new ones hear it for a while; from which cell on they speak lies in that snapshot. So
what is worked off again is heard by the models that heard it first.

A closed stream leaves a small marker, so that a media that comes back gets the next take and late duplicates
are known for what they are.

Conventions: offsets are those of the packets' topic; a snapshot at offset N holds all records before N.
"""

import heapq
import json
import logging
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self
from zlib import crc32

from moodstream.transforms.elements import SCHEMA_VERSION, DeadLetter, Record, Recovered
from moodstream.transforms.engine import Engine
from moodstream.transforms.errors import PacketError, UsageError
from moodstream.transforms.hand import DEATHS, InHand
from moodstream.transforms.live import LiveSession, work
from moodstream.transforms.memory import give_back
from moodstream.transforms.order import Arrival
from moodstream.transforms.packets import read_packet
from moodstream.transforms.session import Settings
from moodstream.transforms.shelf import Shelf, news
from moodstream.transforms.state import StateError, pack, unpack
from moodstream.transforms.stream import LiveSettings, Stream
from moodstream.transforms.tables import to_table
from moodstream.transforms.track import Rows, merge

_LINGER = 2  # windows: so long after its end, what a stream has had before is a late duplicate
_MOST_PTS_MS = 172_800_000  # two days: a first packet that says more has another clock than ours
_HEAD = struct.Struct(">BQQ")
_OPEN, _CLOSED = 1, 2
_TURNING = 8  # of so many open streams, one at a time goes over to other models
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stream as it was before the record at `offset`, when the clock stood at `clock_ms`."""

    offset: int
    clock_ms: int
    is_open: bool
    state: bytes

    def to_bytes(self) -> bytes:
        return _HEAD.pack(_OPEN if self.is_open else _CLOSED, self.offset, self.clock_ms) + self.state

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read only where it lies; the state stays as it is.

        Raises:
            StateError: not a snapshot.
        """
        if len(data) < _HEAD.size or data[0] not in (_OPEN, _CLOSED):
            raise StateError(f"not a snapshot: it begins with {data[:12]!r}")
        kind, offset, clock_ms = _HEAD.unpack_from(data)
        return cls(offset, clock_ms, kind == _OPEN, data[_HEAD.size :])


def start_of(recovered: Recovered) -> tuple[int, int]:
    """From which record on a partition must be read again, and where the clock stood then.

    Raises:
        UsageError: snapshots that this version cannot read.
    """
    kept = _kept(recovered)
    places = [(recovered.committed, kept["clock"])]
    for media_id, data in recovered.snapshots.items():
        with _readable(media_id):
            snapshot = Snapshot.from_bytes(data)
            places += [(snapshot.offset, snapshot.clock_ms)] if snapshot.is_open else []
    if kept["low"] is not None:
        places.append(tuple(kept["low"]))
    return min(places)


def _kept(recovered: Recovered) -> dict[str, Any]:
    """What stands in the remark."""
    return {"clock": 0, "low": None, "models": None} | json.loads(recovered.remark or "{}")


@contextmanager
def _readable(media_id: str) -> Iterator[None]:
    try:
        yield
    except (StateError, ValueError) as error:
        raise UsageError(
            f"the snapshot of {media_id!r} cannot be read: {error}. Let the version that wrote it finish "
            "its streams, give its models (--releases, docs/live.md), or start with another --group"
        ) from error


@dataclass(frozen=True, slots=True)
class Step:
    """What must become safe at once: rows, snapshots by media id (empty: forget it), the next offset."""

    position: int
    remark: str
    rows: Rows
    snapshots: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class _Parked:
    """A stream that is silent for a while: its state alone, its decoders and models' memory given back."""

    state: bytes
    engines: tuple[Engine, ...]
    last_ms: int
    deadline_ms: int
    waits: bool = False


@dataclass(slots=True)
class _Held:
    """An open stream, and what of it is safe."""

    stream: Stream | _Parked
    since: int  # records before this one are in it already
    first: tuple[int, int]  # offset and clock at its first record
    saved_ms: int | None = None  # the clock at its last snapshot; none: it has none yet
    forced: bool = False  # changed by no record: must be saved with the next commit
    alarm_ms: int | None = None  # its earliest entry among the deadlines


@dataclass(frozen=True, slots=True)
class _Gone:
    """A closed stream."""

    take: int
    offset: int
    clock_ms: int  # at its last packet: when it was closed may hang on when somebody looked
    nexts: Mapping[str, int]


def work_off(partitions: Sequence["Partition"]) -> None:
    """Let the networks hear what the streams of some partitions have gathered, as one batch.

    The rows of all go to one of them, since a table for each would cost more than the networks.
    """
    busy = [partition for partition in partitions if partition.is_due]
    for partition in busy:
        partition.hand.take_all(partition.position)
    live = [partition for partition in busy if not partition.is_replaying]  # their rows go out as one commit
    groups = [live, *([partition] for partition in busy if partition.is_replaying)]
    due = [[session for partition in group for session in partition.take_due()] for group in groups]
    for group, rows in zip(groups, work(due), strict=True):
        for partition in group[:1]:
            partition.add(rows)
    for partition in busy:
        partition.hand.done_all(partition.position)


class Partition:
    """The streams of one partition.

    Args:
        topic, number: which partition.
        engine: the models, or the shelf that has them.
        settings: what decides the rows besides the packets.
        timing: how long things wait.
        recovered: what the last commit left; none where there was none.

    Raises:
        UsageError: snapshots of another version of moodstream or of other models.
    """

    def __init__(
        self,
        topic: str,
        number: int,
        engine: Engine | Shelf,
        settings: Settings,
        timing: LiveSettings,
        recovered: Recovered | None = None,
    ) -> None:
        self.topic, self.number = topic, number
        self.shelf = engine if isinstance(engine, Shelf) else Shelf(engine)
        self.settings, self.timing = settings, timing
        recovered = recovered or Recovered(number)
        self.committed = recovered.committed
        self.position, self.clock_ms = start_of(recovered)
        self._open: dict[str, _Held] = {}
        self._gone: dict[str, _Gone] = {}
        self._deadlines: list[tuple[int, str]] = []
        self.hand = InHand(timing.in_hand, f"{topic}-{number}")
        self._rows: Rows = {}
        self._due: dict[str, LiveSession] = {}  # sessions that have gathered what is to be worked off
        self._touched: set[str] = set()  # open streams that changed since they were saved
        self._silent: set[str] = set()  # open streams that may be parked
        self._untidy = 0  # how often memory is to be given back
        self._turning: set[str] = set()  # open streams that other models are about to speak in
        self._fresh: dict[str, bytes] = {}  # snapshots to go out with the next commit
        self.engine = self._first_engine(_kept(recovered))  # whose models new streams get
        for media_id, data in recovered.snapshots.items():
            with _readable(media_id):
                self._restore(media_id, Snapshot.from_bytes(data))

    @property
    def name(self) -> str:
        return f"{self.topic}/{self.number}"

    @property
    def streams(self) -> int:
        """How many are open."""
        return len(self._open)

    @property
    def older(self) -> int:
        """How many of them are not of the newest models yet."""
        helds = list(self._open.values())
        return sum(held.stream.engines != (self.engine,) for held in helds)

    @property
    def parked(self) -> int:
        """How many of them are silent, and only kept as bytes."""
        return sum(isinstance(held.stream, _Parked) for held in self._open.values())

    def push(self, record: Record) -> None:
        """Take the next record; what needs the networks waits for `work_off`."""
        if self.position < self.committed <= record.offset:
            self._end_silence()
        self.clock_ms = max(self.clock_ms, record.time_ms)
        self._expire(record.offset)
        self._take(record)
        self.position = record.offset + 1
        if record.offset < self.committed <= self.position:
            self._end_silence()

    def _end_silence(self) -> None:
        """What is replayed ends here: its rows are out already."""
        work_off([self])
        self._rows = {}

    def tick(self, now_ms: int) -> None:
        """Nothing comes, and by the source's clock it is now so late."""
        if self.is_replaying or now_ms <= self.clock_ms:
            return
        if self._deadlines and self._deadlines[0][0] <= now_ms:
            self.clock_ms = now_ms
            self._expire(self.position, forced=True)

    @property
    def is_replaying(self) -> bool:
        """Whether it works off records again whose rows are out already."""
        return self.position < self.committed

    @property
    def is_due(self) -> bool:
        """Whether there is anything for the networks."""
        return bool(self._due)

    def take_due(self) -> list[LiveSession]:
        """The sessions that have something to work off; whoever asks does it."""
        due, self._due = list(self._due.values()), {}
        return due

    def add(self, rows: Rows) -> None:
        """Rows that came of what was worked off."""
        merge(self._rows, rows)

    def take(self) -> Step | None:
        """What a commit must hold now; None where that is nothing, or is out already."""
        work_off([self])
        if self.is_replaying:
            self._rows = {}
            return None
        if self.shelf.newest is not self.engine:
            self._turn_to(self.shelf.newest)
        for media_id in sorted(self._touched):
            held = self._open[media_id]
            if held.forced or self._is_due(media_id, held):
                self._offer(media_id, held.stream)
                parked = held.stream if isinstance(held.stream, _Parked) else None
                state = parked.state if parked else pack(self._awake(media_id, held).state())
                self._fresh[media_id] = Snapshot(self.position, self.clock_ms, True, state).to_bytes()
                held.saved_ms, held.forced = self.clock_ms, False
                self._touched.remove(media_id)
        for media_id in self._silent:
            self._park(self._open.get(media_id))
        if self._silent:
            self._untidy = 2  # now, and again when this commit, which may hold their snapshots, is gone, too
        self._silent.clear()
        if self._untidy and give_back():
            self._untidy -= 1
        if self.position == self.committed and not self._rows and not self._fresh:
            return None
        unsaved = [held.first for held in self._open.values() if held.saved_ms is None]
        remark = json.dumps(
            {"clock": self.clock_ms, "low": min(unsaved, default=None), "models": self.engine.mark}
        )
        step = Step(self.position, remark, self._rows, self._fresh)
        self.committed, self._rows, self._fresh = self.position, {}, {}
        return step

    def _is_due(self, media_id: str, held: _Held) -> bool:
        since_ms = held.saved_ms
        if since_ms is None:  # the first one comes early, somewhere, or streams that begin together are
            since_ms = held.first[1] - crc32(media_id.encode()) % self.timing.snapshot_ms  # saved together
        late_ms = self.clock_ms - since_ms - self.timing.snapshot_ms
        return late_ms >= (self.timing.window_ms if held.stream.waits else 0)

    # ------------------------------------------------------------ models

    def _first_engine(self, kept: Mapping[str, Any]) -> Engine:
        """Whose models streams get that begin where this partition goes on."""
        newest = self.shelf.newest
        if kept["low"] is None or kept["models"] in (None, newest.mark):
            return newest
        with _readable("the streams that have none"):
            return self.shelf.marked(kept["models"])

    def _turn_to(self, engine: Engine) -> None:
        """Streams that begin from now on get these models; those that have no snapshot yet get one."""
        _log.info("%s: new streams get %s", self.name, news(self.engine, engine))
        if why := self.engine.unlike(engine):
            _log.warning("%s: streams that run go on with the models they have: %s", self.name, why)
        self.engine = engine
        for media_id, held in self._open.items():
            if held.saved_ms is None:
                held.forced = True
                self._touched.add(media_id)

    def _offer(self, media_id: str, stream: "Stream | _Parked") -> None:
        """Let a stream that is about to be saved go over to the newest models, if it can."""
        if isinstance(stream, _Parked) or stream.engines == (self.engine,) or len(stream.engines) > 1:
            return
        self._turning = {
            name for name in self._turning if name in self._open and len(self._open[name].stream.engines) > 1
        }
        if len(self._turning) * _TURNING < len(self._open) and not stream.engines[0].unlike(self.engine):
            stream.succeed(self.engine)
            self._turning.add(media_id)

    # ------------------------------------------------------------ records

    def _take(self, record: Record) -> None:
        try:
            packet = read_packet(record)
        except PacketError as error:
            self._refuse(record, error)
            return
        media_id = packet.media_id
        held, gone = self._open.get(media_id), self._gone.get(media_id)
        if record.offset < (held.since if held else gone.offset if gone else 0):
            return
        if held is None:
            if gone is not None and self._is_late(gone, packet.part, packet.seq):
                return
            held = self._begin(media_id, record, gone.take + 1 if gone else 0, packet.pts_ms)
        stream = self._awake(media_id, held)
        if self.hand.is_poison(record.offset, record.time_ms):
            stream.last_ms = max(stream.last_ms, record.time_ms)
            stream.refuse(
                f"{self.name}/{record.offset}",
                PacketError("poison", f"the process died of it {DEATHS} times"),
            )
        else:
            self.hand.take(record.offset, record.time_ms)
            stream.push(Arrival(packet, record.time_ms, record.offset))
        self._settle(media_id, held, record.offset + 1)
        if self.committed <= record.offset < self.hand.careful and media_id in self._due:
            (rows,) = work([[self._due.pop(media_id)]])
            self.add(rows)
        self.hand.done(record.offset, record.time_ms)

    def _is_late(self, gone: _Gone, part: str, seq: int) -> bool:
        """Whether a packet belongs to a stream that is over, having come once before."""
        here = gone.nexts.get(part, 0)
        in_time = self.clock_ms <= gone.clock_ms + _LINGER * self.timing.window_ms
        return in_time and seq < here and (seq > 0 or here <= 2)

    def _begin(self, media_id: str, record: Record, take: int, pts_ms: int) -> _Held:
        stream = Stream(
            media_id,
            take,
            f"{record.reference}@{record.time_ms}",  # where it began, and when
            self.name,
            record.time_ms - (pts_ms if pts_ms <= _MOST_PTS_MS else 0),
            self.engine,
            self.settings,
            self.timing,
            last_ms=record.time_ms,
        )
        held = self._open[media_id] = _Held(stream, record.offset, (record.offset, self.clock_ms))
        return held

    def _refuse(self, record: Record, error: PacketError) -> None:
        letter = DeadLetter(
            media_id=record.reference,  # it belongs to no media, and each such record is to be seen
            take=0,
            schema_version=SCHEMA_VERSION,
            analysis_id=f"{record.reference}@{record.time_ms}",
            reference=record.reference,
            source=self.name,
            stage=error.stage,
            error=error.error,
            message=str(error),
        )
        merge(self._rows, {"dead_letter": [to_table("dead_letter", [letter])]})

    # ------------------------------------------------------------ time

    def _expire(self, offset: int, *, forced: bool = False) -> None:
        """Let the streams act whose time has come; of the record at `offset` they know nothing yet."""
        while self._deadlines and self._deadlines[0][0] <= self.clock_ms:
            _, media_id = heapq.heappop(self._deadlines)
            if media_id in self._gone:
                self._forget(media_id)
            held = self._open.get(media_id)
            if held is None:
                continue
            held.alarm_ms = None
            if held.stream.deadline_ms <= self.clock_ms:
                self._awake(media_id, held).expire(self.clock_ms)
                held.forced = held.forced or forced
                self._settle(media_id, held, offset)
                continue
            if held.stream.last_ms + self.timing.park_ms <= self.clock_ms and not held.stream.waits:
                self._silent.add(media_id)
            self._set_alarm(media_id, held)

    def _forget(self, media_id: str) -> None:
        """A marker's time may be over."""
        due_ms = self._gone[media_id].clock_ms + self.timing.forget_ms
        if due_ms > self.clock_ms:
            return
        if media_id not in self._open:
            del self._gone[media_id]
            self._fresh[media_id] = b""

    def _settle(self, media_id: str, held: _Held, upto: int) -> None:
        """After a stream acted: collect its rows, close it if it is over, see when it must act again.

        Args:
            upto: records before this one are in it now.
        """
        stream = self._awake(media_id, held)
        if stream.is_over(self.clock_ms):
            stream.finish()
            self._due.pop(media_id, None)
            del self._open[media_id]
            self._touched.discard(media_id)
            self._leave_marker(media_id, stream, upto)
        else:
            self._touched.add(media_id)
            self._set_alarm(media_id, held)
            if stream.session.is_due:
                self._due[media_id] = stream.session
        merge(self._rows, stream.take_rows())

    def _set_alarm(self, media_id: str, held: _Held) -> None:
        deadline_ms = held.stream.deadline_ms
        if not isinstance(held.stream, _Parked):
            silent_ms = held.stream.last_ms + self.timing.park_ms
            deadline_ms = min(deadline_ms, max(silent_ms, self.clock_ms + 1))
        if held.alarm_ms is None or deadline_ms < held.alarm_ms:
            held.alarm_ms = deadline_ms
            heapq.heappush(self._deadlines, (deadline_ms, media_id))

    def _leave_marker(self, media_id: str, stream: Stream, upto: int) -> None:
        gone = self._gone[media_id] = _Gone(stream.take, upto, stream.last_ms, stream.nexts)
        state = pack({"take": gone.take, "nexts": dict(gone.nexts)})
        self._fresh[media_id] = Snapshot(upto, gone.clock_ms, False, state).to_bytes()
        heapq.heappush(self._deadlines, (gone.clock_ms + self.timing.forget_ms, media_id))

    # ------------------------------------------------------------ starting

    def _restore(self, media_id: str, snapshot: Snapshot) -> None:
        state = unpack(snapshot.state)
        if not snapshot.is_open:
            gone = _Gone(state["take"], snapshot.offset, snapshot.clock_ms, state["nexts"])
            self._gone[media_id] = gone
            heapq.heappush(self._deadlines, (gone.clock_ms + self.timing.forget_ms, media_id))
        else:
            stream = self._restored(media_id, state, self._engines_of(state))
            if len(stream.engines) > 1:
                self._turning.add(media_id)
            place = (snapshot.offset, snapshot.clock_ms)
            held = _Held(stream, snapshot.offset, place, saved_ms=snapshot.clock_ms)
            self._open[media_id] = held
            self._set_alarm(media_id, held)

    def _restored(self, media_id: str, state: Mapping[str, Any], engines: Sequence[Engine]) -> Stream:
        stream = Stream(
            media_id,
            state["take"],
            state["analysis_id"],
            self.name,
            state["began_ms"],
            engines[0],
            self.settings,
            self.timing,
        )
        stream.restore(state, *engines[1:])
        return stream

    def _engines_of(self, state: Mapping[str, Any]) -> list[Engine]:
        """Whose models speak in a stream that was saved, and whose were about to.

        Raises:
            ValueError: they are not here.
        """
        versions = [state["session"].get(name) for name in ("models", "heir")]
        return [self.shelf.find(one) for one in versions if one] or [self.shelf.newest]

    # ------------------------------------------------------------ silence

    def _park(self, held: _Held | None) -> None:
        """Give back what a silent stream does not need until it speaks again."""
        if held is None or isinstance(held.stream, _Parked):
            return
        stream = held.stream
        if stream.last_ms + self.timing.park_ms <= self.clock_ms and not stream.waits:
            state = pack(stream.state())
            held.stream = _Parked(state, stream.engines, stream.last_ms, stream.deadline_ms)

    def _awake(self, media_id: str, held: _Held) -> Stream:
        """The stream, its decoders and models ready."""
        if isinstance(held.stream, _Parked):
            held.stream = self._restored(media_id, unpack(held.stream.state), held.stream.engines)
        return held.stream
