"""Steps forward, measured: how far, along what, and never through anything."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import pytest
import shapely
from box_scenes import box, furnished, hills, room
from hypothesis import given, settings
from hypothesis import strategies as st

from navloop.envs.embedded.freespace import Edge, FreeSpace
from navloop.envs.embedded.motion import MARGIN, MAX_TURNS, Point, _along, _between, _walk, move
from navloop.envs.simulator import Body
from navloop.geometry import heading_between, heading_vector

BODY = Body()
STIFF = dataclasses.replace(BODY, sliding=False)


def free_of(*triangles: np.ndarray, body: Body = BODY) -> FreeSpace:
    return FreeSpace.from_triangles(np.concatenate(triangles), body)


@functools.cache
def home(seed: int) -> FreeSpace:
    return free_of(furnished(seed))


def test_an_open_step_goes_straight_ahead_by_its_length() -> None:
    free = free_of(room(4, 4))
    for heading in np.linspace(-3, 3, 13):
        position, collided = move(free, np.array([2.0, 0, 2]), heading, BODY)
        assert position == pytest.approx([2, 0, 2] + 0.25 * heading_vector(heading)) and not collided


@pytest.mark.parametrize("degrees", [10, 30, 45, 60, 80])
def test_sliding_keeps_the_part_of_the_step_along_the_wall(degrees: float) -> None:
    free = free_of(room(4, 4))
    angle = math.radians(degrees)  # between the wall z = 0.1 and the way
    start = np.array([2.0, 0, 0.1 + 0.1 * math.sin(angle)])
    position, collided = move(free, start, math.pi / 2 - angle, BODY)
    assert position[2] == pytest.approx(0.1, abs=2e-4)
    assert 2 - position[0] == pytest.approx(0.25 * math.cos(angle), abs=2e-4)
    assert collided


@pytest.mark.parametrize("degrees", [10, 45, 90])
def test_without_sliding_the_step_ends_at_the_contact(degrees: float) -> None:
    free = free_of(room(4, 4))
    angle = math.radians(degrees)
    start = np.array([2.0, 0, 0.1 + 0.1 * math.sin(angle)])
    position, collided = move(free, start, math.pi / 2 - angle, STIFF)
    assert math.dist(position, start) == pytest.approx(0.1, abs=1e-3)
    assert position == pytest.approx(start + math.dist(position, start) * heading_vector(math.pi / 2 - angle))
    assert collided


def test_a_step_straight_into_a_corner_ends_there_and_stays() -> None:
    free = free_of(room(4, 4))
    position = np.array([0.5, 0.0, 0.5])
    for _ in range(5):
        position, collided = move(free, position, heading_between(position, [0, 0, 0]), BODY)
    assert position == pytest.approx([0.1, 0, 0.1], abs=3e-4) and collided


def test_sliding_goes_on_past_the_end_of_the_wall() -> None:
    free = free_of(room(4, 4, box((1, 0, 0), (2, 2.7, 2))))
    start = np.array([2.1001, 0, 1.95])
    for degrees in (10, 45, 80):
        heading = math.radians(90 + degrees)  # to the left of -x and backwards: along the wall's end, then round it
        position, _ = move(free, start, heading, BODY)
        assert free.contains(position[None], tolerance=0)[0]
        assert position[2] > start[2] + 0.9 * 0.25 * math.sin(math.radians(degrees)) - 1e-3
    position = start
    for _ in range(12):
        position, _ = move(free, position, math.radians(135), BODY)
    assert position[0] < 1.5 and position[2] > 2.09, "the corner does not hold the body"


def test_a_collision_is_a_step_that_moved_less_far_than_asked() -> None:
    free = free_of(room(4, 4))
    # Squared lengths differ by 1e-5 where the wall shortens the step by 2e-5 m: habitat-sim's rule.
    for gap, expected in ((0.25, False), (0.24999, False), (0.24997, True), (0.2, True)):
        start = np.array([2.0, 0, 0.1 + gap + 1e-4])
        assert move(free, start, 0.0, STIFF).collided == expected, gap


def test_grazing_a_wall_in_parallel_is_no_collision() -> None:
    free = free_of(room(4, 4))
    position, collided = move(free, np.array([2.0, 0, 0.1]), math.pi / 2, BODY)
    assert position == pytest.approx([1.75, 0, 0.1], abs=2e-4) and not collided


@pytest.mark.parametrize("body", [BODY, STIFF], ids=["sliding", "stiff"])
def test_a_wall_of_a_centimetre_is_never_tunnelled(body: Body) -> None:
    slim = dataclasses.replace(body, radius=0.01)
    for each in (body, slim):
        free = free_of(room(4, 4, box((2, 0, 0), (2.01, 2.7, 4))), body=each)
        rng = np.random.default_rng(0)
        for _ in range(300):
            position = np.array([rng.uniform(1.5, 2 - each.radius), 0, rng.uniform(0.2, 3.8)])
            for heading in rng.uniform(-math.pi, 0, 4):
                position, _ = move(free, position, heading, each)
            assert position[0] <= 2 - each.radius


def test_steps_climb_stairs_and_follow_hills() -> None:
    stairs = [box((2 + 0.28 * i, 0, 0), (2.28 + 0.28 * i, 0.17 * (i + 1), 3)) for i in range(4)]
    free = free_of(room(2, 3, *stairs, box((3.12, 0, 0), (6, 0.68, 3))))
    position, heights = np.array([1.0, 0, 1.5]), [0.0]
    for _ in range(10):
        position, collided = move(free, position, -math.pi / 2, BODY)
        heights.append(position[1])
        assert not collided
    assert position == pytest.approx([3.5, 0.68, 1.5])
    assert np.diff(heights).min() >= 0 and np.diff(heights).max() <= 0.17 + 1e-9
    terrain = free_of(hills(np.tile(np.linspace(0, 1, 21), (21, 1)), 0.25))
    assert move(terrain, np.array([2, 0.4, 2.5]), -math.pi / 2, BODY).position == pytest.approx([2.25, 0.45, 2.5])


def test_a_position_beside_free_space_starts_from_the_nearest_free_point() -> None:
    free = free_of(room(4, 4))
    position, _ = move(free, np.array([2.0, 0, 0.05]), math.pi, BODY)
    assert position == pytest.approx([2, 0, 0.35], abs=1e-3)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 7), draw=st.integers(0, 10**6), sliding=st.booleans())
def test_walks_at_random_stay_free_and_keep_their_stride(seed: int, draw: int, sliding: bool) -> None:
    free, rng = home(seed), np.random.default_rng(draw)
    body = BODY if sliding else STIFF
    position, heading = free.sample(rng), rng.uniform(-math.pi, math.pi)
    for _ in range(100):
        heading += rng.choice([-1, 0, 0, 1]) * math.radians(15)
        there, collided = move(free, position, heading, body)
        asked, walked = body.step, math.dist(there, position)
        assert free.contains(there[None], tolerance=0)[0]
        assert walked <= asked + 1e-12
        assert collided == (walked**2 + 1e-5 < asked**2)
        ahead = float((there - position) @ heading_vector(heading))
        assert ahead >= -1e-9, "no obstacle pushes back"
        if not collided:
            assert ahead == pytest.approx(asked, abs=2e-3) or free.region.boundary.distance(_flat(there)) < 0.05
        position = there


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 7), draw=st.integers(0, 10**6))
def test_without_sliding_the_way_itself_is_free(seed: int, draw: int) -> None:
    free, rng = home(seed), np.random.default_rng(draw)
    position = free.sample(rng)
    for heading in rng.uniform(-math.pi, math.pi, 30):
        there, _ = move(free, position, heading, STIFF)
        way = shapely.LineString([position[::2], there[::2]])
        assert way.difference(free.region).length < 1e-9
        position = there


@settings(max_examples=40)
@given(seed=st.integers(0, 7), draw=st.integers(0, 10**6))
def test_a_body_in_a_corner_ends_where_all_its_turns_would_have_left_it(seed: int, draw: int) -> None:
    free, rng = home(seed), np.random.default_rng(draw)
    edges, _ = free.edges
    for corner in edges[rng.integers(len(edges), size=30), 0]:
        position = free.nearest([corner[0], 0, corner[1]] + rng.normal(0, 0.02, 3) * [1, 0, 1])
        assert position is not None
        for heading in rng.uniform(-math.pi, math.pi, 3):
            start, end = tuple(position[::2]), tuple(position[::2] + BODY.step * heading_vector(heading)[::2])
            near = free.edges_near(*start, BODY.step + 10 * MARGIN)
            assert _walk(start, end, near, sliding=True) == all_turns(start, end, near)


def all_turns(here: Point, end: Point, edges: list[Edge]) -> Point:
    """Slide as `_walk` does, but take every turn that is allowed, even where turns only repeat."""
    budget = math.dist(here, end)
    share, edge = first_hit(here, end, edges)
    there = _between(here, end, share)
    here, budget = there, budget - math.dist(here, there)
    for _ in range(MAX_TURNS if edge is not None else 0):
        share, hit = first_hit(here, aim := _along(here, end, edge, budget), edges)
        there = _between(here, aim, share)
        progress = math.dist(here, there)
        here, budget = there, budget - progress
        if hit is None:
            share, hit = first_hit(here, end, edges)
            there = _between(here, end, min(share, budget / max(math.dist(here, end), 1e-12)))
            progress, here, budget = progress + math.dist(here, there), there, budget - math.dist(here, there)
        if hit is None or (progress < 1e-9 and hit is edge) or budget <= 1e-9:
            break
        edge = hit
    return here


def first_hit(start: Point, end: Point, edges: list[Edge]) -> tuple[float, Edge | None]:
    """The first edge in the way among the shares of all of them."""
    dx, dz = end[0] - start[0], end[1] - start[1]
    hits = [(1.0, -1)]
    for number, (ax, az, ux, uz, length) in enumerate(edges):
        towards, distance = dx * uz - dz * ux, (start[1] - az) * ux - (start[0] - ax) * uz
        if towards > 1e-15 and distance >= -MARGIN:
            share = max((distance - MARGIN) / towards, 0.0)
            along = (start[0] - ax + share * dx) * ux + (start[1] - az + share * dz) * uz
            hits.append((share, number) if -MARGIN <= along <= length + MARGIN else hits[0])
    share, number = min(hits)
    return share, edges[number] if number >= 0 else None


def _flat(point: np.ndarray) -> shapely.Point:
    return shapely.Point(point[0], point[2])
