"""The surface underfoot and its height. How it is found stands in `floors`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely

from navloop.envs.embedded import footprints
from navloop.geometry import Vector

CELL: float = 0.5
"""Metres, edge of the cells whose heights are kept."""


@dataclass(frozen=True)
class Floor:
    """The surface underfoot.

    Attributes:
        triangles: float64 (T, 3, 3), what it is made of.
        planes: float64 (T, 3), (a, b, c) of the height a x + b z + c that each holds the body at.
    """

    triangles: Vector
    planes: Vector

    @cached_property
    def level(self) -> float | None:
        """The height in metres of a floor that is flat everywhere, else None."""
        flat = not self.planes[:, :2].any() and np.ptp(self.planes[:, 2]) == 0
        return float(self.planes[0, 2]) if flat else None

    @cached_property
    def _index(self) -> shapely.STRtree:
        return shapely.STRtree(footprints.shadows(self.triangles))

    @cached_property
    def _levels(self) -> dict[tuple[int, int], float | None]:
        """The heights of cells that are flat, None for those that are not; filled in as they are asked for."""
        return {}

    def height_at(self, x: float, z: float) -> float:
        """Return the height at one place, quickly where the floor around it is flat."""
        if self.level is not None:
            return self.level
        cell = (math.floor(x / CELL), math.floor(z / CELL))
        if cell not in self._levels:
            near = self._index.query(shapely.box(*np.multiply(cell, CELL), *np.multiply(cell, CELL) + CELL))
            flat = len(near) and np.ptp(self.planes[near], axis=0).max() == 0 and not self.planes[near, :2].any()
            self._levels[cell] = float(self.planes[near[0], 2]) if flat else None
        level = self._levels[cell]
        return float(self.heights(np.array([[x, z]]))[0]) if level is None else level

    def heights(self, points: Vector) -> Vector:
        """Return the height at (x, z) (N, 2): float64 (N,); beside the floor, that of its nearest edge."""
        if self.level is not None:
            return np.full(len(points), self.level)
        places = np.asarray(shapely.points(points))
        at, under = self._index.query(places, predicate="intersects")
        heights = np.full(len(points), -np.inf)
        np.maximum.at(heights, at, footprints.heights_on(self.planes[under], points[at]))
        for i in np.nonzero(np.isinf(heights))[0]:
            nearest = self._index.nearest(places[i])
            edge = shapely.get_coordinates(shapely.shortest_line(self._index.geometries[nearest], places[i]))[0]
            heights[i] = footprints.heights_on(self.planes[nearest], edge)
        return heights
