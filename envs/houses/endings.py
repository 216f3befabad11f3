"""How to say where a walk ends."""

from __future__ import annotations

import math

from navloop.envs.houses.guide import Beat, Guide, Slots
from navloop.envs.houses.landmarks import bearings
from navloop.geometry import heading_between, wrap_angle

INSIDE = 1.6
"""Metres of a walk after the last doorway that "just inside" still fits."""


def ending(guide: Guide) -> list[Beat]:
    """Return ways to say where the walk ends; none where no words mean that place alone."""
    spot = guide.narrative.tour.spot
    end = float(guide.narrative.along[-1])
    last = guide.stays[-1]
    room = guide.room(last.room)
    if spot.kind in ("object", "on"):
        return _stop_at_thing(guide, spot.number, spot.kind, end)
    if spot.kind == "middle":
        return [Beat(end, ("stop_middle",), {"room": room})]
    portal = spot.number
    slots: Slots = {"doorway": guide.door(portal)}
    if spot.kind == "inside" and len(guide.stays) > 1 and guide.stays[-2].portal == portal:
        if end - last.start < INSIDE:
            return [Beat(end, ("stop_inside",), {**slots, "room": room})]
        return []
    beyond = guide.site.beyond(portal, last.room)
    label = guide.site.description.rooms[beyond].label
    rivals = [i for i in guide.site.doorways_of(last.room) if i != portal and guide.label_beyond(i, last.room) == label]
    if rivals:
        return []
    return [
        Beat(end, ("stop_doorway" if spot.kind == "doorway" else "stop_door",), {**slots, "room": guide.room(beyond)})
    ]


def _stop_at_thing(guide: Guide, number: int, kind: str, end: float) -> list[Beat]:
    """Return ways to say that the walk ends at a thing, as far as they are true."""
    names = guide.names(number, end - 4.0, end)
    if not names or (kind == "object" and not guide.sights.visible[-1, number]):
        return []
    if not guide.sights.framed_between(end - 4.0, end)[number]:
        return []
    if kind == "on":
        return [Beat(end, ("stop_on",), {"thing": names}, 1.0, (number,))]
    beats = [Beat(end, ("stop_beside",), {"thing": names}, 1.0, (number,))]
    thing = guide.site.description.objects[number]
    goal = guide.narrative.points[-1]
    middle = (guide.site.boxes[number, :3] + guide.site.boxes[number, 3:]) / 2
    if abs(wrap_angle(heading_between(middle, goal) - thing.heading)) < math.radians(35):
        beats.append(Beat(end, ("stop_front",), {"thing": names}, 1.0, (number,)))
    bearing = float(bearings(guide.site, goal, guide.narrative.heading(end))[number])
    if math.radians(60) < abs(bearing) < math.radians(120):
        side = "left" if bearing > 0 else "right"
        beats.append(Beat(end, ("stop_side",), {"thing": names, "side": side}, 1.0, (number,)))
    return beats
