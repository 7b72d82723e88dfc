from collections.abc import Callable
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to

from moodstream.transforms.elements import Media, Part
from moodstream.transforms.read import content_hash
from moodstream.transforms.session import Settings
from moodstream.transforms.skip import Done, SkipDone

VERSIONS = {"speech": "1", "music": "2"}


@pytest.fixture
def media(tmp_path: Path) -> Media:
    (tmp_path / "a.wav").write_bytes(b"some bytes")
    return Media("a", (Part(str(tmp_path / "a.wav"), "audio"),))


def _left(media: Media, done: Done, settings: Settings | None = None) -> Callable[[list[str]], None]:
    def check(expected: list[str]) -> None:
        with TestPipeline("FnApiRunner") as root:
            left = (
                root
                | beam.Create([media])
                | SkipDone({("a", 0): done}, settings or Settings(), VERSIONS)
                | "ids" >> beam.Map(lambda one: one.media_id)
            )
            assert_that(left, equal_to(expected), label="left")

    return check


def test_the_same_content_models_and_settings_are_skipped(media: Media) -> None:
    _left(media, (content_hash(media), {"music": "2"}, Settings().key(media)))([])


@pytest.mark.parametrize(
    ("content", "models", "settings"),
    [
        ("another", {"music": "2"}, Settings()),
        (None, {"music": "1"}, Settings()),
        (None, {"music": "2"}, Settings(emotions_for="all")),
    ],
    ids=["content", "model", "settings"],
)
def test_another_content_model_or_setting_is_work(
    media: Media, content: str | None, models: dict[str, str], settings: Settings
) -> None:
    _left(media, (content or content_hash(media), models, settings.key(media)))(["a"])


def test_an_unreadable_media_is_work(media: Media) -> None:
    gone = Media("a", (Part("nowhere.wav", "audio"),))
    _left(gone, (content_hash(media), {"music": "2"}, Settings().key(media)))(["a"])
