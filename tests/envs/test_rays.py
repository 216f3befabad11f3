"""Rays against linear algebra; cameras against the pinhole."""

import math

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from navloop.envs.embedded.rays import RayCaster, camera_rays
from navloop.envs.simulator import Camera
from navloop.geometry import Pose

BALL = trimesh.creation.icosphere(subdivisions=3, radius=2.0)
RNG = np.random.default_rng(1)
WAYS = RNG.normal(size=(500, 3))


def test_hits_are_those_of_linear_algebra():
    origins = RNG.uniform(-4, 4, (500, 3))
    hits = RayCaster(BALL.triangles).cast(origins, WAYS)
    first, edges = BALL.triangles[:, 0], BALL.triangles[:, 1:] - BALL.triangles[:, :1]
    # origin + t way = first + u edge + v edge', solved for every pair of ray and triangle.
    systems = np.empty((500, len(first), 3, 3))
    systems[..., 0], systems[..., 1], systems[..., 2] = -WAYS[:, None], edges[None, :, 0], edges[None, :, 1]
    t, u, v = np.moveaxis(np.linalg.solve(systems, (origins[:, None] - first)[..., None])[..., 0], -1, 0)
    t = np.where((t > 0) & (u >= 0) & (v >= 0) & (u + v <= 1), t, np.inf)
    met = np.isfinite(t.min(axis=1))
    assert 50 < met.sum() < 450
    np.testing.assert_array_equal(hits.face >= 0, met)
    np.testing.assert_allclose(hits.distance, t.min(axis=1), rtol=1e-4, atol=1e-4)
    rows, faces = np.nonzero(met)[0], hits.face[met]
    np.testing.assert_allclose(hits.u[met], u[rows, faces], atol=1e-3)
    np.testing.assert_allclose(hits.v[met], v[rows, faces], atol=1e-3)


def test_a_camera_looks_through_backs_and_rays_do_not():
    outside_in = RayCaster(BALL.triangles)
    ways = np.array([[0.0, 0.1, -1.0]])
    assert outside_in.cast((0, 0, 0), ways).distance == pytest.approx(2, abs=0.05)
    assert outside_in.look((0, 0, 0), ways).face == -1
    assert np.isinf(outside_in.look((0, 0, 0), ways).distance)
    nested = RayCaster(np.concatenate([BALL.triangles, BALL.triangles[:, ::-1] * 3]))
    assert nested.look((0, 0, 0), ways).distance == pytest.approx(6 / math.hypot(1, 0.1), abs=0.05)


@given(draw=st.integers(0, 10**6))
def test_whether_a_back_is_met_is_what_each_ray_would_say(draw):
    rng = np.random.default_rng(draw)
    triangles = rng.uniform(-3, 3, (60, 3, 3)).astype(np.float32)  # every other one shows its back
    caster, eye, ways = RayCaster(triangles), rng.uniform(-3, 3, 3), rng.normal(size=(300, 3)).astype(np.float32)
    seen = caster.look(eye, ways)
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    front = seen.face >= 0
    assert (np.einsum("nk,nk->n", normals[seen.face[front]], ways[front]) < 1e-5).all()
    first = caster.cast(eye, ways)
    facing = (np.einsum("nk,nk->n", normals[first.face], ways) < -1e-5) & (first.face >= 0)
    np.testing.assert_array_equal(seen.face[facing], first.face[facing])
    np.testing.assert_array_equal(seen.distance[facing], first.distance[facing])


def test_sight_ends_at_what_stands_between():
    wall = trimesh.creation.box(bounds=[(-1, -1, -2.1), (1, 1, -2)])
    points = np.array([[0, 0, -1], [0, 0, -2], [0, 0, -3], [3, 0, -2.5], [0, 0, 5]])
    seen = RayCaster(wall.triangles).sees((0, 0, 0), points)
    assert seen.tolist() == [True, True, False, True, True]


@settings(max_examples=50, deadline=None)
@given(
    heading=st.floats(-3, 3),
    yaw=st.floats(-3, 3),
    pitch=st.floats(-1.4, 1.4),
    hfov=st.floats(0.4, 2.4),
    size=st.tuples(st.integers(2, 40), st.integers(2, 40)),
)
def test_directions_are_those_of_a_pinhole(heading, yaw, pitch, hfov, size):
    width, height = size
    camera = Camera(name="c", width=width, height=height, hfov=hfov, yaw=yaw, pitch=pitch, elevation=1.0)
    eye, ways = camera_rays(camera, Pose(np.array([1.0, 2.0, 3.0]), heading))
    np.testing.assert_allclose(eye, [1, 3, 3])
    turn = heading + yaw
    axis = np.array([-math.sin(turn) * math.cos(pitch), math.sin(pitch), -math.cos(turn) * math.cos(pitch)])
    np.testing.assert_allclose(ways @ axis, 1, atol=1e-5)
    right = np.array([math.cos(turn), 0, -math.sin(turn)])
    across = (ways @ right).reshape(height, width)
    pixel = 2 * math.tan(hfov / 2) / width
    np.testing.assert_allclose(
        across, np.broadcast_to((np.arange(width) + 0.5 - width / 2) * pixel, across.shape), atol=1e-5
    )
    upward = (ways @ np.cross(right, axis)).reshape(height, width)
    np.testing.assert_allclose(upward[:, 0], (height / 2 - np.arange(height) - 0.5) * pixel, atol=1e-5)
