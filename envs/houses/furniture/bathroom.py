"""Bathroom fixtures."""

from __future__ import annotations

from navloop.envs.houses.furniture.cloths import basin, curtain, rug, towel
from navloop.envs.houses.furniture.fronts import cabinet, tone
from navloop.envs.houses.furniture.palette import Finish, finish
from navloop.envs.houses.furniture.sketch import Sketch

WATER = Finish("plain", "", (206, 224, 232), "")


def bathtub(sketch: Sketch) -> None:
    """Draw a bathtub: a rim around a sloping, hollow inside."""
    main, width, depth, height = sketch.main, sketch.width or 1.65, 0.75, 0.56
    sketch.box((0, 0, 0), (width, height, depth), main, "flrb")
    x, z, rim, low = width / 2, depth / 2, 0.08, 0.2
    ix, iz, bx, bz = x - rim, z - rim, x - 0.26, z - 0.17
    outer = [(x, height, z), (x, height, -z), (-x, height, -z), (-x, height, z)]
    inner = [(ix, height, iz), (ix, height, -iz), (-ix, height, -iz), (-ix, height, iz)]
    floor = [(bx, low, bz), (bx, low, -bz), (-bx, low, -bz), (-bx, low, bz)]
    for i in range(4):
        j = (i + 1) % 4
        sketch.quad([outer[i], outer[j], inner[j], inner[i]], main, 0)
        sketch.quad([inner[i], inner[j], floor[j], floor[i]], main, 2 if i % 2 else 3)
    sketch.quad(floor, WATER, 1)
    steel = finish("metal", "silver")
    sketch.box((x - 0.05, height, 0), (0.04, 0.16, 0.04), steel, "fblr")
    sketch.box((x - 0.1, height + 0.14, 0), (0.14, 0.03, 0.04), steel, "tufbl")


def shower(sketch: Sketch) -> None:
    """Draw a shower: tray, tiled panels at the back and left, a head and a curtain half drawn."""
    main, size, height = sketch.main, sketch.width or 0.9, 2.0
    metal, white = finish("metal", "silver"), finish("ceramic", "white")
    half = size / 2
    sketch.box((0, 0, 0), (size, 0.08, size), white, "tflr")
    sketch.box((0, 0.08, half - 0.01), (size, height - 0.08, 0.02), WATER, "tf")
    sketch.box((0.1, 0.9, half - 0.04), (0.03, 1.05, 0.03), metal, "flr")
    sketch.box((0.1, 1.92, half - 0.14), (0.03, 0.03, 0.2), metal, "tulr")
    sketch.prism((0.1, 1.86, half - 0.24), (0.1, 0.06), 0.05, metal, 6, "tu")
    sketch.box((0, height, -half + 0.02), (size, 0.03, 0.03), metal, "tfbu")
    for side in (-1, 1):
        sketch.box((side * (half - 0.02), 0.08, -half + 0.02), (0.03, height - 0.08, 0.03), metal, "fblr")
    drawn = curtain(main)
    wide = size * 0.62
    sketch.box(
        (-half + wide / 2 + 0.02, 0.12, -half + 0.03), (wide, height - 0.12, 0.03), main, "fb", {"f": drawn, "b": drawn}
    )


def toilet(sketch: Sketch) -> None:
    """Draw a toilet: tank, bowl and seat."""
    main = sketch.main
    grey = Finish("plain", "", tone(main.rgb, 0.8), "")
    sketch.box((0, 0.38, 0.24), (0.4, 0.4, 0.18), main, "tflr")
    sketch.box((0, 0.78, 0.24), (0.43, 0.03, 0.2), main, "tflr")
    sketch.box((0, 0.0, 0.12), (0.22, 0.38, 0.42), main, "fblr")
    sketch.prism((0, 0.16, -0.08), (0.13, 0.19), 0.24, main, 8, "", depth=1.25)
    sketch.prism((0, 0.4, -0.08), (0.2, 0.2), 0.03, main, 8, "t", depth=1.25)
    sketch.prism((0, 0.431, -0.1), (0.12, 0.12), 0.001, grey, 8, "t", depth=1.3)
    sketch.quad([(0.19, 0.78, 0.14), (0.19, 0.43, 0.1), (-0.19, 0.43, 0.1), (-0.19, 0.78, 0.14)], main)
    sketch.box((0.1, 0.81, 0.24), (0.06, 0.015, 0.06), finish("metal", "silver"), "tf")


def vanity(sketch: Sketch) -> None:
    """Draw a washbasin on its cabinet."""
    main, style, width = sketch.main, sketch.style, sketch.width or sketch.uniform(0.65, 0.95)
    depth, height = 0.48, 0.84
    columns = 2 if width > 0.6 else 1
    front = cabinet(main, style.metal.rgb, (-columns,) if sketch.chance(0.6) else (1, 1), (56, 48))
    sketch.box((0, 0.12, 0.01), (width - 0.02, height - 0.16, depth - 0.02), main, "flr", {"f": front})
    sketch.box((0, 0, 0.03), (width - 0.08, 0.12, depth - 0.1), finish("plastic", "black"), "flr")
    white = finish("ceramic", "white")
    sketch.box((0, height - 0.04, 0), (width, 0.06, depth), white, "tflr", {"t": basin(white.rgb, (226, 230, 232))})
    steel = finish("metal", "silver")
    sketch.box((0, height + 0.02, 0.16), (0.035, 0.14, 0.035), steel, "fblr")
    sketch.box((0, height + 0.14, 0.1), (0.035, 0.03, 0.15), steel, "tuflr")


def pedestal_sink(sketch: Sketch) -> None:
    """Draw a washbasin on a column."""
    white = sketch.main
    sketch.prism((0, 0, 0.06), (0.11, 0.08), 0.7, white, 6, "")
    sketch.prism((0, 0.66, 0.02), (0.14, 0.28), 0.16, white, 8, "", depth=0.8)
    sketch.box((0, 0.81, 0.02), (0.56, 0.03, 0.46), white, "tflr", {"t": basin(white.rgb, (214, 220, 224))})
    steel = finish("metal", "silver")
    sketch.box((0, 0.84, 0.18), (0.035, 0.13, 0.035), steel, "fblr")
    sketch.box((0, 0.95, 0.12), (0.035, 0.03, 0.14), steel, "tuflr")


def towel_rail(sketch: Sketch) -> None:
    """Draw a towel over a rail; hangs on a wall."""
    width = sketch.uniform(0.5, 0.65)
    sketch.box((0, 0.62, -0.03), (width, 0.025, 0.025), finish("metal", "silver"), "tuflr")
    cloth = towel(sketch.main)
    sketch.box((0, 0, -0.03), (width * 0.7, 0.65, 0.04), sketch.main, "tflru", {"f": cloth})


def bath_mat(sketch: Sketch) -> None:
    """Draw a bath mat; lies on the floor."""
    drawn = rug(sketch.main, (240, 238, 232), "plain")
    sketch.box((0, 0, 0), (0.8, 0.008, 0.5), sketch.main, "t", {"t": drawn})
