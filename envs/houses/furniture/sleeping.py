"""Beds and cribs."""

from __future__ import annotations

from navloop.envs.houses.furniture.cloths import bars, bedding, cushion, pillow, tufted
from navloop.envs.houses.furniture.palette import finish
from navloop.envs.houses.furniture.sketch import Sketch


def bed(sketch: Sketch) -> None:
    """Draw a bed, double unless `width` is under 1.2 m; its main finish is the duvet's, the frame is wood or upholstered."""
    main, style = sketch.main, sketch.style
    width = sketch.width or sketch.uniform(1.5, 1.8)
    length, top = 2.08, sketch.uniform(0.5, 0.6)
    soft = sketch.chance(0.35)
    frame = finish("fabric", "light grey" if sketch.chance(0.5) else "beige") if soft else style.wood
    head = sketch.uniform(0.95, 1.2)
    sketch.box((0, 0.1, 0), (width, 0.2, length), frame, "flr")
    sketch.box((0, 0.0, 0.0), (width - 0.2, 0.1, length - 0.2), finish("plastic", "black"), "flr")
    sketch.box(
        (0, 0, length / 2 - 0.04), (width + 0.06, head, 0.08), frame, "tflr", {"f": tufted(frame)} if soft else None
    )
    white = finish("fabric", "white")
    sketch.box((0, 0.3, -0.02), (width - 0.06, top - 0.32, length - 0.12), white, "tflr")
    kind = ("plain", "striped", "dotted")[int(sketch.rng.integers(3))]
    cover = length * 0.68
    sketch.box(
        (0, 0.26, -length / 2 + cover / 2 + 0.02),
        (width + 0.01, top - 0.24, cover),
        main,
        "tflr",
        {"t": bedding(main, kind), "f": cushion(main), "l": cushion(main), "r": cushion(main)},
    )
    count = 2 if width > 1.2 else 1
    accent = style.accents[int(sketch.rng.integers(len(style.accents)))]
    for i in range(count):
        x = (i - (count - 1) / 2) * width / 2
        case = pillow((244, 242, 236))
        sketch.box((x, top - 0.02, length / 2 - 0.32), (width / count * 0.84, 0.13, 0.4), case, "tflr")
    if sketch.chance(0.5):
        sketch.box((0, top + 0.01, length / 2 - 0.58), (0.46, 0.15, 0.16), cushion(finish("fabric", accent)), "tflr")
    if sketch.chance(0.35):
        throw = finish("fabric", accent)
        sketch.box((0, 0.3, -length / 2 + 0.36), (width + 0.03, top - 0.265, 0.42), throw, "tlr")


def crib(sketch: Sketch) -> None:
    """Draw a baby's crib: barred sides around a small mattress."""
    main, width, depth, height = sketch.main, 1.25, 0.68, 0.92
    sheet_colour = finish("fabric", sketch.style.accents[0])
    long_bars, short_bars = bars(main.rgb, (204, 210, 214), 11), bars(main.rgb, (204, 210, 214), 6)
    sketch.legs((width, depth), height, (0.05, 0.05), main)
    for z in (-1, 1):
        sketch.box(
            (0, 0.2, z * (depth / 2 - 0.02)),
            (width - 0.06, height - 0.24, 0.02),
            main,
            "tfb",
            {"f": long_bars, "b": long_bars},
        )
    for x in (-1, 1):
        sketch.box(
            (x * (width / 2 - 0.02), 0.2, 0),
            (0.02, height - 0.24, depth - 0.06),
            main,
            "tlr",
            {"l": short_bars, "r": short_bars},
        )
    sketch.box(
        (0, 0.3, 0), (width - 0.08, 0.14, depth - 0.08), sheet_colour, "t", {"t": bedding(sheet_colour, "dotted")}
    )
    sketch.box((width / 2 - 0.2, 0.44, 0), (0.22, 0.07, 0.4), pillow((244, 242, 236)), "tfblr")
