"""Spaces and observations of the old gym, as habitat-lab has them, in gymnasium's form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from navloop.envs.navigation import characters_space


def convert_space(observed: Any, episodes: Sequence[Any]) -> spaces.Dict:
    """Return the space of a task's observations.

    Args:
        observed: habitat-lab's, a Dict by sensor.
        episodes: habitat-lab's, whose instructions the text space holds: habitat-lab itself declares an empty Dict for them.

    Raises:
        ValueError: If a sensor's space has no counterpart, naming it.
    """
    return spaces.Dict({name: _convert(name, space, episodes) for name, space in observed.spaces.items()})


def convert_action_space(actions: Any) -> tuple[spaces.Discrete, tuple[str, ...]]:
    """Return the space of a task's actions and their names by number.

    Raises:
        ValueError: If an action takes arguments, naming it.
    """
    for name, space in actions.spaces.items():
        if type(space).__name__ != "EmptySpace":
            raise ValueError(f"action {name!r} takes arguments ({space}); only tasks with discrete actions are served")
    names = _in_order(list(actions.spaces))
    return spaces.Discrete(len(names)), names


def convert_observations(seen: Mapping[str, Any], space: spaces.Dict) -> dict[str, Any]:
    """Return what the sensors saw as elements of the space: the instruction its text, everything else an array of its own."""
    frames: dict[str, Any] = {}
    for name, part in space.spaces.items():
        if isinstance(part, spaces.Text):
            frames[name] = str(seen[name]["text"])
        elif isinstance(part, spaces.Discrete):
            frames[name] = np.int64(np.asarray(seen[name]).reshape(()))
        else:
            assert part.shape is not None
            frames[name] = np.array(seen[name], dtype=part.dtype).reshape(part.shape)
    return frames


ORDER = ("stop", "move_forward", "turn_left", "turn_right", "look_up", "look_down")
"""habitat-lab's codes of its discrete actions."""


def _in_order(names: Sequence[str]) -> tuple[str, ...]:
    """Put actions in the order of their codes: habitat-lab's action space is sorted by name."""
    known = [name for name in ORDER if name in names]
    return (*known, *(name for name in names if name not in ORDER))


def _convert(name: str, space: Any, episodes: Sequence[Any]) -> spaces.Space[Any]:
    kind = type(space).__name__
    if name == "instruction" and kind == "Dict":
        return characters_space([episode.instruction.instruction_text for episode in episodes])
    if kind == "Box":
        low, high = (np.asarray(bound, dtype=space.dtype) for bound in (space.low, space.high))
        return spaces.Box(low, high, space.shape, space.dtype)
    if kind == "Discrete":
        return spaces.Discrete(int(space.n))
    raise ValueError(f"sensor {name!r} has a space without counterpart in gymnasium: {space}")
