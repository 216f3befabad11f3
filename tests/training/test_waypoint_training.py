"""What the waypoint predictor learns from: targets are what a body can walk, and training on houses pays."""

import math

import numpy as np
import pytest
import torch

from navloop.agent.waypoints import ANGLES, DISTANCES, DepthGrid, WaypointPredictor, waypoint_loss
from navloop.configs.planner import WaypointConfig
from navloop.envs.embedded.simulator import EmbeddedSimulator
from navloop.envs.protocols import get_protocol
from navloop.envs.simulator import Action
from navloop.geometry import Pose
from navloop.training.waypoints import (
    depth_panorama,
    look_around,
    measure_predictor,
    reach,
    train_predictor,
    walkable,
    waypoint_targets,
)

PROTOCOL = depth_panorama(get_protocol("houses"), side=32)


@pytest.fixture(scope="module")
def simulator(houses):
    made = EmbeddedSimulator(houses / "scenes", PROTOCOL.body, PROTOCOL.cameras, "embree")
    yield made
    made.close()


@pytest.fixture(scope="module")
def scenes(houses) -> list[str]:
    folder = houses / "scenes"
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.glb"))


def test_walkable_cells_are_those_that_small_steps_reach_in_free_space(simulator, scenes):
    simulator.load_scene(scenes[0])
    free, rng = simulator.scene.free, np.random.default_rng(3)
    for _ in range(3):
        pose = Pose(simulator.sample_navigable_point(rng), float(rng.uniform(-3, 3)))
        found = walkable(free, pose)
        for cell in range(0, ANGLES, 3):
            heading = pose.heading + math.radians(3 * cell)
            along = np.arange(1, 301)[:, None] * 0.01 * np.array([-math.sin(heading), 0.0, -math.cos(heading)])
            inside = free.contains(pose.position + along)
            metres = 0.01 * int(np.argmin(inside)) if not inside.all() else 3.0
            wanted = [0.25 * (d + 1) <= metres + 1e-9 for d in range(DISTANCES)]
            sure = [abs(0.25 * (d + 1) - metres) > 0.021 or inside.all() for d in range(DISTANCES)]
            assert [x for x, s in zip(found[cell], sure, strict=True) if s] == [
                x for x, s in zip(wanted, sure, strict=True) if s
            ]


def test_the_body_walks_to_walkable_cells_without_touching_anything(simulator, scenes):
    simulator.load_scene(scenes[1])
    rng, walked = np.random.default_rng(7), 0
    pose = Pose(simulator.sample_navigable_point(rng), 0.4)
    found, metres = walkable(simulator.scene.free, pose), reach(simulator.scene.free, pose)
    for cell in range(0, ANGLES, 4):
        simulator.set_pose(Pose(pose.position, pose.heading + math.radians(3 * cell)))
        for distance in range(DISTANCES):
            if abs(0.25 * (distance + 1) - metres[cell]) < 0.02:
                break  # a hair's breadth
            touched = simulator.act(Action.FORWARD)
            assert touched != found[cell, distance]
            if touched:
                break
            walked += 1
    assert walked > 30


def test_targets_lie_where_one_can_walk_and_prefer_the_far_and_the_clear(simulator, scenes):
    simulator.load_scene(scenes[0])
    free, rng = simulator.scene.free, np.random.default_rng(4)
    pose = Pose(simulator.sample_navigable_point(rng), 1.0)
    targets, can = waypoint_targets(free, pose), walkable(free, pose)
    assert targets.shape == (ANGLES, DISTANCES) and targets.max() <= 1 and targets[can].max() > 0.1
    assert not targets[~can].any()
    turned = waypoint_targets(free, Pose(pose.position, pose.heading + math.radians(30)))
    np.testing.assert_allclose(turned, np.roll(targets, -10, 0), atol=1e-5)


def test_views_and_targets_turn_together(simulator, scenes):
    simulator.load_scene(scenes[0])
    position = simulator.sample_navigable_point(np.random.default_rng(5))

    def look(heading: float) -> np.ndarray:
        simulator.set_pose(Pose(position, heading))
        frames = simulator.render()
        return np.stack([frames[name] for name in sorted(frames)])

    np.testing.assert_allclose(look(math.radians(30)), np.roll(look(0.0), -1, 0), atol=2e-3)


def test_training_on_houses_tells_walkable_from_not(simulator, scenes):
    places = look_around(simulator, scenes, 64, np.random.default_rng(0))
    assert len(places) == 64
    torch.manual_seed(0)
    config = WaypointConfig(width=48, heads=4, hidden=64, dropout=0.0, depth_channels=16)
    predictor, eyes = WaypointPredictor(config).eval(), DepthGrid(16)
    before = measure_predictor(predictor, eyes, places)
    losses = train_predictor(predictor, eyes, places, steps=150, batch=16, lr=2e-3)
    after = measure_predictor(predictor, eyes, places)
    uniform = float(waypoint_loss(torch.zeros_like(places.targets), places.targets))
    assert before.loss == pytest.approx(uniform, abs=0.2) and np.mean(losses[-10:]) < uniform - 0.5
    assert before.chance + 0.25 < after.walkable and before.walkable < after.walkable
    assert 1 <= after.candidates <= 5
