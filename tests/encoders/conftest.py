"""The golden tensors: inputs, weights and outputs of the reference implementation, kept beside the project."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

FOLDER = Path(__file__).parents[3] / "shared" / "golden"


@dataclass(frozen=True)
class Golden:
    """One golden file."""

    config: dict[str, Any]
    """The reference's own configuration."""
    state: dict[str, Tensor]
    """Weights under the released files' names."""
    tensors: dict[str, Tensor]
    """Inputs and outputs."""


@pytest.fixture(autouse=True)
def _same_weights() -> None:
    """Draw the same first weights on every run, whichever tests run before."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Golden]:
    """Read a golden file by name, or skip the test, saying which file is missing."""

    def read(name: str) -> Golden:
        path = FOLDER / f"{name}.safetensors"
        if not path.is_file():
            pytest.skip(f"{path} is absent; it holds outputs of the reference implementation")
        with safe_open(path, "pt") as file:
            config = json.loads(file.metadata()["config"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        state = {key.removeprefix("state."): tensors.pop(key) for key in list(tensors) if key.startswith("state.")}
        return Golden(config, state, tensors)

    return read


# Parts of the released masked branch's names, and ours.
MASKED_NAMES = {
    "patch_embed.proj.": "patch.",
    "fc_norm.": "norm.",
    ".attn.": ".attention.",
    "encoder_to_decoder.": "to_decoder.",
}


@pytest.fixture(scope="session")
def rename() -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """Give weights of the masked branch our names."""

    def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
        result = {}
        for name, weight in state.items():
            for theirs, ours in MASKED_NAMES.items():
                name = name.replace(theirs, ours)
            result[name] = weight
        return result

    return renamed


@pytest.fixture(scope="session")
def from_transformers() -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """Give the weights of transformers' VideoMAE our names."""
    names = {
        "videomae.embeddings.patch_embeddings.projection.": "encoder.patch.",
        "videomae.encoder.layer.": "encoder.blocks.",
        "videomae.layernorm.": "encoder.norm.",
        "encoder_to_decoder.": "to_decoder.",
        "decoder.decoder_layers.": "decoder.blocks.",
        ".layernorm_before.": ".norm1.",
        ".layernorm_after.": ".norm2.",
        ".attention.output.dense.": ".attention.proj.",
        ".intermediate.dense.": ".mlp.fc1.",
        ".output.dense.": ".mlp.fc2.",
        ".attention.attention.query.bias": ".attention.q_bias",
        ".attention.attention.value.bias": ".attention.v_bias",
    }

    def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
        result: dict[str, Tensor] = {}
        for key, weight in state.items():
            name = key
            for theirs, ours in names.items():
                name = name.replace(theirs, ours)
            if name.endswith(".attention.query.weight"):
                stacked = [state[key.replace(".query.", f".{part}.")] for part in ("query", "key", "value")]
                result[name.replace(".attention.query.", ".qkv.")] = torch.cat(stacked)
            elif not name.endswith((".attention.key.weight", ".attention.value.weight")):
                result[name] = weight
        return result

    return renamed
