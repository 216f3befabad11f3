"""Rollouts: the expert's word at every place, who acts when, and walks that do not depend on their neighbours."""

from __future__ import annotations

import math
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from navloop.agent.agents import SeparateAgents, create_agent
from navloop.configs.imitation import CollectionConfig, EpisodesConfig
from navloop.envs.episodes import read_episodes
from navloop.envs.metrics import evaluate
from navloop.envs.navigation import NavigationEnv
from navloop.envs.simulator import Action
from navloop.envs.worlds import create_simulator
from navloop.training.collection import _as_done
from navloop.training.pool import WorkerError
from navloop.training.rollout import episode_seed, walk
from navloop.training.rollouts import Rollouts, Rules, distance_to_path, protocol_of

POLICY, EXPERT, TAKEOVER = 0, 1, 2
ALONE = Rules(beta=1.0)


@pytest.fixture(scope="module")
def ground(houses) -> EpisodesConfig:
    train = houses / "episodes" / "train" / "train.json.gz"
    return EpisodesConfig(scenes=str(houses / "scenes"), train=str(train), pixels=32)


@pytest.fixture(scope="module")
def episodes(ground):
    return read_episodes(ground.train).episodes[::3]


@pytest.fixture(scope="module")
def rollouts(ground):
    made = Rollouts(ground, protocol_of(ground), 3)
    yield made
    made.close()


def randoms() -> SeparateAgents:
    return SeparateAgents(lambda: create_agent("random"))


class Constant:
    """Always wants the same, and remembers what it is told that it did instead."""

    looks_at = frozenset({"rgb"})

    def __init__(self, action: int) -> None:
        self.action, self.told = action, []

    def start(self, environments):
        self.environments = environments

    def restart(self, place, env, seed):
        assert 0 <= place < self.environments

    def act_all(self, places, observations, infos):
        return [self.action] * len(places)

    def override(self, place, action):
        self.told.append(action)


@pytest.fixture(scope="module")
def plain(ground, episodes):
    """What an agent does by itself, one episode after the other."""
    protocol = protocol_of(ground)
    env = NavigationEnv(create_simulator("embedded", ground.scenes, protocol), episodes, protocol)
    yield lambda name, episode, seed: walk(
        env, create_agent(name), episode.episode_id, episode_seed(seed, episode.episode_id)
    )
    env.close()


def test_the_expert_alone_walks_as_the_expert_agent(rollouts, episodes, plain):
    done = list(rollouts.collect(None, episodes, ALONE, seed=0))
    assert len(done) == len(episodes)
    for rollout in done:
        np.testing.assert_array_equal(rollout.walk.actions, plain("expert", rollout.episode, 0).actions)
        np.testing.assert_array_equal(rollout.walk.expert_actions, rollout.walk.actions)
        assert (rollout.walk.sources == EXPERT).all() and rollout.walk.success
        assert rollout.frames.rgb.shape == (len(rollout.walk), 32, 32, 3)
        assert rollout.walk.distances[-1] < 0.5 < rollout.walk.distances[0]


def test_frames_are_what_was_seen_before_each_action(rollouts, ground, episodes):
    rollout = next(iter(rollouts.collect(None, episodes[:1], ALONE, seed=0)))
    env = NavigationEnv(
        create_simulator("embedded", ground.scenes, protocol_of(ground)), episodes[:1], protocol_of(ground)
    )
    observation, _ = env.reset()
    for frame, action in zip(rollout.frames.rgb, rollout.walk.actions, strict=True):
        np.testing.assert_array_equal(frame, observation["rgb"])
        observation, *_ = env.step(int(action))
    env.close()


def test_an_agent_alone_walks_as_the_plain_rollout_does(rollouts, ground, episodes, plain):
    for episode, found in rollouts.walk(randoms(), episodes, seed=5):
        expected = plain("random", episode, 5)
        np.testing.assert_array_equal(found.actions, expected.actions)
        assert evaluate(found, episode, protocol_of(ground)) == evaluate(expected, episode, protocol_of(ground))


