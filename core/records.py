"""The records that flow between packages: instructions, episodes, trajectories. They hold data and check it; no behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from navloop.geometry import Vector

SOURCES = ("policy", "expert", "takeover")
"""Who chose an action, in the order of its code in `Trajectory.action_source`."""

Tour = tuple[str, str]
"""Scene and trajectory id: what the episodes share that tell one walk in other words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """What the agent is told.

    Attributes:
        text: The words.
        language: BCP-47 tag, such as "en-US".
        tokens: int64 (L,) as in the file, or None where the file has none.
        extra: Further fields of the file, kept as they are (RxR: instruction_id, annotator_id, timed_instruction, ...).
    """

    text: str
    language: str = "en-US"
    tokens: NDArray[np.int64] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundTruth:
    """The reference walk of an episode, as the {split}_gt files have it.

    Attributes:
        locations: float64 (K, 3), dense positions in metres, the start included.
        actions: int64 (S,), codes of `navloop.envs.simulator.Action`, ending with STOP; None where the file has none.
        forward_steps: How many of the actions move forward, as the file says.
        extra: Further fields of the file, kept as they are.
    """

    locations: Vector
    actions: NDArray[np.int64] | None
    forward_steps: int
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One task: from a start pose, follow an instruction to its goal.

    Attributes:
        episode_id: Unique in its file.
        trajectory_id: Shared by the episodes that describe the same walk.
        scene_id: Path of the scene below the scenes folder, such as "mp3d/<scan>/<scan>.glb".
        start_position: float64 (3,), metres.
        start_rotation: float64 (4,), quaternion xyzw.
        instruction: What the agent is told.
        goal_position: float64 (3,), metres; None on test splits.
        goal_radius: Metres, as the file says (protocols decide success, not this); None where absent.
        reference_path: float64 (P, 3), metres; None on test splits.
        ground_truth: The reference walk; None where not loaded.
        info: The file's own field of that name, such as {"geodesic_distance": metres}.
        extra: Further fields of the file, kept as they are.
    """

    episode_id: str
    trajectory_id: str
    scene_id: str
    start_position: Vector
    start_rotation: Vector
    instruction: Instruction
    goal_position: Vector | None = None
    goal_radius: float | None = None
    reference_path: Vector | None = None
    ground_truth: GroundTruth | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tour(self) -> Tour:
        """What it shares with the episodes that tell the same walk in other words."""
        return self.scene_id, self.trajectory_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """What an agent did in one episode of S actions; every metric is a pure function of it.

    Attributes:
        positions: float64 (S+1, 3), metres, the start first.
        headings: float64 (S+1,), radians.
        actions: int64 (S,), codes of `navloop.envs.simulator.Action`.
        distances_to_goal: float64 (S+1,), geodesic metres; inf where the goal cannot be reached, nan where there is no goal.
        collided: bool (S,), True where the step was stopped or turned aside by an obstacle.
        action_source: int64 (S,), index into `SOURCES`.
        stopped: Whether the last action was STOP.

    Raises:
        ValueError: If lengths disagree, naming the field.
    """

    positions: Vector
    headings: Vector
    actions: NDArray[np.int64]
    distances_to_goal: Vector
    collided: NDArray[np.bool_]
    action_source: NDArray[np.int64]
    stopped: bool

    def __post_init__(self) -> None:
        steps = len(self.actions)
        if self.positions.shape != (steps + 1, 3):
            raise ValueError(
                f"Trajectory.positions: expected shape {(steps + 1, 3)} for {steps} actions, got {self.positions.shape}"
            )
        for name, length in {"headings": 1, "distances_to_goal": 1, "collided": 0, "action_source": 0}.items():
            shape = getattr(self, name).shape
            if shape != (steps + length,):
                raise ValueError(
                    f"Trajectory.{name}: expected shape {(steps + length,)} for {steps} actions, got {shape}"
                )

    def __len__(self) -> int:
        return len(self.actions)
