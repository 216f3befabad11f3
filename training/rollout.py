"""One episode at a time: walk it with an agent, or walk it again as recorded. No files and no processes here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from navloop.agent import Agent
from navloop.envs.navigation import NavigationEnv, Observation
from navloop.geometry import Vector
from navloop.records import Trajectory

REPLAY_TOLERANCE = 2e-3
"""Metres by which a replayed position may miss the recorded one, which is rounded to millimetres."""


class ReplayError(RuntimeError):
    """Recorded actions led elsewhere than recorded: the scene, the simulator or the embodiment is another one."""


def episode_seed(seed: int, episode_id: str) -> int:
    """Return the seed of one episode, in [0, 2**63): it follows from the run's seed and the episode's id alone."""
    digest = hashlib.sha256(f"{seed}:{episode_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def walk(env: NavigationEnv, agent: Agent, episode_id: str, seed: int) -> Trajectory:
    """Return what an agent does in one episode.

    Args:
        env: Holds the episode.
        agent: Whoever acts.
        episode_id: Which episode.
        seed: Of the episode, see `episode_seed`.
    """
    observation, info = env.reset(options={"episode": episode_id})
    agent.reset(env, seed)
    done = False
    while not done:
        observation, _, terminated, truncated, info = env.step(agent.act(observation, info))
        done = terminated or truncated
    return env.trajectory()


def replay(
    env: NavigationEnv, episode_id: str, actions: Sequence[int], positions: Vector
) -> Iterator[tuple[Observation, dict[str, Any]]]:
    """Walk recorded actions again and yield (observation, info) at the start and after each action.

    Args:
        env: Holds the episode.
        episode_id: Which episode.
        actions: (S,), codes of `Action`.
        positions: (S+1, 3), where they led, metres.

    Raises:
        ReplayError: If a position misses the recorded one by more than `REPLAY_TOLERANCE`, naming the step.
    """
    observation, info = env.reset(options={"episode": episode_id})
    _check(env, 0, info, positions)
    yield observation, info
    for step, action in enumerate(actions, start=1):
        observation, _, _, _, info = env.step(int(action))
        _check(env, step, info, positions)
        yield observation, info


def _check(env: NavigationEnv, step: int, info: dict[str, Any], positions: Vector) -> None:
    gap = float(np.linalg.norm(info["position"] - positions[step]))
    if gap > REPLAY_TOLERANCE:
        raise ReplayError(
            f"episode {env.episode.episode_id}, step {step}: replay stands {gap:.3f} m from the recorded position; "
            "the scenes or the simulator differ from those of the run: evaluate again"
        )
