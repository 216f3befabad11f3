"""Navmeshes that we write: convex polygons that cover the free space, in a file that habitat-sim takes as its own."""

import networkx
import numpy as np
import pytest
import shapely
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from trimesh.transformations import translation_matrix

from navloop.envs.embedded.freespace import FreeSpace
from navloop.envs.embedded.mesh import SceneMesh
from navloop.envs.embedded.simulator import EmbeddedSimulator
from navloop.envs.habitat.convex import GRID, convex_parts, edges_of
from navloop.envs.habitat.detour import CORNERS, HEADER, NODE, PATCH, POLYGON, SET, SETTINGS, TILE, navmesh_file
from navloop.envs.habitat.export_navmesh import write_navmesh
from navloop.envs.habitat.export_scenes import export_scene
from navloop.envs.habitat.navmeshes import require_readable
from navloop.envs.protocols import get_protocol
from navloop.envs.simulator import Body

lengths = st.floats(0.3, 6.0).map(lambda x: round(x, 3))
boxes = st.builds(lambda x, z, w, d: shapely.box(x, z, x + w, z + d), lengths, lengths, lengths, lengths)


@st.composite
def floors(draw):
    """Rooms less their furniture, with round corners as a body leaves them."""
    rooms = shapely.union_all(draw(st.lists(boxes, min_size=1, max_size=4)))
    things = shapely.union_all(draw(st.lists(boxes, max_size=4))).buffer(-0.2).buffer(0.1, quad_segs=3)
    free = rooms.difference(things).buffer(-0.05, quad_segs=2)
    parts = [part for part in shapely.get_parts(free) if part.area > 0.05]
    return shapely.MultiPolygon(parts) if parts else shapely.MultiPolygon([shapely.box(0, 0, 1, 1)])


def _neighbours(polygons):
    owner = {}
    for number, polygon in enumerate(polygons):
        for edge in edges_of(polygon):
            assert edge not in owner, "two polygons on one side of an edge"
            owner[edge] = number
    return [(number, owner[edge[::-1]]) for edge, number in owner.items() if edge[::-1] in owner]


@settings(max_examples=60, deadline=None)
@given(floors(), st.integers(3, CORNERS))
def test_polygons_are_convex_cover_the_region_and_are_joined_as_it_is(region, corners):
    vertices, polygons = convex_parts(region, corners)
    shapes = [shapely.Polygon(vertices[polygon]) for polygon in polygons]
    assert max(len(polygon) for polygon in polygons) <= corners
    for shape in shapes:
        assert shapely.is_ccw(shape.exterior)
        assert shape.convex_hull.area == pytest.approx(shape.area, abs=1e-9)
    assert sum(shape.area for shape in shapes) == pytest.approx(region.area, abs=1e-4 * region.length + 1e-6)
    boundary = region.boundary.buffer(3e-5)
    assert shapely.contains_xy(boundary, vertices).all(), "a corner in the open would bend walks"
    graph = networkx.Graph(_neighbours(polygons))
    graph.add_nodes_from(range(len(polygons)))
    rounded = shapely.set_precision(region, GRID)  # a neck of no width comes apart
    assert networkx.number_connected_components(graph) == len(shapely.get_parts(rounded))


def test_joining_leaves_fewer_polygons_of_the_same_corners():
    tables = shapely.union_all([shapely.box(x, z, x + 0.7, z + 0.5) for x in (1, 3, 5, 6.8) for z in (1, 3, 5)])
    region = shapely.MultiPolygon([shapely.box(0, 0, 8, 6).difference(tables)])
    triangles, joined = convex_parts(region, 3), convex_parts(region, CORNERS)
    assert len(joined.polygons) < 0.5 * len(triangles.polygons)
    np.testing.assert_array_equal(triangles.vertices, joined.vertices)


@pytest.fixture(scope="module")
def house(houses, tmp_path_factory):
    """An exported house: its scene folder, and its free space."""
    folder = tmp_path_factory.mktemp("navmesh")
    export_scene(houses / "scenes" / "small" / "val_unseen_000" / "val_unseen_000.glb", folder, Body())
    return folder


@pytest.fixture(scope="module")
def embedded(house):
    simulator = EmbeddedSimulator(house, Body(), [])
    simulator.load_scene("val_unseen_000.glb")
    yield simulator
    simulator.close()


def _parts(path):
    """The parts of a navmesh of one tile, by name."""
    data = path.read_bytes()
    start = SET.size + SETTINGS.size
    _, size = TILE.unpack_from(data, start)
    tile = data[start + TILE.size :]
    assert len(tile) == size
    polygons, vertices, links, patches, bumps, triangles, nodes = HEADER.unpack_from(tile)[6:13]
    shapes = {
        "vertices": np.dtype(("<f4", 3)), "polygons": POLYGON, "links": np.dtype(("u1", 12)), "patches": PATCH,
        "bumps": np.dtype(("<f4", 3)), "triangles": np.dtype(("u1", 4)), "nodes": NODE,
    }  # fmt: skip
    counts = (vertices, polygons, links, patches, bumps, triangles, nodes)
    place, parts = HEADER.size, {}
    for (name, kind), count in zip(shapes.items(), counts, strict=True):
        parts[name] = np.frombuffer(tile, kind, count, place)
        place += parts[name].nbytes
    return parts


def test_a_navmesh_is_whole_and_lies_on_the_floor(house, embedded):
    require_readable(house / "val_unseen_000.navmesh")
    parts = _parts(house / "val_unseen_000.navmesh")
    np.testing.assert_allclose(parts["vertices"][:, 1], embedded.scene.free.floor_height(parts["vertices"]), atol=1e-6)
    corners = [parts["vertices"][row["corners"][: row["count"]]] for row in parts["polygons"]]
    area = sum(shapely.Polygon(points[:, [0, 2]]).area for points in corners)
    assert area == pytest.approx(embedded.scene.free.components.sum(), rel=1e-4)


