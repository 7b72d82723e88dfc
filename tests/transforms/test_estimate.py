from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.ml.inference.base import ModelHandler
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to

from moodstream.transforms.elements import Estimate, Segment
from moodstream.transforms.estimate import EmotionModelHandler, EstimateEmotion
from tests.support.media_files import sound


def _segments() -> list[Segment]:
    sounds = [sound(seconds, 16_000, 1, seed)[0] for seed, seconds in enumerate((1.0, 2.7, 0.3, 4.0))]
    return [Segment("x", 1_000 * i, 1_000 * i + 500, samples) for i, samples in enumerate(sounds)]


@pytest.mark.parametrize("modality", ["speech", "music"])
def test_a_batch_gives_what_single_calls_give(modality: str) -> None:
    handler = EmotionModelHandler(modality)
    model = handler.load_model()
    together = list(handler.run_inference(_segments(), model))
    alone = [estimate for segment in _segments() for estimate in handler.run_inference([segment], model)]
    for left, right in zip(together, alone, strict=True):
        assert (left.start_ms, left.model_version) == (right.start_ms, right.model_version)
        numbers = [(e.valence, e.arousal, e.valence_std, *e.emotion_scores.values()) for e in (left, right)]
        np.testing.assert_allclose(*numbers, atol=1e-5)
    assert (together[0].dominance is not None) == (modality == "speech")


def test_estimates_of_a_pipeline() -> None:
    def check(estimates: list[Estimate]) -> None:
        assert sorted(e.start_ms for e in estimates) == [0, 1_000, 2_000, 3_000]
        assert all(-1 <= e.valence <= 1 and e.valence_std > 0 for e in estimates)
        assert all(sum(e.emotion_scores.values()) == pytest.approx(1, abs=1e-4) for e in estimates)

    with TestPipeline("FnApiRunner") as root:
        assert_that(root | beam.Create(_segments()) | EstimateEmotion("speech"), check)


class _Gain:
    factor = 2.0


class _Loud(ModelHandler[Segment, Estimate, _Gain]):
    """Somebody's own model: what is loud is aroused."""

    def load_model(self) -> _Gain:
        return _Gain()

    def run_inference(
        self, batch: Sequence[Segment], model: _Gain, inference_args: dict[str, Any] | None = None
    ) -> Iterator[Estimate]:
        for segment in batch:
            arousal = min(model.factor * float(np.abs(segment.samples).max()), 1.0)
            yield Estimate(
                "x", "mix", "speech", segment.start_ms, segment.end_ms, "loud", "1", 0, 1, arousal, 1
            )


def test_a_model_of_ones_own() -> None:
    segments = [Segment("x", 0, 500, np.full(8_000, level, np.float32)) for level in (0.0, 0.25, 1.0)]
    with TestPipeline("FnApiRunner") as root:
        estimates = root | beam.Create(segments) | EstimateEmotion(_Loud()) | beam.Map(lambda e: e.arousal)
        assert_that(estimates, equal_to([0.0, 0.5, 1.0]))


def test_an_unknown_modality_is_refused() -> None:
    with pytest.raises(ValueError, match="symbolic"):
        EmotionModelHandler("symbolic")
