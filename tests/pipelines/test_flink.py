"""The pipelines on a real Flink: same graph, same rows as on FnApiRunner."""

import collections
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pretty_midi
import pytest
import soundfile
from apache_beam.options.pipeline_options import PipelineOptions

from infra.flink.job_server import JobServer, missing
from moodstream.pipelines.catalogue import run
from moodstream.pipelines.config import Config
from moodstream.sinks.read import Lake
from moodstream.transforms.tables import KEYS

pytestmark = [
    pytest.mark.skipif(missing() is not None, reason=missing() or ""),
    # How Beam's worker threads notice that the server hangs up at the end of a job.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]

WORDS = ["the media", "the curve", "an episode of the curve"]


@pytest.fixture(scope="module")
def flink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobServer]:
    with JobServer(log=tmp_path_factory.mktemp("flink") / "log") as server:
        yield server


def count_words(pipeline: beam.Pipeline, out: Path) -> None:
    (
        pipeline
        | "Lines" >> beam.Create(WORDS)
        | "Split" >> beam.FlatMap(str.split)
        | "Count" >> beam.combiners.Count.PerElement()
        | "Format" >> beam.MapTuple(lambda word, n: f"{word} {n}")
        | "Write" >> beam.io.WriteToText(str(out), shard_name_template="")
    )


def test_a_shuffle_on_flink_gives_what_python_counts(flink: JobServer, tmp_path: Path) -> None:
    with beam.Pipeline(options=PipelineOptions(flink.options())) as pipeline:
        count_words(pipeline, tmp_path / "words")
    lines = (tmp_path / "words").read_text().splitlines()
    counted = collections.Counter(" ".join(WORDS).split())
    assert sorted(lines) == sorted(f"{word} {n}" for word, n in counted.items())


def test_a_failing_step_fails_the_job(flink: JobServer) -> None:
    pipeline = beam.Pipeline(options=PipelineOptions(flink.options()))
    _ = pipeline | beam.Create([0]) | beam.Map(lambda x: 1 / x)
    with pytest.raises(RuntimeError, match=r"ZeroDivisionError|division by zero|FAILED"):
        pipeline.run().wait_until_finish()


# ------------------------------------------------------------------------------ the catalogue's own pipeline


def write_media(folder: Path) -> Path:
    """A tune as MIDI and a render of it, a paired song, and a file that is not sound."""
    folder.mkdir()
    tune = pretty_midi.PrettyMIDI(initial_tempo=96)
    piano = pretty_midi.Instrument(0)
    for i, pitch in enumerate([60, 64, 67, 72, 67, 64, 57, 60, 64, 69, 64, 60] * 2):
        piano.notes.append(pretty_midi.Note(80, pitch, i * 0.5, i * 0.5 + 0.45))
    tune.instruments.append(piano)
    tune.write(str(folder / "tune.mid"))
    tune.write(str(folder / "song.mid"))
    sound = 0.3 * tune.synthesize(fs=22_050)
    for name in ("render.wav", "song.wav"):
        soundfile.write(folder / name, sound / abs(sound).max(), 22_050)
    (folder / "broken.wav").write_bytes(b"not a sound" * 100)
    return folder


def stored(lake: Path) -> dict[str, list[dict[str, Any]]]:
    """What readers see in a lake, by table, without what differs from run to run."""
    reader = Lake(lake)
    tables = {name: reader.sql(f"SELECT * FROM {name}").to_pylist() for name in KEYS}
    for name, rows in tables.items():
        for row in rows:
            for column in ("analysis_id", "analyzed_at", "write_id"):
                row.pop(column, None)
        rows.sort(key=lambda row, key=KEYS[name]: [str(row[column]).rjust(12) for column in key])
    return tables


def same(found: Any, wanted: Any) -> bool:
    """Equal, numbers to 1e-5."""
    if isinstance(wanted, float):
        return isinstance(found, float) and found == pytest.approx(wanted, abs=1e-5, nan_ok=True)
    if isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(same(found[k], wanted[k]) for k in wanted)
    if isinstance(wanted, (list, tuple)):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    return bool(found == wanted)


def test_the_catalogue_on_flink_stores_the_rows_of_the_local_runner(flink: JobServer, tmp_path: Path) -> None:
    media = str(write_media(tmp_path / "media"))
    here = run(Config(paths=(media,), out=str(tmp_path / "here")))
    there = run(Config(paths=(media,), out=str(tmp_path / "there"), beam_options=tuple(flink.options())))
    assert here.media == there.media == 3
    assert there.rows == here.rows
    wanted, found = stored(tmp_path / "here"), stored(tmp_path / "there")
    assert {row["media_id"] for row in wanted["curve"]} == {"render.wav", "song.wav", "tune.mid"}
    assert [row["reference"].rsplit("/", 1)[-1] for row in wanted["dead_letter"]] == ["broken.wav"]
    for name in wanted:
        assert len(found[name]) == len(wanted[name])
        for one, other in zip(found[name], wanted[name], strict=True):
            assert same(one, other), f"{name}: {one} is not {other}"
