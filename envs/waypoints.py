"""Waypoint actions: an angle and a distance, executed with low-level steps in any world, with turns counted or given."""

from __future__ import annotations

import math
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces

from navloop.envs.navigation import NavigationEnv, Observation
from navloop.envs.protocols import Protocol
from navloop.envs.simulator import Action, Body
from navloop.geometry import wrap_angle

Turns = Literal["counted", "free"]


def low_level_actions(angle: float, distance: float, body: Body) -> list[Action]:
    """Return the turns that come nearest to an angle, then the whole steps that fit in a distance.

    Args:
        angle: Radians to the left of the heading.
        distance: Metres.
        body: Whose turns and steps.
    """
    turns = round(angle / body.turn)
    # A distance that is a whole number of steps but for rounding is that number.
    steps = math.floor(distance / body.step + 1e-6)
    return [Action.LEFT if turns > 0 else Action.RIGHT] * abs(turns) + [Action.FORWARD] * steps


class WaypointEnv(gymnasium.Wrapper[Observation, dict[str, Any], Observation, np.int64]):
    """Walks to where a decision points: turns by an angle, then takes the whole steps that fit in a distance.

    An action is {"stop": 0 or 1, "angle": radians to the left of the heading, "distance": metres}. How turns are paid for changes what
    steps and time mean, so the label of `protocol` says it:

    - "counted", "+waypoints": the body's own LEFT and RIGHT, as many as come nearest to the angle; each is a step of the episode.
    - "free", "+waypoints-free-turns": the heading is set to the angle exactly and costs nothing, as in VLN-CE's waypoint agents
      (HIGHTOLOW): step counts compare with no agent that turns; path lengths do.

    Every FORWARD is a step of the environment in either case: metrics see each position, collisions count, and `Protocol.max_steps`
    holds. `info` adds "decisions", and of this one "low_level_actions" and "turned" (radians, to the left). An episode is truncated
    after `max_decisions` as well.

    Source: the waypoint task of VLN-CE (Krantz et al., 2021) and HIGHTOLOW (Hong et al., 2022).

    Args:
        env: A navigation environment over any simulator.
        turns: Who pays for them.
        max_distance: Metres that a decision may ask for, the limit of waypoint predictors.
        max_decisions: Of an episode.
        stop_at_obstacles: End a decision at its first collision instead of taking the steps left, which slide.
    """

    def __init__(
        self,
        env: NavigationEnv,
        *,
        turns: Turns = "counted",
        max_distance: float = 3.0,
        max_decisions: int = 200,
        stop_at_obstacles: bool = False,
    ) -> None:
        if turns not in ("counted", "free"):
            raise ValueError(f"turns is {turns!r}; use counted or free")
        super().__init__(env)  # type: ignore[arg-type]  # its actions are others
        self._navigation = env
        self._turns = turns
        self._max_decisions = max_decisions
        self._stop_at_obstacles = stop_at_obstacles
        self._decisions = 0
        self._info: dict[str, Any] = {}
        self.protocol: Protocol = env.protocol.with_control(
            "waypoints" if turns == "counted" else "waypoints-free-turns"
        )
        """The environment's, with how it is steered in its label."""
        self.action_space = spaces.Dict(
            {
                "stop": spaces.Discrete(2),
                "angle": spaces.Box(-np.pi, np.pi, (), np.float64),
                "distance": spaces.Box(0.0, max_distance, (), np.float64),
            }
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """See `NavigationEnv.reset`."""
        observation, self._info = self.env.reset(seed=seed, options=options)
        self._decisions = 0
        return observation, dict(self._info)

    def step(self, action: dict[str, Any]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Carry out one decision; the reward is the sum over its steps.

        Raises:
            ValueError: If the action is not in the action space.
            RuntimeError: If the episode is over or none was started.
        """
        wanted = {name: np.asarray(value, dtype=np.float64) for name, value in action.items() if name != "stop"}
        if not self.action_space.contains({**wanted, "stop": action.get("stop")}):
            raise ValueError(f"action {action!r} is not in {self.action_space}")
        before = self._navigation.simulator.pose.heading
        planned = [Action.STOP] if action["stop"] else self._plan(float(wanted["angle"]), float(wanted["distance"]))
        observation, reward, terminated, truncated, taken = self._carry_out(planned)
        self._decisions += 1
        turned = wrap_angle(self._navigation.simulator.pose.heading - before)
        info = {**self._info, "decisions": self._decisions, "low_level_actions": taken, "turned": turned}
        truncated = truncated or (self._decisions >= self._max_decisions and not terminated)
        return observation, reward, terminated, truncated, info

    def _plan(self, angle: float, distance: float) -> list[Action]:
        body = self._navigation.protocol.body
        if self._turns == "free":
            self._navigation.face(self._navigation.simulator.pose.heading + angle)
            return low_level_actions(0.0, distance, body)
        return low_level_actions(angle, distance, body)

    def _carry_out(self, planned: list[Action]) -> tuple[Observation, float, bool, bool, list[int]]:
        observation: Observation | None = None
        reward, terminated, truncated, taken = 0.0, False, False, list[int]()
        for action in planned:
            observation, gained, terminated, truncated, self._info = self._navigation.step(int(action))
            reward += gained
            taken.append(int(action))
            if terminated or truncated or (self._stop_at_obstacles and self._info["collided"]):
                break
        if observation is None:  # less than a step, perhaps turned for nothing
            observation = self._navigation.observe()
            self._info = {**self._info, "heading": self._navigation.simulator.pose.heading, "collided": False}
        return observation, reward, terminated, truncated, taken
