"""Shortest walks against hand computation, against all-pairs visibility in networkx, and against Dijkstra on a fine grid."""

from __future__ import annotations

import functools
import math

import networkx as nx
import numpy as np
import pytest
import shapely
from box_scenes import box, furnished, hills, room
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from navloop.envs.embedded.freespace import FreeSpace
from navloop.envs.embedded.geodesics import Geodesics
from navloop.envs.simulator import Body

BODY = Body()


def free_of(*triangles: np.ndarray) -> FreeSpace:
    return FreeSpace.from_triangles(np.concatenate(triangles), BODY)


@functools.cache
def home(seed: int) -> Geodesics:
    return Geodesics(free_of(furnished(seed)))


def points_in(geodesics: Geodesics, count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array([geodesics.free.sample(rng) for _ in range(count)])


def tight_string(start: np.ndarray, goal: np.ndarray, *corners: tuple[float, float]) -> float:
    """Length of a string that is pulled tight over discs of the body's radius at corners (x, z), all on one side."""
    discs = [shapely.Point(corner).buffer(BODY.radius, quad_segs=200) for corner in corners]
    hull = shapely.union_all([*discs, shapely.MultiPoint([start[::2], goal[::2]])]).convex_hull
    return float(hull.length - math.dist(start, goal))


def test_in_the_open_a_walk_is_a_straight_line() -> None:
    geodesics = Geodesics(free_of(room(4, 3)))
    assert geodesics.distances([[0.5, 0, 0.5]], [3.5, 0, 2.5]) == pytest.approx([math.hypot(3, 2)])
    assert geodesics.path([0.5, 0, 0.5], [3.5, 0, 2.5]).tolist() == [[0.5, 0, 0.5], [3.5, 0, 2.5]]


def test_round_the_corner_of_an_l_shaped_corridor() -> None:
    geodesics = Geodesics(free_of(room(5, 5, box((0, 0, 0), (3, 2.7, 3)))))
    start, goal = np.array([1.0, 0, 3.2]), np.array([3.2, 0, 1.0])
    assert geodesics.distances(start[None], goal) == pytest.approx([tight_string(start, goal, (3, 3))], rel=2e-3)
    walk = geodesics.path(start, goal)
    assert np.array_equal(walk[[0, -1]], [start, goal]) and len(walk) >= 3
    assert np.hypot(*(walk[1:-1, ::2] - 3).T) == pytest.approx(BODY.radius, abs=0.01)


def test_round_a_pillar_the_nearer_way() -> None:
    geodesics = Geodesics(free_of(room(5, 5, box((2, 0, 2), (3, 2.7, 3)))))
    start, goal = np.array([1.0, 0, 2.4]), np.array([4.0, 0, 2.4])
    length = geodesics.distances(start[None], goal)
    assert length == pytest.approx([tight_string(start, goal, (2, 2), (3, 2))], rel=2e-3)
    assert geodesics.path(start, goal)[1:-1, 2].max() < 2


def test_a_walk_up_a_ramp_has_the_length_of_the_slope() -> None:
    ground = hills(np.array([[0.0, 0, 1.5, 1.5]] * 3), 2.0)
    geodesics = Geodesics(free_of(ground))
    assert geodesics.distances([[2.0, 0, 2]], [4.0, 1.5, 2]) == pytest.approx([2.5])


def test_what_cannot_be_reached_is_infinitely_far() -> None:
    geodesics = Geodesics(free_of(room(6, 3, box((2, 0, 0), (2.1, 2.7, 3)))))
    inside, across, outside = [4.0, 0, 1], [1.0, 0, 1], [7.0, 0, 1]
    assert np.isinf(geodesics.distances([across, outside], inside)).all()
    assert np.isinf(geodesics.distances([inside], outside)).all()
    above = [4.0, 3, 1]
    assert np.isinf(geodesics.distances([inside], above)).all() and np.isinf(geodesics.distances([above], inside)).all()
    assert geodesics.path(across, inside).shape == (0, 3) == geodesics.path(inside, outside).shape


def test_a_point_beside_free_space_stands_for_the_nearest_free_point() -> None:
    geodesics = Geodesics(free_of(room(6, 3)))
    assert geodesics.distances([[-0.3, 0, 1], [0.1, 0, 1]], [3.0, 0, 1]) == pytest.approx([2.9, 2.9])
    assert np.isinf(geodesics.distances([[-0.41, 0, 1]], [3.0, 0, 1])).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_distances_equal_those_over_all_lines_of_sight(seed: int) -> None:
    """Every corner of the polygons with every other, no pruning, other predicates, another search."""
    geodesics = home(seed)
    region = geodesics.free.region.buffer(1e-6, join_style="mitre")
    shapely.prepare(region)
    corners = np.unique(shapely.get_coordinates(geodesics.free.region), axis=0)
    corners = np.concatenate([corners, points_in(geodesics, 12, seed)[:, ::2]])
    i, j = np.triu_indices(len(corners), 1)
    free = shapely.covers(region, shapely.linestrings(np.stack([corners[i], corners[j]], axis=1)))
    lengths = np.linalg.norm(corners[i] - corners[j], axis=1)[free]
    graph = nx.Graph()
    graph.add_weighted_edges_from(zip(i[free].tolist(), j[free].tolist(), lengths.tolist(), strict=True))
    places = np.insert(corners[-12:], 1, 0.0, axis=1)
    for goal in range(12):
        reference = nx.single_source_dijkstra_path_length(graph, len(corners) - 12 + goal)
        expected = [reference.get(len(corners) - 12 + start, math.inf) for start in range(12)]
        # Lines of sight may leave the polygons by a millimetre here, there by a thousandth of that.
        assert geodesics.distances(places, places[goal]) == pytest.approx(expected, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("seed", [3, 4])
def test_distances_lie_between_the_bounds_of_a_fine_grid(seed: int) -> None:
    """A walk on a grid is a walk, and with 16 directions it is at most 1 / cos(13.3 degrees) times the shortest."""
    geodesics, cell = home(seed), 0.02
    grid, origin = geodesics.free.raster(cell)
    number = np.where(grid, np.cumsum(grid).reshape(grid.shape) - 1, -1)
    rows, columns, lengths = [], [], []
    for dz, dx in ((0, 1), (1, 0), (1, 1), (1, -1), (1, 2), (2, 1), (1, -2), (2, -1)):
        ends = np.roll(number, (-dz, -dx), axis=(0, 1))
        both = (number >= 0) & (ends >= 0)
        rows.append(number[both])
        columns.append(ends[both])
        lengths.append(np.full(both.sum(), cell * math.hypot(dz, dx)))
    pairs = np.concatenate(rows).astype(np.int32), np.concatenate(columns).astype(np.int32)  # as older scipy asks
    links = coo_array((np.concatenate(lengths), pairs), shape=[grid.sum()] * 2)
    points = points_in(geodesics, 60, seed)
    at = np.floor((points[:, ::2] - origin) / cell).astype(int)
    inside = number[at[:, 1], at[:, 0]] >= 0
    points, nodes = points[inside], number[at[inside, 1], at[inside, 0]]
    walked = dijkstra(links.tocsr(), directed=False, indices=nodes[0])[nodes]
    found = geodesics.distances(points, points[0])
    assert np.isfinite(found).all()
    assert (found <= walked * 1.002 + 3 * cell).all()
    assert (found >= walked * math.cos(math.atan(0.5) / 2) - 4 * cell).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 5), draw=st.integers(0, 10**6))
