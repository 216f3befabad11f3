"""Environments in worker processes behave as the same environments in this one, and a crash is told and mended."""

import pickle
import signal
from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from navloop.envs.protocols import get_protocol
from navloop.envs.vector import VectorNavigationEnv, WorkerError, shards
from navloop.envs.waypoints import WaypointEnv
from navloop.envs.worlds import make_houses

SMALL = get_protocol("houses").with_resolution(24)


class FallibleEnv(gymnasium.Wrapper):
    """Raises, or sends its own process a signal, when asked to turn right."""

    def __init__(self, make, kill):
        super().__init__(make())
        self._kill = kill

    def step(self, action):
        if action == 3:
            if self._kill:
                signal.raise_signal(self._kill)
            raise ZeroDivisionError("the right turn is broken")
        return self.env.step(action)


def interrupt():
    raise KeyboardInterrupt


class Interruption:
    """Interrupts whoever reads it from a pipe, as Ctrl-C does."""

    def __reduce__(self):
        return interrupt, ()


class InterruptingEnv(gymnasium.Wrapper):
    """Its info has what the caller stumbles over: `odd`, or `Interruption` where none is given.

    It is there after a right turn, and after a reset with the option "interrupt".
    """

    def __init__(self, make, odd=None):
        super().__init__(make())
        self._odd = odd

    def reset(self, *, seed=None, options=None):
        options = dict(options or {})
        interrupts = options.pop("interrupt", False)
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, self._amended(info, interrupts)

    def step(self, action):
        *rest, info = self.env.step(action)
        return *rest, self._amended(info, action == 3)

    def _amended(self, info, interrupts):
        odd = Interruption() if self._odd is None else self._odd
        return {**info, "odd": odd} if interrupts else info


def assert_shows(vector, observations, place, alone, shown):
    """Frames, text and what the environment itself says agree with an environment of this process."""
    np.testing.assert_array_equal(observations["rgb"][place], shown["rgb"])
    assert observations["instruction"][place] == shown["instruction"]
    assert vector.call("episode")[place].episode_id == alone.episode.episode_id


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
    ("kill", "told"),
    [
        (None, "ZeroDivisionError: the right turn is broken"),
        (signal.SIGKILL, "was killed.*exit code -9"),
        (signal.SIGINT, "ended by itself, as Ctrl-C makes it"),
    ],
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
    vector = VectorNavigationEnv([makes[0], partial(FallibleEnv, makes[1], None)])
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


def test_a_failed_worker_is_replaced_by_a_reset_of_its_environment_alone(makes):
    vector = VectorNavigationEnv([makes[0], partial(FallibleEnv, makes[1], None)])
    vector.reset(seed=0)
    with pytest.raises(WorkerError):
        vector.step([1, 3])
    with pytest.raises(WorkerError, match="environment 1 failed earlier"):
        vector.reset(options={"reset_mask": [True, False]})
    vector.reset(seed=0)
    *_, infos = vector.step([2, 2])
    assert infos["steps"].tolist() == [1, 1]
    vector.close()


def test_what_is_refused_is_refused_before_any_environment_hears_of_it(makes):
    vector = VectorNavigationEnv(makes)
    shown, _ = vector.reset(seed=0)
    for actions, told in {
        "too few": ([1], "1 actions for 2 environments.*whole numbers from 0 to 3"),
        "too many": (np.array([1, 1, 1]), "3 actions for 2 environments"),
        "one for all": (1, "actions is 1; give 2 whole numbers from 0 to 3"),
        "fractions": (np.array([2.9, 2.9]), "action of environment 0 is 2.9; actions are whole numbers from 0 to 3"),
        "one fraction": ([1, 2.9], "action of environment 1 is 2.9"),
        "a truth value": ([1, True], "action of environment 1 is True"),
        "a text": ("11", "action of environment 0 is '1'"),
        "a column": (np.array([[1], [1]]), r"action of environment 0 is \[1\]"),
        "out of range": ([1, 4], "action of environment 1 is 4; actions are whole numbers from 0 to 3"),
        "below the range": (np.array([1, -1]), "action of environment 1 is -1"),
    }.values():
        with pytest.raises(ValueError, match=told):
            vector.step(actions)
    with pytest.raises(ValueError, match=r"reset_mask is array\(\[1, 0\]\); give 2 truth values"):
        vector.reset(options={"reset_mask": [1, 0]})
    with pytest.raises(ValueError, match=r"reset_mask is .*; give 2 truth values"):
        vector.reset(options={"reset_mask": np.array([True, True, True])})
    with pytest.raises(ValueError, match="seed has 3 entries for 2 environments"):
        vector.reset(seed=[0, 1, 2])
    with pytest.raises((AttributeError, pickle.PicklingError)):
        vector.call("face", lambda: None)
    alone = [make() for make in makes]
    for place, env in enumerate(alone):
        assert_shows(vector, shown, place, env, env.reset(seed=place)[0])
    for count, taken in enumerate([[2, 1], np.array([1, 2], np.uint8), (np.int64(2), 1)], start=1):
        shown, *_, infos = vector.step(taken)
        assert infos["steps"].tolist() == [count, count]
        for place, env in enumerate(alone):
            assert_shows(vector, shown, place, env, env.step(int(taken[place]))[0])
    vector.close()


