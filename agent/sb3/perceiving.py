"""Environments that give percepts, for any algorithm of stable-baselines3."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from functools import partial
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecEnvWrapper

from navloop.agent.policies import ACTIONS
from navloop.agent.policy_agent import PolicyAgent
from navloop.envs.navigation import NavigationEnv, Reward, text_space
from navloop.envs.protocols import Protocol
from navloop.envs.simulator import Simulator
from navloop.envs.wrappers import InstructionBytes, decode_instruction
from navloop.processes import end_with_the_parent
from navloop.records import Episode

Observations = dict[str, NDArray[Any]]

_KEPT = ("success", "spl", "oracle_success", "navigation_error", "path_length", "steps")
"""What is kept of a finished walk's metrics."""


class PerceivingVecEnv(VecEnvWrapper):  # type: ignore[misc]
    """Turns the frames of E environments into percepts: each once, in one batch, when it is seen.

    Observations: "percepts" float16 (n, D) of `Perception`, "words" int32 (L,), the instruction as the policy reads it, padded with 0,
    and "previous" int64 (), the action before, `ACTIONS` at a walk's first step. Any algorithm of stable-baselines3 takes them.

    A walk that reaches the limit of steps has failed, as where it is measured: its end is an end, and nothing is expected beyond it.

    Args:
        venv: Of environments in `InstructionBytes`.
        agent: Whose eyes and words; the encoder is not trained.
        texts: All instructions of the environments.

    Attributes:
        finished: Metrics of the walks that ended since `reset`, and their "return" (undiscounted).
    """

    def __init__(self, venv: VecEnv, agent: PolicyAgent, texts: Sequence[str]) -> None:
        # A view of its own, of the same weights: another one's walks, as those of an evaluation, do not come into these.
        self._perception, self._reader = copy(agent.perception), agent.policy.reader
        self._length = self._reader.read(texts).ids.shape[1]
        space = spaces.Dict(
            {
                "percepts": spaces.Box(-np.inf, np.inf, (self._perception.tokens, self._perception.width), np.float16),
                "words": spaces.Box(0, np.iinfo(np.int32).max, (self._length,), np.int32),
                "previous": spaces.Box(0, ACTIONS, (), np.int64),
            }
        )
        super().__init__(venv, space, spaces.Discrete(ACTIONS))  # of protocols that tilt, too: agents do not
        self.finished: list[dict[str, float]] = []
        self._words = np.zeros((self.num_envs, self._length), dtype=np.int32)
        self._previous = np.full(self.num_envs, ACTIONS, dtype=np.int64)
        self._returns = np.zeros(self.num_envs)

    def reset(self) -> Observations:
        """Start a walk in every environment; those under way are forgotten."""
        observation = self.venv.reset()
        self._perception.start(self.num_envs)
        self.finished = []
        self._begin(range(self.num_envs), observation)
        return self._perceive(observation)

    def step_async(self, actions: NDArray[np.int64]) -> None:
        """Take an action (E,) in every environment."""
        self._previous = np.array(actions, dtype=np.int64)
        self.venv.step_async(actions)

    def step_wait(self) -> tuple[Observations, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Return what stable-baselines3 expects of a step; where a walk ended, the observation is the next one's first."""
        observation, rewards, dones, infos = self.venv.step_wait()
        rewards = np.asarray(rewards, dtype=np.float32)  # from processes of their own they come with more digits
        self._returns += rewards
        new = np.flatnonzero(dones).tolist()
        for place in new:
            info = infos[place]
            self.finished.append({name: float(info[name]) for name in _KEPT} | {"return": float(self._returns[place])})
            info["episode"] = {"r": self._returns[place], "l": info["steps"]}  # what algorithms tell of walks
            info["is_success"] = bool(info["success"])
            del info["terminal_observation"]
            info["TimeLimit.truncated"] = False
        if new:
            self._perception.restart(new)
            self._begin(new, observation)
        return self._perceive(observation), rewards, dones, infos

    def _begin(self, places: Sequence[int], observation: Observations) -> None:
        ids = self._reader.read([decode_instruction(observation["instruction"][place]) for place in places]).ids
        if ids.shape[1] > self._length:
            raise ValueError("an instruction is longer than all `texts`; pass the instructions of the environments")
        rows = list(places)
        self._words[rows] = 0
        self._words[rows, : ids.shape[1]] = ids.numpy()
        self._previous[rows] = ACTIONS
        self._returns[rows] = 0

    def _perceive(self, observation: Observations) -> Observations:
        percepts = self._perception.see(observation["rgb"], observation.get("depth"))
        return {
            "percepts": percepts.cpu().numpy().astype(np.float16),
            "words": self._words.copy(),
            "previous": self._previous.copy(),
        }


class _ApartVecEnv(SubprocVecEnv):  # type: ignore[misc]
    """Environments in processes of their own; one that failed is told as that, and not as a broken pipe."""

    def __init__(self, makes: Sequence[Callable[[], InstructionBytes]], start_method: str) -> None:
        with _failures_told():
            super().__init__(makes, start_method=start_method)

    def reset(self) -> Any:
        with _failures_told():
            return super().reset()

    def step_wait(self) -> Any:
        with _failures_told():
            return super().step_wait()

    def close(self) -> None:
        with suppress(EOFError, OSError):  # processes that failed are gone already
            super().close()


@contextmanager
def _failures_told() -> Iterator[None]:
    try:
        yield
    except (EOFError, ConnectionError) as error:  # the other end of a pipe is gone
        raise ChildProcessError("the process of an environment ended; what it raised stands above") from error


def create_environments(
    simulators: Sequence[Callable[[], Simulator]],
    episodes: Sequence[Episode],
    protocol: Protocol,
    reward: Reward,
    apart: bool = False,
) -> VecEnv:
    """Return E environments over the same episodes, each in an order of its own.

    Args:
        simulators: What makes the simulator of each.
        episodes: With goals.
        protocol: Embodiment, cameras, limit of steps.
        reward: What steps are worth.
        apart: Let each walk in a process of its own.

    Raises:
        ChildProcessError: From these environments, if a process ended; it has said why on stderr.
    """
    make = _environment_apart if apart else _environment
    makes = [partial(make, simulator, episodes, protocol, reward) for simulator in simulators]
    return _ApartVecEnv(makes, start_method="forkserver") if apart else DummyVecEnv(makes)


def _environment(
    simulator: Callable[[], Simulator], episodes: Sequence[Episode], protocol: Protocol, reward: Reward
) -> InstructionBytes:
    space = text_space(episodes)
    env = NavigationEnv(simulator(), episodes, protocol, reward=reward, shuffle=True, instruction_space=space)
    return InstructionBytes(env)


def _environment_apart(
    simulator: Callable[[], Simulator], episodes: Sequence[Episode], protocol: Protocol, reward: Reward
) -> InstructionBytes:
    end_with_the_parent()
    return _environment(simulator, episodes, protocol, reward)
