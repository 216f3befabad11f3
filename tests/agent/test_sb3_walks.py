"""PPO over policies that remember: whole walks, likely where learned from as where drawn, and frames encoded once."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical, kl_divergence

pytest.importorskip("stable_baselines3", reason="stable-baselines3 is not installed")

from stable_baselines3 import PPO

from navloop.agent.policies import ACTIONS
from navloop.agent.policy_agent import PolicyAgent, create_policy_agent
from navloop.agent.sb3.extractor import PerceptExtractor
from navloop.agent.sb3.perceiving import PerceivingVecEnv, create_environments
from navloop.agent.sb3.policy import divergence
from navloop.agent.sb3.ppo import Round, WalkPPO
from navloop.agent.sb3.walks import WalkRolloutBuffer, instructions_of
from navloop.configs.agents import AgentConfig, PerceptionConfig, PolicyConfig
from navloop.configs.reinforcement import PPOConfig
from navloop.envs.episodes import read_episodes
from navloop.envs.navigation import Reward
from navloop.envs.protocols import get_protocol
from navloop.envs.worlds import create_simulators

ENVIRONMENTS, STEPS = 3, 24
ROUND = Round(seed=5, draws=7, lr=1e-3, alone=False)


@pytest.fixture(scope="module")
def episodes(houses):
    return read_episodes(houses / "episodes" / "train" / "train.json.gz").episodes


@pytest.fixture(scope="module")
def simulators(houses):
    made = create_simulators(ENVIRONMENTS, "embedded", houses / "scenes", get_protocol("houses", 32))
    yield made
    for simulator in made:
        simulator.close()


@pytest.fixture
def agent_of(episodes):
    def create(kind: str, **perception: object) -> PolicyAgent:
        """Return an agent that seldom stops, as one that is trained would."""
        seen = PerceptionConfig.model_validate({"size": 32, "grid": 2, **perception})
        config = AgentConfig(perception=seen, policy=PolicyConfig(kind=kind, width=32, turn_deg=15))
        agent = create_policy_agent(config, [e.instruction.text for e in episodes], seed=1).eval()
        with torch.no_grad():
            agent.policy.heads.action.weight.mul_(30)
            agent.policy.heads.action.bias[0] = -2.0
        return agent

    return create


@pytest.fixture
def venv_of(episodes, simulators):
    def create(agent: PolicyAgent, limit: int | None = None) -> PerceivingVecEnv:
        protocol = get_protocol("houses", 32)
        protocol = protocol if limit is None else replace(protocol, max_steps=limit)
        makes = [partial(lambda one: one, simulator) for simulator in simulators]
        venv = create_environments(makes, episodes, protocol, Reward())
        return PerceivingVecEnv(venv, agent, [episode.instruction.text for episode in episodes])

    return create


@pytest.fixture
def ppo_of(venv_of):
    def create(agent: PolicyAgent, reference: bool = False, limit: int | None = None, **fields: object) -> WalkPPO:
        config = PPOConfig.model_validate({"epochs": 2, "batch": STEPS, "target_kl": None, **fields})
        torch.manual_seed(0)
        policy = agent.policy
        return WalkPPO(venv_of(agent, limit), policy, config, STEPS, "cpu", policy if reference else None)

    return create


def collect(ppo: WalkPPO) -> WalkRolloutBuffer:
    """Fill the buffer without learning."""
    _, nobody = ppo._setup_learn(0, None, False)
    ppo._round = ROUND
    ppo.collect_rollouts(ppo.get_env(), nobody, ppo.rollout_buffer, STEPS)
    return ppo.rollout_buffer


@given(st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=1, max_size=4), st.integers(1, 40))
@settings(max_examples=50)
def test_batches_hold_every_step_once_and_each_walk_whole(starts, size):
    count = len(starts)
    space = spaces.Dict(
        {
            "percepts": spaces.Box(-999, 999, (1, 2), np.float16),
            "words": spaces.Box(0, 99, (2,), np.int32),
            "previous": spaces.Box(0, ACTIONS, (), np.int64),
        }
    )
    buffer = WalkRolloutBuffer(7, space, spaces.Discrete(4), "cpu", n_envs=count)
    buffer.episode_starts[:] = np.array(starts).T
    buffer.episode_starts[0] = 1
    numbers = np.arange(7 * count).reshape(7, count)
    buffer.observations["percepts"][:] = numbers[..., None, None]
    buffer.values[:] = buffer.actions[..., 0] = buffer.returns[:] = numbers
    buffer.full = True
    batches = list(buffer.get(size))
    flat = torch.cat([batch.old_values for batch in batches])
    assert sorted(flat.tolist()) == numbers.flatten().tolist()
    for batch in batches:
        seen, valid = batch.observations["percepts"][:, :, 0, 0].long(), batch.observations["valid"]
        assert torch.equal(seen[valid].float(), batch.old_values)  # numbers stand beside what they are of
        assert torch.equal(batch.actions.flatten().float(), batch.returns)
        for walk, there in zip(seen, valid, strict=True):
            steps, places = walk[there] // count, walk[there] % count
            assert len(places.unique()) == 1 and (steps.diff() == 1).all()
            assert buffer.episode_starts[steps[0], places[0]] == 1
            end = int(steps[-1]) + 1
            assert end == 7 or buffer.episode_starts[end, places[0]] == 1
    whole = 7 * count if size >= 7 * count else size + 7
    assert max(len(batch.old_values) for batch in batches) <= whole


@pytest.mark.parametrize("kind", ["seq2seq", "cma", "streaming"])
def test_actions_are_as_likely_where_learned_from_as_where_drawn(agent_of, ppo_of, kind):
    ppo = ppo_of(agent_of(kind, depth=False))
    buffer = collect(ppo)
    assert len(buffer.segments()) > ENVIRONMENTS  # some walks begin amid the rollout
    ppo.policy.set_training_mode(True)
    for batch in buffer.get(STEPS):
        values, likely, _ = ppo.policy.evaluate_actions(batch.observations, batch.actions.long().flatten())
        torch.testing.assert_close(likely, batch.old_log_prob, atol=2e-4, rtol=1e-4)
        torch.testing.assert_close(values.flatten(), batch.old_values, atol=2e-4, rtol=1e-4)


def test_a_rollout_remembers_what_was_done_and_what_was_said(agent_of, ppo_of, episodes):
    agent = agent_of("streaming")
    ppo = ppo_of(agent)
    buffer = collect(ppo)
    previous, starts = buffer.observations["previous"], buffer.episode_starts.astype(bool)
    assert starts[0].all()
    assert (previous[starts] == ACTIONS).all()
    assert np.array_equal(previous[1:][~starts[1:]], buffer.actions[:-1, :, 0][~starts[1:]])
    known = {tuple(agent.policy.read([e.instruction.text]).ids[0].tolist()) for e in episodes}
    said = {tuple(row[row > 0].tolist()) for row in buffer.observations["words"].reshape(-1, ppo.get_env()._length)}
    assert said <= known and len(said) > 1


def test_no_reward_is_expected_beyond_the_limit_of_steps(agent_of, ppo_of):
    """What stable-baselines3 would add to the last reward of a walk that came to the limit is not there."""
    ppo = ppo_of(agent_of("seq2seq"), limit=6, gae=1.0, discount=0.9)
    venv, rewarded = ppo.get_env(), []
    step = venv.venv.step_wait

    def noted():
        observation, rewards, dones, infos = step()
        rewarded.append((np.array(rewards, np.float32), [bool(info["TimeLimit.truncated"]) for info in infos]))
        return observation, rewards, dones, infos

    venv.venv.step_wait = noted
    buffer = collect(ppo)
    assert any(any(truncated) for _, truncated in rewarded)
    np.testing.assert_allclose(buffer.rewards, [rewards for rewards, _ in rewarded], atol=1e-6)
    for walk in buffer.segments():
        if walk.end == STEPS:
            continue
        rewards = buffer.rewards[walk.begin : walk.end, walk.place]
        returns = [float(sum(0.9**k * r for k, r in enumerate(rewards[i:]))) for i in range(len(rewards))]
        np.testing.assert_allclose(buffer.returns[walk.begin : walk.end, walk.place], returns, atol=1e-4)


@pytest.mark.parametrize("features", ["frame", "clip"])
def test_frames_are_encoded_once_however_often_they_are_learned_from(agent_of, ppo_of, features):
    agent = agent_of("streaming", features=features)
    seen: list[int] = []
    convolution = next(
        m for m in agent.perception.encoder.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Conv3d)
    )
    convolution.register_forward_hook(lambda _, inputs, output: seen.append(len(inputs[0])))
    ppo = ppo_of(agent, epochs=3)
    ppo.go_round(ROUND)
    assert sum(seen) == ENVIRONMENTS * (STEPS + 1)
    found = ppo.go_round(ROUND)
    assert found["walks"] + found["cut_off"] == len(ppo.rollout_buffer.segments()) and found["cut_off"] <= ENVIRONMENTS
    assert sum(seen) == 2 * ENVIRONMENTS * (STEPS + 1)


def test_the_critic_learns_alone_where_it_is_told(agent_of, ppo_of):
    agent = agent_of("cma")
    ppo = ppo_of(agent)
    policy, critic = deepcopy(agent.policy.state_dict()), deepcopy(ppo.policy.critic.state_dict())
    ppo.go_round(Round(5, 7, 1e-3, alone=True))
    assert all(torch.equal(value, policy[name]) for name, value in agent.policy.state_dict().items())
    assert any(not torch.equal(value, critic[name]) for name, value in ppo.policy.critic.state_dict().items())
    ppo.go_round(ROUND)
    assert any(not torch.equal(value, policy[name]) for name, value in agent.policy.state_dict().items())


def test_a_steep_critic_and_small_gradients_do_not_hold_the_policy_back(agent_of, ppo_of):
    ppo = ppo_of(agent_of("cma"), max_gradient=0.5)
    walker, critic = (group["params"] for group in ppo.policy.optimizer.param_groups)
    before = [weights.detach().clone() for weights in walker]
    for weights in walker:
        weights.grad = torch.full_like(weights, 1e-6)
    for weights in critic:
        weights.grad = torch.full_like(weights, 10.0)
    torch.nn.utils.clip_grad_norm_(ppo.policy.parameters(), ppo.max_grad_norm)  # as stable-baselines3 does
    ppo.policy.optimizer.step()
    assert torch.cat([weights.grad.flatten() for weights in critic]).norm() == pytest.approx(0.5, rel=1e-4)
    for weights, old in zip(walker, before, strict=True):
        assert weights.grad == pytest.approx(1e-6)
        torch.testing.assert_close(old - weights.detach(), torch.full_like(old, 1e-4), rtol=0.05, atol=1e-5)


def test_the_critic_foresees_the_reward_of_walks_that_it_knows(agent_of, ppo_of):
    ppo = ppo_of(agent_of("streaming"), epochs=16, gae=1.0, discount=0.95, critic_lr=1.0)
    ppo.calibrate(ROUND)
    # The policy stays, so the walks are the same each time.
    again = [ppo.go_round(Round(5, 7, 1e-2, alone=True))["explained_variance"] for _ in range(10)]
    assert again[0] < 0.1
    assert again[-1] > 0.5


def test_divergence_holds_a_policy_near_where_it_started(agent_of, ppo_of):
    away = {}
    for weight in (1e-6, 100.0):
        ppo = ppo_of(agent_of("streaming"), reference=True, kl=weight, epochs=4)
        found = [ppo.go_round(Round(seed, seed, 1e-3, False)) for seed in range(2)]
        away[weight] = found[-1]["kl_from_start"]
    assert away[100.0] < 0.2 * away[1e-6]


@given(st.lists(st.floats(-8, 8, width=32), min_size=8, max_size=8))
def test_divergence_is_that_of_torch(numbers):
    first, second = torch.tensor(numbers).view(2, 1, 4).log_softmax(-1)
    expected = kl_divergence(Categorical(logits=first), Categorical(logits=second))
    torch.testing.assert_close(divergence(first, second), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["PPO", "RecurrentPPO"])
def test_other_algorithms_take_the_same_environments(agent_of, venv_of, name):
    agent = agent_of("streaming")
    kwargs = {"features_extractor_class": PerceptExtractor, "features_extractor_kwargs": {"agent": agent}}
    algorithm, policy = PPO, "MultiInputPolicy"
    if name == "RecurrentPPO":
        contrib = pytest.importorskip("sb3_contrib", reason="sb3-contrib is not installed")
        algorithm, policy = contrib.RecurrentPPO, "MultiInputLstmPolicy"
    model = algorithm(policy, venv_of(agent), n_steps=8, batch_size=8, n_epochs=1, policy_kwargs=kwargs, device="cpu")
    before = model.policy.features_extractor.sight.join.weight.detach().clone()
    assert torch.equal(before, agent.policy.sight.join.weight)
    model.learn(8 * ENVIRONMENTS)
    assert not torch.equal(before, model.policy.features_extractor.sight.join.weight)
    assert torch.equal(before, agent.policy.sight.join.weight)  # the agent's own stays


def extractor_of(agent: PolicyAgent, venv: PerceivingVecEnv) -> PerceptExtractor:
    return PerceptExtractor(venv.observation_space, agent)


def tensors(observations) -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(array) for name, array in observations.items()}


def test_other_policies_learn_from_the_features_that_they_acted_on(agent_of, venv_of):
    """Nothing is dropped: in the first pass, before anything is learned, each action is exactly as likely as when it was drawn."""
    agent = agent_of("streaming")
    venv = venv_of(agent)
    extractor, seen = extractor_of(agent, venv), tensors(venv.reset())
    assert torch.equal(extractor.train(False)(seen), extractor.train(True)(seen))
    kwargs = {"features_extractor_class": PerceptExtractor, "features_extractor_kwargs": {"agent": agent}}
    model = PPO("MultiInputPolicy", venv, n_steps=8, batch_size=24, n_epochs=1, learning_rate=0.0, policy_kwargs=kwargs)
    model.learn(8 * ENVIRONMENTS)
    assert model.logger.name_to_value["train/approx_kl"] == pytest.approx(0, abs=1e-6)
    assert model.logger.name_to_value["train/clip_fraction"] == 0


def test_other_policies_see_depth_where_the_agent_does(agent_of, venv_of, episodes):
    agent = agent_of("streaming", depth=True)
    layout = agent.perception.layout
    space = spaces.Dict(
        {
            "percepts": spaces.Box(-np.inf, np.inf, (layout.tokens, layout.width), np.float16),
            "words": spaces.Box(0, 9, (3,), np.int32),
            "previous": spaces.Box(0, ACTIONS, (), np.int64),
        }
    )
    extractor = PerceptExtractor(space, agent)
    percepts = torch.zeros(2, layout.tokens, layout.width)
    percepts[1, layout.visual :] = 3.0
    seen = {"percepts": percepts, "words": torch.full((2, 3), 2), "previous": torch.zeros(2)}
    near, far = extractor(seen)
    assert near.shape == (extractor.features_dim,) and not torch.equal(near, far)


def test_environments_of_one_agent_do_not_see_each_others_walks(agent_of, episodes, venv_of, houses):
    agent = agent_of("streaming", features="clip")
    alone = venv_of(agent)
    protocol = get_protocol("houses", 32)
    (simulator,) = create_simulators(1, "embedded", houses / "scenes", protocol)
    venv = create_environments([lambda: simulator], episodes, protocol, Reward())
    beside = PerceivingVecEnv(venv, agent, [episode.instruction.text for episode in episodes])
    actions = [np.full(ENVIRONMENTS, 1)] * 3

    def percepts(other: PerceivingVecEnv | None) -> np.ndarray:
        alone.seed(4)
        seen = [alone.reset()["percepts"]]
        for action in actions:
            if other is not None:
                other.reset()
            seen.append(alone.step(action)[0]["percepts"])
        return np.stack(seen)

    assert np.array_equal(percepts(None), percepts(beside))
    beside.close()


def test_other_algorithms_are_told_of_walks_and_of_no_action_that_agents_lack(agent_of, venv_of):
    agent = agent_of("streaming")
    venv = venv_of(agent, limit=3)
    assert venv.action_space == spaces.Discrete(ACTIONS)
    kwargs = {"features_extractor_class": PerceptExtractor, "features_extractor_kwargs": {"agent": agent}}
    model = PPO("MultiInputPolicy", venv, n_steps=8, batch_size=24, n_epochs=1, policy_kwargs=kwargs, device="cpu")
    model.learn(8 * ENVIRONMENTS)
    assert len(model.ep_info_buffer) == len(model.ep_success_buffer) == len(venv.finished) > 0
    assert [told["r"] for told in model.ep_info_buffer] == [walk["return"] for walk in venv.finished]
    assert max(told["l"] for told in model.ep_info_buffer) <= 3


def test_a_word_that_is_numbered_0_ends_no_instruction():
    ids = torch.tensor([[5, 0, 7, 0, 0], [5, 0, 0, 0, 0]])
    assert instructions_of(ids).ids.tolist() == [[5, 0, 7], [5, 0, 0]]
