"""Triangle scenes made of boxes, for the tests of free space: not a test itself."""

from __future__ import annotations

import numpy as np
import trimesh
from numpy.typing import NDArray


def box(low: tuple[float, float, float], high: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return the 12 triangles of an axis-aligned box, seen from outside."""
    return np.array(trimesh.creation.box(bounds=[low, high]).triangles)


def room(width: float, depth: float, *things: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a floor slab at y = 0 from (0, 0) to (width, depth), and things on it."""
    return np.concatenate([box((0, -0.1, 0), (width, 0, depth)), *things])


def hills(heights: NDArray[np.float64], cell: float) -> NDArray[np.float64]:
    """Return a terrain of triangles over a grid of heights (rows along z, columns along x)."""
    rows, columns = heights.shape
    x, z = np.meshgrid(np.arange(columns) * cell, np.arange(rows) * cell)
    grid = np.stack([x, heights, z], axis=-1)
    a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:]
    return np.concatenate([np.stack([a, c, b], axis=2), np.stack([b, c, d], axis=2)]).reshape(-1, 3, 3)


def furnished(seed: int, pieces: int = 25) -> NDArray[np.float64]:
    """Return four rooms of 8 m by 6 m with four doors, tables, cupboards and rugs at random places."""
    rng = np.random.default_rng(seed)
    things = [box((0, 0, -0.1), (8, 2.7, 0)), box((0, 0, 6), (8, 2.7, 6.1))]
    things += [box((-0.1, 0, -0.1), (0, 2.7, 6.1)), box((8, 0, -0.1), (8.1, 2.7, 6.1))]
    for start, end in ((0, 1), (1.9, 4.2), (5.1, 6)):
        things.append(box((3.95, 0, start), (4.05, 2.7, end)))
    for start, end in ((0, 1.5), (2.4, 5.3), (6.2, 8)):
        things.append(box((start, 0, 2.95), (end, 2.7, 3.05)))
    for _ in range(pieces):
        x, z = rng.uniform(0.4, 7.6), rng.uniform(0.4, 5.6)
        width, depth = rng.uniform(0.15, 0.45, 2)
        kind = rng.integers(3)
        if kind == 0:
            things.append(box((x - width, 0.7, z - depth), (x + width, 0.75, z + depth)))
            legs = [(x + i * (width - 0.05), z + j * (depth - 0.05)) for i in (-1, 1) for j in (-1, 1)]
            things += [box((a - 0.02, 0, b - 0.02), (a + 0.02, 0.7, b + 0.02)) for a, b in legs]
        elif kind == 1:
            things.append(box((x - width, 0, z - depth), (x + width, 1.9, z + depth)))
        else:
            things.append(box((x - 2 * width, 0, z - 2 * depth), (x + 2 * width, 0.01, z + 2 * depth)))
    return room(8, 6, *things)
