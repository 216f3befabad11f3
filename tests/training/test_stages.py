"""The stages after masked modelling: they learn, they divide among processes, and they begin with what came before."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from in_shards import train_sharded
from joined import run_joined
from named_clips import CLASSES, SIZE, Named, config, print_tables, stage_of, train_dying, train_named
from striking import begin

from navloop.configs.encoders import CaptionerConfig
from navloop.configs.pretraining import PretrainConfig
from navloop.encoders import create_encoder, load_encoder
from navloop.encoders.clip import clip_config
from navloop.encoders.coordination import CoordinatedClassifier
from navloop.encoders.saving import load_classifier
from navloop.encoders.text import tokenize
from navloop.encoders.zoo import encoder_config, save_encoder
from navloop.training.engine import train
from navloop.training.plans import estimate_memory
from navloop.training.pretraining import create_stage
from navloop.training.schedules import create_optimizer
from navloop.training.shards import prepare_for_shards
from navloop.training.stages.contrastive import require_same_start
from navloop.training.stages.stage import Share
from navloop.weights import digest, read_weights

pytestmark = pytest.mark.usefixtures("one_thread")


MASKED, MULTIMODAL, VICLIP, BOTH = (
    "videomae_tiny_p16_t8",
    "internvideo_mm_tiny_p16_t4",
    "viclip_tiny_p16_t4",
    "internvideo_tiny_p16_t8",
)
RECIPES = {
    "masked": ("masked", MASKED, 8),
    "contrastive": ("contrastive", MULTIMODAL, 4),
    "viclip": ("contrastive", VICLIP, 4),
    "images": ("contrastive", MULTIMODAL, 4),
    "silent": ("contrastive", MULTIMODAL, 4),
    "accumulated": ("contrastive", MULTIMODAL, 4),
    "classification": ("classification", MASKED, 4),
    "coordination": ("coordination", BOTH, 4),
}


def trained(folder: Path, stage: str, encoder: str, frames: int, **changes):
    chosen = config(stage, encoder, frames, **changes)
    made = stage_of(chosen)
    return train(made, chosen.engine, folder), made


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def divided(name: str) -> PretrainConfig:
    """Return the recipe of that name, as it is trained on one process and on two."""
    changes = {
        "viclip": {"mask_ratio": 0.5, "captions_weight": 0.0},
        "images": {"images": {"manifest": ("none",), "batch": 4}},
        "silent": {"captions_weight": 0.0},
        "classification": {"mix": {}, "drop_path": 0.3, "dropout": 0.3},  # coordination has a dropout of its own
    }.get(name, {})
    # A batch of 6 leaves 2 of the 8 held-out clips for a last one, which is smaller than those in training.
    engine = {"contrastive": {"batch": 6}, "accumulated": {"accumulate": 2}}.get(name, {})
    return config(*RECIPES[name], engine={"steps": 3, "clip": 1.0, **engine}, **changes)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run of each recipe, by two processes together."""
    folder = tmp_path_factory.mktemp("divided")
    statuses, said = run_joined(folder, train_named, folder, {name: divided(name) for name in RECIPES})
    assert statuses == [0, 0], said
    assert all("trained by 2" in text for text in said)
    return folder


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_give_the_metrics_of_one(name: str, two_processes: Path, tmp_path: Path) -> None:
    chosen = divided(name)
    train(stage_of(chosen), chosen.engine, tmp_path)
    for one, two in zip(lines(tmp_path), lines(two_processes / name), strict=True):
        assert "gradient_norm" in one  # neither Adam nor a clipped gradient shows how large it was
        assert comparable(two, name) == pytest.approx(comparable(one, name), abs=1e-5, rel=1e-5)
    # Keys' biases have no gradient but rounding, which Adam makes steps of: each is 1e-3 at most, and there are three.
    assert furthest(tmp_path, two_processes / name) < 5e-4


def comparable(line: dict[str, float], name: str) -> dict[str, float]:
    """Return metrics but for whether a text is the nearest in training: clips of one class have one, and rounding chooses among them."""
    if RECIPES[name][0] != "contrastive":
        return line
    return {key: value for key, value in line.items() if key.startswith("held_out") or not key.endswith("accuracy")}


