"""The saved agent that a run goes on from: with its own eyes, policy and words, whatever a recipe says of new ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from navloop.agent.planner_saving import is_planner
from navloop.agent.policies.words import Vocabulary, split_words
from navloop.agent.policy_agent import PolicyAgent
from navloop.agent.saving import agent_digest, load_agent
from navloop.configs.agents import AgentConfig
from navloop.configs.imitation import TrainConfig
from navloop.encoders.zoo import encoder_config
from navloop.training.entrants import find_agent


def load_start(config: TrainConfig) -> tuple[PolicyAgent | None, dict[str, str]]:
    """Return the agent that a recipe goes on from, and its digest by the name of the field; None where a new one begins.

    Raises:
        ValueError: If none is saved there, or the recipe's `agent` says what it is not: that would be taken for the agent trained.
    """
    if config.start is None:
        return None, {}
    try:
        folder = find_agent(Path(config.start))
    except ValueError as error:
        raise ValueError(f"start: {error}") from None
    if is_planner(folder):
        raise ValueError(
            f"start: {folder} is a planner, which learns by `algorithm: planner` alone; name an agent of `navloop train imitation_*`"
        )
    agent = load_agent(folder)
    faults = [f"agent.{field} is {said}, that agent's is {own}" for field, said, own in _unlike(config.agent, agent)]
    if faults:
        raise ValueError(
            f"start: {config.start} brings its own eyes and policy; {'; '.join(faults)}. Leave these fields out, or start to make a new agent"
        )
    return agent, {"start": agent_digest(folder)}


def tell_agent(agent: PolicyAgent, texts: list[str], console: Console | None, *, trains_encoder: bool = True) -> None:
    """Say what an agent sees with, and how much of the training instructions it cannot read.

    Args:
        agent: Which.
        texts: The instructions.
        console: Where; None says nothing.
        trains_encoder: Whether what comes trains an encoder that the agent's configuration calls trainable.
    """
    if console is None:
        return
    seen = agent.config.perception
    weights = f"weights of {seen.weights}" if seen.weights else "random weights (agent.perception.weights names a file)"
    learns = "trained with the policy" if seen.trainable and trains_encoder else "frozen"
    console.print(f"eyes: {seen.encoder or 'an encoder'}, {weights}, {learns}", highlight=False, soft_wrap=True)
    reader = agent.policy.reader
    if isinstance(reader, Vocabulary):
        known, words = set(reader.words), [word for text in texts for word in split_words(text)]
        strange = [word for word in words if word not in known]
        if strange:
            listed = ", ".join(sorted(set(strange))[:8])
            console.print(
                f"words: {len(strange):,} of {len(words):,} in the training instructions are none that it knows ({listed}, ...)",
                highlight=False,
                soft_wrap=True,
            )


def _unlike(said: AgentConfig, agent: PolicyAgent) -> Iterator[tuple[str, Any, Any]]:
    """Yield (field, said, its own) where a recipe says what is neither the default nor the agent's."""
    own = agent.config
    for part in ("perception", "policy"):
        trees = [getattr(config, part).model_dump(mode="json") for config in (said, own, AgentConfig())]
        for field, wanted, has, default in _leaves(*trees):
            if wanted in (has, default):
                continue
            if field == "encoder" and has is None and _names(said, agent):
                continue
            yield f"{part}.{field}", wanted, has


def _names(said: AgentConfig, agent: PolicyAgent) -> bool:
    """Whether a recipe names the encoder that an agent has from a file of weights."""
    assert said.perception.encoder is not None
    named, has = encoder_config(said.perception.encoder), agent.perception.encoder.config
    return bool(_kind(named.model_dump()) == _kind(has.model_dump()))


def _kind(tree: Any) -> Any:
    """Return an encoder's configuration without what may differ from that of its name: frames, their size, a caption decoder."""
    if not isinstance(tree, Mapping):
        return tree
    return {key: _kind(value) for key, value in tree.items() if key not in ("frames", "pixels", "captioner")}


def _leaves(*trees: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any, Any]]:
    for key in trees[0]:
        values = [tree[key] for tree in trees]
        if isinstance(values[0], Mapping):
            yield from _leaves(*values, prefix=f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", values[0], values[1], values[2]
