"""Classifiers as files: an encoder, its configuration, and the head over it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, ValidationError

from navloop.configs.schema import Config
from navloop.encoders.classifier import VideoClassifier
from navloop.encoders.contents import CLASSIFIER, CONFIG
from navloop.encoders.convert import load_released
from navloop.encoders.coordination import CoordinatedClassifier, InternVideo
from navloop.encoders.zoo import config_said, create_encoder
from navloop.weights import WeightsError, read_weights, write_weights


class _Head(Config):
    """What a classifier has over its encoder."""

    kind: Literal["linear", "coordinated"] = Field(description="Its class: VideoClassifier or CoordinatedClassifier.")
    num_classes: int = Field(ge=1, description="Number of classes.")
    norm: bool = Field(default=False, description="Whether a VideoClassifier normalises the features first.")
    dropout: float = Field(default=0.0, ge=0, le=1, description="Share of a VideoClassifier's features dropped.")


def save_classifier(classifier: VideoClassifier | CoordinatedClassifier, path: str | os.PathLike[str]) -> None:
    """Write a classifier's weights, with what it is, as one safetensors file; `load_classifier` makes it again.

    Raises:
        TypeError: If it is no classifier of ours.
    """
    if isinstance(classifier, CoordinatedClassifier):
        head = _Head(kind="coordinated", num_classes=classifier.masked_head.out_features)
    elif isinstance(classifier, VideoClassifier):
        head = _Head(
            kind="linear",
            num_classes=classifier.head.out_features,
            norm=bool(classifier.norm.state_dict()),
            dropout=classifier.dropout.p,
        )
    else:
        raise TypeError(f"{type(classifier).__name__} is no classifier; save_encoder writes an encoder")
    said = {CONFIG: classifier.encoder.config.model_dump_json(), CLASSIFIER: head.model_dump_json()}
    write_weights(Path(path), classifier.state_dict(), said)


def load_classifier(
    path: str | os.PathLike[str],
    *,
    encoder: str | None = None,
    frames: int | None = None,
    size: int | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> VideoClassifier | CoordinatedClassifier:
    """Return the classifier that `save_classifier` wrote, in eval mode.

    Args:
        path: The file.
        encoder: Name of the encoder that it has to be of; None takes the one that the file says.
        frames: Frames T of a clip; None for those it was written with.
        size: Height and width in pixels; None as above.
        device: Where the parameters are.
        dtype: Type of the parameters.

    Raises:
        WeightsError: If the file is damaged, of another encoder, or does not say what classifier it is of.
        ValueError: If the encoder cannot take such frames.
    """
    read = read_weights(path)
    if CLASSIFIER not in read.metadata:
        raise WeightsError(
            f"{path}: does not say what classifier it is of; make one, VideoClassifier(encoder, num_classes), and load "
            "the file into it, load_released(classifier, path)"
        )
    try:
        head = _Head.model_validate(json.loads(read.metadata[CLASSIFIER]))
    except (ValidationError, json.JSONDecodeError) as error:
        raise WeightsError(f"{path}: a classifier that this version does not know: {error}") from error
    made = create_encoder(encoder or config_said(read), frames=frames, size=size)
    classifier: VideoClassifier | CoordinatedClassifier
    if head.kind == "linear":
        classifier = VideoClassifier(made, head.num_classes, norm=head.norm, dropout=head.dropout)
    elif isinstance(made, InternVideo):
        classifier = CoordinatedClassifier(made, head.num_classes)
    else:
        raise WeightsError(f"{path}: says that it is of a coordinated classifier over {type(made).__name__}")
    load_released(classifier, read)
    return classifier.to(device=device, dtype=dtype).eval()
