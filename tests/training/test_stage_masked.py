"""Masked modelling: what is hidden, what is judged, that it learns, and that what it leaves can be read."""

import json
from pathlib import Path

import pytest
import torch
from drifting_clips import Drifting, batch_of, config, drifting
from torch.nn import functional as F

from navloop.encoders import create_encoder, load_encoder, load_released
from navloop.encoders.autoencoder import MaskedAutoencoder
from navloop.training.engine import train
from navloop.training.pretraining import create_stage
from navloop.training.stages.stage import Share

pytestmark = pytest.mark.usefixtures("one_thread")


def generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def curve(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_it_learns_what_it_has_not_seen(tmp_path):
    chosen = config(engine={"steps": 50, "batch": 16, "lr": 2e-3, "log_every": 50, "checkpoint_every": 50})
    report = train(create_stage(chosen, Drifting(256, held_out=32)), chosen.engine, tmp_path)
    assert report.metrics["held_out_loss"] < 0.5 * report.metrics["held_out_baseline"]


def test_the_loss_curve_is_the_golden_one(tmp_path, golden):
    chosen = config(engine={"steps": 20, "ema": 0.9, "clip": 1.0, "layer_decay": 0.9}, decoder_skips=0.5)
    train(create_stage(chosen, Drifting()), chosen.engine, tmp_path)
    golden("masked", [(line["step"], line["loss"]) for line in curve(tmp_path)])


def test_the_baseline_is_the_loss_of_predicting_each_tubelets_mean():
    stage = create_stage(config(), Drifting())
    head = stage.autoencoder.decoder.head
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    found = stage.losses(batch_of(drifting(3, 0), torch.arange(3)), generator())
    assert found["loss"].item() == pytest.approx(found["baseline"].item(), rel=1e-6)
    assert found["baseline"].item() == pytest.approx(511 / 512, abs=1e-3)  # the deviation is of 511 degrees of freedom


def test_the_loss_is_that_of_hidden_pixels_alone():
    stage = create_stage(config(), Drifting())
    frames = drifting(2, 0)
    hidden, _ = stage.draw_masks(2, generator())
    before = stage.losses(batch_of(frames, torch.arange(2)), generator())["loss"]
    tubelets = (
        frames.view(2, 4, 2, 4, 16, 4, 16, 3).permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(2, 64, 2, 16, 16, 3).float()
    )
    std, mean = torch.std_mean(tubelets, dim=(2, 3, 4), keepdim=True)
    targets = ((tubelets - mean) / (std + 255e-6)).flatten(2)[hidden]
    predictions = stage.autoencoder(stage.autoencoder.encoder.to_pixels(frames), hidden).flatten(0, 1)
    assert before.item() == pytest.approx(F.mse_loss(predictions, targets).item(), rel=1e-4)


@pytest.mark.parametrize("skips", [0.25, 0.5, 0.75])
def test_the_decoder_predicts_a_share_of_what_is_hidden_and_nothing_else(skips):
    stage = create_stage(config(decoder_skips=skips), Drifting())
    hidden, predicted = stage.draw_masks(8, generator())
    assert (hidden.sum(1) == 4 * 12).all()  # 4 times, 0.75 of 16 patches
    assert (predicted.sum(1) == (1 - skips) * 4 * 12).all()
    assert not (predicted & ~hidden).any()
    ever = predicted.view(8, 4, 16).any(1)
    assert torch.equal(ever, hidden.view(8, 4, 16).all(1))  # every hidden patch is predicted at some time


def test_masks_do_not_depend_on_the_number_of_processes():
    stage = create_stage(config(decoder_skips=0.5), Drifting())
    whole = stage.draw_masks(6, generator())
    parts = []
    for rank in range(3):
        stage.share = Share(2, rank, 3)
        parts.append(stage.draw_masks(2, generator()))
    for mask, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(mask, torch.cat(pieces))


def test_what_it_leaves_can_be_read(tmp_path):
    chosen = config(engine={"steps": 1})
    stage = create_stage(chosen, Drifting())
    train(stage, chosen.engine, tmp_path)
    pixels = stage.autoencoder.encoder.to_pixels(drifting(2, 5))
    expected = stage.autoencoder.encoder.eval()(pixels).tokens
    assert torch.equal(load_encoder(tmp_path / "last" / "encoder.safetensors")(pixels).tokens, expected)
    again = MaskedAutoencoder(stage.shapes)
    load_released(again, tmp_path / "last" / "autoencoder.safetensors")
    assert torch.equal(again.encoder.eval()(pixels).tokens, expected)
    tuned = create_encoder(
        "videomae_tiny_p16_t8", tmp_path / "last" / "autoencoder.safetensors"
    )  # with a norm of its own
    assert torch.equal(tuned.blocks[0].mlp.fc1.weight, stage.autoencoder.encoder.blocks[0].mlp.fc1.weight)
    onward = create_stage(config(weights=str(tmp_path / "last" / "autoencoder.safetensors")), Drifting())
    assert torch.equal(onward.autoencoder.mask_token, stage.autoencoder.mask_token)


def test_recomputing_activations_changes_no_loss():
    batch = batch_of(drifting(2, 0), torch.arange(2))
    found = []
    for recompute in (False, True):
        stage = create_stage(config(recompute=recompute), Drifting()).train()
        loss = stage.losses(batch, generator())["loss"]
        loss.backward()
        found.append((loss.item(), stage.autoencoder.encoder.patch.weight.grad))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "viclip_tiny_p16_t4"}, "viclip_tiny_p16_t4 is no masked branch; take one such as videomae"),
        ({"encoder": "videomae_tiny"}, "videomae_tiny"),
        (
            {"decoder_skips": 0.5, "clips": {"manifest": ("none",), "frames": 12, "size": 64}},
            "clips.frames a multiple of 8",
        ),
        ({"weights": "nowhere.safetensors"}, "nowhere.safetensors: no such file"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        create_stage(config(**changes), Drifting())
