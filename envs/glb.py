"""Textured triangle models and their GLB files: written by the houses, read by the simulator."""

from __future__ import annotations

import io
import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image

from navloop.envs.simulator import SceneError
from navloop.files import write_bytes


@dataclass(frozen=True, slots=True)
class Part:
    """Triangles that share a texture.

    Attributes:
        texture: Key of `Model.textures`.
        vertices: float32 (V, 3), metres, in Habitat's frame (x right, y up, -z ahead).
        faces: int32 (F, 3), counter-clockwise seen from outside.
        uv: float32 (V, 2), as in glTF: (0, 0) is the image's top left corner; the texture repeats outside [0, 1].
    """

    texture: str
    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    uv: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Node:
    """A named thing of one or more parts."""

    name: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """Nodes and the images they share.

    Attributes:
        nodes: In file order.
        textures: uint8 (H, W, 3) RGB by name.
    """

    nodes: tuple[Node, ...]
    textures: dict[str, NDArray[np.uint8]]


def write_glb(path: Path, model: Model) -> None:
    """Write a model as glTF 2.0 binary, whole or not at all; the same model gives the same bytes.

    Textures are embedded as PNG and shown unlit (KHR_materials_unlit), repeated and filtered with mipmaps; faces show
    their front only. A node is a mesh with one primitive per part.

    Raises:
        ValueError: If a part names a texture that the model lacks.
        OSError: If the folder cannot be written, naming it.
    """
    write_bytes(path, _to_glb(model))


