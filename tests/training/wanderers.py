"""Small saved agents that wander: random weights, but actions that follow from what they see and are told."""

from __future__ import annotations

from pathlib import Path

import torch

from navloop.agent.policy_agent import create_policy_agent
from navloop.agent.saving import save_agent
from navloop.configs.agents import AgentConfig, PerceptionConfig, PolicyConfig
from navloop.configs.schema import EvalConfig
from navloop.envs.episodes import read_episodes
from navloop.training.batch_walker import BatchWalker

LEANING = (-1.7, 0.6, 0.0, 0.0)
"""Added to the scores of STOP, FORWARD, LEFT, RIGHT: walks of about ten steps, at a temperature of 1."""


def save_wanderer(folder: Path, config: EvalConfig, seed: int = 0) -> Path:
    """Save an agent whose scores vary with its input as much as a trained one's, and return its folder.

    Random weights alone would give nearly the same scores at every step: the mean of the action head's input is taken off first.
    """
    episodes = read_episodes(Path(config.episodes)).episodes[:6]
    texts = [episode.instruction.text for episode in episodes]
    made = AgentConfig(perception=PerceptionConfig(size=64), policy=PolicyConfig(width=32, layers=1))
    agent = create_policy_agent(made, texts, protocol="houses@1+rgb64", seed=seed).eval()
    head = agent.policy.heads.action
    seen: list[torch.Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().reshape(-1, 32)))
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor([-9.0, 1.0, 0.9, 0.0]))
        _look_around(agent, config, episodes)
        inputs = torch.cat(seen)
        spread = inputs - inputs.mean(dim=0)
        head.weight.copy_(torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(seed)))
        head.weight.div_(1.5 * (spread @ head.weight.T).std(dim=0)[:, None])
        head.bias.copy_(torch.tensor(LEANING) - head.weight @ inputs.mean(dim=0))
    hook.remove()
    save_agent(agent, folder)
    return folder


def _look_around(agent, config: EvalConfig, episodes) -> None:
    walker = BatchWalker(config)
    for blank in (False, True):
        walker.enter(agent, len(episodes), blank)
        for episode in episodes:
            walker.begin(episode)
        for _ in range(12):
            walker.step()
        walker.close()