def test_a_process_keeps_no_table_of_all_pairs(tmp_path: Path) -> None:
    statuses, said = run_joined(tmp_path, print_tables, divided("silent"))
    assert statuses == [0, 0], said
    for text in said:
        assert "(4, 8)" in text and "(8, 8)" not in text  # 4 pairs of its own among 8


def shapes(run: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each weight."""
    return {
        key: tuple(weight.shape) for key, weight in read_weights(run / "last" / "encoder.safetensors").state.items()
    }


def furthest(run: Path, other: Path) -> float:
    """Return the largest difference of any weight."""
    first, second = (read_weights(folder / "last" / "encoder.safetensors").state for folder in (run, other))
    return max((first[key] - second[key]).abs().max().item() for key in first)


IN_SHARDS = {
    name: config(*RECIPES[name], engine={"steps": 4, "clip": 1.0, "checkpoint_every": 2, **engine}, **changes)
    for name, engine, changes in (
        ("masked", {}, {}),
        ("classification", {"accumulate": 2}, {"drop_path": 0.3, "dropout": 0.3}),
        ("contrastive", {}, {}),
        ("viclip", {}, {"mask_ratio": 0.5, "captions_weight": 0.0}),
        ("images", {}, {"images": {"manifest": ("none",), "batch": 4}}),
        ("coordination", {}, {}),
    )
}


@pytest.fixture(scope="module")
def in_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run of each recipe, its weights in shards of two processes."""
    folder = tmp_path_factory.mktemp("shards")
    statuses, said = run_joined(folder, train_sharded, folder, IN_SHARDS)
    assert statuses == [0, 0], said
    assert all(text.count("in shards: True") == len(IN_SHARDS) for text in said)
    return folder


@pytest.mark.parametrize("name", IN_SHARDS)
def test_weights_in_shards_learn_as_whole_ones_do(name: str, in_shards: Path, tmp_path: Path) -> None:
    chosen = IN_SHARDS[name]
    train(stage_of(chosen), chosen.engine, tmp_path)
    for one, two in zip(lines(tmp_path), lines(in_shards / name), strict=True):
        assert comparable(two, name) == pytest.approx(comparable(one, name), abs=1e-5, rel=1e-5)
    assert shapes(tmp_path) == shapes(in_shards / name)
    assert furthest(tmp_path, in_shards / name) < 5e-4  # as of whole weights in two processes, above


def test_a_run_in_shards_goes_on_to_the_same_numbers_with_either_launch(in_shards: Path, tmp_path: Path) -> None:
    whole = lines(in_shards / "contrastive")
    for launch in ("shards", "one"):
        run = tmp_path / launch / "contrastive"
        shutil.copytree(in_shards / "contrastive", run, symlinks=True)
        shutil.rmtree(run / "step_000004")
    one = {"contrastive": IN_SHARDS["contrastive"]}
    statuses, said = run_joined(tmp_path, train_sharded, tmp_path / "shards", one)
    assert statuses == [0, 0], said
    assert lines(tmp_path / "shards" / "contrastive") == whole
    train(stage_of(one["contrastive"]), one["contrastive"].engine, tmp_path / "one" / "contrastive")
    for name in ("loss", "scale"):
        found = [line[name] for line in lines(tmp_path / "one" / "contrastive")]
        assert found == pytest.approx([line[name] for line in whole], abs=1e-5)


def test_a_moving_average_of_weights_in_shards_is_refused() -> None:
    chosen = config("classification", MASKED, 4, engine={"ema": 0.9})
    with pytest.raises(ValueError, match=r"engine\.ema: weights in shards \(FSDP\) have no moving average"):
        prepare_for_shards(stage_of(chosen), chosen.engine)


CURVES = {
    "contrastive": (MULTIMODAL, {"images": {"manifest": ("none",), "batch": 8}}),
    "classification": (MASKED, {"mix": {}, "drop_path": 0.1, "dropout": 0.2, "init_scale": 1.0}),
    "coordination": (BOTH, {"smoothing": 0.1}),
}


@pytest.mark.parametrize("stage", CURVES)
def test_the_loss_curve_is_the_golden_one(stage: str, tmp_path: Path, golden) -> None:
    encoder, changes = CURVES[stage]
    engine = {"steps": 20, "ema": 0.9, "clip": 1.0, "layer_decay": None if stage == "coordination" else 0.9}
    trained(tmp_path, stage, encoder, 4, engine=engine, **changes)
    golden(stage, [(line["step"], line["loss"]) for line in lines(tmp_path)])


@pytest.mark.parametrize(
    "stage", ["classification", "coordination"]
)  # contrast, with its images, is killed among these
def test_a_killed_run_resumes_to_the_same_bits(stage: str, tmp_path: Path) -> None:
    encoder, changes = CURVES[stage]
    engine = {"steps": 7, "checkpoint_every": 2, "accumulate": 2, "ema": 0.9, "clip": 1.0}
    chosen = config(stage, encoder, 4, engine=engine, **changes)
    train(stage_of(chosen), chosen.engine, tmp_path / "whole")
    killed = begin(
        train_dying, tmp_path / "run", chosen, int(np.random.default_rng(2026).integers(7, 13))
    )  # steps 4 to 6
    killed.join()
    assert killed.exitcode == -9
    report = train(stage_of(chosen), chosen.engine, tmp_path / "run")
    assert 0 < report.resumed < report.steps
    assert lines(tmp_path / "run") == lines(tmp_path / "whole")
    whole, run = (sorted((tmp_path / name / "last").glob("*.safetensors")) for name in ("whole", "run"))
    assert [path.name for path in whole] == [path.name for path in run]
    assert [digest(path) for path in whole] == [digest(path) for path in run]


def test_contrast_and_captions_are_learned(tmp_path: Path) -> None:
    report, _ = trained(
        tmp_path, "contrastive", MULTIMODAL, 4, engine={"steps": 160, "batch": 8, "lr": 2e-3, "seed": 1}
    )
    assert report.metrics["held_out_caption"] < 0.05 * lines(tmp_path)[0]["caption"]
    assert report.metrics["held_out_accuracy"] >= 4 / 8
    encoder = load_encoder(tmp_path / "last" / "encoder.safetensors")
    said = encoder.caption(Named(4).kept, length=12)  # type: ignore[operator]
    assert sum(f"a {CLASSES[i].split()[0]} square moves to the " in text for i, text in enumerate(said)) >= 7


@pytest.mark.parametrize(("encoder", "video"), [(MULTIMODAL, "encoder.video"), (VICLIP, "encoder")])
def test_layers_of_a_shallower_tower_are_counted_from_its_top(encoder: str, video: str) -> None:
    stage = stage_of(config("contrastive", encoder, 4, captions_weight=0.0))
    assert stage.layer_of(f"{video}.patch.weight") == 0  # 4 blocks
    assert [stage.layer_of(f"{video}.blocks.{block}.mlp.fc1.weight") for block in range(4)] == [1, 2, 3, 4]
    assert stage.layer_of("encoder.text.tokens.weight") == stage.layer_of("encoder.text.positions") == 2  # 2 blocks
    assert [stage.layer_of(f"encoder.text.blocks.{block}.mlp.fc1.weight") for block in range(2)] == [3, 4]
    assert stage.layer_of("encoder.text.proj") == stage.layer_of("encoder.captioner.queries") == 5


def test_decay_by_layer_is_refused_where_there_are_no_layers() -> None:
    with pytest.raises(ValueError, match=r"engine\.layer_decay: 0\.9 decays nothing in coordination"):
        stage_of(config("coordination", BOTH, 4, engine={"layer_decay": 0.9}))


def test_a_plan_counts_what_pairs_take() -> None:
    few, some, many = (
        estimate_memory(stage_of(chosen), chosen.engine).activations
        for chosen in (config("contrastive", MULTIMODAL, 4, engine={"batch": 100 * times}) for times in (1, 2, 3))
    )
    # Of N clips and texts, two tables of N x N logarithms, 4 bytes each; all else grows evenly.
    assert many - 2 * some + few == 2 * 4 * (300**2 - 2 * 200**2 + 100**2)


def test_the_pairs_of_a_plan_are_those_that_a_loss_keeps() -> None:
    stage, tables = stage_of(config("contrastive", MULTIMODAL, 4)), {}
    stage.share = Share(7)

    def note(kept: torch.Tensor) -> torch.Tensor:
        if kept.shape == (7, 7):
            tables[kept.data_ptr()] = kept.untyped_storage().nbytes()
        return kept

    with torch.autograd.graph.saved_tensors_hooks(note, lambda kept: kept):
        losses = stage.losses(next(iter(stage.loader(0, 0))), torch.Generator())
    assert losses["loss"].requires_grad and sum(tables.values()) == stage.pair_bytes(7)


def test_global_blocks_drop_out_as_the_recipe_says() -> None:
    stage = stage_of(config("classification", MULTIMODAL, 2, global_dropout=0.5))
    rates = {m.p for name, m in stage.named_modules() if "global_blocks" in name and isinstance(m, torch.nn.Dropout)}
    assert rates == {0.5}
    with pytest.raises(ValueError, match=f"global_dropout: {MASKED} has no global blocks"):
        stage_of(config("classification", MASKED, 2, global_dropout=0.5))


def test_words_and_places_are_not_decayed_and_matrices_are(tmp_path: Path) -> None:
    stage = stage_of(config("contrastive", MULTIMODAL, 4))
    groups = create_optimizer(
        stage, config("contrastive", MULTIMODAL, 4, engine={"weight_decay": 0.2}).engine
    ).param_groups
    decay = {id(weight): group["weight_decay"] for group in groups for weight in group["params"]}
    found = {name: decay[id(weight)] for name, weight in stage.named_parameters()}
    assert found["encoder.text.tokens.weight"] == found["encoder.logit_scale"] == 0.0
    assert found["encoder.text.positions"] == 0.0 and found["encoder.video.blocks.3.mlp.fc1.weight"] == 0.2


@pytest.mark.parametrize("start", [math.log(100), 5.0, -1.0])
def test_a_temperature_at_its_bound_can_leave_it(start: float) -> None:
    encoder = create_encoder(MULTIMODAL, size=SIZE)
    with torch.no_grad():
        encoder.logit_scale.fill_(start)
    scale = encoder.scale()
    assert scale.item() == pytest.approx(min(max(math.exp(start), 1.0), 100.0), rel=1e-5)
    scale.backward()
    assert encoder.logit_scale.grad is not None and encoder.logit_scale.grad.item() == pytest.approx(scale.item())
    assert encoder.logit_scale.item() == pytest.approx(start)  # looking changes nothing


@pytest.mark.parametrize(
    ("encoder", "name", "start", "end"),
    [(MULTIMODAL, "logit_scale", 4.5, math.log(100)), (VICLIP, "temperature", 0.06, 0.01)],
)
def test_a_temperature_is_kept_and_saved_within_its_bounds(
    encoder: str, name: str, start: float, end: float, tmp_path: Path
) -> None:
    engine = {"steps": 8, "lr": 0.05, "ema": 0.5, "warmup": 0.0, "checkpoint_every": 1, "keep": 8}
    chosen = config("contrastive", encoder, 4, engine=engine, captions_weight=0.0)
    stage = stage_of(chosen)
    with torch.no_grad():
        stage.encoder.get_parameter(name).fill_(start)
    stage.losses = lambda batch, generator: {"loss": -stage.encoder.scale()}
    train(stage, chosen.engine, tmp_path)
    kept = {}
    for file in ("model", "ema", "encoder"):
        path = [tmp_path / f"step_{step:06d}" / f"{file}.safetensors" for step in range(1, 9)]
        states = [read_weights(one).state for one in path]
        kept[file] = [state[name if file == "encoder" else f"encoder.{name}"].item() for state in states]
        assert all(min(start, end) - 1e-6 <= value <= max(start, end) + 1e-6 for value in kept[file]), file
    assert kept["model"][-1] == pytest.approx(end)


def test_a_temperature_beyond_its_bounds_is_put_back_before_anything_copies_it(tmp_path: Path) -> None:
    chosen = config("contrastive", MULTIMODAL, 4, engine={"steps": 1, "ema": 0.999}, captions_weight=0.0)
    stage = stage_of(chosen)
    with torch.no_grad():
        stage.encoder.logit_scale.fill_(9.0)
    train(stage, chosen.engine, tmp_path)
    assert stage.encoder.logit_scale.item() <= math.log(100) + 1e-6  # of the average


def test_a_frozen_temperature_stays() -> None:
    for encoder, name in ((MULTIMODAL, "logit_scale"), (VICLIP, "temperature")):
        made = create_encoder(encoder, size=SIZE).requires_grad_(False)
        made.get_parameter(name).fill_(-1.0)
        made.clamp_temperature()
        assert made.get_parameter(name).item() == -1.0


def test_classes_are_learned_and_coordination_starts_from_both_branches(tmp_path: Path) -> None:
    engine = {"steps": 60, "batch": 16, "lr": 3e-3}
    masked, _ = trained(tmp_path / "masked", "classification", MASKED, 4, engine=engine, init_scale=1.0)
    multimodal, _ = trained(tmp_path / "multimodal", "classification", MULTIMODAL, 2, engine=engine, init_scale=1.0)
    assert max(masked.metrics["held_out_accuracy"], multimodal.metrics["held_out_accuracy"]) >= 0.5
    heads = {branch: str(tmp_path / branch / "last" / "classifier.safetensors") for branch in ("masked", "multimodal")}
    chosen = config("coordination", BOTH, 4, engine={"steps": 2}, **heads)
    stage = create_stage(chosen, Named(4))
    before = {name: value.clone() for name, value in stage.state_dict().items()}
    file = read_weights(heads["masked"]).state
    assert torch.equal(
        before["classifier.encoder.masked.blocks.0.mlp.fc1.weight"], file["encoder.blocks.0.mlp.fc1.weight"]
    )
    assert torch.equal(before["classifier.masked_head.weight"], file["head.weight"])
    train(stage, chosen.engine, tmp_path / "both")
    changed = {name for name, value in stage.state_dict().items() if not torch.equal(value, before[name])}
    frozen = [name for name in changed if ".encoder.masked." in name or ".encoder.multimodal." in name]
    assert frozen in ([], ["classifier.encoder.multimodal.video.query"])
    assert any("attention_gate" in name for name in changed)
    load_encoder(tmp_path / "both" / "last" / "encoder.safetensors")


def test_a_coordination_that_has_learned_nothing_is_late_fusion(tmp_path: Path) -> None:
    """What pipelines measure coordination against: the mean of the scores that each branch gives by itself."""
    chosen = config("coordination", BOTH, 4, engine={"steps": 1, "lr": 1e-12})
    stage = create_stage(chosen, Named(4, each=1))
    train(stage, chosen.engine, tmp_path)
    both = load_classifier(tmp_path / "last" / "classifier.safetensors")
    assert isinstance(both, CoordinatedClassifier)
    pixels = both.encoder.to_pixels(Named(4, each=1).kept)
    with torch.no_grad():
        masked = both.masked_head(both.encoder.masked.features(pixels.masked))
        multimodal = both.multimodal_head(both.encoder.multimodal.features(pixels.multimodal))
        torch.testing.assert_close(both(pixels), (masked + multimodal) / 2, atol=1e-6, rtol=1e-5)
    assert (masked - multimodal).abs().max() > 1e-2


def test_a_linear_probe_changes_the_head_alone(tmp_path: Path) -> None:
    chosen = config("classification", MASKED, 4, engine={"steps": 2}, freeze=True)
    stage = create_stage(chosen, Named(4))
    before = {name: value.clone() for name, value in stage.state_dict().items()}
    train(stage, chosen.engine, tmp_path)
    changed = {name for name, value in stage.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"classifier.head.weight", "classifier.head.bias"}


def test_a_frozen_text_tower_stays(tmp_path: Path) -> None:
    chosen = config("contrastive", MULTIMODAL, 4, engine={"steps": 2}, freeze_text=True)
    stage = create_stage(chosen, Named(4))
    before = {name: value.clone() for name, value in stage.state_dict().items()}
    train(stage, chosen.engine, tmp_path)
    same = {name for name, value in stage.state_dict().items() if torch.equal(value, before[name])}
    assert {name for name in before if name.startswith("encoder.text.")} <= same
    assert "encoder.video.patch.weight" not in same


def test_a_caption_decoder_that_learns_nothing_stays(tmp_path: Path) -> None:
    chosen = config("contrastive", MULTIMODAL, 4, engine={"steps": 2, "weight_decay": 0.5}, captions_weight=0.0)
    stage = create_stage(chosen, Named(4))
    before = {name: value.clone() for name, value in stage.state_dict().items()}
    train(stage, chosen.engine, tmp_path)
    same = {name for name, value in stage.state_dict().items() if torch.equal(value, before[name])}
    decoder = {name for name in before if name.startswith("encoder.captioner.")}
    assert decoder and decoder <= same
    assert "encoder.text.positions" not in same


def test_every_weight_that_contrast_learns_has_a_gradient(monkeypatch) -> None:
    """Of larger encoders, too, which have a word for what is masked that no loss of contrast reads: nothing could be resumed with it."""
    shapes = encoder_config(MULTIMODAL)
    shapes = shapes.model_copy(update={"text": shapes.text.model_copy(update={"mask_token": True})})
    monkeypatch.setattr("navloop.training.stages.contrastive.stage_shapes", lambda _: shapes)
    stage = create_stage(config("contrastive", MULTIMODAL, 4), Named(4))
    batch = next(iter(Named(4).training(Share(8), 0, 0)))
    stage.losses(batch, torch.Generator())["loss"].backward()
    assert stage.encoder.text.mask_token is not None  # type: ignore[union-attr]
    assert not [name for name, one in stage.named_parameters() if one.requires_grad and one.grad is None]


def test_a_text_with_a_mark_that_is_numbered_as_padding_keeps_its_end() -> None:
    stage = create_stage(config("contrastive", MULTIMODAL, 4, captions_weight=0.0), Named(4)).eval()
    batch = next(iter(Named(4).training(Share(8), 0, 0)))
    text = "go!$ left!$ and stop!$ by the door!$"
    assert (tokenize([text], 77) != 0).sum() < int(tokenize([text], 77).argmax()) + 1
    batch = replace(batch, texts=(text, *batch.texts[1:]))
    seen: list[torch.Tensor] = []
    stage.encoder.text.register_forward_pre_hook(lambda _, ids: seen.append(ids[0]))
    with torch.no_grad():
        stage.losses(batch, torch.Generator())
    assert seen[0].shape[1] == int(tokenize([text], 77).argmax()) + 1


def test_a_classifier_drops_paths_as_its_encoder_does_unless_told_otherwise(monkeypatch) -> None:
    asked: list[float] = []

    def noted(shapes):
        asked.append(shapes.video.trunk.drop_path)
        return create_encoder(MULTIMODAL)  # which is quicker to make

    monkeypatch.setattr("navloop.training.stages.classification.create_encoder", noted)
    for said in (None, 0.0, 0.3):
        create_stage(config("classification", "uniformerv2_base_local_p16_t16", 16, drop_path=said), Named(1))
    assert asked == [0.2, 0.0, 0.3]


def test_a_stage_begins_with_an_earlier_ones_weights(tmp_path: Path) -> None:
    first = create_stage(config("contrastive", MULTIMODAL, 4), Named(4))
    save_encoder(first.encoder, tmp_path / "encoder.safetensors")  # type: ignore[arg-type]
    weights = str(tmp_path / "encoder.safetensors")
    second = create_stage(config("classification", MULTIMODAL, 4, weights=weights, engine={"seed": 1}), Named(4))
    expected, found = first.state_dict(), second.state_dict()
    names = [name for name in expected if name.startswith("encoder.video.")]
    assert names and all(torch.equal(expected[name], found[f"classifier.{name}"]) for name in names)


def test_captions_of_different_length_weigh_by_their_tokens() -> None:
    stage = create_stage(config("contrastive", MULTIMODAL, 4), Named(4)).eval()
    share = Share(8)
    batch = next(iter(Named(4).training(share, 0, 0)))
    with torch.no_grad():
        together = stage.losses(batch, torch.Generator())["caption"]
        logits, ids = _caption(stage, batch)
    wanted = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=0)
    assert together.item() == pytest.approx(wanted.item(), abs=1e-5)


