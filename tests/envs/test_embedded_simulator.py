"""The embedded world: what is drawn is where it should be, depth is exact, culling is invisible, and mistakes are named."""

import logging
import math
import subprocess
import sys

import numpy as np
import psutil
import pytest
import trimesh
from glb_scenes import box, one_room, plain, three_rooms

from navloop.envs.embedded import renderer
from navloop.envs.embedded.simulator import SCENES_KEPT, EmbeddedSimulator
from navloop.envs.glb import Model, Node, read_glb, write_glb
from navloop.envs.simulator import Action, Body, Camera, SceneError
from navloop.geometry import Pose

RGB = Camera(name="rgb", width=96, height=64)
DEPTH = Camera(name="depth", kind="depth", width=96, height=64, max_depth=20.0)
SEMANTIC = Camera(name="semantic", kind="semantic", width=96, height=64)


@pytest.fixture
def scenes(tmp_path):
    write_glb(tmp_path / "room.glb", one_room())
    model, description = three_rooms()
    write_glb(tmp_path / "three.glb", model)
    (tmp_path / "three.json").write_text(description.to_json())
    return tmp_path


def standing(scenes, scene, pose, cameras, choice="auto", **body):
    simulator = EmbeddedSimulator(scenes, Body(**body), cameras, choice)
    simulator.load_scene(scene)
    simulator.set_pose(Pose(np.array(pose[:3], float), pose[3]))
    return simulator


@pytest.mark.parametrize("choice", ["panda", "embree"])
def test_a_cube_is_drawn_where_the_pinhole_says(scenes, choice):
    simulator = standing(scenes, "room.glb", (0, 0, 0, 0.0), [RGB], choice)
    red = simulator.render()["rgb"][..., 1] < 100
    rows, columns = np.nonzero(red)
    # The cube's front: x -0.5..0.5 and y 0..1 at 2.5 m from an eye at 1.25 m; 48 pixels are tan 45 degrees.
    assert (columns.min(), columns.max()) == pytest.approx((48 - 48 * 0.2, 48 + 48 * 0.2 - 1), abs=1)
    assert rows.max() == pytest.approx(32 + 48 * 1.25 / 2.5 - 1, abs=1)
    assert red[:, :48].sum() == pytest.approx(red[:, 48:].sum(), rel=0.1)


@pytest.mark.parametrize("choice", ["panda", "embree"])
def test_left_is_left_and_up_is_up(scenes, choice):
    simulator = standing(scenes, "room.glb", (0, 0, 0, 0.0), [RGB], choice, tilt=math.radians(15))

    def middle():
        rows, columns = np.nonzero(simulator.render()["rgb"][..., 1] < 100)
        return rows.mean(), columns.mean()

    row, column = middle()
    simulator.act(Action.LEFT)
    assert middle()[1] > column + 5
    simulator.act(Action.RIGHT)
    simulator.act(Action.LOOK_UP)
    assert middle()[0] > row + 5
    simulator.set_pose(simulator.pose)
    assert middle()[0] == pytest.approx(row)


@pytest.mark.parametrize("heading", [0.0, 1.1, -2.5])
def test_depth_is_that_of_the_room(scenes, heading):
    simulator = standing(scenes, "room.glb", (1.0, 0, 1.0, heading), [DEPTH])
    depth = simulator.render()["depth"][..., 0]
    # By hand: through each pixel, the nearest of the six walls along the ray, as depth along the axis.
    x = (np.arange(96) + 0.5) / 48 - 1
    y = -((np.arange(64) + 0.5) / 48 - 64 / 96)
    local = np.stack(np.broadcast_arrays(x[None], y[:, None], -1.0), axis=-1)
    sin, cos = math.sin(heading), math.cos(heading)
    ways = local @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
    eye, low, high = np.array([1, 1.25, 1]), np.array([-4, 0, -7]), np.array([4, 2.6, 3])
    with np.errstate(divide="ignore"):
        expected = np.where(ways > 0, (high - eye) / ways, (low - eye) / ways).min(axis=-1)
    cube = depth < expected - 2e-3
    assert (depth <= expected + 2e-3).all()
    assert {0.0: 0.02 < cube.mean() < 0.2, 1.1: cube.mean() < 0.03, -2.5: not cube.any()}[heading]


