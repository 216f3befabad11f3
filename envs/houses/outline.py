"""What to say about a walk, before it is put into words: the beats that must be told and those that may be."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from navloop.envs.houses.landmarks import Namer, Reference, Sights, bearings
from navloop.envs.houses.narrative import PLAIN, SHARP, SLIGHT, Narrative, Stay, Turn, narrate
from navloop.envs.houses.phrases import lexicon
from navloop.envs.houses.sites import Site
from navloop.envs.houses.tours import Tour
from navloop.geometry import heading_between, heading_vector, wrap_angle

NEAR_DOOR = 1.1
"""Metres from a doorway within which a turn belongs to it."""


class Beat(NamedTuple):
    """Something that can be said.

    Attributes:
        at: Where on the walk it belongs, metres from the start.
        kinds: Kinds of clauses of the lexicon, any of which says it.
        slots: What to fill in: words, or alternatives of which each wording takes one. "@label@" stands for a word for a room.
        weight: How welcome it is, from 0 to 1; 1 must be said.
        things: Objects that it names.
    """

    at: float
    kinds: tuple[str, ...]
    slots: dict[str, str | tuple[Reference, ...]]
    weight: float = 1.0
    things: tuple[int, ...] = ()


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
    """Return what can be said about a tour, or None if its end cannot be told from other places."""
    return _Outliner(site, narrate(site, tour)).outline()


class _Outliner:
    def __init__(self, site: Site, narrative: Narrative) -> None:
        self.site = site
        self.narrative = narrative
        self.sights = Sights(site, narrative)
        self.namer = Namer(site, nouns(), uncoloured())
        self.stays = narrative.stays
        spot = narrative.tour.spot
        if spot.kind == "doorway" and len(self.stays) > 1 and self.stays[-2].portal == spot.number:
            # The way ends in the doorway: whose floor the last hand's breadth is does not matter.
            self.stays = self.stays[:-1]
        self.told: set[int] = set()

    def outline(self) -> Outline | None:
        stop = self._stop()
        if not stop:
            return None
        self.told = {thing for beat in stop for thing in beat.things}
        beats = self._beginning()
        for number in range(len(self.stays)):
            beats += self._inside(number)
            if number + 1 < len(self.stays):
                crossing = self._crossing(number)
                if crossing is None:
                    return None
                beats += crossing
        return Outline(sorted(beats, key=lambda beat: beat.at), stop)

    # -- the beginning

    def _beginning(self) -> list[Beat]:
        first, end = self.narrative.first, self.stays[0].end
        beats = []
        # A room with one way out needs no word on where to turn first.
        weight = 0.55 if len(self.site.doorways_of(self.stays[0].room)) == 1 and not self._own_turns(0) else 1.0
        if abs(first.angle) >= SHARP:
            beats.append(Beat(-1.0, ("around_first", "turn_around"), {}, weight))
        elif abs(first.angle) >= PLAIN:
            beats.append(Beat(-1.0, ("turn_first",), {"side": first.side}, weight))
        elif abs(first.angle) >= SLIGHT:
            beats.append(Beat(-1.0, ("bear",), {"side": first.side}, 0.5))
        beats += self._orientations()
        aheads = self.sights.aheads(self.stays[0], 0.0, self._leg_end(0.0, end))
        for ahead in aheads[:2]:
            if abs(first.angle) >= PLAIN and (names := self._names(ahead.thing, 0.0, 0.0)):
                beats.append(Beat(-0.9, ("face",), {"thing": names}, 0.25, (ahead.thing,)))
        return beats

    def _orientations(self) -> list[Beat]:
        """Return where things are from a walker who has turned to the way ahead."""
        found = []
        name = self.site.description.rooms[self.stays[0].room].name
        for number, thing in enumerate(self.site.description.objects):
            bearing = float(self.sights.bearings[0, number])
            near = (
                np.linalg.norm(
                    (self.site.boxes[number, [0, 2]] + self.site.boxes[number, [3, 5]]) / 2
                    - self.narrative.points[0, [0, 2]]
                )
                < 4.0
            )
            if not near or thing.room != name or not self.sights.visible[0, number]:
                continue
            names = self._names(number, 0.0, 0.0)
            if names and abs(bearing) > math.radians(155):
                found.append(Beat(-0.8, ("orient_behind",), {"thing": names}, 0.2, (number,)))
            elif names and abs(abs(bearing) - math.pi / 2) < math.radians(18):
                side = "left" if bearing > 0 else "right"
                found.append(Beat(-0.8, ("orient_side",), {"thing": names, "side": side}, 0.12, (number,)))
        return found[:3]

    def _leg_end(self, start: float, limit: float) -> float:
        """Return where the straight leg that begins at `start` ends, at most `limit`."""
        heading = self.narrative.heading(start + 0.2)
        along = self.narrative.along
        bent = (along > start + 0.2) & (np.abs(self.narrative.headings - heading) > 1e-6)
        return min(limit, float(along[bent].min()) if bent.any() else limit)

    # -- in a room

    def _inside(self, number: int) -> list[Beat]:
        stay = self.stays[number]
        room = self._room(stay.room)
        label = self.site.description.rooms[stay.room].label
        beats = []
        is_last = number + 1 == len(self.stays)
        length = stay.end - stay.start
        if label == "hallway" and length >= 2.2 and not is_last:
            kinds = ("along_end",) if self._ends_at_far_end(stay) else ("along",)
            beats.append(Beat(stay.start + 0.02, kinds, {"room": room}, 0.75))
        elif length >= 2.5 and number and not is_last:
            beats.append(Beat(stay.start + 0.02, ("cross",), {"room": room}, 0.6))
        elif length >= 3.5 and not is_last:
            beats.append(Beat(stay.start + 0.02, ("cross",), {"room": room}, 0.25))
        if number and (walls := wall_words(self.site.description.rooms[stay.room].colours.get("wall", ""))):
            beats.append(Beat(stay.start + 0.015, ("walls",), {"room": room, "walls": walls}, 0.12))
        if not number:
            beats.append(Beat(-2.0, ("begin_in",), {"room": room}, 0.1))
        if number and length >= 0.8:
            beats.append(Beat(stay.start + 0.01, ("arrive",), {"room": room}, 0.14))
        own = [turn for turn in self._own_turns(number) if abs(turn.angle) >= SLIGHT]
        beats += [self._turn(turn, stay) for turn in own]
        bends = [stay.start, *(turn.at for turn in own), stay.end]
        for low, high in itertools.pairwise(bends):
            beats += self._stretch(stay, low, high)
        return beats + self._passed(stay)

    def _stretch(self, stay: Stay, low: float, high: float) -> list[Beat]:
        beats = []
        if high - low >= 1.6:
            for ahead in self.sights.aheads(stay, low + 0.1, high)[:2]:
                if ahead.thing not in self.told and (names := self._names(ahead.thing, low, low + 0.5)):
                    slots: dict[str, str | tuple[Reference, ...]] = {"thing": names}
                    if self.sights.framed_between(low, low + 0.5)[ahead.thing]:
                        beats.append(Beat(low + 0.05, ("toward",), slots, 0.35, (ahead.thing,)))
                        beats.append(Beat(low + 0.05, ("see",), {"indefinite": names}, 0.08, (ahead.thing,)))
        if high - low >= 2.2:
            beats.append(Beat(low + 0.04, ("straight",), {}, 0.22))
        return beats

    def _passed(self, stay: Stay) -> list[Beat]:
        passings = [p for p in self.sights.passings(stay) if p.thing not in self.told]
        named = [(p, names) for p in passings if (names := self._names(p.thing, p.at - 4.0, p.at + 0.3))]
        beats = []
        for p, names in named:
            size = self._size(p.thing)
            weight = min(0.5, 0.12 + 0.3 * size)
            beats.append(Beat(p.at, ("pass",), {"thing": names, "side": p.side}, weight, (p.thing,)))
            beats.append(Beat(p.at, ("see_side",), {"indefinite": names, "side": p.side}, 0.05, (p.thing,)))
        for (a, first), (b, second) in itertools.pairwise(named):
            pair: dict[str, str | tuple[Reference, ...]] = {"thing": first, "other": second, "side": a.side}
            if a.side == b.side and b.at - a.at < 2.0:
                beats.append(Beat(b.at, ("pass_two",), pair, 0.12, (a.thing, b.thing)))
            elif a.side != b.side and abs(b.at - a.at) < 0.45 and max(a.distance, b.distance) < 1.2:
                far = {"far": b.side}
                beats.append(Beat(b.at, ("between",), {**pair, **far}, 0.4, (a.thing, b.thing)))
        for p in self.sights.crossed(stay):
            if p.thing not in self.told and (names := self._names(p.thing, p.at - 3.0, p.at)):
                beats.append(Beat(p.at, ("over",), {"thing": names}, 0.3, (p.thing,)))
        return beats

    def _turn(self, turn: Turn, stay: Stay) -> Beat:
        """Return how a turn in the middle of a room is told: at a thing that is near, if one can be named."""
        kind = "turn_around" if abs(turn.angle) >= SHARP else "turn" if abs(turn.angle) >= PLAIN else "bear"
        weight = 1.0 if kind != "bear" else 0.35
        point = self.narrative.points[self.narrative.index(turn.at)]
        if kind == "turn":
            for number in self._nearest(point, stay, 1.3):
                if self.sights.framed_between(max(0.0, turn.at - 3.0), turn.at)[number] and number not in self.told:
                    names = self._names(number, turn.at - 3.0, turn.at + 0.3)
                    if names:
                        return Beat(turn.at, ("turn_at",), {"side": turn.side, "thing": names}, 1.0, (number,))
            if stay.portal is not None and stay.end - turn.at < 4.0 and self._is_alone(stay):
                following = self.site.beyond(stay.portal, stay.room)
                slots: dict[str, str | tuple[Reference, ...]] = {
                    "side": turn.side,
                    "next": self._room(following),
                    "door": f"#{self._kind(stay.portal)}#",
                }
                return Beat(turn.at, ("turn_toward", "turn"), slots)
        return Beat(turn.at, (kind,), {"side": turn.side}, weight)

    # -- from room to room

    def _crossing(self, number: int) -> list[Beat] | None:
        """Return how to get to the next room; None if the doorway cannot be told from another."""
        stay, following = self.stays[number], self.stays[number + 1]
        assert stay.portal is not None
        out, into = self._turn_out(number), self._turn_in(number + 1)
        slots: dict[str, str | tuple[Reference, ...]] = {
            "room": self._room(stay.room),
            "next": self._room(following.room),
            "door": f"#{self._kind(stay.portal)}#",
        }
        kinds = self._ways(number, out, slots)
        if kinds is None:
            return None
        beats = []
        tail = [] if into is None else [self._turn_inside(into, following)]
        is_only_way = len(self.site.doorways_of(stay.room)) == 1 and out is None and number + 2 < len(self.stays)
        if is_only_way and into is not None and PLAIN <= abs(into.angle) < SHARP:
            # "Leave the bedroom and turn left" says both at once; the next room goes without saying unless the walk ends there.
            kinds, tail = ("exit_turn",), []
            slots["side"] = into.side
            slots.pop("next")
        beats.append(Beat(stay.end, kinds, slots))
        before, after = (self.site.description.rooms[s.room].colours.get("floor", "") for s in (stay, following))
        if before != after and after:
            words = floor_words(after)
            beats.append(Beat(stay.end + 0.003, ("floor",), {"floor": f"the {words}", "bare": words}, 0.1))
        return beats + tail

    def _ways(
        self, number: int, out: Turn | None, slots: dict[str, str | tuple[Reference, ...]]
    ) -> tuple[str, ...] | None:
        stay, following = self.stays[number], self.stays[number + 1]
        ways = self.site.doorways_of(stay.room)
        entrance = self.stays[number - 1].portal if number else None
        others = [i for i in ways if i not in (stay.portal, entrance)]
        label = self.site.description.rooms[following.room].label
        rivals = [i for i in ways if i != stay.portal and self._label_beyond(i, stay.room) == label]
        if out is not None and abs(out.angle) >= PLAIN:
            slots["side"] = out.side
            rank = self._rank(stay, out)
            if rank is not None and rank[1] > 1:
                slots["nth"] = ("first", "second", "third", "fourth")[rank[0]]
                if rivals or rank[0] < 3:
                    return ("ordinal",) if rivals else ("ordinal", "turn_into")
            if rank is not None:
                return ("door_side", "turn_into")
            if not rivals:
                return ("turn_into", "turn_into", "enter")
            return None if len(others) else ("turn_into",)
        if rivals:
            # One of several doors to rooms of one name: only that it lies straight ahead can tell.
            return ("opposite",) if number and self._lies_ahead(stay, rivals) else None
        if len(ways) == 1:
            return ("exit", "exit_into") if number + 2 < len(self.stays) and not others else ("exit_into",)
        return ("enter", "exit_into")

    def _lies_ahead(self, stay: Stay, rivals: list[int]) -> bool:
        """Whether a room is crossed to the doorway straight ahead as one enters, with no rival nearly as straight."""
        if any(abs(turn.angle) >= SLIGHT for turn in stay.turns) or stay.end - stay.start > 5.0:
            return False
        here = self.narrative.points[self.narrative.index(stay.start)]
        off = {}
        for i in (stay.portal, *rivals):
            (xa, za), (xb, zb) = self.site.description.portals[i or 0].segment
            way = heading_between(here, ((xa + xb) / 2, 0.0, (za + zb) / 2))
            off[i] = abs(wrap_angle(way - self.narrative.heading(stay.start)))
        return off[stay.portal] < math.radians(25) and min(off[i] for i in rivals) > math.radians(40)

    def _turn_inside(self, turn: Turn, stay: Stay) -> Beat:
        if abs(turn.angle) >= PLAIN:
            kind = "turn_around" if abs(turn.angle) >= SHARP else "turn_here"
            return Beat(stay.start + 0.005, (kind,), {"side": turn.side, "room": self._room(stay.room)})
        return Beat(stay.start + 0.005, ("bear_here",), {"side": turn.side, "room": self._room(stay.room)}, 0.35)

    def _split(self, number: int) -> tuple[Turn | None, list[Turn], Turn | None]:
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
        return _joined(entering), own, _joined(leaving)

    def _own_turns(self, number: int) -> list[Turn]:
        return self._split(number)[1]

    def _turn_out(self, number: int) -> Turn | None:
        turn = self._split(number)[2]
        return turn if turn is not None and abs(turn.angle) >= SLIGHT else None

    def _turn_in(self, number: int) -> Turn | None:
        turn = self._split(number)[0]
        return turn if turn is not None and abs(turn.angle) >= SLIGHT else None

    def _rank(self, stay: Stay, out: Turn) -> tuple[int, int] | None:
        """Return which of the doorways on the turn's side, from where the walker comes, is taken, and how many there are.

        None where that cannot be said: other turns in between, a front door among them, different kinds.
        """
        if any(
            abs(turn.angle) >= SLIGHT and turn.at < out.at for turn in stay.turns if turn.at - stay.start > NEAR_DOOR
        ):
            return None
        here = self.narrative.points[self.narrative.index(stay.start)]
        ahead = heading_vector(out.before)
        left = np.array([ahead[2], 0.0, -ahead[0]])
        name = self.site.description.rooms[stay.room].name
        found = []
        for i, portal in enumerate(self.site.description.portals):
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
        kinds = {self.site.description.portals[i].kind for i in order}
        if len(kinds) > 1 or any(i not in self.site.doorways for i in order):
            return None
        return order.index(stay.portal), len(order)

    # -- the end

    def _stop(self) -> list[Beat]:
        spot = self.narrative.tour.spot
        end = float(self.narrative.along[-1])
        last = self.stays[-1]
        room = self._room(last.room)
        if spot.kind in ("object", "on"):
            return self._stop_at_thing(spot.number, spot.kind, end)
        if spot.kind == "middle":
            return [Beat(end, ("stop_middle",), {"room": room})]
        portal = spot.number
        slots: dict[str, str | tuple[Reference, ...]] = {"doorway": f"#{self._kind(portal)}#"}
        if spot.kind == "inside" and len(self.stays) > 1 and self.stays[-2].portal == portal:
            if end - last.start < 1.6:
                return [Beat(end, ("stop_inside",), {**slots, "room": room})]
            return []
        beyond = self.site.beyond(portal, last.room)
        label = self.site.description.rooms[beyond].label
        rivals = [
            i for i in self.site.doorways_of(last.room) if i != portal and self._label_beyond(i, last.room) == label
        ]
        if rivals:
            return []
        return [
            Beat(
                end, ("stop_doorway" if spot.kind == "doorway" else "stop_door",), {**slots, "room": self._room(beyond)}
            )
        ]

    def _stop_at_thing(self, number: int, kind: str, end: float) -> list[Beat]:
        names = self._names(number, end - 4.0, end)
        if not names or (kind == "object" and not self.sights.visible[-1, number]):
            return []
        if not self.sights.framed_between(end - 4.0, end)[number]:
            return []
        if kind == "on":
            return [Beat(end, ("stop_on",), {"thing": names}, 1.0, (number,))]
        beats = [Beat(end, ("stop_beside",), {"thing": names}, 1.0, (number,))]
        thing = self.site.description.objects[number]
        goal = self.narrative.points[-1]
        middle = (self.site.boxes[number, :3] + self.site.boxes[number, 3:]) / 2
        if abs(wrap_angle(heading_between(middle, goal) - thing.heading)) < math.radians(35):
            beats.append(Beat(end, ("stop_front",), {"thing": names}, 1.0, (number,)))
        bearing = float(bearings(self.site, goal, self.narrative.heading(end))[number])
        if math.radians(60) < abs(bearing) < math.radians(120):
            side = "left" if bearing > 0 else "right"
            beats.append(Beat(end, ("stop_side",), {"thing": names, "side": side}, 1.0, (number,)))
        return beats

    # -- words

    def _names(self, number: int, start: float, end: float) -> tuple[Reference, ...]:
        """Return names for a thing that fit nothing else in view between two distances from the start."""
        colour = self.site.description.objects[number].colour
        tables = lexicon()
        spoken = set(tables["materials"]) - (set() if colour in tables["wood_colours"] else {"wood"})
        if self.site.description.objects[number].label in uncoloured():
            spoken = set()
        found = self.namer.references(number, self._in_view(start, end))
        return tuple(name for name in found if not name.material or name.material in spoken)

    def _in_view(self, start: float, end: float) -> NDArray[np.bool_]:
        return self.sights.seen_between(max(0.0, start), max(0.0, end))

    def _room(self, number: int) -> str:
        return f"@{self.site.description.rooms[number].label}@"

    def _kind(self, portal: int) -> str:
        return self.site.doorways[portal].kind

    def _label_beyond(self, portal: int, room: int) -> str:
        return self.site.description.rooms[self.site.beyond(portal, room)].label

    def _is_alone(self, stay: Stay) -> bool:
        """Whether no other doorway of a room leads to a room of the next one's name."""
        assert stay.portal is not None
        label = self._label_beyond(stay.portal, stay.room)
        ways = self.site.doorways_of(stay.room)
        return sum(self._label_beyond(i, stay.room) == label for i in ways) == 1

    def _nearest(self, point: NDArray[np.float64], stay: Stay, reach: float) -> list[int]:
        name = self.site.description.rooms[stay.room].name
        boxes = self.site.boxes
        gaps = np.hypot(
            np.maximum(0, np.maximum(boxes[:, 0] - point[0], point[0] - boxes[:, 3])),
            np.maximum(0, np.maximum(boxes[:, 2] - point[2], point[2] - boxes[:, 5])),
        )
        low = boxes[:, 1] < self.site.description.rooms[stay.room].floor + 0.5
        order = np.argsort(gaps)
        return [int(i) for i in order if gaps[i] < reach and low[i] and self.site.description.objects[i].room == name]

    def _size(self, number: int) -> float:
        """Return how much one notices a thing, about 0 to 1.5: the diagonal of its box in metres, at most 1.5."""
        return min(1.5, float(np.linalg.norm(self.site.boxes[number, 3:] - self.site.boxes[number, :3])))

    def _ends_at_far_end(self, stay: Stay) -> bool:
        """Whether a stay leads to the wall at the end of its room."""
        polygon = np.array(self.site.description.rooms[stay.room].polygon)
        heading = self.narrative.heading(max(stay.start, stay.end - 1.2))
        ahead = heading_vector(heading)[[0, 2]]
        here = self.narrative.points[self.narrative.index(stay.end)][[0, 2]]
        return float((polygon @ ahead).max() - here @ ahead) < 1.2 and stay.end - stay.start > 3.0


def _joined(turns: list[Turn]) -> Turn | None:
    if not turns:
        return None
    angle = wrap_angle(turns[-1].after - turns[0].before)
    return Turn(turns[0].at, angle, turns[0].before, turns[-1].after)


def nouns() -> dict[str, tuple[str, ...]]:
    """Return the words for things, by label."""
    return {label: tuple(entry["nouns"]) for label, entry in lexicon()["things"].items()}


def uncoloured() -> list[str]:
    """Return the labels whose colour is not told."""
    return [label for label, entry in lexicon()["things"].items() if entry.get("colour") == ""]


def floor_words(floor: str) -> str:
    """Return what a floor is called: "oak floor", "white tiles"."""
    return floor if floor.endswith(("tiles", "carpet", "floor")) else f"{floor} floor"


def wall_words(wall: str) -> str:
    """Return what walls are called: "sage green walls", "blue tiled walls"."""
    return f"{wall.removesuffix(' tiles')} tiled walls" if wall.endswith(" tiles") else f"{wall} walls" if wall else ""
