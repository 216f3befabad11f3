"""Agents that know the goal: the ceiling that every other agent is measured against, and their teacher."""

from __future__ import annotations

from typing import Any

from navloop.agent.agents import AGENTS
from navloop.envs.follower import ShortestPathFollower
from navloop.envs.navigation import NavigationEnv, Observation


@AGENTS.register("expert")
class ExpertAgent:
    """Walks the shortest way to the goal and stops there. Privileged: it asks the simulator.

    Raises:
        ValueError: From `reset`, if the episode has no goal (a test split).
    """

    looks_at: frozenset[str] = frozenset()

    def reset(self, env: NavigationEnv, seed: int) -> None:
        """Aim at the episode's goal."""
        goal = env.episode.goal_position
        if goal is None:
            raise ValueError(
                f"episode {env.episode.episode_id} has no goal, which the expert walks to; choose another split"
            )
        self._follower = ShortestPathFollower(env.simulator, env.protocol.body, goal)

    def act(self, observation: Observation, info: dict[str, Any]) -> int:
        """Return the next action along the shortest way."""
        return self._follower.next_action()
