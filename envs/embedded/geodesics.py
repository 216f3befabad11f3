"""Shortest walks in free space: a visibility graph over the corners that a tight string would bend around."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from navloop.envs.embedded.freespace import FreeSpace
from navloop.geometry import Vector

REACH: float = 0.5
"""Metres from free space up to which a point is moved to the nearest free point; beyond, it is unreachable."""

FIELDS_KEPT: int = 16


@dataclass(frozen=True, slots=True)
class _Field:
    """Distances to one goal: nodes are the corners that reach it and, last, the goal itself."""

    nodes: Vector  # (M, 3)
    distances: Vector  # (M,)
    successors: NDArray[np.int64]  # (M,), the next node on the way; the goal's is itself


class Geodesics:
    """Shortest walks in one free space. The graph is built at the first question; fields of recent goals are kept."""

    def __init__(self, free: FreeSpace) -> None:
        """Take the free space to walk in."""
        self.free = free
        self._fields: OrderedDict[bytes, _Field | None] = OrderedDict()

    def distances(self, points: ArrayLike, goal: ArrayLike) -> Vector:
        """Return the length of the shortest walk from each point (N, 3) to the goal (3,): float64 (N,), metres.

        It is inf where no walk exists, or where either end is more than `REACH` from free space.
        """
        points = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        field = self._field(np.asarray(goal, dtype=np.float64))
        if field is None:
            return np.full(len(points), np.inf)
        return np.array([self._first_node(point, field)[1] for point in points])

    def path(self, start: ArrayLike, goal: ArrayLike) -> Vector:
        """Return the corners (K, 3) of the shortest walk, both ends included; (0, 3) where none exists."""
        field = self._field(np.asarray(goal, dtype=np.float64))
        origin = self._snapped(np.asarray(start, dtype=np.float64))
        if field is None or origin is None:
            return np.zeros((0, 3))
        node, length = self._first_node(origin, field)
        if not np.isfinite(length):
            return np.zeros((0, 3))
        corners = [origin, field.nodes[node]]
        while node != len(field.nodes) - 1:
            node = int(field.successors[node])
            corners.append(field.nodes[node])
        return np.array(corners)

    def _snapped(self, point: Vector) -> Vector | None:
        if shapely.contains_xy(self.free.region, point[0], point[2]):
            return point
        return self.free.nearest(point, REACH)

    def _first_node(self, point: Vector, field: _Field) -> tuple[int, float]:
        origin = self._snapped(point)
        if origin is None:
            return -1, np.inf
        totals = np.sqrt(((field.nodes - origin) ** 2).sum(axis=1)) + field.distances
        for node in np.argsort(totals):
            if self._sees(origin[[0, 2]][None], field.nodes[node : node + 1, [0, 2]])[0]:
                return int(node), float(totals[node])
        return -1, np.inf

    def _sees(self, starts: Vector, ends: Vector) -> NDArray[np.bool_]:
        starts, ends = np.broadcast_arrays(starts, ends)
        seen: NDArray[np.bool_] = shapely.covers(self.free.roomy, shapely.linestrings(np.stack([starts, ends], axis=1)))
        return seen

    def _field(self, goal: Vector) -> _Field | None:
        key = goal.tobytes()
        if key in self._fields:
            self._fields.move_to_end(key)
            return self._fields[key]
        field = self._compute_field(goal)
        self._fields[key] = field
        if len(self._fields) > FIELDS_KEPT:
            self._fields.popitem(last=False)
        return field

    def _compute_field(self, goal: Vector) -> _Field | None:
        target = self._snapped(goal)
        if target is None:
            return None
        corners, neighbours, graph = self._graph
        seen = np.nonzero(_tangent(target[[0, 2]], corners[:, [0, 2]], neighbours))[0]
        seen = seen[self._sees(target[[0, 2]][None], corners[seen][:, [0, 2]])]
        lengths = np.maximum(np.linalg.norm(corners[seen] - target, axis=1), 1e-12)
        count = len(corners)
        rows, columns = graph.nonzero()
        whole = csr_array(
            (
                np.concatenate([graph.data, lengths, lengths]),
                (
                    np.concatenate([rows, seen, np.full(len(seen), count)]),
                    np.concatenate([columns, np.full(len(seen), count), seen]),
                ),
            ),
            shape=(count + 1, count + 1),
        )
        distances, before = dijkstra(whole, indices=count, return_predecessors=True)
        kept = np.nonzero(np.isfinite(distances))[0]
        index = np.full(count + 1, -1)
        index[kept] = np.arange(len(kept))
        nodes = np.concatenate([corners, target[None]])[kept]
        before[count] = count
        return _Field(nodes, distances[kept], index[before[kept]])

    @cached_property
    def _graph(self) -> tuple[Vector, Vector, csr_array]:
        """Corners (V, 3), their neighbours on the boundary (V, 2, 2) and the lengths of the free lines between them."""
        flat, neighbours = _reflex_corners(self.free)
        corners = np.column_stack([flat[:, 0], np.zeros(len(flat)), flat[:, 1]])
        if len(corners):
            corners[:, 1] = self.free.floor_height(corners)
        pairs = [np.zeros((0, 2), dtype=np.int64)]
        for i in range(len(flat) - 1):
            j = np.nonzero(_tangent(flat[i], flat[i + 1 :], neighbours[i + 1 :]))[0] + i + 1
            j = j[_tangent_at(flat[i], neighbours[i], flat[j])]
            pairs.append(np.column_stack([np.full(len(j), i), j]))
        joined = np.concatenate(pairs)
        joined = joined[self._sees(flat[joined[:, 0]], flat[joined[:, 1]])]
        lengths = np.maximum(np.linalg.norm(corners[joined[:, 0]] - corners[joined[:, 1]], axis=1), 1e-12)
        graph = csr_array((lengths, (joined[:, 0], joined[:, 1])), shape=(len(flat), len(flat)))
        return corners, neighbours, csr_array(graph + graph.T)


def _reflex_corners(free: FreeSpace) -> tuple[Vector, Vector]:
    """Return the corners (V, 2) where the free angle exceeds 180 degrees, and the corners before and after (V, 2, 2)."""
    found, around = [np.zeros((0, 2))], [np.zeros((0, 2, 2))]
    for part in free.polygons:
        for ring in (part.exterior, *part.interiors):
            here = shapely.get_coordinates(ring)[:-1]
            before, after = np.roll(here, 1, axis=0), np.roll(here, -1, axis=0)
            reflex = _cross(here - before, after - here) < -1e-12
            found.append(here[reflex])
            around.append(np.stack([before, after], axis=1)[reflex])
    return np.concatenate(found), np.concatenate(around)


def _tangent(point: Vector, corners: Vector, neighbours: Vector) -> NDArray[np.bool_]:
    """Whether the line from a point (2,) to corners (V, 2) leaves both neighbours of a corner on one side."""
    along = corners - point
    sides = _cross(along[:, None], neighbours - corners[:, None])
    return sides.min(axis=1) * sides.max(axis=1) >= -1e-12


def _tangent_at(corner: Vector, neighbours: Vector, points: Vector) -> NDArray[np.bool_]:
    """The same for one corner (2,) with neighbours (2, 2), seen from many points (V, 2)."""
    sides = _cross((corner - points)[:, None], (neighbours - corner)[None])
    return sides.min(axis=1) * sides.max(axis=1) >= -1e-12


def _cross(a: Vector, b: Vector) -> Vector:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
