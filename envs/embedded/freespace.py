"""Where an agent may stand: the free space of a scene as polygons on the floor, and questions about it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from navloop.envs.embedded.cells import CellMap
from navloop.envs.embedded.floors import find_floor
from navloop.envs.embedded.ground import Floor
from navloop.envs.simulator import Body
from navloop.geometry import Vector

Edge = tuple[float, float, float, float, float]
"""A boundary edge: its start (x, z), its unit direction (x, z) with free space on its left, its length."""

CELL: float = 0.5
"""Metres, edge of the cells by which boundary edges are found."""

SNAP: float = 1e-3
"""Metres by which sight lines may leave the polygons, so that points on their boundary are not lost to rounding."""


class FreeSpace:
    """Where the centre of a body may stand in one scene: polygons in (x, z) and the height of the floor on them.

    Attributes:
        polygons: The connected parts, the largest first; the interior is on the left of every ring.
        components: float64 (C,), the areas of the parts, square metres.
        body: What they were computed for.
        floor: The surface underfoot.
    """

    def __init__(self, polygons: Sequence[shapely.Polygon], floor: Floor, body: Body) -> None:
        """Take parts that do not overlap.

        Raises:
            ValueError: If there is no part.
        """
        if not polygons:
            raise ValueError("free space without any polygon: an agent needs somewhere to stand")
        ordered = sorted(polygons, key=lambda part: -part.area)
        self.polygons: tuple[shapely.Polygon, ...] = tuple(orient(part) for part in ordered)
        self.components: Vector = np.array([part.area for part in self.polygons])
        self.body = body
        self.floor = floor
        self.region = shapely.MultiPolygon(self.polygons)
        shapely.prepare([self.region, self.polygons[0]])
        self._cells = CellMap([self.region])
        self._place: tuple[float, float] | None = None
        self._height = math.nan
        self._near: dict[tuple[int, int, float], list[Edge]] = {}

    @classmethod
    def from_triangles(cls, triangles: ArrayLike, body: Body) -> FreeSpace:
        """Compute the free space of a scene from its triangles (F, 3, 3), counter-clockwise seen from outside.

        Raises:
            SceneError: If the scene has no floor that the body fits on.
        """
        floor, polygons = find_floor(np.asarray(triangles, dtype=np.float64).reshape(-1, 3, 3), body)
        return cls(polygons, floor, body)

    @cached_property
    def walls(self) -> BaseGeometry:
        """The boundary moved `SNAP` outwards, prepared: a line between free points that does not meet it is a free way."""
        walls = self.region.buffer(SNAP, join_style="mitre").boundary
        shapely.prepare(walls)
        return walls

    @cached_property
    def edges(self) -> tuple[Vector, shapely.STRtree]:
        """The boundary as float64 (E, 2, 2), free space on the left of each edge, and an index over it."""
        rings = [ring for part in self.polygons for ring in (part.exterior, *part.interiors)]
        corners = [shapely.get_coordinates(ring) for ring in rings]
        edges = np.concatenate([np.stack([c[:-1], c[1:]], axis=1) for c in corners])
        return edges, shapely.STRtree(np.asarray(shapely.linestrings(edges)))

    def edges_near(self, x: float, z: float, reach: float) -> list[Edge]:
        """Return at least the boundary edges within `reach` metres of a point; answers are kept by cell."""
        key = (math.floor(x / CELL), math.floor(z / CELL), reach)
        found = self._near.get(key)
        if found is None:
            edges, tree = self.edges
            low_x, low_z = key[0] * CELL - reach, key[1] * CELL - reach
            near = tree.query(shapely.box(low_x, low_z, low_x + CELL + 2 * reach, low_z + CELL + 2 * reach))
            along = edges[near, 1] - edges[near, 0]
            lengths = np.hypot(along[:, 0], along[:, 1])[:, None]
            rows = np.concatenate([edges[near, 0], along / lengths, lengths], axis=1)
            found = self._near[key] = [tuple(row) for row in rows.tolist()]
        return found

    def holds(self, x: float, z: float) -> bool:
        """Whether one (x, z) lies within the polygons, their boundary excluded; much quicker than `contains`."""
        return bool(self._cells.holding(x, z))

    def contains(self, points: ArrayLike, tolerance: float = 1e-3) -> NDArray[np.bool_]:
        """Whether the body can stand at points (N, 3): bool (N,).

        A point counts up to `tolerance` metres beside the free space and `Body.max_climb` above or below the floor.
        """
        points = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        flat = shapely.points(points[:, [0, 2]])
        inside = np.asarray(shapely.covers(self.region, flat))
        if tolerance > 0 and not inside.all():
            inside |= shapely.dwithin(self.region, flat, tolerance)
        level = np.abs(points[:, 1] - self.floor_height(points)) <= self.body.max_climb + 1e-6
        return np.asarray(inside & level)

    def nearest(self, point: ArrayLike, max_distance: float = np.inf) -> Vector | None:
        """Return the free point (3,) nearest on the floor, itself where it is free, or None beyond `max_distance` metres."""
        x, _, z = np.asarray(point, dtype=np.float64)
        flat = shapely.Point(x, z)
        if not self.region.covers(flat):
            line = shapely.shortest_line(self.region, flat)
            if shapely.length(line) > max_distance:
                return None
            x, z = shapely.get_coordinates(line)[0]
        return np.array([x, self.height_at(x, z), z])

    def sample(self, rng: np.random.Generator) -> Vector:
        """Draw a point (3,), uniform over the area of the largest part."""
        low_x, low_z, high_x, high_z = self.polygons[0].bounds
        while True:
            x, z = rng.uniform((low_x, low_z), (high_x, high_z))
            if shapely.contains_xy(self.polygons[0], x, z):
                return np.array([x, self.height_at(x, z), z])

    def floor_height(self, points: ArrayLike) -> Vector:
        """Return the height of the floor at the (x, z) of points (N, 3): float64 (N,), of the nearest floor beside it."""
        points = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        return self.floor.heights(points[:, [0, 2]])

    def height_at(self, x: float, z: float) -> float:
        """Return the height of the floor at one (x, z)."""
        # Motion and geodesics ask about the same place in turn.
        if self._place != (x, z):
            self._place, self._height = (x, z), self.floor.height_at(x, z)
        return self._height

    def raster(self, cell: float) -> tuple[NDArray[np.bool_], Vector]:
        """Return bool (rows, columns), True where a cell's centre is free, and the (x, z) of the first cell's corner.

        Row r covers z from origin[1] + r * cell, column c covers x from origin[0] + c * cell; the outermost are not free.
        """
        bounds = np.reshape(self.region.bounds, (2, 2)) / cell
        first, last = np.floor(bounds[0]) - 1, np.ceil(bounds[1]) + 1
        origin = first * cell
        columns, rows = (last - first).astype(int)
        x = origin[0] + (np.arange(columns) + 0.5) * cell
        z = origin[1] + (np.arange(rows) + 0.5) * cell
        return np.asarray(shapely.intersects_xy(self.region, *np.meshgrid(x, z))), origin
