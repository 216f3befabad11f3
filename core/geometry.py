"""Poses and headings in Habitat's world frame: x right, y up, -z ahead; metres and radians."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]


class Pose(NamedTuple):
    """Where an agent stands.

    Attributes:
        position: float64 (3,), metres, on the floor (not at the camera).
        heading: Radians in (-pi, pi]; 0 looks along -z, positive turns to the left.
    """

    position: Vector
    heading: float


def wrap_angle(angle: float) -> float:
    """Return the same direction in (-pi, pi]."""
    return math.pi - (math.pi - angle) % (2 * math.pi)


def heading_vector(heading: float) -> Vector:
    """Return the unit vector (3,) that a walker with this heading moves along."""
    return np.array([-math.sin(heading), 0.0, -math.cos(heading)])


def heading_between(start: ArrayLike, end: ArrayLike) -> float:
    """Return the heading that looks from one point (3,) to another, ignoring height."""
    dx, _, dz = np.asarray(end, float) - np.asarray(start, float)
    return math.atan2(-dx, -dz)


def heading_to_quaternion(heading: float) -> Vector:
    """Return the rotation about y as a quaternion (4,), xyzw."""
    return np.array([0.0, math.sin(heading / 2), 0.0, math.cos(heading / 2)])


def quaternion_to_heading(rotation: ArrayLike) -> float:
    """Return the heading of a quaternion (4,), xyzw: the direction that its -z axis takes on the floor.

    Raises:
        ValueError: If the quaternion has no length or looks straight up or down.
    """
    x, y, z, w = np.asarray(rotation, dtype=float)
    # The image of -z under the rotation; its length is the squared norm, which cancels in atan2.
    ahead_x, ahead_z = -2 * (x * z + w * y), -(w * w - x * x - y * y + z * z)
    if math.hypot(ahead_x, ahead_z) < 1e-9:
        raise ValueError(f"rotation {[x, y, z, w]} has no heading: it is zero or looks straight up or down")
    return math.atan2(-ahead_x, -ahead_z)