def _to_glb(model: Model) -> bytes:
    names = sorted({part.texture for node in model.nodes for part in node.parts})
    for name in names:
        if name not in model.textures:
            raise ValueError(f"texture {name!r} is used but is not among the model's: {sorted(model.textures)}")
    chunks = _Chunks()
    document = {
        "asset": {"version": "2.0", "generator": "navloop"},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": list(range(len(model.nodes)))}],
        "nodes": [{"name": node.name, "mesh": i} for i, node in enumerate(model.nodes)],
        "meshes": [
            {
                "name": node.name,
                "primitives": [chunks.primitive(part, names.index(part.texture)) for part in node.parts],
            }
            for node in model.nodes
        ],
        "materials": [
            {
                "name": name,
                "doubleSided": False,
                "extensions": {"KHR_materials_unlit": {}},
                "pbrMetallicRoughness": {
                    "baseColorTexture": {"index": i},
                    "metallicFactor": 0.0,
                    "roughnessFactor": 1.0,
                },
            }
            for i, name in enumerate(names)
        ],
        "textures": [{"source": i, "sampler": 0} for i in range(len(names))],
        "images": [chunks.image(name, model.textures[name]) for name in names],
        # Linear, linear between mipmaps, repeat both ways.
        "samplers": [{"magFilter": 9729, "minFilter": 9987, "wrapS": 10497, "wrapT": 10497}],
    }
    document |= {"accessors": chunks.accessors, "bufferViews": chunks.views}
    document["buffers"] = [{"byteLength": len(chunks.data)}]
    # glTF forbids empty lists.
    text = json.dumps({key: value for key, value in document.items() if value != []}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text
    body += struct.pack("<I4s", len(chunks.data), b"BIN\0") + bytes(chunks.data)
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


class _Chunks:
    """The binary buffer of a GLB and the tables that point into it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, int]] = []
        self.accessors: list[dict[str, Any]] = []

    def primitive(self, part: Part, material: int) -> dict[str, Any]:
        vertices = np.ascontiguousarray(part.vertices, "<f4")
        bounds = {"min": vertices.min(0).tolist(), "max": vertices.max(0).tolist()}
        attributes = {
            "POSITION": self._accessor(vertices, "VEC3", 5126, 34962, bounds),
            "TEXCOORD_0": self._accessor(np.ascontiguousarray(part.uv, "<f4"), "VEC2", 5126, 34962),
        }
        faces = np.ascontiguousarray(part.faces, "<u4").reshape(-1)
        return {
            "attributes": attributes,
            "indices": self._accessor(faces, "SCALAR", 5125, 34963),
            "material": material,
            "mode": 4,
        }

    def image(self, name: str, pixels: NDArray[np.uint8]) -> dict[str, Any]:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG", compress_level=6)
        return {"name": name, "mimeType": "image/png", "bufferView": self._view(file.getvalue())}

    def _accessor(
        self, values: NDArray[Any], kind: str, component: int, target: int, bounds: dict[str, Any] | None = None
    ) -> int:
        view = self._view(values.tobytes(), target)
        entry = {"bufferView": view, "componentType": component, "count": len(values), "type": kind}
        self.accessors.append(entry | (bounds or {}))
        return len(self.accessors) - 1

    def _view(self, data: bytes, target: int | None = None) -> int:
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)}
        self.views.append(view if target is None else view | {"target": target})
        self.data += data + b"\0" * (-len(data) % 4)
        return len(self.views) - 1


def read_glb(path: Path) -> Model:
    """Read the textured triangles of a GLB, in world coordinates; nodes sorted by name.

    A part without a texture takes its vertices' colours or its material's base colour. Alpha is dropped.

    Raises:
        SceneError: If the file is missing, broken, without triangles, or without any texture or colour, naming it and the mend.
    """
    if not path.is_file():
        raise SceneError(f"{path}: no such scene; check the scenes folder, or make houses with `navloop houses`")
    try:
        scene = trimesh.load_scene(path, file_type="glb", process=False)
        pieces = [(_node_name(scene, name), *scene.graph[name]) for name in scene.graph.nodes_geometry]
        textures = _Textures(path)
        parts: dict[str, list[Part]] = {}
        for name, transform, geometry in sorted(pieces, key=lambda piece: (piece[0], piece[2])):
            mesh = scene.geometry[geometry]
            if isinstance(mesh, trimesh.Trimesh) and len(mesh.faces):
                parts.setdefault(name, []).append(_part(mesh, transform, textures))
    except SceneError:
        raise
    except Exception as error:
        raise SceneError(
            f"{path}: not a readable GLB ({type(error).__name__}: {error}); write or download it again"
        ) from error
    if not parts:
        raise SceneError(f"{path}: has no triangles; choose a scene with geometry")
    return Model(tuple(Node(name, tuple(listed)) for name, listed in parts.items()), textures.by_name)


def _node_name(scene: trimesh.Scene, name: str) -> str:
    """Return the name of the file's node; trimesh hangs the parts of a mesh below it under names of its own."""
    parent = scene.graph.transforms.parents.get(name)
    geometry = scene.geometry[scene.graph[name][1]]
    return str(parent if geometry.metadata.get("from_gltf_primitive") and parent != scene.graph.base_frame else name)


def _part(mesh: trimesh.Trimesh, transform: NDArray[np.float64], textures: _Textures) -> Part:
    vertices = trimesh.transform_points(mesh.vertices, transform).astype(np.float32)
    faces = np.asarray(mesh.faces, np.int32)
    if np.linalg.det(transform[:3, :3]) < 0:
        faces = faces[:, ::-1]
    name, uv = textures.enter(mesh)
    return Part(name, vertices, np.ascontiguousarray(faces), uv)


class _Textures:
    """The textures of a file's parts, each decoded once however many parts share it.

    Attributes:
        by_name: uint8 (H, W, 3) RGB.
    """

    def __init__(self, path: Path) -> None:
        self.by_name: dict[str, NDArray[np.uint8]] = {}
        self._path = path
        self._names: dict[tuple[int, str, bytes], str] = {}

    def enter(self, mesh: trimesh.Trimesh) -> tuple[str, NDArray[np.float32]]:
        """Enter a part's texture and return its name and the part's coordinates (V, 2) in it, as glTF counts them."""
        material = getattr(mesh.visual, "material", None)
        image, uv = getattr(material, "baseColorTexture", None), getattr(mesh.visual, "uv", None)
        colour = getattr(material, "baseColorFactor", None)
        if image is not None and uv is not None:
            name = str(getattr(material, "name", None) or "texture")
            return self._image(name, image, colour), np.column_stack([uv[:, 0], 1 - uv[:, 1]]).astype(np.float32)
        if mesh.visual.kind == "vertex":
            return self._palette(np.asarray(mesh.visual.vertex_colors)[:, :3].astype(np.uint8))
        if colour is None:
            raise SceneError(
                f"{self._path}: a part has neither a texture nor a base colour, so it cannot be drawn; export it textured"
            )
        rgb = _bytes(colour)
        name = "colour-" + bytes(rgb.tolist()).hex()
        self.by_name[name] = np.broadcast_to(rgb, (4, 4, 3)).copy()
        return name, np.zeros((len(mesh.vertices), 2), np.float32)

    def _image(self, name: str, image: Image.Image, colour: Any) -> str:
        """Enter an image in the shade of a colour, under this name or, where another image has it, one like it."""
        # An image's id is its own for as long as the scene lives, and that is longer than this.
        key = id(image), name, b"" if colour is None else np.asarray(colour).tobytes()
        if key not in self._names:
            pixels = np.asarray(image.convert("RGB"))
            if colour is not None:
                pixels = np.round(pixels * (_bytes(colour) / 255)).astype(np.uint8)
            while name in self.by_name and not np.array_equal(self.by_name[name], pixels):
                name += "'"
            self.by_name[name] = pixels
            self._names[key] = name
        return self._names[key]

    def _palette(self, colours: NDArray[np.uint8]) -> tuple[str, NDArray[np.float32]]:
        """Enter 4 x 4 blocks, one a colour of the vertices (V, 3), and return their texture's name and their middles (V, 2)."""
        distinct, which = np.unique(colours, axis=0, return_inverse=True)
        side = 1 << math.ceil(math.log2(max(len(distinct), 1)) / 2)
        blocks = np.zeros((side * side, 3), np.uint8)
        blocks[: len(distinct)] = distinct
        name = f"colours-{len(self.by_name)}"
        self.by_name[name] = blocks.reshape(side, side, 3).repeat(4, axis=0).repeat(4, axis=1)
        rows, columns = np.divmod(which.reshape(-1), side)
        return name, ((np.column_stack([columns, rows]) + 0.5) / side).astype(np.float32)


def _bytes(colour: Any) -> NDArray[np.uint8]:
    """Return a colour as three bytes, from bytes or from shares of one."""
    rgb = np.asarray(colour)[:3]
    return np.round(rgb * 255 if rgb.dtype.kind == "f" and rgb.max() <= 1 else rgb).astype(np.uint8)
