"""Where things can stand and hang in one room: its walls, what is taken, and whether one can still walk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from navloop.envs.houses.furniture.sketch import Mesh
from navloop.envs.houses.plan import Plan
from navloop.envs.scenes import Portal, Room

DOOR_DEPTH = 1.0  # Metres kept clear on both sides of a door or opening.
WALK_RADIUS = 0.37  # Half of the 0.75 m that a way from door to door is wide.
SLIM_RADIUS = 0.15  # A floor must not fall into parts even for the slimmest agent.
_CELL = 0.1
_COS, _SIN = (1, 0, -1, 0), (0, 1, 0, -1)


class Rect(NamedTuple):
    """A rectangle on the floor, metres."""

    x0: float
    z0: float
    x1: float
    z1: float

    def overlaps(self, other: Rect, gap: float = 0.0) -> bool:
        """Whether two rectangles come nearer than a gap."""
        return (
            self.x0 < other.x1 + gap
            and other.x0 < self.x1 + gap
            and self.z0 < other.z1 + gap
            and other.z0 < self.z1 + gap
        )

    def grown(self, by: float) -> Rect:
        """Return the rectangle with each side moved outwards."""
        return Rect(self.x0 - by, self.z0 - by, self.x1 + by, self.z1 + by)

    def contains(self, other: Rect) -> bool:
        """Whether the other lies inside, up to a tenth of a millimetre."""
        e = 1e-4
        return (
            other.x0 >= self.x0 - e and other.z0 >= self.z0 - e and other.x1 <= self.x1 + e and other.z1 <= self.z1 + e
        )


class Spot(NamedTuple):
    """Where a piece stands: its origin, quarter turns to the left from facing -z, and the floor it covers."""

    x: float
    z: float
    quarter: int
    rect: Rect


class Stretch(NamedTuple):
    """A part of a wall's face that is not free: along the wall from `low` to `high`, from `bottom` up to `top`, metres."""

    low: float
    high: float
    bottom: float
    top: float
    kind: str


class Wall(NamedTuple):
    """A side of a room, seen from inside: s runs along it to the right of what stands before it, t away from it.

    Attributes:
        quarter: Quarter turns of what stands with its back to it.
        origin: (x, z) of s = t = 0.
        length: Along s, metres.
        depth: Of the room, along t, metres.
    """

    quarter: int
    origin: tuple[float, float]
    length: float
    depth: float

    def point(self, s: float, t: float) -> tuple[float, float]:
        """Return (x, z)."""
        cos, sin = _COS[self.quarter], _SIN[self.quarter]
        return self.origin[0] + s * cos - t * sin, self.origin[1] - s * sin - t * cos

    def rect(self, low: float, high: float, near: float, far: float) -> Rect:
        """Return the floor between two s and two t."""
        (xa, za), (xb, zb) = self.point(low, near), self.point(high, far)
        return Rect(min(xa, xb), min(za, zb), max(xa, xb), max(za, zb))

    def along(self, rect: Rect) -> tuple[float, float, float]:
        """Return least s, greatest s and least t of a rectangle."""
        cos, sin = _COS[self.quarter], _SIN[self.quarter]
        dx, dz = np.array(rect[::2]) - self.origin[0], np.array(rect[1::2]) - self.origin[1]
        s, t = dx * cos - dz * sin, -dx * sin - dz * cos
        return float(s.min()), float(s.max()), float(t.min())

    def spot(self, s: float, t: float, mesh: Mesh, turn: int = 0) -> Spot:
        """Return how a piece stands with the middle of its footprint at (s, t), turned left by quarter turns."""
        quarter = (self.quarter + turn) % 4
        cos, sin = _COS[quarter], _SIN[quarter]
        (cx, _, cz), (width, _, depth) = (mesh.low + mesh.high) / 2, mesh.high - mesh.low
        x, z = self.point(s, t)
        half_x, half_z = (width / 2, depth / 2) if quarter % 2 == 0 else (depth / 2, width / 2)
        rect = Rect(*(round(float(v), 6) for v in (x - half_x, z - half_z, x + half_x, z + half_z)))
        return Spot(float(x - cx * cos - cz * sin), float(z + cx * sin - cz * cos), quarter, rect)

    def back(self, s: float, mesh: Mesh, gap: float = 0.02) -> Spot:
        """Return how a piece stands with its back to the wall."""
        return self.spot(s, gap + float(mesh.high[2] - mesh.low[2]) / 2, mesh)


