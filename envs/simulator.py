"""The door to a world: what a navigation environment asks of a simulator. No simulator lives here."""

from __future__ import annotations

import enum
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from navloop.geometry import Pose, Vector


class Action(enum.IntEnum):
    """Low-level actions with habitat's codes (`habitat/sims/habitat_simulator/actions.py`, HabitatSimActions)."""

    STOP = 0
    FORWARD = 1
    LEFT = 2
    RIGHT = 3
    LOOK_UP = 4
    LOOK_DOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A pinhole camera fixed to the agent; square pixels, the principal point at the centre.

    Attributes:
        name: Key of its frames in `Simulator.render`.
        kind: "rgb" gives uint8 (H, W, 3); "depth" float32 (H, W, 1) metres along the optical axis, clipped to
            [min_depth, max_depth], with max_depth where nothing is hit; "semantic" int32 (H, W), the object id + 1, 0 for none.
        width: Pixels.
        height: Pixels.
        hfov: Horizontal field of view, radians in (0, pi).
        elevation: Height of the camera above the floor, metres.
        yaw: Radians to the left of the agent's heading.
        pitch: Radians upwards.
        min_depth: Metres; depth cameras only.
        max_depth: Metres; depth cameras only.
    """

    name: str
    kind: Literal["rgb", "depth", "semantic"] = "rgb"
    width: int = 224
    height: int = 224
    hfov: float = math.pi / 2
    elevation: float = 1.25
    yaw: float = 0.0
    pitch: float = 0.0
    min_depth: float = 0.0
    max_depth: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The shape and stride of an agent.

    Attributes:
        height: Metres of clearance it needs.
        radius: Metres it keeps from obstacles.
        max_climb: Height of the highest step it walks over, metres.
        step: Length of FORWARD, metres.
        turn: Angle of LEFT and RIGHT, radians.
        tilt: Angle of LOOK_UP and LOOK_DOWN, radians; 0 where the embodiment has no such actions.
        sliding: Whether a blocked FORWARD slides along the obstacle (True) or stops at it (False).
    """

    height: float = 1.5
    radius: float = 0.1
    max_climb: float = 0.2
    step: float = 0.25
    turn: float = math.radians(15)
    tilt: float = 0.0
    sliding: bool = True


class SceneError(ValueError):
    """A scene that cannot be loaded or walked in; the message names the file and the mend."""


class Simulator(ABC):
    """One agent in one scene at a time. Points are float64 (3,), metres, in Habitat's frame (`navloop.geometry`)."""

    @abstractmethod
    def load_scene(self, scene_id: str) -> None:
        """Make a scene current; loading the current one again costs nothing. The pose is undefined until `set_pose`.

        Raises:
            SceneError: If the file is missing, broken, or has no floor to stand on.
        """

    @property
    @abstractmethod
    def pose(self) -> Pose:
        """Where the agent stands."""

    @abstractmethod
    def set_pose(self, pose: Pose) -> None:
        """Put the agent somewhere, exactly: on free space, or within 0.5 m of it, when it is moved to the nearest free point.

        Raises:
            SceneError: If no free space is that near.
        """

    @abstractmethod
    def act(self, action: Action) -> bool:
        """Apply one action and return whether the agent was stopped or turned aside by an obstacle. STOP does nothing."""

    @abstractmethod
    def foresee(self, heading: float) -> Vector:
        """Return where a FORWARD from here would end (3,) if the agent had this heading in radians, without moving it."""

    @abstractmethod
    def render(self) -> dict[str, NDArray[np.generic]]:
        """Return the frame of every camera at the pose, by name, as `Camera.kind` says. The arrays belong to the caller."""

    @abstractmethod
    def geodesic_distances(self, points: Vector, goal: Vector) -> Vector:
        """Return the length of the shortest walk from each point (N, 3) to the goal (3,): float64 (N,), inf where none exists."""

    @abstractmethod
    def shortest_path(self, start: Vector, goal: Vector) -> Vector:
        """Return the corners of the shortest walk, float64 (K, 3), start and goal included; (0, 3) where none exists."""

    @abstractmethod
    def sample_navigable_point(self, rng: np.random.Generator) -> Vector:
        """Draw a point uniformly from the largest connected free space."""

    @abstractmethod
    def is_navigable(self, point: Vector, tolerance: float = 1e-3) -> bool:
        """Whether the agent can stand at a point, up to `tolerance` metres on the floor and `Body.max_climb` in height."""

    @abstractmethod
    def visible_labels(self) -> Sequence[str]:
        """Labels of the semantic ids: the frame's value v > 0 stands for item v - 1. Empty where the scene has none."""

    @abstractmethod
    def floor_plan(self) -> FloorPlan:
        """Return what a top-down map draws."""

    @abstractmethod
    def twin(self) -> Simulator:
        """Return a simulator with an agent of its own, alike in all else, that shares this one's scenes in memory.

        What is shared is given back when the last of them is closed.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back what the simulator holds; safe to call twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FloorPlan:
    """The free space of a scene seen from above.

    Attributes:
        free: bool (rows, columns), True where the agent can stand; row r covers z = origin[1] + r * cell.
        origin: float64 (2,), x and z of the first cell's corner, metres.
        cell: Edge of a cell, metres.
        rooms: Room labels and the (x, z) where to write them.
    """

    free: NDArray[np.bool_]
    origin: Vector
    cell: float
    rooms: tuple[tuple[str, tuple[float, float]], ...] = ()
