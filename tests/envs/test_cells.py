"""The grid answers as the geometry does, point by point, borders and corners of cells included."""

from __future__ import annotations

import math

import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st

from navloop.envs.embedded.cells import CELL, MOST, CellMap


def exact(areas, x, z):
    return tuple(number for number, area in enumerate(areas) if shapely.contains_xy(area, x, z))


def blobs(seed):
    """Return overlapping areas of many shapes: stars, a ring with a hole, two parts in one, and walls along the cells' edges."""
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * math.pi, 30))
    reach = rng.uniform(0.3, 2.0, 30)
    star = shapely.Polygon(np.column_stack([reach * np.cos(angles), reach * np.sin(angles)]))
    ring = shapely.Point(rng.uniform(-1, 1, 2)).buffer(1.5).difference(shapely.Point(0, 0).buffer(0.4))
    parts = shapely.MultiPolygon([shapely.box(-2, -2, -1.1, -1), shapely.box(0.13, 0.2, 0.14, 1.9)])
    return [star, ring, parts, shapely.box(-4 * CELL, -2 * CELL, 3 * CELL, CELL)]


@given(seed=st.integers(0, 20), draw=st.integers(0, 10**6))
def test_a_point_anywhere_is_held_by_what_contains_it(seed, draw):
    areas, rng = blobs(seed), np.random.default_rng(draw)
    cells = CellMap(areas)
    for x, z in rng.uniform(-3, 3, (200, 2)).tolist():
        assert cells.holding(x, z) == exact(areas, x, z)
        assert cells.holding(x, z) == exact(areas, x, z), "asked again"


@given(seed=st.integers(0, 20), draw=st.integers(0, 10**6))
def test_points_on_borders_and_within_rounding_of_them_are_held_alike(seed, draw):
    areas, rng = blobs(seed), np.random.default_rng(draw)
    cells = CellMap(areas)
    corners = shapely.get_coordinates(areas)
    nudged = corners + rng.choice([-1e-16, 0.0, 1e-16, 1e-9, -1e-9], corners.shape)
    crossings = shapely.total_bounds(areas)[:2] + rng.integers(-3, 20, (100, 2)) * CELL
    beside = np.nextafter(crossings, rng.choice([-1.0, 1.0], crossings.shape) * math.inf)
    for x, z in np.concatenate([corners, nudged, crossings, beside]).tolist():
        assert cells.holding(x, z) == exact(areas, x, z)


def test_wide_areas_are_cut_into_larger_cells():
    areas = [shapely.Point(0, 0).buffer(3000), shapely.box(-2500, 10, 4000, 10.5)]
    cells = CellMap(areas)
    assert len(cells._rows) <= MOST + 1
    for x, z in np.random.default_rng(0).uniform(-4000, 4000, (500, 2)).tolist():
        assert cells.holding(x, z) == exact(areas, x, z)
        assert cells.holding(x, z / 400) == exact(areas, x, z / 400)


def test_far_away_there_is_nothing():
    assert CellMap(blobs(0)).holding(1e6, -1e6) == ()
    assert CellMap([]).holding(0.0, 0.0) == ()
