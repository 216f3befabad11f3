"""Free space of scenes made of boxes and hills: what a person would measure with a ruler."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import shapely
from box_scenes import box, furnished, hills, room
from hypothesis import given, settings
from hypothesis import strategies as st

from navloop.envs.embedded.footprints import union
from navloop.envs.embedded.freespace import FreeSpace
from navloop.envs.embedded.mesh import assemble
from navloop.envs.houses.generate import generate_house
from navloop.envs.simulator import Body, SceneError

BODY = Body()


def free_of(*triangles: np.ndarray, body: Body = BODY) -> FreeSpace:
    return FreeSpace.from_triangles(np.concatenate(triangles), body)


def is_free(free: FreeSpace, x: float, z: float, y: float = 0.0) -> bool:
    return bool(free.contains(np.array([[x, y, z]]), tolerance=0)[0])


def test_an_empty_floor_is_free_up_to_the_radius_from_its_edge() -> None:
    free = free_of(room(4, 3))
    assert free.components == pytest.approx([3.8 * 2.8])
    assert free.region.bounds == pytest.approx((0.1, 0.1, 3.9, 2.9))


def test_walls_are_kept_clear_of_by_exactly_the_radius() -> None:
    free = free_of(room(6, 3, box((2.9, 0, 0), (3.0, 2.7, 1))))
    assert is_free(free, 2.799, 0.5) and not is_free(free, 2.801, 0.5)
    assert is_free(free, 3.101, 0.5) and not is_free(free, 3.099, 0.5)
    assert is_free(free, 2.95, 1.101) and not is_free(free, 2.95, 1.099)


def test_corners_are_rounded_within_a_centimetre_of_the_radius() -> None:
    free = free_of(room(4, 4, box((0, 0, 0), (2, 1, 2))))
    distances = np.linspace(0.05, 0.15, 1001)
    for angle in np.linspace(0.05, 1.52, 30):
        places = np.column_stack([2 + distances * np.cos(angle), 0 * distances, 2 + distances * np.sin(angle)])
        first = distances[free.contains(places, tolerance=0)].min()
        assert 0.09 < first < 0.1002


@pytest.mark.parametrize(
    ("low", "high", "in_the_way"),
    [
        ((1, 0, 1), (2, 0.01, 2), False),  # a rug
        ((1, 0, 1), (2, 0.19, 2), False),  # a low step
        ((1, 0, 1), (2, 0.25, 2), True),  # too high a step
        ((1, 0.7, 1), (2, 0.75, 2), True),  # a table top
        ((1, 1.45, 1), (2, 1.6, 2), True),  # a lamp at the height of the head
        ((1, 1.55, 1), (2, 1.7, 2), False),  # a lamp above it
        ((1, 0, 1), (2, 2.5, 2), True),  # a wardrobe, higher than the body
    ],
)
def test_what_stands_in_the_way(low: tuple[float, ...], high: tuple[float, ...], in_the_way: bool) -> None:
    free = free_of(room(4, 3, box(low, high)))  # type: ignore[arg-type]
    assert is_free(free, 1.5, 1.5, y=free.height_at(1.5, 1.5)) != in_the_way
    assert len(free.components) == 1, "neither the top nor the inside is a place to stand"


def test_there_is_no_standing_inside_furniture_or_thick_walls() -> None:
    free = free_of(room(6, 3, box((2, 0, 0), (3, 2.7, 3)), box((4, 0, 1), (5, 1.8, 2))))
    assert free.components == pytest.approx([(2.8**2 - 1.2**2 + 0.01 * (4 - np.pi)), 1.8 * 2.8], rel=2e-3)


def test_a_picture_on_the_wall_narrows_the_floor_by_its_depth() -> None:
    free = free_of(room(4, 3, box((0, 0, -0.1), (4, 2.7, 0)), box((1, 1.2, 0), (2, 1.49, 0.03))))
    assert is_free(free, 0.5, 0.101) and not is_free(free, 1.5, 0.129) and is_free(free, 1.5, 0.131)


@pytest.mark.parametrize("radius", [0.1, 0.18, 0.25])
@pytest.mark.parametrize(("extra", "passable"), [(0.01, True), (-0.01, False)])
def test_a_door_is_passable_exactly_when_wider_than_the_body(radius: float, extra: float, passable: bool) -> None:
    width = 2 * radius + extra
    walls = [box((2, 0, 0), (2.1, 2.7, 1)), box((2, 0, 1 + width), (2.1, 2.7, 3))]
    free = free_of(room(4, 3, *walls), body=dataclasses.replace(BODY, radius=radius))
    assert (len(free.components) == 1) == passable


def test_a_taller_body_does_not_fit_under_a_lintel() -> None:
    walls = [box((2, 0, 0), (2.1, 2.7, 1)), box((2, 0, 2), (2.1, 2.7, 3)), box((2, 1.2, 1), (2.1, 2.7, 2))]
    assert len(free_of(room(4, 3, *walls)).components) == 2
    assert len(free_of(room(4, 3, *walls), body=dataclasses.replace(BODY, height=1.1)).components) == 1


def test_steps_up_to_the_climb_are_walked_over_and_raise_the_floor() -> None:
    steps = [box((1, 0, 1), (4, 0.15, 4)), box((1.5, 0.15, 1.5), (3.5, 0.3, 3.5)), box((2, 0.3, 2), (3, 0.45, 3))]
    free = free_of(room(5, 5, *steps))
    assert free.components == pytest.approx([4.8**2])
    places = np.array([[0.5, 0, 0.5], [1.2, 0, 2], [1.7, 0, 2], [2.5, 0, 2.5]])
    assert free.floor_height(places) == pytest.approx([0, 0.15, 0.3, 0.45])


def test_stairs_lead_to_the_next_level_of_a_split_floor() -> None:
    stairs = [box((4 + 0.28 * i, 0, 1), (4.28 + 0.28 * i, 0.17 * (i + 1), 2)) for i in range(8)]
    free = free_of(room(4, 3, *stairs, box((6.24, 1.2, 0), (9, 1.53, 3))))
    assert len(free.components) == 1
    assert free.floor_height([[1, 0, 1], [4.1, 0, 1.5], [8, 0, 1.5]]) == pytest.approx([0, 0.17, 1.53])


def test_a_rug_does_not_lift_the_body() -> None:
    free = free_of(room(4, 3, box((1, 0, 1), (2, 0.01, 2))))
    assert free.floor_height([[1.5, 0, 1.5], [3, 0, 1]]) == pytest.approx([0, 0])


def test_the_floor_is_found_under_a_roof_of_the_same_size() -> None:
    free = free_of(room(6, 3, box((2, 0, 1), (3, 1, 2))), box((-0.3, 2.7, -0.3), (6.3, 2.8, 3.3)))
    assert free.floor_height([[1, 0, 1]]) == pytest.approx([0])
    assert not is_free(free, 2.5, 1.5) and is_free(free, 1, 1)


def test_of_two_storeys_the_one_with_the_larger_floor_is_taken() -> None:
    upper = box((0, 3, 0), (8, 3.2, 6))
    free = free_of(room(3, 3), upper)
    assert free.floor_height([[1, 0, 1]]) == pytest.approx([3.2])
    assert free.components == pytest.approx([7.8 * 5.8])


def test_hills_are_followed_and_what_stands_on_them_is_in_the_way() -> None:
    x, z = np.meshgrid(np.arange(41) * 0.25, np.arange(41) * 0.25)
    heights = 0.4 * np.sin(x / 1.5) * np.cos(z / 2)
    free = free_of(hills(heights, 0.25), box((3, -1, 3), (4, 2, 4)))
    places = np.random.default_rng(0).uniform(0.5, 9.5, (200, 3))
    expected = 0.4 * np.sin(places[:, 0] / 1.5) * np.cos(places[:, 2] / 2)
    assert np.abs(free.floor_height(places) - expected).max() < 0.01
    assert free.components == pytest.approx([9.8**2 - 1.44], rel=2e-3)


def test_a_slope_of_40_degrees_is_floor_and_one_of_50_is_not() -> None:
    for degrees, width in ((40, 4.0), (50, 2.0)):
        rise = np.tan(np.radians(degrees)) * 2
        heights = np.tile([0, 0, rise, rise], (2, 1))
        ground = hills(heights, 1.0) * [1, 1, 3]
        ground[:, :, 0] = np.select([ground[:, :, 0] < 0.5, ground[:, :, 0] < 1.5, ground[:, :, 0] < 2.5], [0, 2, 4], 6)
        free = free_of(ground)
        assert is_free(free, 3, 1.5, y=rise / 2) == (degrees == 40), width


def test_a_scene_without_floor_says_so_and_what_to_do() -> None:
    wall = np.array([[[0, 0, 0], [1, 0, 0], [1, 2, 0]]], dtype=float)
    with pytest.raises(SceneError, match=r"none of the 1 triangles faces up; y must be the up axis"):
        free_of(wall)
    with pytest.raises(SceneError, match=r"no floor with room for a body of radius 0\.1 m"):
        free_of(box((0, 0, 0), (0.1, 0.1, 0.1)))
    with pytest.raises(SceneError, match="0 triangles"):
        free_of(np.zeros((0, 3, 3)))
    with pytest.raises(SceneError, match="not finite"):
        free_of(room(4, 3) * [1, np.nan, 1])


def test_nearest_moves_a_point_to_the_boundary_and_no_further_than_allowed() -> None:
    free = free_of(room(4, 3, box((1, 0, 1), (2, 1, 2))))
    assert free.nearest([1.5, 0.7, 1.05]) == pytest.approx([1.5, 0, 0.9])
    assert free.nearest([0.5, 0, 0.5]) == pytest.approx([0.5, 0, 0.5])
    assert free.nearest([-0.5, 0, 0.5], max_distance=0.59) is None
    assert free.nearest([-0.5, 0, 0.5], max_distance=0.61) == pytest.approx([0.1, 0, 0.5])


def test_contains_heeds_the_height_and_the_tolerance() -> None:
    free = free_of(room(4, 3))
    points = np.array([[1, 0, 1], [1, 0.19, 1], [1, 0.21, 1], [0.0995, 0, 1], [0.09, 0, 1]])
    assert free.contains(points, tolerance=1e-3).tolist() == [True, True, False, True, False]


def test_samples_are_uniform_over_the_largest_part() -> None:
    free = free_of(room(6, 3, box((2, 0, 0), (2.2, 2.7, 3)), box((3, 0, 1), (4, 1, 2))))
    rng = np.random.default_rng(0)
    points = np.array([free.sample(rng) for _ in range(4000)])
    assert free.contains(points, tolerance=1e-9).all() and points[:, 0].min() >= 2.3
    left = shapely.intersection(free.polygons[0], shapely.box(0, 0, 3.5, 3)).area / free.components[0]
    assert np.mean(points[:, 0] < 3.5) == pytest.approx(left, abs=4 * 0.5 / np.sqrt(4000))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), cell=st.sampled_from([0.05, 0.1]))
def test_the_raster_says_for_every_cell_what_contains_says_for_its_centre(seed: int, cell: float) -> None:
    free = free_of(furnished(seed))
    grid, origin = free.raster(cell)
    rows, columns = np.indices(grid.shape)
    centres = np.stack([origin[0] + (columns + 0.5) * cell, 0 * rows, origin[1] + (rows + 0.5) * cell], axis=-1)
    assert (grid.ravel() == free.contains(centres.reshape(-1, 3), tolerance=0)).mean() > 0.9999
    assert grid.sum() * cell**2 == pytest.approx(free.components.sum(), abs=free.region.length * cell / 2)
    border = np.concatenate([grid[:, -1], grid[-1]])
    assert not border.any(), "the whole free space lies within the raster"


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_nothing_in_the_band_is_nearer_than_the_radius_to_any_free_point(seed: int) -> None:
    triangles = furnished(seed)
    free = free_of(triangles)
    rng = np.random.default_rng(seed)
    points = np.array([free.sample(rng) for _ in range(200)])
    # Points on the surfaces, drawn at random, are an account of the obstacles that shares nothing with the polygons.
    weights = rng.dirichlet(np.ones(3), (len(triangles), 60))
    cloud = np.einsum("fkc,fcx->fkx", weights, triangles).reshape(-1, 3)
    cloud = cloud[(cloud[:, 1] > BODY.max_climb + 0.001) & (cloud[:, 1] < BODY.height - 0.001)]
    gaps = np.linalg.norm(points[:, None, [0, 2]] - cloud[None, :, [0, 2]], axis=2)
    assert gaps.min() > BODY.radius - 0.01


def test_a_house_whose_shadows_defeat_plain_unions_can_be_walked_in() -> None:
    """Corners of its furniture all but touch: GEOS 3.13 finds no union of their shadows at full precision."""
    house = generate_house(np.random.SeedSequence((0, 0, 107)).spawn(4)[0])
    free = FreeSpace.from_triangles(assemble(house.model, house.description).triangles, BODY)
    floors = sum(shapely.Polygon(room.polygon).area for room in house.description.rooms)
    assert 0.5 * floors < free.components[0] < floors


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5), st.floats(0.01, 2)), min_size=1, max_size=6))
def test_a_union_has_the_area_that_sampling_finds(discs: list[tuple[float, float, float]]) -> None:
    polygons = np.array([shapely.Point(x, z).buffer(radius) for x, z, radius in discs], dtype=object)
    joined = union(polygons)
    inside = np.random.default_rng(0).uniform(-7, 7, (2000, 2))
    expected = shapely.intersects_xy(polygons[:, None], inside[:, 0], inside[:, 1]).any(axis=0)
    assert (shapely.intersects_xy(joined, inside[:, 0], inside[:, 1]) == expected).mean() > 0.999
