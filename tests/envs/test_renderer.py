"""Pixels stand where a pinhole puts them, and depend on nothing but the scene and the pose."""

import math

import numpy as np
import pytest
from glb_scenes import plain

from navloop.envs.embedded.renderer import COLLECTED
from navloop.envs.embedded.simulator import SCENES_KEPT, EmbeddedSimulator
from navloop.envs.glb import Model, Node, Part, write_glb
from navloop.envs.houses.generate import generate_house, write_house
from navloop.envs.simulator import Body, Camera
from navloop.geometry import Pose

HOUSES = [f"h{seed}/h{seed}.glb" for seed in range(SCENES_KEPT + 1)]


@pytest.fixture(scope="module")
def houses(tmp_path_factory):
    folder = tmp_path_factory.mktemp("houses")
    for seed in range(len(HOUSES)):
        write_house(generate_house(seed), folder, f"h{seed}")
    return folder


def standing_at_eye(folder, choice, size=128):
    """Return a simulator over scenes without a floor, its camera at the agent's feet."""
    camera = Camera(name="rgb", width=size, height=size, elevation=0.0)
    simulator = EmbeddedSimulator(folder, Body(), [camera], choice)
    simulator.load_scene("quads.glb")
    return simulator


def quad(half, depth, texture):
    """Return a square that faces a camera at the origin, its texture shown once."""
    corners = np.array([[-half, -half, -depth], [half, -half, -depth], [half, half, -depth], [-half, half, -depth]])
    uv = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], np.float32)
    return Part(texture, corners.astype(np.float32), np.array([[0, 1, 2], [0, 2, 3]], np.int32), uv)


def poses(simulator, count, seed=0):
    rng = np.random.default_rng(seed)
    return [Pose(simulator.sample_navigable_point(rng), rng.uniform(-math.pi, math.pi)) for _ in range(count)]


def frames(simulator, places):
    pictures = []
    for pose in places:
        simulator.set_pose(pose)
        pictures.append(simulator.render()["rgb"])
    return np.array(pictures)


@pytest.mark.parametrize(("choice", "fat"), [("panda", 0.5), ("embree", 0.0)])
def test_outlines_fall_where_the_pinhole_says(tmp_path, choice, fat):
    model = Model(
        (Node("far", (quad(9, 2, "blue"),)), Node("near", (quad(0.3, 1, "green"),))),
        {"blue": plain(0, 0, 200), "green": plain(0, 255, 0)},
    )
    write_glb(tmp_path / "quads.glb", model)
    simulator = standing_at_eye(tmp_path, choice)
    rng, errors = np.random.default_rng(0), []
    for _ in range(200):
        x, y = rng.uniform(-0.6, 0.6, 2)
        simulator._pose = Pose(np.array([-x, -y, 0.0]), 0.0)
        green = simulator.render()["rgb"][..., 1] > 128
        columns, rows = np.nonzero(green.any(axis=0))[0], np.nonzero(green.any(axis=1))[0]
        left, right, top, bottom = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
        exact = np.array([x - 0.3 + 1, x + 0.3 + 1, 1 - y - 0.3, 1 - y + 0.3]) * 64
        errors.append(np.array([left, right, top, bottom]) - exact)
    # Whole pixels fall on either side of the true outline; on average they meet it, but for what the rasteriser adds around.
    np.testing.assert_allclose(np.mean(errors, axis=0), [-fat, fat, -fat, fat], atol=0.08)


@pytest.mark.parametrize("texels", [8, 32, 128, 512])
@pytest.mark.parametrize("choice", ["panda", "embree"])
def test_textures_lie_where_they_belong(tmp_path, choice, texels):
    wave = np.round(127 + 120 * np.sin(4 * np.pi * (np.arange(texels) + 0.5) / texels))
    picture = np.zeros((texels, texels, 3), np.uint8)
    picture[..., 0], picture[..., 1] = wave[None], wave[:, None]
    write_glb(tmp_path / "quads.glb", Model((Node("wall", (quad(1, 1, "waves"),)),), {"waves": picture}))
    simulator = standing_at_eye(tmp_path, choice)
    simulator._pose = Pose(np.zeros(3), 0.0)
    frame = simulator.render()["rgb"].astype(float)
    places = (np.arange(128) + 0.5) / 128
    for signal in (frame[..., 0].mean(axis=0), frame[..., 1].mean(axis=1)):
        phase = np.angle((signal * np.exp(-4j * np.pi * places)).mean() * 1j)
        assert abs(phase) / (4 * np.pi) * 128 < 0.4  # pixels


