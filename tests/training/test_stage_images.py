"""Contrast with images: turns that anyone can foretell, batches of one kind, an exact resume, and files as users have them."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from named_clips import CLASSES, Named, config, moving, stage_of, train_dying
from open_clip.loss import ClipLoss
from PIL import Image
from rich.console import Console
from striking import begin

from navloop.configs.loader import load
from navloop.configs.stages import ImagesConfig
from navloop.encoders.text import tokenize
from navloop.training.cli import main
from navloop.training.engine import train
from navloop.training.plans import estimate_memory, print_plan
from navloop.training.pretraining import pretrain
from navloop.training.stages.stage import Share
from navloop.training.steps import Supply, count_steps, split
from navloop.training.videos import write_video
from navloop.weights import digest

MULTIMODAL, VICLIP = "internvideo_mm_tiny_p16_t4", "viclip_tiny_p16_t4"
QUIET = Console(quiet=True)


pytestmark = pytest.mark.usefixtures("one_thread")


def recipe(encoder=MULTIMODAL, **changes):
    images = {"manifest": ("none",), "batch": 8, **changes.pop("images", {})}
    return config("contrastive", encoder, 4, images=images, **changes)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@given(steps=st.integers(1, 5), after=st.integers(1, 5), first=st.integers(1, 40))
def test_any_row_of_steps_as_long_as_a_turn_has_the_images_of_one(steps, after, first):
    images = ImagesConfig(manifest=("none",), batch=1, steps=steps, after=after)
    turn = [images.takes(step) for step in range(first, first + steps + after)]
    assert sum(turn) == steps
    assert [images.takes(step) for step in range(1, 1 + after + steps)] == [False] * after + [True] * steps


def test_each_step_is_of_one_kind_and_each_kind_goes_through_its_own_data():
    stage = stage_of(recipe(engine={"batch": 4, "accumulate": 2}, images={"batch": 8, "after": 2}))
    stage.share = split(stage.config.engine, 1)
    supply = Supply(stage, {})
    taken = {"clips": [], "images": []}
    for step in range(1, 31):
        for _ in range(2):
            batch = supply.take(step)
            kind = "clips" if step % 3 else "images"
            assert batch.frames.shape[:2] == ((2, 4) if step % 3 else (4, 1))
            taken[kind] += batch.rows.tolist()
    for rows in taken.values():
        assert sorted(rows[:32]) == list(range(32)) != rows[:32]
    assert supply.epoch == 20 * 4 / 32


def test_a_supply_goes_on_from_any_step():
    stage = stage_of(recipe(engine={"batch": 4}, images={"batch": 8, "steps": 2}))
    stage.share = split(stage.config.engine, 1)
    whole, places = Supply(stage, {}), []
    rows = []
    for step in range(1, 26):
        places.append(whole.place)
        rows.append(whole.take(step).rows.tolist())
    for done, place in enumerate(places):
        assert Supply(stage, place).take(done + 1).rows.tolist() == rows[done]


@pytest.mark.parametrize("encoder", [MULTIMODAL, VICLIP])
def test_a_killed_run_resumes_to_the_same_bits(encoder, tmp_path):
    changes = {"mask_ratio": 0.5, "captions_weight": 0.0} if encoder == VICLIP else {}
    engine = {"steps": 7, "checkpoint_every": 2, "accumulate": 2, "ema": 0.9, "clip": 1.0}
    chosen = recipe(encoder, engine=engine, images={"batch": 16, "held_out": ("none",)}, **changes)
    train(stage_of(chosen), chosen.engine, tmp_path / "whole")
    death = int(np.random.default_rng(2026).integers(7, 13))  # a part of steps 4 to 6
    killed = begin(train_dying, tmp_path / "run", chosen, death)
    killed.join()
    assert killed.exitcode == -9
    report = train(stage_of(chosen), chosen.engine, tmp_path / "run")
    assert 0 < report.resumed < report.steps
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    for name in ("model", "ema", "encoder"):
        one, two = (digest(tmp_path / run / "last" / f"{name}.safetensors") for run in ("whole", "run"))
        assert one == two, name


def test_losses_are_told_a_kind_and_held_out_ones_too(tmp_path):
    chosen = recipe(engine={"steps": 4}, images={"held_out": ("none",)})
    report = train(stage_of(chosen), chosen.engine, tmp_path)
    kinds = {"loss", "contrastive", "caption", "accuracy"}
    for line in lines(tmp_path):
        kind = "video" if line["step"] % 2 else "image"
        told = {name for name in line if not name.startswith("held_out_")} - {"step", "epoch", "lr"}
        assert told == {"loss", "scale", *(f"{kind}_{name}" for name in kinds)}
        assert line["loss"] == line[f"{kind}_loss"]
    assert {f"held_out_{kind}_{name}" for kind in ("video", "image") for name in kinds} <= set(report.metrics)


def test_an_image_is_contrasted_as_the_encoder_embeds_images():
    stage = stage_of(recipe()).eval()
    (batch, *_) = Named(1).training(Share(8), 0, 0)
    with torch.no_grad():
        found = stage.losses(batch, torch.Generator())
        ids = tokenize(batch.texts, 77)
        texts = torch.nn.functional.normalize(stage.encoder.text(ids).pooled, dim=-1)
        expected = ClipLoss()(stage.encoder.encode_images(batch.frames[:, 0]), texts, stage.encoder.scale())
    assert found["image_contrastive"].item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize("encoder", [MULTIMODAL, VICLIP])
def test_all_that_clips_train_images_train_too(encoder):
    stage = stage_of(recipe(encoder, captions_weight=float(encoder == MULTIMODAL))).train()
    reached = []
    for frames in (4, 1):
        stage.zero_grad()
        (batch, *_) = Named(frames).training(Share(8), 0, 0)
        stage.losses(batch, torch.Generator().manual_seed(0))["loss"].backward()
        reached.append({name for name, parameter in stage.named_parameters() if parameter.grad is not None})
    assert reached[0] == reached[1]  # else processes would wait for gradients that do not come


def test_images_are_learned_beside_clips(tmp_path):
    images = {"batch": 8, "held_out": ("none",)}
    chosen = recipe(engine={"steps": 160, "lr": 1.5e-3}, images=images, captions_weight=0.0)
    report = train(stage_of(chosen), chosen.engine, tmp_path)
    assert report.metrics["held_out_image_accuracy"] >= 4 / 8
    assert report.metrics["held_out_video_accuracy"] >= 3 / 8


def test_epochs_are_passes_over_the_clips():
    chosen = recipe(engine={"steps": None, "epochs": 2.0, "batch": 4}, images={"steps": 3, "after": 2})
    stage = stage_of(chosen)
    stage.share = split(chosen.engine, 1)
    steps = count_steps(stage, chosen.engine)
    assert sum(stage.feed_of(step) == "clips" for step in range(1, steps + 1)) == 2 * 32 // 4
    assert stage.feed_of(steps) == "clips"


def test_a_plan_tells_of_both_kinds_and_of_the_memory_of_the_larger():
    few, many = (recipe(images={"batch": batch}) for batch in (8, 32))
    one, two = (estimate_memory(stage_of(chosen), chosen.engine).activations for chosen in (few, many))
    alone = config("contrastive", MULTIMODAL, 4)
    assert one == estimate_memory(stage_of(alone), alone.engine).activations
    assert two > 1.2 * one  # 32 frames either way, but four times the texts
    console = Console(record=True, width=200, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115
    print_plan(stage_of(few), few.engine, console)
    assert (
        "3 steps of 8 clips (1 x 8 on one process), 0.75 epochs of 32 clips; 3 steps of 8 images"
        in console.export_text()
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clips": {"manifest": ("none",), "frames": 1}}, r"clips\.frames is 1: clips are images already"),
        ({"engine": {"accumulate": 2}, "images": {"batch": 7}}, r"images\.batch 7 does not divide into 2 parts"),
        (
            {"images": {"batch": 40}},
            r"the data has 32 images, fewer than one batch of 40; take a smaller images\.batch",
        ),
    ],
)
def test_images_that_do_not_fit_are_refused(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        chosen = recipe(**changes)
        train(stage_of(chosen), chosen.engine, tmp_path)


def test_a_batch_of_images_divides_among_processes():
    stage = stage_of(recipe(images={"batch": 8}))
    stage.share = Share(2, 1, 4)
    assert stage.feeds()["images"].share == Share(2, 1, 4)
    stage.share = Share(2, 1, 3)
    with pytest.raises(
        ValueError, match=r"images\.batch 8 does not divide among 3 processes x 1 parts .* multiple of 3"
    ):
        stage.feeds()


def test_the_right_stage_has_to_be_asked_for_images():
    with pytest.raises(ValueError, match="a source of images come together; one of them is missing"):
        type(stage_of(recipe()))(config("contrastive", MULTIMODAL, 4), Named(4), Named(1))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Films in films.jsonl, images of them in images.jsonl and images.csv, and other ones in unseen.jsonl."""
    folder = tmp_path_factory.mktemp("files")
    generator = torch.Generator().manual_seed(0)
    films, images = [], []
    for label, name in enumerate(CLASSES):
        clip = moving(label, 8, generator).numpy()
        write_video(folder / f"{label}.mp4", clip, fps=4)
        Image.fromarray(clip[4]).save(folder / f"{label}.{'png' if label % 2 else 'jpg'}")
        films.append({"video": f"{label}.mp4", "caption": f"a film of {name}"})
        images.append({"image": f"{label}.{'png' if label % 2 else 'jpg'}", "caption": f"a picture of {name}"})
    (folder / "films.jsonl").write_text("".join(json.dumps(row) + "\n" for row in films))
    for label in range(4):
        Image.fromarray(moving(label, 8, generator).numpy()[4]).save(folder / f"unseen{label}.png")
    unseen = [{"image": f"unseen{label}.png", "caption": f"a picture of {CLASSES[label]}"} for label in range(4)]
    (folder / "unseen.jsonl").write_text("".join(json.dumps(row) + "\n" for row in unseen))
    (folder / "images.jsonl").write_text("".join(json.dumps(row) + "\n" for row in images[:4]))
    rows = "".join(f'{row["image"]},"{row["caption"]}"\n' for row in images[4:])
    (folder / "images.csv").write_text(f"path,caption\n{rows}")
    return folder


