"""Whether a house can be lived in and walked through: checked from its plan and the boxes of its objects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from navloop.envs.glb import Model
from navloop.envs.houses.plan import Plan
from navloop.envs.houses.sides import bounds
from navloop.envs.scenes import SceneObject

CELL = 0.05
AGENT_RADIUS = 0.1
WALK_RADIUS = 0.3
"""Metres that a comfortable way keeps from walls and furniture on both sides."""
MAX_TRIANGLES = 8000
MIN_CONNECTED = 0.95
_CLIMB, _HEAD = 0.2, 1.5  # Things below one or above the other do not stop a walker, metres.


class Raster(NamedTuple):
    """The floor in cells of 0.05 m.

    Attributes:
        free: bool (rows, columns), True where nothing stands; row r covers z = origin[1] + r * CELL.
        origin: x and z of the first cell's corner.
    """

    free: NDArray[np.bool_]
    origin: tuple[float, float]

    def window(self, x0: float, z0: float, x1: float, z1: float) -> tuple[slice, slice]:
        """Return the cells whose middle lies in a rectangle."""
        low_x, low_z = (int(np.ceil((v - o) / CELL - 0.501)) for v, o in zip((x0, z0), self.origin, strict=True))
        high_x, high_z = (int(np.floor((v - o) / CELL + 0.501)) for v, o in zip((x1, z1), self.origin, strict=True))
        return slice(max(low_z, 0), max(high_z, 0)), slice(max(low_x, 0), max(high_x, 0))


def rasterise(plan: Plan, objects: Iterable[SceneObject]) -> Raster:
    """Return the floor of a plan less what its objects cover; a box counts as filled."""
    boxes = np.array([bounds(room) for room in plan.rooms])
    origin = (float(boxes[:, 0].min()) - 0.2, float(boxes[:, 1].min()) - 0.2)
    columns, rows = (int(np.ceil((boxes[:, i + 2].max() + 0.2 - origin[i]) / CELL)) for i in (0, 1))
    raster = Raster(np.zeros((rows, columns), bool), origin)
    for box in boxes:
        raster.free[raster.window(*box)] = True
    for portal in plan.portals:
        if portal.kind != "window" and portal.rooms[1]:
            raster.free[raster.window(*_gap(plan, portal.segment))] = True
    for thing in objects:
        x0, y0, z0, x1, y1, z1 = thing.box
        if y0 < _HEAD and y1 > _CLIMB:
            raster.free[raster.window(x0, z0, x1, z1)] = False
    return raster


def _gap(plan: Plan, segment: tuple[tuple[float, float], tuple[float, float]]) -> tuple[float, float, float, float]:
    (ax, az), (bx, bz) = segment
    half = plan.wall / 2
    dx, dz = (0.0, half) if az == bz else (half, 0.0)
    return min(ax, bx) - dx, min(az, bz) - dz, max(ax, bx) + dx, max(az, bz) + dz


def faults(plan: Plan, objects: Iterable[SceneObject], model: Model) -> list[str]:
    """Return what is wrong with a house, in words; nothing if one can live in it.

    Every room and doorway must be reached on a way 0.6 m wide, 95% of the floor on which an agent can stand must hang
    together, and the model must have fewer than 8,000 triangles.
    """
    found = []
    raster = rasterise(plan, objects)
    # The transform measures to the middle of the nearest blocked cell, whose edge is half a cell nearer.
    clearance = (ndimage.distance_transform_edt(raster.free) - 0.5) * CELL
    ways, _ = ndimage.label(clearance >= WALK_RADIUS)
    sizes = np.bincount(ways.ravel())[1:]
    main = int(np.argmax(sizes)) + 1 if len(sizes) else 0
    reached = (ways == main) & (main > 0)
    for room in plan.rooms:
        if not reached[raster.window(*bounds(room))].any():
            found.append(f"{room.name} cannot be reached")
    for portal in plan.portals:
        if portal.kind == "window" or not portal.rooms[1]:
            continue
        if not reached[raster.window(*_gap(plan, portal.segment))].any():
            found.append(f"the way from {portal.rooms[0]} to {portal.rooms[1]} is blocked")
    standing, _ = ndimage.label(clearance >= AGENT_RADIUS)
    areas = np.bincount(standing.ravel())[1:]
    if not len(areas) or areas.max() < MIN_CONNECTED * areas.sum():
        found.append("the free floor falls into parts")
    triangles = sum(len(part.faces) for node in model.nodes for part in node.parts)
    if triangles >= MAX_TRIANGLES:
        found.append(f"{triangles} triangles are more than {MAX_TRIANGLES}")
    return found