def test_depth_is_clipped_to_the_camera(scenes):
    near = Camera(name="depth", kind="depth", width=32, height=32, min_depth=1.5, max_depth=4.0)
    depth = standing(scenes, "room.glb", (0, 0, 0, 0.0), [near]).render()["depth"]
    assert (depth.min(), depth.max()) == (1.5, 4.0)
    assert depth.dtype == np.float32 and depth.shape == (32, 32, 1)


def test_the_three_kinds_of_picture_agree(scenes):
    simulator = standing(scenes, "three.glb", (2.0, 0, 2.0, 0.6), [RGB, DEPTH, SEMANTIC])
    frames = simulator.render()
    crate = frames["semantic"] == 1 + list(simulator.scene.mesh.description.objects).index(
        next(o for o in simulator.scene.mesh.description.objects if o.name == "crate_0")
    )
    red = (frames["rgb"][..., 0] > 180) & (frames["rgb"][..., 1] < 90)
    assert crate.sum() > 40
    assert (crate == red).mean() > 0.99
    assert set(simulator.visible_labels()) == {"crate"}


def test_the_two_renderers_show_the_same_picture(scenes):
    for pose in ((2.0, 0, 2.0, 0.6), (1.0, 0, 3.0, -2.0), (6.0, 0, 1.0, 1.6)):
        panda = standing(scenes, "three.glb", pose, [RGB], "panda").render()["rgb"]
        embree = standing(scenes, "three.glb", pose, [RGB], "embree").render()["rgb"]
        assert np.abs(panda.astype(int) - embree).mean() < 4


def test_rooms_out_of_sight_are_not_drawn_and_nobody_can_tell(scenes):
    wide = Camera(name="rgb", width=96, height=64, hfov=math.radians(110))
    with_rooms = EmbeddedSimulator(scenes, Body(), [wide], "panda")
    without = EmbeddedSimulator(scenes, Body(), [wide], "panda")
    with_rooms.load_scene("three.glb")
    without.load_scene("three.glb")
    without.scene.visibility = None
    rng = np.random.default_rng(2)
    drawn, differing = [], 0
    for _ in range(150):
        pose = Pose(with_rooms.sample_navigable_point(rng), rng.uniform(-math.pi, math.pi))
        with_rooms.set_pose(pose)
        without.set_pose(pose)
        differing += (with_rooms.render()["rgb"] != without.render()["rgb"]).any(axis=-1).sum()
        drawn.append(len(with_rooms._rooms_in_sight([wide])))
    # Through a seam where two walls meet without sharing corners, two pixels in a hundred thousand may show what lies behind.
    assert differing <= 150 * 96 * 64 * 2e-5
    assert 1 <= min(drawn) and np.mean(drawn) < 2.2


def test_a_panorama_is_the_turns_of_one_camera(scenes):
    views = [Camera(name=f"view_{i}", width=48, height=48, yaw=2 * math.pi * i / 12) for i in range(12)]
    around = standing(scenes, "three.glb", (2.0, 0, 2.0, 0.3), views).render()
    for i in (0, 3, 7):
        pose = (2.0, 0, 2.0, 0.3 + 2 * math.pi * i / 12)
        alone = standing(scenes, "three.glb", pose, [Camera(name="rgb", width=48, height=48)]).render()["rgb"]
        np.testing.assert_allclose(around[f"view_{i}"].astype(int), alone, atol=1)


def test_frames_are_the_callers(scenes):
    simulator = standing(scenes, "three.glb", (2.0, 0, 2.0, 0.3), [RGB, DEPTH])
    first = simulator.render()
    kept = {name: frame.copy() for name, frame in first.items()}
    simulator.act(Action.LEFT)
    simulator.render()
    for name, frame in first.items():
        np.testing.assert_array_equal(frame, kept[name])
        frame[...] = 0


