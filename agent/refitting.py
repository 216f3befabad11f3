"""Agents that go on with other eyes: the policy stays, the encoder is another training's of the same kind."""

from __future__ import annotations

from pathlib import Path

from navloop.agent.perception import Perception
from navloop.agent.policies import create_policy
from navloop.agent.policies.sight import Standardise
from navloop.agent.policy_agent import PolicyAgent
from navloop.encoders.zoo import load_encoder


def change_encoder(agent: PolicyAgent, weights: Path) -> PolicyAgent:
    """Return an agent of the same policy that sees with another encoder.

    What the policy reads has to look the same, not to mean the same: it has to learn again what it sees. The statistics of the channels
    are taken anew from the first training batches, as for a new policy; until then percepts are read as they are.

    Args:
        agent: Whose policy is taken.
        weights: File of an encoder, as stages of pretraining and saved agents have it.

    Raises:
        WeightsError: If the file holds no encoder.
        ValueError: If its percepts are of another shape than the policy reads.
    """
    seeing = agent.config.perception.model_copy(update={"encoder": None, "weights": str(weights)})
    perception = Perception(seeing, load_encoder(weights))
    if perception.layout != agent.perception.layout:
        raise ValueError(
            f"{weights}: its encoder gives percepts of {perception.layout}, the policy reads {agent.perception.layout}; take an encoder of "
            "the same kind and size"
        )
    config = agent.config.model_copy(update={"perception": seeing})
    policy = create_policy(config.policy, perception.layout, agent.policy.reader, perception.tower)
    # A policy that reads by the encoder's own text tower reads by the new one.
    policy.load_state_dict(agent.policy.state_dict())
    # Of the other encoder's channels; those of depth are no encoder's.
    statistics = policy.get_submodule("sight.standardise")
    assert isinstance(statistics, Standardise)
    statistics.forget()
    return PolicyAgent(config, perception, policy, protocol=agent.protocol, temperature=agent.temperature)
