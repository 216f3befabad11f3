"""Things to sit on."""

from __future__ import annotations

from navloop.envs.houses.furniture.cloths import cushion, tufted
from navloop.envs.houses.furniture.palette import CLOTH, Finish, finish
from navloop.envs.houses.furniture.sketch import Sketch


def _contrast(sketch: Sketch) -> Finish:
    """Return a fabric for loose cushions that stands out from the piece."""
    others = [colour for colour in sketch.style.accents if colour != sketch.main.colour]
    return finish("fabric", others[int(sketch.rng.integers(len(others)))])


def _couch(sketch: Sketch, width: float, seats: int) -> None:
    main = sketch.main
    depth, seat, back = sketch.uniform(0.84, 0.98), sketch.uniform(0.4, 0.46), sketch.uniform(0.76, 0.92)
    arm, arm_height, foot = sketch.uniform(0.12, 0.24), sketch.uniform(0.56, 0.66), sketch.uniform(0.04, 0.14)
    inner = width - 2 * arm
    top = cushion(main, (seats, 1))
    plump = tufted(main) if sketch.chance(0.25) else top
    sketch.legs((width - 0.06, depth - 0.06), foot, (0.05, 0.06), sketch.style.wood)
    sketch.box((0, foot, 0.02), (inner, seat - 0.16 - foot, depth - 0.04), main, "f")
    sketch.box((0, seat - 0.16, -0.08), (inner, 0.16, depth - 0.16), main, "tf", {"t": top, "f": top})
    for side in (-1, 1):
        shape = ((width - arm) / 2 * side, foot, 0), (arm, arm_height - foot, depth)
        sketch.box(*shape, main, "tfblr", {"f": cushion(main)})
    sketch.box((0, foot, depth / 2 - 0.09), (inner + 0.02, back - foot, 0.18), main, "b")
    # The back leans: a wedge from the seat to the upper edge.
    low, high, rear = depth / 2 - 0.3, depth / 2 - 0.2, depth / 2
    half = inner / 2
    sketch.quad([(half, back, high), (half, seat, low), (-half, seat, low), (-half, back, high)], plump)
    sketch.quad([(half, back, rear), (half, back, high), (-half, back, high), (-half, back, rear)], main, 0)
    # Its sides show above the arms only.
    lean = low + (high - low) * (arm_height - seat) / (back - seat)
    for side in (1, -1):
        profile = [(back, rear), (arm_height, rear), (arm_height, lean), (back, high)]
        sketch.quad([(side * half, y, z) for y, z in (profile if side > 0 else profile[::-1])], main, 2)
    if seats > 1 and sketch.chance(0.75):
        loose = cushion(_contrast(sketch))
        for side in (-1, 1) if sketch.chance(0.6) else (-1,):
            x, z = side * (half - 0.24), low - 0.05
            sketch.box((x, seat, z), (0.4, 0.34, 0.13), loose, "tflrb", {"t": loose.shaded(1.05)})


def sofa(sketch: Sketch) -> None:
    """Draw a sofa for two or three."""
    seats = 3 if (sketch.width or 2.1) > 1.75 and sketch.chance(0.7) else 2
    width = sketch.width or (sketch.uniform(1.9, 2.3) if seats == 3 else sketch.uniform(1.5, 1.8))
    _couch(sketch, width, seats)


def armchair(sketch: Sketch) -> None:
    """Draw an armchair."""
    _couch(sketch, sketch.uniform(0.78, 0.95), 1)


def ottoman(sketch: Sketch) -> None:
    """Draw a padded footstool, round or square."""
    main, width, height = sketch.main, sketch.uniform(0.45, 0.65), sketch.uniform(0.36, 0.44)
    if sketch.chance(0.5):
        sketch.prism((0, 0.05, 0), (width / 2, width / 2), height - 0.05, main, 10)
        sketch.prism((0, 0, 0), (width / 2 - 0.04, width / 2 - 0.04), 0.05, sketch.style.wood, 6, "")
        return
    sketch.legs((width, width * 0.8), 0.14, (0.04, 0.05), sketch.style.wood)
    sketch.box(
        (0, 0.14, 0), (width, height - 0.14, width * 0.8), main, "tfblr", {"t": tufted(main), "f": cushion(main)}
    )


