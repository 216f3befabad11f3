"""A panorama is the same camera all around: turning by a view shifts the views by one."""

import math

import numpy as np
import pytest

from navloop.envs.navigation import NavigationEnv
from navloop.envs.panorama import StackedViews, panorama
from navloop.envs.protocols import get_protocol
from navloop.envs.simulator import Action
from navloop.envs.worlds import create_simulator, make_houses

SMALL = get_protocol("houses").with_resolution(24).with_depth()


def test_views_are_named_and_labelled():
    protocol = panorama(SMALL)
    names = [camera.name for camera in protocol.cameras]
    assert names[:3] == ["rgb", "rgb_030", "rgb_060"] and names[11:14] == ["rgb_330", "depth", "depth_030"]
    assert len(names) == 24 and protocol.label == "houses@1+pano12"
    assert protocol.cameras[1].yaw == pytest.approx(math.radians(30))
    with pytest.raises(ValueError, match="looks to the side already"):
        panorama(protocol)
    with pytest.raises(ValueError, match="expected at least 1"):
        panorama(SMALL, 0)


def test_turning_by_two_steps_of_15_degrees_shifts_the_views_by_one(houses):
    env = StackedViews(make_houses(houses, "val_unseen", panorama(SMALL)))
    before, _ = env.reset(options={"episode": 0})
    assert before["rgb"].shape == (12, 24, 24, 3) and before["depth"].shape == (12, 24, 24, 1)
    assert env.observation_space.contains(before) and set(before) == {"rgb", "depth", "instruction"}
    env.step(Action.LEFT)
    after = env.step(Action.LEFT)[0]
    assert np.abs(np.roll(before["depth"], -1, axis=0) - after["depth"]).max() < 1e-3
    assert np.median(np.abs(np.roll(before["rgb"].astype(int), -1, axis=0) - after["rgb"])) <= 1
    env.close()


def test_other_counts_of_views(houses):
    env = StackedViews(make_houses(houses, "val_unseen", panorama(SMALL, 4)), 4)
    assert env.reset()[0]["rgb"].shape == (4, 24, 24, 3)
    env.close()


def test_an_environment_without_views_is_refused(houses):
    env = make_houses(houses, "val_unseen", SMALL)
    with pytest.raises(ValueError, match="make its protocol with `panorama`"):
        StackedViews(env)
    env.close()


def test_the_first_view_is_the_plain_camera(houses):
    episodes = make_houses(houses, "val_unseen", SMALL).episodes[:1]
    frames = [
        NavigationEnv(create_simulator("embedded", houses / "scenes", eyes), episodes, eyes).reset()[0]
        for eyes in (SMALL, panorama(SMALL))
    ]
    assert np.array_equal(frames[0]["depth"], frames[1]["depth"])
    assert np.array_equal(frames[0]["rgb"], frames[1]["rgb"])
