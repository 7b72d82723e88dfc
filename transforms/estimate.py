"""Estimate: what a model says about self-contained segments, with Beam's ModelHandler conventions.

The curves of the catalogue slide over a whole media (`transforms/session.py`); this step is for people who
have segments already, or who bring a model of their own: any `ModelHandler[Segment, Estimate, M]` will do.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam import PTransform
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.pvalue import PCollection

from moodstream.models.base import Estimates, Float
from moodstream.transforms.elements import Estimate, Segment
from moodstream.transforms.engine import Engine
from moodstream.transforms.track import LABELS


class EmotionModelHandler(ModelHandler[Segment, Estimate, Engine]):
    """The built-in model of one modality over segments of any length: a batch gives what single calls give.

    Args:
        modality: speech or music.
        max_batch: segments in one call of the network.

    Raises:
        ValueError: a modality that is not estimated from sound.
    """

    def __init__(self, modality: str, max_batch: int = 32) -> None:
        super().__init__()
        if modality not in ("speech", "music"):
            raise ValueError(f"modality {modality!r}, expected speech or music")
        self.modality, self.max_batch = modality, max_batch

    def load_model(self) -> Engine:
        engine = Engine()
        engine.audio  # noqa: B018  loads the networks now, not with the first batch
        return engine

    def run_inference(
        self, batch: Sequence[Segment], model: Engine, inference_args: dict[str, Any] | None = None
    ) -> Iterator[Estimate]:
        card = model.cards[self.modality]
        heard = model.audio.estimate([segment.samples for segment in batch])
        says: Estimates = heard.speech if self.modality == "speech" else heard.music
        for segment, mean, std, score in zip(batch, says.mean, says.std, says.scores, strict=True):
            yield Estimate(
                media_id=segment.media_id,
                channel=segment.channel,
                modality=self.modality,
                start_ms=segment.start_ms,
                end_ms=segment.end_ms,
                model=card.name,
                model_version=card.version,
                **_dimensions(mean, std),
                emotion_scores=dict(zip(LABELS[self.modality], map(float, score), strict=True)),
            )

    def batch_elements_kwargs(self) -> dict[str, int]:
        return {"min_batch_size": 1, "max_batch_size": self.max_batch}

    def get_metrics_namespace(self) -> str:
        return "moodstream"


def _dimensions(mean: Float, std: Float) -> dict[str, Any]:
    dominance = float(mean[2]) if mean[2] == mean[2] else None
    return {
        "valence": float(mean[0]),
        "valence_std": float(std[0]),
        "arousal": float(mean[1]),
        "arousal_std": float(std[1]),
        "dominance": dominance,
        "dominance_std": None if dominance is None else float(std[2]),
    }


@beam.typehints.with_input_types(Segment)
@beam.typehints.with_output_types(Estimate)
class EstimateEmotion(PTransform[PCollection[Segment], PCollection[Estimate]]):
    """PCollection[Segment] -> PCollection[Estimate].

    Args:
        model: the built-in model's modality, or a handler of one's own.
    """

    def __init__(self, model: str | ModelHandler[Segment, Estimate, Any] = "speech") -> None:
        super().__init__()
        self.handler = EmotionModelHandler(model) if isinstance(model, str) else model

    def expand(self, segments: PCollection[Segment]) -> PCollection[Estimate]:
        return segments | "run model" >> RunInference(self.handler)