def test_walks_are_a_metric_longer_than_the_beeline(seed: int, draw: int) -> None:
    geodesics = home(seed)
    a, b, c = points_in(geodesics, 3, draw)
    ab, ba = geodesics.distances([a], b)[0], geodesics.distances([b], a)[0]
    bc, ac = geodesics.distances([b], c)[0], geodesics.distances([a], c)[0]
    assert ab == pytest.approx(ba, rel=1e-9)
    assert ac <= ab + bc + 1e-3
    assert ab >= math.dist(a, b) - 1e-9
    assert geodesics.distances([a], a) == pytest.approx([0], abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 5), draw=st.integers(0, 10**6))
def test_a_path_is_free_and_as_long_as_its_distance(seed: int, draw: int) -> None:
    geodesics = home(seed)
    start, goal = points_in(geodesics, 2, draw)
    walk = geodesics.path(start, goal)
    assert np.array_equal(walk[[0, -1]], [start, goal])
    legs = np.linalg.norm(np.diff(walk, axis=0), axis=1)
    assert legs.sum() == pytest.approx(geodesics.distances([start], goal)[0], rel=1e-9)
    line = shapely.LineString(walk[:, ::2])
    assert line.difference(geodesics.free.region.buffer(0.002)).length == 0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 5), draw=st.integers(0, 10**6))
def test_answers_do_not_depend_on_the_questions_before(seed: int, draw: int) -> None:
    geodesics = home(seed)
    rng = np.random.default_rng(draw)
    goal, start = points_in(geodesics, 2, draw)
    steps = start + np.cumsum(rng.normal(0, 0.15, (30, 3)) * [1, 0, 1], axis=0)
    walked = geodesics.distances(steps, goal)
    alone = [Geodesics.distances(fresh, [p], goal)[0] for p in steps for fresh in [_forgetful(geodesics)]]
    assert walked == pytest.approx(alone, abs=1e-9)


def _forgetful(geodesics: Geodesics) -> Geodesics:
    """Return geodesics that share the graph and remember nothing."""
    fresh = Geodesics(geodesics.free)
    fresh.__dict__["_graph"] = geodesics._graph
    return fresh


@pytest.mark.parametrize("seed", range(4))
def test_many_walks_at_once_are_as_long_as_one_by_one(seed: int) -> None:
    geodesics, rng = home(seed), np.random.default_rng(seed)
    one_by_one = Geodesics(geodesics.free)
    free = points_in(geodesics, 40, seed)
    beside = free + rng.uniform(-0.8, 0.8, free.shape)  # in furniture, in walls, off the floor
    everywhere = np.concatenate([free, beside, free[:1]])
    for goal in points_in(geodesics, 3, seed + 100):
        together = geodesics.distances(everywhere, goal)
        alone = [one_by_one.distances(point[None], goal)[0] for point in everywhere[::9]]
        assert together[::9].tolist() == alone
        assert np.isfinite(together).any() and together[0] == together[-1]
        assert geodesics.distances(np.zeros((0, 3)), goal).shape == (0,)