def overrides(files, *changes):
    return [
        f"clips.manifest={files / 'films.jsonl'}",
        f"images.manifest={files / 'images.jsonl'},{files / 'images.csv'}",
        f"images.held_out={files / 'unseen.jsonl'}",
        *("images.batch=8", "clips.workers=0", "engine.batch=4", "engine.steps=4", "engine.log_every=1"),
        *changes,
    ]


def test_the_command_takes_lists_of_images(files, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["pretrain", "contrastive_tiny", *overrides(files), "--run-dir", str(run)]) == 0
    assert [("image_loss" in line) for line in lines(run)] == [False, True, False, True]
    assert "held_out_image_loss" in capsys.readouterr().err
    again = load("contrastive_tiny", overrides(files, "engine.steps=4"), kind="pretrain")
    assert pretrain(again, run, QUIET).resumed == 4
    assert set(json.loads((run / "provenance.json").read_text())["starts"][0]["data"]) == {
        str(files / name) for name in ("films.jsonl", "images.jsonl", "images.csv", "unseen.jsonl")
    }


def test_workers_of_both_kinds_change_nothing(files, tmp_path):
    for workers in (0, 1):
        chosen = load("contrastive_tiny", overrides(files, f"clips.workers={workers}"), kind="pretrain")
        pretrain(chosen, tmp_path / str(workers), QUIET)
    alone, shared = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("0", "1"))
    assert alone == shared


