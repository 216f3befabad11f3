"""The columns of a store's frames: from a trajectory to a table and back without loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from navloop.records import Trajectory

STATE = "observation.state"

FRAME_SCHEMA = pa.schema(
    [
        pa.field("timestamp", pa.float32()),
        pa.field("frame_index", pa.int64()),
        pa.field(STATE, pa.list_(pa.float32(), 4)),
        pa.field("pose", pa.list_(pa.float64(), 4)),
        pa.field("action", pa.int64()),
        pa.field("oracle_action", pa.int64()),
        pa.field("action_source", pa.int64()),
        pa.field("collided", pa.bool_()),
        pa.field("geodesic_to_goal", pa.float64()),
        pa.field("done", pa.bool_()),
    ]
)
"""Of a frame: what was seen, and what was then done. `pose` is the exact x, y, z and heading that `observation.state` rounds."""


def frame_table(trajectory: Trajectory, expert_actions: NDArray[np.int64], fps: int) -> pa.Table:
    """Return the rows of a walk, one an action: S of them."""
    steps = len(trajectory)
    poses = np.concatenate([trajectory.positions, trajectory.headings[:, None]], axis=1)[:-1]
    numbers = np.arange(steps)
    columns = {
        "timestamp": (numbers / fps).astype(np.float32),
        "frame_index": numbers,
        STATE: _rows(poses.astype(np.float32)),
        "pose": _rows(poses),
        "action": trajectory.actions,
        "oracle_action": expert_actions,
        "action_source": trajectory.action_source,
        "collided": trajectory.collided,
        "geodesic_to_goal": trajectory.distances_to_goal[:-1],
        "done": numbers == steps - 1,
    }
    return pa.table([pa.array(columns[name]) for name in FRAME_SCHEMA.names], schema=FRAME_SCHEMA)


def trajectory_of(frames: pa.Table, end_pose: Sequence[float], end_distance: float, stopped: bool) -> Trajectory:
    """Return what `frame_table` was made of."""
    poses = np.concatenate([matrix(frames, "pose"), np.asarray([end_pose], dtype=np.float64)])
    return Trajectory(
        positions=poses[:, :3],
        headings=poses[:, 3],
        actions=column(frames, "action"),
        distances_to_goal=np.append(column(frames, "geodesic_to_goal"), end_distance),
        collided=column(frames, "collided"),
        action_source=column(frames, "action_source"),
        stopped=stopped,
    )


def column(frames: pa.Table, name: str) -> NDArray[Any]:
    """Return a column as an array of its own."""
    return np.array(frames[name].to_numpy())


def matrix(frames: pa.Table, name: str) -> NDArray[Any]:
    """Return a column of lists of one length as an array (S, n)."""
    listed = frames[name].combine_chunks()
    return np.array(listed.flatten().to_numpy()).reshape(len(listed), -1)


def _rows(values: NDArray[np.floating]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