def test_a_walk_does_not_depend_on_its_neighbours(rollouts, ground, episodes):
    rules = Rules(beta=0.5, max_steps=25)
    together = {r.episode.episode_id: r.walk.to_json() for r in rollouts.collect(randoms(), episodes, rules, seed=1)}
    one = Rollouts(ground, protocol_of(ground), 1)
    alone = {r.episode.episode_id: r.walk.to_json() for r in one.collect(randoms(), episodes[::-1], rules, seed=1)}
    one.close()
    assert together == alone


def test_the_expert_stops_where_it_is_told_to(rollouts, episodes):
    near, far = (
        [r.walk for r in rollouts.collect(None, episodes, Rules(beta=1.0, stop_within=metres), seed=0)]
        for metres in (None, 1.0)
    )
    assert all(walk.distances[-1] <= 0.25 for walk in near)
    assert all(0.25 < walk.distances[-1] <= 1.0 and walk.expert_actions[-1] == Action.STOP for walk in far)
    assert all((walk.expert_actions[:-1] != Action.STOP).all() for walk in far)


@pytest.mark.parametrize("beta", [0.25, 0.75])
def test_the_expert_acts_as_often_as_beta_says(rollouts, episodes, beta):
    agent = Constant(Action.LEFT)
    done = list(rollouts.collect(agent, episodes, Rules(beta=beta, max_steps=60), seed=2))
    sources = np.concatenate([r.walk.sources for r in done])
    deviation = math.sqrt(beta * (1 - beta) / len(sources))
    assert (sources == EXPERT).mean() == pytest.approx(beta, abs=4 * deviation)
    actions, labels = (np.concatenate([getattr(r.walk, n) for r in done]) for n in ("actions", "expert_actions"))
    assert (actions[sources == POLICY] == Action.LEFT).all()
    np.testing.assert_array_equal(actions[sources == EXPERT], labels[sources == EXPERT])
    assert len(agent.told) == (actions != Action.LEFT).sum()


def test_draws_change_with_the_seed_and_not_without(rollouts, episodes):
    def sources(seed):
        rules = Rules(beta=0.5, max_steps=20)
        return [r.walk.sources.tolist() for r in rollouts.collect(Constant(Action.LEFT), episodes, rules, seed)]

    assert sources(3) == sources(3) != sources(4)


def test_who_acts_does_not_follow_from_what_an_agent_draws(rollouts, episodes):
    """An agent draws by the walk's seed; were the lane's draws the same, the expert would act just where those are low."""
    same = []
    for seed in range(12):
        for r in rollouts.collect(Constant(Action.LEFT), episodes, Rules(beta=0.5, max_steps=1), seed):
            drawn = np.random.default_rng(episode_seed(seed, r.episode.episode_id)).random()
            same.append((drawn < 0.5) == (r.walk.sources[0] == EXPERT))
    assert len(same) >= 40 and np.mean(same) == pytest.approx(0.5, abs=2 / math.sqrt(len(same)))


def test_beta_falls_by_iterations():
    config = CollectionConfig(p=0.75, off_path=2.0, late_stop=3)
    assert [Rules.of(config, k).beta for k in range(4)] == pytest.approx([1, 0.75, 0.5625, 0.421875])
    assert Rules.of(config, 1).off_path == 2.0 and Rules.of(CollectionConfig(), 1).off_path == math.inf
    assert [Rules.of(CollectionConfig(p=0.0), k).beta for k in range(3)] == [1.0, 0.0, 0.0]
    assert [Rules.of(CollectionConfig(p=p, walked=1), 0).beta for p in (0.0, 0.75)] == [0.0, 0.75]


