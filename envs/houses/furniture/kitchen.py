"""Kitchen and laundry machines, counters and cabinets."""

from __future__ import annotations

from navloop.envs.houses.furniture.cloths import basin
from navloop.envs.houses.furniture.fronts import cabinet, drum, fridge, hob, oven
from navloop.envs.houses.furniture.palette import finish
from navloop.envs.houses.furniture.sketch import Sketch

DEPTH = 0.6
WORKTOP = 0.9


def _body(sketch: Sketch, width: float, rows: tuple[int, ...]) -> None:
    """Draw a counter on a dark plinth."""
    main, style = sketch.main, sketch.style
    front = cabinet(main, style.metal.rgb, rows, (min(112, max(24, int(width * 72))), 56))
    sketch.box((0, 0, 0.03), (width - 0.01, 0.09, DEPTH - 0.08), finish("plastic", "black"), "f")
    sketch.box((0, 0.09, 0.01), (width, WORKTOP - 0.13, DEPTH - 0.02), main, "flr", {"f": front})
    sketch.box((0, WORKTOP - 0.04, 0), (width, 0.04, DEPTH), style.worktop, "tflr")


def counter(sketch: Sketch) -> None:
    """Draw a kitchen counter with drawers and doors, and what stands on it."""
    width = sketch.width or 1.2
    columns = max(1, round(width / 0.5))
    _body(sketch, width, (columns, -columns) if sketch.chance(0.6) else ((columns,) * 3))
    if width > 0.5 and sketch.chance(0.6):
        steel = finish("metal", "silver" if sketch.chance(0.5) else "black")
        x = (sketch.rng.random() - 0.5) * (width - 0.4)
        if sketch.chance(0.5):
            sketch.box((x, WORKTOP, 0.1), (0.3, 0.2, 0.18), steel, "tflr")
        else:
            sketch.prism((x, WORKTOP, 0.1), (0.1, 0.07), 0.22, steel, 6)


def sink(sketch: Sketch) -> None:
    """Draw a counter with a sink and its tap."""
    width = sketch.width or 1.0
    columns = max(1, round(width / 0.5))
    _body(sketch, width, (-columns,))
    steel = finish("metal", "silver")
    top = basin(sketch.style.worktop.rgb, steel.rgb, width > 0.85)
    wide = min(width - 0.06, 0.9)
    sketch.box((0, WORKTOP, -0.02), (wide, 0.003, 0.52), top, "t")
    _tap(sketch, WORKTOP, 0.2)


def _tap(sketch: Sketch, y: float, z: float) -> None:
    steel = finish("metal", "silver")
    sketch.box((0, y, z), (0.04, 0.26, 0.04), steel, "fblr")
    sketch.box((0, y + 0.24, z - 0.08), (0.035, 0.035, 0.2), steel, "tuflr")


def stove(sketch: Sketch) -> None:
    """Draw a stove: hob over oven."""
    main, width = sketch.main, 0.6
    sketch.box((0, 0.04, 0), (width, WORKTOP - 0.04, DEPTH), main, "tflr", {"f": oven(main), "t": hob()})
    sketch.box((0, WORKTOP, DEPTH / 2 - 0.02), (width, 0.08, 0.04), main, "tflrb")
    sketch.box((0.0, 0.68, -DEPTH / 2 - 0.02), (0.46, 0.025, 0.03), finish("metal", "silver"), "tfu")


def refrigerator(sketch: Sketch) -> None:
    """Draw a fridge with one or two doors."""
    double = (sketch.width or 0.7) > 0.8
    width, height = (0.9 if double else sketch.uniform(0.62, 0.72)), sketch.uniform(1.7, 1.85)
    main = sketch.main
    sketch.box((0, 0.03, 0), (width, height - 0.03, 0.66), main, "tflr", {"f": fridge(main, double)})


def upper_cabinet(sketch: Sketch) -> None:
    """Draw cabinets that hang above a counter."""
    width, main = sketch.width or 1.0, sketch.main
    columns = max(1, round(width / 0.45))
    front = cabinet(main, sketch.style.metal.rgb, (-columns,), (min(112, max(24, int(width * 72))), 48))
    sketch.box((0, 0, 0), (width, 0.7, 0.34), main, "tflru", {"f": front})


def range_hood(sketch: Sketch) -> None:
    """Draw a hood with its chimney; the lower edge is at the origin."""
    main = sketch.main
    sketch.box((0, 0, 0), (0.6, 0.06, 0.46), main, "tflru")
    sketch.prism((0, 0.06, 0.03), (0.42 * 0.95, 0.16), 0.2, main, 4, "", depth=0.5)
    sketch.box((0, 0.24, 0.08), (0.24, (sketch.height or 1.0) - 0.24, 0.22), main, "flr")


def island(sketch: Sketch) -> None:
    """Draw a kitchen island, cabinets at its front, an overhang for stools at its back."""
    main, style, width = sketch.main, sketch.style, sketch.width or sketch.uniform(1.3, 1.8)
    front = cabinet(main, style.metal.rgb, (3, -3), (112, 56))
    sketch.box((0, 0, -0.12), (width - 0.06, WORKTOP - 0.04, 0.6), main, "flrb", {"f": front})
    sketch.box((0, WORKTOP - 0.05, 0), (width, 0.05, 0.9), style.worktop, "tflrbu")


def washer(sketch: Sketch) -> None:
    """Draw a washing machine."""
    sketch.box((0, 0.02, 0), (0.6, 0.83, 0.6), sketch.main, "tflr", {"f": drum(sketch.main, dryer=False)})


def dryer(sketch: Sketch) -> None:
    """Draw a tumble dryer."""
    sketch.box((0, 0.02, 0), (0.6, 0.83, 0.6), sketch.main, "tflr", {"f": drum(sketch.main, dryer=True)})


def ironing_board(sketch: Sketch) -> None:
    """Draw an ironing board with its iron."""
    main, metal = sketch.main, finish("metal", "silver")
    sketch.box((0, 0.86, 0), (1.0, 0.04, 0.34), main, "tfblru")
    for x in (-0.28, 0.28):
        low, high = (x, 0.0), (-x, 0.86)
        for z in (-0.1, 0.1):
            a, b = _bar(low, high, z)
            sketch.quad(a, metal)
            sketch.quad(b, metal)
    sketch.box((-0.3, 0.9, 0), (0.22, 0.1, 0.11), finish("plastic", "blue"), "tfblr")


Corners = list[tuple[float, float, float]]


def _bar(low: tuple[float, float], high: tuple[float, float], z: float) -> tuple[Corners, Corners]:
    """Return both sides of a slanted flat bar between two points (x, y)."""
    half = 0.015
    front = [
        (high[0] + half, high[1], z),
        (low[0] + half, low[1], z),
        (low[0] - half, low[1], z),
        (high[0] - half, high[1], z),
    ]
    return front, front[::-1]
