"""Cupboards, shelves, chests and racks."""

from __future__ import annotations

from navloop.envs.houses.furniture.cloths import toys
from navloop.envs.houses.furniture.fronts import books, cabinet, fireplace, shoes
from navloop.envs.houses.furniture.palette import CLOTH, finish
from navloop.envs.houses.furniture.sketch import Sketch


def _chest(sketch: Sketch, size: tuple[float, float, float], rows: tuple[int, ...], foot: float) -> None:
    """Draw a closed body of (width, height, depth) on feet, with drawers and doors as `fronts.cabinet` counts them."""
    width, height, depth = size
    main, style = sketch.main, sketch.style
    if foot:
        sketch.legs((width - 0.04, depth - 0.04), foot, (0.04, 0.05), style.wood if main.material != "wood" else main)
    pixels = (min(112, max(32, int(width * 64))), min(112, max(24, int((height - foot) * 56))))
    front = cabinet(main, style.metal.rgb, rows, pixels)
    sketch.box((0, foot, 0), (width, height - foot, depth), main, "flrb", {"f": front})
    # A top that stands over a little makes the body read as furniture rather than as a block.
    sketch.box((0, height - 0.03, 0), (width + 0.03, 0.03, depth + 0.02), main, "tflrb")


def bookshelf(sketch: Sketch) -> None:
    """Draw a bookcase full of books."""
    main = sketch.main
    width = sketch.width or sketch.uniform(0.8, 1.2)
    height, depth = sketch.height or sketch.uniform(1.6, 2.1), sketch.uniform(0.28, 0.34)
    shelves = max(2, round(height / 0.38))
    front = books(main, shelves, int(sketch.rng.integers(40)), (72, 18 * shelves))
    sketch.box((0, 0, 0), (width, height, depth), main, "tflr", {"f": front})


def sideboard(sketch: Sketch) -> None:
    """Draw a sideboard: drawers over doors."""
    width = sketch.width or sketch.uniform(1.2, 1.7)
    rows = ((3, -3), (2, -2), (-4,), (2, 2, 2))[int(sketch.rng.integers(4))]
    _chest(sketch, (width, sketch.uniform(0.78, 0.92), 0.44), rows, sketch.uniform(0.08, 0.18))


def dresser(sketch: Sketch) -> None:
    """Draw a chest of drawers."""
    width = sketch.width or sketch.uniform(0.8, 1.3)
    rows = (2, 2, 2) if width > 1.0 else (1, 1, 1, 1)
    _chest(sketch, (width, sketch.uniform(0.8, 1.05), 0.46), rows, 0.08)


def nightstand(sketch: Sketch) -> None:
    """Draw a bedside table with one or two drawers."""
    rows = (1, 1) if sketch.chance(0.6) else (1,)
    _chest(sketch, (sketch.uniform(0.4, 0.5), sketch.uniform(0.48, 0.6), 0.4), rows, 0.14 if len(rows) == 2 else 0.3)


def wardrobe(sketch: Sketch) -> None:
    """Draw a wardrobe with two or three doors, drawers below in some."""
    width = sketch.width or sketch.uniform(1.1, 1.6)
    doors = 3 if width > 1.35 else 2
    rows = (-doors, doors) if sketch.chance(0.4) else (-doors,)
    main, depth, height = sketch.main, 0.6, sketch.uniform(1.95, 2.15)
    front = cabinet(main, sketch.style.metal.rgb, rows, (int(width * 60), 112))
    sketch.box((0, 0.06, 0), (width, height - 0.06, depth), main, "tflr", {"f": front})
    sketch.box((0, 0, 0.03), (width - 0.04, 0.06, depth - 0.06), finish("plastic", "black"), "flr")
    sketch.box((0, height - 0.02, 0), (width + 0.04, 0.05, depth + 0.03), main, "tflr")


def shelf_unit(sketch: Sketch) -> None:
    """Draw an open metal shelf with boxes."""
    main, width, height, depth = sketch.main, sketch.width or sketch.uniform(0.8, 1.1), 1.7, 0.4
    sketch.legs((width, depth), height, (0.03, 0.03), main)
    for i, y in enumerate((0.12, 0.62, 1.12, 1.64)):
        sketch.box((0, y, 0), (width, 0.03, depth), main, "tflrb")
        if i < 3:
            colour = sketch.style.accents[i]
            crate = finish("wicker", "beige") if sketch.chance(0.5) else finish("fabric", colour)
            x = (-1 if sketch.chance(0.5) else 1) * width * 0.2
            sketch.box((x, y + 0.03, 0), (width * 0.45, sketch.uniform(0.2, 0.34), depth - 0.08), crate, "tflr")


