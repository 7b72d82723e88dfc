"""Clips: `DecodeMedia`, for pipelines that want the sound and not its emotions.

Elements are blocks of the first recording of each media, keyed by media id, in order within a bundle; what
cannot be decoded comes out beside them as dead letters.
"""

import uuid
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam import PTransform
from apache_beam.pvalue import DoOutputsTuple, PCollection, TaggedOutput

from moodstream.transforms.decode import MAX_HOURS, open_audio
from moodstream.transforms.elements import SCHEMA_VERSION, DeadLetter, Media
from moodstream.transforms.errors import MediaError

CLIPS, DEAD_LETTERS = "clips", "dead_letters"


def dead_letter(media: Media, analysis_id: str, source: str, error: MediaError) -> DeadLetter:
    """What could not be done with one source of a media, as a row."""
    return DeadLetter(
        media_id=media.media_id,
        take=media.take,
        schema_version=SCHEMA_VERSION,
        analysis_id=analysis_id,
        reference=source,
        source=source,
        stage=error.stage,
        error=error.error,
        message=str(error),
    )


class _Decode(beam.DoFn):
    def __init__(self, max_hours: float) -> None:
        self.max_hours = max_hours

    def process(self, media: Media) -> Iterator[Any]:
        sound = next((part.source for part in media.parts if part.kind != "midi"), None)
        if sound is None:
            return
        try:
            with open_audio(sound, max_hours=self.max_hours) as audio:
                for clip in audio:
                    yield media.media_id, clip
        except MediaError as error:
            yield TaggedOutput(DEAD_LETTERS, dead_letter(media, uuid.uuid4().hex, sound, error))


class DecodeMedia(PTransform[PCollection[Media], DoOutputsTuple]):
    """PCollection[Media] -> `.clips` of (media_id, Clip), and `.dead_letters`.

    What decodes of a damaged file comes out as clips, what is wrong with it as a dead letter.

    Args:
        max_hours: a media longer than this is cut there, and said so.
    """

    def __init__(self, max_hours: float = MAX_HOURS) -> None:
        super().__init__()
        self.max_hours = max_hours

    def expand(self, media: PCollection[Media]) -> DoOutputsTuple:
        return media | "decode" >> beam.ParDo(_Decode(self.max_hours)).with_outputs(DEAD_LETTERS, main=CLIPS)
