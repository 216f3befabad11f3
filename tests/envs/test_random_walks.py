"""Ten thousand random actions across fifty furnished houses leave the agent on free space and clear of every wall."""

import math

import numpy as np
import pytest

from navloop.envs.houses.generate import generate_house
from navloop.envs.houses.sites import Site, Walker
from navloop.envs.simulator import Action, Body
from navloop.geometry import Pose

ACTIONS = 200
AROUND = np.array([[math.cos(a), 0.0, math.sin(a)] for a in np.linspace(0, 2 * math.pi, 16, endpoint=False)])


@pytest.mark.parametrize("first", range(0, 50, 10))
def test_random_actions_never_leave_free_space_nor_touch_a_wall(first):
    body = Body()
    for seed in range(first, first + 10):
        house = generate_house(seed)
        site = Site(house.model, house.description, body)
        rng = np.random.default_rng(seed)
        walker = Walker(site, Pose(site.free.sample(rng), rng.uniform(-math.pi, math.pi)))
        goal = site.free.sample(rng)
        visited, moved = [], 0.0
        for action in rng.choice([Action.FORWARD, Action.LEFT, Action.RIGHT], size=ACTIONS, p=[0.7, 0.15, 0.15]):
            before = walker.pose.position
            walker.act(Action(action))
            visited.append(walker.pose.position)
            moved = max(moved, float(np.linalg.norm((walker.pose.position - before)[[0, 2]])))
        points = np.array(visited)
        assert np.isfinite(points).all()
        assert site.free.contains(points, tolerance=0.0).all()
        assert moved <= body.step + 1e-9
        assert np.isfinite(site.geodesics.distances(points[::20], goal)).all()
        # Rays know nothing of free space: no surface comes nearer to the body's middle than its radius, at knee and chest height.
        # Round corners are cut by up to a centimetre (`freespace`).
        for height in (0.4, 1.2):
            origins = np.repeat(points[::4] + [0.0, height, 0.0], len(AROUND), axis=0)
            hits = site.rays.cast(origins, np.tile(AROUND, (len(points[::4]), 1)))
            assert hits.distance[hits.face >= 0].min() >= body.radius - 0.01
