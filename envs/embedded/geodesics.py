"""Shortest walks in free space: a visibility graph over the corners that a tight string would bend around."""

from __future__ import annotations

import math
from collections import OrderedDict
from functools import cached_property
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from navloop.envs.embedded.freespace import SNAP, FreeSpace
from navloop.geometry import Vector

REACH: float = 0.5
"""Metres beside free space, and above or below its floor, up to which a point stands for the nearest free point.

Beyond, it is unreachable.
"""

FIELDS_KEPT: int = 16
"""Goals whose fields are kept, the most recent ones."""

FLAT: float = -1e-12
"""Product of cross products, above which a line bends at a corner by no more than rounding."""

BATCH: int = 4
"""Sight lines tested at once at first; then twice as many, and so on."""


Point = tuple[float, float, float]
"""A place (x, y, z), metres. Of single places Python's own numbers are quicker than arrays."""


Coordinate = float | Vector
"""Of one place or of many."""


class _Answer(NamedTuple):
    """The shortest walk from a point: the node it goes to first (-1: there is no walk), and its length in metres."""

    point: Point
    node: int
    length: float


class _Field:
    """Walks to one goal.

    Attributes:
        nodes: float64 (M, 3), the corners that the goal can be reached from and, last, the goal itself.
        successors: int64 (M,), the next node on the way; the goal's is itself.
        last: The answer to the question before, a good guess at the next one.
    """

    def __init__(self, nodes: Vector, distances: Vector, successors: NDArray[np.int64], neighbours: Vector) -> None:
        """Take nodes, the metres from each to the goal (M,), successors, and the boundary's corners beside each (M, 2, 2)."""
        self.nodes, self.successors = nodes, successors
        self.last: _Answer | None = None
        self._distances = distances
        # By coordinate, not by node: each question is a few passes over whole rows.
        self._columns = np.ascontiguousarray(nodes.T)
        self._arms = np.ascontiguousarray((neighbours - nodes[:, None, ::2]).transpose(1, 2, 0))

    def promise(self, x: Coordinate, y: Coordinate, z: Coordinate) -> tuple[Vector, NDArray[np.bool_]]:
        """Return how long the walk over each node would be, metres, and whether a tight string would bend around it.

        Of one place, given as three numbers, both are (M,); of N places, given as columns (N, 1), they are (N, M).
        """
        along_x, along_z = self._columns[0] - x, self._columns[2] - z
        rise = self._columns[1] - y
        totals = np.sqrt(along_x * along_x + along_z * along_z + rise * rise) + self._distances
        one, other = (along_x * arm[1] - along_z * arm[0] for arm in self._arms)
        return totals, one * other >= FLAT


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
        places = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        field = self._field(np.asarray(goal, dtype=np.float64))
        if field is None:
            return np.full(len(places), np.inf)
        if len(places) == 1:
            return np.array([self._answer(tuple(places[0].tolist()), field).length])
        return self._lengths(places, field)

    def path(self, start: ArrayLike, goal: ArrayLike) -> Vector:
        """Return the corners (K, 3) of the shortest walk, both ends included; (0, 3) where none exists."""
        field = self._field(np.asarray(goal, dtype=np.float64))
        origin = self._snapped(tuple(np.asarray(start, dtype=np.float64).tolist()))
        if field is None or origin is None:
            return np.zeros((0, 3))
        node = self._answer(origin, field).node
        if node < 0:
            return np.zeros((0, 3))
        corners = [np.array(origin), field.nodes[node]]
        while node != len(field.nodes) - 1:
            node = int(field.successors[node])
            corners.append(field.nodes[node])
        return np.array(corners)

    def _snapped(self, point: Point) -> Point | None:
        """Return the free point on the floor that stands for a point, None where that is too far off."""
        x, y, z = point
        if not self.free.holds(x, z):
            nearest = self.free.nearest(point, REACH)
            if nearest is None:
                return None
            x, _, z = nearest.tolist()
        height = self.free.height_at(x, z)
        return (x, height, z) if abs(y - height) <= REACH else None

    def _answer(self, point: Point, field: _Field) -> _Answer:
        """Find the node that the shortest walk from a point goes to first."""
        if field.last is not None and point == field.last.point:
            return field.last
        origin = self._snapped(point)
        if origin is None:
            return _Answer(point, -1, math.inf)
        totals, tight = field.promise(*origin)
        node = self._nearest_seen(origin, tight & (totals >= self._least(origin, field)), totals, field)
        if node < 0:
            node = self._nearest_seen(origin, tight, totals, field)
        if node < 0:  # rounding may hide that a string bends
            node = self._nearest_seen(origin, np.ones_like(tight), totals, field)
        field.last = _Answer(point, node, math.inf if node < 0 else float(totals[node]))
        return field.last

    def _nearest_seen(self, origin: Point, among: NDArray[np.bool_], totals: Vector, field: _Field) -> int:
        """Return the node in sight that promises the shortest walk, -1 if there is none."""
        listed = among.nonzero()[0]
        listed = listed[totals[listed].argsort(kind="stable")]
        size = BATCH
        while len(listed):
            batch, listed = listed[:size], listed[size:]
            seen = self._sees(np.array(origin), field.nodes[batch])
            place = int(seen.argmax())
            if seen[place]:
                return int(batch[place])
            size *= 2
        return -1

    def _lengths(self, places: Vector, field: _Field) -> Vector:
        """Return what `_answer` does of each of many points (N, 3), with sight tests for all of them at once."""
        lengths = np.full(len(places), np.inf)
        snapped = [self._snapped((x, y, z)) for x, y, z in places.tolist()]
        rows = [row for row, origin in enumerate(snapped) if origin is not None]
        if rows:
            origins = np.array([snapped[row] for row in rows])
            totals, tight = field.promise(*origins.T[:, :, None])
            nodes = self._nearest_of_each(origins, tight, totals, field)
            lost = np.nonzero(nodes < 0)[0]
            nodes[lost] = self._nearest_of_each(origins[lost], np.ones_like(tight[lost]), totals[lost], field)
            lengths[rows] = np.where(nodes < 0, np.inf, totals[np.arange(len(rows)), nodes])
        return lengths

    def _nearest_of_each(
        self, origins: Vector, among: NDArray[np.bool_], totals: Vector, field: _Field
    ) -> NDArray[np.int64]:
        """Return what `_nearest_seen` does of each of many origins (N, 3)."""
        order = np.where(among, totals, np.inf).argsort(axis=1, kind="stable")
        counts = among.sum(1)
        nodes = np.full(len(origins), -1)
        rows, first, size = np.nonzero(counts)[0], 0, BATCH
        while len(rows):
            ranked = order[rows, first : first + size]
            row, rank = np.nonzero(np.arange(first, first + ranked.shape[1]) < counts[rows, None])
            seen = np.zeros(ranked.shape, dtype=bool)
            seen[row, rank] = self._sees(origins[rows[row]], field.nodes[ranked[row, rank]])
            hit = seen.any(1)
            nodes[rows[hit]] = ranked[hit, seen[hit].argmax(1)]
            first, size = first + size, size * 2
            rows = rows[~hit & (counts[rows] > first)]
        return nodes

    def _least(self, origin: Point, field: _Field) -> float:
        """Return a lower bound on the walk's length by the answer before: no node that promises less can be in sight."""
        last = field.last
        if last is None or last.node < 0 or self.free.floor.level is None:
            return -math.inf
        if not self._sees(np.array(origin), np.array([last.point]))[0]:
            return -math.inf
        return last.length - math.dist(origin, last.point) - 4 * SNAP

    def _sees(self, starts: Vector, ends: Vector) -> NDArray[np.bool_]:
        """Whether nothing stands between starts (N, 3) or (3,) and ends (N, 3), all of them free: bool (N,)."""
        lines = np.empty((len(ends), 2, 2))
        lines[:, 0] = starts[..., ::2]
        lines[:, 1] = ends[:, ::2]
        return ~np.asarray(shapely.intersects(self.free.walls, shapely.linestrings(lines)))

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
        snapped = self._snapped(tuple(goal.tolist()))
        if snapped is None:
            return None
        target = np.array(snapped)
        corners, neighbours, graph = self._graph
        seen = np.nonzero(_tangent(target[::2], corners[:, ::2], neighbours))[0]
        seen = seen[self._sees(target, corners[seen])]
        lengths = np.maximum(np.linalg.norm(corners[seen] - target, axis=1), 1e-12)
        # The goal becomes the last row. No shortest walk from it comes back, so that it needs no column.
        count, ends = len(corners), np.append(graph.indptr, graph.nnz + len(seen)).astype(np.int32)
        links = np.concatenate([graph.indices, seen]).astype(np.int32)  # older scipy takes 32-bit indices alone
        whole = csr_array((np.concatenate([graph.data, lengths]), links, ends), shape=(count + 1, count + 1))
        far, back = dijkstra(whole, indices=np.array([count]), return_predecessors=True)
        distances, before = far[0], back[0]
        kept = np.nonzero(np.isfinite(distances))[0]
        index = np.full(count + 1, -1)
        index[kept] = np.arange(len(kept))
        before[count] = count
        nodes = np.concatenate([corners, target[None]])
        beside = np.concatenate([neighbours, np.broadcast_to(target[[0, 2]], (1, 2, 2))])
        return _Field(nodes[kept], distances[kept], index[before[kept]], beside[kept])

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
        joined = joined[self._sees(corners[joined[:, 0]], corners[joined[:, 1]])]
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
    return np.asarray(sides[:, 0] * sides[:, 1] >= FLAT)


def _tangent_at(corner: Vector, neighbours: Vector, points: Vector) -> NDArray[np.bool_]:
    """The same for one corner (2,) with neighbours (2, 2), seen from many points (V, 2)."""
    sides = _cross((corner - points)[:, None], (neighbours - corner)[None])
    return np.asarray(sides[:, 0] * sides[:, 1] >= FLAT)


def _cross(a: Vector, b: Vector) -> Vector:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
