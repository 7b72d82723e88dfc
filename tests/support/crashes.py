"""A partition as it may look, and a store that keeps what is committed: for tests of what crashes change."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np

from moodstream.models.base import Float
from moodstream.transforms.elements import Packet, Record, Recovered
from moodstream.transforms.engine import Engine
from moodstream.transforms.partition import Partition, start_of
from moodstream.transforms.session import Settings
from moodstream.transforms.shelf import Shelf
from moodstream.transforms.stream import LiveSettings
from moodstream.transforms.track import Rows, merge
from tests.support.media_files import sound
from tests.support.packets import cut, l16, record

RATE_HZ = 8_000
START_MS = 1_700_000_000_000
TIMING = LiveSettings(window_ms=500, idle_ms=20_000, snapshot_ms=700, forget_ms=60_000)
DEMO = Path(__file__).resolve().parents[2] / "demo"


def heard(seconds: float, channels: int, seed: int) -> Float:
    """Sound with pauses, exactly what its 16-bit samples say, [channels, n]."""
    samples = sound(seconds, RATE_HZ, channels, seed)
    pauses = np.random.default_rng(seed).random(-(-samples.shape[1] // RATE_HZ)) > 0.3
    samples = samples * np.repeat(pauses, RATE_HZ)[: samples.shape[1]]
    return np.frombuffer(l16(samples), ">i2").reshape(-1, channels).T.astype(np.float32) / 32768


def shuffled(packets: list[Packet], seed: int, reach: int = 6) -> list[Packet]:
    """Each packet at most a few places off, some twice."""
    draw = random.Random(seed)
    doubled = [p for packet in packets for p in [packet] * (1 + (draw.random() < 0.2))]
    order = sorted(range(len(doubled)), key=lambda i: i + draw.uniform(0, reach))
    return [doubled[i] for i in order]


def many_streams(seed: int, longer: int = 1) -> list[Record]:
    """A partition as it may look: streams of different lengths, shuffled, lost, doubled, with bad packets.

    Args:
        longer: how many times as long.
    """
    draw = random.Random(seed)
    lanes: list[list[Packet]] = []
    for number in range(5):
        channels = 1 + number % 2
        samples = heard(longer * (3 + 2 * number), channels, number)
        kind = f"audio/L16;rate={RATE_HZ};channels={channels}"
        sizes = [draw.randint(1_000, 9_000 * channels) for _ in range(40 * longer)]
        role = "agent,customer" if channels == 2 else ""
        packets = list(cut(f"m{number}", l16(samples), kind, sizes, RATE_HZ * 2 * channels, role=role))
        if number == 3:
            packets.pop()  # never says that it ends
        if number == 4:
            del packets[3]  # lost for ever
        lanes.append(shuffled(packets, seed + number, 3))
    midi = (DEMO / "songs/empty_house.mid").read_bytes()
    lanes.append(list(cut("notes", midi, "audio/midi", [200, 100], len(midi), part="midi")))
    lanes.append(
        [Packet("bad", 0, b"x", "audio/unheard-of"), Packet("bad", 1, b"", "audio/unheard-of", final=True)]
    )
    tail = cut("m0", l16(heard(2, 1, 9)), f"audio/L16;rate={RATE_HZ}", [8_000] * 4, RATE_HZ * 2)
    lanes.append([Packet("late", 0, b"", "audio/PCMU", final=True)])
    records: list[Record] = []
    stamp = START_MS
    while any(lanes):
        lane = draw.choice([lane for lane in lanes if lane])
        stamp += draw.choice([0, 20, 150])
        records.append(record(lane.pop(0), len(records) + len(records) // 7, stamp))
    for packet in tail:  # m0 is over by now: it comes back
        stamp += 6_000
        records.append(record(packet, records[-1].offset + 2, stamp))
    records.append(record(Packet("clock", 0, b"", "audio/PCMU"), records[-1].offset + 1, stamp + 100_000))
    return records


class Store:
    """What a transactional store keeps of commits: all of one or nothing."""

    def __init__(self) -> None:
        self.rows: Rows = {}
        self.committed = 0
        self.remark = ""
        self.snapshots: dict[str, bytes] = {}

    def commit(self, partition: Partition) -> None:
        step = partition.take()
        if step is None:
            return
        merge(self.rows, step.rows)
        for media_id, data in step.snapshots.items():
            if data:
                self.snapshots[media_id] = data
            else:
                del self.snapshots[media_id]
        self.committed, self.remark = step.position, step.remark

    def recovered(self) -> Recovered:
        return Recovered(0, self.committed, self.remark, dict(self.snapshots))


def crashing(
    engine: Engine | Shelf,
    records: list[Record],
    seed: int,
    chance: float,
    settings: Settings,
    reached: Callable[[float], None] = lambda part: None,
) -> tuple[Rows, int]:
    """Work off a log in polls of random length, dying at random moments before a commit.

    Args:
        reached: told after each poll how far in the log any has been, 0..1.

    Returns:
        what was committed, and how many deaths there were.
    """
    draw, store, crashes, furthest = random.Random(seed), Store(), 0, 0

    def start() -> tuple[Partition, list[Record]]:
        recovered = store.recovered()
        first, _ = start_of(recovered)
        here = Partition("packets", 0, engine, settings, TIMING, recovered)
        return here, [each for each in records if each.offset >= first]

    partition, rest = start()
    while True:
        count = draw.randint(0, 9)
        for each in rest[:count]:
            partition.push(each)
        del rest[:count]
        furthest = max(furthest, len(records) - len(rest))
        reached(furthest / len(records))
        replaying = partition.position < store.committed
        if draw.random() < (chance / 8 if replaying else chance):
            crashes += 1
            partition, rest = start()
            continue
        store.commit(partition)
        if partition.position > records[-1].offset:
            return store.rows, crashes
