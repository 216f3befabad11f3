"""What happens on a walk, as its walker would tell it: rooms stayed in, doorways passed, turns taken. No words yet."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import shapely

from navloop.envs.houses.sites import Site
from navloop.envs.houses.tours import Tour, resample
from navloop.geometry import Vector, heading_between, wrap_angle

SPACING = 0.1
"""Metres between the points of a walk that are looked at."""

TOLERANCE = 0.3
"""Metres that a walk may weave without anyone calling it a turn."""

SHORT_LEG = 0.9
"""Metres: turns that follow each other sooner are felt as one."""

SLIGHT, PLAIN, SHARP = math.radians(32), math.radians(52), math.radians(140)
"""From where on a change of heading is worth a word; is a turn; is turning around."""


class Turn(NamedTuple):
    """A change of heading.

    Attributes:
        at: Metres from the start of the walk.
        angle: Radians, positive to the left.
        before: Heading of the walk before it, radians.
        after: Heading after it.
    """

    at: float
    angle: float
    before: float
    after: float

    @property
    def side(self) -> str:
        """Which way it turns: "left" or "right"."""
        return "left" if self.angle > 0 else "right"


class Stay(NamedTuple):
    """A stretch of the walk in one room.

    Attributes:
        room: Number of the room.
        start: Metres from the start of the walk.
        end: The same.
        portal: The doorway that it ends at; None for the last.
        onward: Heading at right angles through that doorway, radians; 0 for the last.
        turns: Those in the room, in order.
    """

    room: int
    start: float
    end: float
    portal: int | None
    onward: float
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Narrative:
    """A tour as it is walked.

    Attributes:
        tour: The tour.
        points: float64 (N, 3), along the way, about 0.1 m apart.
        along: float64 (N,), metres from the start.
        headings: float64 (N,), the walker's heading, radians: that of the leg.
        first: From where the walker looks to where the walk leads; its `at` is 0.
        stays: The rooms, in order.
    """

    tour: Tour
    points: Vector
    along: Vector
    headings: Vector
    first: Turn
    stays: tuple[Stay, ...]

    def index(self, at: float) -> int:
        """Return the point nearest to a distance from the start."""
        return int(np.abs(self.along - at).argmin())

    def heading(self, at: float) -> float:
        """Return the heading at a distance from the start."""
        return float(self.headings[self.index(at)])


def narrate(site: Site, tour: Tour) -> Narrative:
    """Return what happens on a tour."""
    points = resample(tour.corners, SPACING)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    starts, headings = _legs(tour.corners)
    turns = [
        Turn(at, wrap_angle(after - before), before, after)
        for at, before, after in zip(starts[1:], headings, headings[1:], strict=False)
    ]
    first = Turn(0.0, wrap_angle(headings[0] - tour.start.heading), tour.start.heading, headings[0])
    at_points = np.array(headings)[np.searchsorted(starts, along, side="right").clip(1) - 1]
    return Narrative(tour, points, along, at_points, first, _stays(site, points, along, turns))


def _legs(corners: Vector) -> tuple[list[float], list[float]]:
    """Return where the straight legs of a way start, metres along it, and their headings."""
    line = shapely.LineString(corners[:, [0, 2]])
    nodes = shapely.get_coordinates(line.simplify(TOLERANCE))
    at = [float(line.project(shapely.Point(node))) for node in nodes]
    at[0], at[-1] = 0.0, float(line.length)
    kept = [0]
    for i in range(1, len(at) - 1):
        # A leg too short to be noticed is swallowed by the turn at its end; the last leg may be as short as it likes.
        if at[i] - at[kept[-1]] >= SHORT_LEG:
            kept.append(i)
        elif kept[-1] != 0:
            kept[-1] = i
    ends = [*kept[1:], len(at) - 1]
    headings = []
    for low, high in zip(kept, ends, strict=True):
        # The start of a walk may weave too: its leg is heard as leading to where it ends.
        (xa, za), (xb, zb) = nodes[low], nodes[high]
        headings.append(heading_between((xa, 0, za), (xb, 0, zb)))
    return [at[i] for i in kept], headings


def _stays(site: Site, points: Vector, along: Vector, turns: list[Turn]) -> tuple[Stay, ...]:
    rooms = site.rooms_at(points)
    breaks = [0, *(np.nonzero(np.diff(rooms))[0] + 1).tolist(), len(rooms)]
    stays = []
    for low, high in itertools.pairwise(breaks):
        is_last = high == len(rooms)
        end = float(along[-1]) if is_last else float(along[high - 1] + along[high]) / 2
        start = 0.0 if low == 0 else float(along[low - 1] + along[low]) / 2
        room = int(rooms[low])
        portal, onward = (
            (None, 0.0) if is_last else _crossing(site, room, int(rooms[high]), points[high - 1 : high + 1])
        )
        inside = tuple(turn for turn in turns if start <= turn.at and (turn.at < end or is_last))
        stays.append(Stay(room, start, end, portal, onward, inside))
    return tuple(stays)


def _crossing(site: Site, room: int, following: int, points: Vector) -> tuple[int, float]:
    """Return the portal between two rooms nearest to where a walk changes over, and the heading straight through it."""
    between = {i for i in site.doorways_of(room) if site.beyond(i, room) == following}
    if not between:
        raise ValueError(
            f"a walk goes from {site.description.rooms[room].name} to {site.description.rooms[following].name}, "
            "which no portal of the description connects"
        )
    middle = shapely.Point(points.mean(axis=0)[[0, 2]])
    portal = min(between, key=lambda i: shapely.LineString(site.doorways[i].segment).distance(middle))
    (xa, za), (xb, zb) = site.doorways[portal].segment
    normal = np.array([zb - za, 0.0, xa - xb])
    if normal @ (points[1] - points[0]) < 0:
        normal = -normal
    return portal, heading_between(np.zeros(3), normal)
