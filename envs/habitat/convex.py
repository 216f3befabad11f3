"""A floor plan cut into convex polygons, which is what navmeshes are made of."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from navloop.geometry import Vector

GRID = 1e-5
"""Metres to which corners are rounded, so that polygons side by side share theirs."""

Edge = tuple[int, int]


class ConvexParts(NamedTuple):
    """Convex polygons that cover a region and nothing else. Those side by side share a whole edge, and corners lie on its boundary alone.

    Attributes:
        vertices: float64 (V, 2), metres.
        polygons: Indices of the corners of each, counter-clockwise where the second axis points up.
    """

    vertices: Vector
    polygons: list[list[int]]


def convex_parts(region: BaseGeometry, corners: int) -> ConvexParts:
    """Cut a region into convex polygons.

    No corner is put where there is no wall, so that the taut line through a chain of these polygons is as short as any that passes the same
    obstacles on the same sides, to the rounding. (Finer or squarer pieces did not help habitat-sim to choose the sides: of 4,000 ways as
    many came out wrong.)

    Args:
        region: Polygons on the plane, metres.
        corners: That a polygon has at most, 3 or more.
    """
    fine = shapely.set_precision(region, GRID)
    parts = shapely.constrained_delaunay_triangles(shapely.get_parts(fine))
    triangles = shapely.get_coordinates(shapely.get_parts(parts)).reshape(-1, 4, 2)[:, :3]
    places, which = np.unique(np.rint(triangles.reshape(-1, 2) / GRID), axis=0, return_inverse=True)
    vertices = places * GRID
    faces = which.reshape(-1, 3)
    clockwise = _turns(vertices, faces)[:, 0] < 0
    faces[clockwise] = faces[clockwise, ::-1]
    return ConvexParts(vertices, _joined(vertices, faces.tolist(), corners))


def edges_of(polygon: list[int]) -> list[Edge]:
    """Return the edges of a polygon, in its order, each from corner to next corner."""
    return list(zip(polygon, [*polygon[1:], polygon[0]], strict=True))


def _joined(vertices: Vector, triangles: list[list[int]], corners: int) -> list[list[int]]:
    """Join triangles across their shared edges, the longest first, where what comes of it is convex and has few enough corners."""
    polygons = dict(enumerate(triangles))
    left_of = {edge: number for number, polygon in polygons.items() for edge in edges_of(polygon)}
    inner = np.array([edge for edge in left_of if edge[0] < edge[1] and edge[::-1] in left_of]).reshape(-1, 2)
    lengths = np.linalg.norm(vertices[inner[:, 0]] - vertices[inner[:, 1]], axis=1)
    for start, end in inner[np.argsort(-lengths, kind="stable")].tolist():
        first, second = left_of[start, end], left_of[end, start]
        whole = _from(polygons[first], end) + _from(polygons[second], start)[1:-1]
        if len(set(whole)) == len(whole) <= corners and (_turns(vertices, np.array([whole])) >= 0).all():
            polygons[first] = whole
            del polygons[second]
            left_of |= dict.fromkeys(edges_of(whole), first)
    return list(polygons.values())


def _from(polygon: list[int], corner: int) -> list[int]:
    place = polygon.index(corner)
    return polygon[place:] + polygon[:place]


def _turns(vertices: Vector, polygons: NDArray[Any]) -> Vector:
    """Return at each corner of polygons (N, K) how sharply it turns to the left, (N, K): twice the area of the corner's triangle."""
    corners = vertices[polygons]
    ahead = np.roll(corners, -1, axis=1) - corners
    behind = corners - np.roll(corners, 1, axis=1)
    return np.asarray(behind[..., 0] * ahead[..., 1] - behind[..., 1] * ahead[..., 0])
