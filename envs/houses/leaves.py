"""Where the leaf of an inner door stands when it is open: along a wall, in nobody's way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from navloop.envs.houses.plan import Plan
from navloop.envs.houses.sides import Hole, Point, Side, bounds
from navloop.envs.scenes import Room

Box = tuple[float, float, float, float, float, float]
"""min x, min y, min z, max x, max y, max z, metres."""

_THICK = 0.04
_PROUD = 0.02  # Clear of the casing.


@dataclass(frozen=True, slots=True)
class Leaf:
    """An open door in the frame of the side that its doorway is in.

    Attributes:
        left: Metres along the side.
        right: Metres along the side.
        near: Metres into the room where it starts.
        far: Metres into the room where it ends.
        top: Its height, metres.
        hinge_left: Whether it hangs at its left end, seen from the room; for a leaf across the wall, at its near end.
        box: Its bounds in the world.
        heading: Direction that its broad face looks, radians.
    """

    left: float
    right: float
    near: float
    far: float
    top: float
    hinge_left: bool
    box: Box
    heading: float

    @property
    def is_across(self) -> bool:
        """Whether it stands out from the wall rather than along it."""
        return self.far - self.near > self.right - self.left

    def corners(self) -> list[Point]:
        """Return two opposite corners."""
        return [(self.left, 0.0, -self.near), (self.right, self.top, -self.far)]

    def broad_faces(self) -> list[tuple[list[Point], bool]]:
        """Return its two panelled faces, counter-clockwise from the lower left, and whether each has its hinge at the left."""
        if self.is_across:
            return [(self._face("right"), False), (self._face("left"), True)]
        return [(self._face("front"), self.hinge_left), (self._face("back"), not self.hinge_left)]

    def edges(self) -> list[list[Point]]:
        """Return its narrow faces, the lower one left out."""
        names = ("front", "back", "top") if self.is_across else ("left", "right", "top")
        return [self._face(name) for name in names]

    def _face(self, name: str) -> list[Point]:
        l, r, n, f, h = self.left, self.right, -self.near, -self.far, self.top
        return {
            "front": [(l, 0.0, f), (r, 0.0, f), (r, h, f), (l, h, f)],
            "back": [(r, 0.0, n), (l, 0.0, n), (l, h, n), (r, h, n)],
            "left": [(l, 0.0, n), (l, 0.0, f), (l, h, f), (l, h, n)],
            "right": [(r, 0.0, f), (r, 0.0, n), (r, h, n), (r, h, f)],
            "top": [(l, h, f), (r, h, f), (r, h, n), (l, h, n)],
        }[name]


def draw_leaf(plan: Plan, room: Room, side: Side, hole: Hole, obstacles: Sequence[Box]) -> Leaf | None:
    """Return the open leaf of a doorway in this room, clear of obstacles and of other portals; None if it has no place."""
    width, top = hole.right - hole.left - 0.02, hole.portal.top - 0.02
    start, end = hole.left, hole.right
    spots = []
    for hinge_left, corner in ((True, start), (False, side.length - end)):
        if corner <= 0.6:
            edge = (start - _THICK, start) if hinge_left else (end, end + _THICK)
            spots.append((*edge, _PROUD, _PROUD + width, hinge_left))
        flat = (start - 0.02 - width, start - 0.02) if hinge_left else (end + 0.02, end + 0.02 + width)
        # A leaf folded onto the wall hangs at the end that is next to its doorway.
        spots.append((*flat, _PROUD, _PROUD + _THICK, not hinge_left))
    for left, right, near, far, hinge_left in spots:
        a, b = side.world([(left, 0.0, -near), (right, top, -far)])
        low, high = [min(p, q) for p, q in zip(a, b, strict=True)], [max(p, q) for p, q in zip(a, b, strict=True)]
        box = (low[0], low[1], low[2], high[0], high[1], high[2])
        if not _is_inside(box, room) or _meets(box, obstacles) or _bars(plan, room, hole, box):
            continue
        turned = side.heading + (math.pi / 2 if far - near > right - left else 0.0)
        return Leaf(left, right, near, far, top, hinge_left, box, turned if turned <= math.pi else turned - 2 * math.pi)
    return None


def _is_inside(box: Box, room: Room) -> bool:
    x0, z0, x1, z1 = bounds(room)
    return box[0] >= x0 + 0.01 and box[2] >= z0 + 0.01 and box[3] <= x1 - 0.01 and box[5] <= z1 - 0.01


def _meets(box: Box, obstacles: Sequence[Box]) -> bool:
    return any(all(box[i] < other[i + 3] and other[i] < box[i + 3] for i in range(3)) for other in obstacles)


def _bars(plan: Plan, room: Room, own: Hole, box: Box) -> bool:
    """Whether a leaf stands before another portal of the room, or would leave a gap too narrow behind a way through."""
    for portal in plan.portals:
        if room.name not in portal.rooms or portal is own.portal:
            continue
        (ax, az), (bx, bz) = portal.segment
        reach = 0.3 if portal.kind == "window" else 0.7
        flat_x, flat_z = (0.1, reach) if az == bz else (reach, 0.1)
        zone = (min(ax, bx) - flat_x, portal.bottom, min(az, bz) - flat_z)
        upper = (max(ax, bx) + flat_x, portal.top, max(az, bz) + flat_z)
        if _meets(box, [(*zone, *upper)]):
            return True
    return False
