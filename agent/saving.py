"""Agents as folders: what they are, the words they know, and the weights of both parts."""

from __future__ import annotations

import os

import torch
from pydantic import Field

from navloop.agent.folders import ENCODER, Card, Layout
from navloop.agent.perception import Perception
from navloop.agent.policies import create_policy
from navloop.agent.policies.words import Reader, TowerReader, Vocabulary
from navloop.agent.policy_agent import PolicyAgent
from navloop.configs.agents import AgentConfig
from navloop.weights import WeightsError


class _Card(Card):
    """What `agent.json` says."""

    protocol: str = Field(description="Label of the protocol that it was trained under; empty if none.")
    words: tuple[str, ...] | None = Field(
        description="Words that it knows, in the order of their ids; null: a tower's."
    )
    policy_digest: str = Field(description="Digest of the policy's weights.")
    config: AgentConfig = Field(description="What both parts were made from.")


AGENTS = Layout("agent", "policy", _Card)
"""How agents with a policy are saved."""


def save_agent(agent: PolicyAgent, folder: str | os.PathLike[str]) -> None:
    """Write an agent into a folder, new or holding an older one; `load_agent` makes it again.

    Raises:
        OSError: If the folder cannot be written; then it holds no agent.
    """
    reader = agent.policy.reader
    words = reader.words if isinstance(reader, Vocabulary) else None
    state, encoder = agent.policy.state_dict(), agent.perception.encoder
    AGENTS.write(folder, encoder, state, agent.config, protocol=agent.protocol, words=words)


def load_agent(
    folder: str | os.PathLike[str], *, device: torch.device | str = "cpu", temperature: float = 0.0
) -> PolicyAgent:
    """Return the agent that `save_agent` wrote, in eval mode.

    Args:
        folder: Of the agent.
        device: Where both parts are.
        temperature: Of the softmax that actions are drawn from; 0 takes the likeliest.

    Raises:
        WeightsError: If a file is missing, damaged, or not of this agent.
    """
    card, encoder, state = AGENTS.read(folder)
    perception = Perception(card.config.perception, encoder)
    policy = create_policy(card.config.policy, perception.layout, _reader(card, perception), perception.tower)
    AGENTS.fill(policy, state, folder)
    agent = PolicyAgent(card.config, perception, policy, protocol=card.protocol, temperature=temperature)
    return agent.to(device).eval()


def is_agent(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder holds a saved agent."""
    return AGENTS.is_in(folder)


def agent_digest(folder: str | os.PathLike[str]) -> str:
    """Return a name of a saved agent, as `Layout.digest` does.

    Raises:
        WeightsError: If there is no saved agent.
    """
    return AGENTS.digest(folder)


def _reader(card: _Card, perception: Perception) -> Reader:
    if card.words is not None:
        return Vocabulary(card.words, card.config.policy.words.max_words)
    if perception.tower is None:
        raise WeightsError(f"the agent reads by its encoder's text tower, but {ENCODER} has none; save the agent again")
    return TowerReader(perception.tower.config.context)
