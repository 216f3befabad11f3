"""A scene as the simulator holds it: triangles for the rays, batches a room and texture for the renderer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from navloop.envs.glb import Model, Node, Part, read_glb
from navloop.envs.scenes import SceneDescription
from navloop.envs.simulator import SceneError


@dataclass(frozen=True, slots=True)
class SceneMesh:
    """The geometry of one scene.

    Attributes:
        batches: Parts that are drawn together, with the room that they belong to ("" if the scene has no rooms).
        textures: uint8 (H, W, 3) RGB by name.
        triangles: float32 (F, 3, 3), metres, in the order of the batches' faces.
        face_object: int32 (F,), place in `description.objects`, or -1.
        description: Rooms, portals and objects; None where no JSON lies beside the GLB.
    """

    batches: tuple[tuple[str, Part], ...]
    textures: dict[str, NDArray[np.uint8]]
    triangles: NDArray[np.float32]
    face_object: NDArray[np.int32]
    description: SceneDescription | None


def load_mesh(path: Path) -> SceneMesh:
    """Read a GLB and, where it is there, the scene description beside it (same name, .json).

    Raises:
        SceneError: If either cannot be read, naming the file and the mend.
    """
    model = read_glb(path)
    beside = path.with_suffix(".json")
    try:
        description = SceneDescription.read(beside) if beside.is_file() else None
    except ValueError as error:
        raise SceneError(str(error)) from error
    return assemble(model, description)


def assemble(model: Model, description: SceneDescription | None) -> SceneMesh:
    """Merge the parts of a model by room and texture.

    Args:
        model: Nodes named after objects, or "<room>/<surface>" for the shell of a room.
        description: None puts everything into one room.
    """
    objects = {thing.name: number for number, thing in enumerate(description.objects)} if description else {}
    groups: dict[tuple[str, str], list[tuple[Part, int]]] = {}
    for node in model.nodes:
        number = objects.get(node.name, -1)
        room = _room(node, number, description)
        for part in node.parts:
            groups.setdefault((room, part.texture), []).append((part, number))
    batches, owners = [], []
    for (room, _), members in groups.items():
        batches.append((room, _merge([part for part, _ in members])))
        owners += [np.full(len(part.faces), number, np.int32) for part, number in members]
    triangles = np.concatenate([part.vertices[part.faces] for _, part in batches])
    return SceneMesh(tuple(batches), model.textures, triangles, np.concatenate(owners), description)


def _room(node: Node, number: int, description: SceneDescription | None) -> str:
    if description is None:
        return ""
    return description.objects[number].room if number >= 0 else node.name.split("/")[0]


def _merge(parts: list[Part]) -> Part:
    starts = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
    return Part(
        parts[0].texture,
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=True)]).astype(np.int32),
        np.concatenate([part.uv for part in parts]),
    )
