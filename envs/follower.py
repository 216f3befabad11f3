"""From geodesics to actions: the low-level steps that walk the shortest way to a goal, in any simulator."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from navloop.envs.simulator import Action, Body
from navloop.geometry import Pose, Vector, heading_between, wrap_angle

TURN_PRICE = 0.003
"""Metres that a turn is worth: of headings that lead about equally near, the one that takes fewest turns is chosen."""

WINDOW = 2
"""Headings tried to either side of the shortest way's own direction."""

LEAST_GAIN = 0.2
"""Share of a step that the best of those must win; if none does, headings all around are tried."""

TRAP = 0.06
"""Metres around a place where no step led nearer that are not entered again."""


class Ground(Protocol):
    """What the follower asks of the world; every `Simulator` is one."""

    @property
    def pose(self) -> Pose:
        """Where the agent stands."""

    def shortest_path(self, start: Vector, goal: Vector) -> Vector:
        """See `Simulator.shortest_path`."""

    def geodesic_distances(self, points: Vector, goal: Vector) -> Vector:
        """See `Simulator.geodesic_distances`."""

    def foresee(self, heading: float) -> Vector:
        """See `Simulator.foresee`."""


class ShortestPathFollower:
    """Chooses, at every pose, the action that leads on along the shortest way to a goal.

    Of the headings that the body can turn to, it takes the one whose next step, collisions and sliding included, ends nearest to the
    goal by geodesic distance; it turns there, and walks. Where no step leads nearer (a body that does not slide, wedged at a corner) it
    steps aside and does not come back to that place. The idea is that of habitat's greedy geodesic follower, asked of any `Ground`.

    Args:
        simulator: Where the agent stands.
        body: Its stride and turn.
        goal: float64 (3,), metres.
        goal_radius: Geodesic metres from the goal at which to stop; None takes one step length.
    """

    def __init__(self, simulator: Ground, body: Body, goal: Vector, goal_radius: float | None = None) -> None:
        self._simulator = simulator
        self._body = body
        self._goal = goal
        self._radius = body.step if goal_radius is None else goal_radius
        self._traps: list[Vector] = []

    def next_action(self) -> Action:
        """Return STOP within the radius of the goal or where no walk leads there, else FORWARD, LEFT or RIGHT."""
        position, heading = self._simulator.pose
        corners = self._simulator.shortest_path(position, self._goal)
        left = _length(corners)
        if len(corners) < 2 or left <= self._radius:
            return Action.STOP
        ahead = wrap_angle(_direction(corners) - heading)
        if (
            abs(ahead) <= self._body.turn / 2
            and self._gains(heading, left)[0] >= 0.99 * math.cos(ahead) * self._body.step
        ):
            return Action.FORWARD
        turns = self._best_turns(heading, ahead, left)
        if turns is None:
            return Action.STOP
        return Action.FORWARD if turns == 0 else Action.LEFT if turns > 0 else Action.RIGHT

    def _best_turns(self, heading: float, ahead: float, left: float) -> int | None:
        """Return how many turns to the left (negative: right) lead to the best heading; None if there is no way out."""
        turn = self._body.turn
        circle = round(2 * math.pi / turn)
        middle = round(ahead / turn)
        for reach in (WINDOW, circle // 2):
            turns = np.arange(middle - reach, middle + reach + 1)
            turns = (turns + circle // 2) % circle - circle // 2
            gains = self._gains(heading + turns * turn, left)
            if gains.max() >= LEAST_GAIN * self._body.step:
                break
        if gains.max() <= 1e-3:
            self._traps.append(self._simulator.pose.position)
            gains = self._gains(heading + turns * turn, left)
        if not np.isfinite(gains.max()):
            return None
        return int(turns[np.argmax(gains - TURN_PRICE * np.abs(turns))])

    def _gains(self, headings: ArrayLike, left: float) -> Vector:
        """Return the geodesic metres that a step at each heading (N,) wins, of `left` to go; -inf where it ends in a trap."""
        ends = np.array([self._simulator.foresee(float(heading)) for heading in np.atleast_1d(headings)])
        gains = left - self._simulator.geodesic_distances(ends, self._goal)
        for trap in self._traps:
            gains[np.linalg.norm(ends - trap, axis=1) < TRAP] = -np.inf
        return gains


def _direction(corners: Vector) -> float:
    """Return the heading of the first corner that is further off than a hand's breadth."""
    far = np.linalg.norm(corners[1:] - corners[0], axis=1) > 0.05
    return heading_between(corners[0], corners[1 + int(far.argmax())] if far.any() else corners[-1])


def _length(corners: Vector) -> float:
    return float(np.linalg.norm(np.diff(corners, axis=0), axis=1).sum())
