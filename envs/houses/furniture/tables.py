"""Tables, desks and what stands on them."""

from __future__ import annotations

from navloop.envs.houses.furniture.fronts import cabinet, keys, screen
from navloop.envs.houses.furniture.palette import finish
from navloop.envs.houses.furniture.sketch import Sketch


def coffee_table(sketch: Sketch) -> None:
    """Draw a low table, round or rectangular, perhaps with a shelf."""
    main, height = sketch.main, sketch.uniform(0.38, 0.46)
    if sketch.chance(0.3):
        radius = sketch.uniform(0.36, 0.45)
        sketch.prism((0, height - 0.05, 0), (radius, radius), 0.05, main, 10)
        sketch.prism((0, 0, 0), (radius * 0.55, radius * 0.3), height - 0.05, sketch.style.metal, 6, "")
        return
    width, depth = sketch.uniform(0.9, 1.2), sketch.uniform(0.5, 0.65)
    sketch.legs((width, depth), height - 0.05, (0.05, 0.06), main)
    sketch.box((0, height - 0.05, 0), (width, 0.05, depth), main)
    if sketch.chance(0.6):
        sketch.box((0, 0.12, 0), (width - 0.08, 0.03, depth - 0.08), main, "tfblr")


def side_table(sketch: Sketch) -> None:
    """Draw a small round table."""
    main, height, radius = sketch.main, sketch.uniform(0.48, 0.58), sketch.uniform(0.2, 0.26)
    sketch.prism((0, height - 0.04, 0), (radius, radius), 0.04, main, 8)
    sketch.prism((0, 0, 0), (radius * 0.7, 0.03), 0.05, main, 6, "")
    sketch.prism((0, 0.04, 0), (0.03, 0.03), height - 0.08, main, 5, "")


def dining_table(sketch: Sketch) -> None:
    """Draw a dining table; `width` is along x, 0.9 m and less makes it round."""
    main, width, height = sketch.main, sketch.width or sketch.uniform(1.4, 2.0), 0.75
    if width <= 1.1:
        sketch.prism((0, height - 0.05, 0), (width / 2, width / 2), 0.05, main, 12)
        sketch.prism((0, 0, 0), (0.28, 0.06), 0.08, main, 8, "")
        sketch.prism((0, 0.06, 0), (0.06, 0.06), height - 0.1, main, 6, "")
        return
    depth = sketch.uniform(0.85, 0.95)
    if sketch.chance(0.35):
        for side in (-1, 1):
            sketch.box((side * (width / 2 - 0.28), 0, 0), (0.09, height - 0.05, depth - 0.3), main, "fblr")
    else:
        sketch.legs((width - 0.04, depth - 0.04), height - 0.05, (0.055, 0.08), main)
        sketch.box((0, height - 0.13, 0), (width - 0.14, 0.09, depth - 0.14), main, "fblr")
    sketch.box((0, height - 0.05, 0), (width, 0.05, depth), main)


def desk(sketch: Sketch) -> None:
    """Draw a desk with drawers at one side."""
    main, style = sketch.main, sketch.style
    width, depth, height = sketch.width or sketch.uniform(1.2, 1.6), sketch.uniform(0.6, 0.72), 0.74
    side = -1 if sketch.chance(0.5) else 1
    sketch.box((0, height - 0.04, 0), (width, 0.04, depth), main)
    box_x = side * (width / 2 - 0.22)
    drawers = cabinet(main, style.metal.rgb, (1, 1, 1), (40, 56))
    sketch.box((box_x, 0.06, 0.01), (0.4, height - 0.1, depth - 0.06), main, "flrb", {"f": drawers})
    for z in (-1, 1):
        sketch.leg(-side * (width / 2 - 0.04), z * (depth / 2 - 0.04), height - 0.04, (0.04, 0.05), style.metal)
    sketch.box((-side * 0.2, 0.35, depth / 2 - 0.03), (width - 0.44, height - 0.39, 0.02), main, "fb")


def monitor(sketch: Sketch) -> None:
    """Draw a computer: a screen on its foot, with a keyboard before it."""
    main = sketch.main
    width = sketch.uniform(0.5, 0.68)
    sketch.box((0, 0, 0.08), (0.22, 0.02, 0.16), main, "tflr")
    sketch.box((0, 0.02, 0.11), (0.05, 0.12, 0.03), main, "fb")
    height = round(width * 0.58, 2)
    sketch.box((0, 0.12, 0.08), (width, height, 0.03), main, "tfblr", {"f": screen("computer")})
    sketch.box((0, 0, -0.18), (0.42, 0.02, 0.14), main, "tf", {"t": keys("computer")})


def tv_stand(sketch: Sketch) -> None:
    """Draw a low cabinet for a television."""
    main, style = sketch.main, sketch.style
    width, height, depth = sketch.width or sketch.uniform(1.3, 1.8), sketch.uniform(0.42, 0.55), 0.4
    foot = 0.1 if sketch.chance(0.5) else 0.0
    if foot:
        sketch.legs((width - 0.1, depth - 0.06), foot, (0.04, 0.05), style.metal)
    rows = (3,) if sketch.chance(0.4) else (2, 2)
    front = cabinet(main, style.metal.rgb, rows, (112, 32))
    sketch.box((0, foot, 0), (width, height - foot, depth), main, "tflr", {"f": front})


def television(sketch: Sketch) -> None:
    """Draw a flat television on its foot."""
    width = sketch.width or sketch.uniform(1.0, 1.35)
    black = finish("plastic", "black")
    sketch.box((0, 0, 0), (width * 0.4, 0.02, 0.22), black, "tflr")
    sketch.box((0, 0.02, 0.02), (0.12, 0.06, 0.03), black, "fb")
    sketch.box((0, 0.06, 0.0), (width, width * 0.57, 0.05), black, "tfblr", {"f": screen("television")})


def piano(sketch: Sketch) -> None:
    """Draw an upright piano."""
    main = sketch.main
    width, height, depth = 1.45, sketch.uniform(1.1, 1.25), 0.36
    sketch.box((0, 0, 0.12), (width, height, depth), main, "tflr")
    sketch.box((0, 0.6, -0.18), (width, 0.1, 0.26), main, "fblru")
    keyboard = keys("piano")
    sketch.box((0, 0.69, -0.17), (width - 0.12, 0.02, 0.2), keyboard, "t")
    sketch.quad([(0.72, 0.71, -0.31), (0.72, 0.7, -0.31), (-0.72, 0.7, -0.31), (-0.72, 0.71, -0.31)], main)
    for side in (-1, 1):
        sketch.box((side * (width / 2 - 0.03), 0.68, -0.18), (0.06, 0.08, 0.26), main, "tflr")
        sketch.box((side * (width / 2 - 0.05), 0, -0.25), (0.07, 0.6, 0.07), main, "fblr")
    sketch.box((0, 0.86, -0.09), (0.5, 0.22, 0.03), main, "tflr")


def piano_stool(sketch: Sketch) -> None:
    """Draw the stool of a piano."""
    black = finish("leather", "black")
    sketch.legs((0.55, 0.34), 0.42, (0.04, 0.05), sketch.main)
    sketch.box((0, 0.42, 0), (0.56, 0.08, 0.35), black, "tfblr")
