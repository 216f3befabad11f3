"""Which rooms a camera can see: rooms are cells, doors and openings portals, and sight passes through them in straight lines."""

from __future__ import annotations

import math
from typing import NamedTuple

import shapely

from navloop.envs.embedded.cells import CellMap
from navloop.envs.scenes import SceneDescription

REACH: float = 0.2
"""Metres around a portal's middle line that count as its opening: more than any wall is thick, so that no view is cut short."""


class Interval(NamedTuple):
    """Headings from `low` to `high` radians, less than half a turn apart."""

    low: float
    high: float


class _Portal(NamedTuple):
    to: str
    number: int


class Visibility:
    """Answers for one scene. Conservative: a room that is left out cannot be seen; one that is named may not be.

    Args:
        description: Its rooms must be convex on the floor.
    """

    def __init__(self, description: SceneDescription) -> None:
        self.rooms = tuple(room.name for room in description.rooms)
        self._floors = CellMap([shapely.Polygon(room.polygon).buffer(REACH) for room in description.rooms])
        self._portals: dict[str, list[_Portal]] = {name: [] for name in self.rooms}
        self._corners: list[tuple[tuple[float, float], ...]] = []
        self._eye = (math.nan, math.nan)
        self._openings: dict[int, Interval | None] = {}
        for portal in description.portals:
            first, second = portal.rooms
            if portal.kind != "window" and first and second:
                opening = shapely.LineString(portal.segment).buffer(REACH, cap_style="square")
                self._portals[first].append(_Portal(second, len(self._corners)))
                self._portals[second].append(_Portal(first, len(self._corners)))
                self._corners.append(tuple((x, z) for x, z in shapely.get_coordinates(opening)[:-1].tolist()))

    def seen_from(self, x: float, z: float, heading: float, hfov: float | None) -> frozenset[str]:
        """Return the names of the rooms that can be seen; all of them from outside the house.

        Args:
            x: Of the eye, metres.
            z: Of the eye, metres.
            heading: Radians, the middle of the view.
            hfov: Radians that the view spans; None, or nearly half a turn and more: all around.
        """
        # In a doorway the eye is in both rooms.
        here = [self.rooms[number] for number in self._floors.holding(x, z)]
        if not here:
            return frozenset(self.rooms)
        view = None
        if hfov is not None and hfov < math.radians(170):
            view = Interval(heading - hfov / 2, heading + hfov / 2)
        if self._eye != (x, z):
            self._eye = (x, z)
            self._openings.clear()
        seen = set(here)
        for room in here:
            self._look(view, (room,), seen)
        return frozenset(seen)

    def _look(self, view: Interval | None, path: tuple[str, ...], seen: set[str]) -> None:
        for to, number in self._portals[path[-1]]:
            if to in path:
                continue
            opening = self._opening(number)
            passed = view if opening is None else opening if view is None else _overlap(view, opening)
            if passed is not None or view is None:
                seen.add(to)
                self._look(passed, (*path, to), seen)

    def _opening(self, number: int) -> Interval | None:
        """Return the headings from the eye to a portal, or None within it; they outlast turns on the spot."""
        if number not in self._openings:
            self._openings[number] = _headings(*self._eye, self._corners[number])
        return self._openings[number]


def _headings(x: float, z: float, corners: tuple[tuple[float, float], ...]) -> Interval | None:
    """Return the headings under which a convex shape is seen, or None from inside it."""
    first, *others = [math.atan2(x - cx, z - cz) for cx, cz in corners]
    offsets = [0.0, *[math.remainder(angle - first, math.tau) for angle in others]]
    low, high = min(offsets), max(offsets)
    return Interval(first + low, first + high) if high - low < math.pi else None


def _overlap(a: Interval, b: Interval) -> Interval | None:
    """Return the headings in both, or None."""
    apart = (b.low + b.high - a.low - a.high) / 2
    shift = math.remainder(apart, math.tau) - apart
    low, high = max(a.low, b.low + shift), min(a.high, b.high + shift)
    return Interval(low, high) if low < high else None
