"""Paintings, drawn: another one for each seed."""

from __future__ import annotations

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from navloop.envs.houses.atlas import Image
from navloop.envs.houses.furniture.fronts import picture, tone
from navloop.envs.houses.furniture.palette import CLOTH, Rgb
from navloop.envs.houses.furniture.sketch import Picture

PAINTINGS = ("landscape", "mountains", "abstract", "circles", "seascape", "botanical", "city")


def painting(kind: str, seed: int, frame: Rgb) -> Picture:
    """Return a framed painting of a kind in `PAINTINGS`, another for each seed."""
    return picture("painting", _draw_painting, kind, seed, frame)


def _draw_painting(kind: str, seed: int, frame: Rgb) -> Image:
    rng = np.random.default_rng(seed)
    size = (84, 60)
    image = Pillow.new("RGB", size, (232, 224, 206))
    _ART[kind](ImageDraw.Draw(image), size, rng)
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, size[0] - 1, size[1] - 1), outline=frame, width=4)
    pen.rectangle((4, 4, size[0] - 5, size[1] - 5), outline=tone(frame, 0.6))
    return np.asarray(image)


def _colours(rng: np.random.Generator, count: int) -> list[Rgb]:
    chosen = rng.choice(len(CLOTH), count, replace=False)
    return [list(CLOTH.values())[int(i)] for i in chosen]


def _hills(
    pen: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator, level: float, rough: float
) -> list[tuple[float, float]]:
    xs = np.linspace(0, size[0], 8)
    line = [(float(x), float(level + rng.normal() * rough)) for x in xs]
    return [*line, (size[0], size[1]), (0, size[1])]


def _landscape(pen: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    pen.rectangle((0, 0, *size), fill=(168, 204, 226) if rng.random() < 0.6 else (240, 196, 140))
    pen.ellipse((56, 10, 68, 22), fill=(250, 236, 170))
    for level, colour in ((30, (120, 150, 120)), (38, (96, 136, 78)), (46, (150, 150, 70))):
        pen.polygon(_hills(pen, size, rng, level, 3), fill=tone(colour, rng.uniform(0.85, 1.15)))
    for x in rng.uniform(8, 76, 3):
        pen.ellipse((x - 5, 34, x + 5, 46), fill=(52, 92, 54))
        pen.rectangle((x - 1, 45, x + 1, 50), fill=(84, 60, 44))


def _mountains(pen: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    pen.rectangle((0, 0, *size), fill=(206, 222, 236))
    for x, top, colour in ((22, 16, (104, 122, 150)), (58, 10, (84, 100, 132)), (40, 24, (64, 80, 110))):
        x += int(rng.integers(-6, 7))
        pen.polygon([(x - 34, 60), (x, top), (x + 34, 60)], fill=colour)
        pen.polygon([(x - 7, top + 10), (x, top), (x + 7, top + 10)], fill=(246, 248, 250))
    pen.rectangle((0, 48, *size), fill=(70, 104, 84))


def _abstract(pen: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    colours = _colours(rng, 5)
    pen.rectangle((0, 0, *size), fill=colours[0])
    for colour in colours[1:] * 2:
        x, y = rng.uniform(0, 64), rng.uniform(0, 44)
        pen.rectangle((x, y, x + rng.uniform(8, 34), y + rng.uniform(6, 26)), fill=colour)


def _circles(pen: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    colours = _colours(rng, 4)
    for colour in colours:
        x, y, r = rng.uniform(14, 70), rng.uniform(12, 48), rng.uniform(8, 20)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
        pen.ellipse((x - r / 2, y - r / 2, x + r / 2, y + r / 2), fill=tone(colour, 1.25))


def _seascape(pen: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    pen.rectangle((0, 0, *size), fill=(240, 208, 160) if rng.random() < 0.5 else (178, 214, 236))
    pen.rectangle((0, 34, *size), fill=(46, 104, 146))
    for y in (40, 46, 52):
        pen.line([(6, y), (78, y)], fill=(112, 164, 190))
    x = rng.uniform(24, 60)
    pen.polygon([(x, 12), (x, 34), (x + 16, 34)], fill=(246, 244, 236))
    pen.polygon([(x - 10, 36), (x + 18, 36), (x + 12, 42), (x - 6, 42)], fill=(140, 56, 44))


def _botanical(pen: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    petal = _colours(rng, 1)[0]
    for x in (24, 42, 60):
        top = rng.uniform(12, 24)
        pen.line([(x, 54), (x, top)], fill=(70, 110, 66), width=2)
        pen.ellipse((x, 34, x + 10, 40), fill=(90, 134, 80))
        for dx, dy in ((-5, 0), (5, 0), (0, -5), (0, 5)):
            pen.ellipse((x + dx - 4, top + dy - 4, x + dx + 4, top + dy + 4), fill=petal)
        pen.ellipse((x - 3, top - 3, x + 3, top + 3), fill=(240, 206, 90))


def _city(pen: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    pen.rectangle((0, 0, *size), fill=(236, 174, 120) if rng.random() < 0.5 else (58, 66, 108))
    for x in range(4, 80, 9):
        top = int(rng.integers(14, 42))
        pen.rectangle((x, top, x + 8, 60), fill=tone((60, 62, 82), rng.uniform(0.6, 1.3)))
        for y in range(top + 4, 56, 6):
            pen.point([(x + 2, y), (x + 5, y), (x + 3, y), (x + 6, y)], fill=(250, 220, 130))


_ART = {
    "landscape": _landscape,
    "mountains": _mountains,
    "abstract": _abstract,
    "circles": _circles,
    "seascape": _seascape,
    "botanical": _botanical,
    "city": _city,
}
