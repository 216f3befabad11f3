"""Floor plans: what every home must have, over many seeds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from shapely import LineString, Polygon, box, unary_union

from navloop.envs.houses.plan import Plan, draw_plan
from navloop.envs.scenes import Portal, Room

SEEDS = st.integers(0, 2**32 - 1)


def _plan(seed: int) -> Plan:
    return draw_plan(np.random.default_rng(seed))


def _ways(plan: Plan) -> list[Portal]:
    return [portal for portal in plan.portals if portal.kind != "window" and portal.rooms[1]]


def _parts(plan: Plan, without: str = "") -> int:
    """Count the groups of rooms that hang together when one room is closed, itself left out."""
    names = [room.name for room in plan.rooms if room.name != without]
    pairs = [p.rooms for p in _ways(plan) if without not in p.rooms]
    rows, columns = ([names.index(pair[i]) for pair in pairs] for i in (0, 1))
    graph = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(len(names), len(names)))
    return int(connected_components(graph, directed=False)[0])


def _size(room: Room) -> tuple[float, float]:
    (x0, z0), _, (x1, z1), _ = room.polygon
    return x1 - x0, z1 - z0


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_every_room_is_reached_and_there_are_four_to_ten(seed: int) -> None:
    plan = _plan(seed)
    assert 4 <= len(plan.rooms) <= 10
    assert len({room.name for room in plan.rooms}) == len(plan.rooms)
    assert _parts(plan) == 1


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_a_bathroom_is_never_the_only_way_between_others(seed: int) -> None:
    plan = _plan(seed)
    for room in plan.rooms:
        if room.label == "bathroom":
            assert _parts(plan, without=room.name) == 1


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_rooms_keep_exactly_a_wall_apart(seed: int) -> None:
    plan = _plan(seed)
    # Shapes grown to the middle of their walls tile the house: they touch, never overlap.
    grown = [Polygon(room.polygon).buffer(plan.wall / 2, join_style="mitre") for room in plan.rooms]
    whole = unary_union(grown, grid_size=1e-6)
    assert whole.area == pytest.approx(sum(shape.area for shape in grown), abs=1e-6)
    assert whole.geom_type == "Polygon"
    for room in plan.rooms:
        for corner in room.polygon:
            assert np.allclose(np.asarray(corner) / 0.05, np.round(np.asarray(corner) / 0.05), atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_portals_lie_on_the_wall_of_their_rooms_clear_of_corners(seed: int) -> None:
    plan = _plan(seed)
    rooms = {room.name: Polygon(room.polygon) for room in plan.rooms}
    for portal in plan.portals:
        line = LineString(portal.segment)
        for name in filter(None, portal.rooms):
            room = rooms[name]
            assert room.distance(line) == pytest.approx(plan.wall / 2, abs=1e-6)
            # Every point of the opening looks straight into the room, 0.15 m from its corners at least.
            reach = line.buffer(plan.wall / 2 + 0.001, cap_style="flat").intersection(room)
            assert reach.area == pytest.approx(line.length * 0.001, rel=1e-3)
            corners = [corner for corner in room.exterior.coords if line.distance(box(*corner, *corner)) < 0.15]
            assert not corners
        if not portal.rooms[1]:
            middle = np.mean(portal.segment, axis=0)
            outside = box(*(middle - 0.3), *(middle + 0.3))
            assert sum(outside.intersects(room) for room in rooms.values()) == 1


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_portals_of_one_room_do_not_overlap(seed: int) -> None:
    plan = _plan(seed)
    lines = [LineString(portal.segment) for portal in plan.portals]
    for i, line in enumerate(lines):
        for other in lines[:i]:
            assert line.distance(other) > 0.15


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_ways_have_the_sizes_that_people_build(seed: int) -> None:
    plan = _plan(seed)
    front = [portal for portal in plan.portals if portal.kind == "door" and not portal.rooms[1]]
    assert len(front) == 1
    for portal in plan.portals:
        width = LineString(portal.segment).length
        if portal.kind == "door":
            assert 0.9 - 1e-6 <= width <= 1.0 + 1e-6
            assert (portal.bottom, portal.top) == (0.0, 2.05)
        elif portal.kind == "opening":
            assert 1.35 <= width <= 2.4 + 1e-6
            assert (portal.bottom, portal.top) == (0.0, 2.2)
        else:
            assert portal.kind == "window"
            assert 0.5 <= portal.bottom < portal.top <= 2.2


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_same_seed_same_plan(seed: int) -> None:
    assert _plan(seed) == _plan(seed)


def test_homes_vary_in_size_rooms_and_shape() -> None:
    plans = [_plan(seed) for seed in range(120)]
    areas = np.array([sum(np.prod(_size(room)) for room in plan.rooms) for plan in plans])
    assert areas.min() > 72
    assert areas.max() < 225
    assert areas.std() > 15
    assert {len(plan.rooms) for plan in plans} >= {5, 6, 7, 8, 9, 10}
    labels = {room.label for plan in plans for room in plan.rooms}
    assert labels >= {"kitchen", "living room", "bedroom", "bathroom", "dining room", "office", "hallway", "entryway"}
    shapes = [unary_union([Polygon(r.polygon).buffer(0.05, join_style="mitre") for r in p.rooms]) for p in plans]
    angled = sum(shape.area < 0.97 * shape.envelope.area for shape in shapes)
    assert 0.1 < angled / len(plans) < 0.6


def test_rooms_of_a_house_are_told_apart_by_their_colours() -> None:
    for seed in range(30):
        rooms = [room for room in _plan(seed).rooms if room.label not in ("hallway", "entryway")]
        walls = [room.colours["wall"] for room in rooms]
        assert len(set(walls)) == len(walls)
        assert len({room.colours["floor"] for room in rooms}) >= 2
