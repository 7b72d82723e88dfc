"""The catalogue run: media in, a store out."""

import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from moodstream.pipelines.config import Config
from moodstream.pipelines.progress import OnProgress, Progress, ProgressLog, ProgressTail
from moodstream.sinks.base import Sink, WriteRows, Written
from moodstream.sinks.stores import open_store
from moodstream.transforms.analyze import AnalyzeMedia
from moodstream.transforms.elements import Media
from moodstream.transforms.read import find_media
from moodstream.transforms.skip import Done, SkipDone


def build(root: beam.Pipeline, media: list[Media], sink: Sink, config: Config, log: "RunLog") -> beam.PCollection:
    """The whole graph: PCollection[Written] of what is safely stored."""
    return (
        root
        | "media" >> beam.Create(media, reshuffle=False).with_output_types(Media)
        | "spread over workers" >> beam.Reshuffle()
        | "analyze media" >> AnalyzeMedia(config.settings, log.heard)
        | "write" >> WriteRows(sink)
        | "tell" >> beam.ParDo(_Tell(log))
    )
