"""Shadows of triangles on the floor: where they can be walked on, and where they stand in a body's way."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from shapely.geometry.base import BaseGeometry

from navloop.geometry import Vector

MAX_SLOPE: float = math.radians(45)
"""Steepest floor, radians from the horizontal (habitat-sim, NavMeshSettings.agentMaxSlope)."""

TOUCH: float = 0.01
"""Metres of gap that two pieces of floor may have and still count as adjoining."""

SMALLEST: float = 1e-8
"""Square metres below which a triangle is taken for a line."""

GRID: float = 1e-6
"""Metres that corners are rounded to where a union fails without."""

Polygons = NDArray[np.object_]
"""Shapely geometries in (x, z), float64 coordinates in metres."""


def faces_up(triangles: Vector) -> NDArray[np.bool_]:
    """Whether triangles (F, 3, 3) can be walked on by their slope: bool (F,)."""
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    steepest = np.linalg.norm(normals, axis=1) * math.cos(MAX_SLOPE) * (1 - 1e-6)
    up: NDArray[np.bool_] = (normals[:, 1] > 2 * SMALLEST) & (normals[:, 1] >= steepest)
    return up


def planes_of(triangles: Vector) -> Vector:
    """Return (a, b, c) of y = a x + b z + c for triangles (F, 3, 3) that are not vertical: float64 (F, 3)."""
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    slopes = -normals[:, [0, 2]] / normals[:, 1:2]
    return np.column_stack([slopes, triangles[:, 0, 1] - (slopes * triangles[:, 0, [0, 2]]).sum(axis=1)])


def heights_on(planes: Vector, points: Vector) -> Vector:
    """Return the heights of planes (..., 3) at (x, z) (..., 2)."""
    heights: Vector = planes[..., 0] * points[..., 0] + planes[..., 1] * points[..., 1] + planes[..., 2]
    return heights


def shadows(triangles: Vector) -> Polygons:
    """Return the triangles (F, 3, 3) seen from above, as polygons (F,)."""
    return np.asarray(shapely.polygons(triangles[:, :, [0, 2]]), dtype=object)


def adjoining(triangles: Vector, max_step: float) -> tuple[NDArray[np.int64], Vector]:
    """Find the pairs of up-facing triangles (F, 3, 3) that meet, and the steps between them.

    Returns:
        Pairs (P, 2) whose shadows are within `TOUCH` of each other with a step of at most `max_step` metres there, and
        those steps (P,), positive where the second is higher.
    """
    polygons, planes = shadows(triangles), planes_of(triangles)
    first, second = shapely.STRtree(polygons).query(polygons, predicate="dwithin", distance=TOUCH)
    low, high = triangles[:, :, 1].min(axis=1), triangles[:, :, 1].max(axis=1)
    close = (first < second) & (low[first] <= high[second] + max_step) & (low[second] <= high[first] + max_step)
    pairs = np.column_stack([first[close], second[close]])
    # Where they meet, or come nearest: one point on each.
    ends = shapely.get_coordinates(shapely.shortest_line(polygons[pairs[:, 0]], polygons[pairs[:, 1]])).reshape(
        -1, 2, 2
    )
    steps = heights_on(planes[pairs[:, 1]], ends[:, 1]) - heights_on(planes[pairs[:, 0]], ends[:, 0])
    small = np.abs(steps) <= max_step + 1e-6
    return pairs[small], steps[small]


def union(polygons: Polygons | Sequence[BaseGeometry]) -> BaseGeometry:
    """Return the union of polygons and lines, also where floating point defeats GEOS: then on a grid of micrometres."""
    try:
        return shapely.union_all(polygons)
    except shapely.errors.GEOSException:  # corners that all but touch, seen in one furnished house of a hundred
        return shapely.union_all(shapely.make_valid(polygons), grid_size=GRID)


def group(count: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of the connected group of each of `count` things, given the pairs (P, 2) that are connected."""
    links = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    labels: NDArray[np.int64] = connected_components(links, directed=False)[1].astype(np.int64)
    return labels


def coplanar(triangles: Vector) -> tuple[Polygons, Vector]:
    """Join triangles (F, 3, 3) that lie in one plane, to a millimetre: their shadows (G,) and the planes (G, 3)."""
    planes = planes_of(triangles)
    _, labels = np.unique(np.round(planes, 3), axis=0, return_inverse=True)
    labels = labels.ravel()  # numpy 2.0 keeps a second axis
    order = np.argsort(labels, kind="stable")
    starts = np.nonzero(np.diff(labels[order], prepend=-1))[0]
    polygons = shadows(triangles[order])
    joined = [g[0] if len(g) == 1 else union(g) for g in np.split(polygons, starts[1:])]
    return np.array(joined, dtype=object), planes[order][starts]


def obstacles(triangles: Vector, planes: Vector, low: float, high: float) -> tuple[Polygons, NDArray[np.int64]]:
    """Return the shadows of what lies between two heights above the floor.

    Args:
        triangles: float64 (F, 3, 3).
        planes: float64 (F, 3), the floor under each of them.
        low: Metres above the floor; what ends there is not in the way.
        high: Metres above the floor; what begins there is not in the way.

    Returns:
        Convex polygons, or lines where a triangle stands upright, and the indices of their triangles.
    """
    above = triangles[:, :, 1] - heights_on(planes[:, None], triangles[:, :, [0, 2]])  # (F, 3)
    near = np.nonzero((above.min(axis=1) < high) & (above.max(axis=1) > low))[0]
    corners, above = triangles[near][:, :, [0, 2]], above[near]
    points, kept = [corners], [(above >= low) & (above <= high)]
    for i, j in ((0, 1), (1, 2), (2, 0)):
        for level in (low, high):
            crosses = (above[:, i] - level) * (above[:, j] - level) < 0
            rise = np.where(crosses, above[:, j] - above[:, i], 1.0)
            share = np.where(crosses, (level - above[:, i]) / rise, 0.0)
            points.append((corners[:, i] + share[:, None] * (corners[:, j] - corners[:, i]))[:, None])
            kept.append(crosses[:, None])
    clouds, valid = np.concatenate(points, axis=1), np.concatenate(kept, axis=1)  # (F, 9, 2), (F, 9)
    some = np.nonzero(valid.any(axis=1))[0]
    clouds, valid = clouds[some], valid[some]
    # A missing point repeats one that is there, which changes no hull.
    filler = clouds[np.arange(len(clouds)), valid.argmax(axis=1)]
    clouds = np.where(valid[:, :, None], clouds, filler[:, None])
    hulls = np.asarray(shapely.convex_hull(shapely.multipoints(clouds)), dtype=object)
    return hulls, near[some]
