"""The encoder that is measured, with its classifier if it has one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from navloop.configs.perception import PerceptionEvalConfig
from navloop.encoders.classifier import VideoClassifier
from navloop.encoders.contents import CLASSIFIER, CONFIG
from navloop.encoders.convert import load_released
from navloop.encoders.coordination import CoordinatedClassifier, InternVideo
from navloop.encoders.encoder import VideoEncoder
from navloop.encoders.multimodal import UniFormer
from navloop.encoders.saving import load_classifier
from navloop.encoders.zoo import config_said, create_encoder
from navloop.training.devices import find_device
from navloop.training.labels import read_labels
from navloop.training.steps import draw_seed
from navloop.weights import WeightsError, digest, read_weights

Classifier = VideoClassifier | CoordinatedClassifier

OF_CLASSIFIERS = ("classification", "open_set")
"""Tasks that read a classifier's scores."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured.

    Attributes:
        encoder: In eval mode, on its device.
        classifier: Over the same encoder; None where the weights are of none.
        digest: Of the weights in use (`navloop.weights.digest`).
        name: The encoder's name in the recipe, or its class.
    """

    encoder: VideoEncoder
    classifier: Classifier | None
    digest: str
    name: str

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.encoder.device

    def to_pixels(self, frames: Tensor, valid: Tensor) -> Any:
        """Return frames uint8 (B, T, H, W, 3) as the encoder's pixels; those that are not `valid`, bool (B, T), pad short videos."""
        return self.encoder.to_pixels(frames, valid)

    def require_classifier(self) -> Classifier:
        """Return the classifier.

        Raises:
            ValueError: If there is none.
        """
        if self.classifier is None:
            raise ValueError(
                "this task needs a classifier, and weights has none; name the classifier.safetensors of a classification or "
                "coordination stage, or of a released classifier, with clips.num_classes"
            )
        return self.classifier


def load_subject(recipe: PerceptionEvalConfig) -> Subject:
    """Return what a recipe measures, on its device.

    Raises:
        ValueError: If weights, encoder, frames and size do not fit each other, or the device is not there.
    """
    frames, size = recipe.clips.frames, recipe.clips.size
    said = {} if recipe.weights is None else read_weights(recipe.weights).metadata
    classifier: Classifier | None = None
    if recipe.weights is None:
        if recipe.encoder is None:
            raise ValueError("the recipe says neither encoder nor weights; name the file of an encoder or a classifier")
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(draw_seed(recipe.seed))
            encoder = create_encoder(recipe.encoder, frames=frames, size=size)
    elif CLASSIFIER in said:
        classifier = load_classifier(recipe.weights, encoder=recipe.encoder, frames=frames, size=size)
        encoder = classifier.encoder
    else:
        encoder, classifier = _load_encoder(recipe)
    module = encoder if classifier is None else classifier
    module.to(find_device(recipe.device)).eval()
    return Subject(encoder, classifier, digest(module.state_dict()), recipe.encoder or _kind(encoder))


def _load_encoder(recipe: PerceptionEvalConfig) -> tuple[VideoEncoder, Classifier | None]:
    """Load a file that says which encoder it is of, or, for a named encoder, one that does not: released, say."""
    assert recipe.weights is not None
    read, frames, size = read_weights(recipe.weights), recipe.clips.frames, recipe.clips.size
    if CONFIG in read.metadata or not any(task.task in OF_CLASSIFIERS for task in recipe.tasks):
        return create_encoder(recipe.encoder or config_said(read), read, frames=frames, size=size), None
    if recipe.encoder is None:
        raise WeightsError(f"{recipe.weights}: does not say what encoder it is of; name it (encoder)")
    encoder, classes = create_encoder(recipe.encoder, frames=frames, size=size), read_labels(recipe.clips).count
    if classes is None:
        raise ValueError("clips.num_classes is not set; say how many classes the classifier in weights tells apart")
    classifier: Classifier
    if isinstance(encoder, InternVideo):
        classifier = CoordinatedClassifier(encoder, classes)
    else:
        classifier = VideoClassifier(encoder, classes, norm=isinstance(encoder, UniFormer))
    load_released(classifier, read)
    return encoder, classifier


def _kind(encoder: VideoEncoder) -> str:
    """Return what family an encoder says it is of: "masked", "internvideo"."""
    return str(getattr(encoder.config, "kind", type(encoder).__name__))
