"""Classifiers as files: what comes back computes the same, and files of other things say what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from navloop.encoders import (
    CoordinatedClassifier,
    InternVideo,
    VideoClassifier,
    create_encoder,
    load_classifier,
    load_encoder,
    load_released,
    save_classifier,
    save_encoder,
)
from navloop.encoders.contents import CLASSIFIER, CONFIG
from navloop.weights import WeightsError, digest, read_weights, write_weights


def clips(classifier: VideoClassifier | CoordinatedClassifier) -> torch.Tensor:
    return torch.randint(0, 256, (2, classifier.encoder.num_frames, 72, 90, 3), dtype=torch.uint8)


def linear(norm: bool = True) -> VideoClassifier:
    return VideoClassifier(create_encoder("videomae_tiny_p16_t8"), 5, norm=norm, dropout=0.25, init_scale=1).eval()


def coordinated() -> CoordinatedClassifier:
    encoder = create_encoder("internvideo_tiny_p16_t8")
    assert isinstance(encoder, InternVideo)
    return CoordinatedClassifier(encoder, 5).eval()


@pytest.mark.parametrize("create", [linear, coordinated])
def test_a_classifier_comes_back(create, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    classifier = create()
    save_classifier(classifier, tmp_path / "classifier.safetensors")
    again = load_classifier(tmp_path / "classifier.safetensors")
    assert type(again) is type(classifier)
    assert again.encoder.config == classifier.encoder.config
    assert again.dropout.p == classifier.dropout.p
    assert not again.training
    assert digest(again.state_dict()) == digest(classifier.state_dict())
    pixels = classifier.encoder.to_pixels(clips(classifier))
    with torch.no_grad():
        assert torch.equal(again(pixels), classifier(pixels))


def test_the_file_fills_a_classifier_made_by_hand(tmp_path: Path) -> None:
    classifier, other = linear(norm=False), linear(norm=False)
    save_classifier(classifier, tmp_path / "classifier.safetensors")
    assert load_released(other, tmp_path / "classifier.safetensors").missing == ()
    assert digest(other.state_dict()) == digest(classifier.state_dict())
    config = classifier.encoder.config.model_copy(update={"norm": "tokens"})
    with pytest.raises(WeightsError, match="norm: pooled in the file, tokens in the model"):
        load_released(VideoClassifier(create_encoder(config), 5), tmp_path / "classifier.safetensors")  # type: ignore[arg-type]


def test_encoders_and_classifiers_are_told_apart(tmp_path: Path) -> None:
    classifier = linear()
    with pytest.raises(TypeError, match="VideoClassifier is no encoder; save_classifier writes one with its head"):
        save_encoder(classifier, tmp_path / "file.safetensors")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="MaskedEncoder is no classifier; save_encoder writes an encoder"):
        save_classifier(classifier.encoder, tmp_path / "file.safetensors")  # type: ignore[arg-type]
    assert not any(tmp_path.iterdir())
    save_classifier(classifier, tmp_path / "file.safetensors")
    with pytest.raises(WeightsError, match="is of a classifier; load_classifier makes it"):
        load_encoder(tmp_path / "file.safetensors")
    save_encoder(classifier.encoder, tmp_path / "encoder.safetensors")
    with pytest.raises(WeightsError, match="does not say what classifier it is of"):
        load_classifier(tmp_path / "encoder.safetensors")


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ('{"kind": "linear", "num_classes": 0}', "a classifier that this version does not know"),
        ("linear", "a classifier that this version does not know"),
        ('{"kind": "coordinated", "num_classes": 5}', "says that it is of a coordinated classifier over MaskedEncoder"),
    ],
)
def test_a_head_that_makes_no_sense_is_refused(head: str, message: str, tmp_path: Path) -> None:
    save_classifier(linear(), tmp_path / "classifier.safetensors")
    read = read_weights(tmp_path / "classifier.safetensors")
    texts = {CONFIG: read.metadata[CONFIG], CLASSIFIER: head}
    write_weights(tmp_path / "odd.safetensors", read.state, texts)
    with pytest.raises(WeightsError, match=f"odd.safetensors: {message}"):
        load_classifier(tmp_path / "odd.safetensors")
