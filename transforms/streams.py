"""AnalyzeStreams: polls of packets in, commits out; the live counterpart of `AnalyzeMedia`.

The sessions live in this process, by lane and partition, and outlast bundles; nothing of them is kept by the
runner. The first poll of a lane says where its partitions stand; whatever was there before is thrown away.
"""

import gc
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
from apache_beam import PTransform
from apache_beam.pvalue import PCollection

from moodstream.transforms.elements import Commit, Poll
from moodstream.transforms.engine import Engine
from moodstream.transforms.partition import Partition, Step, work_off
from moodstream.transforms.session import Settings
from moodstream.transforms.shelf import Shelf, shelf_of
from moodstream.transforms.stream import LiveSettings
from moodstream.transforms.track import Rows, merge

_LANES: dict[str, dict[int, Partition]] = {}  # of this process


def open_streams() -> int:
    """How many streams are open in this process."""
    lanes = list(_LANES.values())
    return sum(partition.streams for lane in lanes for partition in list(lane.values()))


def older_streams() -> int:
    """How many of them are not of the newest models yet."""
    lanes = list(_LANES.values())
    return sum(partition.older for lane in lanes for partition in list(lane.values()))


def analyze_poll(
    poll: Poll, engine: Engine | Shelf, settings: Settings, timing: LiveSettings
) -> Commit | None:
    """Work off a poll; what it comes to, if anything.

    Args:
        engine: the models, or the shelf that has them.

    Raises:
        UsageError: snapshots that this version cannot read.
    """
    if poll.lane not in _LANES:
        _LANES.clear()  # a reader that begins anew: what was there before is stale
        _LANES[poll.lane] = {
            one.partition: Partition(poll.topic, one.partition, engine, settings, timing, one)
            for one in poll.recovered
        }
    partitions = _LANES[poll.lane]
    for record in poll.records:
        partitions[record.partition].push(record)
    if poll.idle_ms:
        for partition in partitions.values():
            partition.tick(poll.idle_ms)
    work_off(list(partitions.values()))
    steps = {partition.name: step for partition in partitions.values() if (step := partition.take())}
    return _commit(steps) if steps else None


def _commit(steps: dict[str, Step]) -> Commit:
    rows: Rows = {}
    for step in steps.values():
        merge(rows, step.rows)
    return Commit(
        media_id="",
        take=0,
        rows={name: pa.concat_tables(tables) for name, tables in rows.items()},
        snapshots={
            f"{name.rpartition('/')[2]}/{media_id}": data
            for name, step in steps.items()
            for media_id, data in step.snapshots.items()
        },
        positions={name: step.position for name, step in steps.items()},
        remarks={name: step.remark for name, step in steps.items()},
    )


class _Analyze(beam.DoFn):
    def __init__(
        self, settings: Settings, timing: LiveSettings, engine: Engine | Shelf | None, releases: str
    ) -> None:
        self.settings, self.timing, self.engine, self.releases = settings, timing, engine, releases
        self.told = False  # whether the poll before came to anything

    def setup(self) -> None:
        speech = self.settings.speech_model
        if self.engine is None:
            self.engine = shelf_of(Path(self.releases), speech) if self.releases else Engine(speech=speech)
        gc.freeze()  # what is imported stays: looking through it again and again would stop all streams
        gc.set_threshold(100_000, 20, 50)

    def process(self, poll: Poll) -> Iterator[Commit]:
        if self.engine is None:
            raise RuntimeError("a poll before setup")
        commit = analyze_poll(poll, self.engine, self.settings, self.timing)
        if commit is not None:
            yield commit
        is_wary = any(partition.hand.is_wary for partition in _LANES[poll.lane].values())
        if is_wary if commit is not None else self.told:
            yield Commit("", 0, {})  # the sink waits until the last one is safe, and says if it is not
        self.told = commit is not None


@beam.typehints.with_input_types(Poll)
@beam.typehints.with_output_types(Commit)
class AnalyzeStreams(PTransform[PCollection[Poll], PCollection[Commit]]):
    """PCollection[Poll] -> PCollection[Commit]; must be fused with the source and the sink.

    Args:
        settings: what decides the rows besides packets and models.
        timing: how long things wait.
        engine: other models than the installed ones, or a shelf of them.
        releases: a folder of releases of models, watched (`transforms/shelf.py`).
    """

    def __init__(
        self,
        settings: Settings | None = None,
        timing: LiveSettings | None = None,
        engine: Engine | Shelf | None = None,
        releases: str = "",
    ) -> None:
        super().__init__()
        self.settings, self.timing = settings or Settings(), timing or LiveSettings()
        self.engine, self.releases = engine, releases

    def expand(self, polls: PCollection[Poll]) -> PCollection[Commit]:
        analyze = beam.ParDo(_Analyze(self.settings, self.timing, self.engine, self.releases))
        commits: PCollection[Commit] = polls | "analyze streams" >> analyze
        return commits
