"""What walls, floors and ceilings look like: colour words, generated textures, and the light baked into them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Texture = NDArray[np.uint8]
Rgb = tuple[int, int, int]

PAINTS: dict[str, Rgb] = {
    "white": (238, 236, 230),
    "cream": (240, 229, 204),
    "beige": (224, 208, 182),
    "light grey": (208, 210, 210),
    "sage green": (182, 200, 170),
    "mint green": (196, 226, 206),
    "sky blue": (184, 210, 230),
    "pale yellow": (244, 230, 172),
    "peach": (244, 206, 178),
    "blush pink": (238, 202, 202),
    "lavender": (208, 200, 228),
    "dusty blue": (152, 178, 198),
    "teal": (132, 184, 182),
    "terracotta": (214, 152, 122),
    "olive green": (176, 178, 132),
}
"""Wall paints, light enough that a room stays friendly."""

TILED_WALLS: dict[str, Rgb] = {
    "white": (234, 238, 238),
    "blue": (150, 190, 212),
    "green": (166, 204, 184),
    "grey": (190, 196, 198),
    "pink": (232, 196, 194),
}
"""Colours of the tiles halfway up a bathroom's walls."""

_CALM = ("white", "cream", "beige", "light grey")
_PLANKS: dict[str, Rgb] = {
    "oak": (200, 158, 108),
    "light wood": (222, 192, 148),
    "walnut": (140, 98, 68),
    "dark wood": (108, 76, 58),
    "grey wood": (172, 164, 152),
}
_TILES: dict[str, tuple[Rgb, Rgb]] = {
    "white tiles": ((228, 228, 222), (228, 228, 222)),
    "grey tiles": ((168, 172, 174), (168, 172, 174)),
    "terracotta tiles": ((200, 126, 92), (192, 116, 84)),
    "blue tiles": ((142, 174, 196), (142, 174, 196)),
    "checkered tiles": ((226, 224, 216), (92, 96, 100)),
    "slate tiles": ((104, 112, 118), (98, 106, 112)),
}
_CARPETS: dict[str, Rgb] = {
    "beige carpet": (206, 190, 164),
    "grey carpet": (160, 162, 166),
    "blue carpet": (110, 134, 166),
    "green carpet": (130, 154, 124),
    "brown carpet": (152, 124, 102),
}
FLOORS: tuple[str, ...] = (*_PLANKS, *_TILES, *_CARPETS, "marble")
TILED_HEIGHT = 1.3
WALL_ROWS = 128
WALL_COLUMNS = 64


def draw_colours(labels: Sequence[str], rng: np.random.Generator) -> list[dict[str, str]]:
    """Draw the surfaces of every room of a house, in words, so that they go together and tell rooms apart."""
    wood = _pick(rng, list(_PLANKS))
    other_wood = _pick(rng, [name for name in _PLANKS if name != wood])
    hall_paint = _pick(rng, _CALM)
    paints = [str(name) for name in rng.permutation([name for name in PAINTS if name != hall_paint])]
    tiles = [str(name) for name in rng.permutation(list(_TILES))]
    carpets = [str(name) for name in rng.permutation(list(_CARPETS))]
    bathrooms = [str(name) for name in rng.permutation(list(TILED_WALLS))]
    brick = rng.random() < 0.45
    colours = []
    for label in labels:
        if label == "bathroom":
            colours.append({"wall": f"{bathrooms.pop()} tiles", "floor": tiles.pop()})
            continue
        floor = wood
        if label in ("kitchen", "laundry room") and len(tiles) > 2 and rng.random() < 0.75:
            floor = tiles.pop()
        elif label == "entryway":
            floor = _pick(rng, ("marble", "slate tiles", "terracotta tiles", wood))
        elif label in ("bedroom", "nursery", "playroom", "closet") and carpets and rng.random() < 0.5:
            floor = carpets.pop()
        elif label in ("bedroom", "office") and rng.random() < 0.5:
            floor = other_wood
        colour = {"wall": hall_paint if label in ("hallway", "entryway") else paints.pop(), "floor": floor}
        if label == "living room" and brick:
            colour["accent wall"] = "brick"
        colours.append(colour)
    return colours


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def shaded(rgb: Rgb, brightness: NDArray[np.floating]) -> Texture:
    """Return a colour (3,) under a field of brightness (H, W) around 1, uint8 (H, W, 3)."""
    lit: Texture = np.clip(np.asarray(rgb, float) * brightness[..., None] + 0.5, 0, 255).astype(np.uint8)
    return lit