def test_two_simulators_in_one_process_do_not_meet(scenes):
    one = standing(scenes, "room.glb", (0, 0, 0, 0.0), [RGB])
    before = one.render()["rgb"]
    other = standing(scenes, "three.glb", (2.0, 0, 2.0, 0.3), [RGB])
    other.render()
    np.testing.assert_array_equal(one.render()["rgb"], before)
    other.close()
    np.testing.assert_array_equal(one.render()["rgb"], before)


def test_another_process_draws_the_same_pixels(scenes):
    code = (
        "import sys, hashlib, numpy as np; from navloop.envs.embedded.simulator import *\n"
        f"s = EmbeddedSimulator({str(scenes)!r}, Body(), [Camera(name='rgb', width=96, height=64)], 'panda')\n"
        "s.load_scene('three.glb'); s.set_pose(Pose(np.array([2.0, 0, 2.0]), 0.6))\n"
        "sys.stdout.write(hashlib.sha256(s.render()['rgb'].tobytes()).hexdigest())"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout and len(runs[0].stdout) == 64
    assert runs[0].stderr == ""


def test_where_the_rasteriser_cannot_load_rays_draw_and_say_so_once(scenes, monkeypatch, caplog):
    monkeypatch.setitem(renderer.PIPES, "panda", ("NoGraphicsPipe", "p3nowhere"))
    renderer._pipe.cache_clear()
    with caplog.at_level(logging.WARNING):
        first = standing(scenes, "three.glb", (2.0, 0, 2.0, 0.6), [RGB]).render()["rgb"]
        standing(scenes, "three.glb", (2.0, 0, 2.0, 0.6), [RGB]).render()
    assert caplog.text.count("libX11") == 1
    with pytest.raises(renderer.RendererMissing, match="libX11"):
        standing(scenes, "three.glb", (2.0, 0, 2.0, 0.6), [RGB], "panda").render()
    monkeypatch.undo()
    renderer._pipe.cache_clear()
    assert (
        np.abs(first.astype(int) - standing(scenes, "three.glb", (2.0, 0, 2.0, 0.6), [RGB]).render()["rgb"]).mean() < 4
    )


def test_memory_stays_flat_over_many_scene_loads(scenes):
    model, description = three_rooms()
    for i in range(SCENES_KEPT + 1):
        write_glb(scenes / f"copy_{i}.glb", model)
        (scenes / f"copy_{i}.json").write_text(description.to_json())
    simulator = EmbeddedSimulator(scenes, Body(), [RGB, DEPTH])

    def load(times):
        for i in range(times):
            simulator.load_scene(f"copy_{i % (SCENES_KEPT + 1)}.glb")
            simulator.set_pose(Pose(np.array([2.0, 0, 2.0]), 0.3))
            simulator.render()
            simulator.geodesic_distances(np.array([[2.0, 0, 2.0]]), np.array([10.0, 0, 2.0]))
        return psutil.Process().memory_info().rss / 2**20

    before = load(30)
    assert load(100) - before < 8


def test_set_pose_is_exact_on_free_space_and_helps_beside_it(scenes):
    simulator = standing(scenes, "room.glb", (1.234567, 0, 0.7654321, 0.3), [])
    np.testing.assert_array_equal(simulator.pose.position, [1.234567, 0, 0.7654321])
    simulator.set_pose(Pose(np.array([4.2, 0, 0]), 0.0))
    np.testing.assert_allclose(simulator.pose.position, [3.9, 0, 0], atol=0.01)
    with pytest.raises(SceneError, match=r"room.glb: no free space within 0.5 m of \[9.0, 0.0, 0.0\]"):
        simulator.set_pose(Pose(np.array([9.0, 0, 0]), 0.0))


def test_a_walk_into_the_wall_stops_at_the_bodys_radius(scenes):
    simulator = standing(scenes, "room.glb", (0, 0, 2.0, math.pi), [])
    collided = [simulator.act(Action.FORWARD) for _ in range(6)]
    assert collided == [False, False, False, True, True, True]
    assert simulator.pose.position[2] == pytest.approx(3 - 0.1, abs=0.01)


def test_models_survive_the_file(tmp_path):
    model, _ = three_rooms()
    write_glb(tmp_path / "m.glb", model)
    again = read_glb(tmp_path / "m.glb")
    assert {node.name for node in again.nodes} == {node.name for node in model.nodes}
    ours = {node.name: np.concatenate([part.vertices[part.faces] for part in node.parts]) for node in model.nodes}
    for node in again.nodes:
        read = np.concatenate([part.vertices[part.faces] for part in node.parts])
        np.testing.assert_allclose(np.sort(read, axis=0), np.sort(ours[node.name], axis=0), atol=1e-6)
        assert all(np.array_equal(again.textures[part.texture], model.textures[part.texture]) for part in node.parts)


def test_a_model_that_trimesh_wrote_is_walked_in_too(tmp_path):
    floor = trimesh.creation.box(bounds=[(-3, -0.2, -3), (3, 0, 3)])
    material = trimesh.visual.material.PBRMaterial(baseColorFactor=[0, 120, 255, 255])
    floor.visual = trimesh.visual.TextureVisuals(uv=np.zeros((len(floor.vertices), 2)), material=material)
    scene = trimesh.Scene()
    scene.add_geometry(floor, transform=trimesh.transformations.translation_matrix([10, 1, 0]))
    scene.export(tmp_path / "far.glb")
    simulator = standing(tmp_path, "far.glb", (10, 1, 0, 0), [RGB])
    assert simulator.is_navigable(np.array([12.5, 1, 0]))
    assert not simulator.is_navigable(np.array([0.0, 1, 0]))
    assert simulator.render()["rgb"][-1, 48].tolist() == [0, 120, 255]


def test_a_scene_may_be_a_link_to_where_its_file_is_kept(tmp_path):
    write_glb(tmp_path / "kept" / "whole.glb", one_room())
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes" / "linked.glb").symlink_to(tmp_path / "kept" / "whole.glb")
    simulator = EmbeddedSimulator(tmp_path / "scenes", Body(), [RGB])
    simulator.load_scene("linked.glb")
    assert simulator.is_navigable(simulator.sample_navigable_point(np.random.default_rng(0)))


def test_bad_scenes_are_named_with_their_mend(tmp_path):
    simulator = EmbeddedSimulator(tmp_path, Body(), [RGB])
    with pytest.raises(SceneError, match=r"gone.glb: no such scene.*navloop houses"):
        simulator.load_scene("gone.glb")
    with pytest.raises(SceneError, match="leads out of the scenes folder"):
        simulator.load_scene("../secret.glb")
    write_glb(tmp_path / "whole.glb", one_room())
    (tmp_path / "torn.glb").write_bytes((tmp_path / "whole.glb").read_bytes()[:700])
    with pytest.raises(SceneError, match=r"torn.glb: not a readable GLB"):
        simulator.load_scene("torn.glb")
    trimesh.Scene(trimesh.creation.box(extents=(4, 0.2, 4))).export(tmp_path / "naked.glb")
    with pytest.raises(SceneError, match=r"naked.glb: a part has neither a texture nor a base colour"):
        simulator.load_scene("naked.glb")
    wall = Model((Node("wall", (box((0, 0, 0), (0.05, 3, 5), "white"),)),), {"white": plain(250, 250, 250)})
    write_glb(tmp_path / "wall.glb", wall)
    simulator.load_scene("wall.glb")
    with pytest.raises(SceneError, match=r"wall.glb: .*floor"):
        simulator.set_pose(Pose(np.zeros(3), 0.0))
    (tmp_path / "whole.json").write_text('{"format": "something else"}')
    with pytest.raises(SceneError, match=r"whole.json: not a scene description"):
        simulator.load_scene("whole.glb")
    with pytest.raises(ValueError, match="renderer is 'opengl'; known: auto"):
        EmbeddedSimulator(tmp_path, Body(), [RGB], "opengl")
