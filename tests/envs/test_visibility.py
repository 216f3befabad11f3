"""Rooms in sight: by hand in three rooms, and the same whatever was asked before."""

import functools
import math

import numpy as np
import pytest
from glb_scenes import three_rooms
from hypothesis import given, settings
from hypothesis import strategies as st

from navloop.envs.embedded.visibility import Visibility
from navloop.envs.houses.generate import generate_house


@functools.cache
def described(seed):
    return generate_house(seed).description


def test_from_the_middle_of_a_row_the_neighbours_are_seen_where_the_doors_are():
    rooms = three_rooms()[1]
    sight = Visibility(rooms)
    middles = {room.name: np.mean(room.polygon, axis=0) for room in rooms.rooms}
    around = {name: sight.seen_from(*middle, 0.0, None) for name, middle in middles.items()}
    assert all(name in seen for name, seen in around.items())
    for portal in rooms.portals:
        first, second = portal.rooms
        if portal.kind != "window" and first and second:
            (x, z), door = middles[first], np.mean(portal.segment, axis=0)
            heading = math.atan2(x - door[0], z - door[1])
            assert second in sight.seen_from(x, z, heading, math.pi / 2)
            assert second not in sight.seen_from(x, z, heading + math.pi, math.pi / 4)


@pytest.mark.parametrize("seed", [0, 1])
@settings(max_examples=12)
@given(draw=st.integers(0, 10**6))
def test_answers_do_not_depend_on_the_questions_before(seed, draw):
    asked, rng = Visibility(described(seed)), np.random.default_rng(draw)
    low = np.min([np.min(r.polygon, axis=0) for r in described(seed).rooms], axis=0) - 0.5
    high = np.max([np.max(r.polygon, axis=0) for r in described(seed).rooms], axis=0) + 0.5
    x, z = rng.uniform(low, high)
    for _ in range(30):
        if rng.random() < 0.4:  # else a turn on the spot
            x, z = np.clip([x, z] + rng.normal(0, 0.3, 2), low, high)
        heading, hfov = rng.uniform(-4, 4), rng.choice([None, 1.0, math.pi / 2])
        fresh = Visibility(described(seed))
        assert asked.seen_from(x, z, heading, hfov) == fresh.seen_from(x, z, heading, hfov)


@given(draw=st.integers(0, 10**6))
def test_outside_the_house_every_room_may_be_seen(draw):
    sight, rng = Visibility(described(0)), np.random.default_rng(draw)
    angle = rng.uniform(0, math.tau)
    seen = sight.seen_from(100 * math.cos(angle), 100 * math.sin(angle), rng.uniform(-4, 4), 1.0)
    assert seen == frozenset(room.name for room in described(0).rooms)
