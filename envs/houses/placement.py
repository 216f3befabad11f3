"""Furnish a plan: which room gets what, as data, and the finished objects with their triangles."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from navloop.envs.glb import Part
from navloop.envs.houses import fittings, groups
from navloop.envs.houses.arrangement import Arrangement
from navloop.envs.houses.atlas import Packed
from navloop.envs.houses.furnisher import Furnisher, Standing
from navloop.envs.houses.furniture.catalogue import CATEGORIES
from navloop.envs.houses.plan import Plan
from navloop.envs.scenes import SceneObject

TEXTURE = "furniture"
MAX_TRIANGLES = 6000


class Rule(NamedTuple):
    """A piece that a room may get.

    Attributes:
        category: Key of `CATEGORIES`.
        chance: Probability that it is wanted at all.
        front: Metres kept free before it.
        where: "corner", "middle" or "any" part of a wall, or "hung" on one.
    """

    category: str
    chance: float = 1.0
    front: float = 0.5
    where: str = "any"


Step = Rule | Callable[[Furnisher, Arrangement], None]

# What a room gets, the most important first: later pieces find place around earlier ones or are left out.
ROOMS: dict[str, tuple[Step, ...]] = {
    "living room": (
        groups.sofa_group,
        Rule("fireplace", 0.35, 0.8, "middle"),
        Rule("bookshelf", 0.75),
        Rule("piano", 0.3, 0.7),
        Rule("sideboard", 0.4),
        Rule("armchair", 0.4, 0.4, "corner"),
        Rule("ottoman", 0.3, 0.0),
        Rule("floor lamp", 0.5, 0.0, "corner"),
        Rule("plant", 0.9, 0.0, "corner"),
        Rule("plant", 0.3, 0.0, "corner"),
    ),
    "dining room": (
        groups.dining_group,
        Rule("sideboard", 0.9, 0.5, "middle"),
        Rule("bookshelf", 0.2),
        Rule("plant", 0.7, 0.0, "corner"),
        Rule("floor lamp", 0.3, 0.0, "corner"),
    ),
    "kitchen": (
        fittings.kitchen_run,
        Rule("trash can", 0.8, 0.0, "corner"),
        Rule("shelf", 0.2, 0.5),
        Rule("plant", 0.3, 0.0, "corner"),
    ),
    "bedroom": (
        groups.bed_group,
        Rule("wardrobe", 0.95, 0.6),
        Rule("dresser", 0.6),
        Rule("armchair", 0.25, 0.3, "corner"),
        Rule("bookshelf", 0.2),
        Rule("bench", 0.15, 0.3),
        Rule("plant", 0.35, 0.0, "corner"),
        Rule("laundry basket", 0.2, 0.0, "corner"),
    ),
    "bathroom": (
        fittings.bath_group,
        Rule("towel", 1.0, 0.0, "hung"),
        Rule("laundry basket", 0.5, 0.0, "corner"),
        Rule("trash can", 0.4, 0.0, "corner"),
    ),
    "office": (
        groups.desk_group,
        Rule("bookshelf", 0.9),
        Rule("bookshelf", 0.4),
        Rule("armchair", 0.4, 0.4, "corner"),
        Rule("sideboard", 0.2),
        Rule("floor lamp", 0.3, 0.0, "corner"),
        Rule("plant", 0.5, 0.0, "corner"),
        Rule("trash can", 0.5, 0.0),
    ),
    "nursery": (
        Rule("crib", 1.0, 0.6, "corner"),
        Rule("dresser", 0.9),
        Rule("armchair", 0.8, 0.4, "corner"),
        Rule("toy chest", 0.8, 0.4),
        Rule("rocking horse", 0.6, 0.0),
        Rule("bookshelf", 0.3),
    ),
    "playroom": (
        Rule("toy chest", 1.0, 0.4),
        Rule("bookshelf", 0.8),
        Rule("rocking horse", 0.9, 0.0),
        Rule("sofa", 0.5, 0.5),
        Rule("ottoman", 0.6, 0.0),
        Rule("toy chest", 0.4, 0.4),
        Rule("piano", 0.25, 0.7),
        Rule("plant", 0.3, 0.0, "corner"),
    ),
    "laundry room": (
        fittings.laundry_run,
        Rule("laundry basket", 0.9, 0.0),
        Rule("shelf", 0.6, 0.4),
        Rule("ironing board", 0.6, 0.0),
        Rule("towel", 0.4, 0.0, "hung"),
    ),
    "closet": (
        Rule("shelf", 0.9, 0.4),
        Rule("boxes", 0.8, 0.0, "corner"),
        Rule("shoe rack", 0.6, 0.3),
        Rule("dresser", 0.3, 0.4),
        Rule("coat rack", 0.6, 0.0, "hung"),
    ),
    "entryway": (
        Rule("coat rack", 0.9, 0.0, "hung"),
        Rule("shoe rack", 0.8, 0.3),
        Rule("bench", 0.6, 0.3),
        Rule("mirror", 0.5, 0.0, "hung"),
        Rule("plant", 0.4, 0.0, "corner"),
    ),
    "hallway": (
        Rule("sideboard", 0.35, 0.5),
        Rule("shoe rack", 0.3, 0.3),
        Rule("bench", 0.4, 0.4),
        Rule("plant", 0.6, 0.0, "corner"),
        Rule("bookshelf", 0.25),
        Rule("mirror", 0.5, 0.0, "hung"),
    ),
}
_OTHER = (Rule("bookshelf"), Rule("plant", 1.0, 0.0, "corner"))
_CURTAINED = ("living room", "bedroom", "dining room", "office", "nursery", "playroom")
_PICTURES = {"living room": 3, "bedroom": 2, "dining room": 2, "office": 2, "hallway": 3, "entryway": 1, "nursery": 2}
_HUNG_AT = {"coat rack": 0.75, "towel": 0.75, "mirror": 1.1, "wall shelf": 1.45, "clock": 1.75}
_NARROW = {"wardrobe": 0.9, "bookshelf": 0.65, "sideboard": 1.0, "dresser": 0.7, "shelf": 0.7}  # Where wider ones fail.
# What goes first when a house has too many triangles.
_SPARE = ("small plant", "fruit bowl", "vase", "wall shelf", "ottoman", "side table", "table lamp", "armchair", "plant")


@dataclass(frozen=True, slots=True)
class Placed:
    """An object in its place, with its triangles in the world."""

    object: SceneObject
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Furnishing:
    """All objects of a house.

    Attributes:
        items: In the order of the rooms.
        textures: The one image that they share, uint8 (H, W, 3), by the name that the parts use.
    """

    items: tuple[Placed, ...]
    textures: dict[str, NDArray[np.uint8]]


def furnish(plan: Plan, rng: np.random.Generator) -> Furnishing:
    """Furnish every room of a plan.

    Nothing overlaps on the floor, 1 m before doors and openings stays clear, and ways between the doors of a room stay
    0.75 m wide. The same plan and generator state give the same house.
    """
    house = Furnisher(rng)
    for room in plan.rooms:
        floor = Arrangement.of(plan, room)
        _lamp(house, floor)
        _curtains(house, floor)
        for step in ROOMS.get(room.label, _OTHER):
            _take(house, floor, step)
        if room.label == "kitchen" and not any(other.label == "dining room" for other in plan.rooms):
            groups.dining_group(house, floor)
        _decorate(house, floor)
    standing = _within_budget(house.placed)
    counts: Counter[str] = Counter()
    packed = house.atlas.pack(np.concatenate([item.piece.mesh.images for item in standing]))
    return Furnishing(tuple(_place(packed, item, counts) for item in standing), {TEXTURE: packed.image})


def _take(house: Furnisher, floor: Arrangement, step: Step) -> None:
    if not isinstance(step, Rule):
        step(house, floor)
    elif house.chance(step.chance):
        piece = house.piece(step.category)
        if step.where == "hung":
            house.hang_anywhere(floor, piece, _HUNG_AT[step.category])
            return
        found = house.against(floor, piece, step.front, step.where)
        if not found and step.category in _NARROW:
            piece = house.piece(step.category, (_NARROW[step.category], None), like=piece)
            found = house.against(floor, piece, step.front, step.where)
        if found and step.category in ("sideboard", "dresser") and house.chance(0.8):
            house.top(floor, (piece, found[1]), _ornament(house), (piece.width * 0.3, 0.0), (None, None))
        if found and step.category == "piano":
            wall, (low, high, _) = floor.walls[found[0]], floor.walls[found[0]].along(found[1].rect)
            stool = house.piece("piano stool", like=piece)
            house.stand(floor, [(stool, wall.spot((low + high) / 2, piece.depth + 0.3, stool.mesh))])


def _ornament(house: Furnisher) -> str:
    return ("vase", "small plant", "table lamp")[int(house.rng.integers(3))]


def _lamp(house: Furnisher, floor: Arrangement) -> None:
    if floor.room.label in ("dining room",):
        return
    lamp = house.piece("ceiling light")
    wall = floor.walls[0]
    house.put(lamp, floor, wall.spot(wall.length / 2, wall.depth / 2, lamp.mesh), floor.room.ceiling)


def _curtains(house: Furnisher, floor: Arrangement) -> None:
    if floor.room.label not in _CURTAINED or house.chance(0.1):
        return
    first = None
    for index, wall in enumerate(floor.walls):
        for window in [face for face in floor.faces[index] if face.kind == "window"]:
            middle, width = (window.low + window.high) / 2, window.high - window.low
            if middle - width / 2 - 0.22 < 0 or middle + width / 2 + 0.22 > wall.length:
                continue
            low = max(0.08, window.bottom - 0.35)
            first = house.piece("curtains", (width, window.top + 0.1 - low), like=first)
            spot = wall.back(middle, first.mesh, 0.01)
            if any(spot.rect.overlaps(door) for door in floor.doors):
                continue
            house.put(first, floor, spot, low)


def _decorate(house: Furnisher, floor: Arrangement) -> None:
    """Hang pictures, clocks and shelves, and lay a rug where a long floor is bare."""
    label = floor.room.label
    for _ in range(_PICTURES.get(label, 0)):
        if house.chance(0.8):
            piece = house.piece("painting")
            house.hang_anywhere(floor, piece, max(1.15, 1.6 - piece.height / 2))
    if label in ("kitchen", "living room", "office", "hallway", "dining room") and house.chance(0.45):
        house.hang_anywhere(floor, house.piece("clock"), _HUNG_AT["clock"])
    if label in ("bedroom", "office", "playroom", "nursery", "kitchen") and house.chance(0.4):
        house.hang_anywhere(floor, house.piece("wall shelf"), _HUNG_AT["wall shelf"])
    if label in ("hallway", "entryway", "office", "nursery", "playroom") and house.chance(0.75):
        wall = floor.walls[0] if floor.walls[0].length >= floor.walls[1].length else floor.walls[1]
        long = min(2.4, wall.length - 0.8)
        carpet = house.piece("rug", (long, min(1.5, wall.depth - 0.6, long * 0.7)))
        house.lay(floor, carpet, wall.spot(wall.length / 2, wall.depth / 2, carpet.mesh))


def _within_budget(standing: list[Standing]) -> list[Standing]:
    """Leave out small things, from the last room on, until the house has few enough triangles."""
    kept = list(standing)
    total = sum(len(item.piece.mesh.faces) for item in kept)
    for category in _SPARE:
        for item in [item for item in reversed(kept) if item.piece.category == category]:
            if total <= MAX_TRIANGLES:
                return kept
            if category == "side table":
                continue
            kept.remove(item)
            total -= len(item.piece.mesh.faces)
    return kept


def _place(packed: Packed, item: Standing, counts: Counter[str]) -> Placed:
    """Return the object with its triangles turned and moved to where it stands."""
    piece, spot = item.piece, item.spot
    label = CATEGORIES[piece.category].label
    counts[label] += 1
    cos, sin = (1, 0, -1, 0)[spot.quarter], (0, 1, 0, -1)[spot.quarter]
    x, y, z = piece.mesh.vertices.T
    vertices = np.stack([x * cos + z * sin + spot.x, y + item.y, z * cos - x * sin + spot.z], axis=1).astype(np.float32)
    part = Part(TEXTURE, vertices, piece.mesh.faces, packed.uv(piece.mesh.images, piece.mesh.shares))
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    x0, y0, z0, x1, y1, z1 = (float(v) for v in (*low, *high))
    box = (x0, y0, z0, x1, y1, z1)
    name = f"{label.replace(' ', '_').lower()}_{counts[label]}"
    heading = (0.0, math.pi / 2, math.pi, -math.pi / 2)[spot.quarter]
    found = SceneObject(name, label, piece.finish.colour, piece.finish.material, item.room.name, box, heading)
    return Placed(found, (part,))