def dining_chair(sketch: Sketch) -> None:
    """Draw a dining chair with an upholstered, barred or solid back."""
    main, wood = sketch.main, sketch.style.wood
    frame = main if main.material == "wood" else wood
    width, depth, seat = sketch.uniform(0.42, 0.48), sketch.uniform(0.44, 0.5), 0.46
    back = sketch.uniform(0.86, 1.02)
    sketch.legs((width, depth), seat - 0.05, (0.03, 0.045), frame)
    sketch.box(
        (0, seat - 0.06, 0), (width, 0.06, depth), main, "tfblr", {"t": cushion(main)} if main is not frame else None
    )
    z = depth / 2 - 0.02
    if main is frame and sketch.chance(0.6):
        low = seat + 0.22
        for side in (-1, 1):
            sketch.box((side * (width / 2 - 0.02), seat, z), (0.04, back - seat, 0.04), frame, "fblr")
        for y in (low, back - 0.1):
            sketch.box((0, y, z), (width - 0.08, 0.1, 0.025), frame, "tfb")
        return
    sketch.box(
        (0, seat, z), (width, back - seat, 0.04), main, "tfblr", {"f": cushion(main)} if main is not frame else None
    )


def bar_stool(sketch: Sketch) -> None:
    """Draw a high stool."""
    main, metal, seat = sketch.main, sketch.style.metal, sketch.uniform(0.64, 0.74)
    if sketch.chance(0.5):
        sketch.prism((0, 0, 0), (0.2, 0.18), 0.03, metal, 8)
        sketch.prism((0, 0.03, 0), (0.03, 0.03), seat - 0.1, metal, 6, "")
        sketch.prism((0, seat - 0.08, 0), (0.16, 0.19), 0.08, main, 8)
        return
    sketch.legs((0.38, 0.38), seat - 0.05, (0.03, 0.035), sketch.style.wood)
    sketch.box((0, seat - 0.06, 0), (0.36, 0.06, 0.36), main)
    sketch.box((0, 0.22, -0.17), (0.32, 0.03, 0.02), sketch.style.wood, "tf")


def bench(sketch: Sketch) -> None:
    """Draw an entrance bench."""
    main, width = sketch.main, sketch.width or sketch.uniform(0.9, 1.3)
    wood = main if main.material == "wood" else sketch.style.wood
    sketch.legs((width, 0.38), 0.4, (0.05, 0.05), wood)
    sketch.box(
        (0, 0.38, 0), (width, 0.07, 0.38), main, "tfblr", {"t": cushion(main, (2, 1))} if main is not wood else None
    )
    sketch.box((0, 0.12, 0), (width - 0.1, 0.03, 0.3), wood, "tf")


def office_chair(sketch: Sketch) -> None:
    """Draw a swivel chair on a star foot."""
    main, dark = sketch.main, finish("metal", "black")
    sketch.box((0, 0.04, 0), (0.6, 0.05, 0.07), dark, "tfblr")
    sketch.box((0, 0.04, 0), (0.07, 0.05, 0.6), dark, "tfblr")
    sketch.prism((0, 0.08, 0), (0.035, 0.035), 0.34, dark, 5, "")
    sketch.box((0, 0.42, -0.02), (0.5, 0.08, 0.48), main, "tfblr", {"t": cushion(main)})
    sketch.box(
        (0, 0.58, 0.21),
        (0.46, sketch.uniform(0.44, 0.62), 0.07),
        main,
        "tfblr",
        {"f": cushion(main), "b": cushion(main)},
    )
    sketch.box((0, 0.46, 0.235), (0.08, 0.2, 0.03), dark, "fb")
    for side in (-1, 1):
        sketch.box((side * 0.265, 0.62, 0.0), (0.05, 0.04, 0.3), dark, "tflrb")
        sketch.box((side * 0.265, 0.46, 0.06), (0.03, 0.16, 0.05), dark, "lrfb")


def rocking_horse(sketch: Sketch) -> None:
    """Draw a toy horse on runners."""
    main, wood = sketch.main, sketch.style.wood
    for side in (-1, 1):
        sketch.box((side * 0.12, 0, 0), (0.04, 0.05, 0.8), wood, "tflrb")
    for x, z in ((-0.09, -0.18), (0.09, -0.18), (-0.09, 0.18), (0.09, 0.18)):
        sketch.box((x, 0.05, z), (0.06, 0.3, 0.06), main, "fblr")
    sketch.box((0, 0.34, 0), (0.24, 0.2, 0.5), main, "tfblru")
    sketch.box((0, 0.5, -0.26), (0.13, 0.28, 0.14), main, "tfblr")
    sketch.box((0, 0.66, -0.38), (0.12, 0.14, 0.24), main, "tfblru")
    sketch.box(
        (0, 0.53, 0.02), (0.26, 0.05, 0.22), finish("fabric", "red" if CLOTH["red"] != main.rgb else "teal"), "tfblr"
    )
    sketch.box((0, 0.3, 0.27), (0.05, 0.22, 0.05), wood, "tblr")
