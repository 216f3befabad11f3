"""Why recorded actions led elsewhere: an obstacle, a step, a turn or a start heading that is not the recorder's."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from navloop.envs.simulator import Action, Body
from navloop.geometry import Vector, heading_vector, wrap_angle
from navloop.records import GroundTruth, Trajectory

TURNS = (5.0, 7.5, 10.0, 15.0, 22.5, 30.0, 45.0, 60.0, 90.0)
"""Turn angles that ground truths were recorded with, degrees."""

SHARP = math.radians(2)
"""Radians by which headings may scatter around a hypothesis that explains them."""


TOUCH = 1e-3
"""Metres that a step may end from straight ahead of where it began; more, and something was in the way."""


class Cause(NamedTuple):
    """Why a replay differs.

    Attributes:
        words: For people.
        is_obstacle: Whether the worlds merely disagree about an obstacle; otherwise files, protocol or scene are not those they should be.
    """

    words: str
    is_obstacle: bool = False


def cause_of_drift(
    truth: GroundTruth, trajectory: Trajectory, places: NDArray[np.intp], first: int, body: Body
) -> Cause:
    """Return what a replay's first difference looks like.

    Args:
        truth: What was recorded.
        trajectory: What its actions led to here.
        places: Step at which each location should be reached.
        first: The first location that was missed.
        body: Of the protocol.
    """
    if first == 0:
        return Cause("the ground truth starts elsewhere than the episode; take both files from one release")
    explained = _explain_headings(truth, trajectory, places, body)
    if explained:
        return Cause(explained)
    here, there = _aside(truth, trajectory, places, first, body.step)
    if trajectory.collided[: places[first]].any() or here > TOUCH:
        return Cause(
            "differs from an obstacle on: the world's free space or way of sliding is not the recorder's", True
        )
    lengths = np.linalg.norm(np.diff(truth.locations, axis=0)[:, [0, 2]], axis=1)
    if abs(float(np.median(lengths)) - body.step) > 0.01:
        told = float(np.median(lengths))
        return Cause(f"steps {body.step:.2f} m where the recorder stepped {told:.2f} m: another step length")
    if there > TOUCH:
        return Cause(
            "walks on where the recorder met an obstacle: the world lacks something, or the body is thinner", True
        )
    return Cause("differs without an obstacle: the actions and locations of the ground truth do not belong together")


def _aside(
    truth: GroundTruth, trajectory: Trajectory, places: NDArray[np.intp], first: int, step: float
) -> tuple[float, float]:
    """Return how far from straight ahead the step to a location ended, here and for the recorder, metres."""
    before, after = places[first - 1], places[first]
    ahead = step * heading_vector(float(trajectory.headings[after]))[[0, 2]]
    here = (trajectory.positions[after] - trajectory.positions[before])[[0, 2]]
    there = (truth.locations[first] - truth.locations[first - 1])[[0, 2]]
    return float(np.linalg.norm(here - ahead)), float(np.linalg.norm(there - ahead))


def _explain_headings(truth: GroundTruth, trajectory: Trajectory, places: NDArray[np.intp], body: Body) -> str:
    """Return which turn angle or start heading the recorder had, if one explains the directions of its free steps; "" if none does."""
    directions, turns = _recorded_directions(truth, trajectory, places, body.step)
    if len(directions) == 0:
        return ""
    angles = [body.turn, *(math.radians(turn) for turn in TURNS)]
    fits = [(angle, *_start_heading(directions, turns, angle)) for angle in angles]
    sharp = [
        (angle, abs(wrap_angle(start - float(trajectory.headings[0]))))
        for angle, start, scatter in fits
        if scatter <= SHARP
    ]
    # What explains the steps from the episode's own start heading comes first, and the protocol's own turn before another.
    angle, off = next((fit for fit in sharp if fit[1] <= SHARP), sharp[0] if sharp else (body.turn, 0.0))
    if off > SHARP:
        return (
            "the start heading is not the ground truth's; take both files from one release (R2R-CE v1 and v1-3 differ)"
        )
    if abs(angle - body.turn) > 1e-3:
        told, own = math.degrees(angle), math.degrees(body.turn)
        return (
            f"the ground truth turns by {told:g} degrees, the protocol by {own:g}; choose the protocol it was made for"
        )
    return ""


def _recorded_directions(
    truth: GroundTruth, trajectory: Trajectory, places: NDArray[np.intp], step: float
) -> tuple[Vector, NDArray[np.int64]]:
    """Return the headings (N,) of the recorder's steps that met nothing, and how many turns to the left it had made before each."""
    moves = np.diff(truth.locations, axis=0)
    free = np.linalg.norm(moves[:, [0, 2]], axis=1) > 0.98 * step
    left = np.cumsum(
        (trajectory.actions == Action.LEFT).astype(np.int64) - (trajectory.actions == Action.RIGHT).astype(np.int64)
    )
    before = left[np.maximum(places[1:] - 1, 0)]
    return np.arctan2(-moves[free, 0], -moves[free, 2]), before[free]


def _start_heading(directions: Vector, turns: NDArray[np.int64], angle: float) -> tuple[float, float]:
    """Return the start heading that a turn angle implies, and how much the steps disagree about it (mean, radians)."""
    starts = directions - turns * angle
    middle = float(np.angle(np.exp(1j * starts).mean()))
    around = np.angle(np.exp(1j * (starts - middle)))
    centre = wrap_angle(middle + float(np.median(around)))
    return centre, float(np.abs(np.angle(np.exp(1j * (starts - centre)))).mean())
