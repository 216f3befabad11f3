"""From triangles to floor polygons: what can be walked on and what stands in the way. Questions about it are in `freespace`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import shapely

from navloop.envs.simulator import Body, SceneError
from navloop.geometry import Vector

MAX_SLOPE: float = math.radians(45)


@dataclass(frozen=True, slots=True)
class Floor:
    """The floor of one level.

    Attributes:
        free: The parts where the centre of the body may stand.
        triangles: float64 (T, 3, 3), the surface underfoot.
    """

    free: tuple[shapely.Polygon, ...]
    triangles: Vector

    def heights(self, points: Vector) -> Vector:
        """Return the height at (x, z) (N, 2)."""
        return np.full(len(points), self.triangles[0, 0, 1])


def find_floor(triangles: Vector, body: Body) -> Floor:
    """Find it."""
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    length = np.linalg.norm(normals, axis=1)
    up = normals[:, 1] > np.maximum(length, 1e-12) * math.cos(MAX_SLOPE)
    if not up.any():
        raise SceneError("the scene has no floor: no triangle faces up; check its up axis (y) and winding")
    level = np.round(triangles[:, :, 1].mean(1), 2)
    levels = np.unique(level[up])
    areas = np.array([normals[up & (level == v), 1].sum() for v in levels])
    height = levels[np.nonzero(areas >= areas.max() / 2)[0][0]]
    mine = triangles[up & (level == height)]
    ground = (
        shapely.union_all(shapely.polygons(mine[:, :, [0, 2]]))
        .buffer(1e-3, join_style="mitre")
        .buffer(-1e-3, join_style="mitre")
    )
    low, high = height + body.max_climb + 1e-3, height + body.height - 1e-3
    obstacles = _clipped(triangles, low, high)
    blocked = shapely.buffer(shapely.GeometryCollection(list(obstacles)), body.radius, quad_segs=2)
    free = ground.buffer(-body.radius, quad_segs=2).difference(blocked)
    parts = [p for p in shapely.get_parts(free) if p.geom_type == "Polygon" and p.area > 0.01]
    return Floor(tuple(parts), mine)


def _clipped(triangles: Vector, low: float, high: float) -> np.ndarray:
    y = triangles[:, :, 1]
    near = triangles[(y.min(1) < high) & (y.max(1) > low)]
    points, keep = [], []
    for i in range(3):
        a, b = near[:, i], near[:, (i + 1) % 3]
        points.append(a)
        keep.append((a[:, 1] >= low) & (a[:, 1] <= high))
        for level in (low, high):
            cross = (a[:, 1] - level) * (b[:, 1] - level) < 0
            t = np.where(cross, (level - a[:, 1]) / np.where(cross, b[:, 1] - a[:, 1], 1), 0)
            points.append(a + t[:, None] * (b - a))
            keep.append(cross)
    stacked, kept = np.stack(points, 1)[:, :, [0, 2]], np.stack(keep, 1)
    first = kept.argmax(1)
    filled = np.where(kept[:, :, None], stacked, stacked[np.arange(len(stacked)), first][:, None])
    return shapely.convex_hull(shapely.multipoints(filled[kept.any(1)]))
