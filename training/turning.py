"""Recorded turns made to fit a body that turns twice as far."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

from navloop.envs.simulator import Action, Body

RECORDED_TURN = math.radians(15)
"""What R2R-CE, RxR-CE and the houses were recorded with."""


def require_turns(turns: Literal["recorded", "drop", "carry"], body: Body, label: str) -> None:
    """Check that a body turns twice as far as was recorded, if turns are to be converted.

    Raises:
        ValueError: If it does not.
    """
    if turns != "recorded" and not math.isclose(body.turn, 2 * RECORDED_TURN, abs_tol=1e-6):
        raise ValueError(
            f"turns is {turns!r}, which makes turns of 30 degrees, but {label} turns by {math.degrees(body.turn):g}; "
            "take turns=recorded, or a protocol that turns by 30, such as navid-r2r"
        )


def merge_pairs(actions: Iterable[int]) -> list[int]:
    """Return actions with each two equal turns in a row made one, and odd ones left out; whatever is no turn stays.

    The heading may be off by one recorded turn more after every odd one.

    Source: github.com/jzhzhang/NaVid-VLN-CE, issue 26.
    """
    merged: list[int] = []
    waiting: int | None = None
    for action in actions:
        is_turn = action in (Action.LEFT, Action.RIGHT)
        if is_turn and waiting == action:
            merged.append(action)
            waiting = None
        else:
            waiting = action if is_turn else None
            merged += [] if is_turn else [action]
    return merged


def carry_over(actions: Iterable[int]) -> list[int]:
    """Return actions in which a turn is made as soon as two recorded ones are owed; whatever is no turn stays.

    Left and right cancel, and the heading is never off by more than one recorded turn.
    """
    made: list[int] = []
    owed = 0
    for action in actions:
        if action == Action.LEFT:
            owed += 1
        elif action == Action.RIGHT:
            owed -= 1
        else:
            made.append(action)
        if abs(owed) == 2:
            made.append(int(Action.LEFT if owed > 0 else Action.RIGHT))
            owed = 0
    return made


def convert(actions: Iterable[int], turns: Literal["recorded", "drop", "carry"]) -> list[int]:
    """Return actions with their turns as a config asks."""
    if turns == "recorded":
        return list(actions)
    return merge_pairs(actions) if turns == "drop" else carry_over(actions)
