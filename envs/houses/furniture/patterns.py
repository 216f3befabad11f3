"""Surface patterns as brightness around 1, float32 (H, W): wood grain, weave, leather. Colour and shade are multiplied in."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from navloop.envs.houses.atlas import Image
from navloop.envs.houses.furniture.palette import Finish

Brightness = NDArray[np.float32]

# No light is computed when a frame is drawn, so the shade of a face is in its patch: upper faces, fronts, sides, undersides.
SHADES = (1.0, 0.9, 0.79, 0.66)
METRES = {"wood": 1.2, "fabric": 0.5, "leather": 0.8, "metal": 1.0, "wicker": 0.4, "marble": 1.5, "plain": 1.0}


def _smooth_noise(seed: int, size: tuple[int, int], cells: tuple[int, int]) -> Brightness:
    """Return noise of standard deviation near 1 that varies over `cells` lattice cells, linear in between."""
    lattice = np.random.default_rng(seed).normal(size=(cells[0] + 1, cells[1] + 1))
    rows, columns = np.linspace(0, cells[0], size[0]), np.linspace(0, cells[1], size[1])
    along = np.array([np.interp(columns, range(cells[1] + 1), row) for row in lattice])
    return np.array([np.interp(rows, range(cells[0] + 1), column) for column in along.T]).T.astype(np.float32)


def _plain() -> Brightness:
    return np.ones((8, 8), np.float32)


def _wood() -> Brightness:
    size = (56, 56)
    wander = _smooth_noise(1, size, (3, 2))
    rows = np.linspace(0, 1, size[0])[:, None]
    rings = np.sin(2 * np.pi * (5 * rows + 0.45 * wander))
    fibres = _smooth_noise(2, size, (40, 3))
    return (1 + 0.055 * rings + 0.045 * fibres).astype(np.float32)


def _fabric() -> Brightness:
    size = (24, 24)
    rows, columns = np.indices(size)
    weave = ((rows // 2 + columns // 2) % 2) * 2 - 1
    return (1 + 0.028 * weave + 0.018 * _smooth_noise(3, size, (8, 8))).astype(np.float32)


def _leather() -> Brightness:
    size = (24, 24)
    return (1 + 0.06 * _smooth_noise(4, size, (3, 3)) + 0.03 * _smooth_noise(5, size, (12, 12))).astype(np.float32)


def _metal() -> Brightness:
    size = (24, 24)
    sheen = np.cos(np.linspace(-1.3, 2.2, size[1]))[None]
    return (0.97 + 0.06 * sheen + 0.012 * _smooth_noise(6, size, (23, 2))).astype(np.float32)


def _wicker() -> Brightness:
    rows, columns = np.indices((24, 24))
    over = ((rows // 3 + columns // 6) % 2).astype(np.float32)
    strand = np.abs(rows % 3 - 1)
    return (1.13 - 0.16 * over - 0.1 * strand).astype(np.float32)


def _marble() -> Brightness:
    size = (56, 56)
    rows, columns = np.indices(size) / 56
    veins = np.abs(np.sin(2 * np.pi * (rows + 1.4 * columns) + 1.6 * _smooth_noise(7, size, (4, 4))))
    stone: Brightness = (1 - 0.16 * np.exp(-14 * veins) + 0.02 * _smooth_noise(8, size, (10, 10))).astype(np.float32)
    return stone


PATTERNS: dict[str, Callable[[], Brightness]] = {
    "plain": _plain,
    "wood": _wood,
    "fabric": _fabric,
    "leather": _leather,
    "metal": _metal,
    "wicker": _wicker,
    "marble": _marble,
}


@cache
def pattern(name: str) -> Brightness:
    """Return the pattern of a name; do not write into it."""
    return PATTERNS[name]()


def surface(finish: Finish, shade: float) -> Image:
    """Return the finish as an image, darkened by a shade in (0, 1]; shadows lean to blue as they do by daylight."""
    tint = np.array([shade, shade**0.96, shade**0.9]) * finish.rgb
    return np.clip(pattern(finish.pattern)[..., None] * tint, 0, 255).astype(np.uint8)


def sheet(finish: Finish, size: tuple[int, int]) -> Image:
    """Return the unshaded finish repeated over an image of (width, height)."""
    tile = surface(finish, 1.0)
    repeats = (-(-size[1] // tile.shape[0]), -(-size[0] // tile.shape[1]), 1)
    return np.tile(tile, repeats)[: size[1], : size[0]]
