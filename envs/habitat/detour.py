"""Navmesh files as habitat-sim keeps them: a head, the settings, and tiles in Recast Navigation's form.

Source: habitat-sim, src/esp/nav/PathFinder.cpp (saveNavMesh); Recast Navigation, Detour/Include/DetourNavMesh.h, version 7.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from navloop.envs.habitat.convex import edges_of
from navloop.envs.simulator import Body
from navloop.geometry import Vector

SET = struct.Struct("<4sii5f2i")
"""Magic, version, tiles; corner, width and depth of a tile, tiles and polygons at most (dtNavMeshParams)."""

SETTINGS = struct.Struct("<13f4?")
"""habitat-sim's NavMeshSettings."""

TILE = struct.Struct("<Ii")
"""Reference and bytes of a tile."""

HEADER = struct.Struct("<4si13i3f3f3ff")
"""dtMeshHeader."""

POLYGON = np.dtype(
    [("link", "<u4"), ("corners", "<u2", 6), ("beyond", "<u2", 6), ("flags", "<u2"), ("count", "u1"), ("area", "u1")]
)
PATCH = np.dtype(
    [("vertex", "<u4"), ("triangle", "<u4"), ("vertices", "u1"), ("triangles", "u1"), ("padding", "u1", 2)]
)
NODE = np.dtype([("low", "<u2", 3), ("high", "<u2", 3), ("next", "<i4")])

MAGIC, VERSIONS = b"TESM", (1, 2)
TILE_MAGIC, TILE_VERSION = b"VAND", 7
LINK, CROSSING = 12, 36
"""Bytes of a link, with references of 32 bits, and of a connection off the mesh."""

CORNERS = 6
"""Corners that a polygon has at most."""

MAX_SLOPE = 45.0
"""Degrees, habitat-lab's default agent; a navmesh of another would be made anew at every load."""

_NO_LINK, _WALK, _EDGES = 0xFFFFFFFF, 1, 0b010101
"""What polygons say that are not linked yet, and that may be walked on; what a triangle of the relief says of its edges: that each bounds it."""

_MOST = 255 - CORNERS
"""Points of relief that a polygon has at most."""

_POLYGONS, _VERTICES = 0x7FFF, 0xFFFF
"""Of a tile at most: greater numbers mark neighbours in other tiles, and do not fit."""

_NONE = np.zeros((0, 3))
_ROOM = np.array([0, 0.1, 0])
"""Metres by which bounds are higher than what they hold, so that a flat floor has some."""


def navmesh_file(
    vertices: Vector, polygons: Sequence[list[int]], body: Body, relief: Mapping[int, Vector] | None = None
) -> bytes:
    """Return a navmesh of one tile whose floor is these polygons.

    Args:
        vertices: (V, 3), metres, in Habitat's frame.
        polygons: Corners of each, convex, at most `CORNERS`, counter-clockwise where z points up; neighbours share whole edges.
        body: Whose centre may be on the polygons. The settings name it, and are otherwise habitat-lab's, so that it takes the file as it is.
        relief: Triangles (T, 3, 3) of polygons, by number, whose heights are not those between their corners.

    Raises:
        ValueError: If there are more polygons, vertices or triangles of relief than such a file can hold.
    """
    relief = relief or {}
    roughest = 3 * max((len(triangles) for triangles in relief.values()), default=0)
    for name, count, most in (
        ("polygons", len(polygons), _POLYGONS),
        ("vertices", len(vertices), _VERTICES),
        ("points of relief in one polygon", roughest, _MOST),
    ):
        if count > most:
            raise ValueError(f"{count} {name}, of which a navmesh of one tile holds {most}")
    boxes = _boxes(vertices, polygons, relief)
    low, high = boxes[:, 0].min(axis=0) - _ROOM, boxes[:, 1].max(axis=0) + _ROOM
    per_metre = 65000 / (high - low).max()
    backwards = [polygon[::-1] for polygon in polygons]  # Detour's go clockwise
    records, details, nodes = _records(backwards), _details(polygons, relief), _tree((boxes - low) * per_metre)
    links = np.zeros((int(records["count"].sum()), LINK), "u1")
    parts = vertices.astype("<f4"), records, links, *details, nodes
    counts = (*(len(part) for part in parts[1::-1]), *(len(part) for part in parts[2:]), 0, len(records))
    sizes = body.height, body.radius, body.max_climb
    header = HEADER.pack(TILE_MAGIC, TILE_VERSION, 0, 0, 0, 0, *counts, *sizes, *low, *high, per_metre)
    tile = header + b"".join(part.tobytes() for part in parts)
    head = SET.pack(MAGIC, VERSIONS[-1], 1, *low, *(high - low)[[0, 2]], 1, len(records))
    # A reference holds the number of the polygon in its lowest bits; above it a tile's salt begins at 1.
    reference = 1 << max(len(records) - 1, 0).bit_length()
    return head + _settings(body) + TILE.pack(reference, len(tile)) + tile


