"""Walks through a house, drawn as R2R's are: from somewhere in one room, by the shortest way, to a place that can be named."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import shapely

from navloop.configs.schema import LengthsConfig
from navloop.envs.follower import ShortestPathFollower
from navloop.envs.houses.sites import Site, Walker
from navloop.envs.simulator import Action
from navloop.geometry import Pose, Vector, heading_between, heading_vector, wrap_angle
from navloop.records import GroundTruth

NODE_SPACING = 1.98
"""Metres between points of a reference path. Source: R2R-CE's val_unseen (version v1-3), the mean distance between panoramas."""

FIRST_TURNS = ((0, 15, 0.104), (15, 45, 0.122), (45, 90, 0.227), (90, 135, 0.235), (135, 180, 0.312))
"""Degrees between where a walk looks at first and where it leads, and how often. Source: the same file, against the second panorama."""

TOLERANCE = 0.06
"""Share by which the length of a way may miss the length that was drawn."""

ATTEMPTS = 40
"""Draws for each tour that is wanted."""

CLEARANCE = 0.2
"""Metres that starts and goals keep from where the body would touch something."""

MOST_ACTIONS = 200
MOST_BUMPS = 1
LEAST_EFFICIENCY = 0.97
"""Share of the walked length that the shortest way must be, for a walk to be taken."""

SpotKind = Literal["object", "on", "doorway", "inside", "middle"]


class Spot(NamedTuple):
    """A place that can be named.

    Attributes:
        kind: "object" (beside the thing `number`), "on" (on the flat thing `number`), "doorway" (in the portal `number`), "inside"
            (just past the portal `number`), "middle" (in the middle of the room `number`).
        number: Place in the description's objects, portals or rooms.
        point: float64 (3,), metres.
        room: The room it is in; of a doorway, the room that it leads to.
    """

    kind: SpotKind
    number: int
    point: Vector
    room: int


@dataclass(frozen=True, slots=True, eq=False)
class Tour:
    """A walk to be described.

    Attributes:
        start: Where it starts, and which way the walker looks.
        spot: Where it ends.
        corners: float64 (K, 3), the shortest way that keeps a berth.
        length: Of the shortest way of all, metres.
        reference_path: float64 (P, 3), points about 2 m apart on it, the start first and the goal last.
        truth: The low-level walk.
    """

    start: Pose
    spot: Spot
    corners: Vector
    length: float
    reference_path: Vector
    truth: GroundTruth


def find_spots(site: Site, rng: np.random.Generator) -> list[Spot]:
    """Return the places of a house that a walk may end at."""
    spots = [*_beside_objects(site, rng), *_at_doorways(site, rng), *_middles(site)]
    return [spot for spot in spots if site.free.contains(spot.point)[0]]


def draw_tours(
    site: Site,
    count: int,
    rng: np.random.Generator,
    accept: Callable[[Tour], bool] = lambda tour: True,
    lengths: LengthsConfig = LengthsConfig(),  # noqa: B008 (frozen)
) -> list[Tour]:
    """Draw different tours through a site; fewer than `count` only where the house is too small for more.

    No two both start and end within a metre of each other.

    Args:
        site: Where.
        count: How many.
        rng: Source of randomness.
        accept: Says of a tour whether to keep it.
        lengths: How long they are.
    """
    spots = find_spots(site, rng)
    starts = np.array([_clear_point(site, rng) for _ in range(max(48, 2 * count))])
    distances = np.array([site.geodesics.distances(starts, spot.point) for spot in spots])
    distances[np.array([spot.room for spot in spots])[:, None] == site.rooms_at(starts)] = np.inf
    tours: list[Tour] = []
    for _ in range(ATTEMPTS * count):
        if len(tours) == count:
            break
        pair = _draw_pair(spots, distances, _draw_length(lengths, rng), rng)
        if pair is None:
            continue
        tour = _draw_tour(site, spots[pair[0]], starts[pair[1]], rng)
        if tour is not None and all(_differ(tour, other) for other in tours) and accept(tour):
            tours.append(tour)
            distances[pair] = np.inf
    return tours


