"""Parts of a walk through a house that show one thing: which frames, what it is called, how it can be said.

The house knows when something happens on the way that was planned (`navloop.envs.houses.moments`); here it is looked for in the poses that were
really walked, and what they do not show is left out.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from navloop.envs.glb import read_glb
from navloop.envs.houses.landmarks import bearings, seen_from
from navloop.envs.houses.language import say
from navloop.envs.houses.moments import Moment, find_moments, recall_tours
from navloop.envs.houses.narrative import Narrative
from navloop.envs.houses.sites import Site
from navloop.envs.protocols import get_protocol
from navloop.envs.scenes import SceneDescription
from navloop.envs.simulator import Camera
from navloop.geometry import Vector, heading_vector, wrap_angle
from navloop.records import Episode

SHORTEST = 4
"""Frames that a sub-walk has at least."""

MARGIN = 2
"""Frames kept before and after a turn."""

LEAST_TURN, LEAST_U_TURN = math.radians(45), math.radians(120)

LEAST_SHOWN = 2
"""Frames that a thing is in, to be named."""

APART = 1.0
"""Metres between things passed, for both to be listed: of two that are nearer to each other, the one more worth telling is kept."""

AHEAD = 1.0
"""Metres along the way that a walker may get on with one action, and then some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubWalk:
    """Frames of a walk that show a moment.

    Attributes:
        first: Number of the first frame.
        last: Number of the last one.
        at: Number of the frame at which it has happened.
        moment: What.
    """

    first: int
    last: int
    at: int
    moment: Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Poses:
    """Where the frames of a walk were taken.

    Attributes:
        positions: float64 (F, 3), metres.
        headings: float64 (F,), radians.
    """

    positions: Vector
    headings: Vector


def read_site(scene: Path) -> Site | None:
    """Return a generated house from its GLB and the description beside it; None for any other scene.

    Raises:
        SceneError: If a file cannot be read.
    """
    beside = scene.with_suffix(".json")
    if not beside.is_file():
        return None
    return Site(read_glb(scene), SceneDescription.read(beside), get_protocol("houses").body)


def find_subwalks(site: Site, episode: Episode, poses: Poses, camera: Camera) -> list[SubWalk]:
    """Return the sub-walks of a walk, in the order in which they begin; none where the episode was not made in this house.

    Args:
        site: The house.
        episode: With goal, reference path and ground truth.
        poses: Of the frames.
        camera: That took them.
    """
    for tour in recall_tours(site, episode):
        narrative, moments = find_moments(site, tour)
        if moments:
            finder = _Finder(site, narrative, poses, camera)
            found = [part for moment in _distinct(moments) if (part := finder.find(moment)) is not None]
            return sorted(found, key=lambda part: (part.first, part.last))
    return []


def captions_of(moment: Moment, count: int, rng: np.random.Generator) -> list[str]:
    """Return different sentences for a moment: `count`, or as many as there are."""
    texts: dict[str, str] = {}
    for _ in range(10 * count):
        if len(texts) == count:
            break
        text = say(moment.beat, rng)
        texts.setdefault(text.lower(), text)
    return list(texts.values())


def progress_along(narrative: Narrative, positions: Vector) -> Vector:
    """Return how far along the planned way each position (F, 3) is: float64 (F,), metres, never falling."""
    at, found = 0, []
    for position in positions:
        within = narrative.along <= narrative.along[at] + AHEAD
        gaps = np.linalg.norm((narrative.points - position)[:, [0, 2]], axis=1)
        gaps[:at] = np.inf
        gaps[~within] = np.inf
        at = int(gaps.argmin())
        found.append(narrative.along[at])
    return np.array(found)


def _distinct(moments: list[Moment]) -> list[Moment]:
    """Leave out things that are passed together with one more worth telling: their clips would show the same and be called differently."""
    passed = sorted((m for m in moments if m.event == "pass"), key=lambda m: (-m.beat.weight, m.at))
    kept: list[Moment] = []
    for moment in passed:
        if all(abs(moment.at - other.at) >= APART for other in kept):
            kept.append(moment)
    return [moment for moment in moments if moment.event != "pass" or moment in kept]


