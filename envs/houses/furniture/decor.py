"""Lamps, plants, rugs, curtains and what hangs on walls."""

from __future__ import annotations

import numpy as np

from navloop.envs.houses.furniture.cloths import RUGS, clock, curtain, lampshade, leaves, mirror, rug
from navloop.envs.houses.furniture.paintings import PAINTINGS, painting
from navloop.envs.houses.furniture.palette import Rgb, finish
from navloop.envs.houses.furniture.sketch import Sketch

SHADE: Rgb = (246, 226, 180)


def floor_lamp(sketch: Sketch) -> None:
    """Draw a floor lamp."""
    height = sketch.uniform(1.5, 1.7)
    metal = sketch.style.metal
    shade = lampshade(_shade(sketch))
    sketch.prism((0, 0, 0), (0.15, 0.14), 0.03, metal, 8)
    sketch.prism((0, 0.03, 0), (0.015, 0.015), height - 0.32, metal, 4, "")
    sketch.prism((0, height - 0.3, 0), (0.22, 0.14 if sketch.chance(0.6) else 0.2), 0.3, shade, 8, "tu")


def table_lamp(sketch: Sketch) -> None:
    """Draw a table lamp."""
    foot = finish("pottery", ("white", "terracotta", "blue", "black", "mustard", "green")[int(sketch.rng.integers(6))])
    shade = lampshade(_shade(sketch))
    sketch.prism((0, 0, 0), (0.05, 0.07), 0.12, foot, 6, "")
    sketch.prism((0, 0.12, 0), (0.07, 0.025), 0.1, foot, 6, "")
    sketch.prism((0, 0.22, 0), (0.14, 0.09), 0.18, shade, 8, "t")


def _shade(sketch: Sketch) -> Rgb:
    return SHADE if sketch.main.colour in ("white", "cream", "beige") else sketch.main.rgb


def ceiling_light(sketch: Sketch) -> None:
    """Draw a flat lamp under the ceiling."""
    radius = sketch.uniform(0.18, 0.28)
    sketch.prism((0, -0.11, 0), (radius * 0.8, radius), 0.11, lampshade((252, 246, 226)), 8, "u")


def pendant_light(sketch: Sketch) -> None:
    """Draw a lamp that hangs from the ceiling on its cord."""
    drop = sketch.height or 0.6
    sketch.box((0, -drop + 0.2, 0), (0.015, drop - 0.2, 0.015), finish("plastic", "black"), "fblr")
    sketch.prism((0, -drop, 0), (sketch.uniform(0.18, 0.26), 0.06), 0.22, lampshade(_shade(sketch)), 8, "tu")


def potted_plant(sketch: Sketch) -> None:
    """Draw a plant in a pot: a bush, a tree or upright leaves."""
    main, green = sketch.main, leaves(int(sketch.rng.integers(3)))
    kind = int(sketch.rng.integers(3))
    size = sketch.uniform(0.9, 1.0)
    sketch.prism((0, 0, 0), (0.13, 0.18), 0.3, main, 8, "")
    sketch.prism((0, 0.27, 0), (0.17, 0.17), 0.01, finish("leather", "brown"), 8, "t")
    if kind == 0:
        sketch.prism((0, 0.3, 0), (0.12, 0.32 * size), 0.3, green, 7, "")
        sketch.prism((0, 0.6, 0), (0.32 * size, 0.1), 0.35, green, 7, "t")
    elif kind == 1:
        sketch.prism((0, 0.28, 0), (0.025, 0.02), 0.65, finish("wood", "walnut"), 4, "")
        sketch.prism((0, 0.85, 0), (0.14, 0.33 * size), 0.22, green, 7, "u")
        sketch.prism((0, 1.07, 0), (0.33 * size, 0.12), 0.35, green, 7, "t")
    else:
        for i in range(7):
            angle, tall = i * 2 * np.pi / 7, 0.5 + 0.12 * (i % 3)
            _blade(sketch, angle, tall * size)


def _blade(sketch: Sketch, angle: float, tall: float) -> None:
    """Draw a long leaf that leans outwards, visible from both sides."""
    away = np.array([np.sin(angle), 0, np.cos(angle)])
    side = np.array([np.cos(angle), 0, -np.sin(angle)])
    low = away * 0.05 + np.array([0, 0.28, 0])
    tip = away * 0.28 + np.array([0, 0.28 + tall, 0])
    corners = np.array([tip - side * 0.02, low - side * 0.05, low + side * 0.05, tip + side * 0.02])
    green = leaves(int(angle * 10) % 3)
    sketch.quad(corners, green, 1)
    sketch.quad(corners[::-1], green, 2)


def small_plant(sketch: Sketch) -> None:
    """Draw a plant for a table."""
    sketch.prism((0, 0, 0), (0.05, 0.07), 0.12, sketch.main, 6, "")
    sketch.prism((0, 0.11, 0), (0.05, 0.13), 0.12, leaves(1), 6, "")
    sketch.prism((0, 0.23, 0), (0.13, 0.05), 0.1, leaves(1), 6, "t")


def vase(sketch: Sketch) -> None:
    """Draw a vase of flowers."""
    petal = finish("fabric", sketch.style.accents[int(sketch.rng.integers(len(sketch.style.accents)))])
    sketch.prism((0, 0, 0), (0.05, 0.08), 0.12, sketch.main, 6, "")
    sketch.prism((0, 0.12, 0), (0.08, 0.04), 0.1, sketch.main, 6, "")
    sketch.prism((0, 0.2, 0), (0.04, 0.12), 0.12, leaves(0), 6, "")
    sketch.prism((0, 0.3, 0), (0.13, 0.06), 0.08, petal, 6, "t")