def test_nobody_sees_which_rooms_of_a_house_are_left_out(houses):
    cameras = [Camera(name="rgb", width=96, height=96, hfov=math.radians(100))]
    culled, whole = (EmbeddedSimulator(houses, Body(), cameras, "panda") for _ in range(2))
    shares, differing = [], 0
    for house in HOUSES[:3]:
        culled.load_scene(house)
        whole.load_scene(house)
        whole.scene.visibility = None
        for pose in poses(culled, 40):
            culled.set_pose(pose)
            whole.set_pose(pose)
            differing += (culled.render()["rgb"] != whole.render()["rgb"]).any(axis=-1).sum()
            shares.append(len(culled._rooms_in_sight(cameras)) / len(culled.scene.mesh.description.rooms))
    assert np.mean(shares) < 0.6
    # Where two walls meet without sharing corners, one pixel in 300,000 may look out through the seam.
    assert differing <= len(shares) * 96 * 96 / 3e5


def test_pixels_do_not_depend_on_what_was_drawn_before(houses):
    camera = Camera(name="rgb", width=96, height=96)
    fresh = EmbeddedSimulator(houses, Body(), [camera], "panda")
    fresh.load_scene(HOUSES[-1])
    places = poses(fresh, 20)
    expected = frames(fresh, places)
    travelled = EmbeddedSimulator(houses, Body(), [camera], "panda")
    for house in HOUSES:
        travelled.load_scene(house)
        frames(travelled, poses(travelled, 3))
    np.testing.assert_array_equal(frames(travelled, places[::-1])[::-1], expected)
    np.testing.assert_array_equal(frames(fresh, places), expected)


def test_rays_and_rasteriser_paint_a_house_alike(houses):
    pictures = []
    for choice in ("panda", "embree"):
        simulator = EmbeddedSimulator(houses, Body(), [Camera(name="rgb", width=128, height=128)], choice)
        simulator.load_scene(HOUSES[0])
        pictures.append(frames(simulator, poses(simulator, 12)).astype(int))
    differences = np.abs(pictures[0] - pictures[1]).mean(axis=(1, 2, 3))
    # Half a pixel around every thing, and textures that are filtered by other rules; seen as 256 levels.
    assert differences.mean() < 6 and differences.max() < 12


def test_depth_and_colour_do_not_see_the_backs_of_surfaces(tmp_path):
    behind = quad(9, 1, "red")
    away = Part("red", behind.vertices, behind.faces[:, ::-1].copy(), behind.uv)
    model = Model((Node("away", (away,)), Node("wall", (quad(9, 3, "blue"),))), {
        "red": plain(255, 0, 0), "blue": plain(0, 0, 255),
    })  # fmt: skip
    write_glb(tmp_path / "quads.glb", model)
    cameras = [Camera(name=kind, kind=kind, width=16, height=16, elevation=0.0) for kind in ("rgb", "depth")]
    for choice in ("panda", "embree"):
        simulator = EmbeddedSimulator(tmp_path, Body(), cameras, choice)
        simulator.load_scene("quads.glb")
        simulator._pose = Pose(np.zeros(3), 0.0)
        seen = simulator.render()
        np.testing.assert_allclose(seen["rgb"].astype(int), np.broadcast_to([0, 0, 255], (16, 16, 3)), atol=2)
        np.testing.assert_allclose(seen["depth"], 3.0, atol=1e-3)


def test_scenes_that_are_gone_and_frames_that_were_drawn_leave_nothing_behind(houses):
    core = pytest.importorskip("panda3d.core", reason="panda3d is not installed")
    camera = Camera(name="rgb", width=32, height=32)
    simulator = EmbeddedSimulator(houses, Body(), [camera], "panda")
    states = []
    for _ in range(3):
        for name in HOUSES:
            simulator.load_scene(name)
            frames(simulator, poses(simulator, 2))
        states.append(core.RenderState.get_num_states())
    assert states[2] <= states[0]
    places = poses(simulator, 10 * COLLECTED)
    frames(simulator, places)
    assert core.TransformState.get_num_states() < len(places), "four are made for every frame"
    simulator.close()
