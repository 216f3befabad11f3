"""How rooms share a footprint: trees of cuts, drawn from several grammars of homes. Doors and windows are decided in `plan`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

GRID = 0.05
OUTSIDE = ""
PUBLIC = ("living room", "kitchen", "dining room")
CIRCULATION = ("hallway", "entryway")
SERVICE = ("bathroom", "closet", "laundry room")

# Metres along its row that a room asks for, and the least and most that either side may measure in the clear.
_LENGTH = {
    "living room": 5.4,
    "kitchen": 3.9,
    "dining room": 3.9,
    "bedroom": 3.7,
    "bathroom": 2.3,
    "office": 3.0,
    "playroom": 3.4,
    "nursery": 3.0,
    "laundry room": 2.1,
    "closet": 1.7,
    "entryway": 2.2,
    "hallway": 1.5,
}
_SIDES = {
    "living room": (3.6, 8.6),
    "kitchen": (2.6, 6.0),
    "dining room": (2.8, 6.0),
    "bedroom": (2.8, 5.8),
    "bathroom": (1.8, 4.4),
    "office": (2.4, 5.0),
    "playroom": (2.6, 5.2),
    "nursery": (2.6, 5.0),
    "laundry room": (1.6, 4.4),
    "closet": (1.4, 3.4),
    "entryway": (1.7, 5.8),
    "hallway": (1.2, 13.0),
}
_MAX_ASPECT = 2.3
_AREA = (72.0, 225.0)

Rectangle = tuple[float, float, float, float]
"""min x, min z, max x, max z, metres."""


class Cut(NamedTuple):
    """A rectangle divided along an axis (0 for x, 1 for z) into parts of these relative sizes, each a label or cut again."""

    axis: int
    parts: tuple[tuple[float, Tree], ...]


Tree = str | Cut
Home = tuple[Tree, float, float]
"""A tree with the metres along x and z that suit it."""


def draw_layout(rng: np.random.Generator) -> list[tuple[str, Rectangle]]:
    """Draw labelled rooms that tile a footprint, bounded by the middle of their walls, on the 0.05 m grid."""
    while True:
        grammar = _GRAMMARS[int(rng.integers(len(_GRAMMARS)))]
        tree, width, depth = grammar(rng)
        scale = rng.uniform(0.98, 1.2)
        rooms = _divide(tree, (0.0, 0.0, _on_grid(width * scale), _on_grid(depth * scale)))
        rooms = [(label, box) for label, box in rooms if label != OUTSIDE]
        if _is_livable(rooms):
            return _turned(rooms, rng)


def _divide(tree: Tree, box: Rectangle) -> list[tuple[str, Rectangle]]:
    if isinstance(tree, str):
        return [(tree, box)]
    start, end = box[tree.axis], box[tree.axis + 2]
    # Hallways keep their width; the others share the rest.
    fixed = sum(size for size, part in tree.parts if part == "hallway")
    stretch = (end - start - fixed) / (sum(size for size, _ in tree.parts) - fixed)
    edges = [start]
    for size, part in tree.parts:
        edges.append(_on_grid(edges[-1] + size * (1 if part == "hallway" else stretch)))
    edges[-1] = end
    rooms = []
    for (_, part), low, high in zip(tree.parts, edges, edges[1:], strict=False):
        inner = (low, box[1], high, box[3]) if tree.axis == 0 else (box[0], low, box[2], high)
        rooms += _divide(part, inner)
    return rooms


def _is_livable(rooms: list[tuple[str, Rectangle]]) -> bool:
    area = 0.0
    for label, (x0, z0, x1, z1) in rooms:
        short, long = sorted((x1 - x0 - 0.1, z1 - z0 - 0.1))
        least, most = _SIDES[label]
        if short < least or long > most or (label != "hallway" and long > _MAX_ASPECT * short):
            return False
        area += short * long
    return 4 <= len(rooms) <= 10 and _AREA[0] <= area <= _AREA[1]


def _turned(rooms: list[tuple[str, Rectangle]], rng: np.random.Generator) -> list[tuple[str, Rectangle]]:
    """Mirror and transpose at random, and centre on the origin."""
    width, depth = (max(box[i] for _, box in rooms) for i in (2, 3))
    mirror_x, mirror_z, transpose = rng.integers(2, size=3)
    shift_x, shift_z = _on_grid(width / 2), _on_grid(depth / 2)
    turned = []
    for label, (x0, z0, x1, z1) in rooms:
        x0, x1 = (width - x1, width - x0) if mirror_x else (x0, x1)
        z0, z1 = (depth - z1, depth - z0) if mirror_z else (z0, z1)
        box = (x0 - shift_x, z0 - shift_z, x1 - shift_x, z1 - shift_z)
        if transpose:
            box = (box[1], box[0], box[3], box[2])
        turned.append((label, (_on_grid(box[0]), _on_grid(box[1]), _on_grid(box[2]), _on_grid(box[3]))))
    return turned


def _on_grid(value: float) -> float:
    return round(round(value / GRID) * GRID, 2)


def _row(axis: int, labels: list[str], rng: np.random.Generator) -> tuple[Cut, float]:
    """Return a row of rooms and its length."""
    sizes = [_LENGTH[label] * rng.uniform(0.92, 1.12) for label in labels]
    return Cut(axis, tuple(zip(sizes, labels, strict=True))), sum(sizes)


def _private(rng: np.random.Generator, least: int, most: int) -> list[str]:
    """Draw bedrooms, bathrooms and the like, in an order that is good to build: big and small mixed."""
    bedrooms = int(rng.integers(1, 4))
    labels = ["bathroom"] + ["bedroom"] * bedrooms
    extras = ["office", "laundry room", "playroom" if bedrooms > 1 else "closet", "bathroom", "closet", "nursery"]
    count = int(rng.integers(least, most + 1))
    weights = np.array([3, 2, 1.5, 2 if bedrooms > 1 else 0.4, 1, 0.8])
    order = rng.choice(len(extras), len(extras), replace=False, p=weights / weights.sum())
    labels += [extras[i] for i in order]
    labels = labels[:count]
    return [labels[i] for i in rng.permutation(len(labels))]


def _rows(rng: np.random.Generator) -> Home:
    """A front row to live in, a hallway, and a back row to sleep in."""
    front = ["living room", "kitchen"]
    if rng.random() < 0.75:
        front.insert(1, "dining room")
    if rng.random() < 0.6:
        front.insert(int(rng.integers(1, len(front) + 1)), "entryway")
    back = _private(rng, 3, 5)
    extra = _private(rng, 2, 3)[:1] if rng.random() < 0.4 else []
    front_row, front_length = _row(0, front + extra, rng)
    back_row, back_length = _row(0, back, rng)
    hall, front_depth, back_depth = rng.uniform(1.4, 1.9), rng.uniform(4.2, 5.4), rng.uniform(3.5, 4.4)
    tree = Cut(1, ((front_depth, front_row), (hall, "hallway"), (back_depth, back_row)))
    return tree, (front_length + back_length) / 2, front_depth + hall + back_depth


def _block(rng: np.random.Generator) -> Home:
    """A block to live in over the whole depth, and a hallway away from it between two rows of rooms."""
    private = _private(rng, 3, 6)
    middle = (len(private) + 1) // 2
    upper, upper_length = _row(0, private[:middle], rng)
    lower, lower_length = _row(0, private[middle:], rng)
    hall, first, second = rng.uniform(1.4, 1.8), rng.uniform(3.3, 4.3), rng.uniform(3.3, 4.3)
    wing = Cut(1, ((first, upper), (hall, "hallway"), (second, lower)))
    publics = ["living room", "kitchen"] if rng.random() < 0.35 else ["living room", "dining room", "kitchen"]
    if rng.random() < 0.5:
        publics = publics[::-1]
    if len(publics) == 3 and rng.random() < 0.5:
        # Dining room and kitchen side by side, across from the living room.
        pair = Cut(0, ((3.9, "dining room"), (3.7, "kitchen")))
        parts = ((5.2, "living room"), (4.2, pair))
        block: Cut = Cut(1, parts if rng.random() < 0.5 else parts[::-1])
        width = rng.uniform(6.6, 7.8)
    else:
        block, _ = _row(1, publics, rng)
        width = rng.uniform(4.4, 5.4) if len(publics) == 2 else rng.uniform(4.0, 4.8)
    wing_length = (upper_length + lower_length) / 2
    return Cut(0, ((width, block), (wing_length, wing))), width + wing_length, first + hall + second


def _heart(rng: np.random.Generator) -> Home:
    """No hallway: the living room in the middle leads everywhere."""
    private = _private(rng, 2, 4)
    rest = ["kitchen"] + (["entryway"] if rng.random() < 0.4 else []) + _private(rng, 1, 2)[: int(rng.integers(0, 2))]
    upper, upper_length = _row(0, private, rng)
    lower, lower_length = _row(0, rest, rng)
    heart: Tree = "living room"
    if rng.random() < 0.65:
        heart = Cut(0, ((5.6, "living room"), (3.9, "dining room")))
    first, middle, second = rng.uniform(3.4, 4.2), rng.uniform(4.2, 5.0), rng.uniform(3.2, 4.0)
    tree = Cut(1, ((first, upper), (middle, heart), (second, lower)))
    return tree, max(upper_length, lower_length, 7.6), first + middle + second


def _angle(rng: np.random.Generator) -> Home:
    """An L: a wing to live in and, around the corner, a wing of bedrooms along a hallway."""
    public = ["living room", "dining room", "kitchen"] if rng.random() < 0.7 else ["living room", "kitchen"]
    if rng.random() < 0.4:
        public.insert(1, "entryway")
    front, front_length = _row(0, public if rng.random() < 0.5 else public[::-1], rng)
    front_depth, hall = rng.uniform(4.4, 5.4), rng.uniform(1.4, 1.8)
    private = _private(rng, 3, 6)
    count = len(private) if len(private) < 4 else (len(private) + 1) // 2
    inner, inner_length = _row(1, private[:count], rng)
    columns: list[tuple[float, Tree]] = [(rng.uniform(3.5, 4.4), inner), (hall, "hallway")]
    if count < len(private):
        outer, outer_length = _row(1, private[count:], rng)
        columns.append((rng.uniform(3.4, 4.2), outer))
        inner_length = (inner_length + outer_length) / 2
    wing_width = sum(size for size, _ in columns)
    width = max(front_length, wing_width + 2.0)
    wing = Cut(0, ((wing_width, Cut(0, tuple(columns))), (width - wing_width, OUTSIDE)))
    return Cut(1, ((front_depth, front), (inner_length, wing))), width, front_depth + inner_length


_GRAMMARS: tuple[Callable[[np.random.Generator], Home], ...] = (_rows, _rows, _block, _block, _heart, _angle, _angle)
