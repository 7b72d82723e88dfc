"""Rows: `DiarizeEmotions` and `SummarizeMedia`, for pipelines that already have curves.

    curves | DiarizeEmotions()     # episodes
    curves | SummarizeMedia()      # summaries

Elements are Arrow tables: `curve` rows in (all rows of a media in one element), `episode` or `summary` rows
out.
"""

from collections.abc import Iterator

import apache_beam as beam
import pyarrow as pa
from apache_beam import PTransform
from apache_beam.pvalue import PCollection

from moodstream.transforms.diarize import DiarizeSettings
from moodstream.transforms.series import episode_rows, find_episodes, read_series, summary_rows
from moodstream.transforms.tables import to_table


def diarize_table(curve: pa.Table, settings: DiarizeSettings | None = None) -> pa.Table:
    """The episodes of all curves in a table of `curve` rows; settings by modality unless given."""
    rows = [
        row
        for media in read_series(curve)
        for series in media
        for row in episode_rows(series, find_episodes(series, settings))
    ]
    return to_table("episode", rows)


def summarize_table(curve: pa.Table, settings: DiarizeSettings | None = None) -> pa.Table:
    """The summaries of all curves in a table of `curve` rows; settings (for emotion shares) by modality."""
    return to_table("summary", [row for media in read_series(curve) for row in summary_rows(media, settings)])


@beam.typehints.with_input_types(pa.Table)
@beam.typehints.with_output_types(pa.Table)
class _Diarize(beam.DoFn):
    def __init__(self, settings: DiarizeSettings | None) -> None:
        self.settings = settings

    def process(self, element: pa.Table) -> Iterator[pa.Table]:
        yield diarize_table(element, self.settings)


@beam.typehints.with_input_types(pa.Table)
@beam.typehints.with_output_types(pa.Table)
class _Summarize(beam.DoFn):
    def __init__(self, settings: DiarizeSettings | None) -> None:
        self.settings = settings

    def process(self, element: pa.Table) -> Iterator[pa.Table]:
        yield summarize_table(element, self.settings)


@beam.typehints.with_input_types(pa.Table)
@beam.typehints.with_output_types(pa.Table)
class DiarizeEmotions(PTransform[PCollection[pa.Table], PCollection[pa.Table]]):
    """PCollection of `curve` tables -> PCollection of `episode` tables.

    Args:
        settings: how readily the emotion changes; by default those tuned for each modality.
    """

    def __init__(self, settings: DiarizeSettings | None = None) -> None:
        super().__init__()
        self.settings = settings

    def expand(self, curves: PCollection[pa.Table]) -> PCollection[pa.Table]:
        return curves | "diarize" >> beam.ParDo(_Diarize(self.settings))


@beam.typehints.with_input_types(pa.Table)
@beam.typehints.with_output_types(pa.Table)
class SummarizeMedia(PTransform[PCollection[pa.Table], PCollection[pa.Table]]):
    """PCollection of `curve` tables -> PCollection of `summary` tables; the sides of a call in one element.

    Args:
        settings: how readily the emotion changes, for the shares; by default those tuned for each modality.
    """

    def __init__(self, settings: DiarizeSettings | None = None) -> None:
        super().__init__()
        self.settings = settings

    def expand(self, curves: PCollection[pa.Table]) -> PCollection[pa.Table]:
        return curves | "summarize" >> beam.ParDo(_Summarize(self.settings))
