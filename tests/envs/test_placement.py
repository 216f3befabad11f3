import itertools
import math
from collections import Counter, defaultdict
from functools import cache

import numpy as np
import pytest
import shapely
from scipy import ndimage

from navloop.envs.houses.furniture.catalogue import CATEGORIES
from navloop.envs.houses.placement import MAX_TRIANGLES, ROOMS, TEXTURE, Furnishing, Rule, furnish
from navloop.envs.houses.plan import Plan, draw_plan
from navloop.envs.scenes import Portal, Room, SceneObject

SEEDS = range(20)
MOUNT = {kind.label: kind.mount for kind in CATEGORIES.values()}


@cache
def house(seed: int) -> tuple[Plan, Furnishing]:
    rng = np.random.default_rng(seed)
    plan = draw_plan(rng)
    return plan, furnish(plan, rng)


def floor_of(thing: SceneObject) -> shapely.Polygon:
    x0, _, z0, x1, _, z1 = thing.box
    return shapely.box(x0, z0, x1, z1)


def standing(furnishing: Furnishing, room: str) -> list[SceneObject]:
    return [i.object for i in furnishing.items if i.object.room == room and MOUNT[i.object.label] == "floor"]


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_on_the_floor_overlaps_but_chairs_under_their_table(seed):
    plan, furnishing = house(seed)
    for room in plan.rooms:
        for a, b in itertools.combinations(standing(furnishing, room.name), 2):
            shared = floor_of(a).intersection(floor_of(b)).bounds
            deep = min(shared[2] - shared[0], shared[3] - shared[1]) if shared and not math.isnan(shared[0]) else 0.0
            tucked = {a.label, b.label} == {"chair", "dining table"}
            assert deep <= (0.17 if tucked or a.label == b.label == "chair" else 1e-4), (a.name, b.name)


@pytest.mark.parametrize("seed", SEEDS)
def test_everything_is_inside_its_room(seed):
    plan, furnishing = house(seed)
    rooms = {room.name: shapely.Polygon(room.polygon).buffer(1e-3) for room in plan.rooms}
    for item in furnishing.items:
        thing = item.object
        assert rooms[thing.room].covers(floor_of(thing)), thing.name
        assert -1e-4 <= thing.box[1] and thing.box[4] <= plan.height + 1e-4, thing.name


@pytest.mark.parametrize("seed", SEEDS)
def test_a_metre_before_every_door_is_clear(seed):
    plan, furnishing = house(seed)
    solid = [floor_of(i.object).buffer(-1e-3) for i in furnishing.items if MOUNT[i.object.label] == "floor"]
    for portal in plan.portals:
        if portal.kind == "window":
            continue
        (xa, za), (xb, zb) = portal.segment
        reach = 0.99 + plan.wall / 2
        dx, dz = (reach, 0.0) if xa == xb else (0.0, reach)
        zone = shapely.box(min(xa, xb) - dx, min(za, zb) - dz, max(xa, xb) + dx, max(za, zb) + dz)
        assert not any(zone.intersects(thing) for thing in solid)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_walker_of_0_3_m_gets_from_each_door_of_a_room_to_each_other(seed):
    """A raster of our own at 2 cm with exact distances, over furniture as filled boxes."""
    plan, furnishing = house(seed)
    for room in plan.rooms:
        (x0, z0), (x1, z1) = room.polygon[0], room.polygon[2]
        free = np.pad(np.ones((round((x1 - x0) / 0.02), round((z1 - z0) / 0.02)), bool), 1)
        for thing in standing(furnishing, room.name):
            ax, _, az, bx, _, bz = thing.box
            cells = np.round((np.array([ax, bx, az, bz]) - [x0, x0, z0, z0]) / 0.02).astype(int) + 1
            free[cells[0] : cells[1], cells[2] : cells[3]] = False
        ways, _ = ndimage.label(ndimage.distance_transform_edt(free) * 0.02 >= 0.3)
        reached = []
        for portal in plan.portals:
            if portal.kind != "window" and room.name in portal.rooms:
                x = np.clip(np.mean([p[0] for p in portal.segment]), x0 + 0.45, x1 - 0.45)
                z = np.clip(np.mean([p[1] for p in portal.segment]), z0 + 0.45, z1 - 0.45)
                reached.append(ways[round((x - x0) / 0.02) + 1, round((z - z0) / 0.02) + 1])
        assert len(set(reached)) == 1 and reached[0] > 0, room.name


@pytest.mark.parametrize("seed", SEEDS)
def test_boxes_are_the_exact_bounds_of_the_triangles(seed):
    _, furnishing = house(seed)
    for item in furnishing.items:
        vertices = np.concatenate([part.vertices[part.faces].reshape(-1, 3) for part in item.parts])
        np.testing.assert_array_equal(item.object.box, [*vertices.min(axis=0), *vertices.max(axis=0)])


@pytest.mark.parametrize("seed", SEEDS)
def test_names_are_unique_and_the_house_stays_within_its_triangles(seed):
    _, furnishing = house(seed)
    names = [item.object.name for item in furnishing.items]
    assert len(set(names)) == len(names)
    assert sum(len(part.faces) for item in furnishing.items for part in item.parts) <= MAX_TRIANGLES
    assert len(names) >= 30


@pytest.mark.parametrize("seed", SEEDS)
def test_parts_share_one_texture_and_stay_inside_it(seed):
    _, furnishing = house(seed)
    image = furnishing.textures[TEXTURE]
    assert image.dtype == np.uint8 and image.shape[1] == 1024 and image.shape[0] in (256, 512, 1024)
    for item in furnishing.items:
        for part in item.parts:
            assert part.texture == TEXTURE and part.vertices.dtype == np.float32 and part.faces.dtype == np.int32
            assert part.uv.min() > 0 and part.uv.max() < 1


