"""Environments in worker processes behave as the same environments in this one, and a crash is told and mended."""

import os
import signal
from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from navloop.envs.protocols import get_protocol
from navloop.envs.vector import VectorNavigationEnv, WorkerError, shards

SMALL = get_protocol("houses").with_resolution(24)


class FallibleEnv(gymnasium.Wrapper):
    """Raises, or kills its own process, when asked to turn right."""

    def __init__(self, make, kill):
        super().__init__(make())
        self._kill = kill

    def step(self, action):
        if action == 3:
            if self._kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise ZeroDivisionError("the right turn is broken")
        return self.env.step(action)


@pytest.fixture
def makes(houses, val_unseen):
    return shards(val_unseen, houses / "scenes", 2, SMALL)


def test_a_vector_equals_its_environments_stepped_alone(makes):
    vector = VectorNavigationEnv(makes)
    alone = [make() for make in makes]
    observations, infos = vector.reset(seed=5)
    expected = [env.reset(seed=5 + i)[0] for i, env in enumerate(alone)]
    rng = np.random.default_rng(0)
    for _ in range(12):
        for i in range(2):
            np.testing.assert_array_equal(observations["rgb"][i], expected[i]["rgb"])
            assert observations["instruction"][i] == expected[i]["instruction"]
        actions = rng.integers(1, 4, size=2)
        observations, rewards, *_, infos = vector.step(actions)
        steps = [env.step(action) for env, action in zip(alone, actions, strict=True)]
        expected = [step[0] for step in steps]
        np.testing.assert_allclose(rewards, [step[1] for step in steps])
        np.testing.assert_allclose(infos["path_length"], [step[-1]["path_length"] for step in steps])
    vector.close()


def test_an_ended_episode_starts_the_next_and_hands_over_its_end(makes):
    vector = VectorNavigationEnv(makes)
    _, first = vector.reset(seed=0)
    observations, _, terminated, _, infos = vector.step(np.array([0, 2]))
    assert terminated.tolist() == [True, False]
    assert infos["final_info"]["episode_id"][0] == first["episode_id"][0] != infos["episode_id"][0]
    assert infos["final_obs"][0]["rgb"].shape == observations["rgb"][0].shape
    vector.close()


def test_without_autoreset_a_mask_chooses_who_starts_anew(makes):
    vector = VectorNavigationEnv(makes, autoreset=AutoresetMode.DISABLED)
    vector.reset(seed=0)
    vector.step(np.array([0, 2]))
    _observations, infos = vector.reset(options={"reset_mask": np.array([True, False])})
    assert infos["_episode_id"].tolist() == [True, False]
    _, _, _, _, infos = vector.step(np.array([2, 2]))
    assert infos["steps"].tolist() == [1, 2]
    vector.close()


@pytest.mark.parametrize(
    ("kill", "told"), [(False, "ZeroDivisionError: the right turn is broken"), (True, "was killed.*exit code -9")]
)
def test_a_failed_worker_is_told_with_its_story_and_replaced(makes, kill, told):
    vector = VectorNavigationEnv([partial(FallibleEnv, make, kill) for make in makes])
    vector.reset(seed=0)
    vector.step(np.array([1, 1]))
    with pytest.raises(WorkerError, match=f"(?s)environment 1 failed.*{told}") as error:
        vector.step(np.array([2, 3]))
    assert error.value.workers == (1,)
    with pytest.raises(WorkerError, match="failed earlier"):
        vector.step(np.array([1, 1]))
    _observations, infos = vector.recover()
    assert infos["_episode_id"].tolist() == [False, True]
    *_, infos = vector.step(np.array([2, 2]))
    assert infos["steps"].tolist() == [3, 1]  # the healthy one has gone on, the replaced one has begun
    vector.close()


def test_the_text_follows_the_frames_even_where_a_neighbour_fails(makes):
    vector = VectorNavigationEnv([makes[0], partial(FallibleEnv, makes[1], False)])
    vector.reset(seed=0)
    with pytest.raises(WorkerError):
        vector.step(
            np.array([0, 3])
        )  # the first ends its episode and starts the next in the very step in which the second fails
    observations, _ = vector.recover()
    expected = makes[0]()
    expected.reset(seed=0)
    shown, _ = expected.reset()
    np.testing.assert_array_equal(observations["rgb"][0], shown["rgb"])
    assert observations["instruction"][0] == shown["instruction"]
    vector.close()


def test_shards_share_out_every_episode_once(makes, val_unseen, houses):
    envs = [make() for make in makes]
    numbers = [episode.episode_id for env in envs for episode in env.episodes]
    assert len(set(numbers)) == len(numbers) == 72
    assert envs[0].observation_space == envs[1].observation_space
    with pytest.raises(ValueError, match="num_envs is 100"):
        shards(val_unseen, houses / "scenes", 100, SMALL)


def test_gymnasium_makes_the_vector(houses, val_unseen):
    vector = gymnasium.make_vec(
        "navloop.envs:navloop/VLN-v0",
        num_envs=2,
        vectorization_mode="vector_entry_point",
        episodes=val_unseen,
        scenes=houses / "scenes",
        protocol=SMALL,
    )
    observations, _ = vector.reset(seed=0)
    assert observations["rgb"].shape == (2, 24, 24, 3)
    vector.close()
