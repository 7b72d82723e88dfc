"""What a run tells while it goes on and at its end, through a folder that all its processes share."""

import json
import os
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

import apache_beam as beam
from apache_beam import PTransform
from apache_beam.pvalue import PCollection

from moodstream.pipelines.progress import Progress, ProgressLog
from moodstream.sinks.base import Written
from moodstream.transforms.elements import Media
from moodstream.transforms.read import size_of

_SUFFIX = ".written"


@dataclass
class RunReport:
    """What a run did, counted from what the store has safely."""

    media: int = 0
    skipped: int = 0
    seconds: float = 0.0  # of media
    rows: Counter[str] = field(default_factory=Counter)  # by table
    dead_letters: list[dict[str, Any]] = field(default_factory=list)
    wall_s: float = 0.0  # from the workers being ready to the last write
    workers: int = 1

    @property
    def times_real_a_core(self) -> float | None:
        """Seconds of media a second and worker."""
        return self.seconds / (self.wall_s * self.workers) if self.wall_s else None


class RunLog(ProgressLog):
    """A run's folder: its workers' progress, and what they have stored."""

    def plan(self, media: Sequence[Media]) -> None:
        """Say what the run is about to look at."""
        self._write(Progress("plan", media=len(media), size=sum(map(size_of, media))))

    def skip(self, media_id: str) -> None:
        """Say that a media was done before."""
        self._write(Progress("skip", media_id))

    def report(self, skipped: int, workers: int) -> RunReport:
        """Sum up what all workers have stored."""
        report = RunReport(skipped=skipped, workers=workers)
        times: list[float] = []
        for path in Path(self.folder).glob("*" + _SUFFIX):
            for line in path.read_text().splitlines():
                record = json.loads(line)
                times.append(record["at_s"])
                if "rows" in record:
                    report.media += "media" in record["rows"]
                    report.seconds += record["duration_ms"] / 1000
                    report.rows.update(record["rows"])
                    report.dead_letters += record["letters"]
        report.wall_s = max(times) - min(times) if times else 0.0
        report.dead_letters.sort(key=lambda letter: letter["reference"])
        return report


class _WriteLog(beam.DoFn):
    def __init__(self, log: RunLog | None) -> None:
        self.log = log
        self.file: TextIO | None = None

    def setup(self) -> None:
        if self.log is not None:
            name = f"{os.getpid()}-{uuid.uuid4().hex[:12]}{_SUFFIX}"
            self.file = Path(self.log.folder, name).open("a", buffering=1)  # noqa: SIM115
            self._tell({})

    def process(self, written: Written) -> Iterator[Written]:
        self._tell(asdict(written))
        yield written

    def _tell(self, record: dict[str, Any]) -> None:
        if self.file is not None:
            self.file.write(json.dumps(record | {"at_s": time.time()}) + "\n")

    def teardown(self) -> None:
        if self.file is not None:
            self.file.close()


@beam.typehints.with_input_types(Written)
@beam.typehints.with_output_types(Written)
class WriteLog(PTransform[PCollection[Written], PCollection[Written]]):
    """Notes what is safely stored in the run's folder, and passes it on: PCollection[Written] -> the same."""

    def __init__(self, log: RunLog | None) -> None:
        super().__init__()
        self.log = log

    def expand(self, written: PCollection[Written]) -> PCollection[Written]:
        return written | "note" >> beam.ParDo(_WriteLog(self.log))
