"""Rays through a scene, cast by Embree: nearest hits, depth and object ids of pinhole cameras, visibility between points."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import ArrayLike, NDArray

from navloop.envs.simulator import Camera
from navloop.geometry import Vector

MAX_BACKS: int = 16
"""How many back faces a camera ray may pass before it counts as a miss."""


class Hits(NamedTuple):
    """Where rays met the scene first.

    Attributes:
        face: int32 (N,), index of the triangle, -1 where the ray met none.
        distance: float32 (N,), in units of the direction's length; large where the ray met none.
        u: float32 (N,), barycentric weight of the triangle's second corner.
        v: float32 (N,), barycentric weight of its third corner.
    """

    face: NDArray[np.int32]
    distance: NDArray[np.float32]
    u: NDArray[np.float32]
    v: NDArray[np.float32]


class RayCaster:
    """Embree's index over the triangles of one scene."""

    def __init__(self, triangles: ArrayLike) -> None:
        """Take triangles (F, 3, 3), metres, counter-clockwise seen from outside."""
        corners = np.ascontiguousarray(triangles, dtype=np.float32)
        self._scene = EmbreeScene()
        self._mesh = TriangleMesh(self._scene, corners)
        edges = corners[:, 1:] - corners[:, :1]
        self._normals = np.cross(edges[:, 0], edges[:, 1])

    def cast(self, origins: ArrayLike, directions: ArrayLike) -> Hits:
        """Return the nearest hits, on either side of a triangle, of rays with origins and directions (N, 3) or (3,)."""
        starts, ways = (np.ascontiguousarray(a, dtype=np.float32).reshape(-1, 3) for a in (origins, directions))
        shape = (max(len(starts), len(ways)), 3)
        starts, ways = (np.ascontiguousarray(np.broadcast_to(a, shape)) for a in (starts, ways))
        found = self._scene.run(starts, ways, output=1)
        return Hits(found["primID"], found["tfar"], found["u"], found["v"])

    def view(self, camera: Camera, position: Vector, heading: float, tilt: float = 0.0) -> Hits:
        """Return what the pixels (H * W, row by row) of a camera see, back faces ignored; distances are depths in metres.

        Args:
            camera: Which; its kind does not matter.
            position: Where the agent stands (3,), metres.
            heading: Its heading, radians.
            tilt: Radians added to the camera's pitch.
        """
        origin = np.array([[position[0], position[1] + camera.elevation, position[2]]], np.float32)
        ways = view_directions(camera, heading, tilt)
        hits = self.cast(origin, ways)
        backs = self._backs(hits.face, ways)
        for _ in range(MAX_BACKS):
            if not len(backs):
                return hits
            passed = hits.distance[backs] + np.float32(1e-4)
            again = self.cast(origin + ways[backs] * passed[:, None], ways[backs])
            hits.face[backs], hits.u[backs], hits.v[backs] = again.face, again.u, again.v
            hits.distance[backs] = again.distance + passed
            backs = backs[self._facing_away(again.face, ways[backs])]
        hits.face[backs] = -1
        return hits

    def sees(self, origin: ArrayLike, targets: ArrayLike, slack: float = 1e-3) -> NDArray[np.bool_]:
        """Whether nothing stands between an origin (3,) or origins (N, 3) and targets (N, 3): bool (N,).

        The last `slack` metres before a target do not count, so that points on a surface can be seen.
        """
        ends = np.asarray(targets, dtype=np.float64).reshape(-1, 3)
        starts = np.broadcast_to(np.asarray(origin, dtype=np.float64), ends.shape)
        ways = ends - starts
        length = np.linalg.norm(ways, axis=1)
        hits = self.cast(starts, ways / np.maximum(length, 1e-12)[:, None])
        seen: NDArray[np.bool_] = (hits.face < 0) | (hits.distance >= length - slack)
        return seen

    def _backs(self, face: NDArray[np.int32], ways: NDArray[np.float32]) -> NDArray[np.intp]:
        return np.nonzero(self._facing_away(face, ways))[0]

    def _facing_away(self, face: NDArray[np.int32], ways: NDArray[np.float32]) -> NDArray[np.bool_]:
        away: NDArray[np.bool_] = np.einsum("ij,ij->i", self._normals[face], ways) > 0
        return away & (face >= 0)


def depth_frame(hits: Hits, camera: Camera) -> NDArray[np.float32]:
    """Return a depth camera's frame, float32 (H, W, 1) metres, from what its pixels see."""
    depth = np.where(hits.face < 0, np.float32(camera.max_depth), hits.distance)
    np.clip(depth, camera.min_depth, camera.max_depth, out=depth)
    return depth.astype(np.float32, copy=False).reshape(camera.height, camera.width, 1)


def semantic_frame(hits: Hits, face_object: NDArray[np.int32], camera: Camera) -> NDArray[np.int32]:
    """Return a semantic camera's frame, int32 (H, W): the object's index + 1, 0 for none."""
    ids = np.where(hits.face < 0, 0, face_object[hits.face] + 1)
    return ids.astype(np.int32, copy=False).reshape(camera.height, camera.width)


def view_directions(camera: Camera, heading: float, tilt: float = 0.0) -> NDArray[np.float32]:
    """Return the directions (H * W, 3) through the pixels' centres, of length 1 along the optical axis, in the world."""
    local = _local_directions(camera.width, camera.height, camera.hfov, camera.pitch + tilt)
    angle = heading + camera.yaw
    cosine, sine = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    ways = np.empty_like(local)
    ways[:, 0] = local[:, 0] * cosine + local[:, 2] * sine
    ways[:, 1] = local[:, 1]
    ways[:, 2] = local[:, 2] * cosine - local[:, 0] * sine
    return ways


@lru_cache(maxsize=32)
def _local_directions(width: int, height: int, hfov: float, pitch: float) -> NDArray[np.float32]:
    """Return the directions of a camera that looks along -z, pitched upwards."""
    scale = 2 * math.tan(hfov / 2) / width
    right = (np.arange(width) + 0.5 - width / 2) * scale
    up = (height / 2 - np.arange(height) - 0.5) * scale
    rights, ups = np.meshgrid(right, up)
    cosine, sine = math.cos(pitch), math.sin(pitch)
    rows = np.stack([rights, ups * cosine + sine, ups * sine - cosine], axis=-1)
    return np.ascontiguousarray(rows.reshape(-1, 3), dtype=np.float32)