def test_the_same_generator_state_gives_the_same_furnishing():
    plan = draw_plan(np.random.default_rng(3))
    first, second = (furnish(plan, np.random.default_rng(8)) for _ in range(2))
    assert [i.object for i in first.items] == [i.object for i in second.items]
    np.testing.assert_array_equal(first.textures[TEXTURE], second.textures[TEXTURE])
    for a, b in zip(first.items, second.items, strict=True):
        np.testing.assert_array_equal(a.parts[0].uv, b.parts[0].uv)
    other = furnish(plan, np.random.default_rng(9))
    assert [i.object for i in other.items] != [i.object for i in first.items]


def test_forty_kinds_appear_over_twenty_houses():
    assert len({item.object.label for seed in SEEDS for item in house(seed)[1].items}) >= 40


def test_sofas_and_beds_of_a_house_differ_in_colour():
    for seed in SEEDS:
        _, furnishing = house(seed)
        for label in ("sofa", "bed", "wardrobe"):
            colours = [i.object.colour for i in furnishing.items if i.object.label == label]
            assert len(set(colours)) == len(colours), (seed, label, colours)


def test_colours_vary_over_houses():
    colours = Counter(i.object.colour for seed in SEEDS for i in house(seed)[1].items if i.object.label == "sofa")
    assert len(colours) >= 7


@pytest.mark.parametrize(
    ("label", "wanted"),
    [
        ("living room", "sofa"),
        ("kitchen", "fridge"),
        ("kitchen", "stove"),
        ("kitchen", "sink"),
        ("bedroom", "bed"),
        ("bathroom", "toilet"),
        ("bathroom", "bathroom sink"),
        ("dining room", "dining table"),
        ("office", "desk"),
    ],
)
def test_rooms_have_what_makes_them_that_room(label, wanted):
    for seed in SEEDS:
        plan, furnishing = house(seed)
        for room in plan.rooms:
            if room.label == label:
                assert any(i.object.room == room.name and i.object.label == wanted for i in furnishing.items), room.name


def _front(thing: SceneObject) -> np.ndarray:
    return np.array([-math.sin(thing.heading), -math.cos(thing.heading)])


def _middle(thing: SceneObject) -> np.ndarray:
    return np.array([thing.box[0] + thing.box[3], thing.box[2] + thing.box[5]]) / 2


def test_chairs_face_their_table_and_televisions_the_sofa():
    seen = 0
    for seed in SEEDS:
        by_room = defaultdict(list)
        for item in house(seed)[1].items:
            by_room[item.object.room].append(item.object)
        for things in by_room.values():
            tables = [t for t in things if t.label == "dining table"]
            for chair in [t for t in things if t.label == "chair"]:
                towards = _middle(tables[0]) - _middle(chair)
                assert _front(chair) @ towards > 0.3
                seen += 1
            if len([t for t in things if t.label == "sofa"]) == 1:
                sofa = next(t for t in things if t.label == "sofa")
                for screen in [t for t in things if t.label == "television"]:
                    assert _front(screen) @ _front(sofa) == pytest.approx(-1)
                    assert _front(screen) @ (_middle(sofa) - _middle(screen)) > 1.0
    assert seen > 20


def test_what_stands_against_a_wall_turns_its_back_to_it():
    for seed in SEEDS:
        plan, furnishing = house(seed)
        rooms = {room.name: room for room in plan.rooms}
        for item in furnishing.items:
            thing = item.object
            if thing.label not in ("wardrobe", "fridge", "bed", "toilet", "bookshelf", "painting", "stove"):
                continue
            (x0, z0), (x1, z1) = rooms[thing.room].polygon[0], rooms[thing.room].polygon[2]
            behind = _middle(thing) - _front(thing) * 10
            hit = np.clip(behind, (x0, z0), (x1, z1))
            depth = abs((_middle(thing) - hit) @ _front(thing))
            half = abs(_front(thing) @ [thing.box[3] - thing.box[0], thing.box[5] - thing.box[2]]) / 2
            assert depth - half == pytest.approx(0.02, abs=0.03), thing.name


def test_nothing_tall_stands_before_a_window():
    for seed in SEEDS:
        plan, furnishing = house(seed)
        for portal in (p for p in plan.portals if p.kind == "window"):
            glass = shapely.LineString(portal.segment).buffer(0.2, cap_style="flat")
            for thing in standing(furnishing, portal.rooms[0]):
                if floor_of(thing).intersection(glass).area > 0.02:
                    assert thing.box[4] <= max(portal.bottom, 0.95) + 0.03, thing.name


def test_a_room_without_rules_and_a_narrow_room_are_furnished_soundly():
    rooms = (
        Room("attic_1", "attic", ((0, 0), (0, 3), (3, 3), (3, 0)), 0.0, 2.6, {}),
        Room("hallway_1", "hallway", ((0, 3.1), (0, 4.1), (3, 4.1), (3, 3.1)), 0.0, 2.6, {}),
    )
    plan = Plan(rooms, (Portal(("attic_1", "hallway_1"), ((1.0, 3.05), (1.9, 3.05)), "door", 0.0, 2.05),))
    furnishing = furnish(plan, np.random.default_rng(0))
    assert {i.object.label for i in furnishing.items if i.object.room == "attic_1"} >= {"bookshelf", "potted plant"}
    assert not standing(furnishing, "hallway_1")


def test_rules_name_known_furniture():
    named = {step.category for steps in ROOMS.values() for step in steps if isinstance(step, Rule)}
    assert named <= set(CATEGORIES)
