"""Agents that look at nothing: the floor that every other agent must clear."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from navloop.agent.agents import AGENTS
from navloop.envs.navigation import NavigationEnv, Observation
from navloop.envs.simulator import Action

ACTION_PRIOR = (0.02, 0.68, 0.15, 0.15)
"""Shares of STOP, FORWARD, LEFT, RIGHT in R2R-CE's training set. Source: VLN-CE, vlnce_baselines/nonlearning_agents.py."""

MEAN_PATH_LENGTH = 9.25
"""Metres of an average oracle path in R2R-CE's training set, in whole steps. Source: as above (9.27 m)."""


@AGENTS.register("random")
class RandomAgent:
    """Draws each action from the action distribution of R2R-CE's training set.

    Source: VLN-CE, vlnce_baselines/nonlearning_agents.py, RandomAgent.
    """

    looks_at: frozenset[str] = frozenset()

    def reset(self, env: NavigationEnv, seed: int) -> None:
        """Start the episode's own stream of random numbers."""
        self._rng = np.random.default_rng(seed)

    def act(self, observation: Observation, info: dict[str, Any]) -> int:
        """Return an action drawn from `ACTION_PRIOR`."""
        return int(self._rng.choice(len(ACTION_PRIOR), p=ACTION_PRIOR))


@AGENTS.register("forward")
class ForwardAgent:
    """Walks ahead for the length of an average path, then stops."""

    looks_at: frozenset[str] = frozenset()

    def reset(self, env: NavigationEnv, seed: int) -> None:
        """Count the steps of an average path in this embodiment's stride."""
        self._forward = round(MEAN_PATH_LENGTH / env.protocol.body.step)

    def act(self, observation: Observation, info: dict[str, Any]) -> int:
        """Return FORWARD until the path is as long as the average, then STOP."""
        if self._forward == 0:
            return Action.STOP
        self._forward -= 1
        return Action.FORWARD


@AGENTS.register("handcrafted")
class HandcraftedAgent(ForwardAgent):
    """Turns to a random heading, then walks ahead for the length of an average path and stops.

    Source: VLN-CE, vlnce_baselines/nonlearning_agents.py, HandcraftedAgent; it turns right by 0 to one full circle.
    """

    def reset(self, env: NavigationEnv, seed: int) -> None:
        """Draw how far to turn."""
        super().reset(env, seed)
        turns_in_circle = round(2 * math.pi / env.protocol.body.turn)
        self._turns = int(np.random.default_rng(seed).integers(turns_in_circle + 1))

    def act(self, observation: Observation, info: dict[str, Any]) -> int:
        """Return RIGHT until the drawn heading is reached, then as `ForwardAgent`."""
        if self._turns > 0:
            self._turns -= 1
            return Action.RIGHT
        return super().act(observation, info)
