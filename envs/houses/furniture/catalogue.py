"""All furniture by name: what draws it, what it may be made of, where it is fixed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from navloop.envs.houses.atlas import Atlas
from navloop.envs.houses.furniture import bathroom, cupboards, decor, kitchen, seating, sleeping, tables
from navloop.envs.houses.furniture.palette import Finish, Style
from navloop.envs.houses.furniture.sketch import Mesh, Sketch

Mount = Literal["floor", "top", "wall", "ceiling", "flat"]


class Category(NamedTuple):
    """A kind of thing.

    Attributes:
        label: What people call it.
        draw: Draws it in the frame of `Sketch`.
        groups: Groups of finishes (`palette.GROUPS`) to draw its main finish from; "cabinet" and "metal rail" are the house's.
        mount: "floor" stands there and blocks the way; "top" stands on something; "wall" and "ceiling" hang; "flat" lies.
        budget: Most triangles it may have.
    """

    label: str
    draw: Callable[[Sketch], None]
    groups: tuple[str, ...]
    mount: Mount = "floor"
    budget: int = 150


CATEGORIES: dict[str, Category] = {
    "sofa": Category("sofa", seating.sofa, ("fabric", "fabric", "fabric", "leather")),
    "armchair": Category("armchair", seating.armchair, ("fabric", "fabric", "leather")),
    "ottoman": Category("ottoman", seating.ottoman, ("fabric", "leather")),
    "dining chair": Category("chair", seating.dining_chair, ("wood", "fabric", "leather")),
    "bar stool": Category("bar stool", seating.bar_stool, ("wood", "leather", "plastic")),
    "bench": Category("bench", seating.bench, ("wood", "fabric")),
    "office chair": Category("office chair", seating.office_chair, ("fabric", "leather")),
    "rocking horse": Category("rocking horse", seating.rocking_horse, ("painted", "wood")),
    "coffee table": Category("coffee table", tables.coffee_table, ("wood", "wood", "painted")),
    "side table": Category("side table", tables.side_table, ("wood", "painted")),
    "dining table": Category("dining table", tables.dining_table, ("wood", "wood", "painted")),
    "desk": Category("desk", tables.desk, ("wood", "wood", "painted")),
    "computer": Category("computer", tables.monitor, ("plastic",), "top"),
    "tv stand": Category("TV stand", tables.tv_stand, ("wood", "wood", "painted")),
    "television": Category("television", tables.television, ("screen",), "top"),
    "piano": Category("piano", tables.piano, ("wood", "instrument")),
    "piano stool": Category("piano stool", tables.piano_stool, ("wood",)),
    "bookshelf": Category("bookshelf", cupboards.bookshelf, ("wood", "wood", "painted")),
    "sideboard": Category("sideboard", cupboards.sideboard, ("wood", "painted")),
    "dresser": Category("dresser", cupboards.dresser, ("wood", "painted")),
    "nightstand": Category("nightstand", cupboards.nightstand, ("wood", "painted")),
    "wardrobe": Category("wardrobe", cupboards.wardrobe, ("wood", "painted")),
    "shelf": Category("shelf", cupboards.shelf_unit, ("metal", "wood")),
    "shoe rack": Category("shoe rack", cupboards.shoe_rack, ("wood", "painted")),
    "coat rack": Category("coat rack", cupboards.coat_rack, ("wood", "painted"), "wall"),
    "toy chest": Category("toy chest", cupboards.toy_chest, ("painted",)),
    "fireplace": Category("fireplace", cupboards.hearth, ("brick",)),
    "trash can": Category("trash can", cupboards.trash_can, ("plastic", "metal")),
    "laundry basket": Category("laundry basket", cupboards.laundry_basket, ("wicker",)),
    "boxes": Category("cardboard boxes", cupboards.boxes, ("card",)),
    "bed": Category("bed", sleeping.bed, ("fabric",)),
    "crib": Category("crib", sleeping.crib, ("painted", "wood")),
    "counter": Category("kitchen counter", kitchen.counter, ("cabinet",)),
    "sink": Category("sink", kitchen.sink, ("cabinet",)),
    "stove": Category("stove", kitchen.stove, ("appliance",)),
    "fridge": Category("fridge", kitchen.refrigerator, ("appliance",)),
    "kitchen cabinet": Category("kitchen cabinet", kitchen.upper_cabinet, ("cabinet",), "wall"),
    "range hood": Category("range hood", kitchen.range_hood, ("appliance",), "wall"),
    "kitchen island": Category("kitchen island", kitchen.island, ("cabinet", "painted")),
    "washing machine": Category("washing machine", kitchen.washer, ("appliance",)),
    "dryer": Category("dryer", kitchen.dryer, ("appliance",)),
    "ironing board": Category("ironing board", kitchen.ironing_board, ("fabric",)),
    "bathtub": Category("bathtub", bathroom.bathtub, ("ceramic",)),
    "shower": Category("shower", bathroom.shower, ("fabric",)),
    "toilet": Category("toilet", bathroom.toilet, ("ceramic",)),
    "vanity": Category("bathroom sink", bathroom.vanity, ("cabinet", "wood", "painted")),
    "pedestal sink": Category("bathroom sink", bathroom.pedestal_sink, ("ceramic",)),
    "towel": Category("towel", bathroom.towel_rail, ("fabric",), "wall"),
    "bath mat": Category("bath mat", bathroom.bath_mat, ("fabric",), "flat"),
    "floor lamp": Category("floor lamp", decor.floor_lamp, ("painted",)),
    "table lamp": Category("lamp", decor.table_lamp, ("painted",), "top"),
    "ceiling light": Category("ceiling light", decor.ceiling_light, ("white",), "ceiling"),
    "pendant light": Category("hanging lamp", decor.pendant_light, ("painted",), "ceiling"),
    "plant": Category("potted plant", decor.potted_plant, ("pottery", "wicker")),
    "small plant": Category("small plant", decor.small_plant, ("pottery",), "top"),
    "vase": Category("vase of flowers", decor.vase, ("pottery",), "top"),
    "fruit bowl": Category("fruit bowl", decor.fruit_bowl, ("pottery",), "top"),
    "rug": Category("rug", decor.carpet, ("fabric",), "flat"),
    "painting": Category("painting", decor.picture_frame, ("frame",), "wall"),
    "mirror": Category("mirror", decor.wall_mirror, ("frame",), "wall"),
    "clock": Category("clock", decor.wall_clock, ("frame", "painted"), "wall"),
    "curtains": Category("curtains", decor.drapes, ("fabric",), "wall"),
    "wall shelf": Category("wall shelf", decor.wall_shelf, ("wood",), "wall"),
}


def draw_mesh(
    category: str,
    sketch_of: tuple[Atlas, Style],
    main: Finish,
    rng: np.random.Generator,
    size: tuple[float | None, float | None] = (None, None),
) -> Mesh:
    """Return the triangles of a new piece.

    Args:
        category: Key of `CATEGORIES`.
        sketch_of: The atlas that its patches go to, and the taste of the house.
        main: Finish that names its colour.
        rng: Source of randomness.
        size: Width and height that its place asks for, metres; None leaves them to the piece.

    Raises:
        ValueError: If there is no such category.
    """
    if category not in CATEGORIES:
        raise ValueError(f"there is no furniture {category!r}; known are {', '.join(CATEGORIES)}")
    sketch = Sketch(*sketch_of, main, rng)
    sketch.width, sketch.height = size
    CATEGORIES[category].draw(sketch)
    return sketch.mesh()
