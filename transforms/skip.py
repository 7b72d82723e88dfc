"""Skip what is done: a media whose content, settings and models are those of its rows needs no work."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import apache_beam as beam
from apache_beam import PTransform
from apache_beam.pvalue import PCollection

from moodstream.transforms.elements import Media
from moodstream.transforms.errors import ReadError
from moodstream.transforms.read import content_hash
from moodstream.transforms.session import Settings

# What the rows of a media in the store were made from: content hash, models (name to version), settings.
Done = tuple[str, Mapping[str, str], str]


def is_done(media: Media, done: Done, settings: Settings, versions: Mapping[str, str]) -> bool:
    """Whether analysing a media (whose content hash is known) again would give the rows that are there."""
    content, models, its_settings = done
    return (
        content == media.content_hash
        and its_settings == settings.key(media)
        and all(versions.get(name) == version for name, version in models.items())
    )


class _Skip(beam.DoFn):
    def __init__(
        self,
        done: Mapping[tuple[str, int], Done],
        settings: Settings,
        versions: Mapping[str, str],
        on_skip: Callable[[str], None] | None,
    ) -> None:
        self.done, self.settings, self.versions, self.on_skip = done, settings, versions, on_skip

    def process(self, media: Media) -> Iterator[Media]:
        done = self.done.get((media.media_id, media.take))
        if done is None:
            yield media
            return
        try:
            media = replace(media, content_hash=content_hash(media))
        except ReadError:
            yield media  # the analysis says what is wrong with it
            return
        if not is_done(media, done, self.settings, self.versions):
            yield media
        elif self.on_skip is not None:
            self.on_skip(media.media_id)


@beam.typehints.with_input_types(Media)
@beam.typehints.with_output_types(Media)
class SkipDone(PTransform[PCollection[Media], PCollection[Media]]):
    """PCollection[Media] -> those that need work, their content hashed on the way where that decides.

    Args:
        done: what is in the store, by media id and take.
        settings: those of this run.
        versions: name to version of the models of this run.
        on_skip: told the id of each media that is left out; travels to the workers pickled.
    """

    def __init__(
        self,
        done: Mapping[tuple[str, int], Done],
        settings: Settings,
        versions: Mapping[str, str],
        on_skip: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        self.arguments = done, settings, versions, on_skip

    def expand(self, media: PCollection[Media]) -> PCollection[Media]:
        return media | "skip what is done" >> beam.ParDo(_Skip(*self.arguments))