KIND_WEIGHTS: dict[str, float] = {"object": 0.62, "on": 0.05, "doorway": 0.12, "inside": 0.13, "middle": 0.08}
"""How often walks end at each kind of spot."""


def _draw_pair(spots: list[Spot], distances: Vector, wanted: float, rng: np.random.Generator) -> tuple[int, int] | None:
    """Draw a spot and a start about so many metres apart, given their distances (spots, starts); None if none are."""
    ends, starts = np.nonzero(np.abs(distances - wanted) < TOLERANCE * wanted)
    if not len(ends):
        return None
    kinds = np.array([spots[end].kind for end in ends])
    present = sorted(set(kinds.tolist()))
    weights = np.array([KIND_WEIGHTS[kind] for kind in present])
    kind = present[int(rng.choice(len(present), p=weights / weights.sum()))]
    drawn = int(rng.choice(np.nonzero(kinds == kind)[0]))
    return int(ends[drawn]), int(starts[drawn])


def _draw_tour(site: Site, spot: Spot, start: Vector, rng: np.random.Generator) -> Tour | None:
    """Return the tour from a start to a spot, with a drawn heading; None where the walk is no good."""
    corners = site.ways.path(start, spot.point)
    if not len(corners) or not _is_told_simply(site, corners):
        return None
    corners[-1] = spot.point
    heading = _draw_heading(corners, rng)
    length = float(site.geodesics.distances(start[None], spot.point)[0])
    truth = walk(site, Pose(start, heading), spot.point, length)
    if truth is None:
        return None
    return Tour(Pose(start, heading), spot, corners, length, reference_path_of(corners), truth)


def _draw_heading(corners: Vector, rng: np.random.Generator) -> float:
    """Draw where the walker looks at first, as far from the way ahead as in R2R."""
    low, high, _ = FIRST_TURNS[int(rng.choice(len(FIRST_TURNS), p=[share for _, _, share in FIRST_TURNS]))]
    away = math.radians(rng.uniform(low, high)) * (1 if rng.random() < 0.5 else -1)
    ahead = resample(corners, 0.1)[min(10, len(resample(corners, 0.1)) - 1)]
    return wrap_angle(heading_between(corners[0], ahead) + away)


def _draw_length(lengths: LengthsConfig, rng: np.random.Generator) -> float:
    variance = math.log(1 + (lengths.deviation / lengths.mean) ** 2)
    while True:
        length = float(rng.lognormal(math.log(lengths.mean) - variance / 2, math.sqrt(variance)))
        if lengths.shortest <= length <= lengths.longest:
            return length


def _clear_point(site: Site, rng: np.random.Generator) -> Vector:
    """Draw a free point with some room around it."""
    for _ in range(50):
        point = site.free.sample(rng)
        if site.free.polygons[0].boundary.distance(shapely.Point(point[0], point[2])) > CLEARANCE:
            break
    return point


def _differ(tour: Tour, other: Tour) -> bool:
    starts = float(np.linalg.norm(tour.start.position - other.start.position))
    goals = float(np.linalg.norm(tour.spot.point - other.spot.point))
    return max(starts, goals) > 1.0


def _is_told_simply(site: Site, corners: Vector) -> bool:
    """Whether a way enters another room, no more than six of them, and none twice."""
    rooms = site.rooms_at(resample(corners, 0.1))
    entered = [int(rooms[0]), *(int(b) for a, b in itertools.pairwise(rooms) if a != b)]
    return 2 <= len(entered) <= 6 and len(set(entered)) == len(entered)


