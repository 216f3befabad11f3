"""One episode of an R2R-VLNCE or RxR-VLNCE file: from its JSON object to a record, checked, and back without loss.

What a record has no place for stays in its `extra`, so that a row read and written is the row there was: unknown fields, ids that are
text though they look like numbers, further goals. Errors here name field, value and mend; `episodes` adds file and episode.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navloop.envs.simulator import Action
from navloop.geometry import Vector
from navloop.records import Episode, GroundTruth, Instruction

SCENES_PREFIX = "data/scene_datasets/"
"""What habitat writes before scene ids; it is dropped here, as habitat-lab's loader does."""

LANGUAGE = "en-US"
"""Language of instructions whose file does not say."""

_FIELDS = {
    "episode_id", "trajectory_id", "scene_id", "start_position", "start_rotation", "info", "goals", "instruction", "reference_path",
}  # fmt: skip
_TOLD = {"instruction_text", "instruction_tokens", "language"}
_TRUTH = {"locations", "actions", "forward_steps"}


def parse_episode(row: Any) -> Episode:
    """Return the record of one row of "episodes".

    Raises:
        ValueError: If a field is missing, of another kind or shape, or not finite.
    """
    _require(isinstance(row, dict), "the episode", row, "an object")
    goals, path = row.get("goals"), row.get("reference_path")
    info = row.get("info")
    _require(goals is None or isinstance(goals, list), "goals", goals, "a list")
    _require(info is None or isinstance(info, dict), "info", info, "an object")
    rotation = _numbers(row, "start_rotation", (4,))
    unit = abs(float(np.linalg.norm(rotation)) - 1) < 0.01
    _require(unit, "start_rotation", row["start_rotation"], "a quaternion of length 1")
    goal = goals[0] if goals else {}
    _require(isinstance(goal, dict), "goals[0]", goal, "an object")
    radius = goal.get("radius")
    _require(radius is None or _is_number(radius), "goals[0].radius", radius, "a number of metres")
    return Episode(
        episode_id=_identifier(row, "episode_id"),
        trajectory_id=_identifier(row, "trajectory_id"),
        scene_id=_text(row, "scene_id").removeprefix(SCENES_PREFIX),
        start_position=_numbers(row, "start_position", (3,)),
        start_rotation=rotation,
        instruction=_parse_instruction(_get(row, "instruction")),
        goal_position=_numbers(goal, "position", (3,), "goals[0].") if goals else None,
        goal_radius=radius,
        reference_path=_numbers(row, "reference_path", (None, 3)) if path else None,
        info=info or {},
        extra=_leftovers(row),
    )


def format_episode(episode: Episode) -> dict[str, Any]:
    """Return the row of a record, its fields in the order of the R2R-VLNCE release."""
    extra = dict(episode.extra)
    row: dict[str, Any] = {}
    for name in ("episode_id", "trajectory_id"):
        value, kept = getattr(episode, name), extra.pop(name, None)
        row[name] = kept if kept == value else _number_if_whole(value)
    row["scene_id"] = episode.scene_id
    row["start_position"] = episode.start_position.tolist()
    row["start_rotation"] = episode.start_rotation.tolist()
    row["info"] = dict(episode.info) or extra.pop("info", _ABSENT)
    row["goals"] = _format_goals(episode, extra.pop("goals", _ABSENT))
    row["instruction"] = _format_instruction(episode.instruction)
    path = episode.reference_path
    row["reference_path"] = extra.pop("reference_path", _ABSENT) if path is None else path.tolist()
    return _joined({name: value for name, value in row.items() if value is not _ABSENT}, extra)


def parse_truth(row: Any) -> GroundTruth:
    """Return the record of one episode's ground truth.

    Raises:
        ValueError: If a field is missing, of another kind or shape, or not finite.
    """
    _require(isinstance(row, dict), "the ground truth", row, "an object")
    steps = _get(row, "forward_steps")
    _require(type(steps) is int and steps >= 0, "forward_steps", steps, "a whole number, 0 or more")
    actions = None if row.get("actions") is None else _integers(row, "actions")
    if actions is not None and len(actions):
        codes = sorted(set(actions.tolist()) - set(map(int, Action)))
        _require(not codes, "actions", codes, f"codes of 0 to {max(Action):d}")
    extra = {name: value for name, value in row.items() if name not in _TRUTH or value is None}
    return GroundTruth(
        locations=_numbers(row, "locations", (None, 3)), actions=actions, forward_steps=steps, extra=extra
    )


def format_truth(truth: GroundTruth) -> dict[str, Any]:
    """Return the row of a ground truth, its fields in the order of the R2R-VLNCE release."""
    actions = {} if truth.actions is None else {"actions": truth.actions.tolist()}
    return _joined(
        {"locations": truth.locations.tolist(), **actions, "forward_steps": truth.forward_steps}, truth.extra
    )


def non_finite_field(value: Any, name: str = "") -> str | None:
    """Return the dotted name of the first number under `value` that is nan or infinite, or None."""
    if isinstance(value, float):
        return None if math.isfinite(value) else name
    if isinstance(value, dict):
        children = [(child, f"{name}.{key}" if name else str(key)) for key, child in value.items()]
    elif isinstance(value, list):
        children = [(child, f"{name}[{i}]") for i, child in enumerate(value)]
    else:
        return None
    return next((found for child, at in children if (found := non_finite_field(child, at)) is not None), None)