def test_an_image_that_cannot_be_read_is_listed_apart_from_videos(files, tmp_path, capsys):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    (tmp_path / "broken.jsonl").write_text(json.dumps({"image": "broken.jpg", "caption": "a blot"}) + "\n")
    changes = [f"images.manifest={files / 'images.jsonl'},{tmp_path / 'broken.jsonl'}", "images.batch=4"]
    command = ["pretrain", "contrastive_tiny", *overrides(files, *changes, "clips.max_unreadable=0.2")]
    assert main([*command, "--run-dir", str(tmp_path / "run")]) == 0
    assert "broken.jpg" in (tmp_path / "run" / "unreadable_images.jsonl").read_text()
    assert not (tmp_path / "run" / "unreadable.jsonl").exists()
    assert "1 of 9 videos (11.11%) could not be read" in capsys.readouterr().err
    strict = [*command, "clips.max_unreadable=0.1", "--run-dir", str(tmp_path / "strict")]
    assert main(strict) == 2
    assert "broken.jpg" in capsys.readouterr().err


def test_a_list_of_images_without_captions_is_told(files, tmp_path, capsys):
    (tmp_path / "bare.csv").write_text(f"{files / '0.jpg'}\n{files / '1.png'}\n")
    changes = [f"images.manifest={tmp_path / 'bare.csv'}", "images.batch=2"]
    command = ["pretrain", "contrastive_tiny", *overrides(files, *changes), "--run-dir", str(tmp_path / "run")]
    assert main(command) == 2
    assert "bare.csv, line 1: has no captions, nor have 1 of the other 1 rows" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