def test_a_stop_too_early_is_corrected_where_that_is_asked_for(rollouts, episodes, plain):
    taken = next(iter(rollouts.collect(Constant(Action.STOP), episodes[:1], Rules(), seed=0))).walk
    assert taken.actions.tolist() == [0] and taken.sources.tolist() == [POLICY] and not taken.success
    corrected = next(iter(rollouts.collect(Constant(Action.STOP), episodes[:1], Rules(early_stop=True), seed=0))).walk
    np.testing.assert_array_equal(corrected.actions, plain("expert", episodes[0], 0).actions)
    assert set(corrected.sources[:-1].tolist()) == {TAKEOVER} and corrected.sources[-1] == POLICY


def test_the_expert_ends_a_walk_that_passes_over_its_stops(rollouts, episodes):
    start = episodes[0].start_position
    at_goal = replace(episodes[0], goal_position=start, reference_path=start[None])
    done = next(iter(rollouts.collect(Constant(Action.LEFT), [at_goal], Rules(late_stop=4), seed=0))).walk
    assert done.actions.tolist() == [Action.LEFT] * 4 + [Action.STOP]
    assert done.sources.tolist() == [POLICY] * 4 + [TAKEOVER]
    assert done.expert_actions.tolist() == [Action.STOP] * 5


def test_the_expert_takes_over_off_the_path_and_gives_back_on_it(rollouts, episodes):
    rules = Rules(off_path=0.6, max_steps=80)
    for rollout in rollouts.collect(Constant(Action.FORWARD), episodes, rules, seed=0):
        path = rollout.episode.reference_path
        away = [distance_to_path(place, path) for place in rollout.trajectory.positions[:-1]]
        led = rollout.walk.sources == TAKEOVER
        assert all(distance > 0.25 for distance, taken in zip(away, led, strict=True) if taken)
        assert all(distance <= 0.6 for distance, taken in zip(away, led, strict=True) if not taken)
    free = list(rollouts.collect(Constant(Action.FORWARD), episodes, Rules(max_steps=80), seed=0))
    assert not any((rollout.walk.sources == TAKEOVER).any() for rollout in free)


def test_an_episode_without_a_goal_is_refused(rollouts, episodes):
    with pytest.raises(ValueError, match="has no goal, which the expert walks to"):
        list(rollouts.collect(None, [replace(episodes[0], goal_position=None)], ALONE, seed=0))


POINT = st.tuples(*[st.floats(-5, 5, allow_subnormal=False)] * 2)


@given(POINT, st.lists(POINT, min_size=1, max_size=6))
def test_distances_to_a_path_are_those_of_shapely(point, path):
    line = shapely.LineString(path) if len(path) > 1 else shapely.Point(path[0])
    places = np.array([[x, 0.0, z] for x, z in path])
    expected = shapely.distance(shapely.Point(point), line)
    assert distance_to_path(np.array([point[0], 0.0, point[1]]), places) == pytest.approx(expected, abs=1e-5)


def test_protocols_have_the_cameras_that_are_looked_at():
    plain = EpisodesConfig(scenes="s", train="t")
    assert protocol_of(plain).label == "houses@1"
    assert protocol_of(plain.model_copy(update={"pixels": 64})).label == "houses@1+rgb64"
    deep = protocol_of(EpisodesConfig(scenes="s", train="t", protocol="r2r-ce", pixels=64), depth=True)
    assert [(camera.name, camera.width) for camera in deep.cameras] == [("rgb", 64), ("depth", 64)]
    assert [
        camera.name for camera in protocol_of(EpisodesConfig(scenes="s", train="t", protocol="r2r-ce")).cameras
    ] == ["rgb"]


def test_of_a_worker_that_is_gone_the_mend_is_told():
    future: Future = Future()
    future.set_exception(BrokenProcessPool("a process was terminated abruptly"))
    with pytest.raises(WorkerError, match="fewer workers or lanes then; what was walked is kept") as fault:
        list(_as_done([future]))
    assert fault.value.is_input
