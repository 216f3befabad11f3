"""The navmesh of an exported house: the free space of the embedded world itself, so that both worlds walk on the same floor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from navloop.envs.embedded import footprints
from navloop.envs.embedded.freespace import FreeSpace
from navloop.envs.embedded.ground import Floor
from navloop.envs.embedded.mesh import SceneMesh
from navloop.envs.habitat.convex import convex_parts
from navloop.envs.habitat.detour import CORNERS, navmesh_file
from navloop.envs.simulator import Body, SceneError
from navloop.files import write_bytes
from navloop.geometry import Vector

SMALLEST = 1e-8
"""Square metres below which a piece of floor is a rounding error."""


def write_navmesh(mesh: SceneMesh, path: Path, body: Body) -> None:
    """Write the navmesh of a house; habitat-sim, which would make one of cells of 5 cm, is not needed and not asked.

    Args:
        mesh: The house.
        path: Of the navmesh.
        body: Of the agent; the settings in the file are those with which habitat-lab asks for one of this body.

    Raises:
        SceneError: If the body fits nowhere, or the house is too large or its floor too uneven for such a file.
        OSError: If the navmesh cannot be written.
    """
    try:
        free = FreeSpace.from_triangles(mesh.triangles, body)
        flat, polygons = convex_parts(free.region, CORNERS)
        vertices = np.insert(flat, 1, 0.0, axis=1)
        vertices[:, 1] = free.floor_height(vertices)
        data = navmesh_file(vertices, polygons, body, _relief(free.floor, vertices, polygons))
    except ValueError as error:
        raise SceneError(f"{path.with_suffix('.glb')}: {error}") from error
    write_bytes(path, data)


def _relief(floor: Floor, vertices: Vector, polygons: list[list[int]]) -> dict[int, Vector]:
    """Return the triangles (T, 3, 3) of the polygons that the plane through their corners does not tell: rugs and steps lie in them."""
    if floor.level is not None:
        return {}
    planes, regions = _planes(floor)
    index = shapely.STRtree(regions)
    relief = {}
    for number, polygon in enumerate(polygons):
        shape = shapely.Polygon(vertices[polygon][:, [0, 2]])
        under = np.sort(index.query(shape, predicate="intersects"))
        told = footprints.heights_on(planes[under][:, None], vertices[polygon][:, [0, 2]])
        if len(under) > 1 or not np.allclose(told, vertices[polygon][:, 1], atol=1e-6):
            relief[number] = _pieces(shape, planes[under], regions[under])
    return relief


def _planes(floor: Floor) -> tuple[Vector, footprints.Polygons]:
    """Return the planes (P, 3) of a floor, the highest first, and what each covers."""
    planes, which = np.unique(floor.planes, axis=0, return_inverse=True)
    shadows = footprints.shadows(floor.triangles)
    regions = np.array([footprints.union(shadows[which.reshape(-1) == k]) for k in range(len(planes))], dtype=object)
    middles = shapely.get_coordinates(shapely.centroid(regions))
    order = np.argsort(-footprints.heights_on(planes, middles), kind="stable")
    return planes[order], regions[order]


def _pieces(shape: BaseGeometry, planes: Vector, regions: footprints.Polygons) -> Vector:
    """Return a polygon as triangles (T, 3, 3), each on the highest plane (of those given highest first) that covers it."""
    pieces = []
    for number, (plane, region) in enumerate(zip(planes, regions, strict=True)):
        here = shape if number == len(planes) - 1 else shapely.intersection(shape, region)
        shape = shapely.difference(shape, region)
        parts = shapely.get_parts(here)
        parts = shapely.constrained_delaunay_triangles(parts[shapely.get_dimensions(parts) == 2])
        parts = shapely.get_parts(parts)
        flat = shapely.get_coordinates(parts[shapely.area(parts) > SMALLEST]).reshape(-1, 4, 2)[:, :3]
        pieces.append(np.stack([flat[..., 0], footprints.heights_on(plane, flat), flat[..., 1]], axis=-1))
    return np.concatenate(pieces)
