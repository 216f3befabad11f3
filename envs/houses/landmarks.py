"""What a walker really sees on the way, found by casting rays, and how to name one thing so that no other is meant."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from navloop.envs.houses.narrative import Narrative, Stay
from navloop.envs.houses.sites import Site
from navloop.geometry import Vector, heading_between, wrap_angle

EYE = 1.25
"""Metres above the floor. Source: the camera of VLN-CE's protocols."""

HALF_VIEW = math.radians(45)
"""Half of the 90 degrees that the camera sees."""

FARTHEST = 7.0
"""Metres beyond which nothing is called a landmark."""

BESIDE = 2.2
"""Metres from the walk to a thing that one passes."""

LEAST_HITS = 3
"""Of the rays sent to a thing, how many must meet it."""

_SAMPLES = np.array([(i, j, k) for i in (0.12, 0.5, 0.88) for j in (0.15, 0.5, 0.85) for k in (0.12, 0.5, 0.88)])


class Passing(NamedTuple):
    """A thing that is passed.

    Attributes:
        thing: Number of the object.
        at: Where on the walk it is abreast, metres from the start.
        side: "left" or "right" of the walker.
        distance: To its box on the floor, metres.
    """

    thing: int
    at: float
    side: Literal["left", "right"]
    distance: float


class Ahead(NamedTuple):
    """A thing that a stretch of the walk leads towards.

    Attributes:
        thing: Number of the object.
        at: Where it is seen, metres from the start.
        distance: To the middle of its box, metres.
    """

    thing: int
    at: float
    distance: float


class Sights:
    """What is seen on one walk.

    Attributes:
        along: float64 (V,), metres from the start of the points that were looked from.
        visible: bool (V, O), whether the object can be seen from there by turning the head.
        framed: bool (V, O), whether it is seen without turning it: within 45 degrees of the way ahead.
        bearings: float64 (V, O), the direction of its middle from the way ahead, radians, positive to the left.
    """

    def __init__(self, site: Site, narrative: Narrative, stride: int = 4) -> None:
        """Look from every `stride`-th point of the walk, and from its end."""
        self.site = site
        self.narrative = narrative
        chosen = np.unique(np.r_[0 : len(narrative.points) : stride, len(narrative.points) - 1])
        self.along = narrative.along[chosen]
        eyes = narrative.points[chosen] + np.array([0.0, EYE, 0.0])
        self.visible = np.array([seen_from(site, eye) for eye in eyes])
        headings = narrative.headings[chosen]
        self.bearings = np.array([bearings(site, eye, heading) for eye, heading in zip(eyes, headings, strict=True)])
        self.framed = self.visible & (np.abs(self.bearings) < HALF_VIEW)

    def seen_between(self, start: float, end: float) -> NDArray[np.bool_]:
        """Whether each object can be seen from somewhere between two distances from the start: bool (O,)."""
        chosen = (self.along >= start - 0.25) & (self.along <= end + 0.25)
        seen: NDArray[np.bool_] = self.visible[chosen].any(axis=0)
        return seen

    def framed_between(self, start: float, end: float) -> NDArray[np.bool_]:
        """Whether each object is in view somewhere between two distances from the start: bool (O,)."""
        chosen = (self.along >= start - 0.25) & (self.along <= end + 0.25)
        framed: NDArray[np.bool_] = self.framed[chosen].any(axis=0)
        return framed

    def passings(self, stay: Stay) -> list[Passing]:
        """Return the things in a room that the walk passes on one side, in order."""
        found = (self._passing(number, stay) for number in self._in_room(stay))
        return sorted((p for p in found if p is not None), key=lambda p: p.at)

    def aheads(self, stay: Stay, start: float, end: float) -> list[Ahead]:
        """Return what a straight stretch of the walk leads towards, the most central first."""
        view = int(np.abs(self.along - start).argmin())
        eye, last = (self.narrative.points[self.narrative.index(at)] for at in (start, end))
        heading = heading_between(eye, last)
        found = []
        for number in self._in_room(stay):
            middle = _middle(self.site.boxes[number])
            distance, left = (float(np.hypot(*(middle - point)[[0, 2]])) for point in (eye, last))
            off = abs(wrap_angle(heading_between(eye, middle) - heading))
            if self.visible[view, number] and off < math.radians(14) and left < distance - 1.0 and distance < FARTHEST:
                found.append((off, Ahead(number, start, distance)))
        return [ahead for _, ahead in sorted(found)]

    def crossed(self, stay: Stay) -> list[Passing]:
        """Return the flat things (rugs) that the walk leads over for 0.8 m or more; the side says nothing."""
        found = []
        within = (self.narrative.along >= stay.start) & (self.narrative.along <= stay.end)
        along, points = self.narrative.along[within], self.narrative.points[within]
        for number in self._in_room(stay):
            x0, _, z0, x1, y1, z1 = self.site.boxes[number]
            on = (points[:, 0] > x0) & (points[:, 0] < x1) & (points[:, 2] > z0) & (points[:, 2] < z1)
            if y1 < self.site.description.rooms[stay.room].floor + 0.05 and on.sum() * 0.1 >= 0.8:
                found.append(Passing(number, float(along[on].mean()), "left", 0.0))
        return found

    def _in_room(self, stay: Stay) -> list[int]:
        name = self.site.description.rooms[stay.room].name
        return [i for i, thing in enumerate(self.site.description.objects) if thing.room == name]

    def _passing(self, number: int, stay: Stay) -> Passing | None:
        x0, y0, z0, x1, y1, z1 = self.site.boxes[number]
        floor = self.site.description.rooms[stay.room].floor
        if y0 > floor + 1.8 or y1 < floor + 0.25:
            return None
        narrative = self.narrative
        within = np.nonzero((narrative.along >= stay.start + 0.2) & (narrative.along <= stay.end - 0.2))[0]
        if not len(within):
            return None
        points = narrative.points[within]
        gaps = np.hypot(
            np.maximum(0, np.maximum(x0 - points[:, 0], points[:, 0] - x1)),
            np.maximum(0, np.maximum(z0 - points[:, 2], points[:, 2] - z1)),
        )
        # Abreast of its middle, on a stretch that is straight.
        middle = _middle(self.site.boxes[number])
        off = np.array(
            [
                wrap_angle(heading_between(p, middle) - h)
                for p, h in zip(points, narrative.headings[within], strict=True)
            ]
        )
        best = int(np.abs(np.abs(off) - math.pi / 2).argmin())
        at = float(narrative.along[within[best]])
        if gaps[best] > BESIDE or abs(abs(off[best]) - math.pi / 2) > math.radians(14):
            return None
        near = [narrative.heading(max(0.0, at - 0.5)), narrative.heading(at), narrative.heading(at + 0.5)]
        if max(abs(wrap_angle(h - near[1])) for h in near) > math.radians(35):
            return None
        before, abreast = (
            self.framed_between(max(0.0, at - 4), at)[number],
            self.seen_between(at - 0.3, at + 0.3)[number],
        )
        if not (before and abreast):
            return None
        return Passing(number, at, "left" if off[best] > 0 else "right", float(gaps[best]))


