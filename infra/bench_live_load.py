"""Load for `infra/bench_live.py`: streams sent as packets by one process, rows received by another.

Calls: both sides speak all the time, stretches of speech of the call-centre recordings, joined, each side of
each call beginning somewhere else, as L16 at 8 kHz. Music: 44.1 kHz stereo in any codec of `replay`, four
pieces in turn. Both processes write what they saw into shared memory: when the broker stamped each packet,
and when each provisional row was there for a `read_committed` consumer.

Conventions: times are seconds since 1970 by this machine's clock, which is the broker's too; 0 where nothing
came. A packet is *due* when its last sample was heard at the sender's, and a decoder may say less than that
after it.
"""

import heapq
import json
import multiprocessing as mp
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import starmap
from multiprocessing.sharedctypes import SynchronizedArray
from typing import Any

import numpy as np
import numpy.typing as npt

from infra.bench_material import data, decode, music_mp3
from moodstream.pipelines.packing import pack, pack_as_is
from moodstream.sinks.cluster import partition_of
from moodstream.transforms.decode import open_audio
from moodstream.transforms.elements import Clip, Packet
from moodstream.transforms.packets import headers_of
from moodstream.transforms.streamed import open_decoder

RATE_HZ = 8_000
CELL_MS = 500
KIND = f"audio/L16;rate={RATE_HZ};channels=2"
_LOUD = 1e-4  # mean square from which half a second counts as speech
_PIECES = 4  # of music


@dataclass(frozen=True)
class Load:
    """Streams that run side by side."""

    name: str
    calls: int
    packet_ms: int
    seconds: float
    topic: str
    rows: str  # the topic of curves
    music: str = ""  # its codec; calls if empty

    @property
    def sides(self) -> int:
        """How many channels get rows."""
        return 1 if self.music else 2

    @property
    def packets(self) -> int:
        """Of each stream, the empty final one not counted; of music, at most."""
        return int(self.seconds * 1000) // self.packet_ms

    @property
    def cells(self) -> int:
        return int(self.seconds * 1000) // CELL_MS

    def media_id(self, call: int) -> str:
        return f"{self.name}-{call}"


