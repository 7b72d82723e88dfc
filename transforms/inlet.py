"""Inlet: one part of a media, from packets as they arrive to sound or notes in order.

Packets are put in order (`transforms/order.py`), then decoded (`transforms/streamed.py`). Where some never
came, the gap is as long as time stamps say: the container's own where it has any, else the packets' `pts_ms`.

The sender's clock is not ours. Positions count samples; `pts_ms` only measures gaps, and for that it is
compared with what it said before: a clock that drifts is followed, and how far it went is reported (`notes`).
A jump of more than `MAX_GAP_MS` with packets missing, or of more than a second with none, or back, is another
clock: it is followed from there on, and nothing is a gap.

A part has one producer: whoever sent its first packet (`ce_source`). Packets of another are refused while the
first one speaks; once it has been silent for the window, the other takes over, counting as it likes.

Conventions: `take` gives what is in a packet as it becomes ready; whoever takes it feeds it to the session
at once, since what follows depends on where that has got to.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from moodstream.transforms.claims import Claims
from moodstream.transforms.coded import MAX_PACKET_S
from moodstream.transforms.elements import Clip, Packet
from moodstream.transforms.errors import DecodeError, PacketError
from moodstream.transforms.order import Arrival, Order, Turn
from moodstream.transforms.spent import counted, spent
from moodstream.transforms.streamed import StreamDecoder, is_midi, midi_is_whole, open_decoder, open_runs
from moodstream.transforms.units import Lost

MAX_GAP_MS = 600_000  # a longer jump of `pts_ms` is another clock, not lost sound
MAX_MIDI_BYTES = 4 << 20
_PIECE = 1 << 16  # bytes that are decoded at once
_MAX_CLAIM_S = 6 * 3600  # of sound in a payload that lies elsewhere
_JUMP_MS = 1_000
_SMOOTH = 1 / 64  # share of a packet in what the sender's clock is thought to be
_SETTLED = 32  # packets, until it is known how far a decoder stays behind the bytes
_REPORT_MS = 200  # a smaller drift is not worth a word


@dataclass(frozen=True, slots=True)
class Gap:
    """Sound that never came."""

    lost_ms: int


@dataclass(frozen=True, slots=True)
class Midi:
    """The notes of a media, a whole MIDI file."""

    data: bytes


Heard = Clip | Gap | Midi


class Inlet:
    """One part of a media.

    Args:
        content_type: of all its packets.
        window_ms: how long packets wait for those before them.
        claims: where payloads may be fetched that packets only name.

    Raises:
        DecodeError: a type that cannot be decoded packet by packet.
    """

    def __init__(self, content_type: str, window_ms: int, claims: Claims | None = None) -> None:
        self.content_type = content_type
        self.claims = claims or Claims()
        self.order = Order(window_ms)
        self.decoder: StreamDecoder | None = None if is_midi(content_type) else open_decoder(content_type)
        self.closed = False
        self.source = ""  # who sends it
        self._last_ms = 0  # the broker's clock at its last packet
        self._midi = b""
        self._runs = open_runs(content_type)
        self._offset_ms: float | None = None  # what the sender's clock says at position 0
        self._drift_ms = 0.0  # how far that has moved
        self._timed = 0  # packets by which it is known
        self._jumps = 0  # how often it was another clock
        self._owed_ms = 0  # a gap from before the first sound

    @property
    def is_notes(self) -> bool:
        return self.decoder is None

    def push(self, arrival: Arrival) -> list[Turn]:
        """A packet as it arrives; gives those whose turn it is.

        Raises:
            PacketError: `final` (it comes after the last one), `producer` (another one speaks), `seq`.
        """
        source = arrival.packet.source
        if self.closed and arrival.packet.seq >= self.order.next:
            raise PacketError("final", f"seq {arrival.packet.seq} comes after the final packet")
        if source and self.source and source != self.source:
            if arrival.stamp_ms < self._last_ms + self.order.window_ms:
                raise PacketError(
                    "producer", f"{source[:80]!r} sends what {self.source[:80]!r} sends already"
                )
            turns = self.order.begin(arrival)
        else:
            turns = self.order.push(arrival)
        self.source = source or self.source
        self._last_ms = max(self._last_ms, arrival.stamp_ms)
        return turns

    def take(self, turn: Turn, position_ms: Callable[[], int]) -> Iterator[Heard]:
        """A packet whose turn it is.

        Args:
            turn: the packet, and how many before it never came.
            position_ms: how much of the media's sound was taken until now.

        Raises:
            MediaError: what was wrong with it, after all that is good in it.
        """
        if self.closed:
            return
        packet = turn.arrival.packet
        broken = bool(turn.lost) or turn.is_restart
        data = self.claims.fetch(packet.dataref) if packet.dataref else packet.data
        if self._runs is not None:
            self._runs.push(data, packet.pts_ms, lost=broken)
        elif self.decoder is None:
            yield from self._file(data, is_last=packet.final)
        else:
            if broken:
                self.decoder.resync()
            yield from self._gap(packet, position_ms(), lost=broken)
            yield from self._bounded(self.decoder, data, _MAX_CLAIM_S if packet.dataref else MAX_PACKET_S)

    def close(self) -> Iterator[Heard]:
        """No more packets come.

        Raises:
            MediaError: it breaks off.
        """
        if self.closed:
            return
        self.closed = True
        if self.decoder is not None:
            yield from self._sound(self.decoder.flush())
        elif self._runs is not None and not self._runs.is_empty:
            yield Midi(self._runs.file())

    def notes(self) -> dict[str, str]:
        """What is worth knowing about how its packets came."""
        drift_ms = round(self._drift_ms)
        found = {
            "sender_clock_drift_ms": drift_ms if abs(drift_ms) >= _REPORT_MS else 0,
            "sender_clock_jumps": self._jumps,
            "packets_lost": self.order.lost,
            "packets_doubled": self.order.duplicates,
            "sender_restarts": self.order.restarts,
        }
        return {name: str(value) for name, value in found.items() if value}

    def state(self) -> dict[str, Any]:
        """Everything needed to go on elsewhere, as plain Python and numpy."""
        return {
            "content_type": self.content_type,
            "order": self.order.state(),
            "decoder": None if self.decoder is None else self.decoder.state(),
            "midi": self._midi,
            "runs": None if self._runs is None else self._runs.state(),
            "closed": self.closed,
            "source": self.source,
            "last_ms": self._last_ms,
            "clock": [self._offset_ms, self._drift_ms, self._timed, self._jumps, self._owed_ms],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()` of the same content type."""
        self.order.restore(state["order"])
        if self.decoder is not None:
            self.decoder.restore(state["decoder"])
        self._midi, self.closed = state["midi"], state["closed"]
        if self._runs is not None:
            self._runs.restore(state["runs"])
        self.source, self._last_ms = state["source"], state["last_ms"]
        self._offset_ms, self._drift_ms, self._timed, self._jumps, self._owed_ms = state["clock"]

    # ------------------------------------------------------------ sound

    def _gap(self, packet: Packet, position_ms: int, *, lost: bool) -> Iterator[Gap]:
        """What never came before this packet, by the sender's clock."""
        offset_ms = packet.pts_ms - position_ms - self._owed_ms
        if self._offset_ms is None:
            self._offset_ms = 0.0 if lost and packet.pts_ms <= MAX_GAP_MS else float(offset_ms)
        self._timed += 1
        missing_ms = round(offset_ms - self._offset_ms)
        keeps_time = self.decoder is not None and self.decoder.keeps_time
        if lost and not keeps_time and 0 < missing_ms <= MAX_GAP_MS:
            if self.decoder is not None and self.decoder.rate_hz:
                yield Gap(missing_ms)
            else:
                self._owed_ms += missing_ms
        elif lost or abs(missing_ms) > _JUMP_MS or self._timed <= _SETTLED:
            self._jumps += abs(missing_ms) > _JUMP_MS and not keeps_time
            self._offset_ms = float(offset_ms)
        else:
            step_ms = (offset_ms - self._offset_ms) * _SMOOTH
            self._offset_ms += step_ms
            self._drift_ms += step_ms

    def _bounded(self, decoder: StreamDecoder, data: bytes, most_s: int) -> Iterator[Heard]:
        """What is in the bytes of a packet, up to so many seconds."""
        samples = 0
        wrong: DecodeError | None = None
        for at in range(0, len(data), _PIECE):
            try:
                with spent("decode"):
                    heard = decoder.push(data[at : at + _PIECE])
                for one in self._sound(counted("decode", heard)):
                    yield one
                    samples += one.samples.shape[1] if isinstance(one, Clip) else 0
            except DecodeError as error:
                wrong = wrong or error
            if samples > most_s * decoder.rate_hz or (wrong and wrong.error == "too_long"):
                wrong = DecodeError("too_long", f"a packet of more than {most_s} s of sound")
                decoder.resync()  # the rest is not taken
                break
        if wrong is not None:
            raise wrong

    def _sound(self, heard: Iterable[Clip | Lost]) -> Iterator[Heard]:
        for one in heard:
            if isinstance(one, Lost):
                lost_ms = one.samples * 1000 // self.decoder.rate_hz if self.decoder else 0
                if lost_ms <= MAX_GAP_MS:
                    self._offset_ms = (self._offset_ms or 0.0) - lost_ms
                    yield Gap(lost_ms)
                continue
            if self._owed_ms:
                owed_ms, self._owed_ms = self._owed_ms, 0
                yield Gap(owed_ms)
            yield one

    # ------------------------------------------------------------ notes

    def _file(self, data: bytes, *, is_last: bool) -> Iterator[Midi]:
        """A MIDI file, perhaps in pieces: it counts as soon as all of it is there."""
        whole = midi_is_whole(self._midi)
        self._midi += data
        if len(self._midi) > MAX_MIDI_BYTES:
            self._midi = b""
            raise PacketError("too_large", f"a MIDI file of more than {MAX_MIDI_BYTES} bytes")
        if not whole and self._midi and (midi_is_whole(self._midi) or is_last):
            yield Midi(self._midi)
