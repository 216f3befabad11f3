"""The tiles of a navmesh, looked through before habitat-sim takes them: it follows whatever they point at, into crashes and endless loops."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from navloop.envs.habitat.detour import CROSSING, HEADER, LINK, NODE, PATCH, POLYGON, TILE_MAGIC, TILE_VERSION

_OUTSIDE = 0x8000
"""The mark of a neighbour in another tile."""


def require_sound(data: bytes) -> None:
    """Check that a tile's parts fill it, that its points are in its bounds, and that whatever it refers to is there.

    Raises:
        ValueError: Saying what is wrong.
    """
    if len(data) < HEADER.size:
        raise ValueError("a tile is shorter than its header")
    magic, version, *numbers = HEADER.unpack_from(data)
    if magic != TILE_MAGIC or version != TILE_VERSION:
        raise ValueError("a tile does not begin as one")
    _, _, _, _, polygons, vertices, links, patches, extra, triangles, nodes, crossings, _ = numbers[:13]
    sizes = [12 * vertices, 32 * polygons, LINK * links, 12 * patches, 12 * extra, 4 * triangles, 16 * nodes]
    sizes.append(CROSSING * crossings)
    if min(sizes) < 0 or HEADER.size + sum(sizes) != len(data):
        raise ValueError("a tile's parts do not fill it")
    places = np.cumsum([HEADER.size, *sizes]).tolist()
    parts = [data[start:end] for start, end in pairwise(places)]
    _check_points(parts[0], numbers[16:22])
    polys = np.frombuffer(parts[1], POLYGON)
    _check_polygons(polys, vertices)
    ground = polys[: max(polygons - crossings, 0)]  # connections off the mesh come last, and have no details
    _check_patches(np.frombuffer(parts[3], PATCH), ground, extra, parts[5])
    _check_points(parts[4], numbers[16:22])
    _check_tree(np.frombuffer(parts[6], NODE), polygons)


def _check_points(part: bytes, bounds: Sequence[float]) -> None:
    points, (low, high) = np.frombuffer(part, "<f4").reshape(-1, 3), np.array(bounds).reshape(2, 3)
    reach = 1.0 + high - low  # heights of details may lie a little beyond
    if not (np.isfinite(bounds).all() and ((points >= low - reach) & (points <= high + reach)).all()):
        raise ValueError("a tile has points out of its bounds")


def _check_polygons(polygons: NDArray[np.void], vertices: int) -> None:
    used = np.arange(6) < polygons["count"][:, None]
    beyond = polygons["beyond"][used]
    inside = beyond[beyond < _OUTSIDE]
    if (polygons["count"] > 6).any() or (polygons["corners"][used] >= vertices).any() or (inside > len(polygons)).any():
        raise ValueError("a tile has polygons whose corners or neighbours are not there")


def _check_patches(patches: NDArray[np.void], polygons: NDArray[np.void], extra: int, part: bytes) -> None:
    triangles = np.frombuffer(part, "u1").reshape(-1, 4)[:, :3]
    if len(patches) != len(polygons):
        raise ValueError("a tile has not as many details as polygons")
    ends = (
        patches["vertex"].astype(np.int64) + patches["vertices"],
        patches["triangle"].astype(np.int64) + patches["triangles"],
    )
    if (ends[0] > extra).any() or (ends[1] > len(triangles)).any():
        raise ValueError("a tile has details beyond its end")
    for patch, polygon in zip(patches, polygons, strict=True):
        first = int(patch["triangle"])
        corners = triangles[first : first + int(patch["triangles"])]
        if corners.size and corners.max() >= int(polygon["count"]) + int(patch["vertices"]):
            raise ValueError("a tile has details between points that are not there")


def _check_tree(nodes: NDArray[np.void], polygons: int) -> None:
    """A leaf names a polygon; a branch says how many nodes lie below it."""
    ahead = nodes["next"].astype(np.int64)
    rest = len(nodes) - np.arange(len(nodes))
    if ((ahead >= polygons) | (-ahead > rest)).any():
        raise ValueError("a tile's tree leads out of it")
