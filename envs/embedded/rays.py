"""Rays against a scene's triangles, cast by Embree: depth, semantics, and who sees whom."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import ArrayLike, NDArray

from navloop.envs.simulator import Camera
from navloop.geometry import Pose

Floats = NDArray[np.float32]

MAX_BACKS = 16
"""How many backs of triangles a camera looks through before it sees nothing."""

BEHIND = np.float32(1e-4)
"""Metres behind the back of a triangle at which a ray goes on."""


class Hits(NamedTuple):
    """Where N rays ended.

    Attributes:
        distance: float32 (N,), in lengths of the ray's direction; inf where nothing was hit.
        face: int32 (N,), the triangle that was hit, or -1.
        u: float32 (N,), weight of the triangle's second corner.
        v: float32 (N,), weight of its third.
    """

    distance: Floats
    face: NDArray[np.int32]
    u: Floats
    v: Floats


class RayCaster:
    """Casts rays into triangles (F, 3, 3), metres."""

    def __init__(self, triangles: ArrayLike) -> None:
        """Build the search tree."""
        corners = np.ascontiguousarray(triangles, dtype=np.float32)
        self._scene = EmbreeScene()
        self._mesh = TriangleMesh(self._scene, corners)
        exact = corners.astype(np.float64)
        self._normals = np.cross(exact[:, 1] - exact[:, 0], exact[:, 2] - exact[:, 0])
        self._offsets = np.einsum("fk,fk->f", self._normals, exact[:, 0])

    def cast(self, origins: ArrayLike, directions: ArrayLike) -> Hits:
        """Follow rays from origins (N, 3) or (3,) along directions (N, 3), which need not be of unit length."""
        found = self._scene.run(*_rays(origins, directions), output=True)
        distance: Floats = found["tfar"]
        distance[found["primID"] < 0] = np.inf
        return Hits(distance, found["primID"], found["u"], found["v"])

    def look(self, origin: ArrayLike, directions: ArrayLike) -> Hits:
        """Follow rays as `cast` does from one origin (3,), but through the backs of triangles, which a camera does not see."""
        ways = np.ascontiguousarray(directions, dtype=np.float32).reshape(-1, 3)
        start = np.asarray(origin, dtype=np.float32)
        hits = self.cast(start, ways)
        behind = self._from_behind(start)
        backs = np.nonzero(behind[hits.face])[0]
        for _ in range(MAX_BACKS):
            if not len(backs):
                return hits
            passed = hits.distance[backs] + BEHIND
            again = self.cast(start + ways[backs] * passed[:, None], ways[backs])
            hits.distance[backs] = again.distance + passed
            hits.face[backs], hits.u[backs], hits.v[backs] = again.face, again.u, again.v
            backs = backs[behind[again.face]]
        hits.face[backs], hits.distance[backs] = -1, np.inf
        return hits

    def _from_behind(self, eye: Floats) -> NDArray[np.bool_]:
        """Whether an eye (3,) is behind each triangle, and False for the triangle -1, none: bool (F + 1,).

        Rays from one eye all meet a triangle from the same side, so this need not be asked ray by ray.
        """
        return np.append(self._normals @ eye.astype(np.float64) < self._offsets, False)

    def distances(self, origins: ArrayLike, directions: ArrayLike) -> Floats:
        """Return `Hits.distance` alone, a little sooner; over 1e36 where nothing was hit."""
        found: Floats = self._scene.run(*_rays(origins, directions), query="DISTANCE")
        return found

    def sees(self, eye: ArrayLike, points: ArrayLike, slack: float = 0.02) -> NDArray[np.bool_]:
        """Whether nothing stands between an eye (3,) and points (N, 3), up to `slack` metres before the point: bool (N,)."""
        ways = np.asarray(points, dtype=np.float64).reshape(-1, 3) - np.asarray(eye, dtype=np.float64)
        lengths = np.maximum(np.linalg.norm(ways, axis=1), 1e-9)
        seen: NDArray[np.bool_] = self.distances(eye, ways / lengths[:, None]) >= lengths - slack
        return seen


def _rays(origins: ArrayLike, directions: ArrayLike) -> tuple[Floats, Floats]:
    ways = np.ascontiguousarray(directions, dtype=np.float32).reshape(-1, 3)
    starts = np.empty_like(ways)
    starts[:] = origins
    return starts, ways


def camera_rays(camera: Camera, pose: Pose, tilt: float = 0.0) -> tuple[NDArray[np.float64], Floats]:
    """Return a camera's eye (3,) and the directions (H * W, 3) through its pixels' centres, row by row from the top left.

    Directions are 1 long along the optical axis, so that ray distances are depths.

    Args:
        camera: Which.
        pose: Of the agent.
        tilt: Radians that the agent looks up, added to the camera's pitch.
    """
    heading, pitch = pose.heading + camera.yaw, camera.pitch + tilt
    local = _pinhole(camera.width, camera.height, camera.hfov)
    sin, cos, up, level = math.sin(heading), math.cos(heading), math.sin(pitch), math.cos(pitch)
    # Rows: where the camera's right, up and backward axes point in the world.
    axes = np.array([[cos, 0, -sin], [sin * up, level, cos * up], [sin * level, -up, cos * level]], dtype=np.float32)
    return pose.position + np.array([0.0, camera.elevation, 0.0]), local @ axes


def depth_image(distances: Floats, camera: Camera) -> Floats:
    """Return ray distances (H * W,) as a depth camera's frame, float32 (H, W, 1) metres in its range."""
    clipped: Floats = distances.clip(camera.min_depth, camera.max_depth)
    return clipped.reshape(camera.height, camera.width, 1)


@lru_cache(maxsize=16)
def _pinhole(width: int, height: int, hfov: float) -> Floats:
    half = math.tan(hfov / 2)
    x = ((np.arange(width) + 0.5) / width * 2 - 1) * half
    y = (1 - (np.arange(height) + 0.5) / height * 2) * half * height / width
    across, upward = np.meshgrid(x, y)
    return np.stack([across, upward, -np.ones_like(across)], axis=-1).reshape(-1, 3).astype(np.float32)