_ABSENT = object()


def _parse_instruction(told: Any) -> Instruction:
    _require(isinstance(told, dict), "instruction", told, "an object")
    tokens = None if told.get("instruction_tokens") is None else _integers(told, "instruction_tokens", "instruction.")
    language = told.get("language", LANGUAGE)
    _require(isinstance(language, str), "instruction.language", language, "a tag such as 'en-US'")
    extra = {name: value for name, value in told.items() if name not in _TOLD}
    if tokens is None and "instruction_tokens" in told:
        extra["instruction_tokens"] = None
    if "language" in told and not _says_language(language, extra):
        extra["language"] = language
    return Instruction(
        text=_text(told, "instruction_text", "instruction."), language=language, tokens=tokens, extra=extra
    )


def _format_instruction(instruction: Instruction) -> dict[str, Any]:
    told: dict[str, Any] = {"instruction_text": instruction.text}
    if instruction.tokens is not None:
        told["instruction_tokens"] = instruction.tokens.tolist()
    if _says_language(instruction.language, instruction.extra):
        told["language"] = instruction.language
    return _joined(told, instruction.extra)


def _says_language(language: str, extra: Mapping[str, Any]) -> bool:
    """Whether a file says the language: RxR's do (known by their instruction_id), R2R's are English and do not."""
    return language != LANGUAGE or "instruction_id" in extra or "language" in extra


def _leftovers(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a record would lose of a row."""
    extra = {name: value for name, value in row.items() if name not in _FIELDS}
    extra |= {name: row[name] for name in ("info", "goals", "reference_path") if name in row and not row[name]}
    for name in ("episode_id", "trajectory_id"):
        if isinstance(row[name], str) and _number_if_whole(row[name]) != row[name]:
            extra[name] = row[name]
    goals = row.get("goals")
    if goals and (len(goals) > 1 or goals[0].keys() != {"position", "radius"} or goals[0]["radius"] is None):
        extra["goals"] = goals
    return extra


def _format_goals(episode: Episode, kept: Any) -> Any:
    """The goals as read, unless the goal is another by now."""
    if episode.goal_position is None:
        return _ABSENT if kept else kept
    position, radius = episode.goal_position.tolist(), episode.goal_radius
    if kept is not _ABSENT and kept and kept[0]["position"] == position and kept[0].get("radius") == radius:
        return kept
    return [{"position": position} if radius is None else {"position": position, "radius": radius}]


def _joined(row: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """A row and what else its file had; what the record itself says holds."""
    return {**row, **{name: value for name, value in extra.items() if name not in row}}


def _number_if_whole(name: str) -> int | str:
    """R2R-VLNCE's ids are numbers in the file, though text everywhere else."""
    return int(name) if name.isascii() and name.isdigit() and str(int(name)) == name else name


def _get(row: Mapping[str, Any], name: str, prefix: str = "") -> Any:
    if name not in row:
        raise ValueError(f"lacks the field {prefix}{name}; it has {', '.join(row) or 'none'}; give a whole file")
    return row[name]


def _identifier(row: Mapping[str, Any], name: str) -> str:
    value = _get(row, name)
    _require(type(value) in (int, str) and value != "", name, value, "a whole number or text")
    return str(value)


def _text(row: Mapping[str, Any], name: str, prefix: str = "") -> str:
    value = _get(row, name, prefix)
    _require(isinstance(value, str), prefix + name, value, "text")
    return str(value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _numbers(row: Mapping[str, Any], name: str, shape: tuple[int | None, ...], prefix: str = "") -> Vector:
    value = _get(row, name, prefix)
    array = _array(value)
    wanted = " x ".join("any" if length is None else str(length) for length in shape)
    if array is None or array.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, array.shape)):  # noqa: B905
        raise ValueError(_complaint(prefix + name, value, f"{wanted} numbers"))
    _require(bool(np.isfinite(array).all()), prefix + name, value, "finite numbers")
    return array.astype(np.float64, copy=False)


def _integers(row: Mapping[str, Any], name: str, prefix: str = "") -> NDArray[np.int64]:
    array = _array(row[name])
    if array is None or array.ndim != 1 or (array.size and array.dtype.kind != "i"):
        raise ValueError(_complaint(prefix + name, row[name], "a list of whole numbers"))
    return array.astype(np.int64, copy=False)


def _array(value: Any) -> NDArray[Any] | None:
    """The array of nested lists of numbers, or None where they are ragged or no numbers (numpy alone would read "1.5")."""
    try:
        array = np.array(value)
    except ValueError:
        return None
    return array if array.dtype.kind in "if" else None


def _require(holds: bool, name: str, value: Any, wanted: str) -> None:
    if not holds:
        raise ValueError(_complaint(name, value, wanted))


def _complaint(name: str, value: Any, wanted: str) -> str:
    shown = repr(value)
    shown = shown if len(shown) <= 100 else f"{shown[:100]}..."
    return f"{name} is {shown}, expected {wanted}; correct it or fetch the file again"
