"""Drawn cloth and small things: cushions, bedding, rugs, curtains, towels; mirrors, clocks, leaves."""

from __future__ import annotations

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from navloop.envs.houses.atlas import Image
from navloop.envs.houses.furniture.fronts import picture, tone
from navloop.envs.houses.furniture.palette import Finish, Rgb
from navloop.envs.houses.furniture.patterns import sheet
from navloop.envs.houses.furniture.sketch import Picture

RUGS = ("plain", "striped", "diamond", "medallion", "checked")


def cushion(finish: Finish, seams: tuple[int, int] = (1, 1)) -> Picture:
    """Return upholstery that darkens towards its seams, (columns, rows) of cushions."""
    return picture("cushion", _draw_cushion, finish, seams)


def _draw_cushion(finish: Finish, seams: tuple[int, int]) -> Image:
    width, height = 24 * min(seams[0], 3) + 8, 24 * min(seams[1], 2) + 8
    x = np.abs((np.arange(width) + 0.5) / width * seams[0] % 1 - 0.5) * 2
    y = np.abs((np.arange(height) + 0.5) / height * seams[1] % 1 - 0.5) * 2
    rim = np.maximum(x[None] ** 8, y[:, None] ** 8)
    light = 1.05 - 0.08 * (x[None] ** 2 + y[:, None] ** 2) - 0.3 * rim
    image: Image = np.clip(sheet(finish, (width, height)) * light[..., None], 0, 255).astype(np.uint8)
    return image


def tufted(finish: Finish) -> Picture:
    """Return upholstery with buttons."""
    return picture("tufted", _draw_tufted, finish)


def _draw_tufted(finish: Finish) -> Image:
    rows, columns = np.indices((40, 56)) / 10.0
    quilt = np.abs(np.sin(np.pi * (rows + columns) / 1.4)) * np.abs(np.sin(np.pi * (rows - columns) / 1.4))
    light = 0.72 + 0.36 * quilt**0.4
    image: Image = np.clip(sheet(finish, (56, 40)) * light[..., None], 0, 255).astype(np.uint8)
    return image


def bedding(finish: Finish, kind: str) -> Picture:
    """Return a duvet seen from above, "plain", "striped" or "dotted", its fold in white at the upper edge."""
    return picture("bedding", _draw_bedding, finish, kind)


