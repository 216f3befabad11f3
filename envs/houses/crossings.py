"""How to get from room to room: which doorway, and words that tell it from the others."""

from __future__ import annotations

import math

import numpy as np

from navloop.envs.houses.guide import NEAR_DOOR, Beat, Guide, Slots
from navloop.envs.houses.narrative import PLAIN, SHARP, SLIGHT, Stay, Turn
from navloop.geometry import heading_between, heading_vector, wrap_angle

ORDINALS = ("first", "second", "third", "fourth")


def crossing(guide: Guide, number: int) -> list[Beat] | None:
    """Return how to get to the next room; None if the doorway cannot be told from another."""
    stay, following = guide.stays[number], guide.stays[number + 1]
    assert stay.portal is not None
    out, into = guide.turns(number).leaving, guide.turns(number + 1).entering
    slots: Slots = {
        "room": guide.room(stay.room),
        "next": guide.room(following.room),
        "door": guide.door(stay.portal),
    }
    kinds = _ways(guide, number, out, slots)
    if kinds is None:
        return None
    beats = []
    tail = [] if into is None else [_turn_inside(guide, into, following)]
    is_only_way = len(guide.site.doorways_of(stay.room)) == 1 and out is None and not guide.is_last(number + 1)
    if is_only_way and into is not None and PLAIN <= abs(into.angle) < SHARP:
        # "Leave the bedroom and turn left" says both at once; the next room goes without saying unless the walk ends there.
        kinds, tail = ("exit_turn",), []
        slots["side"] = into.side
        slots.pop("next")
    beats.append(Beat(stay.end, kinds, slots))
    before, after = (guide.site.description.rooms[s.room].colours.get("floor", "") for s in (stay, following))
    if before != after and after:
        words = floor_words(after)
        beats.append(Beat(stay.end + 0.003, ("floor",), {"floor": f"the {words}", "bare": words}, 0.1))
    return beats + tail


def _ways(guide: Guide, number: int, out: Turn | None, slots: Slots) -> tuple[str, ...] | None:
    """Return the kinds of clauses that lead through the doorway of a stay and no other, filling in what they need; or None."""
    stay, following = guide.stays[number], guide.stays[number + 1]
    ways = guide.site.doorways_of(stay.room)
    entrance = guide.stays[number - 1].portal if number else None
    others = [i for i in ways if i not in (stay.portal, entrance)]
    label = guide.site.description.rooms[following.room].label
    rivals = [i for i in ways if i != stay.portal and guide.label_beyond(i, stay.room) == label]
    if out is not None and abs(out.angle) >= PLAIN:
        slots["side"] = out.side
        rank = _rank(guide, stay, out)
        if rank is not None and rank[1] == 1:
            return ("door_side", "turn_into")
        if rank is not None and rank[0] < len(ORDINALS):
            slots["nth"] = ORDINALS[rank[0]]
            return ("ordinal",) if rivals else ("ordinal", "turn_into")
        if not rivals:
            return ("turn_into", "turn_into", "enter")
        return None if others else ("turn_into",)
    if rivals:
        # One of several doors to rooms of one name: only that it lies straight ahead can tell.
        return ("opposite",) if number and _lies_ahead(guide, stay, rivals) else None
    if len(ways) == 1:
        return ("exit", "exit_into") if not guide.is_last(number + 1) and not others else ("exit_into",)
    return ("enter", "exit_into")


def _lies_ahead(guide: Guide, stay: Stay, rivals: list[int]) -> bool:
    """Whether a room is crossed to the doorway straight ahead as one enters, with no rival nearly as straight."""
    if any(abs(turn.angle) >= SLIGHT for turn in stay.turns) or stay.end - stay.start > 5.0:
        return False
    here = guide.narrative.points[guide.narrative.index(stay.start)]
    off = {}
    for i in (stay.portal, *rivals):
        (xa, za), (xb, zb) = guide.site.description.portals[i or 0].segment
        way = heading_between(here, ((xa + xb) / 2, 0.0, (za + zb) / 2))
        off[i] = abs(wrap_angle(way - guide.narrative.heading(stay.start)))
    return off[stay.portal] < math.radians(25) and min(off[i] for i in rivals) > math.radians(40)


def _turn_inside(guide: Guide, turn: Turn, stay: Stay) -> Beat:
    """Return a turn just after the entrance of a stay."""
    if abs(turn.angle) >= PLAIN:
        kind = "turn_around" if abs(turn.angle) >= SHARP else "turn_here"
        return Beat(stay.start + 0.005, (kind,), {"side": turn.side, "room": guide.room(stay.room)})
    return Beat(stay.start + 0.005, ("bear_here",), {"side": turn.side, "room": guide.room(stay.room)}, 0.35)


def _rank(guide: Guide, stay: Stay, out: Turn) -> tuple[int, int] | None:
    """Return which of the doorways on the turn's side, from where the walker comes, is taken, and how many there are.

    None where that cannot be said: other turns in between, a front door among them, different kinds.
    """
    if any(abs(turn.angle) >= SLIGHT and turn.at < out.at for turn in stay.turns if turn.at - stay.start > NEAR_DOOR):
        return None
    here = guide.narrative.points[guide.narrative.index(stay.start)]
    ahead = heading_vector(out.before)
    left = np.array([ahead[2], 0.0, -ahead[0]])
    name = guide.site.description.rooms[stay.room].name
    found = []
    for i, portal in enumerate(guide.site.description.portals):
        if portal.kind == "window" or name not in portal.rooms:
            continue
        (xa, za), (xb, zb) = portal.segment
        way = np.array([(xa + xb) / 2, 0.0, (za + zb) / 2]) - here
        parallel = abs((xb - xa) * ahead[0] + (zb - za) * ahead[2]) / math.hypot(xb - xa, zb - za)
        if parallel > 0.8 and way @ ahead > 0.3 and (way @ left > 0) == (out.side == "left"):
            found.append((float(way @ ahead), i))
    order = [i for _, i in sorted(found)]
    if stay.portal not in order:
        return None
    kinds = {guide.site.description.portals[i].kind for i in order}
    if len(kinds) > 1 or any(i not in guide.site.doorways for i in order):
        return None
    return order.index(stay.portal), len(order)


def floor_words(floor: str) -> str:
    """Return what a floor is called: "oak floor", "white tiles"."""
    return floor if floor.endswith(("tiles", "carpet", "floor")) else f"{floor} floor"