def walk(site: Site, start: Pose, goal: Vector, length: float) -> GroundTruth | None:
    """Return the low-level walk along the shortest way, or None where it goes wrong.

    Args:
        site: Where.
        start: From which pose.
        goal: float64 (3,), metres.
        length: Of the shortest way, metres.
    """
    walker = Walker(site, start)
    follower = ShortestPathFollower(walker, site.body, goal)
    actions: list[int] = []
    locations, bumps = [start.position], 0
    while len(actions) < MOST_ACTIONS:
        action = follower.next_action()
        actions.append(int(action))
        if action == Action.STOP:
            break
        bumps += walker.act(action)
        if bumps > MOST_BUMPS:
            return None
        if action == Action.FORWARD:
            locations.append(walker.pose.position)
    walked = float(np.linalg.norm(np.diff(locations, axis=0), axis=1).sum())
    left = float(site.geodesics.distances(locations[-1][None], goal)[0])
    if actions[-1] != Action.STOP or left > site.body.step or walked * LEAST_EFFICIENCY > length:
        return None
    return GroundTruth(
        locations=np.array(locations), actions=np.array(actions), forward_steps=actions.count(int(Action.FORWARD))
    )


def resample(corners: Vector, spacing: float) -> Vector:
    """Return points (N, 3) along a way (K, 3), evenly spaced at most `spacing` metres apart, both ends included."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1))])
    at = np.linspace(0.0, along[-1], max(1, math.ceil(along[-1] / spacing)) + 1)
    return np.column_stack([np.interp(at, along, corners[:, axis]) for axis in range(3)])


def reference_path_of(corners: Vector) -> Vector:
    """Return the points (P, 3) about 2 m apart that an episode keeps of a way (K, 3)."""
    length = float(np.linalg.norm(np.diff(corners, axis=0), axis=1).sum())
    path = resample(corners, length / max(1, round(length / NODE_SPACING)) + 1e-9)
    path[0], path[-1] = corners[0], corners[-1]
    return path


NEEDLESS = (
    *(
        "ceiling light",
        "hanging lamp",
        "curtains",
        "towel",
        "range hood",
        "kitchen cabinet",
        "wall shelf",
        "window",
        "door",
    ),
)
"""Labels that nobody is told to stop beside: overhead, or lost among others."""


def _beside_objects(site: Site, rng: np.random.Generator) -> Iterator[Spot]:
    for number, thing in enumerate(site.description.objects):
        x0, y0, z0, x1, y1, z1 = thing.box
        if thing.label in NEEDLESS or y0 > 1.7:
            continue
        room, floor = site.room_number(thing.room), site.description.rooms[site.room_number(thing.room)].floor
        middle = np.array([(x0 + x1) / 2, floor, (z0 + z1) / 2])
        if y1 < floor + 0.05:
            yield Spot("on", number, middle, room)
            continue
        for turned in (0.0, math.pi / 2, -math.pi / 2):
            way = heading_vector(thing.heading + turned)
            half = (abs(way[0]) * (x1 - x0) + abs(way[2]) * (z1 - z0)) / 2
            point = middle + way * (half + rng.uniform(0.4, 0.7))
            if site.rooms_at(point)[0] == room and site.free.contains(point)[0]:
                yield Spot("object", number, point, room)
                break


def _at_doorways(site: Site, rng: np.random.Generator) -> Iterator[Spot]:
    for number, portal in site.doorways.items():
        (xa, za), (xb, zb) = portal.segment
        middle = np.array([(xa + xb) / 2, 0.0, (za + zb) / 2])
        normal = np.array([zb - za, 0.0, xa - xb]) / math.hypot(xb - xa, zb - za)
        for side in (1.0, -1.0):
            inside = middle + side * normal * rng.uniform(0.7, 1.0)
            room = int(site.rooms_at(inside)[0])
            inside[1] = site.description.rooms[room].floor
            yield Spot("inside", number, inside, room)
            yield Spot("doorway", number, middle + [0.0, inside[1], 0.0], room)


def _middles(site: Site) -> Iterator[Spot]:
    for number, room in enumerate(site.description.rooms):
        x, z = np.mean(room.polygon, axis=0)
        middle = np.array([x, room.floor, z])
        near = site.free.nearest(middle, 0.5)
        if near is not None and room.label not in ("hallway", "closet"):
            yield Spot("middle", number, near, number)