def _settings(body: Body) -> bytes:
    """The defaults of habitat-sim: cells, the body, regions, edges, details, filters."""
    shape = body.height, body.radius, body.max_climb, MAX_SLOPE
    return SETTINGS.pack(0.05, 0.2, *shape, 20, 20, 12, 1.3, CORNERS, 6, 1, True, True, True, False)


def _boxes(vertices: Vector, polygons: Sequence[list[int]], relief: Mapping[int, Vector]) -> Vector:
    """Return the lowest and the highest corner of what each polygon holds, (N, 2, 3)."""
    held = [np.concatenate([vertices[p], relief.get(n, _NONE).reshape(-1, 3)]) for n, p in enumerate(polygons)]
    return np.array([(points.min(axis=0), points.max(axis=0)) for points in held])


def _records(polygons: Sequence[list[int]]) -> NDArray[np.void]:
    """The polygons, each with the number of that beyond each of its edges, from 1, or 0 for none."""
    owner = {edge: number for number, polygon in enumerate(polygons, start=1) for edge in edges_of(polygon)}
    records = np.zeros(len(polygons), POLYGON)
    records["link"], records["flags"] = _NO_LINK, _WALK
    for record, polygon in zip(records, polygons, strict=True):
        record["count"] = len(polygon)
        record["corners"][: len(polygon)] = polygon
        record["beyond"][: len(polygon)] = [owner.get((end, start), 0) for start, end in edges_of(polygon)]
    return records


def _details(
    polygons: Sequence[list[int]], relief: Mapping[int, Vector]
) -> tuple[NDArray[np.void], NDArray[np.float32], NDArray[np.uint8]]:
    """What heights are told by: triangles between a polygon's corners, all from its first, or those of its relief, and their points."""
    patches = np.zeros(len(polygons), PATCH)
    corners: list[NDArray[np.intp]] = []
    for number, (patch, polygon) in enumerate(zip(patches, polygons, strict=True)):
        count = len(polygon)
        patch["vertices"] = points = relief.get(number, _NONE).size // 3
        fan = [(0, k, k + 1) for k in range(1, count - 1)]
        corners.append(np.arange(count, count + points).reshape(-1, 3) if points else np.array(fan))
        patch["triangles"] = len(corners[-1])
    for start, size in (("vertex", "vertices"), ("triangle", "triangles")):
        patches[start] = np.cumsum(patches[size], dtype=np.uint32) - patches[size]
    bumps = np.concatenate([_NONE, *(relief[number].reshape(-1, 3) for number in sorted(relief))])
    triangles = np.insert(np.concatenate(corners), 3, _EDGES, axis=1)
    return patches, bumps.astype("<f4"), triangles.astype("u1")


def _tree(boxes: Vector) -> NDArray[np.void]:
    """Boxes (N, 2, 3), halved along their longest side until each is alone; a branch says how many nodes to skip over it."""
    nodes: list[tuple[list[int], list[int], int]] = []

    def grow(items: NDArray[np.intp]) -> None:
        place = len(nodes)
        low, high = boxes[items, 0].min(axis=0), boxes[items, 1].max(axis=0)
        box = np.floor(low).astype(int).tolist(), np.ceil(high).astype(int).tolist()
        nodes.append((*box, int(items[0])))
        if len(items) > 1:
            order = items[np.argsort(boxes[items, 0, int(np.argmax(high - low))], kind="stable")]
            grow(order[: len(order) // 2])
            grow(order[len(order) // 2 :])
            nodes[place] = (*box, place - len(nodes))

    grow(np.arange(len(boxes)))
    return np.array(nodes, NODE)
