"""Agents over policies: one environment or many give the same walks; folders hold all of an agent."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from navloop.agent import SeparateAgents, cameras_of, create_agent
from navloop.agent.policies import ACTIONS
from navloop.agent.policy_agent import PolicyAgent, create_policy_agent
from navloop.agent.saving import agent_digest, is_agent, load_agent, save_agent
from navloop.configs.agents import AgentConfig, PerceptionConfig, PolicyConfig, WordsConfig
from navloop.encoders import create_encoder, save_encoder
from navloop.envs.navigation import NavigationEnv
from navloop.envs.protocols import get_protocol
from navloop.envs.worlds import make_houses
from navloop.weights import WeightsError, write_weights

TEXTS = ("Walk past the red sofa and stop at the door.", "Turn left into the kitchen; wait by the table.")
PROTOCOL = replace(get_protocol("houses").with_resolution(64).with_depth(), max_steps=25)


def config(**fields: object) -> AgentConfig:
    perception = {"grid": 2} | {
        name: fields.pop(name) for name in tuple(fields) if name in PerceptionConfig.model_fields
    }
    policy = {"width": 32, "turn_deg": 15.0} | fields
    return AgentConfig(perception=PerceptionConfig(**perception), policy=PolicyConfig(**policy))


def agent(**fields: object) -> PolicyAgent:
    made = create_policy_agent(config(**fields), TEXTS, protocol=PROTOCOL.label, seed=5)
    with torch.no_grad():
        made.policy.heads.action.weight.mul_(40)  # decided, and in different ways
        made.policy.heads.action.bias[0] = -3
    return made.eval()


def single_walk(made: PolicyAgent, env: NavigationEnv, episode: int, seed: int = 0) -> list[int]:
    observation, info = env.reset(options={"episode": episode})
    made.reset(env, seed)
    done, actions = False, []
    while not done:
        actions.append(made.act(observation, info))
        observation, _, terminated, truncated, info = env.step(actions[-1])
        done = terminated or truncated
    return actions


def walks_at_once(made, envs: list[NavigationEnv], episodes: int) -> dict[int, list[int]]:
    """Walk episodes in the order of their numbers, each in the first environment that is free."""
    waiting, actions = list(range(episodes)), {i: [] for i in range(episodes)}
    now: dict[int, tuple] = {}
    made.start(len(envs))
    while waiting or now:
        for place, env in enumerate(envs):
            if place not in now and waiting:
                number = waiting.pop(0)
                now[place] = (number, *env.reset(options={"episode": number}))
                made.restart(place, env, seed=number)
        places = sorted(now)
        chosen = made.act_all(places, [now[p][1] for p in places], [now[p][2] for p in places])
        for place, action in zip(places, chosen, strict=True):
            number = now[place][0]
            actions[number].append(action)
            observation, _, terminated, truncated, info = envs[place].step(action)
            now[place] = (number, observation, info)
            if terminated or truncated:
                del now[place]
    return actions


@pytest.fixture(scope="module")
def envs(houses) -> list[NavigationEnv]:
    return [make_houses(houses, "val_unseen", PROTOCOL) for _ in range(3)]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "streaming", "depth": True},
        {"kind": "cma", "encoder": "internvideo_tiny_p16_t8", "features": "clip"},
        {"kind": "seq2seq", "encoder": "videomae_tiny_p16_t8", "every": 2},
    ],
    ids=lambda fields: fields["kind"],
)
def test_many_environments_walk_as_one_by_one(envs, fields, temperature):
    made = agent(**fields)
    made.temperature = temperature
    together = walks_at_once(made, envs, 7)
    assert temperature == 0 or len({tuple(walk) for walk in together.values()}) > 3
    for episode, actions in together.items():
        assert single_walk(made, envs[0], episode, seed=episode) == actions


def test_separate_agents_walk_as_one_by_one(envs):
    together = walks_at_once(SeparateAgents(lambda: create_agent("handcrafted")), envs, 5)
    for episode, actions in together.items():
        assert single_walk(create_agent("handcrafted"), envs[0], episode, seed=episode) == actions


def test_drawn_actions_have_the_probabilities_of_the_scores(envs):
    made = agent(kind="cma")
    made.temperature = 0.5
    observation, info = envs[0].reset(options={"episode": 0})
    drawn = []
    for seed in range(400):
        made.reset(envs[0], seed)
        drawn.append(made.act(observation, info))
    expected = (made.scores[0] / 0.5).softmax(-1).numpy()
    assert np.bincount(drawn, minlength=ACTIONS) / 400 == pytest.approx(expected, abs=0.08)
    assert np.sort(expected)[-2] > 0.05


def test_what_was_done_instead_is_what_it_remembers(envs):
    made = agent(kind="seq2seq")
    observation, info = envs[0].reset(options={"episode": 0})
    scores = []
    for instead in (None, 2, 3):
        made.reset(envs[0], 0)
        made.act(observation, info)
        if instead is not None:
            made.override(0, instead)
        made.act(observation, info)
        scores.append(made.scores[0])
    assert not torch.equal(scores[1], scores[2])


def test_an_agent_in_training_hears_and_sees_without_dropout(envs):
    made = agent(kind="streaming", dropout=0.9, trainable=True)
    observation, info = envs[0].reset(options={"episode": 0})
    scores = []
    for training in (False, True):
        made.policy.train(training)
        made.perception.train(training)
        made.reset(envs[0], 0)
        made.act(observation, info)
        scores.append(made.scores)
        assert all(module.training == training for module in (*made.policy.modules(), *made.perception.modules()))
    assert torch.equal(*scores)


def test_it_is_told_by_the_instruction_that_comes_with_the_frame(envs):
    made = agent(kind="streaming")
    observation, info = envs[0].reset(options={"episode": 0})
    scores = []
    for text in TEXTS:
        made.reset(envs[0], 0)
        made.act({**observation, "instruction": text}, info)
        scores.append(made.scores[0])
    assert (scores[0] - scores[1]).abs().max() > 1e-4


def test_a_place_without_a_walk_does_not_act(envs):
    made = agent()
    observation, info = envs[0].reset(options={"episode": 0})
    made.start(2)
    with pytest.raises(ValueError, match="place 1 has no walk"):
        made.act_all([1], [observation], [info])
    for place in (0, 1):
        made.restart(place, envs[0], 0)
    made.act_all([0, 1], [observation] * 2, [info] * 2)
    made.act_all([0], [observation], [info])
    with pytest.raises(ValueError, match="place 1 has no walk"):
        made.act_all([0, 1], [observation] * 2, [info] * 2)


def test_turns_that_it_does_not_reckon_with_are_refused(envs):
    made = agent(turn_deg=30.0)
    with pytest.raises(ValueError, match=r"turns of 30 degrees, .* turns by 15"):
        made.reset(envs[0], 0)


def test_it_looks_at_the_cameras_that_it_uses():
    assert [c.name for c in cameras_of(agent(), PROTOCOL)] == ["rgb"]
    assert [c.name for c in cameras_of(agent(depth=True), PROTOCOL)] == ["rgb", "depth"]
    with pytest.raises(ValueError, match="looks at depth, but"):
        cameras_of(agent(depth=True), get_protocol("houses"))


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "streaming", "depth": True, "layers": 2, "memory": 40},
        {"kind": "cma", "words": WordsConfig(encoder="gru"), "encoder": "internvideo_tiny_p16_t8"},
        {"kind": "seq2seq", "words": WordsConfig(encoder="tower")},
    ],
    ids=lambda fields: fields["kind"],
)
def test_a_loaded_agent_is_the_saved_one(envs, tmp_path, fields):
    made = agent(**fields)
    made.policy.train()
    observation, info = envs[0].reset(options={"episode": 3})
    save_agent(made, tmp_path / "agent")
    loaded = load_agent(tmp_path / "agent")
    assert loaded.config == made.config and loaded.protocol == PROTOCOL.label
    assert not loaded.policy.training
    made.eval()
    for each in (made, loaded):
        each.reset(envs[0], 0)
    for _ in range(3):
        assert made.act(observation, info) == loaded.act(observation, info)
        assert torch.equal(made.scores, loaded.scores)
    assert loaded.perception.digest == made.perception.digest


def test_a_saved_agent_needs_no_file_outside_its_folder(tmp_path):
    encoder = create_encoder("internvideo_mm_tiny_p16_t4", size=48)
    save_encoder(encoder, tmp_path / "e.safetensors")
    made = create_policy_agent(config(encoder=None, weights=str(tmp_path / "e.safetensors")), TEXTS)
    save_agent(made, tmp_path / "agent")
    (tmp_path / "e.safetensors").unlink()
    (tmp_path / "agent").rename(tmp_path / "moved")
    assert load_agent(tmp_path / "moved").perception.encoder.pixels.size == 48


def test_the_digest_is_of_the_agent_and_not_of_its_place(tmp_path):
    made = agent()
    assert not is_agent(tmp_path / "a")
    for name in ("a", "b"):
        save_agent(made, tmp_path / name)
        assert is_agent(tmp_path / name)
    assert agent_digest(tmp_path / "a") == agent_digest(tmp_path / "b")
    with torch.no_grad():
        made.policy.heads.action.bias[1] += 1e-4
    save_agent(made, tmp_path / "b")
    assert agent_digest(tmp_path / "a") != agent_digest(tmp_path / "b")


def test_damaged_folders_are_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"holds no saved agent, there is no agent.json"):
        load_agent(tmp_path)
    made, folder = agent(), tmp_path / "agent"
    save_agent(made, folder)
    state = made.policy.state_dict()
    write_weights(folder / "policy.safetensors", {**state, "heads.action.bias": torch.ones(ACTIONS)})
    with pytest.raises(WeightsError, match=r"policy.safetensors: has the digest sha256:\w+, agent.json says sha256:"):
        load_agent(folder)
    save_agent(made, folder)
    card = json.loads((folder / "agent.json").read_text())
    card["config"]["policy"]["width"] = 64
    (folder / "agent.json").write_text(json.dumps(card))
    with pytest.raises(WeightsError, match=r"is of another policy than agent.json says"):
        load_agent(folder)
    (folder / "agent.json").write_text("{}")
    with pytest.raises(WeightsError, match="does not know"):
        load_agent(folder)


def test_nothing_in_a_weights_file_is_run(tmp_path):
    save_agent(agent(), tmp_path / "agent")
    (tmp_path / "agent" / "policy.safetensors").unlink()
    torch.save({"heads.action.bias": math.sqrt}, tmp_path / "agent" / "policy.safetensors")
    with pytest.raises(WeightsError, match="nothing of it was loaded"):
        load_agent(tmp_path / "agent")


def test_words_that_were_never_trained_are_refused():
    with pytest.raises(ValueError, match="no words to learn"):
        create_policy_agent(config())
    with pytest.raises(ValueError, match="has no text tower"):
        create_policy_agent(config(encoder="videomae_tiny_p16_t8", words=WordsConfig(encoder="tower")), TEXTS)
