"""What to say about a walk, before it is put into words: the beats that must be told and those that may be."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import numpy as np

from navloop.envs.houses.crossings import crossing
from navloop.envs.houses.endings import ending
from navloop.envs.houses.guide import Beat, Guide, Slots
from navloop.envs.houses.narrative import PLAIN, SHARP, SLIGHT, Stay, Turn, narrate
from navloop.envs.houses.sites import Site
from navloop.envs.houses.tours import Tour


@dataclass
class Outline:
    """The beats of one tour, in the order of the walk.

    Attributes:
        beats: All but the end.
        stop: Ways to say where it ends.
    """

    beats: list[Beat] = field(default_factory=list)
    stop: list[Beat] = field(default_factory=list)


def outline(site: Site, tour: Tour) -> Outline | None:
    """Return what can be said about a tour, or None if its end or a doorway cannot be told from others."""
    guide = Guide(site, narrate(site, tour))
    stop = ending(guide)
    if not stop:
        return None
    guide.told = {thing for beat in stop for thing in beat.things}
    beats = _beginning(guide)
    for number in range(len(guide.stays)):
        beats += _inside(guide, number)
        if not guide.is_last(number):
            passage = crossing(guide, number)
            if passage is None:
                return None
            beats += passage
    return Outline(sorted(beats, key=lambda beat: beat.at), stop)


def _beginning(guide: Guide) -> list[Beat]:
    """Return what may be said before the first step: which way to face."""
    first, end = guide.narrative.first, guide.stays[0].end
    beats = []
    # A room with one way out needs no word on where to turn first.
    weight = 0.55 if len(guide.site.doorways_of(guide.stays[0].room)) == 1 and not guide.turns(0).own else 1.0
    if abs(first.angle) >= SHARP:
        beats.append(Beat(-1.0, ("around_first", "turn_around"), {}, weight))
    elif abs(first.angle) >= PLAIN:
        beats.append(Beat(-1.0, ("turn_first",), {"side": first.side}, weight))
    elif abs(first.angle) >= SLIGHT:
        beats.append(Beat(-1.0, ("bear",), {"side": first.side}, 0.5))
    beats += _orientations(guide)
    aheads = guide.sights.aheads(guide.stays[0], 0.0, guide.leg_end(0.0, end))
    for ahead in aheads[:2]:
        if abs(first.angle) >= PLAIN and (names := guide.names(ahead.thing, 0.0, 0.0)):
            beats.append(Beat(-0.9, ("face",), {"thing": names}, 0.25, (ahead.thing,)))
    return beats


def _orientations(guide: Guide) -> list[Beat]:
    """Return where things are from a walker who has turned to the way ahead."""
    found = []
    name = guide.site.description.rooms[guide.stays[0].room].name
    for number, thing in enumerate(guide.site.description.objects):
        bearing = float(guide.sights.bearings[0, number])
        near = (
            np.linalg.norm(
                (guide.site.boxes[number, [0, 2]] + guide.site.boxes[number, [3, 5]]) / 2
                - guide.narrative.points[0, [0, 2]]
            )
            < 4.0
        )
        if not near or thing.room != name or not guide.sights.visible[0, number]:
            continue
        names = guide.names(number, 0.0, 0.0)
        if names and abs(bearing) > math.radians(155):
            found.append(Beat(-0.8, ("orient_behind",), {"thing": names}, 0.2, (number,)))
        elif names and abs(abs(bearing) - math.pi / 2) < math.radians(18):
            side = "left" if bearing > 0 else "right"
            found.append(Beat(-0.8, ("orient_side",), {"thing": names, "side": side}, 0.12, (number,)))
    return found[:3]


def _inside(guide: Guide, number: int) -> list[Beat]:
    """Return what may be said of a stay between its doorways."""
    stay = guide.stays[number]
    room = guide.room(stay.room)
    label = guide.site.description.rooms[stay.room].label
    beats = []
    is_last = guide.is_last(number)
    length = stay.end - stay.start
    if label == "hallway" and length >= 2.2 and not is_last:
        kinds = ("along_end",) if guide.ends_at_far_end(stay) else ("along",)
        beats.append(Beat(stay.start + 0.02, kinds, {"room": room}, 0.75))
    elif length >= 2.5 and number and not is_last:
        beats.append(Beat(stay.start + 0.02, ("cross",), {"room": room}, 0.6))
    elif length >= 3.5 and not is_last:
        beats.append(Beat(stay.start + 0.02, ("cross",), {"room": room}, 0.25))
    if number and (walls := wall_words(guide.site.description.rooms[stay.room].colours.get("wall", ""))):
        beats.append(Beat(stay.start + 0.015, ("walls",), {"room": room, "walls": walls}, 0.12))
    if not number:
        beats.append(Beat(-2.0, ("begin_in",), {"room": room}, 0.1))
    if number and length >= 0.8:
        beats.append(Beat(stay.start + 0.01, ("arrive",), {"room": room}, 0.14))
    own = [turn for turn in guide.turns(number).own if abs(turn.angle) >= SLIGHT]
    beats += [_turn(guide, turn, stay) for turn in own]
    bends = [stay.start, *(turn.at for turn in own), stay.end]
    for low, high in itertools.pairwise(bends):
        beats += _stretch(guide, stay, low, high)
    return beats + _passed(guide, stay)


def _stretch(guide: Guide, stay: Stay, low: float, high: float) -> list[Beat]:
    """Return what may be said of a straight stretch of the walk."""
    beats = []
    if high - low >= 1.6:
        for ahead in guide.sights.aheads(stay, low + 0.1, high)[:2]:
            if ahead.thing not in guide.told and (names := guide.names(ahead.thing, low, low + 0.5)):
                slots: Slots = {"thing": names}
                if guide.sights.framed_between(low, low + 0.5)[ahead.thing]:
                    beats.append(Beat(low + 0.05, ("toward",), slots, 0.35, (ahead.thing,)))
                    beats.append(Beat(low + 0.05, ("see",), {"indefinite": names}, 0.08, (ahead.thing,)))
    if high - low >= 2.2:
        beats.append(Beat(low + 0.04, ("straight",), {}, 0.22))
    return beats


def _passed(guide: Guide, stay: Stay) -> list[Beat]:
    """Return what may be said of the things that a stay leads past, between and over."""
    passings = [p for p in guide.sights.passings(stay) if p.thing not in guide.told]
    named = [(p, names) for p in passings if (names := guide.names(p.thing, p.at - 4.0, p.at + 0.3))]
    beats = []
    for p, names in named:
        size = guide.size(p.thing)
        weight = min(0.5, 0.12 + 0.3 * size)
        beats.append(Beat(p.at, ("pass",), {"thing": names, "side": p.side}, weight, (p.thing,)))
        beats.append(Beat(p.at, ("see_side",), {"indefinite": names, "side": p.side}, 0.05, (p.thing,)))
    for (a, first), (b, second) in itertools.pairwise(named):
        pair: Slots = {"thing": first, "other": second, "side": a.side}
        if a.side == b.side and b.at - a.at < 2.0:
            beats.append(Beat(b.at, ("pass_two",), pair, 0.12, (a.thing, b.thing)))
        elif a.side != b.side and abs(b.at - a.at) < 0.45 and max(a.distance, b.distance) < 1.2:
            far = {"far": b.side}
            beats.append(Beat(b.at, ("between",), {**pair, **far}, 0.4, (a.thing, b.thing)))
    for p in guide.sights.crossed(stay):
        if p.thing not in guide.told and (names := guide.names(p.thing, p.at - 3.0, p.at)):
            beats.append(Beat(p.at, ("over",), {"thing": names}, 0.3, (p.thing,)))
    return beats


def _turn(guide: Guide, turn: Turn, stay: Stay) -> Beat:
    """Return how a turn in the middle of a room is told: at a thing that is near, if one can be named."""
    kind = "turn_around" if abs(turn.angle) >= SHARP else "turn" if abs(turn.angle) >= PLAIN else "bear"
    weight = 1.0 if kind != "bear" else 0.35
    point = guide.narrative.points[guide.narrative.index(turn.at)]
    if kind == "turn":
        for number in guide.nearest(point, stay, 1.3):
            if guide.sights.framed_between(max(0.0, turn.at - 3.0), turn.at)[number] and number not in guide.told:
                names = guide.names(number, turn.at - 3.0, turn.at + 0.3)
                if names:
                    return Beat(turn.at, ("turn_at",), {"side": turn.side, "thing": names}, 1.0, (number,))
        if stay.portal is not None and stay.end - turn.at < 4.0 and guide.is_alone(stay):
            following = guide.site.beyond(stay.portal, stay.room)
            slots: Slots = {
                "side": turn.side,
                "next": guide.room(following),
                "door": guide.door(stay.portal),
            }
            return Beat(turn.at, ("turn_toward", "turn"), slots)
    return Beat(turn.at, (kind,), {"side": turn.side}, weight)


def wall_words(wall: str) -> str:
    """Return what walls are called: "sage green walls", "blue tiled walls"."""
    return f"{wall.removesuffix(' tiles')} tiled walls" if wall.endswith(" tiles") else f"{wall} walls" if wall else ""
