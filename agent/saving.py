"""Agents as folders: what they are, the words they know, and the weights of both parts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from pydantic import Field, ValidationError

from navloop.agent.perception import Perception
from navloop.agent.policies import create_policy
from navloop.agent.policies.words import Reader, TowerReader, Vocabulary
from navloop.agent.policy_agent import PolicyAgent
from navloop.configs.agents import AgentConfig
from navloop.configs.schema import Config
from navloop.encoders.zoo import load_encoder, save_encoder
from navloop.files import fingerprint, write_text
from navloop.weights import WeightsError, digest, read_weights, write_weights

AGENT, POLICY, ENCODER = "agent.json", "policy.safetensors", "encoder.safetensors"
"""Files of a saved agent."""

FORMAT = 1
"""Version of the folder's layout."""


class _Card(Config):
    """What `agent.json` says."""

    format: int = Field(description="Version of the layout.")
    protocol: str = Field(description="Label of the protocol that it was trained under; empty if none.")
    words: tuple[str, ...] | None = Field(
        description="Words that it knows, in the order of their ids; null: a tower's."
    )
    encoder_digest: str = Field(description="Digest of the encoder's weights.")
    policy_digest: str = Field(description="Digest of the policy's weights.")
    config: AgentConfig = Field(description="What both parts were made from.")


def save_agent(agent: PolicyAgent, folder: str | os.PathLike[str]) -> None:
    """Write an agent into a folder, new or holding an older one; `load_agent` makes it again.

    `agent.json` is written last, and tells by digests which weights it is of.

    Raises:
        OSError: If the folder cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    reader = agent.policy.reader
    policy, encoder = agent.policy.state_dict(), agent.perception.encoder
    (folder / AGENT).unlink(missing_ok=True)
    write_weights(folder / POLICY, policy)
    save_encoder(encoder, folder / ENCODER)
    card = _Card(
        format=FORMAT,
        protocol=agent.protocol,
        words=reader.words if isinstance(reader, Vocabulary) else None,
        encoder_digest=digest(encoder.state_dict()),
        policy_digest=digest(policy),
        config=agent.config,
    )
    write_text(folder / AGENT, json.dumps(card.model_dump(mode="json"), indent=2) + "\n")


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
    folder = Path(folder)
    card = _read_card(folder)
    encoder = load_encoder(folder / ENCODER)
    state = read_weights(folder / POLICY).state
    for file, found, said in (
        (ENCODER, digest(encoder.state_dict()), card.encoder_digest),
        (POLICY, digest(state), card.policy_digest),
    ):
        if found != said:
            raise WeightsError(f"{folder / file}: has the digest {found}, {AGENT} says {said}; save the agent again")
    perception = Perception(card.config.perception, encoder)
    policy = create_policy(card.config.policy, perception.layout, _reader(card, perception), perception.tower)
    try:
        policy.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{folder / POLICY}: is of another policy than {AGENT} says: {error}") from error
    agent = PolicyAgent(card.config, perception, policy, protocol=card.protocol, temperature=temperature)
    return agent.to(device).eval()


def is_agent(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder holds a saved agent."""
    return (Path(folder) / AGENT).is_file()


def agent_digest(folder: str | os.PathLike[str]) -> str:
    """Return a name of a saved agent: equal for equal weights, words and configuration, and for no others.

    It says nothing of where the encoder's weights once came from.

    Raises:
        WeightsError: If there is no saved agent.
    """
    card = _read_card(Path(folder)).model_dump(mode="json")
    del card["config"]["perception"]["weights"]
    return fingerprint(json.dumps(card, sort_keys=True).encode())


def _read_card(folder: Path) -> _Card:
    path = folder / AGENT
    try:
        return _Card.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise WeightsError(f"{folder}: holds no saved agent, there is no {AGENT}; name the folder of one") from None
    except ValidationError as error:
        raise WeightsError(f"{path}: an agent that this version does not know: {error}") from error


def _reader(card: _Card, perception: Perception) -> Reader:
    if card.words is not None:
        return Vocabulary(card.words, card.config.policy.words.max_words)
    if perception.tower is None:
        raise WeightsError(f"the agent reads by its encoder's text tower, but {ENCODER} has none; save the agent again")
    return TowerReader(perception.tower.config.context)
