"""The four walls of a room as seen from inside: one frame of reference, so that winding and texture are right by construction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from navloop.envs.glb import Part
from navloop.envs.houses.plan import Plan
from navloop.envs.scenes import Portal, Room

Point = tuple[float, float, float]
"""Metres along the wall from its left end, metres up, metres into the wall (negative: into the room)."""

OVERLAP = 0.03


class Hole(NamedTuple):
    """A portal as it cuts one side of a room.

    Attributes:
        portal: What it is.
        left: Metres from the side's left end.
        right: Metres from the side's left end.
    """

    portal: Portal
    left: float
    right: float


class Side(NamedTuple):
    """One wall of a room.

    Attributes:
        origin: World (x, z) of its left end, as seen from inside.
        along: World (x, z) of one metre to the right.
        inward: World (x, z) of its normal.
        length: Metres.
        holes: Portals in it, from left to right.
    """

    origin: tuple[float, float]
    along: tuple[int, int]
    inward: tuple[int, int]
    length: float
    holes: tuple[Hole, ...]

    def world(self, points: Sequence[Point]) -> NDArray[np.float64]:
        """Return points of the side as world points (N, 3)."""
        t, y, d = np.asarray(points, float).T
        x = self.origin[0] + t * self.along[0] - d * self.inward[0]
        z = self.origin[1] + t * self.along[1] - d * self.inward[1]
        return np.stack([x, y, z], 1)

    @property
    def heading(self) -> float:
        """Direction that the wall faces, radians."""
        return float(np.arctan2(-self.inward[0], -self.inward[1]) + 0.0)


def bounds(room: Room) -> tuple[float, float, float, float]:
    """Return a room's clear floor as min x, min z, max x, max z."""
    (x0, z0), _, (x1, z1), _ = room.polygon
    return x0, z0, x1, z1


def sides(plan: Plan, room: Room) -> tuple[Side, Side, Side, Side]:
    """Return the walls at min z, max x, max z and min x: a walk to the right along them."""
    x0, z0, x1, z1 = bounds(room)
    frames = (
        ((x0, z0), (1, 0), (0, 1), x1 - x0),
        ((x1, z0), (0, 1), (-1, 0), z1 - z0),
        ((x1, z1), (-1, 0), (0, -1), x1 - x0),
        ((x0, z1), (0, -1), (1, 0), z1 - z0),
    )
    portals = [portal for portal in plan.portals if room.name in portal.rooms]
    first, second, third, fourth = (
        Side(origin, along, inward, length, _holes(origin, along, inward, portals, plan.wall))
        for origin, along, inward, length in frames
    )
    return first, second, third, fourth


def _holes(
    origin: tuple[float, float], along: tuple[int, int], inward: tuple[int, int], portals: Iterable[Portal], wall: float
) -> tuple[Hole, ...]:
    holes = []
    for portal in portals:
        ends = np.asarray(portal.segment) - origin
        depths = -(ends @ inward)
        if np.all(np.abs(depths - wall / 2) < 1e-6):
            left, right = sorted(ends @ along)
            holes.append(Hole(portal, round(float(left), 4), round(float(right), 4)))
    return tuple(sorted(holes, key=lambda hole: hole.left))


class Sheets:
    """Collects polygons by texture and hands them out as parts."""

    def __init__(self) -> None:
        self._vertices: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
        self._uv: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
        self._faces: dict[str, list[NDArray[np.int64]]] = defaultdict(list)
        self._count: dict[str, int] = defaultdict(int)

    def add(
        self,
        texture: str,
        vertices: NDArray[np.float64],
        uv: NDArray[np.float64],
        faces: Sequence[tuple[int, int, int]] = ((0, 1, 2), (0, 2, 3)),
    ) -> None:
        """Add triangles over vertices (N, 3); by default a quadrilateral whose corners run counter-clockwise."""
        self._faces[texture].append(np.asarray(faces) + self._count[texture])
        self._vertices[texture].append(vertices)
        self._uv[texture].append(uv)
        self._count[texture] += len(vertices)

    def parts(self) -> tuple[Part, ...]:
        """Return one part a texture, in the order in which they were first used."""
        return tuple(
            Part(
                texture,
                np.concatenate(self._vertices[texture]).astype(np.float32),
                np.concatenate(self._faces[texture]).astype(np.int32),
                np.concatenate(self._uv[texture]).astype(np.float32),
            )
            for texture in self._vertices
        )


def rectangle(left: float, bottom: float, right: float, top: float, depth: float = 0.0) -> list[Point]:
    """Return the corners of a rectangle that lies in a wall or parallel to it, counter-clockwise from the lower left."""
    return [(left, bottom, depth), (right, bottom, depth), (right, top, depth), (left, top, depth)]


def wall_triangles(side: Side, height: float) -> tuple[list[Point], list[tuple[int, int, int]]]:
    """Return a wall with its holes; neighbouring triangles share their corners, so that no crack opens between them.

    It reaches `OVERLAP` below the floor and above the ceiling, whose edges have other corners than its own.
    """
    points: list[Point] = []
    index: dict[Point, int] = {}
    faces: list[tuple[int, int, int]] = []

    def strip(left: float, left_ys: list[float], right: float, right_ys: list[float]) -> None:
        ends = [(left, left_ys), (right, right_ys)]
        for t, ys in ends:
            for y in ys:
                if (t, y, 0.0) not in index:
                    index[(t, y, 0.0)] = len(points)
                    points.append((t, y, 0.0))
        i = j = 0
        while i < len(left_ys) - 1 or j < len(right_ys) - 1:
            a, b = index[(left, left_ys[i], 0.0)], index[(right, right_ys[j], 0.0)]
            if j == len(right_ys) - 1 or (i < len(left_ys) - 1 and left_ys[i + 1] <= right_ys[j + 1]):
                i += 1
                faces.append((a, b, index[(left, left_ys[i], 0.0)]))
            else:
                j += 1
                faces.append((a, b, index[(right, right_ys[j], 0.0)]))

    foot, head = -OVERLAP, height + OVERLAP
    at, ys = 0.0, [foot, head]
    for hole in side.holes:
        bottom, top = hole.portal.bottom, hole.portal.top
        cut = [foot, *([bottom] if bottom > 0 else []), top, head]
        strip(at, ys, hole.left, cut)
        if bottom > 0:
            strip(hole.left, [foot, bottom], hole.right, [foot, bottom])
        strip(hole.left, [top, head], hole.right, [top, head])
        at, ys = hole.right, cut
    strip(at, ys, side.length, [foot, head])
    return points, faces
