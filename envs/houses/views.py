"""Pictures on the flat parts of a shell: door leaves, and what one sees through a window, with the window's frame."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from navloop.envs.houses.surfaces import Rgb, Texture

_SIZE = 256  # Drawn at twice the size that is kept: edges come out smooth.
DOOR_PAINTS: dict[str, Rgb] = {
    "white": (232, 230, 224),
    "oak": (190, 146, 96),
    "walnut": (134, 94, 64),
    "grey": (170, 174, 178),
}
FRONT_DOOR_PAINTS: dict[str, Rgb] = {
    "red": (172, 48, 44),
    "navy blue": (46, 66, 108),
    "dark green": (48, 92, 70),
    "yellow": (226, 184, 72),
    "brown": (122, 80, 54),
    "turquoise": (72, 156, 156),
}


def _scaled(rgb: Rgb, factor: float) -> Rgb:
    red, green, blue = (min(255, round(value * factor)) for value in rgb)
    return red, green, blue


@cache
def door_texture(rgb: Rgb, glazed: bool = False) -> Texture:
    """Return a panelled door with its handle at the right, uint8 (128, 64, 3); a glazed one has a pane at eye height."""
    image = Image.new("RGB", (128, 256), rgb)
    draw = ImageDraw.Draw(image)
    panels = [(18, 20, 110, 92), (18, 114, 58, 236), (70, 114, 110, 236)]
    for index, (left, top, right, bottom) in enumerate(panels):
        draw.rectangle((left, top, right, bottom), fill=_scaled(rgb, 0.8))
        draw.rectangle((left + 4, top + 4, right, bottom), fill=_scaled(rgb, 1.1))
        draw.rectangle((left + 5, top + 5, right - 4, bottom - 4), fill=_scaled(rgb, 0.95))
        if glazed and index == 0:
            draw.rectangle((left + 5, top + 5, right - 4, bottom - 4), fill=(196, 220, 232))
            draw.line((64, top, 64, bottom), fill=rgb, width=5)
    draw.rectangle((112, 128, 122, 154), fill=(190, 180, 150))
    draw.rectangle((96, 138, 120, 144), fill=(214, 204, 172))
    return np.asarray(image.resize((64, 128), Image.Resampling.BOX))


@cache
def window_texture(view: str, panes: int, seed: int) -> Texture:
    """Return a window as seen from inside, uint8 (128, 128, 3): frame, mullions and the view.

    Args:
        view: "garden", "hills", "street" or "trees".
        panes: Panes side by side, 1 to 3.
        seed: Varies the view.
    """
    rng = np.random.default_rng(seed)
    image = _sky(rng)
    draw = ImageDraw.Draw(image)
    {"garden": _garden, "hills": _hills, "street": _street, "trees": _trees}[view](draw, rng)
    frame = (244, 243, 238)
    shadow = (222, 222, 218)
    for i in range(panes + 1):
        centre = 8 + (_SIZE - 16) * i / panes
        draw.rectangle((centre - 9, 0, centre + 7, _SIZE), fill=frame)
        draw.rectangle((centre + 6, 0, centre + 8, _SIZE), fill=shadow)
    draw.rectangle((0, 0, _SIZE, 14), fill=frame)
    draw.rectangle((0, _SIZE - 18, _SIZE, _SIZE), fill=frame)
    draw.rectangle((0, 15, _SIZE, 17), fill=shadow)
    return np.asarray(image.resize((128, 128), Image.Resampling.BOX))


def _sky(rng: np.random.Generator) -> Image.Image:
    top, bottom = np.array([136, 188, 232.0]), np.array([222, 238, 246.0])
    rows = np.linspace(0, 1, _SIZE)[:, None, None] ** 0.8
    field = np.broadcast_to(top + (bottom - top) * rows, (_SIZE, _SIZE, 3))
    image = Image.fromarray(field.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(2, 5))):
        x, y = rng.uniform(0, _SIZE), rng.uniform(25, 95)
        for _ in range(5):
            dx, dy, size = rng.uniform(-30, 30), rng.uniform(-6, 6), rng.uniform(10, 22)
            draw.ellipse((x + dx - size, y + dy - size / 2, x + dx + size, y + dy + size / 2), fill=(246, 249, 251))
    return image


def _crown(draw: ImageDraw.ImageDraw, rng: np.random.Generator, x: float, y: float, size: float) -> None:
    green = rng.uniform(0.8, 1.1)
    for shade, shrink in ((0.78, 1.0), (1.0, 0.78)):
        for _ in range(7):
            dx, dy = rng.uniform(-0.55, 0.55, 2) * size
            r = size * shrink * rng.uniform(0.4, 0.6)
            lift = (1 - shrink) * size
            fill = _scaled((86, 138, 74), shade * green)
            draw.ellipse((x + dx - r, y + dy - r - lift, x + dx + r, y + dy + r - lift), fill=fill)


def _tree(draw: ImageDraw.ImageDraw, rng: np.random.Generator, x: float, ground: float, size: float) -> None:
    draw.rectangle((x - size / 10, ground - size * 1.2, x + size / 10, ground), fill=(112, 84, 62))
    _crown(draw, rng, x, ground - size * 1.6, size)


def _garden(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    draw.rectangle((0, 168, _SIZE, _SIZE), fill=(134, 176, 92))
    draw.rectangle((0, 146, _SIZE, 172), fill=(92, 138, 78))
    for middle in range(0, _SIZE + 20, 20):
        _crown(draw, rng, middle, 150, 14)
    _tree(draw, rng, rng.uniform(50, 200), 190, rng.uniform(38, 52))
    flowers = [(224, 90, 96), (242, 204, 84), (236, 236, 240), (190, 120, 200)]
    for _ in range(40):
        x, y = rng.uniform(0, _SIZE), rng.uniform(180, 238)
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=flowers[int(rng.integers(4))])


def _hills(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    for base, fill in ((135, (150, 182, 176)), (158, (128, 168, 116)), (190, (146, 186, 100))):
        phase, waves = rng.uniform(0, 6), rng.uniform(1.0, 2.0)
        crest = [(x, base - 16 * np.sin(x / _SIZE * 6.28 * waves + phase)) for x in range(0, _SIZE + 8, 8)]
        draw.polygon([(0, _SIZE), *crest, (_SIZE + 8, _SIZE)], fill=fill)
    for _ in range(4):
        _tree(draw, rng, rng.uniform(10, 245), rng.uniform(195, 225), rng.uniform(12, 22))


def _street(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    walls = [(222, 196, 160), (206, 132, 108), (232, 224, 206), (178, 194, 206), (196, 168, 140)]
    x = -rng.uniform(0, 40)
    while x < _SIZE:
        width, top = rng.uniform(70, 100), rng.uniform(70, 105)
        draw.rectangle((x, top, x + width, 200), fill=walls[int(rng.integers(5))])
        draw.polygon([(x - 4, top), (x + width / 2, top - 32), (x + width + 4, top)], fill=(142, 84, 70))
        for i in range(2):
            for y in (top + 16, top + 56):
                left = x + width * (0.18 + 0.42 * i)
                draw.rectangle((left, y, left + width * 0.22, y + 22), fill=(116, 142, 164))
        x += width + rng.uniform(0, 14)
    draw.rectangle((0, 198, _SIZE, 212), fill=(196, 194, 188))
    draw.rectangle((0, 212, _SIZE, _SIZE), fill=(128, 130, 134))


def _trees(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    draw.rectangle((0, 190, _SIZE, _SIZE), fill=(126, 164, 88))
    for middle in np.linspace(10, 246, 6):
        _tree(draw, rng, middle + rng.uniform(-12, 12), rng.uniform(192, 206), rng.uniform(28, 44))
