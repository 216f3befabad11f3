"""Planning agents as folders, beside those of `navloop.agent.saving`: what they are, the words they know, and their weights."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from pydantic import Field, ValidationError
from torch import Tensor, nn

from navloop.agent.planner_agent import PlannerAgent, make_parts
from navloop.agent.policies.words import Vocabulary
from navloop.agent.saving import AGENT, ENCODER
from navloop.configs.planner import PlannerAgentConfig
from navloop.configs.schema import Config
from navloop.encoders.zoo import load_encoder, save_encoder
from navloop.files import fingerprint, write_text
from navloop.weights import WeightsError, digest, read_weights, write_weights

PLANNER = "planner.safetensors"
"""File of the weights of eyes, predictor and planner; no other saved agent has one."""

FORMAT = 1
"""Version of the folder's layout."""


class _Card(Config):
    """What `agent.json` says."""

    format: int = Field(description="Version of the layout.")
    protocol: str = Field(description="Label of the protocol that it was trained under; empty if none.")
    words: tuple[str, ...] = Field(description="Words that it knows, in the order of their ids.")
    encoder_digest: str = Field(description="Digest of the encoder's weights.")
    planner_digest: str = Field(description="Digest of the weights of eyes, predictor and planner.")
    config: PlannerAgentConfig = Field(description="What the parts were made from.")


def save_planner(agent: PlannerAgent, folder: str | os.PathLike[str]) -> None:
    """Write a planning agent into a folder, new or holding an older one; `load_planner` makes it again.

    `agent.json` is written last, and tells by digests which weights it is of.

    Raises:
        OSError: If the folder cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = _state(agent.eyes, agent.predictor, agent.planner)
    (folder / AGENT).unlink(missing_ok=True)
    write_weights(folder / PLANNER, state)
    save_encoder(agent.encoder, folder / ENCODER)
    card = _Card(
        format=FORMAT,
        protocol=agent.protocol,
        words=agent.reader.words,
        encoder_digest=digest(agent.encoder.state_dict()),
        planner_digest=digest(state),
        config=agent.config,
    )
    write_text(folder / AGENT, json.dumps(card.model_dump(mode="json"), indent=2) + "\n")


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
    folder = Path(folder)
    card = _read_card(folder)
    encoder = load_encoder(folder / ENCODER)
    state = read_weights(folder / PLANNER).state
    for file, found, said in (
        (ENCODER, digest(encoder.state_dict()), card.encoder_digest),
        (PLANNER, digest(state), card.planner_digest),
    ):
        if found != said:
            raise WeightsError(f"{folder / file}: has the digest {found}, {AGENT} says {said}; save the agent again")
    parts = make_parts(card.config)
    try:
        _together(*parts).load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{folder / PLANNER}: is of another planner than {AGENT} says: {error}") from error
    reader = Vocabulary(card.words, card.config.planner.max_words - 1)
    agent = PlannerAgent(card.config, encoder, *parts, reader, protocol=card.protocol, temperature=temperature)
    return agent.to(device).eval()


def is_planner(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder holds a saved planning agent."""
    return (Path(folder) / AGENT).is_file() and (Path(folder) / PLANNER).is_file()


def planner_digest(folder: str | os.PathLike[str]) -> str:
    """Return a name of a saved planning agent: equal for equal weights, words and configuration, and for no others.

    Raises:
        WeightsError: If there is none.
    """
    card = _read_card(Path(folder)).model_dump(mode="json")
    return fingerprint(json.dumps(card, sort_keys=True).encode())


def _together(eyes: nn.Module, predictor: nn.Module, planner: nn.Module) -> nn.ModuleDict:
    return nn.ModuleDict({"eyes": eyes, "predictor": predictor, "planner": planner})


def _state(eyes: nn.Module, predictor: nn.Module, planner: nn.Module) -> dict[str, Tensor]:
    return dict(_together(eyes, predictor, planner).state_dict())


def _read_card(folder: Path) -> _Card:
    path = folder / AGENT
    try:
        return _Card.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise WeightsError(f"{folder}: holds no saved agent, there is no {AGENT}; name the folder of one") from None
    except ValidationError as error:
        raise WeightsError(f"{path}: a planning agent that this version does not know: {error}") from error
