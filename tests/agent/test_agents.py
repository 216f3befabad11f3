"""The expert reaches every goal by the shortest way, in every embodiment; the blind ones do what they say."""

import math

import numpy as np
import pytest

from navloop.agent import create_agent, list_agents
from navloop.envs.embedded.simulator import EmbeddedSimulator
from navloop.envs.follower import ShortestPathFollower
from navloop.envs.protocols import get_protocol
from navloop.envs.simulator import Action, Body
from navloop.envs.worlds import make_houses
from navloop.geometry import Pose

BLIND = get_protocol("houses").with_cameras([])


def walk(env, agent, episode, seed=0):
    _, info = env.reset(options={"episode": episode})
    agent.reset(env, seed)
    actions, done = [], False
    while not done:
        actions.append(agent.act({}, info))
        _, _, terminated, truncated, info = env.step(actions[-1])
        done = terminated or truncated
    return actions, info


def test_the_expert_reaches_every_goal_by_the_shortest_way(houses):
    env = make_houses(houses, "val_unseen", BLIND)
    ends = [walk(env, create_agent("expert"), number)[1] for number in range(len(env.episodes))]
    assert all(info["success"] == 1 and info["navigation_error"] <= 0.25 for info in ends)
    assert np.mean([info["spl"] for info in ends]) >= 0.97
    assert np.mean([info["collision_rate"] for info in ends]) < 0.1


@pytest.mark.parametrize(("turn", "sliding"), [(15, True), (30, True), (15, False)])
def test_the_follower_reaches_far_goals_in_any_embodiment(houses, turn, sliding):
    body = Body(turn=math.radians(turn), sliding=sliding)
    simulator = EmbeddedSimulator(houses / "scenes", body, [])
    rng = np.random.default_rng(turn)
    scenes = sorted(path.relative_to(houses / "scenes") for path in (houses / "scenes").rglob("*.glb"))
    shares = []
    for number in range(24):
        simulator.load_scene(str(scenes[number % len(scenes)]))
        start, goal = simulator.sample_navigable_point(rng), simulator.sample_navigable_point(rng)
        simulator.set_pose(Pose(start, rng.uniform(-math.pi, math.pi)))
        follower = ShortestPathFollower(simulator, body, goal)
        shortest, walked = simulator.geodesic_distances(start[None], goal)[0], 0.0
        for _ in range(500):
            action = follower.next_action()
            if action == Action.STOP:
                break
            before = simulator.pose.position
            simulator.act(action)
            walked += np.linalg.norm(simulator.pose.position - before)
        assert simulator.geodesic_distances(simulator.pose.position[None], goal)[0] <= body.step
        shares.append(min(1.0, (shortest + body.step) / (walked + body.step)))
    assert np.mean(shares) > 0.95


def test_the_expert_refuses_an_episode_without_a_goal(houses):
    env = make_houses(houses, "val_unseen", BLIND)
    object.__setattr__(env.episodes[0], "goal_position", None)
    env.reset(options={"episode": 0})
    with pytest.raises(ValueError, match=r"has no goal.*choose another split"):
        create_agent("expert").reset(env, 0)


def test_the_blind_agents_do_what_they_say(houses):
    env = make_houses(houses, "val_unseen", BLIND)
    forward, _ = walk(env, create_agent("forward"), 0)
    assert forward == [Action.FORWARD] * 37 + [Action.STOP]
    handcrafted, _ = walk(env, create_agent("handcrafted"), 0, seed=4)
    turns = handcrafted.count(Action.RIGHT)
    assert handcrafted == [Action.RIGHT] * turns + forward
    drawn = {walk(env, create_agent("handcrafted"), 0, seed=s)[0].count(Action.RIGHT) for s in range(40)}
    assert drawn <= set(range(25)) and len(drawn) > 10


def test_the_random_agent_draws_from_the_prior_and_its_seed_decides(houses):
    env = make_houses(houses, "val_unseen", BLIND)
    agent = create_agent("random")
    agent.reset(env, 0)
    drawn = np.array([agent.act({}, {}) for _ in range(5000)])
    assert np.bincount(drawn) / 5000 == pytest.approx([0.02, 0.68, 0.15, 0.15], abs=0.02)
    agent.reset(env, 0)
    assert [agent.act({}, {}) for _ in range(50)] == drawn[:50].tolist()


def test_unknown_agents_are_answered_with_the_nearest():
    assert list_agents() == ["expert", "forward", "handcrafted", "random"]
    with pytest.raises(ValueError, match="unknown agent 'exprt'; did you mean 'expert'"):
        create_agent("exprt")
