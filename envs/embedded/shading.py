"""RGB by ray casting, for machines where Panda3D's rasteriser cannot load: the same textures on the same triangles, slower."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from navloop.envs.embedded.mesh import SceneMesh
from navloop.envs.embedded.rays import Hits


class Shader:
    """Looks up the colour at every hit of a ray, with bilinear filtering.

    Args:
        mesh: The triangles that the rays are cast into.
    """

    def __init__(self, mesh: SceneMesh) -> None:
        names = sorted(mesh.textures)
        pictures = [mesh.textures[name] for name in names]
        self._texels = np.concatenate([picture.reshape(-1, 3) for picture in pictures]).astype(np.float32)
        heights, widths = (np.array([picture.shape[axis] for picture in pictures]) for axis in (0, 1))
        starts = np.cumsum(heights * widths) - heights * widths
        of_batch = [names.index(part.texture) for _, part in mesh.batches]
        faces = [len(part.faces) for _, part in mesh.batches]
        texture = np.repeat(of_batch, faces)
        self._start, self._height, self._width = starts[texture], heights[texture], widths[texture]
        self._uv = np.concatenate([part.uv[part.faces] for _, part in mesh.batches])  # (F, 3, 2)

    def shade(self, hits: Hits) -> NDArray[np.uint8]:
        """Return the colours uint8 (N, 3) of N rays, black where nothing was hit."""
        faces = hits.face
        corners = self._uv[faces]
        weights = np.stack([1 - hits.u - hits.v, hits.u, hits.v], axis=-1)
        uv = np.einsum("nc,nck->nk", weights, corners)
        start, width, height = self._start[faces], self._width[faces], self._height[faces]
        # Texel centres lie at half integers.
        x, y = uv[:, 0] * width - 0.5, uv[:, 1] * height - 0.5
        column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
        right, down = (x - column)[:, None].astype(np.float32), (y - row)[:, None].astype(np.float32)

        def texel(dx: int, dy: int) -> NDArray[np.float32]:
            found: NDArray[np.float32] = self._texels[start + (row + dy) % height * width + (column + dx) % width]
            return found

        above = texel(0, 0) * (1 - right) + texel(1, 0) * right
        below = texel(0, 1) * (1 - right) + texel(1, 1) * right
        colours = above * (1 - down) + below * down
        colours[faces < 0] = 0
        rounded: NDArray[np.uint8] = np.round(colours).astype(np.uint8)
        return rounded
