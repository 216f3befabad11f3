"""Decisions become low-level steps; what turns cost is in the label, and nothing else differs."""

import math

import gymnasium
import numpy as np
import pytest

from navloop.envs.metrics import evaluate
from navloop.envs.protocols import get_protocol
from navloop.envs.simulator import Action
from navloop.envs.waypoints import WaypointEnv
from navloop.envs.worlds import make_houses
from navloop.geometry import wrap_angle

SMALL = get_protocol("houses").with_resolution(16)
STOP = {"stop": 1, "angle": 0.0, "distance": 0.0}


@pytest.fixture
def navigation(houses):
    env = make_houses(houses, "val_unseen", SMALL)
    yield env
    env.close()


def go(angle, distance):
    return {"stop": 0, "angle": angle, "distance": distance}


def test_counted_turns_are_steps_like_any_other(navigation):
    env = WaypointEnv(navigation)
    env.reset(options={"episode": 0})
    _, _, _, _, info = env.step(go(math.radians(52), 0.6))
    assert info["low_level_actions"] == [Action.LEFT] * 3 + [Action.FORWARD] * 2
    assert info["turned"] == pytest.approx(math.radians(45)) and info["steps"] == 5
    _, _, _, _, info = env.step(go(math.radians(-30), 0.75))
    assert info["low_level_actions"] == [Action.RIGHT] * 2 + [Action.FORWARD] * 3  # 0.75 / 0.25 is three, not 2.9999
    assert info["decisions"] == 2 and info["steps"] == 10
    walked = navigation.trajectory()
    # The same actions, one by one, are the same walk.
    navigation.reset(options={"episode": 0})
    for action in walked.actions:
        navigation.step(int(action))
    again = navigation.trajectory()
    assert np.array_equal(again.positions, walked.positions) and np.array_equal(again.headings, walked.headings)


def test_free_turns_cost_nothing_and_are_exact(navigation):
    env = WaypointEnv(navigation, turns="free")
    _, start = env.reset(options={"episode": 0})
    _, _, _, _, info = env.step(go(1.0, 0.5))
    assert info["low_level_actions"] == [Action.FORWARD] * 2 and info["steps"] == 2
    assert info["turned"] == pytest.approx(1.0)
    assert info["heading"] == pytest.approx(wrap_angle(start["heading"] + 1.0))
    moved = info["position"] - start["position"]
    assert info["path_length"] >= np.linalg.norm(moved) - 1e-9


def test_a_turn_alone_shows_what_is_there_and_takes_no_step(navigation):
    env = WaypointEnv(navigation, turns="free")
    before, _ = env.reset(options={"episode": 1})
    after, reward, terminated, truncated, info = env.step(go(math.pi / 2, 0.1))
    assert info["steps"] == 0 and info["low_level_actions"] == [] and reward == 0 and not (terminated or truncated)
    assert not np.array_equal(before["rgb"], after["rgb"])


def test_stopping_ends_the_episode_and_metrics_are_those_of_the_walk(navigation):
    env = WaypointEnv(navigation)
    env.reset(options={"episode": 2})
    rewards = [env.step(go(0.3, 1.0))[1]]
    _, reward, terminated, truncated, info = env.step(STOP)
    assert terminated and not truncated and info["low_level_actions"] == [Action.STOP]
    metrics = evaluate(navigation.trajectory(), navigation.episode, navigation.protocol)
    assert info["ndtw"] == pytest.approx(metrics.ndtw) and metrics.steps == info["steps"]
    assert np.isfinite(rewards[0] + reward)
    with pytest.raises(RuntimeError, match="the episode is over"):
        env.step(go(0.0, 1.0))


def test_decisions_run_out_even_where_they_do_nothing(navigation):
    env = WaypointEnv(navigation, turns="free", max_decisions=3)
    env.reset()
    ends = [env.step(go(0.0, 0.0))[3] for _ in range(3)]
    assert ends == [False, False, True]


def test_an_obstacle_can_end_a_decision(navigation):
    taken = {}
    for stops in (False, True):
        env = WaypointEnv(navigation, stop_at_obstacles=stops, turns="free", max_distance=30.0)
        env.reset(options={"episode": 0})
        info = env.step(go(0.0, 30.0))[4]
        taken[stops] = len(info["low_level_actions"])
        assert info["collisions"] > 0
    assert taken[True] < taken[False] == 120


def test_the_label_says_who_pays_for_turns(navigation):
    assert WaypointEnv(navigation).protocol.label == "houses@1+rgb16+waypoints"
    counted, free = (WaypointEnv(navigation, turns=turns).protocol for turns in ("counted", "free"))
    assert free.label == "houses@1+rgb16+waypoints-free-turns"
    assert len({SMALL.fingerprint, counted.fingerprint, free.fingerprint}) == 3
    assert (
        free.fields()["control"] == "waypoints-free-turns"
        and free.with_control("steps").fingerprint == SMALL.fingerprint
    )
    with pytest.raises(ValueError, match="turns is 'teleport'; use counted or free"):
        WaypointEnv(navigation, turns="teleport")


def test_what_is_no_decision_is_refused(navigation):
    env = WaypointEnv(navigation)
    env.reset()
    for wrong in (go(0.0, 9.0), go(4.0, 1.0), {"stop": 2, "angle": 0.0, "distance": 0.0}, go(math.nan, 1.0)):
        with pytest.raises(ValueError, match="is not in"):
            env.step(wrong)
    assert isinstance(env.action_space, gymnasium.spaces.Dict)
    env.step(env.action_space.sample())
