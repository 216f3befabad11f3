"""A scene as the embedded simulator needs it: surfaces to draw, triangles to cast rays at, and what is known of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image

from navloop.envs.glb import Model, Node, Part, read_glb
from navloop.envs.scenes import SceneDescription
from navloop.envs.simulator import SceneError

MAX_TEXTURE: int = 2048
"""Longest edge of a texture, pixels."""

INSIDE: float = 0.02
"""Metres by which a thing reaches into a room before it counts as seen from there."""


@dataclass(frozen=True, slots=True)
class Surface:
    """Triangles drawn together: one texture, seen from the same rooms.

    Attributes:
        rooms: Bit i set: can be seen from room i of the description. 0: always drawn.
        texture: Key of `SceneMesh.textures`.
        vertices: float32 (V, 3), metres.
        faces: int32 (F, 3), counter-clockwise seen from outside.
        uv: float32 (V, 2), as in glTF.
    """

    rooms: int
    texture: str
    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    uv: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SceneMesh:
    """One loaded scene. Faces are numbered in the order of the surfaces.

    Attributes:
        path: Its file.
        surfaces: What to draw.
        textures: uint8 (H, W, 3) RGB by name; edges are powers of two.
        triangles: float32 (F, 3, 3), metres.
        face_object: int32 (F,), index into `description.objects`, or -1.
        description: Rooms, portals and objects; None where no file of them lies beside the scene.
    """

    path: Path
    surfaces: tuple[Surface, ...]
    textures: dict[str, NDArray[np.uint8]]
    triangles: NDArray[np.float32]
    face_object: NDArray[np.int32]
    description: SceneDescription | None


def load_mesh(path: Path) -> SceneMesh:
    """Read a GLB and, where one lies beside it, its description `<name>.json`.

    Raises:
        SceneError: If either file is missing its point: absent, broken, without triangles or without textures.
    """
    model = read_glb(path)
    beside = path.with_suffix(".json")
    description = None
    if beside.is_file():
        try:
            description = SceneDescription.read(beside)
        except ValueError as error:
            raise SceneError(str(error)) from error
    return build_mesh(model, description, path)


def build_mesh(model: Model, description: SceneDescription | None, path: Path) -> SceneMesh:
    """Merge the parts of a model by what can be seen together."""
    numbers = {thing.name: i for i, thing in enumerate(description.objects)} if description else {}
    merged: dict[tuple[int, str], list[tuple[Part, int]]] = defaultdict(list)
    for node in model.nodes:
        rooms = _rooms_of(node, description) if description else 0
        for part in node.parts:
            merged[rooms, part.texture].append((part, numbers.get(node.name, -1)))
    surfaces = tuple(_merge(rooms, texture, [part for part, _ in own]) for (rooms, texture), own in merged.items())
    owners = [np.full(len(part.faces), number, np.int32) for own in merged.values() for part, number in own]
    return SceneMesh(
        path,
        surfaces,
        {name: _power_of_two(image) for name, image in model.textures.items()},
        np.concatenate([surface.vertices[surface.faces] for surface in surfaces]),
        np.concatenate(owners),
        description,
    )


def _merge(rooms: int, texture: str, parts: list[Part]) -> Surface:
    starts = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
    faces = [part.faces + start for part, start in zip(parts, starts, strict=True)]
    return Surface(
        rooms,
        texture,
        np.concatenate([part.vertices for part in parts]).astype(np.float32),
        np.concatenate(faces).astype(np.int32),
        np.concatenate([part.uv for part in parts]).astype(np.float32),
    )


def _rooms_of(node: Node, description: SceneDescription) -> int:
    """Return the bits of the rooms that a node reaches into, and of the one it is named or said to belong to."""
    named = node.name.split("/")[0]
    owner = next((thing.room for thing in description.objects if thing.name == node.name), named)
    footprint = shapely.MultiPoint(np.concatenate([part.vertices[:, [0, 2]] for part in node.parts])).convex_hull
    bits = 0
    for i, room in enumerate(description.rooms):
        inner = shapely.Polygon(room.polygon).buffer(-INSIDE)
        if room.name == owner or inner.intersects(footprint):
            bits |= 1 << i
    return bits


def _power_of_two(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image whose edges are powers of two, as the software rasteriser demands; the same where they are."""
    height, width = (min(1 << max(edge - 1, 1).bit_length(), MAX_TEXTURE) for edge in image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
