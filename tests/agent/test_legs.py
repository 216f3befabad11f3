"""Legs: what actions come to is what was walked, however the walker weaved."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from navloop.agent.legs import find_legs, summarise

TURN = math.radians(15)
STOP, FORWARD, LEFT, RIGHT = range(4)
walks = st.lists(st.sampled_from([FORWARD, LEFT, RIGHT]), max_size=120).map(lambda a: np.array([*a, STOP]))


def test_legs_are_turns_and_steps():
    actions = np.array([LEFT] * 6 + [FORWARD] * 9 + [RIGHT] * 3 + [FORWARD] * 4 + [STOP])
    np.testing.assert_allclose(find_legs(actions, TURN), [[math.pi / 2, 9, 0], [-math.pi / 4, 4, 15]])
    assert summarise(actions, TURN, 0.25) == "left 90, 2.25 m, right 45, 1.00 m"


def test_a_walker_who_weaves_stays_on_its_leg():
    weaving = np.array([FORWARD, LEFT, FORWARD, FORWARD, RIGHT, RIGHT, FORWARD, LEFT, FORWARD, STOP])
    np.testing.assert_allclose(find_legs(weaving, TURN), [[0, 5, 0]])
    assert summarise(weaving, TURN, 0.25) == "1.25 m"


def test_small_turns_that_add_up_are_a_turn():
    curve = np.array([FORWARD, LEFT, FORWARD, LEFT, FORWARD, LEFT, FORWARD, STOP])
    np.testing.assert_allclose(find_legs(curve, TURN), [[0, 3, 0], [math.radians(45), 1, 5]])


def test_turns_at_the_end_are_a_leg_of_no_steps():
    looked_back = np.array([FORWARD, *[RIGHT] * 12, STOP])
    np.testing.assert_allclose(find_legs(looked_back, TURN), [[0, 1, 0], [-math.pi, 0, 1]])
    assert summarise(looked_back, TURN, 0.25).startswith("0.25 m, ")


@pytest.mark.parametrize("actions", [[STOP], [], [LEFT, RIGHT, STOP]])
def test_a_walk_that_went_nowhere_has_no_legs(actions):
    assert find_legs(np.array(actions, dtype=np.int64), TURN).shape == (0, 3)
    assert summarise(np.array(actions, dtype=np.int64), TURN, 0.25) == "nothing"


@given(walks)
def test_no_step_is_lost_and_the_heading_is_right_within_what_is_called_weaving(actions):
    legs = find_legs(actions, TURN)
    assert legs[:, 1].sum() == (actions == FORWARD).sum()
    assert (np.diff(legs[:, 2]) > 0).all()
    heading = TURN * ((actions == LEFT).sum() - (actions == RIGHT).sum())
    assert abs(legs[:, 0].sum() - heading) < math.radians(32) or len(actions) == 1
    assert (np.abs(legs[1:, 0]) >= math.radians(32)).all()  # or it would be the same leg


@given(walks)
def test_a_mirrored_walk_has_mirrored_legs(actions):
    swapped = np.array([STOP, FORWARD, RIGHT, LEFT])[actions]
    np.testing.assert_allclose(find_legs(swapped, TURN), find_legs(actions, TURN) * [-1, 1, 1], atol=1e-9)
