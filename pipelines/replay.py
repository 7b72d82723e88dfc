"""Replay: files sent as packets, as if they happened now.

The media ids are those that `analyze` gives the same files. Sound is sent in the codec that is asked for
(`pipelines/packing.py`), MIDI as it is, in one packet, or as runs of timed messages (codec `midi`); each part
ends with an empty final packet, at the end of the longest part. Time is kept by the media: at speed 1 a
packet is sent when its last sample would have been heard.

Conventions: packets are `(due_ms, packet)`, in the order of sending; `due_ms` counts from the start.
"""

import heapq
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from moodstream.pipelines.packing import Packed, pack, pack_as_is
from moodstream.sinks.cluster import Cluster, import_kafka, partition_of
from moodstream.sinks.kafka import TopicPlan, missing_topics
from moodstream.transforms.decode import AudioFile, open_audio
from moodstream.transforms.elements import Media, Packet, Part
from moodstream.transforms.errors import MediaError, StoreError, UsageError
from moodstream.transforms.midi_runs import events_of
from moodstream.transforms.packets import headers_of
from moodstream.transforms.sources import open_bytes

Due = tuple[int, Packet]
SOURCE = "moodstream:replay"


@dataclass(frozen=True)
class Disorder:
    """What goes wrong on the way."""

    shuffle_ms: int = 0  # a packet comes up to so much later
    drop: float = 0.0  # share of packets that never come
    duplicate: float = 0.0  # share of packets that come twice
    seed: int = 0


@dataclass
class Sent:
    """What a replay came to."""

    media: int = 0
    packets: int = 0
    failed: tuple[str, ...] = ()  # media that could not be read, and why


def packets_of(media: Media, packet_ms: int, codec: str, *, apart: bool = False) -> Iterator[Due]:
    """The packets of one media by time.

    Args:
        media: what to send.
        packet_ms: how much sound a packet holds.
        codec: one of `packing.CODECS`, or `midi`: notes as timed messages, sound as `l16`.

    Raises:
        ReadError, DecodeError: it cannot be read, or only up to some point (after the packets until there).
    """
    broken: list[MediaError] = []
    lanes = []
    for part in media.parts:
        is_call = apart and media.split and part.kind != "midi" and not part.role
        for side in range(len(media.roles)) if is_call else [None]:
            lanes.append(_part(part, media, packet_ms, codec, broken, side))
    last_ms, closing = 0, []
    for due_ms, packet in heapq.merge(*lanes, key=lambda due: due[0]):
        last_ms = max(last_ms, due_ms)
        if packet.final:
            closing.append(packet)
        else:
            yield due_ms, packet
    yield from ((last_ms, packet) for packet in closing)
    if broken:
        raise broken[0]


def _part(
    part: Part, media: Media, packet_ms: int, codec: str, broken: list[MediaError], side: int | None
) -> Iterator[Due]:
    """The packets of one part, or of one side of it: one channel, under its role."""
    if part.kind == "midi" and codec == "midi":
        yield from _runs(part, media, packet_ms)
        return
    if part.kind == "midi":
        with open_bytes(part.source) as file:
            data = file.read()
        notes = Packet(media.media_id, 0, data, "audio/midi", part="midi")
        yield 0, notes
        yield 0, replace(notes, seq=1, data=b"", final=True)
        return
    role = part.role if side is None else media.roles[side]
    if role:
        first = Packet(media.media_id, 0, b"", "", part=role, role=role)
    else:
        first = Packet(media.media_id, 0, b"", "", role=",".join(media.roles) if media.split else "")
    late_ms = part.offset_ms - min(one.offset_ms for one in media.parts)
    as_is = pack_as_is(part.source, codec, packet_ms) if side is None else None
    if as_is is not None:
        yield from _packed(as_is, first, late_ms)
        return
    with open_audio(part.source) as audio:
        codec = "l16" if codec == "midi" else codec
        clips = _readable(audio, broken)
        if side is not None:
            clips = (samples[side : side + 1] for samples in clips)
        width = None if side is None else 1
        yield from _packed(pack(audio, clips, codec, packet_ms, width), first, late_ms)


def _packed(packed: Packed, first: Packet, late_ms: int = 0) -> Iterator[Due]:
    seq, end_ms = 0, late_ms
    for start_ms, stop_ms, data in packed.pieces:
        end_ms = stop_ms + late_ms
        kind = packed.content_type
        yield end_ms, replace(first, seq=seq, data=data, pts_ms=start_ms + late_ms, content_type=kind)
        seq += 1
    yield end_ms, replace(first, seq=seq, pts_ms=end_ms, final=True, content_type=packed.content_type)


