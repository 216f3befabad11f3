"""Whole houses: sound, light, the same for a seed, and closed like a box to whoever is inside."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from navloop.envs.embedded.freespace import FreeSpace
from navloop.envs.glb import Part, read_glb
from navloop.envs.houses.generate import House, generate_house, write_house
from navloop.envs.houses.plan import Plan
from navloop.envs.houses.shell import build_shell
from navloop.envs.houses.sides import bounds
from navloop.envs.houses.soundness import faults
from navloop.envs.scenes import SceneDescription, SceneObject
from navloop.envs.simulator import Body

SEEDS = range(30)
SOME = range(0, 30, 5)


@cache
def _house(seed: int) -> House:
    return generate_house(seed)


def _parts(house: House, *endings: str) -> Iterator[Part]:
    for node in house.model.nodes:
        if not endings or node.name.endswith(endings):
            yield from node.parts


def _triangles(house: House) -> np.ndarray:
    return np.concatenate([part.vertices[part.faces] for part in _parts(house)])


@pytest.mark.parametrize("seed", SEEDS)
def test_a_house_is_sound(seed: int) -> None:
    house = _house(seed)
    description = house.description
    plan = Plan(description.rooms, description.portals)
    assert faults(plan, description.objects, house.model) == []
    assert 4 <= len(description.rooms) <= 10
    assert len(_triangles(house)) < 8000


@pytest.mark.parametrize("seed", SEEDS)
def test_a_shell_is_light(seed: int) -> None:
    description = _house(seed).description
    shell = build_shell(Plan(description.rooms, description.portals), np.random.default_rng(seed))
    assert sum(len(part.faces) for node in shell.nodes for part in node.parts) <= 1800


@pytest.mark.parametrize("seed", SOME)
def test_an_agent_reaches_every_room_in_the_geometry(seed: int) -> None:
    house = _house(seed)
    free = FreeSpace.from_triangles(_triangles(house).astype(float), Body())
    rng = np.random.default_rng(seed)
    points = np.array([free.sample(rng) for _ in range(1500)])
    for room in house.description.rooms:
        x0, z0, x1, z1 = bounds(room)
        inside = (points[:, [0, 2]] > (x0, z0)).all(1) & (points[:, [0, 2]] < (x1, z1)).all(1)
        assert inside.any(), room.name
    whole = np.array([bounds(room) for room in house.description.rooms])
    assert (points[:, [0, 2]] > whole[:, :2].min(0)).all()
    assert (points[:, [0, 2]] < whole[:, 2:].max(0)).all()


@pytest.mark.parametrize("seed", SOME)
def test_no_ray_leaves_the_house_and_shells_show_their_front(seed: int) -> None:
    house = _house(seed)
    things = {thing.name for thing in house.description.objects if thing.label in ("window", "door", "front door")}
    nodes = [node for node in house.model.nodes if "/" in node.name or node.name in things]
    triangles = np.concatenate([part.vertices[part.faces] for node in nodes for part in node.parts]).astype(float)
    mesh = trimesh.Trimesh(triangles.reshape(-1, 3), np.arange(3 * len(triangles)).reshape(-1, 3), process=False)
    rng = np.random.default_rng(seed)
    centres = [((x0 + x1) / 2, (z0 + z1) / 2) for x0, z0, x1, z1 in map(bounds, house.description.rooms)]
    origins = np.repeat([(x, 1.25, z) for x, z in centres], 2000, axis=0)
    rays = rng.normal(size=origins.shape)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    hit = RayMeshIntersector(mesh).intersects_first(origins, rays)
    assert (hit >= 0).all()
    fronts = np.einsum("ij,ij->i", mesh.face_normals[hit], rays) < 0
    assert fronts.all()


@pytest.mark.parametrize("seed", SOME)
def test_objects_are_nodes_whose_triangles_fill_their_boxes(seed: int) -> None:
    house = _house(seed)
    nodes = {node.name: node for node in house.model.nodes}
    assert len(nodes) == len(house.model.nodes)
    rooms = {room.name: room for room in house.description.rooms}
    names = [thing.name for thing in house.description.objects]
    assert [node.name for node in house.model.nodes if "/" not in node.name] == names
    for thing in house.description.objects:
        points = np.concatenate([part.vertices[np.unique(part.faces)] for part in nodes[thing.name].parts])
        low, high = np.split(np.asarray(thing.box), 2)
        assert (points.max(0) <= high + 0.035).all(), thing
        assert (points.min(0) >= low - 0.035).all(), thing
        x0, z0, x1, z1 = bounds(rooms[thing.room])
        middle = (low + high) / 2
        assert x0 - 0.1 <= middle[0] <= x1 + 0.1
        assert z0 - 0.1 <= middle[2] <= z1 + 0.1
    assert "front door" in {thing.label for thing in house.description.objects}


def test_same_seed_same_files_and_other_seed_other_house(tmp_path: Path) -> None:
    first = write_house(generate_house(7), tmp_path / "a", "house")
    second = write_house(generate_house(np.random.default_rng(7)), tmp_path / "b", "house")
    other = write_house(generate_house(8), tmp_path / "c", "house")
    assert first == tmp_path / "a" / "house" / "house.glb"
    assert first.read_bytes() == second.read_bytes()
    assert first.with_suffix(".json").read_bytes() == second.with_suffix(".json").read_bytes()
    assert first.read_bytes() != other.read_bytes()


def test_files_hold_the_house(tmp_path: Path) -> None:
    house = _house(5)
    path = write_house(house, tmp_path, "house_5")
    assert SceneDescription.read(path.with_suffix(".json")) == house.description
    read = read_glb(path)
    assert {node.name for node in read.nodes} == {node.name for node in house.model.nodes}
    mesh = trimesh.load_scene(path, process=False).to_mesh()
    np.testing.assert_allclose(
        mesh.triangles.sum((0, 1)), _triangles(house).astype(float).sum((0, 1)), rtol=1e-5, atol=1e-2
    )
    assert len(mesh.faces) == len(_triangles(house))


def test_faults_name_a_blocked_door_and_a_cut_off_room() -> None:
    house = _house(3)
    plan = Plan(house.description.rooms, house.description.portals)
    portal = next(p for p in plan.portals if p.kind != "window" and p.rooms[1])
    (ax, az), (bx, bz) = portal.segment
    box = (min(ax, bx) - 0.3, 0.0, min(az, bz) - 0.3, max(ax, bx) + 0.3, 2.0, max(az, bz) + 0.3)
    crate = SceneObject("crate_1", "crate", "", "wood", portal.rooms[0], box, 0.0)
    found = faults(plan, [crate], house.model)
    assert f"the way from {portal.rooms[0]} to {portal.rooms[1]} is blocked" in found
    # Hung above the head or flat as a rug, it stops nobody.
    for bottom, top in ((1.6, 2.0), (0.0, 0.02)):
        harmless = replace(crate, box=(box[0], bottom, box[2], box[3], top, box[5]))
        assert faults(plan, [harmless], house.model) == []
    bathroom = next(room for room in plan.rooms if room.label == "bathroom")
    walled = replace(plan, portals=tuple(p for p in plan.portals if bathroom.name not in p.rooms))
    assert f"{bathroom.name} cannot be reached" in faults(walled, [], house.model)


def test_floor_that_falls_into_parts_is_a_fault() -> None:
    house = _house(3)
    plan = Plan(house.description.rooms, house.description.portals)
    room = max(plan.rooms, key=lambda r: np.ptp(np.asarray(r.polygon), axis=0).prod())
    x0, z0, x1, z1 = bounds(room)
    # A fence around the middle of the largest room.
    w, h = (x1 - x0) / 8, (z1 - z0) / 8
    a, b, c, d = x0 + w, z0 + h, x1 - w, z1 - h
    sides = [(a, b, c, b + 0.1), (a, d - 0.1, c, d), (a, b, a + 0.1, d), (c - 0.1, b, c, d)]
    fence = [
        SceneObject(f"f_{i}", "fence", "", "", room.name, (p, 0, q, r, 1, s), 0.0)
        for i, (p, q, r, s) in enumerate(sides)
    ]
    assert "the free floor falls into parts" in faults(plan, fence, house.model)