def shoe_rack(sketch: Sketch) -> None:
    """Draw an open rack of shoes."""
    width, depth, shelves = sketch.uniform(0.7, 0.95), 0.32, 2 if sketch.chance(0.5) else 3
    height = 0.22 * shelves + 0.04
    sketch.box((0, 0, 0), (width, height, depth), sketch.main, "tflr", {"f": shoes(sketch.main, shelves)})


def coat_rack(sketch: Sketch) -> None:
    """Draw coats on hooks under a board; hangs on a wall."""
    width, main = sketch.uniform(0.7, 1.0), sketch.main
    sketch.box((0, 0.92, 0.02), (width, 0.12, 0.03), main, "tflru")
    sketch.box((0, 1.04, -0.02), (width, 0.02, 0.14), main, "tflru")
    count = 3
    for i in range(count):
        colour = finish("fabric", list(CLOTH)[int(sketch.rng.integers(len(CLOTH)))])
        x, tall = (i - (count - 1) / 2) * width / count, sketch.uniform(0.6, 0.88)
        sketch.prism((x, 0.92 - tall, -0.04), (0.13, 0.05), tall, colour, 6, "u", depth=0.5)


def toy_chest(sketch: Sketch) -> None:
    """Draw a painted chest for toys."""
    main, width, height, depth = sketch.main, sketch.uniform(0.7, 0.9), sketch.uniform(0.42, 0.5), 0.42
    sketch.box((0, 0, 0), (width, height - 0.05, depth), main, "flrb", {"f": toys(main)})
    lid = finish("painted", "yellow" if main.colour != "yellow" else "red")
    sketch.box((0, height - 0.05, 0), (width + 0.04, 0.05, depth + 0.03), lid, "tflrb")


def hearth(sketch: Sketch) -> None:
    """Draw a fireplace with a mantel."""
    main, width, height, depth = sketch.main, sketch.uniform(1.3, 1.6), sketch.uniform(1.1, 1.25), 0.36
    front = fireplace(main, sketch.chance(0.7))
    sketch.box((0, 0, 0), (width, height - 0.08, depth), main, "flr", {"f": front})
    sketch.box((0, height - 0.08, -0.03), (width + 0.14, 0.08, depth + 0.06), sketch.style.wood, "tflru")
    grey = finish("stone", "grey")
    sketch.box((0, 0, -depth / 2 - 0.14), (width, 0.05, 0.28), grey, "tflr")


def trash_can(sketch: Sketch) -> None:
    """Draw a bin, round with a lid or open."""
    main, height, radius = sketch.main, sketch.uniform(0.35, 0.6), sketch.uniform(0.14, 0.19)
    dark = finish("plastic", "black" if main.colour != "black" else "grey")
    sketch.prism((0, 0, 0), (radius * 0.85, radius), height, main, 8, "")
    if sketch.chance(0.6):
        sketch.prism((0, height, 0), (radius, radius * 0.55), 0.06, dark, 8)
    else:
        sketch.prism((0, height, 0), (radius, radius * 0.9), 0.01, dark, 8)


def laundry_basket(sketch: Sketch) -> None:
    """Draw a wicker basket with clothes on top."""
    main, height, radius = sketch.main, sketch.uniform(0.46, 0.58), sketch.uniform(0.19, 0.24)
    sketch.prism((0, 0, 0), (radius * 0.85, radius), height, main, 8, "")
    cloth = finish("fabric", sketch.style.accents[int(sketch.rng.integers(len(sketch.style.accents)))])
    sketch.prism((0, height, 0), (radius, radius * 0.45), 0.1, cloth, 8)


def boxes(sketch: Sketch) -> None:
    """Draw a stack of cardboard boxes."""
    card = sketch.main
    for y, size, x in ((0.0, (0.55, 0.36, 0.42), 0.0), (0.36, (0.42, 0.28, 0.36), 0.04)):
        sketch.box((x, y, 0), size, card, "tflrb")
        tape = finish("painted", "cream")
        sketch.box((x, y + size[1] + 0.001, 0), (0.06, 0.001, size[2]), tape, "t")
        front = -size[2] / 2 - 0.002
        sketch.quad(
            [(x + 0.03, y + size[1], front), (x + 0.03, y + size[1] - 0.1, front)]
            + [(x - 0.03, y + size[1] - 0.1, front), (x - 0.03, y + size[1], front)],
            tape,
        )
