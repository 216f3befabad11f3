"""The interface of an agent and the registry of those that need no weights."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Protocol

from navloop.envs import protocols
from navloop.envs.navigation import NavigationEnv, Observation
from navloop.envs.simulator import Camera
from navloop.registry import Registry


class Agent(Protocol):
    """Whoever chooses actions. One agent walks one environment at a time."""

    @property
    def looks_at(self) -> frozenset[str] | None:
        """Names of the cameras whose frames it uses; None, or no such attribute, stands for all. The others need not be rendered."""
        return None

    def reset(self, env: NavigationEnv, seed: int) -> None:
        """Start an episode, right after `env.reset`.

        Args:
            env: The environment. Only privileged agents (experts) look past the observations at its simulator and goal.
            seed: Decides every random choice of this episode.
        """

    def act(self, observation: Observation, info: dict[str, Any]) -> int:
        """Return a code of `navloop.envs.simulator.Action` for the newest observation and info."""


class BatchAgent(Protocol):
    """Whoever chooses actions for several environments at once, each with a walk of its own.

    Environments have places, 0 to E - 1. A place takes part from `restart` until it is left out of a call: then its
    walk is over, and it must be restarted before it acts again.
    """

    @property
    def looks_at(self) -> frozenset[str] | None:
        """As `Agent.looks_at`."""
        return None

    def start(self, environments: int) -> None:
        """Make room for E environments; every place must be restarted before it acts."""

    def restart(self, place: int, env: NavigationEnv, seed: int) -> None:
        """Start an episode at a place, right after `env.reset`; the instruction is that of its next observation.

        Args:
            place: Of the environment, in [0, E).
            env: Its environment; as for `Agent.reset`.
            seed: Decides every random choice of this episode.
        """

    def act_all(
        self, places: Sequence[int], observations: Sequence[Observation], infos: Sequence[dict[str, Any]]
    ) -> list[int]:
        """Return an action for each of these places, given their newest observations and infos, in the same order."""

    def override(self, place: int, action: int) -> None:
        """Say that a place takes another action than the last `act_all` chose for it; before the next call."""


class SeparateAgents:
    """Agents of one environment each, together a `BatchAgent`.

    Args:
        create: Makes one.
    """

    def __init__(self, create: Callable[[], Agent]) -> None:
        self._create = create
        self._agents: list[Agent] = []
        self.looks_at: frozenset[str] | None = getattr(create(), "looks_at", None)

    def start(self, environments: int) -> None:
        """Make an agent for each of E environments."""
        self._agents = [self._create() for _ in range(environments)]

    def restart(self, place: int, env: NavigationEnv, seed: int) -> None:
        """Start an episode at a place."""
        self._agents[place].reset(env, seed)

    def act_all(
        self, places: Sequence[int], observations: Sequence[Observation], infos: Sequence[dict[str, Any]]
    ) -> list[int]:
        """Return an action for each of these places."""
        rows = zip(places, observations, infos, strict=True)
        return [self._agents[place].act(observation, info) for place, observation, info in rows]

    def override(self, place: int, action: int) -> None:
        """Agents that do not remember what they chose need not be told."""


AGENTS: Registry[Callable[[], Agent]] = Registry("agent")
"""Agents that need no weights, by name."""


def create_agent(name: str) -> Agent:
    """Return a fresh agent.

    Raises:
        ValueError: If the name is unknown, with the nearest known ones.
    """
    _load()
    return AGENTS[name]()


def create_own(source: str) -> Agent:
    """Return a fresh agent of somebody's own class.

    Args:
        source: "MODULE:CLASS"; modules are found in the folder that navloop was started in, too. Called without arguments, it makes an
            agent; where that has `weights`, a text that changes with them, results are held to it.

    Raises:
        ValueError: If there is no such module or class, or what it makes is no agent.
    """
    module, _, name = source.partition(":")
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)  # console scripts look in their own folder alone
    try:
        create = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"agent python:{source}: {error}; give python:MODULE:CLASS, MODULE as one would import it"
        ) from error
    agent: Agent = create() if callable(create) else create  # what is no class has no `act` either, as is told
    if lacking := [method for method in ("reset", "act") if not callable(getattr(agent, method, None))]:
        raise ValueError(f"agent python:{source}: has no {' and no '.join(lacking)}; see navloop.agent.agents.Agent")
    return agent


def list_agents() -> list[str]:
    """Return the names that `create_agent` knows."""
    _load()
    return list(AGENTS)


def cameras_of(agent: Agent | BatchAgent, protocol: protocols.Protocol) -> tuple[Camera, ...]:
    """Return those of a protocol's cameras that an agent looks at, in the protocol's order.

    Raises:
        ValueError: If it looks at one that the protocol lacks, naming both.
    """
    wanted: frozenset[str] | None = getattr(agent, "looks_at", None)
    if wanted is None:
        return protocol.cameras
    known = [camera.name for camera in protocol.cameras]
    if absent := sorted(wanted.difference(known)):
        raise ValueError(
            f"{type(agent).__name__} looks at {', '.join(absent)}, but {protocol.label} has {', '.join(known) or 'no camera'}; "
            "choose another protocol or agent"
        )
    return tuple(camera for camera in protocol.cameras if camera.name in wanted)


def _load() -> None:
    for module in ("baselines", "experts"):  # they enter themselves; imported late because they import this module
        import_module(f"navloop.agent.{module}")
