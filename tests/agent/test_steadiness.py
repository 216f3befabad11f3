"""Steadiness: a walker that would turn left and right forever is made to do something else, and nobody else is."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from navloop.agent.steadiness import Turns

STOP, FORWARD, LEFT, RIGHT = range(4)


def barred_after(*actions: int, angle: float = math.radians(15)) -> list[int]:
    turns = Turns(angle)
    for action in actions:
        turns.note(action)
    return turns.barred()


def test_turning_back_is_allowed_once_between_two_steps() -> None:
    assert barred_after() == barred_after(LEFT) == barred_after(LEFT, LEFT) == []
    assert barred_after(LEFT, RIGHT) == [LEFT]
    assert barred_after(RIGHT, LEFT, LEFT) == [RIGHT]
    assert barred_after(LEFT, RIGHT, FORWARD) == barred_after(LEFT, FORWARD, RIGHT, FORWARD, LEFT) == []


@pytest.mark.parametrize("degrees", [15, 30])
def test_nobody_turns_further_than_once_around(degrees: int) -> None:
    around = 360 // degrees
    assert barred_after(*[LEFT] * (around - 1), angle=math.radians(degrees)) == []
    assert barred_after(*[LEFT] * around, angle=math.radians(degrees)) == [LEFT, RIGHT]


@given(st.lists(st.sampled_from([LEFT, RIGHT]), max_size=200))
def test_whoever_wants_only_turns_comes_to_an_end(wishes: list[int]) -> None:
    turns, done = Turns(math.radians(15)), 0
    for wish in wishes:
        if wish in turns.barred():
            continue
        turns.note(wish)
        done += 1
    assert done <= 24


@given(st.integers(1, 12), st.sampled_from([(LEFT, RIGHT), (RIGHT, LEFT)]))
def test_the_way_back_of_who_turned_too_far_is_open(too_far: int, sides: tuple[int, int]) -> None:
    wrong, right = sides
    for done in range(too_far):
        assert right not in barred_after(*[wrong] * too_far, *[right] * done)
