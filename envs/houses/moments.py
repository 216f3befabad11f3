"""What happens on the walk of an episode, moment by moment: found again from the house and the episode, for files keep no tours.

A data set keeps start, goal and reference path of a tour, and the tour follows from them: the way that keeps a berth is the house's, and
which place the goal names can be read off it exactly, since it was put there by a rule (`tours.find_spots`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from navloop.envs.houses.guide import NEAR_DOOR, Beat
from navloop.envs.houses.narrative import Narrative, narrate
from navloop.envs.houses.outline import outline
from navloop.envs.houses.phrases import lexicon
from navloop.envs.houses.sites import Site
from navloop.envs.houses.tours import NEEDLESS, Spot, Tour, reference_path_of
from navloop.geometry import Pose, Vector, heading_vector, quaternion_to_heading
from navloop.records import Episode

Event = Literal["turn", "enter", "pass", "stop"]

ROUNDING = 1e-6
"""Metres by which a point may miss the place that it was put at."""

SAME_WAY = 1e-3
"""Metres by which the points of a way may differ from those that an episode keeps, if both are of one house."""

_TURNS = {"turn", "turn_at", "turn_toward", "turn_here", "turn_first", "turn_around", "around_first"}
_ENTRANCES = {"exit", "exit_into", "exit_turn", "enter", "opposite", "turn_into", "door_side", "ordinal"}
_WHOLE_ROOM = {"ordinal", "opposite"}  # what these say is seen only by one who saw the room from its entrance
_PASSINGS = {"pass", "over"}


class Moment(NamedTuple):
    """One thing that happens on a walk, with the way around it that shows it; metres from the start of the walk.

    Attributes:
        event: What: a turn, a room entered, a thing passed, the end.
        at: Where it happens.
        start: Where what shows it begins.
        end: Where that ends.
        beat: How it can be said.
        side: "left" or "right" of the walker, or "around"; "" where there is no side.
        room: Label of the room entered, else of the room it happens in.
        thing: Label of the thing passed or stopped at; "" where there is none.
    """

    event: Event
    at: float
    start: float
    end: float
    beat: Beat
    side: str
    room: str
    thing: str


def list_classes() -> list[str]:
    """Return the class names of moments in order; the same for every house and data set."""
    rooms, things = lexicon()["rooms"], lexicon()["things"]
    turns = [f"turn {side}" for side in ("left", "right", "around")]
    return [*turns, "stop", *(f"enter {label}" for label in rooms), *(f"pass {label}" for label in things)]


def class_of(moment: Moment) -> str:
    """Return the class name of a moment, one of `list_classes`."""
    words = {"turn": moment.side, "enter": moment.room, "pass": moment.thing, "stop": ""}[moment.event]
    return f"{moment.event} {words}".strip()


def recall_tours(site: Site, episode: Episode) -> Iterator[Tour]:
    """Yield the tours that an episode may have been made from: one, unless its goal can be named in several ways; none in another house.

    Args:
        site: The house.
        episode: With goal, reference path and ground truth.
    """
    if episode.goal_position is None or episode.reference_path is None or episode.ground_truth is None:
        return
    corners = site.ways.path(episode.start_position, episode.goal_position)
    if not len(corners):
        return
    corners[-1] = episode.goal_position
    path = reference_path_of(corners)
    if path.shape != episode.reference_path.shape or np.abs(path - episode.reference_path).max() > SAME_WAY:
        return
    start = Pose(episode.start_position, quaternion_to_heading(episode.start_rotation))
    length = float(site.geodesics.distances(start.position[None], episode.goal_position)[0])
    for spot in _spots_at(site, episode.goal_position):
        yield Tour(start, spot, corners, length, path, episode.ground_truth)


def find_moments(site: Site, tour: Tour) -> tuple[Narrative, list[Moment]]:
    """Return a tour as it is walked and what happens on it, in order; nothing where it cannot be told so that only it is meant."""
    narrative, plan = narrate(site, tour), outline(site, tour)
    if plan is None:
        return narrative, []
    found = [moment for beat in plan.beats if (moment := _moment(site, narrative, beat)) is not None]
    end = float(narrative.along[-1])
    room = site.description.rooms[narrative.stays[-1].room].label
    stop = plan.stop[-1]
    found.append(Moment("stop", end, end - 2.5, end, stop, "", room, _thing(site, stop)))
    return narrative, found


def _moment(site: Site, narrative: Narrative, beat: Beat) -> Moment | None:
    kinds, side = set(beat.kinds), str(beat.slots.get("side", ""))
    if kinds <= _ENTRANCES:
        return _entrance(site, narrative, beat)
    stay = next(stay for stay in reversed(narrative.stays) if stay.start <= max(0.0, beat.at))
    room = site.description.rooms[stay.room].label
    if kinds <= _TURNS:
        side = "around" if kinds & {"turn_around", "around_first"} else side
        at = max(0.0, beat.at)
        # A turn just past a doorway is told at the doorway, and so is one before the first step.
        after = 0.3 if beat.at < 0 else NEAR_DOOR + 0.3 if beat.at - stay.start < 0.02 else 0.8
        return Moment("turn", at, at - 0.8, at + after, beat, side, room, "")
    if kinds <= _PASSINGS:
        after = 0.6 if "over" in kinds else 0.1
        return Moment("pass", beat.at, beat.at - 2.5, beat.at + after, beat, side, room, _thing(site, beat))
    return None


def _entrance(site: Site, narrative: Narrative, beat: Beat) -> Moment:
    number = int(np.argmin([abs(stay.end - beat.at) for stay in narrative.stays]))
    stay, following = narrative.stays[number : number + 2]
    after = NEAR_DOOR + 0.4 if "exit_turn" in beat.kinds else 1.0
    # "Leave the bedroom" says too little of what is seen, and a count of doorways takes a long look back, where something else can be said.
    plain = tuple(kind for kind in beat.kinds if kind not in ("exit", "ordinal")) or beat.kinds
    start = stay.start - 0.2 if set(plain) & _WHOLE_ROOM else stay.end - 1.7
    label = site.description.rooms[following.room].label
    beat = beat._replace(kinds=plain)
    return Moment("enter", stay.end, start, stay.end + after, beat, "", label, "")


def _thing(site: Site, beat: Beat) -> str:
    return site.description.objects[beat.things[0]].label if beat.things else ""


def _spots_at(site: Site, goal: Vector) -> Iterator[Spot]:
    """Yield the places that a goal may have been put at."""
    for find in (_objects_at, _doorways_at, _middles_at):
        yield from find(site, goal)


def _objects_at(site: Site, goal: Vector) -> Iterator[Spot]:
    goal_room = int(site.rooms_at(goal)[0])
    for number, thing in enumerate(site.description.objects):
        x0, y0, z0, x1, _, z1 = thing.box
        room = site.room_number(thing.room)
        if thing.label in NEEDLESS or y0 > 1.7 or room != goal_room:
            continue
        away = goal - np.array([(x0 + x1) / 2, goal[1], (z0 + z1) / 2])
        if float(np.abs(away).max()) < ROUNDING:
            yield Spot("on", number, goal, room)
        for turned in (0.0, math.pi / 2, -math.pi / 2):
            way = heading_vector(thing.heading + turned)
            half = (abs(way[0]) * (x1 - x0) + abs(way[2]) * (z1 - z0)) / 2
            if 0.4 - ROUNDING <= away @ way - half <= 0.7 + ROUNDING and _is_along(away, way):
                yield Spot("object", number, goal, room)


def _doorways_at(site: Site, goal: Vector) -> Iterator[Spot]:
    room = int(site.rooms_at(goal)[0])
    for number, portal in site.doorways.items():
        (xa, za), (xb, zb) = portal.segment
        away = goal - np.array([(xa + xb) / 2, goal[1], (za + zb) / 2])
        normal = np.array([zb - za, 0.0, xa - xb]) / math.hypot(xb - xa, zb - za)
        if float(np.abs(away).max()) < ROUNDING:
            yield Spot("doorway", number, goal, room)
        if 0.7 - ROUNDING <= abs(away @ normal) <= 1.0 + ROUNDING and _is_along(away, normal):
            yield Spot("inside", number, goal, room)


def _middles_at(site: Site, goal: Vector) -> Iterator[Spot]:
    for number, room in enumerate(site.description.rooms):
        x, z = np.mean(room.polygon, axis=0)
        near = site.free.nearest(np.array([x, room.floor, z]), 0.5)
        if near is not None and float(np.abs(near - goal).max()) < ROUNDING:
            yield Spot("middle", number, goal, number)


def _is_along(away: Vector, way: Vector) -> bool:
    return float(np.abs(away - (away @ way) * way).max()) < ROUNDING
