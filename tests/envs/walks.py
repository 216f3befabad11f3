"""Walks and episodes for the tests of alignment and metrics, and slow, plain references to hold them against."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from navloop.envs.simulator import Action
from navloop.geometry import Vector
from navloop.records import Episode, GroundTruth, Instruction, Trajectory

points = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 24), st.just(3)),
    elements=st.floats(-20, 20, allow_nan=False, width=32),
)
"""Any walk of up to 24 points."""


def plain_dtw(walk: Vector, reference: Vector) -> float:
    """Dynamic time warping as in a textbook."""
    table = np.full((len(walk) + 1, len(reference) + 1), math.inf)
    table[0, 0] = 0
    for i in range(len(walk)):
        for j in range(len(reference)):
            best = min(table[i, j], table[i, j + 1], table[i + 1, j])
            table[i + 1, j + 1] = math.dist(walk[i], reference[j]) + best
    return float(table[-1, -1])


def plain_fast_dtw(walk: Sequence[Vector], reference: Sequence[Vector], radius: int = 1) -> float:
    """FastDTW from the paper's figure 6, cell by cell."""
    return _plain_fast_dtw(walk, reference, radius)[0]


def _plain_fast_dtw(
    walk: Sequence[Vector], reference: Sequence[Vector], radius: int
) -> tuple[float, list[tuple[int, int]]]:
    rows, columns = len(walk), len(reference)
    window = {(i, j) for i in range(rows) for j in range(columns)}
    if min(rows, columns) >= radius + 2:
        coarse = [[(a + b) / 2 for a, b in zip(p[::2], p[1::2], strict=False)] for p in (walk, reference)]
        _, cells = _plain_fast_dtw(*coarse, radius)
        around = range(-radius, radius + 1)
        grown = {(i + a, j + b) for i, j in cells for a in around for b in around}
        window &= {(2 * i + a, 2 * j + b) for i, j in grown for a in (0, 1) for b in (0, 1)}
    costs: dict[tuple[int, int], float] = {(-1, -1): 0.0}
    came: dict[tuple[int, int], tuple[int, int]] = {}
    for i, j in sorted(window):
        befores = [(i - 1, j), (i, j - 1), (i - 1, j - 1)]
        came[i, j] = min(befores, key=lambda cell: costs.get(cell, math.inf))
        costs[i, j] = costs.get(came[i, j], math.inf) + math.dist(walk[i], reference[j])
    cells = [(rows - 1, columns - 1)]
    while came[cells[-1]] != (-1, -1):
        cells.append(came[cells[-1]])
    return costs[rows - 1, columns - 1], cells


def make_episode(
    reference: Vector | None, *, goal: bool = True, sparse: Vector | None = None, identifier: str = "1"
) -> Episode:
    """An episode whose ground truth is `reference`, the goal at its end."""
    end = np.zeros(3) if reference is None else reference[-1]
    truth = None if reference is None else GroundTruth(locations=reference, actions=None, forward_steps=0)
    return Episode(
        episode_id=identifier,
        trajectory_id="1",
        scene_id="houses/a/a.glb",
        start_position=np.zeros(3),
        start_rotation=np.array([0.0, 0, 0, 1]),
        instruction=Instruction(text="Walk."),
        goal_position=end if goal else None,
        reference_path=sparse,
        ground_truth=truth,
    )


def make_trajectory(
    positions: Vector,
    distances: Sequence[float] | Vector,
    *,
    stopped: bool = True,
    collided: Sequence[bool] | None = None,
) -> Trajectory:
    """A walk through positions (S+1, 3); the last action is STOP where it stopped."""
    steps = len(positions) - 1
    actions = np.full(steps, int(Action.FORWARD))
    if stopped and steps:
        actions[-1] = Action.STOP
    return Trajectory(
        positions=np.asarray(positions, dtype=np.float64),
        headings=np.zeros(steps + 1),
        actions=actions.astype(np.int64),
        distances_to_goal=np.asarray(distances, dtype=np.float64),
        collided=np.zeros(steps, dtype=bool) if collided is None else np.asarray(collided, dtype=bool),
        action_source=np.zeros(steps, dtype=np.int64),
        stopped=bool(stopped and steps),
    )
