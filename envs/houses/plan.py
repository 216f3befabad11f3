"""Floor plans of single-floor homes: rooms, the walls between them, doors, openings and windows. No geometry is built here."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from navloop.envs.houses.layouts import CIRCULATION, PUBLIC, SERVICE, Rectangle, draw_layout
from navloop.envs.houses.surfaces import draw_colours
from navloop.envs.scenes import Portal, Room

WALL = 0.1
HEIGHT = 2.6
DOOR_TOP = 2.05
OPENING_TOP = 2.2
_CORNER = 0.2  # Metres that a door keeps from a corner: its frame fits, and a wardrobe door still opens.


@dataclass(frozen=True, slots=True)
class Plan:
    """The rooms of a house and what connects them.

    Attributes:
        rooms: Axis-aligned rectangles on a 0.05 m grid; `Room.polygon` is the clear floor between the walls, as
            (min x, min z), (min x, max z), (max x, max z), (max x, min z). Neighbours share one wall.
        portals: Doors, openings and windows; a segment lies on the middle of its wall.
        wall: Thickness of every wall, metres.
        height: From floor (y = 0) to ceiling, metres.
    """

    rooms: tuple[Room, ...]
    portals: tuple[Portal, ...]
    wall: float = WALL
    height: float = HEIGHT


class Shared(NamedTuple):
    """A stretch of wall between two rooms, or between a room (first) and the outside (second is -1).

    Attributes:
        first: Index of a room.
        second: Index of the other room.
        axis: 0 if the wall runs along x, 1 if along z.
        at: The middle of the wall on the other axis.
        low: Start of the stretch, clear of both rooms' corners.
        high: Its end.
        side: Which side of the first room: +1 if `at` is its upper bound, -1 if its lower.
    """

    first: int
    second: int
    axis: int
    at: float
    low: float
    high: float
    side: int


def draw_plan(rng: np.random.Generator) -> Plan:
    """Draw a home of 4 to 10 rooms in which every room can be reached, with a front door and windows."""
    while True:
        layout = draw_layout(rng)
        labels = [label for label, _ in layout]
        boxes = [box for _, box in layout]
        links = _connect(labels, _inner_walls(boxes), rng)
        if links is None:
            continue
        names = _names(labels)
        front = _front_door(labels, names, outer_walls(boxes), rng)
        if front is None:
            continue
        portals = [_passage(wall, kind, names, labels, rng) for wall, kind in links] + [front]
        portals += _windows(labels, names, outer_walls(boxes), front, rng)
        colours = draw_colours(labels, rng)
        rooms = [
            Room(name, label, _corners(box), 0.0, HEIGHT, colour)
            for name, label, box, colour in zip(names, labels, boxes, colours, strict=True)
        ]
        return Plan(tuple(rooms), tuple(portals))


def _corners(box: Rectangle) -> tuple[tuple[float, float], ...]:
    half = WALL / 2
    x0, z0, x1, z1 = (round(v, 2) + 0.0 for v in (box[0] + half, box[1] + half, box[2] - half, box[3] - half))
    return (x0, z0), (x0, z1), (x1, z1), (x1, z0)


def _names(labels: list[str]) -> list[str]:
    seen: Counter[str] = Counter()
    names = []
    for label in labels:
        seen[label] += 1
        names.append(f"{label.replace(' ', '_')}_{seen[label]}")
    return names


def _inner_walls(boxes: list[Rectangle]) -> list[Shared]:
    walls = []
    for i, a in enumerate(boxes):
        for j, b in enumerate(boxes):
            for axis in (0, 1):
                across = 1 - axis
                low, high = max(a[axis], b[axis]) + WALL / 2, min(a[axis + 2], b[axis + 2]) - WALL / 2
                if a[across + 2] == b[across] and high - low > 0.3:
                    walls.append(Shared(i, j, axis, b[across], low, high, 1))
    return walls


def outer_walls(boxes: list[Rectangle]) -> list[Shared]:
    """Return the stretches of wall behind which no other room lies; boxes are bounded by the middle of the walls."""
    walls = []
    for i, a in enumerate(boxes):
        for axis in (0, 1):
            across = 1 - axis
            for side, at in ((-1, a[across]), (1, a[across + 2])):
                facing = across + 2 if side < 0 else across
                behind = [(b[axis], b[axis + 2]) for b in boxes if b[facing] == at]
                for low, high in _minus((a[axis], a[axis + 2]), behind):
                    walls.append(Shared(i, -1, axis, at, low + WALL / 2, high - WALL / 2, side))
    return walls


def _minus(whole: tuple[float, float], taken: list[tuple[float, float]]) -> list[tuple[float, float]]:
    free, start = [], whole[0]
    for low, high in sorted(taken):
        if low - start > 0.3:
            free.append((start, min(low, whole[1])))
        start = max(start, high)
    if whole[1] - start > 0.3:
        free.append((start, whole[1]))
    return free


def _link_cost(a: str, b: str) -> float | None:
    """Return how unwelcome a way between two kinds of rooms is; None where nobody would build it."""
    a, b = sorted((a, b), key=lambda label: _rank(label))
    ranks = _rank(a), _rank(b)
    if (a, b) == ("kitchen", "laundry room"):
        return 4.0
    table = {(0, 0): 0.0, (0, 1): 1.0, (1, 1): 0.5, (0, 2): 2.0, (0, 3): 3.0, (1, 2): 6.0, (1, 3): 7.0}
    if ranks == (2, 3) and a == "bedroom" and b in ("bathroom", "closet"):
        return 5.0
    return table.get(ranks)


def _rank(label: str) -> int:
    return 0 if label in CIRCULATION else 1 if label in PUBLIC else 3 if label in SERVICE else 2


def _connect(labels: list[str], walls: list[Shared], rng: np.random.Generator) -> list[tuple[Shared, str]] | None:
    """Choose walls to open so that every room is reached, none through a bathroom or bedroom unless it is en suite."""
    candidates = []
    for wall in walls:
        cost = _link_cost(labels[wall.first], labels[wall.second])
        if cost is not None and wall.high - wall.low >= 1.0 + 2 * _CORNER:
            candidates.append((cost + rng.uniform(0, 1.2), wall))
    candidates.sort(key=lambda candidate: candidate[0])
    group = list(range(len(labels)))
    ways: Counter[int] = Counter()
    links = []
    for _, wall in candidates:
        pair = (wall.first, wall.second)
        ranks = [_rank(labels[i]) for i in pair]
        new = group[pair[0]] != group[pair[1]]
        en_suite = sorted(ranks) == [2, 3]
        full = any(rank == 3 and ways[i] for i, rank in zip(pair, ranks, strict=True)) or (
            not en_suite and any(rank == 2 and ways[i] for i, rank in zip(pair, ranks, strict=True))
        )
        loop = max(ranks) <= 1 and rng.random() < (0.9 if sum(ranks) in (0, 2) else 0.45)
        if full or not (new or loop):
            continue
        links.append((wall, _kind(wall, ranks, rng)))
        for i, rank in zip(pair, ranks, strict=True):
            ways[i] += not en_suite or rank == 3
        group = [group[pair[0]] if g == group[pair[1]] else g for g in group]
    return links if len(set(group)) == 1 else None


def _kind(wall: Shared, ranks: list[int], rng: np.random.Generator) -> str:
    wide = wall.high - wall.low >= 1.4 + 2 * 0.25
    open_ = max(ranks) <= 1 and (sum(ranks) in (0, 2) or rng.random() < 0.6)
    return "opening" if wide and open_ else "door"


def _passage(wall: Shared, kind: str, names: list[str], labels: list[str], rng: np.random.Generator) -> Portal:
    length = wall.high - wall.low
    if kind == "opening":
        width = _snap(min(rng.uniform(1.4, 2.4), length - 0.5))
        low = _snap(wall.low + (length - width) * rng.uniform(0.35, 0.65))
        top = OPENING_TOP
    else:
        width = 0.9 if rng.random() < 0.6 else 1.0
        room = length - width - 2 * _CORNER
        # Beside a corner: the leaf then opens against a wall, and the rest of the wall is left for furniture.
        offset = min(room, rng.uniform(0.0, 0.25)) if rng.random() < 0.85 else room / 2
        low = _snap(wall.low + _CORNER + (offset if rng.random() < 0.5 else room - offset))
        top = DOOR_TOP
    return Portal((names[wall.first], names[wall.second]), _segment(wall, low, width), kind, 0.0, top)


def _segment(wall: Shared, low: float, width: float) -> tuple[tuple[float, float], tuple[float, float]]:
    ends = [(round(v, 2), wall.at) for v in (low, low + width)]
    first, second = ends if wall.axis == 0 else [(b, a) for a, b in ends]
    return first, second


def _snap(value: float) -> float:
    return round(round(value / 0.05) * 0.05, 2)


def _front_door(labels: list[str], names: list[str], walls: list[Shared], rng: np.random.Generator) -> Portal | None:
    order = {"entryway": 0, "hallway": 1, "living room": 2, "dining room": 3}
    fitting = [w for w in walls if labels[w.first] in order and w.high - w.low >= 1.3]
    if not fitting:
        return None
    best = min(order[labels[w.first]] for w in fitting)
    fitting = [w for w in fitting if order[labels[w.first]] == best]
    wall = fitting[int(rng.integers(len(fitting)))]
    spare = wall.high - wall.low - 1.0
    # In the middle of a narrow wall, off the middle of a wide one.
    low = _snap(wall.low + spare * (0.5 if spare < 1.5 else rng.choice([0.25, 0.75])))
    return Portal((names[wall.first], ""), _segment(wall, low, 1.0), "door", 0.0, DOOR_TOP)


# Width range, bottom and top of a room's windows, metres.
_WINDOWS = {
    "living room": (1.6, 2.2, 0.6, 2.2),
    "dining room": (1.4, 1.9, 0.8, 2.2),
    "kitchen": (1.1, 1.6, 1.1, 2.1),
    "bedroom": (1.1, 1.7, 0.9, 2.1),
    "bathroom": (0.6, 0.8, 1.4, 2.1),
    "laundry room": (0.6, 0.8, 1.4, 2.1),
    "hallway": (0.7, 0.9, 0.9, 2.1),
    "entryway": (0.6, 0.8, 1.1, 2.1),
}
_OTHER_WINDOW = (1.0, 1.5, 0.9, 2.1)


def _windows(
    labels: list[str], names: list[str], walls: list[Shared], front: Portal, rng: np.random.Generator
) -> list[Portal]:
    portals = []
    for wall in walls:
        label = labels[wall.first]
        least, most, bottom, top = _WINDOWS.get(label, _OTHER_WINDOW)
        if label == "closet" or rng.random() < (0.5 if label in CIRCULATION else 0.12):
            continue
        low, high = wall.low, wall.high
        (x0, z0), (x1, z1) = front.segment
        door = ((x0, x1), z0) if wall.axis == 0 else ((z0, z1), x0)
        is_door_wall = front.rooms[0] == names[wall.first] and door[1] == wall.at and (x0 == x1) == (wall.axis == 1)
        if is_door_wall:
            below, above = (low, door[0][0] - 0.25), (door[0][1] + 0.25, high)
            low, high = max(below, above, key=lambda free: free[1] - free[0])
        count = 2 if high - low > 5.2 else 1
        stretch = (high - low) / count
        for i in range(count):
            width = _snap(min(rng.uniform(least, most), stretch - 0.7))
            if width < 0.55:
                continue
            start = _snap(low + stretch * i + (stretch - width) / 2)
            portals.append(Portal((names[wall.first], ""), _segment(wall, start, width), "window", bottom, top))
    return portals
