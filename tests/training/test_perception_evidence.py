"""Classifiers that are trained to know how little they know: the stage's loss, and what its checkpoint says it is of."""

from __future__ import annotations

import pytest
import torch
from named_clips import CLASSES, Named, config
from torch.nn import functional as F

from navloop.encoders import load_classifier
from navloop.encoders.losses import evidential_loss
from navloop.training.engine import train
from navloop.training.pretraining import create_stage
from navloop.training.stages.stage import Share

ENCODER, FRAMES = "videomae_tiny_p16_t8", 8


def recipe(**changes):
    return config("classification", ENCODER, FRAMES, loss="evidential", init_scale=1.0, **changes)


def logits_of(classifier, batch):
    with torch.no_grad():
        return classifier(classifier.encoder.to_pixels(batch.frames))


def test_the_stage_learns_by_the_evidential_loss_and_smooths_its_labels():
    source = Named(FRAMES)
    (batch,) = source.held_out(Share(len(CLASSES)))
    stage = create_stage(recipe(smoothing=0.2), source).eval()
    logits = logits_of(stage.classifier, batch)
    plain = stage.losses(batch, torch.Generator())["loss"].item()
    assert plain == pytest.approx(evidential_loss(logits, batch.labels).item(), rel=1e-5)
    shares = F.one_hot(batch.labels, len(CLASSES)) * 0.8 + 0.2 / len(CLASSES)
    smoothed = stage.train().losses(batch, torch.Generator())["loss"].item()
    assert smoothed == pytest.approx(evidential_loss(logits, shares).item(), rel=1e-4)


def test_the_loss_falls_and_the_checkpoint_says_what_it_is_of(tmp_path):
    source, chosen = Named(FRAMES), recipe(engine={"steps": 60, "lr": 2e-3})
    first = create_stage(chosen, source)
    batches = list(source.training(Share(8), 0, 0))

    def loss(classifier):
        return sum(evidential_loss(logits_of(classifier, batch), batch.labels).item() for batch in batches) / len(
            batches
        )

    before = loss(first.classifier.eval())
    train(create_stage(chosen, source), chosen.engine, tmp_path)
    trained = load_classifier(tmp_path / "last" / "classifier.safetensors")
    assert trained.head.out_features == len(CLASSES)
    assert loss(trained) < 0.8 * before