@dataclass
class Arrangement:
    """A room while it is being furnished.

    Attributes:
        room: The room.
        bounds: Its clear floor.
        walls: Its four sides.
        doors: Floor before doors and openings, kept clear.
        solids: Floor that is taken.
        uses: Floor that furniture needs before it: others' use may overlap, solids may not.
        faces: For each wall, what covers its face.
    """

    room: Room
    bounds: Rect
    walls: tuple[Wall, ...]
    doors: list[Rect] = field(default_factory=list)
    solids: list[Rect] = field(default_factory=list)
    uses: list[Rect] = field(default_factory=list)
    faces: tuple[list[Stretch], ...] = field(default_factory=lambda: ([], [], [], []))

    @classmethod
    def of(cls, plan: Plan, room: Room) -> Arrangement:
        """Return the empty room with its doors and windows."""
        xs, zs = zip(*room.polygon, strict=True)
        bounds = Rect(min(xs), min(zs), max(xs), max(zs))
        wide, deep = bounds.x1 - bounds.x0, bounds.z1 - bounds.z0
        walls = (
            Wall(0, (bounds.x0, bounds.z1), wide, deep),
            Wall(1, (bounds.x1, bounds.z1), deep, wide),
            Wall(2, (bounds.x1, bounds.z0), wide, deep),
            Wall(3, (bounds.x0, bounds.z0), deep, wide),
        )
        arrangement = cls(room, bounds, walls)
        for portal in plan.portals:
            if room.name in portal.rooms:
                arrangement._open(portal, plan.wall)
        return arrangement

    def _open(self, portal: Portal, thickness: float) -> None:
        (xa, za), (xb, zb) = portal.segment
        segment = Rect(min(xa, xb), min(za, zb), max(xa, xb), max(za, zb))
        for wall, face in zip(self.walls, self.faces, strict=True):
            low, high, t = wall.along(segment)
            is_flat = (xa == xb) == (wall.quarter % 2 == 1)
            if is_flat and abs(t + thickness / 2) < thickness and high > 0 and low < wall.length:
                face.append(Stretch(low - 0.08, high + 0.08, portal.bottom, portal.top + 0.1, portal.kind))
                if portal.kind != "window":
                    self.doors.append(wall.rect(low - 0.05, high + 0.05, 0.0, min(DOOR_DEPTH, wall.depth)))

    def fits(self, rect: Rect, height: float, uses: Sequence[Rect] = ()) -> bool:
        """Whether a piece may stand there: inside, on free floor, not tall before a window, and its use kept free."""
        if not self.bounds.contains(rect) or any(rect.overlaps(door) for door in self.doors):
            return False
        if any(rect.overlaps(taken, 0.01) for taken in self.solids) or any(rect.overlaps(use) for use in self.uses):
            return False
        if any(not self.bounds.contains(use) or any(use.overlaps(taken) for taken in self.solids) for use in uses):
            return False
        return not any(self._hides_window(i, rect, height) for i in range(4))

    def _hides_window(self, index: int, rect: Rect, height: float) -> bool:
        low, high, t = self.walls[index].along(rect)
        return t < 0.4 and any(
            height > max(face.bottom, 0.95) + 0.02 and low < face.high - 0.08 and high > face.low + 0.08
            for face in self.faces[index]
            if face.kind == "window"
        )

    def take(self, rect: Rect, height: float, uses: Sequence[Rect] = ()) -> None:
        """Mark floor as taken, and the wall behind it up to a height."""
        self.solids.append(rect)
        self.uses.extend(uses)
        for wall, face in zip(self.walls, self.faces, strict=True):
            low, high, t = wall.along(rect)
            if t < 0.3:
                face.append(Stretch(low, high, 0.0, height, "piece"))

    def face_is_free(self, index: int, low: float, high: float, bottom: float, top: float) -> bool:
        """Whether a part of a wall's face has nothing on it, before it or cut into it."""
        return (
            low >= 0.04
            and high <= self.walls[index].length - 0.04
            and not any(
                low < face.high and high > face.low and bottom < face.top and top > face.bottom
                for face in self.faces[index]
            )
        )

    def is_walkable(self, extra: Sequence[Rect] = ()) -> bool:
        """Whether all doors reach each other with room to walk, and the floor does not fall into parts, given more solids."""
        labels, count = self._components(WALK_RADIUS, extra)
        at_doors = {self._component_at(door, labels) for door in self.doors}
        empty, _ = self._components(WALK_RADIUS, (), solids=())
        if len({self._component_at(door, empty) for door in self.doors} - {0}) == 1 and (
            len(at_doors) > 1 or 0 in at_doors
        ):
            return False
        labels, count = self._components(SLIM_RADIUS, extra)
        sizes = np.bincount(labels.ravel())[1:]
        return count == 1 or (count > 1 and sizes.max() >= 0.985 * sizes.sum())

    def _components(
        self, radius: float, extra: Sequence[Rect], solids: Sequence[Rect] | None = None
    ) -> tuple[NDArray[np.int32], int]:
        """Label the floor where a disc of this radius can stand: int32 (columns along x, rows along z), 0 where not."""
        x0, z0, x1, z1 = self.bounds
        shape = max(1, round((x1 - x0) / _CELL)), max(1, round((z1 - z0) / _CELL))
        free = np.ones(shape, bool)
        rim = int(np.ceil(radius / _CELL - 0.5))
        free[:rim] = free[shape[0] - rim :] = free[:, :rim] = free[:, shape[1] - rim :] = False
        for rect in (*(self.solids if solids is None else solids), *extra):
            grown = np.array(rect.grown(radius)) - (x0, z0, x0, z0)
            a, b, c, d = np.clip(np.round(grown / _CELL).astype(int), 0, (*shape, *shape))
            free[a:c, b:d] = False
        labels, count = ndimage.label(free)
        return labels.astype(np.int32), int(count)

    def _component_at(self, door: Rect, labels: NDArray[np.int32]) -> int:
        """Return the component that most of a door's clear floor belongs to, 0 if none."""
        x0, z0 = self.bounds[:2]
        a, b, c, d = np.round((np.array(door) - (x0, z0, x0, z0)) / _CELL).astype(int)
        counts = np.bincount(labels[max(a, 0) : c, max(b, 0) : d].ravel(), minlength=1)[1:]
        return int(counts.argmax()) + 1 if counts.any() else 0
