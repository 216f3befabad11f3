"""Teaching the planner: the oracle's choice is the best that can be done, and what is taught is done."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from navloop.agent.planner_agent import create_planner_agent
from navloop.agent.policies.planner import Planner
from navloop.agent.policies.planner_tokens import observe
from navloop.agent.waypoints import ANGLES, DISTANCES, Candidates
from navloop.configs.planner import PlannerAgentConfig, PlannerConfig, WaypointConfig
from navloop.encoders import create_encoder
from navloop.envs.embedded.simulator import EmbeddedSimulator
from navloop.envs.protocols import get_protocol
from navloop.envs.waypoints import WaypointEnv
from navloop.envs.worlds import make_houses
from navloop.training.planning import (
    STOP_WITHIN,
    PlannedWalk,
    TaughtAgent,
    oracle_choice,
    planner_loss,
    train_planner,
)
from navloop.training.rollout import walk
from navloop.training.waypoints import depth_panorama, look_around, train_predictor

PROTOCOL = replace(get_protocol("houses+pano12", 16, depth=True), max_steps=150)
EPISODES = 3


def candidates(seed: int) -> Candidates:
    rng = np.random.default_rng(seed)
    angles, distances = (torch.from_numpy(rng.integers(high, size=(1, 5))) for high in (ANGLES, DISTANCES))
    return Candidates(angles, distances, torch.ones(1, 5), torch.tensor([[True, True, True, True, False]]))


def test_the_oracle_goes_where_carrying_it_out_leads_nearest_and_stops_near_the_goal(houses):
    env = make_houses(houses, "val_unseen", PROTOCOL.with_cameras([]))
    for episode in range(3):
        env.reset(options={"episode": episode})
        before, choices = env.simulator.pose, candidates(episode)
        chosen = oracle_choice(env, choices)
        assert env.simulator.pose.position.tolist() == before.position.tolist()
        assert env.simulator.pose.heading == before.heading
        left = []
        for number in range(4):
            waypoints = WaypointEnv(env)
            waypoints.reset(options={"episode": episode})
            action = {
                "stop": 0,
                "angle": float(choices.angles[0, number]),
                "distance": float(choices.distances[0, number]),
            }
            waypoints.step(action)
            left.append(env.trajectory().distances_to_goal[-1])
        assert left[chosen] == min(left)
        env.reset(options={"episode": episode})
        env.simulator.set_pose(before._replace(position=env.episode.goal_position))
        assert oracle_choice(env, choices) == 5
    assert STOP_WITHIN < PROTOCOL.success_distance


@pytest.fixture(scope="module")
def taught(houses):
    """An agent that knows where one can walk, and its walks with the oracle."""
    texts = [f"instruction {number}" for number in range(3)]
    torch.manual_seed(0)
    config = PlannerAgentConfig(
        waypoints=WaypointConfig(width=48, heads=4, hidden=64, dropout=0.0, depth_channels=16),
        planner=PlannerConfig(
            width=32,
            heads=4,
            hidden=64,
            text_layers=1,
            cross_layers=1,
            panorama_layers=1,
            max_decisions=12,
            rgb_features=32,
            depth_features=16,
            dropout=0.0,
            feature_dropout=0.0,
        ),
    )
    agent = create_planner_agent(config, create_encoder("internvideo_mm_tiny_p16_t4", size=32), texts)
    eyes = depth_panorama(PROTOCOL, side=16)
    simulator = EmbeddedSimulator(houses / "scenes", eyes.body, eyes.cameras, "embree")
    scenes = sorted(path.relative_to(houses / "scenes").as_posix() for path in (houses / "scenes").rglob("*.glb"))
    places = look_around(simulator, scenes, 64, np.random.default_rng(0))
    train_predictor(agent.predictor, agent.eyes, places, steps=100, batch=16, lr=2e-3)
    simulator.close()
    return agent


@torch.no_grad()
def loss_step_by_step(planner: Planner, taken: PlannedWalk) -> float:
    ids = taken.ids[None]
    history, total = [planner.history.begin(1)], 0.0
    for step, (seen, choices) in enumerate(zip(taken.seen, taken.candidates, strict=True)):
        past = torch.stack(history, 1)
        there = torch.ones(past.shape[:2], dtype=torch.bool)
        scores = planner(planner.read(ids), ids != 0, past, there, observe(seen, choices))
        total -= float(scores.log_softmax(1)[0, taken.wanted[step]])
        angle = choices.angles[0, taken.taken[step]] if taken.taken[step] < choices.valid.shape[1] else 0.0
        history.append(planner.remember(seen, torch.tensor([float(angle)]), torch.tensor([step])))
    return total


def test_it_does_what_it_was_taught_and_arrives(houses, taught):
    env = make_houses(houses, "val_unseen", PROTOCOL, renderer="embree")
    teacher = TaughtAgent(taught)
    ids = [episode.episode_id for episode in env.episodes[:EPISODES]]
    shown = [walk(env, teacher, name, seed=0) for name in ids]
    assert len(teacher.walks) == EPISODES and all(w.wanted == w.taken for w in teacher.walks)
    arrived = [PROTOCOL.is_success(trajectory.distances_to_goal[-1]) for trajectory in shown]
    assert sum(arrived) >= EPISODES - 1
    first = float(planner_loss(taught.planner, teacher.walks[0]).detach())
    assert first == pytest.approx(loss_step_by_step(taught.planner, teacher.walks[0]), rel=1e-4)
    losses = train_planner(taught.planner, teacher.walks, steps=300, batch=EPISODES, lr=2e-3)
    assert losses[-1] < 0.1 < losses[0]
    done = [walk(env, taught, name, seed=0) for name in ids]
    for one, other in zip(shown, done, strict=True):
        assert one.actions.tolist() == other.actions.tolist()


def test_without_the_oracle_its_own_choices_are_walked_and_the_oracle_is_kept(houses, taught):
    env = make_houses(houses, "val_unseen", replace(PROTOCOL, max_steps=20), renderer="embree")
    alone, kept = taught, TaughtAgent(taught, share=0.0)
    name = env.episodes[4].episode_id
    assert walk(env, kept, name, seed=0).actions.tolist() == walk(env, alone, name, seed=0).actions.tolist()
    (only,) = kept.walks
    assert len(only.wanted) == len(only.taken) == len(only.seen) >= 1
