"""What the actions of a walk come to: straight legs, each with the turn before it. No frames, no words."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from navloop.envs.simulator import Action
from navloop.geometry import Vector, wrap_angle

WEAVE = math.radians(32)
"""Radians that a walker may weave without it being another leg; what tours call a turn worth a word."""

Actions = NDArray[np.int64]


def find_legs(actions: Actions, turn: float) -> Vector:
    """Return the straight legs of a walk.

    Steps are of one leg as long as their heading is within `WEAVE` of its first step's. Turns that no step follows, as at a walk's end,
    are a leg of no steps.

    Args:
        actions: int64 (S,), codes of `Action`.
        turn: Radians of LEFT and RIGHT.

    Returns:
        float64 (K, 3): radians turned before the leg, from the heading of the one before, positive to the left, not wrapped for the
        first; steps forward; number of the action that it begins with.
    """
    legs: list[list[float]] = []
    heading = 0.0
    along = 0.0  # heading of the newest leg
    pending = 0
    for number, action in enumerate(np.asarray(actions).tolist()):
        if action in (Action.LEFT, Action.RIGHT):
            heading += turn if action == Action.LEFT else -turn
        elif action == Action.FORWARD:
            if not legs or abs(heading - along) >= WEAVE:
                legs.append([heading - along, 0.0, float(pending)])
                along = heading
            legs[-1][1] += 1
            pending = number + 1
    if abs(heading - along) >= WEAVE:
        legs.append([heading - along, 0.0, float(pending)])
    return np.array(legs, dtype=np.float64).reshape(-1, 3)


def summarise(actions: Actions, turn: float, step: float) -> str:
    """Return what actions come to, in words: "left 90, 2.25 m, right 45, 1.00 m".

    Args:
        actions: int64 (S,).
        turn: Radians of LEFT and RIGHT.
        step: Metres of FORWARD.
    """
    words = []
    for angle, steps, _ in find_legs(actions, turn).tolist():
        degrees = math.degrees(wrap_angle(angle))
        if round(degrees):
            words.append(f"{'left' if degrees > 0 else 'right'} {abs(degrees):.0f}")
        if steps:
            words.append(f"{steps * step:.2f} m")
    return ", ".join(words) or "nothing"