def test_neighbours_know_each_other(house):
    polygons = _parts(house / "val_unseen_000.navmesh")["polygons"]
    for number, polygon in enumerate(polygons, start=1):
        for corner, other in enumerate(polygon["beyond"][: polygon["count"]].tolist()):
            if other:
                theirs = polygons[other - 1]
                place = theirs["beyond"].tolist().index(number)
                ends = [int(polygon["corners"][k % polygon["count"]]) for k in (corner, corner + 1)]
                assert [int(theirs["corners"][k % theirs["count"]]) for k in (place + 1, place)] == ends


def test_the_tree_leads_to_every_polygon_once_through_boxes_that_hold_it(house):
    nodes = _parts(house / "val_unseen_000.navmesh")["nodes"]
    polygons = _parts(house / "val_unseen_000.navmesh")["polygons"]
    leaves = nodes["next"][nodes["next"] >= 0]
    assert sorted(leaves.tolist()) == list(range(len(polygons)))
    for place, node in enumerate(nodes):
        if node["next"] < 0:
            below = nodes[place + 1 : place - node["next"]]
            assert (below["low"] >= node["low"]).all() and (below["high"] <= node["high"]).all()
            assert len(below) == -node["next"] - 1


def _height(parts, x, z):
    """Return what a navmesh says of the height at a place: that of the triangle of relief, or of the fan, that holds it."""
    for polygon, patch in zip(parts["polygons"], parts["patches"], strict=True):
        corners = parts["vertices"][polygon["corners"][: polygon["count"]]]
        if shapely.contains_xy(shapely.Polygon(corners[:, [0, 2]]), x, z):
            first, bumps = int(patch["vertex"]), int(patch["vertices"])
            points = np.concatenate([corners, parts["bumps"][first : first + bumps]])
            start = int(patch["triangle"])
            for triangle in points[parts["triangles"][start : start + int(patch["triangles"]), :3]]:
                if shapely.contains_xy(shapely.Polygon(triangle[:, [0, 2]]), x, z):
                    sides = np.column_stack([triangle[1] - triangle[0], triangle[2] - triangle[0]])
                    share = np.linalg.solve(sides[[0, 2]], np.array([x, z]) - triangle[0, [0, 2]])
                    return float(triangle[0, 1] + sides[1] @ share)
    return None


def test_rugs_steps_and_slopes_keep_their_heights(tmp_path):
    room = trimesh.creation.box(extents=(6, 0.1, 4), transform=translation_matrix((0, -0.05, 0)))
    step = trimesh.creation.box(extents=(1.5, 0.08, 1.3), transform=translation_matrix((1, 0.04, 0.5)))
    ramp = trimesh.Trimesh([[-2.6, 0, -1], [-2.6, 0, 1], [-1, 0.3, 1], [-1, 0.3, -1]], [[0, 1, 2], [0, 2, 3]])
    things = [room, step, ramp]
    triangles = np.concatenate([thing.triangles for thing in things])
    free = FreeSpace.from_triangles(triangles, Body())
    path = tmp_path / "room.navmesh"
    write_navmesh(SceneMesh(triangles=triangles, face_object=np.zeros(len(triangles), int), textures={}, batches=(), description=None), path, Body())  # fmt: skip
    require_readable(path)
    parts, rng, seen = _parts(path), np.random.default_rng(0), set()
    for place in (free.sample(rng) for _ in range(300)):
        height = _height(parts, place[0], place[2])
        if height is not None:  # on an edge
            assert height == pytest.approx(place[1], abs=1e-4)
            seen.add(round(place[1], 2))
    assert {0.0, 0.08} < seen and len(seen) > 10


def test_more_than_a_file_holds_is_refused():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 1]], dtype=float)
    with pytest.raises(ValueError, match="32768 polygons, of which a navmesh of one tile holds 32767"):
        navmesh_file(vertices, [[0, 1, 2]] * 32768, Body())
    with pytest.raises(ValueError, match="300 points of relief in one polygon"):
        navmesh_file(vertices, [[0, 1, 2]], Body(), {0: np.zeros((100, 3, 3))})


@pytest.mark.habitat
def test_habitat_sim_takes_it_as_the_navmesh_of_this_body_and_finds_the_same_walks(house, embedded):
    habitat_sim = pytest.importorskip("habitat_sim", reason="habitat_sim is not installed")
    from navloop.envs.habitat.navmeshes import settings_of

    pathfinder = habitat_sim.PathFinder()
    assert pathfinder.load_nav_mesh(str(house / "val_unseen_000.navmesh"))
    assert pathfinder.nav_mesh_settings == settings_of(get_protocol("houses").body)
    assert pathfinder.num_islands == len(embedded.scene.free.components)
    assert pathfinder.navigable_area == pytest.approx(embedded.scene.free.components.sum(), rel=1e-4)
    rng, off = np.random.default_rng(0), []
    for _ in range(200):
        walk = habitat_sim.ShortestPath()
        start, goal = (embedded.sample_navigable_point(rng) for _ in range(2))
        walk.requested_start, walk.requested_end = start.astype(np.float32), goal.astype(np.float32)
        assert pathfinder.find_path(walk)
        off.append(walk.geodesic_distance / embedded.geodesic_distances(start[None], goal)[0] - 1)
    assert min(off) > -1e-5, "no walk leads through a wall"
    assert np.median(off) < 1e-5
    # Recast searches from edge to edge, and takes the longer side of a thing now and then.
    assert np.mean(np.array(off) < 0.03) > 0.9
