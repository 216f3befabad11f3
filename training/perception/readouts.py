"""What can be read out of an encoder, and what of it comes with one look at the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor

from navloop.encoders.classifier import VideoClassifier
from navloop.encoders.coordination import CoordinatedClassifier, InternVideo
from navloop.encoders.multimodal import MultimodalEncoder
from navloop.training.perception.subject import Classifier, Subject

Readout = Literal["features", "pooled", "logits"]
"""`VideoEncoder.features`, the embedding beside texts (`EncoderOutput.pooled`), a classifier's scores."""


def readings(readout: Readout, subject: Subject) -> tuple[Readout, ...]:
    """Return what is read together with a readout, because it costs nothing beside it.

    Raises:
        ValueError: If it needs a classifier and there is none.
    """
    scores: tuple[Readout, ...] = () if subject.classifier is None else ("logits",)
    if readout == "logits":
        subject.require_classifier()
    if isinstance(subject.encoder, InternVideo | MultimodalEncoder):
        return ("features", "pooled", *scores)
    return (readout,) if readout == "pooled" else ("features", *scores)


def read_out(pixels: Any, reading: Sequence[Readout], subject: Subject) -> dict[Readout, Tensor]:
    """Return what `readings` names, of pixels of B clips: (B, D), (B, J), (B, classes)."""
    encoder, classifier = subject.encoder, subject.classifier
    if isinstance(encoder, InternVideo):
        sight = encoder.see(pixels)
        read: dict[Readout, Tensor] = {
            "features": encoder.masked.pool(sight.tokens),
            "pooled": encoder.output(sight).pooled,
        }
        return read if classifier is None else {**read, "logits": _coordinated(classifier).classify(sight)}
    if isinstance(encoder, MultimodalEncoder):
        seen = encoder.see(pixels)
        read = {"features": seen.features, "pooled": encoder.output(seen).pooled}
    elif "pooled" in reading:
        return {"pooled": encoder(pixels).pooled}
    else:
        read = {"features": encoder.features(pixels)}
    return read if classifier is None else {**read, "logits": _linear(classifier).scores(read["features"])}


def _coordinated(classifier: Classifier) -> CoordinatedClassifier:
    assert isinstance(classifier, CoordinatedClassifier)
    return classifier


def _linear(classifier: Classifier) -> VideoClassifier:
    assert isinstance(classifier, VideoClassifier)
    return classifier
