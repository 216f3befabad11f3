"""Checkpoints are whole or absent; what is damaged, foreign or unwritable is told, and nothing is lost."""

import errno
import hashlib
import json
import math
import os
import shutil

import pytest
import torch
from drifting_clips import Drifting, config
from full_disk import files_at_most

from navloop.training.checkpoints import (
    CheckpointError,
    list_checkpoints,
    new_checkpoint,
    remove_unfinished,
    write_state,
    write_tensors,
)
from navloop.training.engine import train
from navloop.training.pretraining import create_stage
from navloop.weights import WeightsError, read_weights

STATE = {"step": 3, "place": {"epoch": 1}, "optimizer": {"a": torch.arange(3.0), "betas": (0.9, 0.95)}, "scaler": None}


def write(folder, step, keep=2):
    with new_checkpoint(folder, step, keep) as aside:
        write_tensors(aside, "model", {"weight": torch.full((4,), float(step))})
        write_state(aside, STATE)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


TWO_STEPS = {"steps": 2, "checkpoint_every": 1}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run of two steps, a checkpoint each."""
    folder = tmp_path_factory.mktemp("trained")
    chosen = config(engine=TWO_STEPS)
    train(create_stage(chosen, Drifting()), chosen.engine, folder)
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A copy of that folder."""
    return shutil.copytree(trained, tmp_path / "run", symlinks=True)


def test_a_checkpoint_reads_back(tmp_path):
    write(tmp_path, 7)
    (checkpoint,) = list_checkpoints(tmp_path)
    checkpoint.check()
    assert checkpoint.step == 7
    assert checkpoint.tensors("model")["weight"].tolist() == [7.0] * 4
    state = checkpoint.state()
    assert state["optimizer"].pop("a").tolist() == [0, 1, 2]
    assert state == {**STATE, "optimizer": {"betas": (0.9, 0.95)}}
    assert torch.load(checkpoint.folder / "state.pt", weights_only=True)["step"] == 3


def test_the_newest_are_kept_and_the_last_is_linked(tmp_path):
    for step in (5, 50, 500, 1_000_000):
        write(tmp_path, step)
    assert names(tmp_path) == ["last", "step_000500", "step_1000000"]
    assert (tmp_path / "last").resolve().name == "step_1000000"


def test_a_failure_half_way_leaves_the_others_as_they_were(tmp_path):
    write(tmp_path, 1)
    with pytest.raises(RuntimeError, match="half way"), new_checkpoint(tmp_path, 2, keep=1) as aside:
        write_tensors(aside, "model", {"weight": torch.zeros(4)})
        raise RuntimeError("half way")
    assert names(tmp_path) == ["last", "step_000001"]
    list_checkpoints(tmp_path)[0].check()


def test_what_a_killed_writer_left_is_removed_and_never_taken_for_a_checkpoint(tmp_path):
    write(tmp_path, 1)
    left = tmp_path / ".step_000002.abc"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    assert [found.step for found in list_checkpoints(tmp_path)] == [1]
    remove_unfinished(tmp_path)
    assert names(tmp_path) == ["last", "step_000001"]


@pytest.mark.parametrize("left", [None, "step_000001", "step_000009"], ids=["lost", "old", "dangling"])
def test_the_link_to_the_newest_is_set_again_by_the_next_start(run, left):
    """A run may be killed between a checkpoint and its link, and links do not survive every copy."""
    (run / "last").unlink()
    if left is not None:
        (run / "last").symlink_to(left)
    (run / ".last.7").symlink_to("step_000002")
    chosen = config(engine=TWO_STEPS)
    report = train(create_stage(chosen, Drifting()), chosen.engine, run)
    assert report.resumed == 2
    assert os.readlink(run / "last") == "step_000002"
    assert not os.path.lexists(run / ".last.7")


