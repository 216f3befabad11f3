"""One house as habitat-sim loads it: the GLB, how it stands, what its triangles are, and where an agent can walk.

habitat-sim takes a bare GLB to be Matterport3D's, with z up. The stage config beside it, which it reads first, says that ours has y up.
The navmesh is ours. Those that habitat-sim makes, for other bodies, lie on a grid of cells 0.2 m high that begins at the lowest vertex, so
that agents float up to 0.2 m above the floor: a vertex that no triangle uses is laid below the house, just so deep that the grid meets it.
Semantics are written as HM3D's: a list of ids, colours, labels and regions, and a mesh whose vertices have those colours.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray

from navloop.envs.embedded.mesh import SceneMesh, load_mesh
from navloop.envs.glb import Model, read_glb, write_glb
from navloop.envs.habitat.export_navmesh import write_navmesh
from navloop.envs.scenes import SceneDescription
from navloop.envs.simulator import Body, SceneError
from navloop.files import fingerprint, write_bytes, write_text, written_aside

FORMAT = "navloop-stage-2"
"""Raised whenever the same house would be exported differently."""

ENDINGS = (".glb", ".json", ".semantic.txt", "_semantic.ply", ".navmesh")
"""Of a house's files, after its name; the stage config stands beside them."""

CELL_HEIGHT = 0.2
"""Metres, the height of the cells of habitat-sim's navmeshes (its default, which habitat-lab keeps)."""

CLEARANCE = 0.001
"""Metres that navmeshes lie above the highest rug."""


def export_scene(glb: Path, folder: Path, body: Body) -> None:
    """Write one house for habitat-sim, unless it is there and whole.

    The stage config is written last, and says of which GLB and body the other files are, and their fingerprint.

    Args:
        glb: Of the house, its description (.json) beside it.
        folder: Gets <house>.glb, .json, .semantic.txt, _semantic.ply, .navmesh and .stage_config.json.
        body: Whose navmesh.

    Raises:
        SceneError: If the house cannot be read, or the body fits nowhere.
        OSError: If the folder cannot be written.
    """
    marks = {"format": FORMAT, "source": fingerprint(glb, glb.with_suffix(".json")), "body": asdict(body)}
    config = folder / f"{glb.stem}.stage_config.json"
    files = [folder / f"{glb.stem}{ending}" for ending in ENDINGS]
    if _is_exported(config, files, marks):
        return
    config.unlink(missing_ok=True)  # of other files than those to come
    mesh = load_mesh(glb)
    if mesh.description is None:
        raise SceneError(f"{glb}: no description beside it ({glb.stem}.json); generate the houses again")
    write_text(folder / f"{glb.stem}.semantic.txt", _semantic_list(mesh.description))
    write_bytes(folder / f"{glb.stem}_semantic.ply", _semantic_mesh(mesh))
    with written_aside(folder / f"{glb.stem}.json") as aside:
        shutil.copyfile(glb.with_suffix(".json"), aside)
    write_glb(folder / glb.name, _grounded(read_glb(glb), mesh.description))
    write_navmesh(mesh, folder / f"{glb.stem}.navmesh", body)
    write_text(config, _stage_config(glb.stem, {**marks, "files": fingerprint(*files)}))


def write_scene_dataset(path: Path) -> None:
    """Write the scene_dataset_config.json of a folder of exported houses: every stage config one level below it."""
    stages = {"default_attributes": _upright(), "paths": {".json": ["*/*.stage_config.json"]}}
    write_text(path, json.dumps({"stages": stages}, indent=1) + "\n")


def semantic_colours(count: int) -> NDArray[np.uint8]:
    """Return the colours (count, 3) that stand for the semantic ids 0, 1, 2, ...: black for 0, no two alike."""
    # An odd factor permutes the residues of 2**24, and this one (2**24 over the golden ratio) sets neighbours far apart.
    codes = np.arange(count, dtype=np.uint64) * 10368889 % 2**24
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1).astype(np.uint8)


def _upright() -> dict[str, Any]:
    frame = {"up": [0, 1, 0], "front": [0, 0, -1], "semantic_up": [0, 1, 0], "semantic_front": [0, 0, -1]}
    return {**frame, "origin": [0, 0, 0], "units_to_meters": 1.0, "force_flat_shading": True}


def _stage_config(name: str, marks: Mapping[str, Any]) -> str:
    config: dict[str, Any] = {"render_asset": f"{name}.glb", "collision_asset": f"{name}.glb", **_upright()}
    config |= {"semantic_asset": f"{name}_semantic.ply", "semantic_descriptor_filename": f"{name}.semantic.txt"}
    config |= {"has_semantic_textures": False, "nav_asset": f"{name}.navmesh"}
    return json.dumps({**config, "user_defined": {"navloop": marks}}, indent=1) + "\n"


def _is_exported(config: Path, files: Sequence[Path], marks: Mapping[str, Any]) -> bool:
    """Whether the stage config says that the files are of this house and body, and they are what they were."""
    try:
        found = json.loads(config.read_text())["user_defined"]["navloop"]
        return bool(found == {**marks, "files": fingerprint(*files)})
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _grounded(model: Model, description: SceneDescription) -> Model:
    """Return a model with one vertex more, that no triangle uses, whose depth lets the navmesh lie on the floor and its rugs."""
    floor = min(room.floor for room in description.rooms)
    flat = [thing.box[4] for thing in description.objects if floor < thing.box[4] < floor + CELL_HEIGHT / 4]
    ground = max([floor, *flat]) + CLEARANCE
    lowest = min(float(part.vertices[:, 1].min()) for node in model.nodes for part in node.parts)
    depth = ground - CELL_HEIGHT * max(1, math.ceil((ground - lowest) / CELL_HEIGHT))
    first, *others = model.nodes
    part = first.parts[0]
    x, _, z = part.vertices[0]
    vertices = np.vstack([part.vertices, np.array([[x, depth, z]], np.float32)])
    deeper = replace(part, vertices=vertices, uv=np.vstack([part.uv, part.uv[:1]]))
    return replace(model, nodes=(replace(first, parts=(deeper, *first.parts[1:])), *others))


def _semantic_list(description: SceneDescription) -> str:
    """Return HM3D's list: id, colour, label and number of the room."""
    rooms = {room.name: number for number, room in enumerate(description.rooms)}
    colours = semantic_colours(len(description.objects) + 1)
    lines = ["HM3D Semantic Annotations"]
    for number, thing in enumerate(description.objects, start=1):
        colour = bytes(colours[number].tolist()).hex().upper()
        lines.append(f'{number},{colour},"{thing.label}",{rooms.get(thing.room, -1)}')
    return "\n".join(lines) + "\n"


def _semantic_mesh(mesh: SceneMesh) -> bytes:
    """Return the triangles as a PLY whose vertices have the colours of the list, with z up: habitat-sim turns every PLY upright."""
    ids = mesh.face_object + 1
    colours = semantic_colours(int(ids.max(initial=0)) + 1)[ids].repeat(3, axis=0)
    faces = np.arange(3 * len(mesh.triangles)).reshape(-1, 3)
    opaque = np.column_stack([colours, np.full(len(colours), 255, np.uint8)])
    x, y, z = mesh.triangles.reshape(-1, 3).T
    plain = trimesh.Trimesh(np.column_stack([x, -z, y]), faces, vertex_colors=opaque, process=False)
    data = plain.export(file_type="ply", vertex_normal=False)
    assert isinstance(data, bytes)
    return data