def fruit_bowl(sketch: Sketch) -> None:
    """Draw a bowl of fruit."""
    sketch.prism((0, 0, 0), (0.07, 0.16), 0.09, sketch.main, 8, "")
    for x, z, colour in ((-0.06, -0.04, "red"), (0.06, -0.04, "orange"), (0.0, 0.06, "mustard")):
        sketch.prism((x, 0.06, z), (0.055, 0.03), 0.08, finish("fabric", colour), 6, "t")


def carpet(sketch: Sketch) -> None:
    """Draw a rug; `width` along x, `height` stands for its extent along z."""
    width, depth = sketch.width or sketch.uniform(1.6, 2.4), sketch.height or sketch.uniform(1.2, 1.7)
    accents = [c for c in sketch.style.accents if c != sketch.main.colour]
    accent = finish("fabric", accents[int(sketch.rng.integers(len(accents)))]).rgb
    kind = RUGS[int(sketch.rng.integers(len(RUGS)))]
    drawn = rug(sketch.main, accent, kind)
    if kind != "plain" and sketch.chance(0.25):
        sketch.prism((0, 0, 0), (depth / 2, depth / 2), 0.008, drawn, 12, "t")
    else:
        sketch.box((0, 0, 0), (width, 0.008, depth), drawn, "t")


def picture_frame(sketch: Sketch) -> None:
    """Draw a painting; hangs on a wall."""
    wide = sketch.chance(0.7)
    width = sketch.width or (sketch.uniform(0.7, 1.2) if wide else sketch.uniform(0.4, 0.6))
    height = round(width * (0.7 if wide else 1.3), 2)
    kind = PAINTINGS[int(sketch.rng.integers(len(PAINTINGS)))]
    art = painting(kind, int(sketch.rng.integers(10_000)), sketch.main.rgb)
    sketch.box((0, 0, 0), (width, height, 0.03), sketch.main, "tflru", {"f": art})


def wall_mirror(sketch: Sketch) -> None:
    """Draw a mirror, round or rectangular; hangs on a wall."""
    width, height = sketch.width or sketch.uniform(0.5, 0.8), sketch.height or sketch.uniform(0.7, 1.0)
    if sketch.chance(0.3):
        _disc(sketch, min(width, height) / 2, 12, "mirror")
    else:
        sketch.box((0, 0, 0), (width, height, 0.03), sketch.main, "tflru", {"f": mirror(sketch.main.rgb)})


def wall_clock(sketch: Sketch) -> None:
    """Draw a round clock; hangs on a wall."""
    _disc(sketch, sketch.uniform(0.15, 0.22), 12, "clock")


def _disc(sketch: Sketch, radius: float, sides: int, kind: str) -> None:
    """Draw an upright disc that faces the front."""
    main = sketch.main
    if kind == "clock":
        face: Rgb = (242, 240, 232) if sum(main.rgb) < 600 else (44, 46, 52)
        front = clock(main.rgb, face)
    else:
        front = mirror(main.rgb, round_glass=True)
    angles = np.arange(sides) * 2 * np.pi / sides
    ring = np.stack([-np.sin(angles), np.cos(angles) + 1, np.zeros(sides)], axis=1) * radius
    # Seen from the front -x is to the right, so this ring runs clockwise there; the disc reverses it.
    sketch.disc(ring[::-1] + (0, 0, -0.015), front)
    rim = np.array([0, 0, 0.015])
    for a, b in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        sketch.quad(np.array([a + rim, a - rim, b - rim, b + rim]), main, 2)


def drapes(sketch: Sketch) -> None:
    """Draw a pair of curtains on a rod; `width` and `height` are the window's, the origin at the curtains' lower edge."""
    width, height = sketch.width or 1.4, sketch.height or 1.6
    panel, metal, drawn = min(0.4, width * 0.27), sketch.style.metal, curtain(sketch.main)
    sketch.box((0, height, -0.03), (width + 0.34, 0.03, 0.03), metal, "tulrf")
    for side in (-1, 1):
        x = side * (width / 2 + 0.12 - panel / 2)
        sketch.box((x, 0, -0.02), (panel, height, 0.07), drawn, "flr")


def wall_shelf(sketch: Sketch) -> None:
    """Draw a shelf with books and a pot; hangs on a wall."""
    width = sketch.uniform(0.7, 1.0)
    sketch.box((0, 0, 0), (width, 0.03, 0.22), sketch.main, "tflru")
    x = -width / 2 + 0.06
    for i in range(4):
        colour = sketch.style.accents[i]
        tall = sketch.uniform(0.16, 0.24)
        sketch.box(
            (x, 0.03, 0.01),
            (0.05, tall, 0.15),
            finish("leather", "brown") if i == 2 else finish("fabric", colour),
            "tflr",
        )
        x += 0.052
    sketch.prism((width / 2 - 0.14, 0.03, 0), (0.05, 0.07), 0.1, finish("pottery", "terracotta"), 6, "")
    sketch.prism((width / 2 - 0.14, 0.12, 0), (0.11, 0.05), 0.14, leaves(1), 6, "t")
