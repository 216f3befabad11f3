"""An agent gets the frames it looks at and no others, and what it does not see changes nothing of what is measured."""

import json

import numpy as np
import pytest

from navloop.agent import cameras_of, create_agent, list_agents
from navloop.configs.schema import EvalConfig
from navloop.envs.episodes import read_episodes
from navloop.envs.metrics import evaluate as measure
from navloop.envs.navigation import NavigationEnv
from navloop.envs.protocols import get_protocol
from navloop.envs.simulator import Action
from navloop.envs.worlds import create_simulator
from navloop.training.evaluation import evaluate
from navloop.training.results import pace, read_evaluation
from navloop.training.rollout import episode_seed, walk
from navloop.training.rows import Row
from navloop.training.walker import Walker


class Onlooker:
    """Goes ahead for three steps and keeps what it was shown; says nothing of what it looks at."""

    def reset(self, env, seed):
        self.space, self.shown = env.observation_space, []

    def act(self, observation, info):
        self.shown.append(observation)
        return Action.FORWARD if len(self.shown) < 4 else Action.STOP


class DepthReader(Onlooker):
    looks_at = frozenset({"depth"})


@pytest.fixture(scope="module")
def config(houses, val_unseen):
    return EvalConfig(
        scenes=str(houses / "scenes"),
        episodes=str(val_unseen),
        protocol="r2r-ce",
        agents=("expert", "random"),
        workers=1,
    )


@pytest.fixture(scope="module")
def episodes(val_unseen):
    return read_episodes(val_unseen).episodes[:4]


@pytest.fixture
def walker(config):
    made = Walker(config)
    yield made
    made.close()


def test_rows_are_those_of_agents_that_are_shown_everything(config, episodes, walker):
    protocol = get_protocol("r2r-ce")
    simulator = create_simulator("embedded", config.scenes, protocol)
    for name in list_agents():
        for episode in episodes[:1]:
            seed = episode_seed(config.seed, episode.episode_id)
            env = NavigationEnv(simulator, [episode], protocol)
            seen = walk(env, create_agent(name), episode.episode_id, seed)
            assert set(env.observation_space) == {"rgb", "depth", "instruction"}
            expected = Row.of(episode, seed, measure(seen, episode, protocol), seen)
            assert walker.walk(create_agent(name), episode).to_line() == expected.to_line()
    simulator.close()


def test_an_agent_that_says_nothing_is_shown_every_camera(walker, episodes):
    agent = Onlooker()
    walker.walk(agent, episodes[0])
    assert [set(seen) for seen in agent.shown] == [{"rgb", "depth", "instruction"}] * 4
    assert all(agent.space.contains(seen) for seen in agent.shown)


def test_an_agent_is_shown_what_it_looks_at_alone(walker, episodes):
    everything, depth = Onlooker(), DepthReader()
    for agent in (everything, depth, create_agent("expert"), DepthReader()):  # the world is made anew for other eyes
        walker.walk(agent, episodes[0])
    assert [set(seen) for seen in depth.shown] == [{"depth", "instruction"}] * 4
    assert all(depth.space.contains(seen) for seen in depth.shown)
    for alone, among in zip(depth.shown, everything.shown, strict=True):
        np.testing.assert_array_equal(alone["depth"], among["depth"])


def test_the_agents_that_ship_look_at_nothing():
    assert all(cameras_of(create_agent(name), get_protocol("r2r-ce")) == () for name in list_agents())


def test_a_camera_that_the_protocol_lacks_is_named():
    with pytest.raises(ValueError, match=r"DepthReader looks at depth, but houses@1 has rgb; choose another protocol"):
        cameras_of(DepthReader(), get_protocol("houses"))


def test_results_say_what_was_rendered(config, tmp_path):
    evaluation = evaluate(config.model_copy(update={"max_episodes": 2}), tmp_path / "run")
    header = evaluation.header
    assert header.cameras == {"expert": [], "random": []}
    assert header.sessions[-1].agents == ["expert", "random"]
    assert pace(header, header.sessions).endswith(" steps/s with 1 worker, no frames rendered")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["agents"]["random"]["cameras"] == []
    assert read_evaluation(tmp_path / "run").header == header
    header.cameras["random"].append("rgb")
    assert pace(header, header.sessions).endswith("no frames rendered for expert; rgb rendered for random")
