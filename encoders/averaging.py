"""Weights between those of two models of one shape: WiSE-FT."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from navloop.encoders.mismatch import Mismatch
from navloop.weights import WeightsError

_VISUAL_BLOCK = re.compile(r"(?:.*\.)?video\.blocks\.(\d+)\..*")


@dataclass(frozen=True, slots=True)
class Averaged:
    """A model between two, and which of its tensors are."""

    state: dict[str, Tensor]
    averaged: tuple[str, ...]
    """Names of the means."""
    kept: tuple[str, ...]
    """Names of what is as in the first model."""


def wise_ft(
    state_a: Mapping[str, Tensor],
    state_b: Mapping[str, Tensor],
    weight: float = 0.5,
    keys: Callable[[str], bool] | None = None,
) -> Averaged:
    """Average what two models have in common.

    A tuned model that is averaged with the one it came from keeps more of what that one knew.

    Args:
        state_a: Tensors by our names, as `state_dict()` gives them; whatever is not averaged is taken from here.
        state_b: The other model's; `released_state` reads them from a file. It may lack names of `state_a`.
        weight: Share of `state_b`, in [0, 1].
        keys: Which names to average; None for all that both have. See `visual_blocks_below`.

    Returns:
        The tensors, in the types of `state_a`, and which were averaged. Counts and other integers never are.

    Raises:
        WeightsError: If the weight is outside [0, 1], `state_b` has a name or a shape that `state_a` has not, or
            nothing is averaged.

    Source: Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022.
    """
    if not 0 <= weight <= 1:
        raise WeightsError(f"weight {weight} is outside [0, 1]")
    chosen = [name for name in state_b if keys is None or keys(name)]
    wrong = Mismatch(unexpected=[name for name in chosen if name not in state_a])
    wrong.faults += [
        f"{name} is {tuple(state_a[name].shape)} in the first, {tuple(state_b[name].shape)} in the second"
        for name in chosen
        if name in state_a and state_a[name].shape != state_b[name].shape
    ]
    if wrong:
        raise WeightsError(f"two models of different shapes have no mean:\n{wrong.message(state_a)}")
    averaged = tuple(name for name in chosen if state_a[name].is_floating_point())
    if not averaged:
        raise WeightsError("nothing to average: no name of the second model is chosen; check `keys`")
    means = {name: _between(state_a[name], state_b[name], weight) for name in averaged}
    return Averaged({**state_a, **means}, averaged, tuple(name for name in state_a if name not in means))


def visual_blocks_below(number: int) -> Callable[[str], bool]:
    """Return a choice of `keys`: no block of the video tower from `number` on, and no logit scale.

    The released question-answering and zero-shot code averages `visual_blocks_below(12)`: only half of L/14's blocks.

    Source: InternVideo1/Downstream/multi-modalities-downstream/CoTrain/modules/clip_param_keys.py.
    """

    def chosen(name: str) -> bool:
        block = _VISUAL_BLOCK.fullmatch(name)
        return not name.endswith("logit_scale") and (block is None or int(block[1]) < number)

    return chosen


def _between(a: Tensor, b: Tensor, weight: float) -> Tensor:
    wide = torch.promote_types(a.dtype, torch.float32)
    return torch.lerp(a.detach().to(wide), b.detach().to(a.device, wide), weight).to(a.dtype)