def _caption(stage, batch):
    ids = tokenize(batch.texts, 77)
    sight = stage.encoder.see(stage.encoder.to_pixels(batch.frames))
    return stage.encoder.captioner(sight.frame_tokens.flatten(1, 2), stage.encoder.text(ids).states[:, :-1]), ids


def test_copies_of_a_clip_are_no_pairs() -> None:
    clips = config("contrastive", MULTIMODAL, 4).clips.model_dump() | {"repeats": 2}
    with pytest.raises(ValueError, match=r"clips\.repeats is 2: clips of one video would be told apart"):
        config("contrastive", MULTIMODAL, 4, clips=clips)


def test_a_caption_decoder_can_be_added() -> None:
    chosen = config("contrastive", MULTIMODAL, 4, captioner=CaptionerConfig(layers=2, queries=8))
    assert len(create_stage(chosen, Named(4)).encoder.captioner.layers) == 2  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("stage", "encoder", "message"),
    [
        ("contrastive", MASKED, "has no text tower; take a multimodal one"),
        ("classification", BOTH, "has two branches; train them with stage=coordination"),
        ("coordination", MASKED, "is one branch; take both"),
    ],
)
def test_an_encoder_of_another_kind_is_refused(stage: str, encoder: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_stage(config(stage, encoder, 4), Named(4))


@pytest.mark.parametrize(
    ("encoder", "changes", "message"),
    [
        (MULTIMODAL, {"mask_ratio": 0.5}, "mask_ratio 0.5: internvideo_mm_tiny_p16_t4 sees all of a clip"),
        (VICLIP, {}, "captions_weight 1: viclip_tiny_p16_t4 says no captions"),
        (
            VICLIP,
            {"captioner": CaptionerConfig(layers=1, queries=8), "captions_weight": 0.0},
            "captioner: viclip_tiny_p16_t4 says no captions",
        ),
        (VICLIP, {"clip": "ViT-B-16-quickgelu"}, "clip: ViT-B-16-quickgelu starts a multimodal encoder, not viclip"),
        ("internvideo_mm_base_p16_t8", {}, "captions_weight 1: internvideo_mm_base_p16_t8 has no caption decoder"),
    ],
)
def test_what_an_encoder_would_ignore_is_refused(encoder: str, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_stage(config("contrastive", encoder, 4, **changes), Named(4, each=1))


@pytest.mark.parametrize(
    ("name", "encoder"),
    [("ViT-B-16", "internvideo_mm_base_p16_t8"), ("ViT-L-14", "internvideo_mm_large_p14_t8")],
)
def test_a_clip_starts_the_encoder_that_the_recipe_names_and_no_other(name: str, encoder: str) -> None:
    with torch.device("meta"):
        start = clip_config(open_clip.CLIP(**open_clip.get_model_config(f"{name}-quickgelu")))
    chosen = config("contrastive", encoder, 8, clip=f"{name}-quickgelu")
    require_same_start(start, encoder_config(encoder, frames=8, size=224), chosen)
    told = rf"clip: {name}-quickgelu starts an encoder with video\.pixels\.size 224 and not 112, as {encoder} has"
    with pytest.raises(ValueError, match=told):
        require_same_start(start, encoder_config(encoder, frames=8, size=112), chosen)


def test_a_clip_from_a_folder_is_known_by_its_whole_name(tmp_path: Path) -> None:
    vision = {"image_size": SIZE, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16}
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2}
    model = {"embed_dim": 64, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": {}}))
    told = r"starts an encoder with video\.trunk\.width 64 and not 96, .*depth 2 and not 4"
    with pytest.raises(ValueError, match=told):
        create_stage(config("contrastive", MULTIMODAL, 4, clip=f"local-dir:{tmp_path}"), Named(4, each=1))


def test_clips_that_do_not_pair_up_are_refused_at_once(tmp_path: Path) -> None:
    chosen = config("classification", MASKED, 4, engine={"batch": 3}, mix={})
    with pytest.raises(
        ValueError, match=r"engine\.batch 3 leaves 3 clips to each of 1 processes x 1 parts .* multiple of 2"
    ):
        train(create_stage(chosen, Named(4)), chosen.engine, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_clips_without_texts_or_labels_are_refused() -> None:
    from dataclasses import replace

    bare = replace(next(iter(Named(4).training(Share(8), 0, 0))), texts=None, labels=None)
    for stage, encoder, what in (("contrastive", MULTIMODAL, "captions"), ("classification", MASKED, "labels")):
        with pytest.raises(ValueError, match=f"clips have no {what}, such as clip"):
            create_stage(config(stage, encoder, 4), Named(4)).losses(bare, torch.Generator())


def test_the_number_of_classes_has_to_be_known() -> None:
    chosen = config("classification", MASKED, 4)
    clips = chosen.clips.model_copy(update={"num_classes": None})
    with pytest.raises(ValueError, match="say how many classes there are"):
        create_stage(chosen.model_copy(update={"clips": clips}), Named(4))
    assert len(CLASSES) == create_stage(chosen, Named(4)).num_classes  # type: ignore[union-attr]
