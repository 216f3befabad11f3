"""Planning agents as folders, beside those of `navloop.agent.saving`: what they are, the words they know, and their weights."""

from __future__ import annotations

import os

import torch
from pydantic import Field
from torch import nn

from navloop.agent.folders import Card, Layout
from navloop.agent.planner_agent import PlannerAgent, make_parts
from navloop.agent.policies.words import Vocabulary
from navloop.configs.planner import PlannerAgentConfig


class _Card(Card):
    """What `agent.json` says."""

    protocol: str = Field(description="Label of the protocol that it was trained under; empty if none.")
    words: tuple[str, ...] = Field(description="Words that it knows, in the order of their ids.")
    planner_digest: str = Field(description="Digest of the weights of eyes, predictor and planner.")
    config: PlannerAgentConfig = Field(description="What the parts were made from.")


PLANNERS = Layout("agent", "planner", _Card)
"""How planning agents are saved; no other saved agent has their file of weights."""


def save_planner(agent: PlannerAgent, folder: str | os.PathLike[str]) -> None:
    """Write a planning agent into a folder, new or holding an older one; `load_planner` makes it again.

    Raises:
        OSError: If the folder cannot be written; then it holds no agent.
    """
    state = _together(agent.eyes, agent.predictor, agent.planner).state_dict()
    PLANNERS.write(folder, agent.encoder, state, agent.config, protocol=agent.protocol, words=agent.reader.words)


def load_planner(
    folder: str | os.PathLike[str], *, device: torch.device | str = "cpu", temperature: float = 0.0
) -> PlannerAgent:
    """Return the agent that `save_planner` wrote, in eval mode.

    Args:
        folder: Of the agent.
        device: Where its parts are.
        temperature: Of the softmax that decisions are drawn from; 0 takes the likeliest.

    Raises:
        WeightsError: If a file is missing, damaged, or not of this agent.
    """
    card, encoder, state = PLANNERS.read(folder)
    parts = make_parts(card.config)
    PLANNERS.fill(_together(*parts), state, folder)
    reader = Vocabulary(card.words, card.config.planner.max_words - 1)
    agent = PlannerAgent(card.config, encoder, *parts, reader, protocol=card.protocol, temperature=temperature)
    return agent.to(device).eval()


def is_planner(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder holds a saved planning agent."""
    return PLANNERS.is_in(folder)


def planner_digest(folder: str | os.PathLike[str]) -> str:
    """Return a name of a saved planning agent, as `Layout.digest` does.

    Raises:
        WeightsError: If there is none.
    """
    return PLANNERS.digest(folder)


def _together(eyes: nn.Module, predictor: nn.Module, planner: nn.Module) -> nn.ModuleDict:
    return nn.ModuleDict({"eyes": eyes, "predictor": predictor, "planner": planner})