def _runs(part: Part, media: Media, packet_ms: int) -> Iterator[Due]:
    """The events of a MIDI file when they are played."""
    with open_bytes(part.source) as file:
        division, events = events_of(file.read())
    kind = f"audio/midi;format=messages;division={division}"
    seq = start_ms = end_ms = 0
    held = b""
    for at_ms, event in events:
        if held and at_ms >= start_ms + packet_ms:
            yield end_ms, Packet(media.media_id, seq, held, kind, start_ms, part="midi")
            seq, start_ms, held = seq + 1, at_ms, b""
        held, end_ms = held + event, at_ms
    yield end_ms, Packet(media.media_id, seq, held, kind, start_ms, part="midi")
    yield end_ms, Packet(media.media_id, seq + 1, b"", kind, end_ms, part="midi", final=True)


def _readable(audio: AudioFile, broken: list[MediaError]) -> Iterator[npt.NDArray[np.float32]]:
    """One or two channels of the sound, as far as it decodes."""
    try:
        for clip in audio:
            yield clip.samples[:2]
    except MediaError as error:
        broken.append(error)


def disturb(packets: Iterable[Due], disorder: Disorder) -> Iterator[Due]:
    """Packets late, lost and doubled, by chance with a seed; final ones always come, and once."""
    draw = random.Random(disorder.seed)
    late: list[tuple[int, int, Packet]] = []
    for number, (due_ms, packet) in enumerate(packets):
        while late and late[0][0] <= due_ms:
            at_ms, _, waiting = heapq.heappop(late)
            yield at_ms, waiting
        if packet.final or draw.random() >= disorder.drop:
            for copy in range(1 + (not packet.final and draw.random() < disorder.duplicate)):
                at_ms = due_ms + (draw.randint(0, disorder.shuffle_ms) if disorder.shuffle_ms else 0)
                heapq.heappush(late, (at_ms, 2 * number + copy, packet))
    while late:
        at_ms, _, waiting = heapq.heappop(late)
        yield at_ms, waiting


def replay(
    media: Iterable[Media],
    cluster: Cluster,
    topic: str,
    *,
    speed: float = 1.0,
    packet_ms: int = 500,
    codec: str = "l16",
    apart: bool = False,
    disorder: Disorder | None = None,
) -> Sent:
    """Send media side by side, all starting now.

    Args:
        speed: 1 for real time, `inf` for as fast as it goes.
        apart: each side of a call as a part of its own.

    Raises:
        UsageError: the topic does not exist.
        StoreError: Kafka failed.
    """
    kafka = import_kafka()
    sent = Sent()
    try:
        if missing_topics(cluster, [TopicPlan(topic, 1, {})]):
            raise UsageError(f"topic {topic} does not exist: `moodstream verify --create` makes it")
        producer = kafka.KafkaProducer(
            **cluster.settings(), acks="all", linger_ms=5, max_request_size=16 << 20
        )
        partitions = producer.partitions_for(topic)
        began_ms = int(time.time() * 1000)
        lanes = [_safely(one, packet_ms, codec, sent, apart) for one in media]
        merged = heapq.merge(*lanes, key=lambda due: due[0])
        for due_ms, packet in disturb(merged, disorder or Disorder()):
            wait_s = (began_ms + due_ms / speed) / 1000 - time.time()
            if wait_s > 0:
                time.sleep(wait_s)
            _send(producer, topic, packet, len(partitions), began_ms)
            sent.packets += 1
        producer.flush()
        producer.close()
    except kafka.errors.KafkaError as error:
        raise StoreError(f"Kafka at {cluster.bootstrap}: {error}") from error
    return sent


def _safely(media: Media, packet_ms: int, codec: str, sent: Sent, apart: bool) -> Iterator[Due]:
    """The packets of a media as far as it can be read."""
    sent.media += 1
    try:
        yield from packets_of(media, packet_ms, codec, apart=apart)
    except MediaError as error:
        sent.failed = (*sent.failed, f"{media.media_id}: {error}")


def _send(producer: Any, topic: str, packet: Packet, partitions: int, began_ms: int) -> None:
    producer.send(
        topic,
        packet.data,
        key=packet.media_id.encode(),
        headers=headers_of(packet, SOURCE, began_ms + packet.pts_ms),
        partition=partition_of(packet.media_id, partitions),
    )
