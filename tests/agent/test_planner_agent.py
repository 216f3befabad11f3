"""The planning agent: it walks to what it chooses, alone or among others alike, and is saved whole."""

import math
from collections import deque
from dataclasses import replace

import numpy as np
import pytest
import torch

from navloop.agent import cameras_of
from navloop.agent.planner_agent import Place, PlannerAgent, create_planner_agent
from navloop.agent.planner_saving import PLANNERS, is_planner, load_planner, planner_digest, save_planner
from navloop.configs.planner import PlannerAgentConfig, PlannerConfig, WaypointConfig
from navloop.configs.schema import EvalConfig
from navloop.encoders import create_encoder
from navloop.envs.navigation import NavigationEnv
from navloop.envs.protocols import get_protocol
from navloop.envs.simulator import Action
from navloop.envs.waypoints import WaypointEnv
from navloop.envs.worlds import make_houses
from navloop.training.evaluation import evaluate
from navloop.weights import WeightsError, write_weights

TEXTS = ("Walk past the red sofa and stop at the door.", "Turn left into the kitchen; wait by the table.")
PROTOCOL = replace(get_protocol("houses+pano12", 16, depth=True), max_steps=40)
CONFIG = PlannerAgentConfig(
    waypoints=WaypointConfig(width=16, heads=2, hidden=16, dropout=0.0, depth_channels=8),
    planner=PlannerConfig(
        width=16,
        heads=2,
        hidden=16,
        text_layers=1,
        cross_layers=1,
        panorama_layers=1,
        max_words=40,
        max_decisions=5,
        rgb_features=16,
        depth_features=8,
    ),
)


def agent(seed: int = 0, **config: object) -> PlannerAgent:
    torch.manual_seed(0)
    encoder = create_encoder("internvideo_mm_tiny_p16_t4", size=32)
    made = create_planner_agent(CONFIG.model_copy(update=config), encoder, TEXTS, protocol=PROTOCOL.label, seed=seed)
    with torch.no_grad():
        for part in (made.predictor.head[2], made.planner.head[4]):
            part.weight.mul_(50)  # decided, and in different ways
    return made


@pytest.fixture
def env(houses):
    made = make_houses(houses, "val_unseen", PROTOCOL, renderer="embree")
    yield made
    made.close()


def walk(made: PlannerAgent, env: NavigationEnv, episode: int, seed: int = 0) -> list[int]:
    observation, info = env.reset(options={"episode": episode})
    made.reset(env, seed)
    actions, done = [], False
    while not done:
        actions.append(made.act(observation, info))
        observation, _, terminated, truncated, info = env.step(actions[-1])
        done = terminated or truncated
    return actions


def test_a_protocol_by_name_has_the_panorama_that_it_looks_at():
    assert len(cameras_of(agent(), PROTOCOL)) == 24
    with pytest.raises(ValueError, match="rgb_030"):
        cameras_of(agent(), get_protocol("houses", 16, depth=True))
    with pytest.raises(ValueError, match="pano12"):
        get_protocol("houses+pano7")


def test_it_walks_to_the_candidate_that_scores_best_as_the_waypoint_environment_does(env, houses):
    made = agent()
    observation, info = env.reset(options={"episode": 0})
    made.reset(env, 0)
    decisions, expected = 0, {}
    waypoints = WaypointEnv(make_houses(houses, "val_unseen", PROTOCOL.with_cameras([])))
    waypoints.reset(options={"episode": 0})
    while decisions < 3:
        before = made.scores
        action = made.act(observation, info)
        if made.scores is not before:  # it decided
            if decisions:
                np.testing.assert_allclose(info["position"], expected["position"], atol=1e-9)
                assert math.remainder(info["heading"] - expected["heading"], 2 * math.pi) == pytest.approx(0, abs=1e-9)
            choice = int(made.scores[0].argmax())
            assert made.candidates.valid[0, choice] if choice < made.scores.shape[1] - 1 else action == Action.STOP
            if action == Action.STOP:
                break
            chosen = {
                "stop": 0,
                "angle": float(made.candidates.angles[0, choice]),
                "distance": float(made.candidates.distances[0, choice]),
            }
            *_, expected = waypoints.step(chosen)
            decisions += 1
        observation, _, _, truncated, info = env.step(action)
        if truncated:
            break
    assert decisions >= 1