def _draw_bedding(finish: Finish, kind: str) -> Image:
    size = (64, 72)
    rows, columns = np.indices(size[::-1])
    folds = 1 + 0.05 * np.sin(columns / 7 + rows / 13) + 0.03 * np.sin(columns / 3.1 - rows / 9)
    image = Pillow.fromarray(np.clip(sheet(finish, size) * folds[..., None], 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    light = tone(finish.rgb, 1.3) if sum(finish.rgb) < 480 else tone(finish.rgb, 0.8)
    if kind == "striped":
        for y in range(20, 72, 10):
            pen.rectangle((0, y, 64, y + 3), fill=light)
    if kind == "dotted":
        for y in range(20, 72, 9):
            for x in range(4 + y % 2 * 5, 64, 10):
                pen.ellipse((x, y, x + 3, y + 3), fill=light)
    pen.rectangle((0, 0, 64, 12), fill=(240, 238, 232))
    pen.line([(0, 13), (64, 13)], fill=tone(finish.rgb, 0.65))
    return np.asarray(image)


def pillow(rgb: Rgb) -> Picture:
    """Return a pillow."""
    return cushion(Finish("fabric", "", rgb, "fabric"))


def rug(finish: Finish, accent: Rgb, kind: str) -> Picture:
    """Return a rug of a kind in `RUGS`."""
    return picture("rug", _draw_rug, finish, accent, kind)


def _draw_rug(finish: Finish, accent: Rgb, kind: str) -> Image:
    size = (96, 64)
    image = Pillow.fromarray(sheet(finish, size))
    pen = ImageDraw.Draw(image)
    dark = tone(finish.rgb, 0.7)
    if kind == "striped":
        for x in range(0, 96, 16):
            pen.rectangle((x, 0, x + 6, 64), fill=accent)
            pen.rectangle((x + 9, 0, x + 10, 64), fill=dark)
    elif kind == "checked":
        for i in range(6):
            for j in range(4):
                if (i + j) % 2:
                    pen.rectangle((i * 16, j * 16, i * 16 + 15, j * 16 + 15), fill=accent)
    elif kind == "diamond":
        for x in range(0, 97, 24):
            for y in range(0, 65, 21):
                pen.polygon([(x, y - 9), (x + 11, y), (x, y + 9), (x - 11, y)], outline=accent, width=2)
    elif kind == "medallion":
        pen.rectangle((5, 5, 90, 58), outline=accent, width=3)
        pen.rectangle((11, 11, 84, 52), outline=dark)
        pen.ellipse((28, 14, 68, 50), outline=accent, width=3)
        pen.polygon([(48, 18), (62, 32), (48, 46), (34, 32)], fill=accent)
        pen.ellipse((43, 27, 53, 37), fill=finish.rgb)
    if kind != "striped":
        pen.rectangle((0, 0, 95, 63), outline=accent if kind == "plain" else dark, width=3)
    return np.asarray(image)


def curtain(finish: Finish) -> Picture:
    """Return hanging cloth in folds."""
    return picture("curtain", _draw_curtain, finish)


def _draw_curtain(finish: Finish) -> Image:
    columns = np.arange(48)
    folds = 0.9 + 0.14 * np.sin(columns * 2 * np.pi / 8) + 0.04 * np.sin(columns * 2 * np.pi / 5.3)
    image = np.clip(sheet(finish, (48, 56)) * folds[None, :, None], 0, 255)
    image[:3] *= 0.8
    drawn: Image = image.astype(np.uint8)
    return drawn


def towel(finish: Finish) -> Picture:
    """Return a towel with bands near its lower edge."""
    return picture("towel", _draw_towel, finish)


def _draw_towel(finish: Finish) -> Image:
    image = Pillow.fromarray(sheet(finish, (32, 40)))
    pen = ImageDraw.Draw(image)
    band = tone(finish.rgb, 0.7) if sum(finish.rgb) > 300 else tone(finish.rgb, 1.6)
    pen.rectangle((0, 29, 32, 31), fill=band)
    pen.rectangle((0, 34, 32, 35), fill=band)
    pen.line([(16, 0), (16, 40)], fill=tone(finish.rgb, 0.82))
    return np.asarray(image)


def mirror(frame: Rgb, round_glass: bool = False) -> Picture:
    """Return a mirror: sky-grey glass with slanted glints in a frame."""
    return picture("mirror", _draw_mirror, frame, round_glass)


def _draw_mirror(frame: Rgb, round_glass: bool) -> Image:
    rows, columns = np.indices((64, 48))
    glass = np.array((178, 200, 212)) * (1.08 - 0.0035 * rows)[..., None]
    glint = ((rows + columns) % 66 < 9) | (((rows + columns) % 66 > 13) & ((rows + columns) % 66 < 16))
    glass[glint] = glass[glint] * 0.6 + 100
    image = Pillow.fromarray(np.clip(glass, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    if not round_glass:
        pen.rectangle((0, 0, 47, 63), outline=frame, width=4)
        pen.rectangle((4, 4, 43, 59), outline=tone(frame, 0.6))
    return np.asarray(image)


def clock(frame: Rgb, face: Rgb) -> Picture:
    """Return a clock face that says ten past ten."""
    return picture("clock", _draw_clock, frame, face)


def _draw_clock(frame: Rgb, face: Rgb) -> Image:
    image = Pillow.new("RGB", (48, 48), frame)
    pen = ImageDraw.Draw(image)
    pen.ellipse((3, 3, 44, 44), fill=face)
    ink = (30, 30, 34) if sum(face) > 380 else (240, 240, 236)
    for angle in np.arange(12) * np.pi / 6:
        x, y = np.sin(angle), -np.cos(angle)
        pen.line([(23.5 + 15 * x, 23.5 + 15 * y), (23.5 + 18 * x, 23.5 + 18 * y)], fill=ink, width=2)
    pen.line([(24, 24), (15, 19)], fill=ink, width=3)
    pen.line([(24, 24), (38, 16)], fill=ink, width=2)
    return np.asarray(image)


def leaves(shade: int) -> Picture:
    """Return foliage, one of a few greens."""
    return picture("leaves", _draw_leaves, shade)


def _draw_leaves(shade: int) -> Image:
    rng = np.random.default_rng(shade)
    base: Rgb = ((58, 112, 58), (84, 130, 62), (46, 98, 78))[shade % 3]
    image = Pillow.new("RGB", (40, 40), tone(base, 0.7))
    pen = ImageDraw.Draw(image)
    for _ in range(44):
        x, y, tilt = rng.uniform(-3, 43), rng.uniform(-3, 43), rng.uniform(-3, 3)
        colour = tone(base, rng.uniform(0.75, 1.45))
        pen.polygon([(x - 2.5, y), (x + tilt, y - 7), (x + 2.5, y), (x - tilt / 2, y + 4)], fill=colour)
    return np.asarray(image)


def lampshade(rgb: Rgb) -> Picture:
    """Return a lit shade, brighter towards the lower edge."""
    return picture("lampshade", _draw_lampshade, rgb)


def _draw_lampshade(rgb: Rgb) -> Image:
    rows = np.linspace(0, 1, 24)[:, None, None]
    glow = np.array(rgb) * (0.86 + 0.2 * rows) + np.array((40, 30, 5)) * rows
    image: Image = np.clip(np.broadcast_to(glow, (24, 16, 3)), 0, 255).astype(np.uint8)
    return image


def bars(rail: Rgb, gap: Rgb, count: int) -> Picture:
    """Return upright bars with what lies between them: cribs, rails, chair backs."""
    return picture("bars", _draw_bars, rail, gap, count)


def _draw_bars(rail: Rgb, gap: Rgb, count: int) -> Image:
    image = Pillow.new("RGB", (8 * count + 3, 48), gap)
    pen = ImageDraw.Draw(image)
    for i in range(count + 1):
        pen.rectangle((8 * i, 0, 8 * i + 2, 47), fill=rail)
        pen.line([(8 * i + 3, 0), (8 * i + 3, 47)], fill=tone(gap, 0.75))
    pen.rectangle((0, 0, 8 * count + 3, 4), fill=rail)
    pen.rectangle((0, 43, 8 * count + 3, 47), fill=rail)
    return np.asarray(image)


def basin(worktop: Rgb, bowl: Rgb, double: bool = False) -> Picture:
    """Return a basin set into a top, seen from above, its tap at the upper edge."""
    return picture("basin", _draw_basin, worktop, bowl, double)


def _draw_basin(worktop: Rgb, bowl: Rgb, double: bool) -> Image:
    image = Pillow.new("RGB", (72, 48), worktop)
    pen = ImageDraw.Draw(image)
    for x0, x1 in ((8, 34), (38, 64)) if double else ((12, 60),):
        pen.rounded_rectangle((x0, 9, x1, 42), 7, fill=tone(bowl, 0.66), outline=tone(bowl, 0.5))
        pen.rounded_rectangle((x0 + 3, 14, x1 - 3, 40), 6, fill=tone(bowl, 0.84))
        pen.ellipse(((x0 + x1) / 2 - 2, 25, (x0 + x1) / 2 + 2, 29), fill=(60, 62, 66))
    return np.asarray(image)


def toys(finish: Finish) -> Picture:
    """Return the painted front of a toy chest: stars and dots."""
    return picture("toys", _draw_toys, finish)


def _draw_toys(finish: Finish) -> Image:
    image = Pillow.fromarray(sheet(finish, (72, 40)))
    pen = ImageDraw.Draw(image)
    for i, colour in enumerate(((226, 84, 70), (244, 200, 76), (80, 150, 210), (110, 180, 110))):
        x, y = 12 + i * 16, 20 + (i % 2) * 6 - 3
        turns = np.arange(10) * np.pi / 5
        radius = np.where(np.arange(10) % 2, 3.0, 7.0)
        star = [(float(x + r * np.sin(a)), float(y - r * np.cos(a))) for r, a in zip(radius, turns, strict=True)]
        pen.polygon(star, fill=colour)
    pen.rectangle((0, 0, 71, 39), outline=tone(finish.rgb, 0.7), width=2)
    return np.asarray(image)
