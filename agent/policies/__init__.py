"""Policies: percepts and an instruction in, actions out. `create_policy` makes one of a configuration."""

from navloop.agent.policies.policy import ACTIONS, Instructions, Policy, PolicyOutput, WalkBatch
from navloop.agent.policies.zoo import create_policy

__all__ = ["ACTIONS", "Instructions", "Policy", "PolicyOutput", "WalkBatch", "create_policy"]
