"""RGB by ray casting, for machines where Panda3D's rasteriser cannot load: the same textures on the same triangles, slower."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from navloop.envs.embedded.mesh import SceneMesh
from navloop.envs.embedded.rays import Floats, Hits
from navloop.envs.simulator import Camera

Picture = NDArray[np.float32]


class Shader:
    """Looks up the colour at every hit of a ray: bilinear in the mipmap whose texels are as large as the pixel there.

    Args:
        mesh: The triangles that the rays are cast into.
    """

    def __init__(self, mesh: SceneMesh) -> None:
        names = sorted(mesh.textures)
        mipmaps = [_mipmaps(mesh.textures[name]) for name in names]
        levels = [level for one in mipmaps for level in one]
        counts = np.array([len(one) for one in mipmaps])
        self._texels = np.concatenate([level.reshape(-1, 3) for level in levels])
        self._sizes = np.array([level.shape[:2] for level in levels])
        self._starts = np.cumsum([0, *(height * width for height, width in self._sizes[:-1])])
        texture = np.repeat(
            [names.index(part.texture) for _, part in mesh.batches], [len(part.faces) for _, part in mesh.batches]
        )
        self._first = np.cumsum([0, *counts[:-1]])[texture]  # (F,), the finest level of each face's texture
        self._last = self._first + counts[texture] - 1
        self._uv = np.concatenate([part.uv[part.faces] for _, part in mesh.batches])  # (F, 3, 2)
        self._normals, self._density = _surfaces(mesh.triangles, self._uv * self._sizes[self._first][:, None, ::-1])

    def shade(self, hits: Hits, directions: Floats, camera: Camera) -> NDArray[np.uint8]:
        """Return the colours uint8 (N, 3) of a camera's rays with these directions (N, 3), black where nothing was hit."""
        faces = hits.face
        weights = np.stack([1 - hits.u - hits.v, hits.u, hits.v], axis=-1)
        uv = np.einsum("nc,nck->nk", weights, self._uv[faces])
        level = self._level(hits, directions, 2 * math.tan(camera.hfov / 2) / camera.width)
        colours = self._texture(uv, level)
        colours[faces < 0] = 0
        return np.round(colours).astype(np.uint8)

    def _level(self, hits: Hits, directions: Floats, pixel: float) -> NDArray[np.int64]:
        """Return the number of the mipmap for each ray, by how many texels its pixel covers."""
        faces = hits.face
        facing = np.abs(np.einsum("nk,nk->n", self._normals[faces], directions))
        across = pixel * np.where(faces < 0, 1, hits.distance) * self._density[faces]
        texels = across / np.sqrt(np.maximum(facing, 1e-3))  # the edge of a square as large as the pixel's trace
        finer = np.floor(np.log2(np.maximum(texels, 1)) + 0.5).astype(np.int64)
        level: NDArray[np.int64] = np.minimum(self._first[faces] + finer, self._last[faces])
        return level

    def _texture(self, uv: NDArray[np.float32], level: NDArray[np.int64]) -> Picture:
        start, height, width = self._starts[level], *self._sizes[level].T
        # Texel centres lie at half integers.
        x, y = uv[:, 0] * width - 0.5, uv[:, 1] * height - 0.5
        column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
        right, down = (x - column)[:, None].astype(np.float32), (y - row)[:, None].astype(np.float32)

        def texel(dx: int, dy: int) -> Picture:
            found: Picture = self._texels[start + (row + dy) % height * width + (column + dx) % width]
            return found

        above = texel(0, 0) * (1 - right) + texel(1, 0) * right
        below = texel(0, 1) * (1 - right) + texel(1, 1) * right
        mixed: Picture = above * (1 - down) + below * down
        return mixed


def _mipmaps(picture: NDArray[np.uint8]) -> list[Picture]:
    """Return a picture and its halvings down to a texel, float32 (H, W, 3)."""
    levels = [Image.fromarray(np.ascontiguousarray(picture))]
    while max(levels[-1].size) > 1:
        levels.append(levels[-1].reduce(2))
    return [np.asarray(level, dtype=np.float32) for level in levels]


def _surfaces(triangles: Floats, texels: NDArray[np.float64]) -> tuple[Floats, Floats]:
    """Return unit normals (F, 3) and texels per metre (F,) of triangles (F, 3, 3) with corners at texels (F, 3, 2)."""
    edges, steps = triangles[:, 1:] - triangles[:, :1], texels[:, 1:] - texels[:, :1]
    normals = np.cross(edges[:, 0], edges[:, 1])
    doubled = np.maximum(np.linalg.norm(normals, axis=1), 1e-12)
    covered = np.abs(steps[:, 0, 0] * steps[:, 1, 1] - steps[:, 0, 1] * steps[:, 1, 0])
    return (normals / doubled[:, None]).astype(np.float32), np.sqrt(covered / doubled).astype(np.float32)
