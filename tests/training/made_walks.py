"""Walks made up for tests of what is kept and how it is told: straight lines, no world."""

from __future__ import annotations

import numpy as np

from navloop.records import Episode, Instruction, Trajectory
from navloop.training.filters import Candidate


def straight(
    steps: int = 10,
    start: tuple[float, float] = (0.0, 0.0),
    heading: float = 0.0,
    stopped: bool = True,
    source: int = 0,
) -> Trajectory:
    """Return a walk of steps of 0.25 m to a goal at its end."""
    along = 0.25 * np.arange(steps + 1)
    ahead = np.array([-np.sin(heading), 0.0, -np.cos(heading)])
    positions = np.array([start[0], 0.0, start[1]]) + along[:, None] * ahead
    actions = np.ones(steps, dtype=np.int64)
    if stopped:
        positions, actions = np.concatenate([positions, positions[-1:]]), np.append(actions, 0)
    return Trajectory(
        positions=positions,
        headings=np.full(len(positions), heading),
        actions=actions,
        distances_to_goal=np.linalg.norm(positions - positions[-1], axis=1),
        collided=np.zeros(len(actions), dtype=bool),
        action_source=np.full(len(actions), source),
        stopped=stopped,
    )


def episode(text: str = "Walk into the kitchen and stop.", scene: str = "a/a.glb", number: str = "7") -> Episode:
    """Return an episode whose goal is elsewhere."""
    return Episode(
        episode_id=number,
        trajectory_id=f"t{number}",
        scene_id=scene,
        start_position=np.zeros(3),
        start_rotation=np.array([0.0, 0.0, 0.0, 1.0]),
        instruction=Instruction(text=text),
        goal_position=np.array([9.0, 0.0, 9.0]),
        goal_radius=3.0,
        reference_path=np.array([[0.0, 0.0, 0.0], [9.0, 0.0, 9.0]]),
        info={"geodesic_distance": 12.7},
    )


def candidate(key: str, text: str = "Walk into the kitchen and stop.", **fields: object) -> Candidate:
    """Return a candidate that walked 2.5 m straight on; `trajectory`, `scores`, `features` and `scene` replace what it has."""
    scene = str(fields.pop("scene", "a/a.glb"))
    given = {"trajectory": straight(), **fields}
    return Candidate(key=key, episode=episode(text, scene, key), **given)  # type: ignore[arg-type]