def _noise(seed: int, shape: tuple[int, int], sigma: tuple[float, float]) -> NDArray[np.float64]:
    """Return noise that wraps around, of unit deviation, smooth over `sigma` pixels."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma, mode="wrap")
    scaled: NDArray[np.float64] = (field - field.mean()) / field.std()
    return scaled


@cache
def floor_texture(name: str) -> tuple[Texture, float]:
    """Return the image of a floor and the metres that it covers before it repeats."""
    if name in _PLANKS:
        return _planks(_PLANKS[name]), 1.28
    if name in _TILES:
        return _tiles(*_TILES[name]), 1.2
    if name in _CARPETS:
        texture = 1 + 0.022 * _noise(3, (128, 128), (1.5, 1.5)) + 0.018 * _noise(4, (128, 128), (9, 9))
        return shaded(_CARPETS[name], texture), 1.6
    if name == "marble":
        return _marble(), 1.6
    raise ValueError(f"floor {name!r} is unknown; take one of {', '.join(FLOORS)}")


def _planks(rgb: Rgb) -> Texture:
    size, width = 256, 32
    rng = np.random.default_rng(11)
    image = np.ones((size, size))
    grain = 0.022 * _noise(5, (size, size), (1.6, 26)) + 0.016 * _noise(6, (size, size), (5, 60))
    for row in range(0, size, width):
        seam = int(rng.integers(size))
        ends = (np.arange(size) - seam) % size
        tone = np.where(ends < size // 2, *rng.uniform(0.93, 1.06, 2))
        # Each plank is cut from another place of the board.
        image[row : row + width] = tone * (1 + np.roll(grain, int(rng.integers(size)), 1)[row : row + width])
        image[row : row + width, (ends < 2) | (abs(ends - size // 2) < 1)] *= 0.86
        image[row : row + 2] *= 0.84
    return shaded(rgb, image)


def _tiles(first: Rgb, second: Rgb) -> Texture:
    size, width = 256, 64
    rng = np.random.default_rng(12)
    image = np.empty((size, size, 3), np.uint8)
    surface = 1 + 0.012 * _noise(7, (size, size), (6, 6))
    for row in range(0, size, width):
        for column in range(0, size, width):
            rgb = first if (row + column) // width % 2 == 0 else second
            field = surface[row : row + width, column : column + width] * rng.uniform(0.97, 1.03)
            image[row : row + width, column : column + width] = shaded(rgb, field)
    joint = np.asarray(first, float) * 0.45 + np.asarray(second, float) * 0.35
    lines = np.arange(size) % width < 2
    image[lines] = joint
    image[:, lines] = joint
    return image


def _marble() -> Texture:
    size = 256
    veins = np.abs(_noise(8, (size, size), (18, 24)) + 0.35 * _noise(9, (size, size), (5, 5)))
    image = 1.0 - 0.16 * np.exp(-veins * 7) + 0.012 * _noise(10, (size, size), (14, 14))
    lines = np.arange(size) % 128 < 2
    image[lines] *= 0.9
    image[:, lines] *= 0.9
    return shaded((230, 226, 218), image)


def _heights() -> NDArray[np.float64]:
    """Metres above the floor of a wall texture's rows."""
    return (WALL_ROWS - 0.5 - np.arange(WALL_ROWS)) / WALL_ROWS * 2.6


def _vertical_light(heights: NDArray[np.floating]) -> NDArray[np.float64]:
    """Light along a wall's height: dimmer where it meets floor and ceiling."""
    light: NDArray[np.float64] = 1.0 - 0.10 * np.exp(-heights / 0.22) - 0.07 * np.exp(-(2.6 - heights) / 0.25)
    return light


