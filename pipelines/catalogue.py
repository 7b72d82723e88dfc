"""The catalogue run: media in, a store out."""

import tempfile
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import PCollection
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from moodstream.pipelines.config import Config
from moodstream.pipelines.progress import OnProgress, Progress, ProgressTail
from moodstream.pipelines.runlog import RunLog, RunReport, WriteLog
from moodstream.sinks.base import Sink, WriteRows, Written
from moodstream.sinks.stores import open_store
from moodstream.transforms.analyze import AnalyzeMedia
from moodstream.transforms.elements import Media
from moodstream.transforms.engine import Engine
from moodstream.transforms.errors import StoreError, UsageError
from moodstream.transforms.read import find_media
from moodstream.transforms.skip import SkipDone


def build(
    root: beam.Pipeline, media: Sequence[Media], sink: Sink, config: Config, log: RunLog | None = None
) -> PCollection[Written]:
    """The whole graph; gives what is safely stored, PCollection[Written]."""
    done = {} if config.force else sink.done()
    versions = Engine(speech=config.settings.speech_model).versions()
    return (
        root
        | "media" >> beam.Create(media, reshuffle=False).with_output_types(Media)
        | "spread over workers" >> beam.Reshuffle()
        | "skip what is done" >> SkipDone(done, config.settings, versions, log.skip if log else None)
        | "analyze media" >> AnalyzeMedia(config.settings, log)
        | "write rows" >> WriteRows(sink)
        | "keep a log" >> WriteLog(log)
    )


def options(config: Config) -> PipelineOptions:
    """Beam's options: this process, or N worker processes of this machine, unless the user names a runner."""
    if config.beam_options:
        return PipelineOptions(list(config.beam_options))
    mode = "multi_processing" if config.workers > 1 else "in_memory"
    return PipelineOptions([f"--direct_num_workers={config.workers}", f"--direct_running_mode={mode}"])


def run(config: Config, on_progress: OnProgress | None = None) -> RunReport:
    """Analyse everything that `config` names and is not in the store yet.

    Raises:
        UsageError: the inputs or the store cannot be right; nothing was done.
        StoreError: the store refused; what was flushed before is there, and the same run goes on from it.
    """
    media = find_media(
        config.paths,
        id=config.id,
        manifest=config.manifest,
        channels=config.channels,
        roles=config.roles,
        pair=config.pair,
    )
    sink = open_store(config.out)
    try:
        sink.open()
    except StoreError as error:
        raise UsageError(f"nothing was done: {error}") from error
    sink.close()
    skipped = 0

    def watch(event: Progress) -> None:
        nonlocal skipped
        skipped += event.event == "skip"
        if on_progress is not None:
            on_progress(event)

    with tempfile.TemporaryDirectory(prefix="moodstream-run-") as folder:
        log = RunLog(folder)
        log.plan(media)
        runner = None if config.beam_options else FnApiRunner()
        with ProgressTail(folder).follow(watch), beam.Pipeline(runner, options(config)) as root:
            build(root, media, sink, config, log)
        return log.report(skipped, config.workers)