class _Finder:
    """Looks for moments in the frames of one walk."""

    def __init__(self, site: Site, narrative: Narrative, poses: Poses, camera: Camera) -> None:
        self._site = site
        self._poses = poses
        self._camera = camera
        self._along = progress_along(narrative, poses.positions)
        self._rooms = site.rooms_at(poses.positions)
        self._labels = [room.label for room in site.description.rooms]
        moved = np.nonzero(np.any(poses.positions != poses.positions[0], axis=1))[0]
        self._set_off = int(moved[0]) - 1 if len(moved) else len(poses.headings) - 1
        self._framed: dict[int, NDArray[np.bool_]] = {}

    def find(self, moment: Moment) -> SubWalk | None:
        """Return the frames that show a moment, or None where they do not."""
        inside = np.nonzero((self._along >= moment.start - 1e-6) & (self._along <= moment.end + 1e-6))[0]
        if len(inside) < SHORTEST:
            return None
        first, last = int(inside[0]), int(inside[-1])
        look = {"turn": self._turn, "enter": self._entrance, "pass": self._passing, "stop": self._stop}
        part = look[moment.event](moment, first, last)
        if part is None or part.last - part.first + 1 < SHORTEST or not self._shows_things(part):
            return None
        return part

    def _turn(self, moment: Moment, first: int, last: int) -> SubWalk | None:
        steps = np.array([wrap_angle(step) for step in np.diff(self._poses.headings[first : last + 1])])
        turning = np.nonzero(np.abs(steps) > 1e-6)[0]
        angle, is_around = float(steps.sum()), moment.side == "around"
        if not len(turning) or abs(angle) < (LEAST_U_TURN if is_around else LEAST_TURN):
            return None
        if not is_around and (angle > 0) != (moment.side == "left"):
            return None
        start, end = first + int(turning[0]), first + int(turning[-1]) + 1
        return SubWalk(first=max(first, start - MARGIN), last=min(last, end + MARGIN), at=end, moment=moment)

    def _entrance(self, moment: Moment, first: int, last: int) -> SubWalk | None:
        first, near = max(first, self._set_off), int(np.abs(self._along - moment.at).argmin())
        rooms = self._rooms[first : last + 1]
        crossed = [first + i + 1 for i in np.nonzero(np.diff(rooms))[0].tolist()]
        into = [frame for frame in crossed if self._labels[self._rooms[frame]] == moment.room]
        if not into:
            return None
        at = min(into, key=lambda frame: abs(frame - near))
        return SubWalk(first=first, last=last, at=at, moment=moment) if first < at < last else None

    def _passing(self, moment: Moment, first: int, last: int) -> SubWalk | None:
        first = max(first, self._set_off)
        elsewhere = np.nonzero(self._rooms[first : last + 1] != self._rooms[last])[0]
        first += int(elsewhere[-1]) + 1 if len(elsewhere) else 0  # what is seen from the room before is another moment
        at = int(np.abs(self._along - moment.at).argmin())
        number = moment.beat.things[0]
        if moment.side:
            angle = self._bearing(at, number)
            if not math.radians(40) < abs(angle) < math.radians(140) or (angle > 0) != (moment.side == "left"):
                return None
        return SubWalk(first=first, last=last, at=at, moment=moment) if first <= at <= last else None

    def _stop(self, moment: Moment, first: int, last: int) -> SubWalk:
        return SubWalk(first=first, last=last, at=last, moment=moment)

    def _shows_things(self, part: SubWalk) -> bool:
        """Whether everything that the sentence names is in the picture for some frames."""
        frames = range(part.first, part.last + 1)
        for thing in part.moment.beat.things:
            shown = (frame for frame in frames if self._in_frame(frame)[thing])
            if len(list(itertools.islice(shown, LEAST_SHOWN))) < LEAST_SHOWN:
                return False
        return True

    def _in_frame(self, frame: int) -> NDArray[np.bool_]:
        """Whether the middle of each object is in the picture, and enough of the object in sight: bool (O,)."""
        if frame not in self._framed:
            eye = self._poses.positions[frame] + np.array([0.0, self._camera.elevation, 0.0])
            away = (self._site.boxes[:, :3] + self._site.boxes[:, 3:]) / 2 - eye
            ahead = heading_vector(float(self._poses.headings[frame]))
            depth, right = away @ ahead, away @ np.array([-ahead[2], 0.0, ahead[0]])
            reach = math.tan(self._camera.hfov / 2) * depth
            tall = self._camera.height / self._camera.width
            inside = (np.abs(right) < reach) & (np.abs(away[:, 1]) < reach * tall)  # the camera looks level
            self._framed[frame] = inside & seen_from(self._site, eye)
        return self._framed[frame]

    def _bearing(self, frame: int, thing: int) -> float:
        """Direction of a thing from where the walker looks, radians, positive to the left."""
        return float(bearings(self._site, self._poses.positions[frame], float(self._poses.headings[frame]))[thing])