def seen_from(site: Site, eye: Vector) -> NDArray[np.bool_]:
    """Whether each object of a site can be seen from an eye (3,), within `FARTHEST`: bool (O,)."""
    boxes = site.boxes
    seen = np.zeros(len(boxes), dtype=bool)
    near = np.nonzero(np.linalg.norm((boxes[:, :3] + boxes[:, 3:]) / 2 - eye, axis=1) < FARTHEST)[0]
    if not len(near):
        return seen
    targets = boxes[near, None, :3] + _SAMPLES * (boxes[near, None, 3:] - boxes[near, None, :3])  # (N, 27, 3)
    hits = site.rays.cast(eye, (targets - eye).reshape(-1, 3))
    met = np.where(hits.face < 0, -1, site.face_object[hits.face]).reshape(len(near), -1)
    seen[near] = (met == near[:, None]).sum(axis=1) >= LEAST_HITS
    return seen


def bearings(site: Site, eye: Vector, heading: float) -> Vector:
    """Return the direction of every object's middle from a heading, radians, positive to the left: float64 (O,)."""
    ways = (site.boxes[:, :3] + site.boxes[:, 3:]) / 2 - eye
    off: Vector = np.arctan2(-ways[:, 0], -ways[:, 2]) - heading
    return math.pi - (math.pi - off) % (2 * math.pi)


def _middle(box: Vector) -> Vector:
    return np.asarray((box[:3] + box[3:]) / 2)


class Reference(NamedTuple):
    """Words that mean one thing among those in view.

    Attributes:
        noun: What it is called.
        colour: Its colour, "" if not needed.
        material: Its material, "" if not needed.
    """

    noun: str
    colour: str
    material: str


class Namer:
    """Chooses words for things.

    Args:
        site: Whose things.
        nouns: For each label, the words that people use for it; a label that is absent is never named.
        uncoloured: Labels whose colour is not told.
    """

    def __init__(self, site: Site, nouns: Mapping[str, Sequence[str]], uncoloured: Iterable[str] = ()) -> None:
        self.site = site
        self.nouns = nouns
        self._uncoloured = frozenset(uncoloured)
        labels = sorted({thing.label for thing in site.description.objects})
        words = {noun for label in labels for noun in nouns.get(label, ())}
        self._answering = {
            noun: frozenset(label for label in labels if _answers(label, tuple(nouns.get(label, ())), noun))
            for noun in words
        }

    def references(self, number: int, rivals: NDArray[np.bool_]) -> list[Reference]:
        """Return every short way to name an object that fits no other of the rivals (bool (O,), those in view)."""
        things = self.site.description.objects
        thing = things[number]
        others = [things[i] for i in np.nonzero(rivals)[0] if i != number]
        found = []
        for noun in self.nouns.get(thing.label, ()):
            alike = [other for other in others if other.label in self._answering[noun]]
            colour = "" if thing.label in self._uncoloured else thing.colour
            for words in dict.fromkeys([("", ""), (colour, ""), ("", thing.material), (colour, thing.material)]):
                if not any(_fits(other.colour, words[0]) and _fits(other.material, words[1]) for other in alike):
                    found.append(Reference(noun, *words))
        return found


@cache
def _answers(label: str, words: tuple[str, ...], noun: str) -> bool:
    """Whether a thing of some label might be taken for what a noun means: "chair" may be an armchair."""
    last = noun.split(" ")[-1]
    return noun in words or any(word.split(" ")[-1] == last for word in (label, *words))


def _fits(word: str, wanted: str) -> bool:
    """Whether what is called `word` might be meant by `wanted`: shades of one colour are not told apart."""
    return not wanted or not word or word.split(" ")[-1] == wanted.split(" ")[-1]
