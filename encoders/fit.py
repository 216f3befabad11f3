"""Tensors by one set of names fitted to a model's, or one error that lists all that does not fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

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
# What shows in a name: what it is, the option with it, the option without it.
_OPTIONS = {
    "video.balance": ("balance of video and frames", "video.balance=True", "video.balance=False"),
    ".local1.": ("local mixing before attention", "video.local='single' or 'double'", "video.local='none'"),
    ".local2.": ("local mixing after attention", "video.local='double'", "video.local='single' or 'none'"),
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
    untrained: tuple[str, ...]
    """Those of them on which what the model computes rests."""


def fit(
    state: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    route: Route,
    theirs: Callable[[str], str | None] = lambda name: name,
    fresh: Sequence[str] = (),
    known: Mismatch | None = None,
) -> Fitted:
    """Return what of `state` fills `wanted`.

    Args:
        state: Tensors by a layout's names.
        wanted: The model's tensors by its names.
        route: How names change, and which may be left over or stay as initialised.
        theirs: From a layout's name to that in the file; None if a file has no such thing.
        fresh: Beginnings of the model's names that are to stay as initialised, whatever the file has for them.
        known: What is wrong already, by the file's names, to be listed with the rest.

    Raises:
        WeightsError: If anything else is missing, left over or of another shape; it lists all of it.
    """
    _check_begin(fresh, wanted)
    matched = _match(state, wanted, route, theirs, tuple(fresh))
    found = matched.found
    missing = [name for name in wanted if name not in found]
    spared = tuple(start for start in route.fresh if not any(_template(name).startswith(start) for name in found))
    excused = [name for name in missing if _template(name).startswith(spared) or name.startswith(tuple(fresh))]
    depths = _odd_depths(found, wanted, excused)
    odd = tuple(depths)
    absent = [name for name in missing if name not in excused and not name.startswith(odd)]
    wrong = Mismatch() if known is None else known
    wrong.missing = list(dict.fromkeys([*wrong.missing, *(_in_file(name, route, theirs) for name in absent)]))
    wrong.unexpected += [matched.origin[name] for name in found if name not in wanted and not name.startswith(odd)]
    wrong.faults += [_depth_fault(stack, *numbers) for stack, numbers in depths.items()]
    wrong.faults += _shape_faults(found, wanted, matched.origin)
    wrong.faults += _type_faults(found, wanted, matched.origin)
    wrong.faults += _option_hints([*absent], [name for name in found if name not in wanted])
    if wrong:
        raise WeightsError(wrong.message([_in_file(name, route, theirs) for name in wanted]))
    untrained = tuple(name for name in excused if _template(name).startswith(route.untrained))
    return Fitted(found, tuple(matched.dropped), tuple(excused), untrained)


@dataclass(slots=True)
class _Matched:
    found: dict[str, Tensor] = field(default_factory=dict)
    """By the model's names."""
    origin: dict[str, str] = field(default_factory=dict)
    """From the model's names to the file's."""
    dropped: list[str] = field(default_factory=list)


def _match(
    state: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    route: Route,
    theirs: Callable[[str], str | None],
    fresh: tuple[str, ...],
) -> _Matched:
    matched = _Matched()
    for name, tensor in state.items():
        target, file_name = route.rename(name), theirs(name) or name
        if _has_no_place(name, route, wanted) or target.startswith(fresh):
            matched.dropped.append(file_name)
            continue
        matched.origin[target] = file_name
        fits = target in wanted and tensor.ndim == wanted[target].ndim
        matched.found[target] = route.adapt(target, tensor, wanted[target]) if fits else tensor
    return matched


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


def _odd_depths(found: Iterable[str], wanted: Iterable[str], excused: Iterable[str]) -> dict[str, tuple[int, int]]:
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


def _type_faults(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], origin: Mapping[str, str]) -> list[str]:
    """Refuse numbers that are not real: quantised, complex or boolean ones in place of floating ones."""
    odd: dict[tuple[torch.dtype, torch.dtype], list[str]] = {}
    for name, tensor in found.items():
        if name in wanted and wanted[name].is_floating_point() and not tensor.is_floating_point():
            odd.setdefault((tensor.dtype, wanted[name].dtype), []).append(origin[name])
    return [
        f"{'; '.join(grouped(names))}: {in_file} in the file, {in_model} in the model; save floating numbers"
        for (in_file, in_model), names in odd.items()
    ]


def _option_hints(absent: Sequence[str], unexpected: Sequence[str]) -> list[str]:
    """Say which option of the model makes it have, or not have, parts that the other side has not."""
    return [
        f"the file has {'no' if names is absent else 'a'} {part}: configure {without if names is absent else with_}"
        for end, (part, with_, without) in _OPTIONS.items()
        for names in (absent, unexpected)
        if any(end in name for name in names)
    ]


def _shape_hint(name: str, in_file: Tensor, in_model: Tensor) -> str:
    if in_file.ndim != in_model.ndim:
        return ""
    if name.endswith("temporal_positions"):
        return f": the file is for {in_file.shape[1]} frames, the model for {in_model.shape[1]}"
    if name.endswith("video.patch.weight") and in_file.shape[2] != in_model.shape[2]:
        return f": the file joins {in_file.shape[2]} frames: configure video.halve_time={in_file.shape[2] > 1}"
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
