"""From geodesics to actions: the low-level steps that walk the shortest way to a goal, in any simulator."""

from __future__ import annotations

import math

import numpy as np

from navloop.envs.simulator import Action, Body, Simulator
from navloop.geometry import Vector, heading_between, heading_vector, wrap_angle

TURN_PRICE = 0.02
"""Metres that a turn is worth: of two headings that lead equally near, the one ahead is taken."""

BUMP_PRICE = 0.1
"""Metres added to a step that would end outside free space: it slides, and its progress is uncertain."""

WINDOW = 3
"""Headings tried to either side of the shortest way's own direction."""


class ShortestPathFollower:
    """Chooses, at every pose, the action that leads on along the shortest way to a goal.

    Of the headings that the body can turn to, near the direction of the shortest way, it takes the one whose next step ends nearest
    to the goal by geodesic distance, turns to it, and walks. A heading that led nowhere from where the agent stands is not tried
    twice. The idea is that of habitat's greedy geodesic follower, asked of any `Simulator`.

    Args:
        simulator: Where the agent stands.
        body: Its stride and turn.
        goal: float64 (3,), metres.
        goal_radius: Geodesic metres from the goal at which to stop; None takes one step length.
    """

    def __init__(self, simulator: Simulator, body: Body, goal: Vector, goal_radius: float | None = None) -> None:
        self._simulator = simulator
        self._body = body
        self._goal = goal
        self._radius = body.step if goal_radius is None else goal_radius
        self._stuck_at: Vector = np.full(3, np.inf)
        self._blocked: set[int] = set()
        self._aimed: int | None = None

    def next_action(self) -> Action:
        """Return STOP within the radius of the goal or where no walk leads there, else FORWARD, LEFT or RIGHT."""
        pose = self._simulator.pose
        corners = self._simulator.shortest_path(pose.position, self._goal)
        if len(corners) < 2 or _length(corners) <= self._radius:
            return Action.STOP
        self._remember(pose.position, pose.heading)
        turns = self._best_turns(pose.position, pose.heading, corners)
        if turns == 0:
            self._aimed = self._compass(pose.heading)
            return Action.FORWARD
        return Action.LEFT if turns > 0 else Action.RIGHT

    def _remember(self, position: Vector, heading: float) -> None:
        """Note a heading that FORWARD was tried with, if the agent still stands where it was then."""
        if float(np.linalg.norm(position - self._stuck_at)) > 0.02:
            self._stuck_at = position.copy()
            self._blocked.clear()
        elif self._aimed is not None and self._aimed == self._compass(heading):
            self._blocked.add(self._aimed)
        self._aimed = None

    def _best_turns(self, position: Vector, heading: float, corners: Vector) -> int:
        """Return how many turns to the left (negative: right) lead to the best heading."""
        turn = self._body.turn
        circle = round(2 * math.pi / turn)
        ahead = round(wrap_angle(_direction(corners) - heading) / turn)
        reach = WINDOW if len(self._blocked) <= WINDOW else circle // 2
        offsets = [ahead + offset for offset in range(-reach, reach + 1)]
        offsets = [k for k in offsets if self._compass(heading + k * turn) not in self._blocked] or [ahead]
        ends = np.array([position + self._body.step * heading_vector(heading + k * turn) for k in offsets])
        costs = self._simulator.geodesic_distances(ends, self._goal)
        costs += BUMP_PRICE * np.array([not self._simulator.is_navigable(end) for end in ends])
        shortest = [(k + circle // 2) % circle - circle // 2 for k in offsets]
        return shortest[int(np.argmin(costs + TURN_PRICE * np.abs(shortest)))]

    def _compass(self, heading: float) -> int:
        """Return the heading as a number of turns on the circle, rounded."""
        return round(wrap_angle(heading) / self._body.turn) % round(2 * math.pi / self._body.turn)


def _direction(corners: Vector) -> float:
    """Return the heading of the first corner that is further off than a hand's breadth."""
    far = np.linalg.norm(corners[1:] - corners[0], axis=1) > 0.05
    return heading_between(corners[0], corners[1 + int(far.argmax())] if far.any() else corners[-1])


def _length(corners: Vector) -> float:
    return float(np.linalg.norm(np.diff(corners, axis=0), axis=1).sum())
