"""Several agents of one process walk in scenes that are in memory once, and none notices the others."""

import numpy as np
import pytest

from navloop.envs.embedded.stock import Stock
from navloop.envs.episodes import read_episodes
from navloop.envs.navigation import NavigationEnv
from navloop.envs.protocols import get_protocol
from navloop.envs.worlds import create_simulator, create_simulators


class Scene:
    def __init__(self, name):
        self.name, self.released = name, False

    def release(self):
        assert not self.released
        self.released = True


@pytest.fixture
def made():
    return []


@pytest.fixture
def stock(made):
    def load(name):
        made.append(Scene(name))
        return made[-1]

    return Stock(load, 2)


def test_the_last_few_scenes_are_kept(stock, made):
    stock.enter("one")
    for name in ("a", "b", "a", "c", "a"):
        assert stock.take("one", name).name == name
    assert [scene.name for scene in made] == ["a", "b", "c"]
    assert [scene.released for scene in made] == [False, True, False]


def test_a_scene_that_somebody_stands_in_is_never_released(stock, made):
    for place, user in enumerate(("one", "two", "three")):
        stock.enter(user)
        stock.take(user, f"scene {place}")
    assert not any(scene.released for scene in made)
    stock.take("three", "scene 0")
    assert [scene.released for scene in made] == [False, False, True]


def test_all_is_given_back_with_the_last_user(stock, made):
    for user in ("one", "two"):
        stock.enter(user)
        stock.take(user, user)
    assert not stock.leave("one") and not stock.leave("one")
    assert not any(scene.released for scene in made)
    assert stock.leave("two")
    assert all(scene.released for scene in made)


def test_agents_that_share_a_world_see_and_walk_as_alone(houses, val_unseen):
    protocol = get_protocol("houses").with_resolution(48).with_depth()
    episodes = read_episodes(val_unseen).episodes[:3]
    simulators = create_simulators(3, "embedded", houses / "scenes", protocol)
    shared = [NavigationEnv(simulator, episodes, protocol) for simulator in simulators]
    alone = [
        NavigationEnv(create_simulator("embedded", houses / "scenes", protocol), episodes, protocol) for _ in range(3)
    ]
    rng = np.random.default_rng(0)
    for one, other, episode in zip(shared, alone, episodes, strict=True):
        one.reset(options={"episode": episode.episode_id})
        other.reset(options={"episode": episode.episode_id})
    for _ in range(12):
        for one, other in zip(shared, alone, strict=True):
            action = int(rng.integers(1, 4))
            (ours, *_, told), (theirs, *_, expected) = one.step(action), other.step(action)
            np.testing.assert_array_equal(ours["rgb"], theirs["rgb"])
            np.testing.assert_array_equal(ours["depth"], theirs["depth"])
            np.testing.assert_array_equal(told["position"], expected["position"])
            assert told["navigation_error"] == expected["navigation_error"]
    held = [simulator.scene for simulator in simulators]
    assert len({id(scene) for scene in held}) == len({episode.scene_id for episode in episodes}) < 3
    simulators[0].close()  # the others walk on
    shared[1].step(1)
