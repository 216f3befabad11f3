"""The loop: resumes exactly after being killed, is the same on two processes, and stops where numbers end."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from accelerate import PartialState
from drifting_clips import Drifting, batch_of, config, create_noisy, train_drifting
from joined import run_joined
from striking import begin
from timm.utils.model_ema import ModelEmaV3

from navloop.configs.engine import EngineConfig
from navloop.training import engine
from navloop.training.checkpoints import list_checkpoints
from navloop.training.engine import train
from navloop.training.metrics import MetricsLog
from navloop.training.pretraining import create_stage
from navloop.training.schedules import create_optimizer, learning_rates
from navloop.training.steps import DivergedError, count_steps, split
from navloop.weights import digest, read_weights

FILES = ("model.safetensors", "ema.safetensors", "encoder.safetensors", "autoencoder.safetensors")


pytestmark = pytest.mark.usefixtures("one_thread")


def run(folder, chosen, create=create_stage):
    stage = create(chosen, Drifting())
    return train(stage, chosen.engine, folder), stage


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def losses(folder) -> list[float]:
    return [line["loss"] for line in lines(folder)]


# All there is to resume; and the loss is noisy, from the generator that dropout draws from.
EVERYTHING = {"steps": 10, "checkpoint_every": 3, "ema": 0.9, "clip": 1.0, "accumulate": 2, "layer_decay": 0.8}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run(folder, config(engine=EVERYTHING), create_noisy)
    return folder


RANDOM_STEP = int(np.random.default_rng(2026).integers(2, 2 * EVERYTHING["steps"]))


@pytest.mark.parametrize(
    "death", [f"step:{RANDOM_STEP}", "save:1", "save:3"], ids=["random step", "first save", "save"]
)
def test_a_killed_run_resumes_to_the_same_bits(uninterrupted, tmp_path, death):
    chosen = config(engine=EVERYTHING)
    folder = tmp_path / "run"
    killed = begin(train_drifting, folder, chosen, death)
    killed.join()
    assert killed.exitcode == -9
    report, _ = run(folder, chosen, create_noisy)
    assert report.resumed < report.steps == EVERYTHING["steps"], death
    assert (folder / "metrics.jsonl").read_bytes() == (uninterrupted / "metrics.jsonl").read_bytes(), death
    for name in FILES:
        assert digest(folder / "last" / name) == digest(uninterrupted / "last" / name), (death, name)
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in uninterrupted.iterdir())


def test_a_finished_run_is_left_as_it_is(uninterrupted):
    before = (uninterrupted / "metrics.jsonl").read_bytes()
    report, stage = run(uninterrupted, config(engine=EVERYTHING))
    assert (report.resumed, report.steps, report.metrics) == (10, 10, {})
    assert (uninterrupted / "metrics.jsonl").read_bytes() == before
    assert digest(stage.state_dict()) == digest(uninterrupted / "last" / "ema.safetensors")


def test_two_processes_give_the_metrics_of_one_and_go_on_to_the_same_bits(tmp_path):
    chosen = config(engine={"steps": 6, "clip": 1.0}, decoder_skips=0.0)
    run(tmp_path / "one", chosen)  # without the noise, which is each process's own
    statuses, said = run_joined(tmp_path, train_drifting, tmp_path / "two", chosen)
    assert statuses == [0, 0], said
    assert all("trained by 2" in text for text in said)
    for one, two in zip(lines(tmp_path / "one"), lines(tmp_path / "two"), strict=True):
        assert "gradient_norm" in one and two == pytest.approx(one, abs=1e-5, rel=1e-5)
    weights, metrics = digest(tmp_path / "two" / "last" / FILES[0]), (tmp_path / "two" / "metrics.jsonl").read_bytes()
    shutil.rmtree((tmp_path / "two" / "last").resolve())
    statuses, said = run_joined(tmp_path, train_drifting, tmp_path / "two", chosen)
    assert statuses == [0, 0], said
    assert list_checkpoints(tmp_path / "two")[-1].step == 6
    assert digest(tmp_path / "two" / "last" / FILES[0]) == weights
    assert (tmp_path / "two" / "metrics.jsonl").read_bytes() == metrics
    one, two = (read_weights(tmp_path / name / "last" / "encoder.safetensors").state for name in ("one", "two"))
    assert max((one[name] - two[name]).abs().max().item() for name in one) < 1e-5


def test_accumulating_changes_nothing_but_memory(tmp_path):
    run(tmp_path / "whole", config(engine={"steps": 4}))
    run(tmp_path / "parts", config(engine={"steps": 4, "accumulate": 4}))
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), abs=1e-5)


def test_the_global_generator_is_left_as_it_was(tmp_path):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    run(tmp_path, config(engine={"steps": 1}))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_average_is_that_of_the_weights_after_each_step(tmp_path):
    chosen = config(engine={"steps": 3, "checkpoint_every": 1, "keep": 3, "ema": 0.8})
    stage = create_stage(chosen, Drifting())
    expected = ModelEmaV3(stage, 0.8)
    train(stage, chosen.engine, tmp_path)
    copy = create_stage(chosen, Drifting())
    for step in (1, 2, 3):
        copy.load_state_dict(read_weights(tmp_path / f"step_{step:06d}" / "model.safetensors").state)
        expected.update(copy)
    assert digest(expected.module.state_dict()) == digest(tmp_path / "last" / "ema.safetensors")
    assert digest(stage.state_dict()) == digest(tmp_path / "last" / "ema.safetensors")


def test_a_loss_that_is_not_finite_stops_the_run_and_names_step_and_clips(tmp_path):
    chosen = config(engine={"steps": 12, "checkpoint_every": 4, "log_every": 3})
    stage = create_stage(chosen, Drifting())
    healthy = stage.losses
    taken = []

    def losses(batch, generator):
        taken.append(batch.sources)
        found = healthy(batch, generator)
        return {**found, "loss": found["loss"] * (math.nan if len(taken) == 8 else 1.0)}

    stage.losses = losses
    with pytest.raises(DivergedError, match=r"step 8: the loss is nan, on clip \d+, clip .*step_000004 is from before"):
        train(stage, chosen.engine, tmp_path)
    assert (tmp_path / "last").resolve().name == "step_000004"
    assert lines(tmp_path)[-1]["step"] == 6


def test_a_measure_on_held_out_clips_that_is_not_finite_stops_the_run_before_its_weights_are_kept(tmp_path):
    chosen = config(engine={"steps": 4, "checkpoint_every": 2, "evaluate_every": 1})
    stage = create_stage(chosen, Drifting(held_out=8))
    healthy, measured = stage.losses, []

    def losses(batch, generator):
        found = healthy(batch, generator)
        measured.extend([] if stage.training else [batch])
        return {**found, "baseline": found["baseline"] * (math.inf if len(measured) == 6 else 1.0)}

    stage.losses = losses
    told = r"step 3: on held-out clips, baseline is inf\. .*step_000002 is from before"
    with pytest.raises(DivergedError, match=told):
        train(stage, chosen.engine, tmp_path)
    assert (tmp_path / "last").resolve().name == "step_000002"


def strict(folder) -> list[dict]:
    """Return the lines of metrics, of which none may say what is no JSON."""

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_steps_whose_gradients_overflow_float16_are_skipped_and_told(tmp_path, monkeypatch):
    made = engine._accelerator

    def on_a_processor(config, leaves_unused):
        """What accelerate does on GPUs alone; a processor knows float16, too, and torch scales losses there."""
        accelerator = made(config.model_copy(update={"precision": "fp32"}), leaves_unused)
        accelerator.state._mixed_precision, accelerator.native_amp = "fp16", True
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**26)  # fits after three steps
        return accelerator

    monkeypatch.setattr(engine, "_accelerator", on_a_processor)
    monkeypatch.setattr(engine, "check_precision", lambda config, device: None)
    run(tmp_path, config(engine={"steps": 8, "clip": 1.0, "log_every": 2, "precision": "fp16"}))
    first, *_, last = strict(tmp_path)
    assert first["skipped_steps"] == 1.0 and "gradient_norm" not in first
    assert 0 < last["gradient_norm"] < 10 and "skipped_steps" not in last
    assert sum(2 * line.get("skipped_steps", 0.0) for line in strict(tmp_path)) in (2, 3, 4)


def test_a_gradient_that_is_not_finite_stops_the_run_before_its_weights_are_kept(tmp_path):
    chosen = config(engine={"steps": 6, "clip": 1.0, "checkpoint_every": 2, "log_every": 1})
    stage = create_stage(chosen, Drifting())
    healthy, taken = stage.losses, []

    def losses(batch, generator):
        taken.append(batch)
        found = healthy(batch, generator)
        weight = stage.autoencoder.mask_token
        steep = (weight - weight.detach()).sum().sqrt()  # 0, and infinitely steep
        return {**found, "loss": found["loss"] + steep} if len(taken) == 4 else found

    stage.losses = losses
    with pytest.raises(DivergedError, match=r"up to step 4, gradient_norm is (inf|nan)\. .*step_000002 is from before"):
        train(stage, chosen.engine, tmp_path)
    assert [line["step"] for line in strict(tmp_path)] == [1, 2, 3]


def test_what_no_json_can_say_is_left_out_or_refused(tmp_path):
    log = MetricsLog(tmp_path, 0)
    log.add(1, {"loss": 0.5, "explained_variance": math.nan}, 1.0)
    with pytest.raises(ValueError, match="step 2: kl not finite"):
        log.add(2, {"loss": 0.5, "kl": -math.inf}, 1.0)
    log.close()
    assert strict(tmp_path) == [{"step": 1, "loss": 0.5}]


def test_the_average_is_measured_in_the_precision_that_is_trained_in(tmp_path):
    chosen = config(engine={"steps": 1, "ema": 0.9, "precision": "bf16"})
    stage = create_stage(chosen, Drifting(held_out=4))
    healthy, found = stage.losses, []

    def losses(batch, generator):
        found.append((stage.training, torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")))
        return healthy(batch, generator)

    stage.losses = losses  # of the average, too
    train(stage, chosen.engine, tmp_path)
    assert len(found) == 2 and [state[1:] for state in found] == [(True, torch.bfloat16)] * 2


class Uneven(Drifting):
    """Of 7 held-out clips, a batch of 4 and one of 3."""

    def held_out(self, share):
        return [batch_of(self.kept, rows) for rows in torch.arange(7).split(4)]


def test_every_held_out_clip_weighs_as_much_whatever_the_size_of_its_batch(tmp_path):
    chosen = config(engine={"steps": 1})
    stage = create_stage(chosen, Uneven(held_out=8))
    stage.losses = lambda batch, generator: {
        "loss": batch.rows.float().mean() + 0 * sum(p.sum() for p in stage.parameters())
    }
    report = train(stage, chosen.engine, tmp_path)
    assert report.metrics["held_out_loss"] == pytest.approx(3.0)


def test_layer_decay_scales_and_weight_decay_are_exact():
    chosen = config(engine={"layer_decay": 0.5, "weight_decay": 0.05})
    stage = create_stage(chosen, Drifting())
    optimizer = create_optimizer(stage, chosen.engine)
    found = {
        id(parameter): (group["lr_scale"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    layers = stage.shapes.trunk.depth  # L = 4: scale decay ** (L + 1 - i)
    for name, parameter in stage.named_parameters():
        short = name.removeprefix("autoencoder.")
        place = layers + 1
        if short.startswith("encoder.patch"):
            place = 0
        elif short.startswith("encoder.blocks."):
            place = 1 + int(short.split(".")[2])
        undecayed = parameter.ndim == 1 or short == "mask_token"
        assert found[id(parameter)] == (0.5 ** (layers + 1 - place), 0.0 if undecayed else 0.05), name


def test_without_layer_decay_only_weight_decay_tells_parameters_apart():
    stage = create_stage(config(), Drifting())
    groups = create_optimizer(stage, config().engine).param_groups
    undecayed = {id(parameter) for group in groups if group["weight_decay"] == 0 for parameter in group["params"]}
    names = {name for name, parameter in stage.named_parameters() if id(parameter) in undecayed}
    assert "autoencoder.mask_token" in names
    assert {parameter.ndim for name, parameter in stage.named_parameters() if name not in names} == {2, 5}


def test_the_learning_rate_rises_from_zero_and_falls_along_a_cosine():
    engine = EngineConfig(steps=100, batch=512, lr=1e-3, min_lr=1e-5, warmup=0.2)
    rates = learning_rates(engine, 100, list(range(100)))
    expected = [2e-3 * step / 20 for step in range(20)]  # both rates times 512 / 256
    expected += [2e-5 + 0.5 * (2e-3 - 2e-5) * (1 + math.cos(math.pi * step / 80)) for step in range(80)]
    assert rates == pytest.approx(expected, rel=1e-12)
    assert learning_rates(engine.model_copy(update={"scale_lr": False}), 100, [20]) == [1e-3]


def test_layers_learn_at_their_share_of_the_rate(tmp_path):
    engine = {"steps": 1, "layer_decay": 0.5, "warmup": 0.0, "weight_decay": 0.0}
    start = create_stage(config(engine=engine), Drifting()).state_dict()
    _, stage = run(tmp_path, config(engine=engine))
    for name, scale in (
        ("encoder.patch.bias", 0.5**5),
        ("encoder.blocks.3.mlp.fc2.bias", 0.5),
        ("decoder.head.bias", 1),
    ):
        moved = (stage.state_dict()[f"autoencoder.{name}"] - start[f"autoencoder.{name}"]).abs().median()
        assert moved.item() == pytest.approx(1e-3 * scale, rel=1e-2), name  # Adam's first step is the rate


def test_epochs_count_batches():
    stage = create_stage(config(), Drifting(26))
    stage.share = split(config(engine={"accumulate": 2}).engine, 1)
    engine = EngineConfig(epochs=2, batch=4, accumulate=2, lr=1.0)
    assert count_steps(stage, engine) == 13
    stage.share = split(config(engine={"batch": 32}).engine, 1)
    with pytest.raises(ValueError, match="26 clips, fewer than one batch of 32"):
        count_steps(stage, engine)


def test_a_batch_divides_among_processes():
    engine = EngineConfig(steps=1, batch=12, accumulate=2, lr=1.0)
    assert split(engine, 3, rank=2).mine(torch.arange(6)).tolist() == [4, 5]
    with pytest.raises(ValueError, match=r"engine.batch 12 .* 4 processes x 2 parts .* take a multiple of 8"):
        split(engine, 4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "one of steps and epochs"),
        ({"steps": 1, "epochs": 1.0}, "one of steps and epochs"),
        ({"steps": 1, "accumulate": 3}, "8 does not divide into 3"),
        ({"steps": 1, "min_lr": 2.0}, "min_lr 2.0 is above lr 1.0"),
        ({"steps": 1, "betas": (0.9, 1.0)}, "betas"),
    ],
)
def test_a_config_that_contradicts_itself_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        EngineConfig(batch=8, lr=1.0, **fields)


def test_bf16_trains_on_the_processor(tmp_path):
    run(tmp_path / "full", config(engine={"steps": 3}))
    run(tmp_path / "half", config(engine={"steps": 3, "precision": "bf16"}))
    assert losses(tmp_path / "half") == pytest.approx(losses(tmp_path / "full"), rel=1e-2)
    assert losses(tmp_path / "half") != losses(tmp_path / "full")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ACCELERATE_USE_FSDP", "true", "need GPUs"),
        ("WORLD_SIZE", "3", "one of 3 processes .*, but 1 found each other"),
    ],
)
def test_processes_that_would_train_alone_are_refused(monkeypatch, tmp_path, name, value, words):
    PartialState(cpu=True)
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    with pytest.raises(ValueError, match=words):
        run(tmp_path / "run", config(engine={"steps": 1}))
    assert not (tmp_path / "run").exists()