@pytest.mark.parametrize(("name", "value"), [("model", math.nan), ("ema", math.inf)])
def test_weights_that_are_not_finite_are_told_and_what_to_go_on_from(tmp_path, name, value):
    chosen = config(engine={"steps": 2, "checkpoint_every": 1, "ema": 0.9})
    train(create_stage(chosen, Drifting()), chosen.engine, tmp_path)
    folder = tmp_path / "step_000002"
    tensors = read_weights(folder / f"{name}.safetensors").state
    key = sorted(tensors)[3]
    tensors[key] = tensors[key] + value
    write_tensors(folder, name, tensors)
    sums = json.loads((folder / "sha256.json").read_text())
    sums[f"{name}.safetensors"] = hashlib.sha256((folder / f"{name}.safetensors").read_bytes()).hexdigest()
    (folder / "sha256.json").write_text(json.dumps(sums))
    onward = config(engine={"steps": 3, "checkpoint_every": 1, "ema": 0.9})
    with pytest.raises(
        CheckpointError,
        match=rf"{name}\.safetensors: NaN or infinity is in {key} and 0 of .*; remove .*step_000002 to go on from step_000001",
    ):
        train(create_stage(onward, Drifting()), onward.engine, tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "state.pt", "encoder.safetensors"])
@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_a_damaged_checkpoint_is_told_and_nothing_is_lost(run, name, harm):
    path = run / "step_000002" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    if harm != "remove":
        path.write_bytes(data if harm == "flip" else data[: len(data) // 2])
    before = (run / "metrics.jsonl").read_bytes()
    chosen = config(engine=TWO_STEPS)
    with pytest.raises(CheckpointError, match=rf"{name}: .*; remove .*step_000002 to go on from step_000001"):
        train(create_stage(chosen, Drifting()), chosen.engine, run)
    assert (run / "metrics.jsonl").read_bytes() == before
    assert (run / "step_000001" / "state.pt").is_file()


@pytest.mark.parametrize("size", [1_000_000, 4_000_000], ids=["weights", "state"])
def test_a_full_disk_leaves_the_last_whole_checkpoint(tmp_path, size):
    chosen = config(engine={"steps": 1, "checkpoint_every": 1})
    train(create_stage(chosen, Drifting()), chosen.engine, tmp_path)
    assert (tmp_path / "last" / "state.pt").stat().st_size > 4_000_000
    onward = config(engine={"steps": 2, "checkpoint_every": 1})
    with files_at_most(size), pytest.raises(OSError) as caught:
        train(create_stage(onward, Drifting()), onward.engine, tmp_path)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(tmp_path / "step_000002"))
    assert [name for name in names(tmp_path) if "step" in name] == ["step_000001"]
    report = train(create_stage(onward, Drifting()), onward.engine, tmp_path)
    assert (report.resumed, report.steps) == (1, 2)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError) as caught:
        write(tmp_path / "file" / "run", 1)
    assert caught.value.errno in (errno.ENOTDIR, errno.EEXIST)
    assert str(tmp_path / "file") in str(caught.value.filename)


def test_a_checkpoint_of_another_model_is_refused(run):
    other = config(encoder="videomae_small_p16_t16")
    with pytest.raises(CheckpointError, match=r"is of another model, which .* shows: .* there, .* here"):
        train(create_stage(other, Drifting()), other.engine, run)


def test_an_average_that_is_not_there_is_told(run):
    averaged = config(engine={"steps": 3, "ema": 0.9})
    with pytest.raises(CheckpointError, match=r"ema.safetensors: no such file; was the run begun with other settings"):
        train(create_stage(averaged, Drifting()), averaged.engine, run)


def test_reading_weights_of_a_checkpoint_by_mistake_says_what_it_is(tmp_path):
    write(tmp_path, 1)
    with pytest.raises(WeightsError, match=r"is a folder; name one of its files: model\.safetensors"):
        create_stage(config(weights=str(tmp_path / "last")), Drifting())


def test_the_mode_of_a_checkpoint_is_that_of_its_run(tmp_path):
    os.chmod(tmp_path, 0o755)
    write(tmp_path, 1)
    assert (tmp_path / "step_000001").stat().st_mode & 0o777 == 0o755
