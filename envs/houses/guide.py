"""What a guide knows who has walked a tour: the stays and turns, what is in view where, and words that mean one thing only."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from navloop.envs.houses.landmarks import Namer, Reference, Sights
from navloop.envs.houses.narrative import SLIGHT, Narrative, Stay, Turn
from navloop.envs.houses.phrases import lexicon
from navloop.envs.houses.sites import Site
from navloop.geometry import Vector, heading_vector, wrap_angle

NEAR_DOOR = 1.1
"""Metres from a doorway within which a turn belongs to it."""

Slots = dict[str, str | tuple[Reference, ...]]
"""What is filled in: words, or alternatives of which each wording takes one. "@label@" stands for a room, "#kind#" for a doorway."""


class Beat(NamedTuple):
    """Something that can be said.

    Attributes:
        at: Where on the walk it belongs, metres from the start; negative before the first step.
        kinds: Kinds of clauses of the lexicon, any of which says it.
        slots: What to fill in.
        weight: How welcome it is, from 0 to 1; 1 must be said.
        things: Objects that it names.
    """

    at: float
    kinds: tuple[str, ...]
    slots: Slots
    weight: float = 1.0
    things: tuple[int, ...] = ()


class TurnsOfStay(NamedTuple):
    """The turns of a stay: joined just after its entrance, those in the room, joined just before its exit."""

    entering: Turn | None
    own: list[Turn]
    leaving: Turn | None


class Guide:
    """One who has walked a tour and looked around.

    Attributes:
        site: Where.
        narrative: What happened.
        sights: What was seen.
        stays: The rooms in order; a walk that ends in a doorway has none beyond it.
        told: Objects kept for the end of the instruction: nothing else is said of them.
    """

    def __init__(self, site: Site, narrative: Narrative) -> None:
        """Look around along the walk."""
        self.site = site
        self.narrative = narrative
        self.sights = Sights(site, narrative)
        self.stays = narrative.stays
        self.told: set[int] = set()
        self._namer = Namer(site, *_namings())
        spot = narrative.tour.spot
        if spot.kind == "doorway" and len(self.stays) > 1 and self.stays[-2].portal == spot.number:
            # Whose floor the last hand's breadth is does not matter.
            self.stays = self.stays[:-1]

    def is_last(self, number: int) -> bool:
        """Whether the walk ends in a stay."""
        return number + 1 == len(self.stays)

    def turns(self, number: int) -> TurnsOfStay:
        """Divide the turns of a stay: just after its entrance, in the room, just before its exit."""
        stay = self.stays[number]
        entering, own, leaving = [], [], []
        for turn in stay.turns:
            since, left = turn.at - stay.start, stay.end - turn.at
            can_enter, can_leave = number > 0, number + 1 < len(self.stays)
            if can_leave and left <= NEAR_DOOR and (not can_enter or left <= since):
                leaving.append(turn)
            elif can_enter and since <= NEAR_DOOR:
                entering.append(turn)
            else:
                own.append(turn)
        return TurnsOfStay(_joined(entering), own, _joined(leaving))

    def names(self, number: int, start: float, end: float) -> tuple[Reference, ...]:
        """Return names for a thing that fit nothing else in view between two distances from the start."""
        thing, tables = self.site.description.objects[number], lexicon()
        # "Wooden" is said of what shows its wood; of a sink that has a wooden cabinet, nothing.
        spoken = set(tables["materials"]) - (set() if thing.colour in tables["wood_colours"] else {"wood"})
        if thing.label in _namings()[1]:
            spoken = set()
        found = self._namer.references(number, self.in_view(start, end))
        return tuple(name for name in found if not name.material or name.material in spoken)

    def in_view(self, start: float, end: float) -> NDArray[np.bool_]:
        """Whether each object can be seen from somewhere between two distances from the start: bool (O,)."""
        return self.sights.seen_between(max(0.0, start), max(0.0, end))

    def room(self, number: int) -> str:
        """Return the slot of a room's name."""
        return f"@{self.site.description.rooms[number].label}@"

    def door(self, portal: int) -> str:
        """Return the slot of a doorway's name."""
        return f"#{self.site.doorways[portal].kind}#"

    def label_beyond(self, portal: int, room: int) -> str:
        """Return what the room on the other side of a doorway is called."""
        return self.site.description.rooms[self.site.beyond(portal, room)].label

    def is_alone(self, stay: Stay) -> bool:
        """Whether no other doorway of a room leads to a room of the next one's name."""
        assert stay.portal is not None
        label = self.label_beyond(stay.portal, stay.room)
        ways = self.site.doorways_of(stay.room)
        return sum(self.label_beyond(i, stay.room) == label for i in ways) == 1

    def nearest(self, point: Vector, stay: Stay, reach: float) -> list[int]:
        """Return what stands in a stay's room within reach of a point (3,), metres, the nearest first."""
        name = self.site.description.rooms[stay.room].name
        boxes = self.site.boxes
        gaps = np.hypot(
            np.maximum(0, np.maximum(boxes[:, 0] - point[0], point[0] - boxes[:, 3])),
            np.maximum(0, np.maximum(boxes[:, 2] - point[2], point[2] - boxes[:, 5])),
        )
        low = boxes[:, 1] < self.site.description.rooms[stay.room].floor + 0.5
        order = np.argsort(gaps)
        return [int(i) for i in order if gaps[i] < reach and low[i] and self.site.description.objects[i].room == name]

    def size(self, number: int) -> float:
        """Return how much one notices a thing, about 0 to 1.5: the diagonal of its box in metres, at most 1.5."""
        return min(1.5, float(np.linalg.norm(self.site.boxes[number, 3:] - self.site.boxes[number, :3])))

    def ends_at_far_end(self, stay: Stay) -> bool:
        """Whether a stay leads to the wall at the end of its room."""
        polygon = np.array(self.site.description.rooms[stay.room].polygon)
        heading = self.narrative.heading(max(stay.start, stay.end - 1.2))
        ahead = heading_vector(heading)[[0, 2]]
        here = self.narrative.points[self.narrative.index(stay.end)][[0, 2]]
        return float((polygon @ ahead).max() - here @ ahead) < 1.2 and stay.end - stay.start > 3.0

    def leg_end(self, start: float, limit: float) -> float:
        """Return where the straight leg that begins at `start` ends, at most `limit`."""
        heading = self.narrative.heading(start + 0.2)
        along = self.narrative.along
        bent = (along > start + 0.2) & (np.abs(self.narrative.headings - heading) > 1e-6)
        return min(limit, float(along[bent].min()) if bent.any() else limit)


def _joined(turns: list[Turn]) -> Turn | None:
    """Return the turn that several make together, None if it is none to speak of."""
    if not turns:
        return None
    angle = wrap_angle(turns[-1].after - turns[0].before)
    return Turn(turns[0].at, angle, turns[0].before, turns[-1].after) if abs(angle) >= SLIGHT else None


@cache
def _namings() -> tuple[dict[str, tuple[str, ...]], frozenset[str]]:
    """Return the words for things, by label, and the labels whose colour is not told."""
    things = lexicon()["things"]
    return (
        {label: tuple(entry["nouns"]) for label, entry in things.items()},
        frozenset(label for label, entry in things.items() if entry.get("colour") == ""),
    )
