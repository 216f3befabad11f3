"""Textured triangle models and their GLB files: written by the houses, read by the simulator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
