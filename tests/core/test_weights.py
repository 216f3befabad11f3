import argparse
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from navloop.weights import Weights, WeightsError, digest, read_weights, unwrap, write_weights

STATE = {
    "blocks.0.weight": torch.arange(6, dtype=torch.float32).view(2, 3),
    "half": torch.tensor([1.5, -2.0], dtype=torch.float16),
    "brain": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "steps": torch.tensor(7),
    "none": torch.zeros(0, 4),
    "mask": torch.tensor([True, False]),
}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)


class Command:
    """What an attacker puts into a pickle."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "has run"


def test_torch_is_not_needed_to_import():
    code = "import navloop.weights, sys; assert 'torch' not in sys.modules and 'safetensors' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_safetensors_file_comes_back_as_written(tmp_path):
    write_weights(tmp_path / "w.safetensors", STATE, {"step": "3", "of": "tower"})
    assert equal(read_weights(tmp_path / "w.safetensors").state, STATE)
    assert read_weights(tmp_path / "w.safetensors").metadata == {"step": "3", "of": "tower"}
    assert equal(load_file(tmp_path / "w.safetensors"), STATE)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("container", ["model", "module", "state_dict", "model_state", "flat"])
def test_torch_file_is_read_out_of_its_container(tmp_path, container, zipped):
    content = dict(STATE) if container == "flat" else {container: STATE, "optimizer": {"state": {0: torch.ones(2)}}}
    content |= {"epoch": 800, "recipe": "hybrid"}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    weights = read_weights(tmp_path / "w.pth")
    assert equal(weights.state, STATE)
    assert weights.metadata == {"container": container, "epoch": "800", "recipe": "hybrid"}


def test_kind_of_file_shows_in_its_bytes_not_its_name(tmp_path):
    write_weights(tmp_path / "w.pth", STATE)
    torch.save(STATE, tmp_path / "w.safetensors")
    assert equal(read_weights(tmp_path / "w.pth").state, read_weights(tmp_path / "w.safetensors").state)


def test_arguments_numbers_and_paths_beside_the_tensors_are_no_code(tmp_path):
    beside = {
        "args": argparse.Namespace(lr=1e-3, output=tmp_path, sizes=[1, 2]),
        "best": np.float64(0.5),
        "seen": np.int64(3),
        "order": np.arange(4),
        "folder": tmp_path,
    }
    torch.save({"model": STATE, **beside}, tmp_path / "w.pth")
    assert equal(read_weights(tmp_path / "w.pth").state, STATE)


def test_numbers_of_old_numpy_are_no_code(tmp_path):
    torch.save({"model": STATE, "best": np.float32(0.5)}, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    data = (tmp_path / "w.pth").read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core.multiarray" in data
    (tmp_path / "w.pth").write_bytes(data)
    assert equal(read_weights(tmp_path / "w.pth").state, STATE)


def test_records_of_training_code_are_read_without_that_code(tmp_path):
    torch.save({"state_dict": STATE, "callbacks": "PLACE"}, tmp_path / "w.ckpt")
    callback = b"cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\n"
    replace_pickle(
        tmp_path / "w.ckpt", lambda data: data.replace(b"X\x05\x00\x00\x00PLACE", b"}" + callback + b"K\x01s")
    )
    assert equal(read_weights(tmp_path / "w.ckpt").state, STATE)
    assert "pytorch_lightning" not in sys.modules


@pytest.mark.parametrize("zipped", [True, False])
def test_file_with_a_command_is_refused_and_does_not_run(tmp_path, marker, zipped):
    content = {"model": STATE, "args": Command(f"touch '{marker}'")}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        WeightsError, match=r"w\.pth: asks Python for more than data \(\w+\.system\).*weights_only=False"
    ):
        read_weights(tmp_path / "w.pth")
    assert not marker.exists()


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_bare_pickle_with_a_command_is_refused_and_does_not_run(tmp_path, marker, protocol):
    (tmp_path / "w.bin").write_bytes(pickle.dumps({"model": Command(f"touch '{marker}'")}, protocol=protocol))
    with pytest.raises(WeightsError, match=r"w\.bin: "):
        read_weights(tmp_path / "w.bin")
    assert not marker.exists()


@pytest.mark.parametrize("hidden", ["builtins.eval", "builtins.getattr", "torch.load", "torch.hub.load", "pty.spawn"])
def test_any_callable_beyond_data_is_refused(tmp_path, hidden):
    module, name = hidden.rsplit(".", 1)
    call = f"c{module}\n{name}\n(tR.".encode()
    torch.save({"model": STATE}, tmp_path / "w.pth")
    replace_pickle(tmp_path / "w.pth", lambda _: call)
    with pytest.raises(WeightsError, match=f"more than data .*{name}"):
        read_weights(tmp_path / "w.pth")


def replace_pickle(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Put another pickle into a torch file."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, change(content) if name.endswith("data.pkl") else content)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_whole_model_and_torchscript_are_refused_with_the_mend(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "model.pth")
    with pytest.raises(WeightsError, match=r"torch\.nn\.modules\.linear\.Linear"):
        read_weights(tmp_path / "model.pth")
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(tmp_path / "script.pt")
    with pytest.raises(WeightsError, match=r"TorchScript.*torch\.jit\.load\('script\.pt'"):
        read_weights(tmp_path / "script.pt")


@pytest.mark.parametrize("writer", ["safetensors", "zip", "legacy"])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_file_cut_short_is_refused(tmp_path, writer, share):
    path, state = tmp_path / "w.pth", {"weight": torch.randn(300, 40)}
    if writer == "safetensors":
        write_weights(path, state)
    else:
        torch.save({"model": state}, path, _use_new_zipfile_serialization=writer == "zip")
    data = path.read_bytes()
    path.write_bytes(data[: max(int(share * len(data)), 1)])
    with pytest.raises(WeightsError, match=r"w\.pth: .*(download|check|more than data)"):
        read_weights(path)


@pytest.mark.parametrize("writer", ["safetensors", "zip", "legacy"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@given(damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_file_is_read_or_refused_and_nothing_else(tmp_path_factory, writer, damage):
    path = tmp_path_factory.mktemp("damaged") / "w.pth"
    if writer == "safetensors":
        write_weights(path, STATE, {"step": "3"})
    else:
        beside = {"args": argparse.Namespace(lr=1), "best": np.float64(1)}
        torch.save({"model": STATE, **beside}, path, _use_new_zipfile_serialization=writer == "zip")
    data = bytearray(path.read_bytes())
    for place, value in damage:
        data[int(place * len(data))] = value
    path.write_bytes(data)
    try:
        assert read_weights(path).state
    except WeightsError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs\noid sha256:0\nsize 3\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>quota exceeded</html>", "is a web page"),
        (b"just some text that is no file of weights at all", "neither"),
        (b"PK\x03\x04 and no archive", "damaged"),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path, data, message):
    (tmp_path / "w.pth").write_bytes(data)
    with pytest.raises(WeightsError, match=rf"w\.pth: .*{message}"):
        read_weights(tmp_path / "w.pth")


def test_missing_file_and_folder_are_named(tmp_path):
    with pytest.raises(WeightsError, match=r"no\.pth: no such file"):
        read_weights(tmp_path / "no.pth")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.safetensors").touch()
    with pytest.raises(WeightsError, match=r"run: is a folder.*model\.safetensors"):
        read_weights(tmp_path / "run")


def test_numpy_archive_is_no_weights(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.ones(3))
    with pytest.raises(WeightsError, match="no torch file"):
        read_weights(tmp_path / "w.npz")


def test_content_without_tensors_lists_what_is_there():
    with pytest.raises(WeightsError, match="there is config, optim_state"):
        unwrap({"config": {"a": 1}, "optim_state": {}, "iteration": 5})
    with pytest.raises(WeightsError, match="each of model, module"):
        unwrap({"model": STATE, "module": STATE})
    with pytest.raises(WeightsError, match="holds a list"):
        unwrap([torch.ones(1)])
    with pytest.raises(WeightsError, match="nothing"):
        unwrap({})


def test_content_is_unwrapped_once():
    nested = {"model": {"model": torch.ones(1), "b": torch.ones(2)}}
    assert unwrap(nested) == Weights(nested["model"], {"container": "model"})


def test_tensors_that_share_memory_are_written_one_by_one(tmp_path):
    weight = torch.randn(4, 4)
    tied = {"in.weight": weight, "out.weight": weight, "row": weight[1], "turned": weight.T, "p": nn.Parameter(weight)}
    write_weights(tmp_path / "w.safetensors", tied)
    assert equal(read_weights(tmp_path / "w.safetensors").state, {k: v.detach() for k, v in tied.items()})


def test_writing_refuses_what_it_cannot_keep_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "w.safetensors"
    write_weights(path, STATE)
    with pytest.raises(ValueError, match=r"blocks\.0 has no bytes"):
        write_weights(path, {"blocks.0": torch.empty(2, device="meta")})
    with pytest.raises(TypeError, match="metadata 'step' is 3"):
        write_weights(path, STATE, {"step": 3})
    assert equal(read_weights(path).state, STATE)
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.safetensors"]


def test_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        write_weights(tmp_path / "file" / "w.safetensors", STATE)


@pytest.mark.parametrize("names", range(40))
def test_safetensors_file_of_any_header_length_is_known(tmp_path, names):
    state = {"n" * (names + 1): torch.zeros(1)}
    write_weights(tmp_path / "w", state)
    assert equal(read_weights(tmp_path / "w").state, state)


def test_digest_is_of_the_tensors_and_not_of_the_file(tmp_path):
    write_weights(tmp_path / "w.safetensors", STATE, {"step": "1"})
    torch.save({"model": dict(reversed(STATE.items())), "epoch": 3}, tmp_path / "w.pth")
    known = digest(STATE)
    assert known == digest(tmp_path / "w.safetensors") == digest(tmp_path / "w.pth")
    assert known.startswith("sha256:")
    assert len(known) == len("sha256:") + 16


def test_digest_stays_the_same_from_version_to_version():
    state = {"b": torch.arange(3, dtype=torch.float32), "a": torch.tensor([[1, 2]])}
    assert digest(state) == "sha256:50d85de2b82eb9ca"


@given(st.integers(0, 3), st.integers(0, 5), st.integers(1, 255))
def test_digest_changes_with_any_byte(tensor, place, flip):
    state = {name: torch.arange(6, dtype=torch.uint8) for name in "abcd"}
    changed = {name: values.clone() for name, values in state.items()}
    changed["abcd"[tensor]][place] ^= flip
    assert digest(changed) != digest(state)


def test_digest_changes_with_name_type_and_shape():
    plain = torch.zeros(4)
    variants = [{"a": plain}, {"b": plain}, {"a": plain.view(2, 2)}, {"a": plain.int()}, {"a": plain, "b": plain}]
    assert len({digest(state) for state in variants}) == len(variants)


def test_digest_is_of_values_not_of_strides():
    weight = torch.randn(5, 7)
    assert digest({"a": weight.T}) == digest({"a": weight.T.contiguous()})
    assert digest({"a": torch.zeros(3, device="meta")}).startswith("meta:")


def test_weights_know_the_file_that_they_are_from(tmp_path):
    write_weights(tmp_path / "w.safetensors", {"x": torch.zeros(2)})
    assert read_weights(tmp_path / "w.safetensors").origin == str(tmp_path / "w.safetensors")
    assert unwrap({"x": torch.zeros(2)}).origin == ""