@pytest.mark.parametrize(
    ("odd", "error", "mend"),
    [
        pytest.param((None, 1), KeyboardInterrupt, lambda vector: vector.reset(seed=[0, 0]), id="between two answers"),
        pytest.param(
            (1, "one"), ValueError, VectorNavigationEnv.recover, id="after the last, by infos that do not fit"
        ),
    ],
)
def test_after_an_interrupted_call_episodes_are_said_to_be_lost_and_new_ones_are_in_step(makes, odd, error, mend):
    vector = VectorNavigationEnv([partial(InterruptingEnv, make, told) for make, told in zip(makes, odd, strict=True)])
    vector.reset(seed=0)
    with pytest.raises(error):
        vector.step([3, 3])
    lost = "environments 0, 1 did not finish a call that was interrupted; episodes under way there are lost"
    for call in (lambda: vector.step([1, 1]), lambda: vector.call("episode")):
        with pytest.raises(WorkerError, match=rf"{lost}\nCall recover\(\).* or reset\(\)") as refused:
            call()
        assert refused.value.workers == (0, 1)
    shown, infos = mend(vector)
    assert infos["_episode_id"].tolist() == [True, True]
    alone = [make() for make in makes]
    for place, env in enumerate(alone):
        assert_shows(vector, shown, place, env, env.reset(seed=0)[0])
    shown, *_, infos = vector.step([2, 1])
    assert infos["steps"].tolist() == [1, 1]
    for place, env in enumerate(alone):
        assert_shows(vector, shown, place, env, env.step([2, 1][place])[0])
    vector.close()


def test_an_interrupted_call_costs_no_environment_that_it_did_not_ask(makes):
    vector = VectorNavigationEnv([partial(InterruptingEnv, make) for make in makes])
    vector.reset(seed=0)
    vector.step([2, 2])
    with pytest.raises(KeyboardInterrupt):
        vector.reset(options={"reset_mask": [False, True], "interrupt": True})
    with pytest.raises(WorkerError, match="environment 1 did not finish"):
        vector.step([2, 2])
    _, infos = vector.recover()
    assert infos["_episode_id"].tolist() == [False, True]
    *_, infos = vector.step([2, 2])
    assert infos["steps"].tolist() == [2, 1]
    vector.close()


def test_shards_share_out_every_episode_once(makes, val_unseen, houses):
    envs = [make() for make in makes]
    numbers = [episode.episode_id for env in envs for episode in env.episodes]
    assert len(set(numbers)) == len(numbers) == 72
    assert envs[0].observation_space == envs[1].observation_space
    with pytest.raises(ValueError, match="num_envs is 100"):
        shards(val_unseen, houses / "scenes", 100, SMALL)


def test_environments_without_numbered_actions_are_refused(houses):
    with pytest.raises(TypeError, match="expected a Discrete action space, got Dict"):
        VectorNavigationEnv([lambda: WaypointEnv(make_houses(houses, "val_unseen", SMALL))])


def test_gymnasium_makes_the_vector(houses, val_unseen):
    vector = gymnasium.make_vec(
        "navloop.envs:navloop/VLN-v0",
        num_envs=2,
        vectorization_mode="vector_entry_point",
        episodes=val_unseen,
        scenes=houses / "scenes",
        protocol="houses",
        pixels=24,
    )
    observations, _ = vector.reset(seed=0)
    assert observations["rgb"].shape == (2, 24, 24, 3)
    vector.close()
