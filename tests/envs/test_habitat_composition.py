"""A protocol's numbers arrive in habitat-lab's words and units."""

import math
from dataclasses import replace

import pytest

from navloop.envs.habitat.composition import body_overrides, sensor_node, task_overrides
from navloop.envs.protocols import get_protocol
from navloop.envs.simulator import Body


def test_a_body_in_habitat_labs_words():
    assert set(body_overrides(get_protocol("rxr-ce-challenge").body)) == {
        "habitat.simulator.forward_step_size=0.25",
        "habitat.simulator.turn_angle=30",
        "habitat.simulator.habitat_sim_v0.allow_sliding=false",
        "habitat.simulator.agents.main_agent.height=0.88",
        "habitat.simulator.agents.main_agent.radius=0.18",
        "habitat.simulator.agents.main_agent.max_climb=0.2",
    }


def test_success_is_the_protocols_and_not_the_librarys_20_centimetres():
    overrides = task_overrides(get_protocol("r2r-ce"))
    assert "habitat.task.measurements.success.success_distance=3.0" in overrides
    assert not any("look_up" in override for override in overrides)


def test_bodies_that_tilt_get_the_actions_for_it():
    overrides = task_overrides(get_protocol("rxr-ce-challenge"))
    assert "habitat/task/actions=[stop,move_forward,turn_left,turn_right,look_up,look_down]" in overrides
    assert "habitat.task.actions.look_down.tilt_angle=30" in overrides


def test_angles_that_habitat_lab_cannot_hold_are_refused():
    with pytest.raises(ValueError, match=r"body\.turn is 22\.5 degrees; habitat-lab holds whole degrees alone"):
        body_overrides(Body(turn=math.radians(22.5)))


def test_a_camera_in_habitat_labs_words():
    rgb, depth = get_protocol("rxr-ce-challenge").cameras
    node = sensor_node(replace(rgb, yaw=0.5, pitch=-0.2))
    assert node["hfov"] == pytest.approx(79) and (node["width"], node["height"]) == (640, 480)
    assert node["position"] == [0.0, 0.88, 0.0] and node["orientation"] == [-0.2, 0.5, 0.0]
    assert sensor_node(depth)["normalize_depth"] is False
    assert (sensor_node(depth)["min_depth"], sensor_node(depth)["max_depth"]) == (0.5, 5.0)
