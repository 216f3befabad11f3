"""Walks in a mirror: every walk is also one through the mirrored house, if left and right change places in all of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from navloop.agent.policies import ACTIONS
from navloop.envs.simulator import Action
from navloop.training.walks import Frames

_SWAPPED = np.arange(ACTIONS + 1)
_SWAPPED[[Action.LEFT, Action.RIGHT]] = [Action.RIGHT, Action.LEFT]


def mirror_actions(actions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return actions, or `ACTIONS` for none, with LEFT and RIGHT swapped."""
    swapped: NDArray[np.int64] = _SWAPPED[actions]
    return swapped


def mirror_frames(frames: Frames) -> Frames:
    """Return frames as they would be seen in the mirrored house."""
    depth = None if frames.depth is None else np.ascontiguousarray(frames.depth[:, :, ::-1])
    return Frames(np.ascontiguousarray(frames.rgb[:, :, ::-1]), depth)
