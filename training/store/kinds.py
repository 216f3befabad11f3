"""What a store can hold of what is told of a walk: one value of another kind would keep all others from being read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from navloop.training.store.schema import StoredEpisode


def fault_of(about: StoredEpisode) -> str:
    """Return which field is of another kind than `StoredEpisode` says, and which was expected; empty if all are right."""
    asked = [(name, getattr(about, name), *kind) for name, kind in _KINDS.items()]
    for name, (holds, expected) in _KINDS_WITHIN.items():
        within = getattr(about, name)
        asked += [(f"a name in {name}", key, _is_text, "text") for key in within]
        asked += [(f"{name} {key}", value, holds, expected) for key, value in within.items()]
    for name, value, holds, expected in asked:
        if not holds(value):
            return f"walk of episode {about.episode_id!a}: {name} is {ascii(value)[:60]}, expected {expected}"
    return ""


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.encode("utf-8", "ignore").decode() == value  # no half of a surrogate pair


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _is_number(value: object) -> bool:
    return isinstance(value, float | bool) or _is_whole(value)


_Kind: TypeAlias = "tuple[Callable[[Any], bool], str]"

_KINDS: Mapping[str, _Kind] = {
    **dict.fromkeys(
        ("episode_id", "trajectory_id", "scene_id", "instruction", "policy", "source", "why"), (_is_text, "text")
    ),
    **dict.fromkeys(("weights", "original_instruction"), (lambda v: v is None or _is_text(v), "text or None")),
    "seed": (lambda v: _is_whole(v) and v >= 0, "a whole number from 0 to below 2**63"),
    "round": (lambda v: v is None or _is_whole(v), "a whole number or None"),
    "success": (lambda v: isinstance(v, bool), "True or False"),
}
_KINDS_WITHIN: Mapping[str, _Kind] = {
    "metrics": (_is_number, "a number"),
    "extra": (lambda v: _is_text(v) or _is_number(v), "text or a number"),
}
"""What fields of `StoredEpisode` may hold, and how to say it."""
