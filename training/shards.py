"""Weights in shards (FSDP): what of a stage has to change for it, and how its checkpoints stay those of whole weights.

Shards cut a parameter along its first dimension, which a single number lacks: CLIP's temperature, a gate, a fusion weight. In
shards each is a row of one number, which multiplies as the number does; in checkpoints and files it is a number again, so that
a run can go on with the other launch.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from torch import Tensor, nn

from navloop.configs.engine import EngineConfig


def prepare_for_shards(stage: nn.Module, config: EngineConfig) -> frozenset[str]:
    """Make each single number among a stage's parameters a row of one; return their names.

    Raises:
        ValueError: If a moving average is wanted, before there is a checkpoint that lacks it.
    """
    if config.ema is not None:
        raise ValueError("engine.ema: weights in shards (FSDP) have no moving average; take engine.ema=null, or DDP")
    numbers = {name: weight for name, weight in stage.named_parameters() if not weight.ndim}
    for name, weight in numbers.items():
        owner, _, own = name.rpartition(".")
        row = nn.Parameter(weight.detach().reshape(1), requires_grad=weight.requires_grad)
        setattr(stage.get_submodule(owner), own, row)
    return frozenset(numbers)


def reshape_numbers(
    numbers: frozenset[str], weights: MutableMapping[str, Any], optimizer: dict[str, Any], shape: tuple[int, ...]
) -> None:
    """Give those parameters, and what an optimiser keeps of each, another shape: () in files, (1,) in shards.

    Args:
        numbers: Names of the parameters.
        weights: The model's tensors by name; changed.
        optimizer: State by the parameters' names, as `get_optimizer_state_dict` gives it; changed.
        shape: Of one number.
    """
    for name in numbers & weights.keys():
        weights[name] = weights[name].reshape(shape)
    for name in numbers & optimizer["state"].keys():
        for key, value in optimizer["state"][name].items():
            if isinstance(value, Tensor) and key != "step":  # which is a number of the optimiser's own
                optimizer["state"][name][key] = value.reshape(shape)
