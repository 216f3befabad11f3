"""Drawn fronts of furniture: drawers, doors, screens, appliances, books."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from navloop.envs.houses.atlas import Image
from navloop.envs.houses.furniture.palette import Finish, Rgb
from navloop.envs.houses.furniture.patterns import sheet
from navloop.envs.houses.furniture.sketch import Picture

Box = tuple[float, float, float, float]
DARK: Rgb = (38, 38, 42)
STEEL: Rgb = (176, 180, 186)


def tone(rgb: Rgb, factor: float) -> Rgb:
    """Return a darker (factor < 1) or lighter colour."""
    red, green, blue = (max(0, min(255, int(value * factor))) for value in rgb)
    return red, green, blue


def picture(name: str, draw: Callable[..., Image], *arguments: object) -> Picture:
    """Return the picture that a function draws from hashable arguments."""
    return Picture((name, *arguments), partial(draw, *arguments))


def _panel(pen: ImageDraw.ImageDraw, box: Box, colour: Rgb) -> None:
    """Draw the rim of a door or drawer: lit above and left, dark below and right."""
    x0, y0, x1, y1 = box
    pen.rectangle(box, outline=tone(colour, 0.55))
    pen.line([(x0 + 1, y1 - 1), (x0 + 1, y0 + 1), (x1 - 1, y0 + 1)], fill=tone(colour, 1.15))


def cabinet(finish: Finish, handle: Rgb, rows: tuple[int, ...], size: tuple[int, int]) -> Picture:
    """Return a front of drawers and doors.

    Args:
        finish: Of the front.
        handle: Colour of knobs and grips.
        rows: From the top, how many fronts lie side by side; a negative number means doors, twice as high as drawers.
        size: Pixels (width, height).
    """
    return picture("cabinet", _draw_cabinet, finish, handle, rows, size)


def _draw_cabinet(finish: Finish, handle: Rgb, rows: tuple[int, ...], size: tuple[int, int]) -> Image:
    image = Pillow.fromarray(sheet(finish, size))
    pen = ImageDraw.Draw(image)
    weights = np.array([2.4 if row < 0 else 1.0 for row in rows])
    edges = np.concatenate([[0], np.cumsum(weights / weights.sum())]) * (size[1] - 1)
    for row, y0, y1 in zip(rows, edges, edges[1:], strict=False):
        columns = abs(row)
        for column in range(columns):
            x0, x1 = column * (size[0] - 1) / columns, (column + 1) * (size[0] - 1) / columns
            box = (round(x0) + 1, round(y0) + 1, round(x1) - 1, round(y1) - 1)
            _panel(pen, box, finish.rgb)
            if row > 0:
                middle, half = (x0 + x1) / 2, min(7.0, (x1 - x0) / 4)
                y = (y0 * 0.6 + y1 * 0.4) if y1 - y0 > 12 else (y0 + y1) / 2
                pen.rectangle((middle - half, y - 1, middle + half, y + 1), fill=handle)
                pen.line([(middle - half, y + 2), (middle + half, y + 2)], fill=tone(finish.rgb, 0.6))
            else:
                x = x1 - 5 if column % 2 == 0 and columns > 1 else x0 + 5
                middle, half = (y0 + y1) / 2, min(7.0, (y1 - y0) / 5)
                inset = (box[0] + 7, box[1] + 5, box[2] - 7, box[3] - 5)
                if inset[2] - inset[0] > 6:
                    pen.rectangle(inset, outline=tone(finish.rgb, 0.82))
                pen.rectangle((x - 1, middle - half, x + 1, middle + half), fill=handle)
    return np.asarray(image)


def books(finish: Finish, shelves: int, seed: int, size: tuple[int, int], full: float = 0.9) -> Picture:
    """Return the open front of a bookcase: shelves with rows of books and a few ornaments."""
    return picture("books", _draw_books, finish, shelves, seed, size, full)


def _draw_books(finish: Finish, shelves: int, seed: int, size: tuple[int, int], full: float) -> Image:
    rng = np.random.default_rng(seed)
    image = Pillow.fromarray((sheet(finish, size) * 0.5).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    spines = [
        (150, 46, 44),
        (44, 72, 116),
        (204, 166, 70),
        (58, 104, 76),
        (220, 208, 182),
        (96, 60, 96),
        (196, 106, 60),
    ]
    pitch = size[1] / shelves
    for shelf in range(shelves):
        floor, room = round((shelf + 1) * pitch) - 3, pitch - 5
        x = 3
        while x < size[0] - 6:
            if rng.random() > full:
                x += int(rng.integers(4, 12))
                continue
            wide, tall = int(rng.integers(2, 5)), room * rng.uniform(0.62, 0.96)
            colour = tone(spines[rng.integers(len(spines))], rng.uniform(0.8, 1.15))
            pen.rectangle((x, floor - tall, x + wide - 1, floor), fill=colour)
            pen.line([(x, floor - tall), (x, floor)], fill=tone(colour, 0.65))
            x += wide
        pen.rectangle((0, floor + 1, size[0], floor + 3), fill=finish.rgb)
    pen.rectangle((0, 0, size[0] - 1, size[1] - 1), outline=finish.rgb, width=2)
    return np.asarray(image)


def fridge(finish: Finish, double: bool) -> Picture:
    """Return a fridge front: freezer below or two tall doors."""
    return picture("fridge", _draw_fridge, finish, double)


def _draw_fridge(finish: Finish, double: bool) -> Image:
    size = (56, 120)
    image = Pillow.fromarray(sheet(finish, size))
    pen = ImageDraw.Draw(image)
    grip = tone(finish.rgb, 0.5 if finish.colour != "black" else 2.6)
    split = 76 if not double else 88
    for box in ((0, 0, 55, split), (0, split + 1, 55, 119)):
        _panel(pen, box, finish.rgb)
    if double:
        pen.rectangle((27, 0, 28, split), fill=tone(finish.rgb, 0.45))
        pen.rectangle((22, 26, 24, 66), fill=grip)
        pen.rectangle((31, 26, 33, 66), fill=grip)
        pen.rectangle((8, 30, 17, 46), fill=DARK)
        pen.rectangle((12, 95, 43, 97), fill=grip)
    else:
        pen.rectangle((6, 34, 9, 70), fill=grip)
        pen.rectangle((6, 82, 9, 104), fill=grip)
        pen.rectangle((24, 10, 34, 12), fill=tone(finish.rgb, 0.7))
    return np.asarray(image)


def oven(finish: Finish) -> Picture:
    """Return an oven front: knobs, grip, window."""
    return picture("oven", _draw_oven, finish)


def _draw_oven(finish: Finish) -> Image:
    image = Pillow.fromarray(sheet(finish, (56, 72)))
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, 55, 13), fill=tone(finish.rgb, 0.8))
    for x in (7, 15, 41, 49):
        pen.ellipse((x - 3, 4, x + 3, 10), fill=DARK, outline=STEEL)
    pen.rectangle((22, 4, 34, 10), fill=(28, 44, 40))
    pen.rectangle((25, 6, 31, 8), fill=(110, 220, 150))
    pen.rectangle((6, 17, 50, 19), fill=tone(finish.rgb, 0.5))
    pen.rectangle((8, 24, 47, 52), fill=(30, 28, 30), outline=tone(finish.rgb, 0.6))
    pen.polygon([(14, 51), (28, 25), (36, 25), (22, 51)], fill=(58, 54, 54))
    pen.line([(0, 58), (55, 58)], fill=tone(finish.rgb, 0.55))
    pen.rectangle((20, 64, 36, 65), fill=tone(finish.rgb, 0.5))
    return np.asarray(image)


def hob() -> Picture:
    """Return a black cooking top with four rings."""
    return picture("hob", _draw_hob)


def _draw_hob() -> Image:
    image = Pillow.new("RGB", (56, 56), (44, 44, 48))
    pen = ImageDraw.Draw(image)
    for x, y, r in ((15, 15, 9), (41, 15, 7), (15, 41, 7), (41, 41, 9)):
        pen.ellipse((x - r, y - r, x + r, y + r), outline=(190, 96, 70), width=2)
        pen.ellipse((x - r + 4, y - r + 4, x + r - 4, y + r - 4), outline=(110, 100, 98))
    pen.rectangle((0, 0, 55, 55), outline=STEEL)
    return np.asarray(image)


def drum(finish: Finish, dryer: bool) -> Picture:
    """Return the front of a washing machine or dryer: a round door under a panel."""
    return picture("drum", _draw_drum, finish, dryer)


def _draw_drum(finish: Finish, dryer: bool) -> Image:
    image = Pillow.fromarray(sheet(finish, (72, 96)))
    pen = ImageDraw.Draw(image)
    _panel(pen, (0, 0, 71, 95), finish.rgb)
    pen.line([(0, 19), (71, 19)], fill=tone(finish.rgb, 0.6))
    pen.rectangle((5, 5, 24, 14), fill=tone(finish.rgb, 0.85), outline=tone(finish.rgb, 0.6))
    pen.ellipse((33, 4, 45, 16), fill=STEEL, outline=DARK)
    pen.rectangle((52, 6, 66, 13), fill=(26, 40, 52))
    pen.rectangle((55, 8, 62, 11), fill=(96, 190, 220))
    pen.ellipse((12, 28, 60, 76), fill=STEEL, outline=tone(STEEL, 0.6))
    pen.ellipse((18, 34, 54, 70), fill=(196, 198, 200) if dryer else (44, 52, 62), outline=DARK)
    if dryer:
        pen.ellipse((24, 40, 48, 64), fill=(222, 222, 222), outline=(150, 150, 152))
    else:
        pen.chord((18, 34, 54, 70), 20, 160, fill=(84, 132, 164))
        pen.arc((23, 39, 49, 65), 200, 280, fill=(190, 206, 214), width=2)
    return np.asarray(image)


def screen(kind: str) -> Picture:
    """Return a "television" that is off and mirrors the room, or a "computer" with windows open."""
    return picture("screen", _draw_screen, kind)


def _draw_screen(kind: str) -> Image:
    size = (112, 64)
    rows, columns = np.indices(size[::-1]) / 64.0
    if kind == "television":
        glow = np.clip(0.9 - rows * 0.5 + 0.35 * np.exp(-(((columns - 0.6 - rows * 0.5) / 0.16) ** 2)), 0, 1.4)
        image = Pillow.fromarray((np.array((34, 40, 52)) * glow[..., None]).astype(np.uint8))
        pen = ImageDraw.Draw(image)
    else:
        sky = np.stack([70 + 60 * rows, 120 + 50 * rows, 190 + 20 * rows], axis=-1)
        image = Pillow.fromarray(sky.astype(np.uint8))
        pen = ImageDraw.Draw(image)
        pen.rectangle((10, 8, 66, 50), fill=(244, 244, 246))
        pen.rectangle((10, 8, 66, 13), fill=(90, 100, 116))
        for y in range(18, 47, 5):
            pen.line([(15, y), (30 + y * 13 % 32, y)], fill=(120, 128, 140))
        pen.rectangle((58, 22, 102, 56), fill=(40, 44, 54))
        for y in range(28, 54, 5):
            pen.line([(63, y), (72 + y * 17 % 26, y)], fill=(130, 200, 140))
    pen.rectangle((0, 0, size[0] - 1, size[1] - 1), outline=(20, 20, 22), width=3)
    return np.asarray(image)


def keys(kind: str) -> Picture:
    """Return the keys of a "piano" or of a "computer"."""
    return picture("keys", _draw_keys, kind)


def _draw_keys(kind: str) -> Image:
    if kind == "computer":
        image = Pillow.new("RGB", (56, 20), (58, 60, 64))
        pen = ImageDraw.Draw(image)
        for y in range(2, 18, 4):
            for x in range(2, 53, 4):
                pen.rectangle((x, y, x + 2, y + 2), fill=(176, 178, 182))
        return np.asarray(image)
    image = Pillow.new("RGB", (126, 24), (246, 244, 236))
    pen = ImageDraw.Draw(image)
    for i in range(21):
        pen.line([(i * 6, 0), (i * 6, 24)], fill=(150, 148, 142))
        if i % 7 not in (0, 3):
            pen.rectangle((i * 6 - 2, 0, i * 6 + 1, 14), fill=(28, 28, 30))
    return np.asarray(image)


def fireplace(finish: Finish, lit: bool) -> Picture:
    """Return a fire opening with logs, in a surround of bricks."""
    return picture("fireplace", _draw_fireplace, finish, lit)


def _draw_fireplace(finish: Finish, lit: bool) -> Image:
    size = (96, 72)
    image = Pillow.fromarray(sheet(finish, size))
    pen = ImageDraw.Draw(image)
    for row in range(9):
        pen.line([(0, row * 8), (96, row * 8)], fill=tone(finish.rgb, 0.72))
        for x in range(row % 2 * 8, 96, 16):
            pen.line([(x, row * 8), (x, row * 8 + 8)], fill=tone(finish.rgb, 0.72))
    pen.rectangle((18, 14, 78, 72), fill=(34, 28, 26))
    pen.rectangle((18, 14, 78, 17), fill=(20, 18, 18))
    if lit:
        for x, top, half in ((32, 40, 7), (42, 26, 9), (54, 32, 9), (64, 44, 6)):
            pen.polygon([(x - half, 64), (x - half * 0.6, top + 14), (x, top), (x + half, 64)], fill=(226, 104, 30))
            pen.polygon([(x - half * 0.5, 64), (x, top + 16), (x + half * 0.5, 64)], fill=(250, 204, 84))
    pen.rounded_rectangle((26, 58, 70, 64), 3, fill=(110, 70, 44))
    pen.rounded_rectangle((30, 64, 74, 70), 3, fill=(86, 54, 34))
    return np.asarray(image)


def shoes(finish: Finish, shelves: int) -> Picture:
    """Return the open front of a shoe rack."""
    return picture("shoes", _draw_shoes, finish, shelves)


def _draw_shoes(finish: Finish, shelves: int) -> Image:
    size = (96, 24 * shelves)
    image = Pillow.fromarray((sheet(finish, size) * 0.45).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    colours = [(60, 60, 64), (150, 92, 56), (220, 218, 212), (170, 50, 48), (56, 84, 130), (206, 170, 90)]
    for shelf in range(shelves):
        floor = 24 * (shelf + 1) - 4
        for i in range(4):
            colour, x = colours[(i + 3 * shelf) % 6], 5 + i * 23
            for shift in (0, 9):
                pen.rounded_rectangle(
                    (x + shift, floor - 11, x + shift + 7, floor), 3, fill=tone(colour, 1 - shift / 60)
                )
        pen.rectangle((0, floor + 1, 96, floor + 4), fill=finish.rgb)
    return np.asarray(image)