@dataclass(frozen=True)
class Sent:
    """What the sender saw, [streams, packets + 1] each."""

    stamps: npt.NDArray[np.float64]  # the broker's
    due_ms: npt.NDArray[np.float64]  # since a stream began
    heard_ms: npt.NDArray[np.float64]  # how much a decoder has said after this packet

    def completing(self, cells: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The packet that completes the provisional row of each cell, [streams, cells]: half a second is
        looked ahead."""
        needed = (cells + 2) * CELL_MS
        found = [np.searchsorted(heard, needed) for heard in self.heard_ms]
        return np.minimum(found, self.stamps.shape[1] - 1)


def speech() -> npt.NDArray[np.int16]:
    """All speech of the two-channel calls, one side after the other, at 8 kHz."""
    import av

    found = []
    for path in sorted((data() / "speech/callcentre/audio").glob("*.flac")):
        with av.open(str(path)) as container:
            stereo = container.streams.audio[0].channels == 2
        sound = decode(path, RATE_HZ) if not stereo else None
        sides = [sound] if sound is not None else _sides(path)
        for side in sides:
            cells = side[: len(side) // 4_000 * 4_000].reshape(-1, 4_000)
            found.append(cells[(cells**2).mean(1) > _LOUD].ravel())
    return (np.concatenate(found) * 32_767).astype(np.int16)


def _sides(path: Any) -> npt.NDArray[np.float32]:
    import av

    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=RATE_HZ)
        frames = [f for frame in container.decode(audio=0) for f in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray() for frame in frames], axis=1)


def packets(load: Load, call: int, sound: npt.NDArray[np.int16]) -> Iterator[Packet]:
    """The packets of a call."""
    n = RATE_HZ * load.packet_ms // 1000
    starts = (call * 7_919 * 4, call * 10_007 * 4 + len(sound) // 2)
    for number in range(load.packets):
        sides = [sound.take(range(s + number * n, s + number * n + n), mode="wrap") for s in starts]
        body = np.stack(sides, 1).astype(">i2").tobytes()
        yield Packet(load.media_id(call), number, body, KIND, number * load.packet_ms, role="agent,customer")
    end_ms = load.packets * load.packet_ms
    yield Packet(load.media_id(call), load.packets, b"", KIND, end_ms, role="agent,customer", final=True)


@dataclass(frozen=True)
class Piece:
    """A packet's worth of music."""

    content_type: str
    start_ms: int
    due_ms: int
    heard_ms: float
    data: bytes


def pieces(load: Load, part: int) -> list[Piece]:
    """Music in the codec of a load."""
    path = str(music_mp3(-(-int(load.seconds + 2) // 60) * 60, part))
    with open_audio(path) as audio:
        packed = pack_as_is(path, load.music, load.packet_ms) or pack(
            audio, (clip.samples[:2] for clip in audio), load.music, load.packet_ms
        )
        decoder, samples, found = open_decoder(packed.content_type), 0, []
        for start_ms, stop_ms, body in packed.pieces:
            clips = [one for one in decoder.push(body) if isinstance(one, Clip)]
            samples += sum(one.samples.shape[1] for one in clips)
            heard_ms = samples * 1000 / decoder.rate_hz if decoder.rate_hz else 0.0
            found.append(Piece(packed.content_type, start_ms, stop_ms, heard_ms, body))
            if len(found) == load.packets:
                break
    return found


Lane = Iterator[tuple[float, float, Packet]]


def _lanes(load: Load) -> list[Lane]:
    """By stream its packets, each with when it is due and what is heard after it, in milliseconds."""
    if load.music:
        parts = [pieces(load, part) for part in range(min(_PIECES, load.calls))]
        return [_music(load.media_id(n), parts[n % _PIECES]) for n in range(load.calls)]
    sound = speech()
    return [_call(load, call, sound) for call in range(load.calls)]


def _call(load: Load, call: int, sound: npt.NDArray[np.int16]) -> Lane:
    for packet in packets(load, call, sound):
        end_ms = packet.pts_ms + load.packet_ms
        yield end_ms, end_ms, packet


def _music(media_id: str, parts: list[Piece]) -> Lane:
    for seq, one in enumerate(parts):
        packet = Packet(media_id, seq, one.data, one.content_type, one.start_ms, final=one is parts[-1])
        yield one.due_ms, one.heard_ms, packet


def _table(shared: "SynchronizedArray[float]", *shape: int) -> npt.NDArray[np.float64]:
    """Shared memory as an array."""
    memory: Any = shared.get_obj()
    return np.frombuffer(memory).reshape(shape)


def send(bootstrap: str, load: Load, seen: Sequence["SynchronizedArray[float]"], speed: float = 1.0) -> None:
    """Send all streams, begun evenly over a packet or a cell, whichever is longer; note what `Sent` holds."""
    from kafka import KafkaProducer

    stamps, due_ms, heard_ms = (_table(one, load.calls, load.packets + 1) for one in seen)
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks=1, linger_ms=0, max_request_size=16 << 20)
    partitions = len(producer.partitions_for(load.topic))
    lanes = _lanes(load)
    began = time.time()
    heard_ms[:] = np.inf

    def note(call: int, number: int) -> Any:
        def told(record: Any) -> None:
            stamps[call, number] = record.timestamp / 1000

        return told

    spread_ms = max(load.packet_ms, CELL_MS)  # streams in step would have all rows due at once
    later = [call / load.calls * spread_ms for call in range(load.calls)]

    def timed(call: int, lane: Lane) -> Iterator[tuple[float, int, float, Packet]]:
        return ((due + later[call], call, heard, packet) for due, heard, packet in lane)

    for at_ms, call, heard, packet in heapq.merge(
        *starmap(timed, enumerate(lanes)), key=lambda each: each[:2]
    ):
        due_ms[call, packet.seq], heard_ms[call, packet.seq] = at_ms - later[call], heard
        if (wait := began + at_ms / 1000 / speed - time.time()) > 0:
            time.sleep(wait)
        producer.send(
            load.topic,
            packet.data,
            key=packet.media_id.encode(),
            headers=headers_of(packet, "moodstream:bench", int(began * 1000) + packet.pts_ms),
            partition=partition_of(packet.media_id, partitions),
        ).add_callback(note(call, packet.seq))
    producer.flush()
    producer.close()


@contextmanager
def rows_from_now(bootstrap: str, topic: str) -> Iterator[Any]:
    """A `read_committed` consumer of all that comes to a topic from now on."""
    from kafka import KafkaConsumer, TopicPartition

    with KafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level="read_committed", fetch_max_wait_ms=20
    ) as consumer:
        places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        consumer.assign(places)
        consumer.seek_to_end(*places)
        for place in places:
            consumer.position(place)  # it looks for the end only when asked
        yield consumer


def receive(bootstrap: str, load: Load, came: "SynchronizedArray[float]", ready: Any, done: Any) -> None:
    """Note when each provisional row is there, of the agents' sides and of the customers', or of music."""
    table = _table(came, load.sides, load.calls, load.cells)
    prefix = f'["{load.name}-'.encode()
    with rows_from_now(bootstrap, load.rows) as consumer:
        ready.set()
        while not done.is_set():
            for records in consumer.poll(100).values():
                now = time.time()
                for record in records:
                    if record.key.startswith(prefix) and b'"is_final":false' in record.value:
                        media_id, _, channel, _, start_ms = json.loads(record.key)
                        call = int(media_id.rpartition("-")[2])
                        if start_ms // CELL_MS < load.cells:  # packets of a codec may hold a little more
                            table[int(channel == "customer"), call, start_ms // CELL_MS] = now


def run(bootstrap: str, load: Load, during: Any = None) -> tuple[Sent, npt.NDArray[np.float64]]:
    """Send and receive; what was sent, and arrivals [sides, streams, cells].

    Args:
        during: called while packets are sent, with nothing.
    """
    context = mp.get_context("spawn")
    seen = _shared(context, load)
    came = context.Array("d", load.sides * load.calls * load.cells)
    ready, done = context.Event(), context.Event()
    receiver = context.Process(target=receive, args=(bootstrap, load, came, ready, done))
    sender = context.Process(target=send, args=(bootstrap, load, seen))
    receiver.start()
    ready.wait(60)
    sender.start()
    if during is not None:
        during()
    sender.join()
    time.sleep(2)
    done.set()
    receiver.join(20)
    return (
        Sent(*(_table(one, load.calls, load.packets + 1).copy() for one in seen)),
        _table(came, load.sides, load.calls, load.cells).copy(),
    )


def _shared(context: Any, load: Load) -> list["SynchronizedArray[float]"]:
    """Room for what `Sent` holds."""
    return [context.Array("d", load.calls * (load.packets + 1)) for _ in fields(Sent)]


@contextmanager
def sending(bootstrap: str, load: Load) -> Iterator[None]:
    """While packets are sent as fast as they go, in a process of its own."""
    context = mp.get_context("spawn")
    seen = _shared(context, load)
    sender = context.Process(target=send, args=(bootstrap, load, seen, float("inf")))
    sender.start()
    try:
        yield
    finally:
        sender.join()


def idle(count: int) -> float:
    """MiB that so many streams cost after two packets each, in this process."""
    import gc
    import resource
    from pathlib import Path

    from moodstream.transforms.elements import Record
    from moodstream.transforms.engine import Engine
    from moodstream.transforms.partition import Partition
    from moodstream.transforms.session import Settings
    from moodstream.transforms.stream import LiveSettings

    def rss_mib() -> float:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / (1 << 20)

    sound, partition = speech(), Partition("t", 0, Engine(), Settings(emotions_for="all"), LiveSettings())
    offset, start_ms, before = 0, 1_700_000_000_000, 0.0
    for first in range(-100, count, 100):  # the first hundred warm up
        load = Load(f"idle{first}", 100, 500, 1.0, "t", "")
        lanes = [list(packets(load, call, sound))[:2] for call in range(load.calls)]
        for number in range(2):
            for lane in lanes:
                packet = lane[number]
                headers = tuple(headers_of(packet, "bench:", start_ms))
                key = packet.media_id.encode()
                partition.push(Record("t", 0, offset, start_ms + offset // 100, key, packet.data, headers))
                offset += 1
            partition.take()
        before = before or rss_mib()
    partition.tick(start_ms + offset // 100 + partition.timing.park_ms + 1_000)
    partition.take()
    time.sleep(11)  # memory is given back every ten seconds
    partition.take()
    if partition.parked < count:
        raise RuntimeError(f"{partition.parked} of {count} streams are parked")
    return rss_mib() - before