def test_it_stops_after_its_last_decision_and_at_once_if_that_scores_best(env):
    arrived = agent()
    score = arrived._score

    def best_of_all(places, seen, candidates):
        scores = score(places, seen, candidates)
        scores[:, candidates.valid.shape[1]] += 1e4
        return scores

    arrived._score = best_of_all
    assert walk(arrived, env, 1) == [Action.STOP]
    assert Action.FORWARD in walk(agent(), env, 1)
    short = agent(planner=CONFIG.planner.model_copy(update={"max_decisions": 1}))
    observation, info = env.reset(options={"episode": 1})
    short.reset(env, 0)
    first = []
    while not first or first[-1] != Action.STOP:
        first.append(short.act(observation, info))
        observation, _, _, _, info = env.step(first[-1])
    assert len(first) <= 12 + 12 + 1  # half a circle, 3 metres, the stop


def test_walks_side_by_side_are_the_walks_alone(houses, env):
    made = agent()
    alone = [walk(made, env, episode) for episode in range(2)]
    envs = [make_houses(houses, "val_unseen", PROTOCOL, renderer="embree") for _ in range(2)]
    made.start(2)
    now, together = {}, {0: [], 1: []}
    for place, each in enumerate(envs):
        now[place] = each.reset(options={"episode": place})
        made.restart(place, each, 0)
    while now:
        places = sorted(now)
        actions = made.act_all(places, [now[p][0] for p in places], [now[p][1] for p in places])
        for place, action in zip(places, actions, strict=True):
            together[place].append(action)
            observation, _, terminated, truncated, info = envs[place].step(action)
            now[place] = observation, info
            if terminated or truncated:
                del now[place]
    assert [together[0], together[1]] == alone
    made.start(2)
    with pytest.raises(ValueError, match="restart"):
        made.act_all([0], [{}], [{}])
    for each in envs:
        each.close()


def test_the_edges_of_larger_views_are_seen():
    made = agent()
    views = np.full((2, 12, 128, 128, 3), 60, np.uint8)
    views[1, :, :, :3] = 255
    places = [Place() for _ in views]
    for place, frames in zip(places, views, strict=True):
        place.frames = deque([frames] * made.encoder.num_frames)
    plain, edged = made._encode(places)
    assert ((edged - plain).norm(dim=-1) > 0.02 * plain.norm(dim=-1)).all()


def test_an_override_makes_it_decide_anew(env):
    made = agent()
    observation, info = env.reset(options={"episode": 0})
    made.reset(env, 0)
    made.act(observation, info)
    scores = made.scores
    made.override(0, Action.LEFT)
    observation, *_, info = env.step(Action.LEFT)
    made.act(observation, info)
    assert made.scores is not scores


def test_a_saved_agent_walks_as_before_and_another_is_refused(tmp_path, env):
    made = agent()
    save_planner(made, tmp_path / "a")
    loaded = load_planner(tmp_path / "a")
    assert loaded.protocol == PROTOCOL.label == "houses@1+pano12" and loaded.config == made.config
    assert walk(loaded, env, 2) == walk(made, env, 2)
    save_planner(agent(seed=1), tmp_path / "b")
    assert is_planner(tmp_path / "a") and not is_planner(tmp_path)
    assert planner_digest(tmp_path / "a") != planner_digest(tmp_path / "b")
    state = {name: tensor + 1 for name, tensor in made.planner.state_dict().items()}
    write_weights(tmp_path / "a" / PLANNERS.weights, state)
    with pytest.raises(WeightsError, match="digest"):
        load_planner(tmp_path / "a")
    with pytest.raises(WeightsError, match="no saved agent"):
        load_planner(tmp_path)


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="depth_features"):
        PlannerAgentConfig(waypoints=WaypointConfig(depth_channels=64))
    with pytest.raises(ValueError, match="no words"):
        create_planner_agent(CONFIG, create_encoder("internvideo_mm_tiny_p16_t4", size=32), [""])


def test_it_is_measured_as_other_saved_agents_are(tmp_path, houses):
    save_planner(agent(), tmp_path / "planner")
    config = EvalConfig(
        name="planned",
        episodes=str(houses / "episodes" / "val_unseen" / "val_unseen.json.gz"),
        scenes=str(houses / "scenes"),
        protocol="houses+pano12",
        pixels=16,
        depth=True,
        agents=(str(tmp_path / "planner"), "forward"),
        max_episodes=2,
        workers=1,
    )
    measured = evaluate(config, tmp_path / "run")
    assert {label: len(rows) for label, rows in measured.rows.items()} == {"planner": 2, "forward": 2}
    assert measured.header.protocol == "houses@1+pano12"
    again = evaluate(config.model_copy(update={"lanes": 1}), tmp_path / "again")
    walked = [{row.episode_id: row.actions.tolist() for row in each.rows["planner"]} for each in (measured, again)]
    assert walked[0] == walked[1]
