"""Tensors by one set of names fitted to a model's, or one error that lists all that does not fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from navloop.encoders.mismatch import Mismatch, grouped, nearest
from navloop.encoders.routes import Route
from navloop.weights import WeightsError

_LAYER = re.compile(r"((?:.*?\.)?)(\d+)(\..*)")
_DEPTH_FIELDS = {
    "captioner.layers.": "captioner.layers",
    "video.global_blocks.": "the number of video.taps",
    "video.blocks.": "video.trunk.depth",
    "text.blocks.": "text.trunk.depth",
    "decoder.blocks.": "decoder.depth",
    "blocks.": "trunk.depth",
}


@dataclass(frozen=True, slots=True)
class Fitted:
    """What of a file goes into a model."""

    state: dict[str, Tensor]
    """By the model's names."""
    dropped: tuple[str, ...]
    """The file's names for what the model has no place for."""
    missing: tuple[str, ...]
    """The model's names that stay as initialised."""


def fit(
    state: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    route: Route,
    theirs: Callable[[str], str | None] = lambda name: name,
    fresh: Sequence[str] = (),
) -> Fitted:
    """Return what of `state` fills `wanted`.

    Args:
        state: Tensors by a layout's names.
        wanted: The model's tensors by its names.
        route: How names change, and which may be left over or stay as initialised.
        theirs: From a layout's name to that in the file; None if a file has no such thing.
        fresh: Beginnings of the model's names that are to stay as initialised, whatever the file has for them.

    Raises:
        WeightsError: If anything else is missing, left over or of another shape; it lists all of it.
    """
    _check_begin(fresh, wanted)
    found: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    dropped = []
    for name, tensor in state.items():
        target, file_name = route.rename(name), theirs(name) or name
        if _has_no_place(name, route, wanted) or target.startswith(tuple(fresh)):
            dropped.append(file_name)
            continue
        origin[target] = file_name
        found[target] = route.adapt(target, tensor, wanted[target]) if target in wanted else tensor
    missing = [name for name in wanted if name not in found]
    spared = tuple(start for start in route.fresh if not any(_template(name).startswith(start) for name in found))
    excused = [name for name in missing if _template(name).startswith(spared) or name.startswith(tuple(fresh))]
    odd_stacks = _odd_stacks(found, wanted, excused)
    wrong = Mismatch(faults=[_depth_fault(stack, *depths) for stack, depths in odd_stacks.items()])
    wrong.faults += _shape_faults(found, wanted, origin)
    odd = tuple(odd_stacks)
    wrong.unexpected += [origin[name] for name in found if name not in wanted and not name.startswith(odd)]
    absent = [name for name in missing if name not in excused and not name.startswith(odd)]
    wrong.missing += [_in_file(name, route, theirs) for name in absent]
    if wrong:
        raise WeightsError(wrong.message([_in_file(name, route, theirs) for name in absent or wanted]))
    return Fitted(found, tuple(dropped), tuple(excused))


def _has_no_place(name: str, route: Route, wanted: Iterable[str]) -> bool:
    if name.startswith(route.left):
        return True
    spare = next((start for start in route.spare if name.startswith(start)), None)
    return spare is not None and not any(key.startswith(route.rename(spare)) for key in wanted)


def _in_file(target: str, route: Route, theirs: Callable[[str], str | None]) -> str:
    """Return what the file calls one of the model's names; that name itself if files have no such thing."""
    rest = target.removeprefix(route.prefix)
    old, new = route.below
    candidates = ([old + rest[len(new) :]] if rest.startswith(new) else []) + [rest]
    return next((name for c in candidates if route.rename(c) == target and (name := theirs(c)) is not None), target)


def _odd_stacks(found: Iterable[str], wanted: Iterable[str], excused: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Return the stacks of layers of which the file and the model have different numbers."""
    in_file, in_model = _depths(found), _depths(name for name in wanted if name not in set(excused))
    return {
        stack: (in_file.get(stack, 0), depth) for stack, depth in in_model.items() if in_file.get(stack, 0) != depth
    }


def _depths(names: Iterable[str]) -> dict[str, int]:
    depths: dict[str, int] = {}
    for name in names:
        if match := _LAYER.fullmatch(name):
            depths[match[1]] = max(depths.get(match[1], 0), int(match[2]) + 1)
    return depths


def _depth_fault(stack: str, in_file: int, in_model: int) -> str:
    field = next((field for end, field in _DEPTH_FIELDS.items() if stack.endswith(end)), f"the depth of {stack}*")
    if not in_file and stack.startswith("captioner."):
        return f"the file has no caption decoder, the model one of {in_model} layers: create it with captioner=None"
    return f"{stack}*: {in_file} layers in the file, {in_model} in the model: configure {field} to be {in_file}"


def _shape_faults(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], origin: Mapping[str, str]) -> list[str]:
    odd: dict[tuple[torch.Size, torch.Size, str], list[str]] = {}
    for name, tensor in found.items():
        if name in wanted and tensor.shape != wanted[name].shape:
            kind = (tensor.shape, wanted[name].shape, _shape_hint(name, tensor, wanted[name]))
            odd.setdefault(kind, []).append(origin[name])
    return [
        f"{'; '.join(grouped(names))}: {tuple(in_file)} in the file, {tuple(in_model)} in the model{hint}"
        for (in_file, in_model, hint), names in odd.items()
    ]


def _shape_hint(name: str, in_file: Tensor, in_model: Tensor) -> str:
    if name.endswith("temporal_positions"):
        return f": the file is for {in_file.shape[1]} frames, the model for {in_model.shape[1]}"
    if name.endswith(("head.weight", "head.bias")):
        return ": choose rows with classes=..., or begin anew with fresh=('head.',)"
    if name.endswith("positions") and not name.endswith("text.positions"):
        return f": the file is for {len(in_file) - 1} patches a frame, the model for {len(in_model) - 1}"
    return ""


def _check_begin(fresh: Sequence[str], wanted: Mapping[str, Tensor]) -> None:
    for start in fresh:
        if not any(name.startswith(start) for name in wanted):
            raise WeightsError(
                f"fresh={start!r}: no name of the model begins so; the nearest is {nearest(start, [*wanted])}"
            )


def _template(name: str) -> str:
    match = _LAYER.fullmatch(name)
    return f"{match[1]}{{}}{match[3]}" if match else name
