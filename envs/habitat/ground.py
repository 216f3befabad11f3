"""habitat-sim's navmesh as our simulators ask for it: free space, steps, shortest walks."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navloop.envs.simulator import Body, SceneError
from navloop.geometry import Vector

CELL_HEIGHT = 0.2
"""Metres that a navmesh may lie above the floor: the height of the cells that it is computed from."""


class Ground:
    """One scene's navmesh. Points are float64 (3,), metres; habitat-sim computes in float32.

    Args:
        pathfinder: habitat-sim's, with a navmesh.
        body: Whose navmesh it is.
    """

    def __init__(self, pathfinder: Any, body: Body) -> None:
        self._pathfinder = pathfinder
        self._body = body
        self._walks: tuple[bytes, Any] = (b"", None)

    def contains(self, point: Vector, tolerance: float) -> bool:
        """Whether the navmesh has a point within `tolerance` metres on the floor, and no further in height than a body climbs."""
        nearest = self._snap(point)
        climb = max(self._body.max_climb, CELL_HEIGHT) + 1e-3
        return nearest is not None and _flat(nearest - point) <= tolerance and abs(nearest[1] - point[1]) <= climb

    def nearest(self, point: Vector, reach: float) -> Vector | None:
        """Return the nearest point on the navmesh, None if it is more than `reach` metres away on the floor or in height."""
        nearest = self._snap(point)
        if nearest is None or _flat(nearest - point) > reach or abs(nearest[1] - point[1]) > reach:
            return None
        return nearest

    def step(self, start: Vector, end: Vector) -> Vector:
        """Return where a step ends that would lead from one point to another, sliding or not as the body does."""
        move = self._pathfinder.try_step if self._body.sliding else self._pathfinder.try_step_no_sliding
        return np.array(move(_single(start), _single(end)), dtype=np.float64)

    def distances(self, points: Vector, goal: Vector) -> Vector:
        """Return the length of the shortest walk from each point (N, 3) to the goal: float64 (N,), inf where there is none."""
        walk = self._walk_to(goal)
        lengths = np.empty(len(points))
        for number, point in enumerate(np.asarray(points, dtype=np.float32)):
            walk.requested_start = point
            found = self._pathfinder.find_path(walk)
            lengths[number] = walk.geodesic_distance if found else np.inf
        return np.where(np.isfinite(lengths), lengths, np.inf)

    def _walk_to(self, goal: Vector) -> Any:
        """The goal as habitat-sim searches for it: kept, because it remembers where on the navmesh that is."""
        key = np.asarray(goal, dtype=np.float32).tobytes()
        if self._walks[0] != key:
            from habitat_sim.nav import MultiGoalShortestPath

            walk = MultiGoalShortestPath()
            walk.requested_ends = np.asarray(goal, dtype=np.float32)[None]
            self._walks = (key, walk)
        return self._walks[1]

    def path(self, start: Vector, goal: Vector) -> Vector:
        """Return the corners of the shortest walk, float64 (K, 3), start and goal included; (0, 3) where there is none."""
        from habitat_sim.nav import ShortestPath

        walk = ShortestPath()
        walk.requested_start, walk.requested_end = _single(start), _single(goal)
        if not self._pathfinder.find_path(walk) or not np.isfinite(walk.geodesic_distance):
            return np.empty((0, 3))
        return np.array(walk.points, dtype=np.float64).reshape(-1, 3)

    def sample(self, rng: np.random.Generator) -> Vector:
        """Draw a point uniformly from the largest connected part; habitat-sim's own generator, which is the process's, is left alone."""
        corners, shares = self._largest
        triangle = corners[np.searchsorted(shares, rng.random(), side="right").clip(max=len(shares) - 1)]
        first, second = np.sort(rng.random(2))
        point = first * triangle[0] + (second - first) * triangle[1] + (1 - second) * triangle[2]
        nearest = self._snap(point)
        return point if nearest is None else nearest

    @property
    def height(self) -> float:
        """Mean height of the largest connected part, metres."""
        corners, shares = self._largest
        return float(np.diff(shares, prepend=0.0) @ corners[..., 1].mean(axis=1))

    def raster(self, cell: float, height: float) -> tuple[NDArray[np.bool_], Vector]:
        """Return the storey at a height as cells, bool (rows, columns) by z and x, and the (x, z) of their first corner."""
        lowest = np.array(self._pathfinder.get_bounds()[0], dtype=np.float64)
        free: NDArray[np.bool_] = self._pathfinder.get_topdown_view(cell, height)
        # habitat-sim asks at multiples of the cell: each answer is for a point, the middle of the cell around it.
        return free, lowest[[0, 2]] - cell / 2

    @cached_property
    def _largest(self) -> tuple[Vector, Vector]:
        """The triangles (T, 3, 3) of the largest connected part, and the share of its area (T,) up to each."""
        areas = [self._pathfinder.island_area(number) for number in range(self._pathfinder.num_islands)]
        if not areas or max(areas) <= 0:
            raise SceneError("the navmesh has no free space to draw a point from; check the scene and the body")
        island = int(np.argmax(areas))
        vertices = np.array(self._pathfinder.build_navmesh_vertices(island), dtype=np.float64).reshape(-1, 3)
        indices = np.array(self._pathfinder.build_navmesh_vertex_indices(island), dtype=np.int64).reshape(-1, 3)
        corners = vertices[indices]
        sides = corners[:, 1:] - corners[:, :1]
        sizes = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1)
        return corners, np.cumsum(sizes) / sizes.sum()

    def _snap(self, point: Vector) -> Vector | None:
        nearest = np.array(self._pathfinder.snap_point(_single(point)), dtype=np.float64)
        return nearest if np.isfinite(nearest).all() else None


def _single(point: Vector) -> NDArray[np.float32]:
    return np.asarray(point, dtype=np.float32)


def _flat(offset: Vector) -> float:
    return float(np.hypot(offset[0], offset[2]))
