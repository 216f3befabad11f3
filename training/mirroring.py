"""Walks in a mirror: every walk is also one through the mirrored house, if left and right change places in all of it."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from navloop.agent.policies import ACTIONS
from navloop.envs.simulator import Action
from navloop.training.walks import Frames

_SIDE = re.compile(r"\b(left|right)(?=(s|most|wards?)?\b)", re.IGNORECASE)
_AT_ONCE = re.compile(
    r"\s+(after|ahead|as|at|away|before|behind|beside|by|down|in|inside|near|next|past|there|up|where)\b", re.IGNORECASE
)
_GONE = re.compile(r"\b(had|has|have|having|just|you)\s+$", re.IGNORECASE)
_TURNING = re.compile(
    r"\b(a|an|bear|bearing|go|going|hard|head|heading|immediate|keep|keeping|on|onto|sharp|slight|slightly|stay|staying|the|to|turn|turning"
    r"|turns|veer|veering|your)\s+$",
    re.IGNORECASE,
)

_SWAPPED = np.arange(ACTIONS + 1)
_SWAPPED[[Action.LEFT, Action.RIGHT]] = [Action.RIGHT, Action.LEFT]


def mirror_text(text: str) -> str:
    """Return an instruction with left and right swapped; but neither where they mean other things.

    "Stop right beside the bed" and "the room that you left" stay as they are.
    """
    return _SIDE.sub(lambda found: _other(found, text), text)


def mirror_actions(actions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return actions, or `ACTIONS` for none, with LEFT and RIGHT swapped."""
    swapped: NDArray[np.int64] = _SWAPPED[actions]
    return swapped


def mirror_frames(frames: Frames) -> Frames:
    """Return frames as they would be seen in the mirrored house."""
    depth = None if frames.depth is None else np.ascontiguousarray(frames.depth[:, :, ::-1])
    return Frames(np.ascontiguousarray(frames.rgb[:, :, ::-1]), depth)


def _other(found: re.Match[str], text: str) -> str:
    word = found[0]
    before, after = text[: found.start()], text[found.end() :]
    if word.lower() == "right" and _AT_ONCE.match(after) and not _TURNING.search(before):
        return word
    if word.lower() == "left" and _GONE.search(before):
        return word
    other = {"left": "right", "right": "left"}[word.lower()]
    return other.capitalize() if word[0].isupper() else other
