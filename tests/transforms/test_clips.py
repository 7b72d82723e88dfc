from pathlib import Path

import apache_beam as beam
import numpy as np
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to

from moodstream.transforms.clips import DecodeMedia
from moodstream.transforms.elements import Media, Part
from tests.support.media_files import sound, write_wav


def _media(path: Path) -> Media:
    return Media(path.stem, (Part(str(path), "audio"),))


def test_clips_and_dead_letters_come_out_apart(tmp_path: Path) -> None:
    good = write_wav(tmp_path / "good.wav", sound(3.0, 44_100, 2), 44_100)
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"this is a text")
    with TestPipeline("FnApiRunner") as root:
        found = root | beam.Create([_media(good), _media(bad)]) | DecodeMedia()
        lengths = (
            found.clips
            | beam.MapTuple(lambda media_id, clip: (media_id, clip.samples.shape[1]))
            | beam.CombinePerKey(sum)
        )
        letters = found.dead_letters | beam.Map(lambda letter: (letter.media_id, letter.stage))
        assert_that(lengths, equal_to([("good", 3 * 44_100)]), label="clips")
        assert_that(letters, equal_to([("bad", "decode")]), label="letters")


def test_a_clip_holds_the_samples_of_its_place(tmp_path: Path) -> None:
    samples = sound(2.0, 16_000, 1)
    path = write_wav(tmp_path / "a.wav", samples, 16_000)

    def close(clips: list[tuple[str, object]]) -> None:
        joined = np.concatenate([clip.samples for _, clip in clips], axis=1)  # type: ignore[attr-defined]
        np.testing.assert_allclose(joined, samples, atol=1e-4)

    with TestPipeline("FnApiRunner") as root:
        found = root | beam.Create([_media(path)]) | DecodeMedia()
        assert_that(found.clips, close)
