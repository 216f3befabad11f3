"""Hindsight: what a walk came to is made the task, and what is said of it the instruction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from navloop.envs.houses.tours import reference_path_of
from navloop.envs.simulator import Action
from navloop.geometry import Vector, heading_to_quaternion
from navloop.records import Episode, GroundTruth, Instruction, Trajectory

STILL = 1e-3
"""Metres that are no step."""


def relabel(
    episode: Episode, trajectory: Trajectory, text: str, *, suffix: str = "h", extra: Mapping[str, Any] | None = None
) -> Episode:
    """Return the episode that a walk did: it ends where the walk ended, its way is the walk's, its instruction what is said of it.

    A walk that was cut off ends with a STOP in its ground truth, as if it had been meant.

    Args:
        episode: That was walked.
        trajectory: How.
        text: What is said of the walk.
        suffix: Put behind the ids of episode and trajectory, so that both can stand in one file.
        extra: Further fields of the instruction.

    Raises:
        ValueError: If the walk went nowhere, or the text is empty.
    """
    if not text.strip():
        raise ValueError(f"episode {episode.episode_id}: nothing is said of its walk; describe it first")
    locations = walked_way(trajectory)
    if len(locations) < 2:
        raise ValueError(f"episode {episode.episode_id}: the walk went nowhere, so it leads to no goal; leave it out")
    actions = trajectory.actions if trajectory.stopped else np.append(trajectory.actions, int(Action.STOP))
    return replace(
        episode,
        episode_id=f"{episode.episode_id}{suffix}",
        trajectory_id=f"{episode.trajectory_id}{suffix}",
        start_position=trajectory.positions[0],
        start_rotation=heading_to_quaternion(float(trajectory.headings[0])),
        instruction=Instruction(text=text, language=episode.instruction.language, extra=dict(extra or {})),
        goal_position=trajectory.positions[-1],
        reference_path=reference_path_of(locations),
        ground_truth=GroundTruth(
            locations=locations,
            actions=actions.astype(np.int64),
            forward_steps=int((actions == Action.FORWARD).sum()),
        ),
        info={},
    )


def walked_way(trajectory: Trajectory) -> Vector:
    """Return where a walk was, float64 (K, 3), without the steps that led nowhere."""
    positions = trajectory.positions
    moved = np.linalg.norm(np.diff(positions, axis=0), axis=1) > STILL
    way: Vector = positions[np.concatenate([[True], moved])]
    return way