def paint_texture(rgb: Rgb, length: float, light: float, ends: tuple[float, float]) -> Texture:
    """Return one painted wall as a whole, uint8 (128, 64, 3), with its baseboard.

    Args:
        rgb: The paint.
        length: Metres from corner to corner.
        light: Brightness of the wall, around 1.
        ends: What windows nearby add to the brightness at its left and right end.
    """
    along = (np.arange(WALL_COLUMNS) + 0.5) / WALL_COLUMNS * length
    corners = 1.0 - 0.12 * (np.exp(-along / 0.3) + np.exp(-(length - along) / 0.3))
    window = ends[0] * np.exp(-along / 1.6) + ends[1] * np.exp(-(length - along) / 1.6)
    heights = _heights()
    across = light * corners + window
    image = shaded(rgb, _vertical_light(heights)[:, None] * across[None])
    board = heights < 0.08  # Four rows: two mipmap levels keep its edge.
    image[board] = shaded((240, 238, 233), np.full((int(board.sum()), 1), 0.97) * across[None])
    image[np.flatnonzero(board)[0]] = shaded((222, 219, 213), across[None])
    return image


@cache
def tiled_wall_texture(colour: str, light: float) -> tuple[Texture, float]:
    """Return a wall tiled up to 1.3 m and white above, as high as the wall, and the metres it covers sideways."""
    heights = _heights()
    columns = np.arange(64)
    upper = shaded(PAINTS["white"], np.ones((WALL_ROWS, 64)))
    tones = np.random.default_rng(13).uniform(0.97, 1.03, (14, 4))
    rows = np.minimum((heights / 0.163).astype(int), 13)
    tiles = shaded(TILED_WALLS[colour], tones[rows][:, columns // 16])
    joints = np.zeros((WALL_ROWS, 64), bool)
    joints[:, columns % 16 == 0] = True
    joints[np.flatnonzero(np.diff(rows))] = True
    tiles[joints] = np.asarray(TILED_WALLS[colour]) * 0.86
    image = np.where((heights < TILED_HEIGHT)[:, None, None], tiles, upper)
    lit = image * (_vertical_light(heights) * light)[:, None, None]
    return np.clip(lit + 0.5, 0, 255).astype(np.uint8), 0.64


@cache
def brick_texture(light: float) -> tuple[Texture, float]:
    """Return a brick wall as high as the wall, and the metres it covers sideways."""
    rows, columns, scale = 256, 128, 256 / 2.6
    rng = np.random.default_rng(14)
    course, brick = rows // 32, columns // 4
    tones = rng.uniform(0.86, 1.1, (32, 4))
    y, x = np.indices((rows, columns))
    index = y // course
    shifted = (x + index % 2 * (brick // 2)) % columns
    image = shaded((178, 98, 76), tones[index, shifted // brick])
    image[(y % course == 0) | (shifted % brick == 0)] = (196, 180, 166)
    heights = (rows - 0.5 - np.arange(rows)) / scale
    lit = image * (_vertical_light(heights) * light)[:, None, None]
    return np.clip(lit + 0.5, 0, 255).astype(np.uint8), columns / scale


@cache
def ceiling_texture() -> Texture:
    """Return a whole ceiling, uint8 (64, 64, 3), dimmer along its walls."""
    distance = np.minimum(np.arange(64) + 0.5, 64 - 0.5 - np.arange(64)) / 64
    edge = 0.07 * np.exp(-distance / 0.06)
    return shaded((244, 243, 239), 0.97 - edge[:, None] - edge[None])


SWATCHES: dict[str, int] = {"casing": 0, "jamb": 1, "soffit": 2, "sill": 3}


@cache
def swatch_texture(rgb: Rgb) -> Texture:
    """Return the plain faces of a trim, one column of 8 pixels for each of `SWATCHES`."""
    return shaded(rgb, np.tile(np.repeat([1.0, 0.88, 0.76, 1.04], 8), (8, 1)))
