"""Features of percepts and words for the policies that stable-baselines3 brings itself."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn
from typing_extensions import Self

from navloop.agent.policies import ACTIONS
from navloop.agent.policies.words import UNKNOWN
from navloop.agent.policy_agent import PolicyAgent
from navloop.agent.sb3.walks import Observed, instructions_of


class PerceptExtractor(BaseFeaturesExtractor):  # type: ignore[misc]
    """Features for stable-baselines3's own policies, from the observations of `PerceivingVecEnv`: sight, words and previous action of an agent.

    For algorithms with a memory of their own, such as RecurrentPPO of sb3-contrib, and for baselines without any.

    Args:
        observation_space: Of `PerceivingVecEnv`.
        agent: Whose parts are copied, with their weights; they learn on.
    """

    def __init__(self, observation_space: spaces.Dict, agent: PolicyAgent) -> None:
        policy: Any = deepcopy(agent.policy.eval())  # each kind has these parts
        with torch.no_grad():
            summary = policy.words(policy.read(["go"]).to(agent.perception.device)).summary.shape[1]
        depth = 0 if policy.sight.depth is None else policy.sight.depth.join.out_features
        super().__init__(observation_space, policy.sight.join.out_features + depth + summary + ACTIONS + 1)
        self.sight, self.words = policy.sight, policy.words

    def apply(self, fn: Callable[[nn.Module], None]) -> Self:
        """Leave the weights as they are: stable-baselines3 would draw them anew (`ortho_init`), and these are an agent's."""
        return self

    def train(self, mode: bool = True) -> Self:
        """Keep dropout off, or an action would not be as likely where it is learned from as where it was drawn."""
        super().train(False)
        for module in self.modules():
            if isinstance(module, nn.RNNBase):  # CUDA's have no gradients otherwise
                module.train(mode)
        return self

    def forward(self, observations: Observed) -> Tensor:
        """Return features float (B, features_dim)."""
        seen = self.sight(observations["percepts"].float())
        vectors = [seen.vector] if seen.depth_vector is None else [seen.vector, seen.depth_vector]
        words = observations["words"].clone()
        words[:, 0].clamp_(min=UNKNOWN)  # sb3-contrib pads walks with rows of zeros, and nothing can be read of no word
        summary = self.words(instructions_of(words)).summary
        previous = nn.functional.one_hot(observations["previous"].long().flatten(), ACTIONS + 1)
        return torch.cat((*vectors, summary, previous.float()), 1)
